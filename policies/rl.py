"""A policy trained by reinforcement learning, from its checkpoint: `rl:DIR`.

It shows what it was trained to choose: the best live slot gets 1, the others 0, so that a driver preloads as the
environments do. Called by `policies/names.py`; training is in `experiments/training/rl/train.py`.
"""

from pathlib import Path

import torch

from nextone.envs.features import Observation, X
from nextone.policies.networks.pointer.network import Pointer
from nextone.sim.config import Cost, Scenario

from .checkpoint import MODEL, Checkpoint, CheckpointError, best_checkpoint, load_into
from .contract import Scores
from .phone.costs import cost_of
from .trained import check_fits

KIND = "pointer"
PAD_TO = 64  # people in every forward pass: then nobody's scores depend on who else is asked
MOST_WIDTH = 1024


class RlPolicy:
    """A trained pointer as a Policy (`policies/contract.py`), without memory. `pad_to`: every call is about so many
    people."""

    pad_to = PAD_TO
    cost = Cost(cost_of("pointer", {"dense": 1.0}).time)

    def __init__(self, network: Pointer, name: str = "rl") -> None:
        self.network, self.__name__ = network.eval(), name

    def start(self, n: int) -> None:
        return None

    @torch.inference_mode()
    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        candidates, history, context, mask = map(torch.from_numpy, observation)
        if self.network.ask is not None:
            mask = torch.cat([mask, context[:, X.may_ask, None] > 0], 1)
        scores, _ = self.network(candidates, history, context, mask)
        shown = torch.zeros_like(scores).scatter_(1, scores.argmax(1, keepdim=True), 1.0)
        return shown.numpy(), None


def load_rl(path: Path | str, scenario: Scenario | None = None) -> RlPolicy:
    """The policy of a run's best whole checkpoint, or of the checkpoint that `path` itself is.

    Raises CheckpointError if there is none, or one that is damaged, not trained on these features, or trained in
    another scenario than this (if one is given; how many people and servers it has does not matter)."""
    checkpoint = best_checkpoint(Path(path))
    check_fits(checkpoint, scenario)
    network = network_of(checkpoint)
    load_into({name: tensor.numpy() for name, tensor in network.state_dict().items()}, checkpoint, MODEL)
    return RlPolicy(network, f"rl:{path}")


def network_of(checkpoint: Checkpoint) -> Pointer:
    """A network of the checkpoint's kind and size, its weights not loaded yet. Raises CheckpointError."""
    about = checkpoint.about
    width, refresh = about.get("width"), about.get("refresh")
    if about.get("kind") != KIND or type(width) is not int or not 1 <= width <= MOST_WIDTH or type(refresh) is not bool:
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r} does not hold a pointer network")
    return Pointer(width, refresh)
