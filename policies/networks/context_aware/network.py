"""The context-aware reranker of Kuaishou (CIKM 2022, arXiv 2208.09577): what was watched, and what is placed before.

Two multi-head target attentions with the candidate as query: over the watched list with feedback, and over candidates
already placed in the list that is being made. Features that cross candidate and key (differences of predictions, time,
position; shared tags; how alike they look) enter both. Then MMoE: three experts, a gate and a tower each for has_next,
effective_view and like, and for long_view, which the cloud's objective has besides. The list is made by beam search
(`beam_search.py`). Chosen here: the exact list of crossings, widths (32, two heads), k = 2, t = .95 (the values of the
paper's figure); a video is worth what the declared blend says (`blend.py`), where the paper has alpha
p(effective_view) + beta p(like) with weights it does not publish; the towers correct what the server predicts.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nextone.envs.features import CONTEXT, LOGIT_SCALE, C, H
from nextone.policies.networks.behaviours import (
    ACTIONS,
    EMBEDDED,
    NUMBERS,
    RATE_SCALE,
    RATES,
    attention_weights,
    columns_of,
    scaled,
    what_was_done,
)
from nextone.policies.networks.blend import Blend, EdgeNetwork, start_at_nothing
from nextone.policies.networks.recent_interest import CHANNELS, RecentInterest, content_of, what_is_told
from nextone.sim.config import DIMS

from .beam_search import Found, adaptive_beam_search

WIDTH, ATTENTION_HEADS, EXPERTS = 32, 2, 3
TASKS = ("effective_view", "long_view", "like", "has_next")
CORRECTED = len(TASKS) - 1
"""Towers that correct a predicted rate; the first of RATES. The other rates stay the server's."""
NEXT = len(RATES)
"""Which of the logits is has_next: it stands behind the rates."""
DIFFERENCES = len(RATES) + 3  # of predictions, length, time, position
CROSSED = 2 * DIFFERENCES + 2  # they, their absolute values, the share of common tags, and how alike they look
SAID = WIDTH + CHANNELS
"""What the watched list says of a candidate: attention's, and of what was just liked."""
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
    """The part of the network that is on the phone."""

    def __init__(self) -> None:
        super().__init__()
        token = EMBEDDED + len(NUMBERS)
        self.watched = TargetAttention(EMBEDDED + len(RATES) + len(ACTIONS) + 2)
        self.placed = TargetAttention(token)
        self.recent = RecentInterest()
        self.bottom = nn.Sequential(nn.Linear(SAID + WIDTH + token + len(CONTEXT), 2 * WIDTH), nn.ReLU())
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU()) for _ in range(EXPERTS))
        self.gates = nn.ModuleList(nn.Linear(2 * WIDTH, EXPERTS) for _ in TASKS)
        towers = [nn.Sequential(nn.Linear(WIDTH, WIDTH // 2), nn.ReLU(), nn.Linear(WIDTH // 2, 1)) for _ in TASKS]
        for tower in towers:
            start_at_nothing(tower[2])
        self.towers = nn.ModuleList(towers)
        self.blend = Blend()

    def heads(
        self, candidates: Tensor, of_candidates: Tensor, history: Tensor, of_history: Tensor, context: Tensor,
        mask: Tensor, before: Tensor, places: Tensor,
    ) -> Tensor:
        """Logits (N, P, len(RATES) + 1) of the rates and has_next, ids already embedded.

        before (N, P or 1, P): 1 where a candidate (last axis) is placed before the target; places (N, P) float: the
        place of each candidate, for a target that is not placed the one it would take."""
        tokens = tokens_of(candidates, of_candidates)
        crossed = crossed_with_candidates(candidates, tokens, places)
        return self.towers_of(
            tokens,
            self.from_watched(candidates, tokens, history, of_history),
            self.placed(tokens, tokens, crossed, before * (mask > 0)[:, None]),
            context,
        )

    def from_watched(self, candidates: Tensor, tokens: Tensor, history: Tensor, of_history: Tensor) -> Tensor:
        """Attention (a) and recent interest, (N, P, SAID): neither depends on what is placed."""
        rates, done, times = scaled(history, columns_of(RATES, H)), what_was_done(history), history[..., list(TIMES)]
        present, content = history[..., H.present], content_of(of_history)
        crossed = crossed_with_history(candidates, tokens, history, content)
        said = self.watched(tokens, torch.cat([of_history, rates, done, times], -1), crossed, present[:, None])
        told = what_is_told(done, rates, history[..., H.since])
        return torch.cat([said, self.recent(told, content, present, tokens[..., :EMBEDDED])], -1)

    def towers_of(self, tokens: Tensor, watched: Tensor, placed: Tensor, context: Tensor) -> Tensor:
        """MMoE and towers, (N, P, len(RATES) + 1): predicted rates, of which the first are corrected, and has_next."""
        shared = self.bottom(
            torch.cat([watched, placed, tokens, context[:, None].expand(-1, tokens.shape[1], -1)], -1)
        )
        experts = torch.stack([expert(shared) for expert in self.experts], -2)  # (N, P, EXPERTS, WIDTH)
        mixed = [(torch.softmax(gate(shared), -1)[..., None] * experts).sum(-2) for gate in self.gates]
        told = torch.cat([tower(part) for tower, part in zip(self.towers, mixed, strict=True)], -1)
        predicted = LOGIT_SCALE / RATE_SCALE * tokens[..., EMBEDDED : EMBEDDED + len(RATES)]
        corrected = predicted[..., :CORRECTED] + told[..., :CORRECTED]
        return torch.cat([corrected, predicted[..., CORRECTED:], told[..., CORRECTED:]], -1)


def tokens_of(candidates: Tensor, of_candidates: Tensor) -> Tensor:
    """Features of each candidate, (N, P, EMBEDDED + len(NUMBERS))."""
    return torch.cat([of_candidates, scaled(candidates, NUMBERS)], -1)


def crossed_with_history(candidates: Tensor, tokens: Tensor, history: Tensor, content: Tensor) -> Tensor:
    """Crossings of candidates and past impressions, (N, P, H, CROSSED). content: the past impressions' embeddings."""
    ours = torch.cat([scaled(candidates, [*COMPARED]), 0 * candidates[..., :1]], -1)
    theirs = scaled(history, [*COMPARED_PAST])
    alike = content_of(tokens[..., :EMBEDDED]) @ content.transpose(1, 2)
    return crossed(ours, theirs, candidates, history[..., H.tag], history[..., H.tag2], alike)


def crossed_with_candidates(candidates: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
    """Crossings of candidates and candidates, (N, P, P, CROSSED); position is the place in the list."""
    ours = torch.cat(
        [scaled(candidates, [*COMPARED]), places[..., None] / MOST_PLACES], -1
    )
    content = content_of(tokens[..., :EMBEDDED])
    alike = content @ content.transpose(1, 2)
    return crossed(ours, ours, candidates, candidates[..., C.tag], candidates[..., C.tag2], alike)


def crossed(ours: Tensor, theirs: Tensor, candidates: Tensor, tag: Tensor, tag2: Tensor, alike: Tensor) -> Tensor:
    """Differences, their absolute values, the share of common tags (equal tags are equal bits), and the product of the
    embeddings, a number's share of it."""
    difference = ours[:, :, None] - theirs[:, None]
    common = [
        (candidates[..., column, None] == of_key[:, None]).to(ours.dtype)
        for column in (C.tag, C.tag2)
        for of_key in (tag, tag2)
    ]
    share = PAIR * (common[0] + common[1] + common[2] + common[3])
    return torch.cat([difference, difference.abs(), share[..., None], alike[..., None] / DIMS], -1)


class ContextAware(EdgeNetwork):
    """The whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self) -> None:
        super().__init__(ContextAwareDense())

    def heads(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P, len(RATES) + 1) of each candidate were it shown next."""
        before = torch.zeros_like(candidates[:, None, :, 0])
        return self.in_lists(candidates, history, context, mask, before, torch.zeros_like(candidates[..., 0]))

    def in_lists(
        self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor, before: Tensor, places: Tensor
    ) -> Tensor:
        """The logits in lists; before and places are those of `ContextAwareDense.heads`."""
        of_candidates, of_history = self.embeddings(candidates, C), self.embeddings(history, H)
        logits: Tensor = self.dense.heads(
            candidates, of_candidates, history, of_history, context, mask, before, places
        )
        return logits


class Search(NamedTuple):
    """How lists are searched: k, t and the greatest depth."""

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
    logits = dense.towers_of(tokens, watched, torch.zeros(n, slots, WIDTH), context)
    alone = network.dense.blend(logits)

    def extend(lists: Tensor, step: int) -> tuple[Tensor, Tensor]:
        if step == 0:
            return alone[:, None].expand(n, k, slots), torch.sigmoid(logits[:, None, :, NEXT]).expand(n, k, slots)
        told = []
        for beam in range(k):
            entries = lists[:, beam, :step]
            placed = nothing.scatter(1, entries, 1.0)
            places = torch.full_like(nothing, step).scatter(
                1, entries, torch.arange(step, dtype=nothing.dtype).expand(n, -1)
            )
            before = dense.placed(tokens, tokens, crossed_with_candidates(candidates, tokens, places), placed[:, None])
            told.append(dense.towers_of(tokens, watched, before, context))
        of_beams = torch.stack(told, 1)  # (N, k, P, len(RATES) + 1)
        return network.dense.blend(of_beams), torch.sigmoid(of_beams[..., NEXT])

    found = adaptive_beam_search(
        extend, mask > 0, beams=k, stability=search.stability, depth=min(search.depth, slots)
    )
    return found, alone


def scores_of(found: Found, alone: Tensor) -> Tensor:
    """(N, P): what each candidate would bring as the next one, plus FIRST for the first of the best list."""
    return alone.scatter_add(1, found.first[:, None], torch.full((len(alone), 1), FIRST))
