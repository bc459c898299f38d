"""The pointer network: every candidate scored by the same small network, given the history and the context.

It does not care about the order of slots or their number, and dead slots do not exist for it. A past impression speaks
to a candidate through shared tags (the crossing of CIKM 2022, section 4.2), everything else through pooled summaries.
Used by `policies/rl.py` to choose, and by the training code as actor, critic and Q function.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from nextone.envs.features import (
    CANDIDATE,
    CONTEXT,
    HISTORY,
    LOG_COUNT,
    LOGIT_SCALE,
    MOST_EMBEDDING,
    MOST_S,
    PREDICTED,
    C,
    H,
)
from nextone.policies.rules import PAUSE_S
from nextone.sim.config import DIMS

WIDTH = 8  # Assumed: in trials 4 did as well, 32 worse, while values were still bootstrapped
CROSSED = 8  # numbers that a past impression has to say to a candidate with its tag
LEANINGS = 4  # ways in which recent content speaks to a candidate's
BELIEF = 3.0  # Assumed: impressions of a tag after which they are believed half
TYPICAL_S, LONG_S = 30.0, 120.0  # Assumed: a length that becomes 1, and one beyond which longer is no different
RATE_GAIN = (1.0, 1.0, 5.0, 10.0, 5.0, 5.0, 10.0)  # of PREDICTED: as the default reward counts them; tails stay short
GAIN = torch.ones(len(CANDIDATE))  # brings columns to a spread of about 1: a rate of learning moves all weights alike
GAIN[C.pevtr : C.pevtr + len(PREDICTED)] = 2.0
GAIN[C.duration] = 8.0
ASK_STEEPNESS = 10.0  # Assumed: the first policy is as good as sure a few impressions away from its threshold
LEANING_GAIN = 0.5  # brings what recent content says of a candidate to a spread of about 1
MEAN_GAIN = 4.0  # brings means over past impressions to a spread of about 1
ASKED_OF = (
    *(f.name for f in CONTEXT), *(f"mean_{f.name}" for f in HISTORY), *(f"mean_{f.name}_chance" for f in PREDICTED),
    "best", "beyond_usual",
)  # fmt: skip
"""What asking for a page depends on: the context, means over past impressions, the best candidate's score, and how far
it lies above the mean of all."""
DEAD_SCORE = -1e9  # finite, so that no product with zero is undefined


class Prepared(NamedTuple):
    """All that the network reads and no weight changes. A rollout is learnt from many times, and prepared once."""

    candidates: Tensor  # (N, P, Fc + 2 rates + 2): features, probabilities, those per half a minute, length, tags' past
    history: Tensor  # (N, H, Fh + rates)
    content: Tensor  # (N, P, DIMS) the server's embeddings of candidates
    past_content: Tensor  # (N, DIMS, H) and of past impressions, times a gain
    context: Tensor  # (N, Fx)
    shared: Tensor  # (N, P, H) what each past impression counts for each candidate, by tags in common
    of_past: Tensor  # (N, 1, H) weights of a mean over past impressions
    of_live: Tensor  # (N, 1, P) and over live slots
    dead: Tensor  # (N, A) bool: what is masked


def prepare(candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Prepared:
    """What the network reads: candidates (N, P, Fc), history (N, H, Fh), context (N, Fx) float32; mask (N, P) or (N, P
    + 1), any type."""
    live = mask[:, : candidates.shape[1]].to(candidates.dtype)[:, None]  # (N, 1, P)
    present = history[..., H.present][:, None]  # (N, 1, H)
    tags = [candidates[..., column, None] for column in (C.tag, C.tag2)]  # (N, P, 1); equal tags are equal bits
    past_tags = [history[..., column][:, None] for column in (H.tag, H.tag2)]  # (N, 1, H)
    same = sum((tag == past).to(candidates.dtype) for tag in tags for past in past_tags) * (0.25 * present)  # (N, P, H)
    total = same.sum(2, keepdim=True) + BELIEF  # (N, P, 1)
    seconds = torch.expm1(candidates[..., C.duration, None] * math.log1p(MOST_S))
    chances = rates(candidates, C.pevtr)
    told = [
        candidates * GAIN, chances, chances * (TYPICAL_S / (PAUSE_S + seconds)),
        seconds.clamp(max=LONG_S) / TYPICAL_S, 1.0 - BELIEF / total,
    ]  # fmt: skip
    return Prepared(
        torch.cat(told, 2),
        torch.cat([history, rates(history, H.pevtr)], 2),
        _content(candidates, C.embedding_0),
        _content(history, H.embedding_0).transpose(1, 2) * (MOST_EMBEDDING * LEANING_GAIN),
        context,
        same / total,
        present / present.sum(2, keepdim=True).clamp(min=1.0),
        live / live.sum(2, keepdim=True).clamp(min=1.0),
        mask == 0,
    )


class Pointer(nn.Module):
    """Scores (N, P), or (N, P + 1) with `refresh`, where the last is for asking for a page; and a value (N,)."""

    def __init__(self, width: int = WIDTH, refresh: bool = False) -> None:
        super().__init__()
        described = len(CANDIDATE) + 2 * len(PREDICTED) + 2
        self.past = nn.Linear(len(HISTORY) + len(PREDICTED), width)
        self.crossed = nn.Linear(width, CROSSED)
        self.candidate = nn.Linear(described, width)
        self.leaning = nn.Linear(width, LEANINGS, bias=False)
        self.candidate_crossed = nn.Linear(CROSSED + LEANINGS, width, bias=False)
        self.person = nn.Linear(len(CONTEXT) + 2 * width, width)
        self.meeting = nn.Linear(width, width)
        self.meeting_person = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1)
        self.plain_score = nn.Linear(described + LEANINGS, 1, bias=False)  # what is linear needs no detour
        self.ask = nn.Linear(width + len(ASKED_OF), 1) if refresh else None
        if self.ask is not None:  # rarely, before something is learned
            nn.init.constant_(self.ask.bias, -0.3)
        self.value_hidden = nn.Linear(width, width)
        self.value = nn.Linear(width, 1)
        for last in (self.score, self.plain_score, self.value, *([self.ask] if self.ask else [])):
            nn.init.normal_(last.weight, std=0.01)  # nothing is preferred before something is learned

    def begin_with(self, rates: Tensor, rates_per_time: Tensor, asks_at: int = -1) -> None:
        """Start from a rule. It weighs the predicted probabilities as they are, and per half a minute, both
        (PREDICTED,), and asks when so many impressions of the page are left. The scores are the rule's, and nothing
        else matters yet."""
        at, gain = len(CANDIDATE), torch.tensor(RATE_GAIN)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.plain_score.weight)
        with torch.no_grad():
            for k, weights in enumerate((rates, rates_per_time)):
                self.plain_score.weight[0, at + k * len(PREDICTED) : at + (k + 1) * len(PREDICTED)] = weights / gain
            if self.ask is not None and asks_at >= 0:
                between = float(LOG_COUNT[asks_at] + LOG_COUNT[asks_at + 1]) / 2
                nn.init.zeros_(self.ask.weight)
                self.ask.weight[0, ASKED_OF.index("left") - len(ASKED_OF)] = -ASK_STEEPNESS
                self.ask.bias[0] = ASK_STEEPNESS * between

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Arguments of `prepare`.

        Returns (scores (N, P) or (N, P + 1), DEAD_SCORE where the mask is 0; value (N,))."""
        return self.judge(prepare(candidates, history, context, mask))

    def judge(self, seen: Prepared) -> tuple[Tensor, Tensor]:
        """`forward` for what `prepare` returned."""
        past = relu(self.past(seen.history))  # (N, H, W)
        said = torch.bmm(seen.shared, self.crossed(past))  # (N, P, CROSSED): what the past says of such tags
        leaning = torch.bmm(seen.past_content, self.leaning(past))  # (N, DIMS, LEANINGS): where the person leans to
        alike = torch.bmm(seen.content, leaning)  # (N, P, LEANINGS)
        met = relu(self.candidate(seen.candidates) + self.candidate_crossed(torch.cat([said, alike], 2)))  # (N, P, W)
        pooled = torch.cat([torch.bmm(seen.of_past, past)[:, 0], torch.bmm(seen.of_live, met)[:, 0]], 1)
        person = relu(self.person(torch.cat([seen.context, pooled], 1)))  # (N, W)
        hidden = relu(self.meeting(met) + self.meeting_person(person)[:, None])  # (N, P, W)
        scores = (self.score(hidden) + self.plain_score(torch.cat([seen.candidates, alike], 2)))[..., 0]  # (N, P)
        if self.ask is not None:  # against the best candidate there is
            best = scores.masked_fill(seen.dead[:, : scores.shape[1]], DEAD_SCORE).amax(1, keepdim=True)
            scores = torch.cat([scores, best + self.ask(torch.cat([person, asked_of(seen, scores, best)], 1))], 1)
        value = self.value(relu(self.value_hidden(person)))[:, 0]
        return scores.masked_fill(seen.dead, DEAD_SCORE), value


def asked_of(seen: Prepared, scores: Tensor, best: Tensor) -> Tensor:
    """What the head for asking reads besides the hidden layer, (N, ASKED_OF). scores (N, P); best (N, 1): the largest
    of them."""
    usual = MEAN_GAIN * torch.bmm(seen.of_past, seen.history)[:, 0]
    return torch.cat([seen.context, usual, best, best - torch.bmm(seen.of_live, scores[..., None])[:, 0]], 1)


def _content(rows: Tensor, first: int) -> Tensor:
    """The server's embeddings, from the column `first` on."""
    return rows[..., first : first + DIMS]


def rates(rows: Tensor, first: int) -> Tensor:
    """The probabilities behind the predicted-rate columns from `first` on, by RATE_GAIN."""
    return torch.sigmoid(rows[..., first : first + len(PREDICTED)] * LOGIT_SCALE) * torch.tensor(RATE_GAIN)
