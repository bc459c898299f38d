"""Edge networks from their checkpoints: `edgerec`, `kir`, `context_aware` as shipped, or `edgerec:DIR` of one's own.

Unlike `rl:DIR` they may be deployed in another scenario than they were trained in, as a system's model is; only the
table of features must be the same. `...@onnx`, `...@mnn` and `...@tflite` run their parts on the real engine. Called
by `policies/by_name.py`; training is in `experiments/training/edge/train.py`.
"""

import os
from pathlib import Path

import torch
from numba import get_num_threads
from torch import nn

from nextone.policies.checkpoint import Checkpoint, CheckpointError, best_checkpoint
from nextone.policies.names import AS_USUAL, EngineMissing, How, how_of, shipped
from nextone.policies.networks.cloud_ranks.network import INPUTS, CloudRank, DlcmDense
from nextone.policies.networks.context_aware.network import ContextAware, Search
from nextone.policies.networks.edgerec.network import EdgeRec
from nextone.policies.networks.kir.compiled import CompiledKir
from nextone.policies.networks.kir.network import Kir
from nextone.policies.networks.loading import declared_in, load_network, make_network
from nextone.policies.trained import trained_in
from nextone.sim.config import Scenario

from .context_aware import ListPolicy
from .edgerec import QUIET, EdgeRecPhone
from .policies import EdgePolicy, OnEngine, PhonePolicy, Versions

Objective = tuple[float, ...] | None
PREVIOUS = "previous"
"""Folder, within a checkpoint's or a run's, of the checkpoint or run of the version before."""


def load_edge(
    kind: str, path: Path | str, how: str = "", scenario: Scenario | None = None, objective: Objective = None
) -> "PhonePolicy | OnEngine | Versions":
    """The policy of a run's best whole checkpoint, or of the checkpoint that `path` itself is. If that has a folder
    `previous`, phones that still hold the version before run the weights in it.

    how: as `names.how_of` reads it. scenario: the world it is for; an engine that has no file for its sizes, and cannot
    make one, is then refused here and not at the first decision. objective: by which candidates are ranked, unless the
    checkpoint declares its own; None: the scenario's, or without one the default's.

    Raises CheckpointError if there is none, or one that is damaged, of another kind, or not trained on these features;
    and EngineMissing."""
    torch.set_num_threads(get_num_threads())  # as many as this process may use: comparisons run several
    path = Path(path)
    name = kind if path == shipped(kind) else f"{kind}:{path}"  # where the package lies is nobody's business
    current, before = load_version(kind, path, name, how, scenario, objective), path / PREVIOUS
    if not os.path.lexists(before):
        return current
    return Versions(current, load_version(kind, before, name, how, scenario, objective))


def load_version(
    kind: str, path: Path, name: str, how: str = "", scenario: Scenario | None = None, objective: Objective = None
) -> "PhonePolicy | OnEngine":
    """The policy of one version. See `load_edge`."""
    checkpoint = best_checkpoint(path)
    options = how_of(how)
    network = load_network(kind, checkpoint)
    played = objective or (scenario or Scenario()).server.objective
    network.dense.blend.declare(declared_in(checkpoint) or played, options.per_second)
    policy = policy_of(network, name, kept_behaviours(checkpoint), options)
    if options.engine is None:
        return policy
    if options.per_second and options.engine == "tflite":
        raise EngineMissing("tflite files rank by what a video is worth, not per second; take onnx or mnn")
    on_engine = OnEngine(policy, options.engine, checkpoint.path)
    if scenario is not None:
        on_engine.files(scenario.pool_slots, scenario.client.history)
    return on_engine


def policy_of(network: nn.Module, name: str, kept: int = 20, how: How = AS_USUAL) -> PhonePolicy:
    """A network as phones run it. kept: how many past impressions it attends to, if it is EdgeRec."""
    if isinstance(network, EdgeRec):
        return EdgeRecPhone(network, name, kept, how.every or QUIET, how.ask)
    if isinstance(network, ContextAware):
        return ListPolicy(network, name, Search(how.beams or Search().beams))
    if isinstance(network, Kir):
        return EdgePolicy(network, name, "kir", CompiledKir(network))
    assert isinstance(network, CloudRank)
    return EdgePolicy(network, name, "dlcm" if isinstance(network.dense, DlcmDense) else "dnn", inputs=INPUTS)


def fresh_policy(kind: str, seed: int = 0) -> PhonePolicy:
    """An untrained network as phones would run it: of the right size, for measuring."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return policy_of(make_network(kind), kind)


def kept_behaviours(checkpoint: Checkpoint) -> int:
    """With how many past impressions the network was trained: a phone attends to as many."""
    client = trained_in(checkpoint).get("client", {})
    kept = client.get("history", Scenario().client.history) if isinstance(client, dict) else None
    if type(kept) is not int or not 1 <= kept <= 200:
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} does not say how many past impressions it saw")
    return kept
