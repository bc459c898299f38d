"""Edge networks from their checkpoints: `edgerec`, `kir`, `context_aware` as shipped, or `edgerec:DIR` of one's own.

Unlike `rl:DIR` they may be deployed in another scenario than they were trained in, as a system's model is; only the
table of features must be the same. Here every swipe is scored anew from the observation. Called by `policies/names.py`;
training is in `experiments/train_edge.py`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from nextone.envs.features import Observation
from nextone.sim.config import Scenario

from .base import Scores
from .checkpoint import MODEL, Checkpoint, CheckpointError, best_checkpoint, load_into
from .cloud_ranks import CloudRank, DlcmDense, DnnRankDense
from .context_aware import ContextAware, Search, search_lists
from .edgerec import ABLATIONS, EdgeRec
from .kir import Kir
from .names import KINDS
from .trained import check_features

PAD_TO = 64  # people in every forward pass: then nobody's scores depend on who else is asked


class EdgePolicy:
    """A network as a Policy (`policies/base.py`), without memory. `pad_to`: ask about so many at once."""

    pad_to = PAD_TO

    def __init__(self, network: nn.Module, name: str) -> None:
        self.network, self.__name__ = network.eval(), name

    def start(self, n: int) -> None:
        return None

    @torch.inference_mode()
    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        return self.scores(*map(torch.from_numpy, observation)).numpy(), None

    def scores(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(N, P)."""
        scores: Tensor = self.network(candidates, history, context, mask)
        return scores


class ListPolicy(EdgePolicy):
    """The context-aware network: the first video of the best list first, the others by what they would bring next."""

    def __init__(self, network: ContextAware, name: str, search: Search | None = None) -> None:
        super().__init__(network, name)
        self.search = search or Search()

    def scores(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(N, P)."""
        assert isinstance(self.network, ContextAware)
        found, alone = search_lists(self.network, candidates, history, context, mask, self.search)
        return alone.scatter_add(1, found.first[:, None], torch.full((len(alone), 1), 10.0))


def load_edge(kind: str, path: Path, scenario: Scenario | None = None) -> EdgePolicy:
    """The policy of a run's best whole checkpoint, or of the one that `path` is; `scenario` may be any.

    Raises CheckpointError: nothing there, damaged, of another kind, or not trained on these features."""
    network = load_network(kind, best_checkpoint(path))
    name = f"{kind}:{path}"
    return ListPolicy(network, name) if isinstance(network, ContextAware) else EdgePolicy(network, name)


def load_network(kind: str, checkpoint: Checkpoint) -> nn.Module:
    """The network in a checkpoint. Raises CheckpointError."""
    check_features(checkpoint)
    about = checkpoint.about
    found, ablation = about.get("kind"), about.get("ablation")
    if found != kind:
        described = f"a {found} network" if found in KINDS else "no edge network"
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} holds {described}, not {kind}")
    if ablation not in ABLATIONS or (ablation and kind != "edgerec"):
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} is of an ablation that this version does not know")
    network = make_network(kind, ablation)
    load_into({name: tensor.numpy() for name, tensor in network.state_dict().items()}, checkpoint.tensors[MODEL])
    return network


def make_network(kind: str, ablation: str = "") -> nn.Module:
    """A fresh network; `dense` is what a phone runs, `embeddings` what the cloud ships with a page."""
    if kind == "edgerec":
        return EdgeRec(ablation)
    assert not ablation
    if kind == "kir":
        return Kir()
    if kind == "context_aware":
        return ContextAware()
    return CloudRank({"dnn": DnnRankDense, "dlcm": DlcmDense}[kind]())


def shipped(kind: str) -> Path:
    """The folder of the checkpoint that comes with the package."""
    return Path(__file__).parent / "checkpoints" / kind
