"""List reward and adaptive beam search of CIKM 2022 (arXiv 2208.09577, section 5), for many people at once.

LR(list) = sum_i s_i reward_i, with s_1 = 1 and s_i the chance that the person swiped on after each video before:
has_next discounts, it is no reward. Only the first video of the best list is needed, so the search stops once the beams
agree: when the lowest score of a beam is at least `stability` times the highest. One beam agrees with itself at once:
k = 1 is greedy NextOne, as in KIR.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Extend = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""extend(lists (N, k, L) of slots, step) -> reward (N, k, P) and chance of has_next (N, k, P) of each slot as the entry
number `step` of a list, given its entries before."""


class Found(NamedTuple):
    """What the search found for each of N people."""

    first: Tensor  # (N,) slot to show
    depth: Tensor  # (N,) entries of the lists when it stopped
    stability: Tensor  # (N,) lowest over highest score of a beam then
    lists: Tensor  # (N, k, L) slots, best list first, -1 beyond its end; of the last step taken by anybody
    scores: Tensor  # (N, k) their rewards; -inf of beams that could not be filled


def adaptive_beam_search(extend: Extend, live: Tensor, *, beams: int, stability: float, depth: int) -> Found:
    """The best lists of up to `depth` live slots, live (N, P) bool; equal scores keep the order of beams and slots.

    A person without a live slot gets slot 0."""
    n, slots = live.shape
    lists = torch.full((n, beams, depth), -1)
    used = ~live[:, None].expand(n, beams, slots)
    total = torch.full((n, beams), -torch.inf)
    total[:, 0] = 0.0  # the empty list, once
    survival = torch.ones(n, beams)
    first, stopped, agreed = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long), torch.ones(n)
    people, left = torch.arange(n)[:, None], live.sum(1)
    for step in range(depth):
        reward, has_next = extend(lists, step)
        value = total[..., None] + survival[..., None] * reward
        value = value.masked_fill(used, -torch.inf).flatten(1)
        total, at = (part[:, :beams] for part in torch.sort(value, dim=1, descending=True, stable=True))
        parent, slot = at // slots, at % slots
        lists = lists[people, parent]
        lists[:, :, step] = slot
        survival = survival[people, parent] * has_next.flatten(1).gather(1, at)
        used = used[people, parent].scatter(2, slot[..., None], True)
        lowest = torch.where(total > -torch.inf, total, torch.inf).amin(1)
        stable = torch.where(total[:, 0] > 0, lowest / total[:, 0], torch.ones(n))
        ends = (stopped == 0) & ((stable >= stability) | (step + 1 >= left.clamp(max=depth)))
        first, agreed = torch.where(ends, lists[:, 0, 0], first), torch.where(ends, stable, agreed)
        stopped = torch.where(ends, step + 1, stopped)
        if bool((stopped > 0).all()):
            break
    return Found(first, stopped, agreed, lists, total)
