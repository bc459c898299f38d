"""A torch module of a user's own as a policy: `from_torch(module)`. Called by users, as `nextone.from_torch`."""

from typing import Any

import torch
from torch import nn

from nextone.envs.features import Observation

from .contract import Scores


class TorchPolicy:
    """A module as a policy without memory.

    `pad_to`: every call is about so many people, so that nobody's scores depend on who else is asked. `cost` may be
    set, (time, bytes), see `contract.py: Options`; otherwise ranking takes no time."""

    pad_to = 64

    def __init__(self, module: nn.Module) -> None:
        self.module, self.__name__ = module.eval(), type(module).__name__

    def start(self, n: int) -> None:
        """None: a module keeps nothing from one decision to the next."""

    @torch.inference_mode()
    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        """Scores (N, P), or (N, P + 1) to ask for pages; see `contract.py: Policy`."""
        made: Any = self.module(*map(torch.from_numpy, observation))
        return made.float().numpy(), None


def from_torch(module: nn.Module) -> TorchPolicy:
    """A torch module as a policy. It is called as `module(candidates (N, P, Fc), history (N, H, Fh), context (N, Fx),
    mask (N, P))`, float32 but for the mask, which is bool, and returns a score for each candidate, (N, P): the best
    live one is shown next. Columns are in `docs/observation.md`. Raises ValueError if it is no module."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"{str(module)[:60]!r} must be a torch.nn.Module; a plain function is a policy as it is")
    return TorchPolicy(module)
