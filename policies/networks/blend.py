"""The last layer of every edge network: the server's predicted rates, corrected, and one blend by which candidates are
ranked.

A network does not learn again what the cloud knows. For each predicted rate it learns by how much the logit is off, now
that the phone has seen what the person did. A network that has learnt nothing ranks as the cloud does. Candidates are
ordered by the joint worth of the corrected chances. This is the cloud's own objective (`server.objective` of the
scenario that is played, unless the checkpoint declares another), so phone and cloud want the same. Source of the idea:
KIR, where predictions of the server are reused as features and corrected.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextone.envs.features import LOGIT_SCALE, C, H
from nextone.sim.config import Scenario

from .behaviours import RATE_SCALE, RATES, Embeddings, seconds

LEAST_S = 1.0
"""Assumed: seconds that a video takes at least, for what is worth per second: it starts, is seen and is swiped away."""


class Corrections(nn.Module):
    """A layer that predicts logits: of the rates, as corrections, and of `others` that the server does not predict."""

    def __init__(self, width: int, others: int = 0) -> None:
        super().__init__()
        self.by = nn.Linear(width, len(RATES) + others)
        start_at_nothing(self.by)

    def forward(self, said: Tensor, rates: Tensor) -> Tensor:
        """Logits (N, P, len(RATES) + others) from the network's output for each candidate (N, P, width), and its
        predicted rates (N, P, len(RATES)) in the form in which networks read them (`behaviours.scaled`)."""
        logits = self.by(said)
        predicted = LOGIT_SCALE / RATE_SCALE * rates
        return torch.cat([predicted + logits[..., : len(RATES)], logits[..., len(RATES) :]], -1)


def start_at_nothing(layer: nn.Module) -> None:
    """Make a layer of corrections predict 0 until it has learnt something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Blend(nn.Module):
    """The joint worth of the corrected rates, as a share of the most that any video could be worth; or that, per
    second.

    watch: which of the logits is the time played, scaled as the history's `play_time`; None: it is not predicted."""

    objective: Tensor

    def __init__(self, watch: int | None = None) -> None:
        super().__init__()
        self.watch, self.per_second = watch, False
        self.register_buffer("objective", torch.zeros(len(RATES)))
        self.declare(Scenario().server.objective)

    def declare(self, objective: Sequence[float], per_second: bool = False) -> None:
        """Set the weights of the rates, not all 0. per_second: divide a video's worth by the seconds it is expected to
        be played, at least `LEAST_S`. What is predicted is the logarithm of that time, so that rare long plays count
        little."""
        assert self.watch is not None or not per_second
        weights = torch.tensor(objective)
        self.objective.copy_(weights / weights.abs().sum())
        self.per_second = per_second

    def forward(self, logits: Tensor) -> Tensor:
        """The worth (...,) from logits (..., len(RATES) or more). It is a sum and not a product with a vector, whose
        shape MNN cannot work out."""
        worth = (torch.sigmoid(logits[..., : len(RATES)]) * self.objective).sum(-1)
        if self.per_second:
            worth = worth / seconds(torch.sigmoid(logits[..., self.watch])).clamp(min=LEAST_S)
        return worth


def is_objective(weights: Any) -> bool:
    """Whether a blend can use these weights: one finite number for each rate, not all 0."""
    return (
        isinstance(weights, (list, tuple))
        and len(weights) == len(RATES)
        and all(isinstance(weight, (int, float)) and math.isfinite(weight) for weight in weights)
        and any(weights)
    )


class BlendedDense(nn.Module):
    """The whole network on a phone: `heads`, from its inputs to logits of each candidate, and their blend."""

    heads: Any
    blend: Blend

    def forward(self, *inputs: Tensor) -> Tensor:
        """The worth of each candidate (N, P), with ids already embedded; the inputs are those of `heads`."""
        worth: Tensor = self.blend(self.heads(*inputs))
        return worth


class EdgeNetwork(nn.Module):
    """A whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.dense: Any = dense

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The worth of each candidate (N, P), see `Blend`. candidates (N, P, Fc), history (N, H, Fh) newest first,
        context (N, Fx), mask (N, P). Empty slots get any finite number."""
        worth: Tensor = self.dense.blend(self.heads(candidates, history, context, mask))
        return worth

    def heads(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P, len(RATES) or more): of the rates, and of what else the network predicts."""
        of_candidates, of_history = self.embeddings(candidates, C), self.embeddings(history, H)
        logits: Tensor = self.dense.heads(candidates, of_candidates, history, of_history, context, mask)
        return logits
