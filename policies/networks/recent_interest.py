"""What the person has just come to like, in the space of the server's embeddings, and how much of it a candidate has.

Each recent behaviour is weighed by how it differed from what the server had predicted (watched on against the odds:
above zero; skipped against them: below), and by how long ago it was. The weighed sum of the videos' embeddings says
where the person leans. Its product with a candidate's embedding goes into the network. This is the crossing of a
factorisation machine, between the candidate and the real-time feedback. Attention alone, whose weights are shares,
needs far more samples to learn it (docs/edge-models.md).
"""

import torch
from torch import Tensor, nn

from nextone.sim.config import DIMS

from .behaviours import ACTIONS, RATES

WEIGHED, CHANNELS = 32, 4
TOLD = len(RATES) + len(ACTIONS) + 1
PER_BEHAVIOUR = 0.1
"""Scale of the sum over some twenty behaviours, so that what a fresh network says of a candidate is about one."""


class RecentInterest(nn.Module):
    """From behaviours and candidates to CHANNELS numbers a candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(TOLD, WEIGHED), nn.ReLU(), nn.Linear(WEIGHED, CHANNELS))

    def forward(self, told: Tensor, content: Tensor, counts: Tensor, of_candidates: Tensor) -> Tensor:
        """(N, P, CHANNELS). told (N, M, TOLD): `what_is_told` of behaviours; content (N, M, DIMS): their embeddings;
        counts (N, M): 0 or 1; of_candidates (N, P, EMBEDDED)."""
        weights = self.weigh(told) * (PER_BEHAVIOUR * counts[..., None])
        leaning = weights.transpose(1, 2) @ content  # (N, CHANNELS, DIMS)
        alike: Tensor = content_of(of_candidates) @ leaning.transpose(1, 2)
        return alike


def what_is_told(actions: Tensor, rates: Tensor, since: Tensor) -> Tensor:
    """What the network reads of behaviours, (N, M, TOLD): what was done (N, M, len(ACTIONS)), the scaled predicted
    rates (N, M, len(RATES)), and the time since (N, M)."""
    return torch.cat([rates, actions, since[..., None]], -1)


def content_of(embedded: Tensor) -> Tensor:
    """The server's embedding of a video's content, (..., DIMS), from (..., EMBEDDED)."""
    return embedded[..., -DIMS:]
