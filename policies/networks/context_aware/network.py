"""The context-aware reranker of Kuaishou (CIKM 2022, arXiv 2208.09577): what was watched, and what is placed before.

Two multi-head target attentions with the candidate as query: over the watched list with feedback, and over candidates
already placed in the list that is being made. Features that cross candidate and key (differences of predictions, time,
position; shared tags) enter both. Then MMoE: three experts, a gate and a tower each for has_next, effective_view and
like. The list is made by beam search (`beam_search.py`). Chosen here: the exact list of crossings, widths (32, two
heads), alpha = 1 and beta = 5 (the environments' default reward), k = 2, t = .95 (the values of the paper's figure).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nextone.envs.features import CONTEXT, C, H
from nextone.policies.networks.behaviours import (
    ACTIONS,
    EMBEDDED,
    NUMBERS,
    RATES,
    Embeddings,
    attention_weights,
    columns_of,
    scaled,
    what_was_done,
)

from .beam_search import Found, adaptive_beam_search

WIDTH, ATTENTION_HEADS, EXPERTS = 32, 2, 3
TASKS = ("has_next", "effective_view", "like")
WORTH = (1.0, 5.0)  # alpha of an effective view, beta of a like
DIFFERENCES = len(RATES) + 3  # of predictions, length, time, position
CROSSED = 2 * DIFFERENCES + 1  # they, their absolute values, and the share of common tags
MOST_PLACES = 10.0  # scale of positions in the list that is being made
PAIR = 0.25  # what one of the four pairs of two videos' tags counts, if both are the same
FIRST = 10.0  # above any reward: the first of the best list is shown
TIMES = (H.duration, H.since)
COMPARED, COMPARED_PAST = (*columns_of(RATES, C), C.duration, C.age), (*columns_of(RATES, H), *TIMES, H.position)
"""Columns that are crossed, of candidates and of past impressions; a candidate's place follows."""


class TargetAttention(nn.Module):
    """Multi-head scaled dot-product attention whose keys and values depend on the query through crossings.

    Crossings enter linearly: W [key; cross] = W1 key + W2 cross, so a query's energy with them is two products and no
    (N, P, K, WIDTH) array is needed."""

    def __init__(self, key_features: int) -> None:
        super().__init__()
        self.query = nn.Linear(EMBEDDED + len(NUMBERS), WIDTH)
        self.key, self.key_cross = nn.Linear(key_features, WIDTH), nn.Linear(CROSSED, WIDTH, bias=False)
        self.value, self.value_cross = nn.Linear(key_features, WIDTH), nn.Linear(CROSSED, WIDTH, bias=False)

    def forward(self, targets: Tensor, keys: Tensor, crossed: Tensor, seen: Tensor) -> Tensor:
        """(N, P, WIDTH); targets (N, P, F), keys (N, K, key_features), crossed (N, P, K, CROSSED), seen (N, P|1, K)."""
        said = []
        heads = zip(
            self.query(targets).chunk(ATTENTION_HEADS, -1), self.key(keys).chunk(ATTENTION_HEADS, -1),
            self.value(keys).chunk(ATTENTION_HEADS, -1), self.key_cross.weight.chunk(ATTENTION_HEADS),
            self.value_cross.weight.chunk(ATTENTION_HEADS), strict=True,
        )  # fmt: skip
        for query, key, value, key_cross, value_cross in heads:
            energy = query @ key.transpose(1, 2) + (crossed @ (query @ key_cross)[..., None])[..., 0]  # (N, P, K)
            weights = attention_weights(energy * query.shape[-1] ** -0.5, seen)
            mean_cross = (weights[:, :, None] @ crossed)[:, :, 0]  # (N, P, CROSSED)
            said.append(weights @ value + mean_cross @ value_cross.T)
        return torch.cat(said, -1)


class ContextAwareDense(nn.Module):
    """What is on the phone."""

    def __init__(self) -> None:
        super().__init__()
        token = EMBEDDED + len(NUMBERS)
        self.watched = TargetAttention(EMBEDDED + len(RATES) + len(ACTIONS) + 2)
        self.placed = TargetAttention(token)
        self.bottom = nn.Sequential(nn.Linear(2 * WIDTH + token + len(CONTEXT), 2 * WIDTH), nn.ReLU())
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU()) for _ in range(EXPERTS))
        self.gates = nn.ModuleList(nn.Linear(2 * WIDTH, EXPERTS) for _ in TASKS)
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH // 2), nn.ReLU(), nn.Linear(WIDTH // 2, 1)) for _ in TASKS
        )

    def forward(
        self,
        candidates: Tensor,
        of_candidates: Tensor,
        history: Tensor,
        of_history: Tensor,
        context: Tensor,
        mask: Tensor,
        before: Tensor,
        places: Tensor,
    ) -> Tensor:
        """Logits (N, P, 3) of TASKS, ids already embedded.

        before (N, P or 1, P): 1 where a candidate (last axis) is placed before the target; places (N, P) float: the
        place of each candidate, for a target that is not placed the one it would take."""
        tokens = tokens_of(candidates, of_candidates)
        return self.towers_of(
            tokens,
            self.from_watched(candidates, tokens, history, of_history),
            self.placed(tokens, tokens, crossed_with_candidates(candidates, places), before * (mask > 0)[:, None]),
            context,
        )

    def from_watched(self, candidates: Tensor, tokens: Tensor, history: Tensor, of_history: Tensor) -> Tensor:
        """Attention (a), (N, P, WIDTH): it does not depend on what is placed."""
        rates, times = scaled(history, columns_of(RATES, H)), history[..., list(TIMES)]
        watched = torch.cat([of_history, rates, what_was_done(history), times], -1)
        said: Tensor = self.watched(
            tokens, watched, crossed_with_history(candidates, history), history[:, None, :, H.present]
        )
        return said

    def towers_of(self, tokens: Tensor, watched: Tensor, placed: Tensor, context: Tensor) -> Tensor:
        """MMoE and towers, (N, P, 3)."""
        shared = self.bottom(
            torch.cat([watched, placed, tokens, context[:, None].expand(-1, tokens.shape[1], -1)], -1)
        )
        experts = torch.stack([expert(shared) for expert in self.experts], -2)  # (N, P, EXPERTS, WIDTH)
        mixed = [(torch.softmax(gate(shared), -1)[..., None] * experts).sum(-2) for gate in self.gates]
        return torch.cat([tower(part) for tower, part in zip(self.towers, mixed, strict=True)], -1)


def tokens_of(candidates: Tensor, of_candidates: Tensor) -> Tensor:
    """What is said of each candidate, (N, P, EMBEDDED + len(NUMBERS))."""
    return torch.cat([of_candidates, scaled(candidates, NUMBERS)], -1)


def crossed_with_history(candidates: Tensor, history: Tensor) -> Tensor:
    """Crossings of candidates and past impressions, (N, P, H, CROSSED)."""
    ours = torch.cat([scaled(candidates, [*COMPARED]), 0 * candidates[..., :1]], -1)
    theirs = scaled(history, [*COMPARED_PAST])
    return crossed(ours, theirs, candidates, history[..., H.tag], history[..., H.tag2])


def crossed_with_candidates(candidates: Tensor, places: Tensor) -> Tensor:
    """Crossings of candidates and candidates, (N, P, P, CROSSED); position is the place in the list."""
    ours = torch.cat(
        [scaled(candidates, [*COMPARED]), places[..., None] / MOST_PLACES], -1
    )
    return crossed(ours, ours, candidates, candidates[..., C.tag], candidates[..., C.tag2])


def crossed(ours: Tensor, theirs: Tensor, candidates: Tensor, tag: Tensor, tag2: Tensor) -> Tensor:
    """Differences, their absolute values, and the share of common tags (equal tags are equal bits)."""
    difference = ours[:, :, None] - theirs[:, None]
    common = [
        (candidates[..., column, None] == of_key[:, None]).to(ours.dtype)
        for column in (C.tag, C.tag2)
        for of_key in (tag, tag2)
    ]
    share = PAIR * (common[0] + common[1] + common[2] + common[3])
    return torch.cat([difference, difference.abs(), share[..., None]], -1)


class ContextAware(nn.Module):
    """The whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.dense = ContextAwareDense()

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """What a candidate shown next is worth, as a logit (N, P): alpha p(effective_view) + beta p(like), over
        alpha + beta. candidates (N, P, Fc), history (N, H, Fh) newest first, context (N, Fx), mask (N, P)."""
        before = torch.zeros_like(candidates[:, None, :, 0])
        logits = self.all_tasks(candidates, history, context, mask, before, torch.zeros_like(candidates[..., 0]))
        return torch.logit(reward(logits) / sum(WORTH), eps=1e-7)

    def all_tasks(
        self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor, before: Tensor, places: Tensor
    ) -> Tensor:
        """Logits (N, P, 3) of TASKS; before and places as in `ContextAwareDense.forward`."""
        of_candidates, of_history = self.embeddings(candidates, C), self.embeddings(history, H)
        logits: Tensor = self.dense(candidates, of_candidates, history, of_history, context, mask, before, places)
        return logits


def reward(logits: Tensor) -> Tensor:
    """alpha p(effective_view) + beta p(like), (N, P), from logits (N, P, 3)."""
    chance = torch.sigmoid(logits)
    return WORTH[0] * chance[..., 1] + WORTH[1] * chance[..., 2]


class Search(NamedTuple):
    """How lists are made: k, t and the greatest depth."""

    beams: int = 2
    stability: float = 0.95
    depth: int = 6


def search_lists(
    network: ContextAware, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor, search: Search
) -> tuple[Found, Tensor]:
    """The best list of each person, and the rewards (N, P) of each candidate as its first entry."""
    n, slots = mask.shape
    dense, k = network.dense, search.beams
    tokens = tokens_of(candidates, network.embeddings(candidates, C))
    watched = dense.from_watched(candidates, tokens, history, network.embeddings(history, H))
    nothing = torch.zeros(n, slots)
    logits = dense.towers_of(tokens, watched, torch.zeros_like(watched), context)
    alone = reward(logits)

    def extend(lists: Tensor, step: int) -> tuple[Tensor, Tensor]:
        if step == 0:
            return alone[:, None].expand(n, k, slots), torch.sigmoid(logits[:, None, :, 0]).expand(n, k, slots)
        told = []
        for beam in range(k):
            entries = lists[:, beam, :step]
            placed = nothing.scatter(1, entries, 1.0)
            places = torch.full_like(nothing, step).scatter(
                1, entries, torch.arange(step, dtype=nothing.dtype).expand(n, -1)
            )
            before = dense.placed(tokens, tokens, crossed_with_candidates(candidates, places), placed[:, None])
            told.append(dense.towers_of(tokens, watched, before, context))
        of_beams = torch.stack(told, 1)  # (N, k, P, 3)
        return reward(of_beams), torch.sigmoid(of_beams[..., 0])

    found = adaptive_beam_search(
        extend, mask > 0, beams=k, stability=search.stability, depth=min(search.depth, slots)
    )
    return found, alone


def scores_of(found: Found, alone: Tensor) -> Tensor:
    """(N, P): what each candidate would bring as the next, and FIRST more for the first of the best list."""
    return alone.scatter_add(1, found.first[:, None], torch.full((len(alone), 1), FIRST))
