"""Networks by the name of their kind: fresh, or with the weights of a checkpoint.

Called by `policies/phone/loading.py`, which makes policies of them, and by the training code.
"""

from nextone.policies.checkpoint import MODEL, Checkpoint, CheckpointError, load_into
from nextone.policies.names import KINDS
from nextone.policies.trained import check_features
from nextone.sim.config import Scenario

from .blend import EdgeNetwork, is_objective
from .cloud_ranks.network import CloudRank, DlcmDense, DnnRankDense
from .context_aware.network import ContextAware
from .edgerec.network import ABLATIONS, EdgeRec
from .kir.network import Kir


def load_network(kind: str, checkpoint: Checkpoint) -> EdgeNetwork:
    """The network in a checkpoint, with the blend that the checkpoint declares, or the default one. Raises
    CheckpointError."""
    check_features(checkpoint)
    about = checkpoint.about
    found, ablation = about.get("kind"), about.get("ablation")
    if found != kind:
        described = f"a {found} network" if found in KINDS else "no edge network"
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} holds {described}, not {kind}")
    if ablation not in ABLATIONS or (ablation and kind != "edgerec"):
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} is of an ablation that this version does not know")
    network = make_network(kind, ablation)
    load_into({name: tensor.numpy() for name, tensor in network.state_dict().items()}, checkpoint, MODEL)
    network.dense.blend.declare(declared_in(checkpoint) or Scenario().server.objective)
    return network


def declared_in(checkpoint: Checkpoint) -> tuple[float, ...] | None:
    """The objective that a checkpoint declares; None: the network goes by that of the scenario in which it plays.
    Raises CheckpointError if what it declares is no objective."""
    objective = checkpoint.about.get("objective")
    if objective is None:
        return None
    if not is_objective(objective):
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} declares an objective that is none; train it again")
    return tuple(map(float, objective))


def make_network(kind: str, ablation: str = "") -> EdgeNetwork:
    """A fresh network. `dense` is what a phone runs, `embeddings` what the cloud ships with a page."""
    if kind == "edgerec":
        return EdgeRec(ablation)
    assert not ablation
    if kind == "kir":
        return Kir()
    if kind == "context_aware":
        return ContextAware()
    return CloudRank({"dnn": DnnRankDense, "dlcm": DlcmDense}[kind]())
