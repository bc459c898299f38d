"""The pointer network: every candidate scored by the same small network, given the history and the context.

It does not care about the order of slots or their number, and dead slots do not exist for it. A past impression speaks
to a candidate through shared tags (the crossing of CIKM 2022, section 4.2), everything else through pooled summaries.
Used by `policies/rl.py` to choose, and by the training code as actor, critic and Q function.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, LOGIT_SCALE, PREDICTED, C, H

WIDTH = 32
CROSSED = 8  # numbers that a past impression has to say to a candidate with its tag
BELIEF = 3.0  # Assumed: impressions of a tag after which they are believed half
DEAD_SCORE = -1e9  # finite, so that no product with zero is undefined


class Pointer(nn.Module):
    """Scores (N, P), or (N, P + 1) with `refresh`: the last is for asking for a page; and a value (N,)."""

    def __init__(self, width: int = WIDTH, refresh: bool = False) -> None:
        super().__init__()
        rates = len(PREDICTED)
        described = len(CANDIDATE) + rates + CROSSED + 1
        self.past = nn.Linear(len(HISTORY) + rates, width)
        self.crossed = nn.Linear(width, CROSSED)
        self.candidate = nn.Linear(described, width)
        self.person = nn.Linear(len(CONTEXT) + 2 * width, width)
        self.meeting = nn.Linear(width, width)
        self.meeting_person = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1)
        self.plain_score = nn.Linear(described, 1, bias=False)  # what is linear needs no detour
        self.ask = nn.Linear(width, 1) if refresh else None
        self.value_hidden = nn.Linear(width, width)
        self.value = nn.Linear(width, 1)
        for last in (self.score, self.plain_score, self.value, *([self.ask] if self.ask else [])):
            nn.init.normal_(last.weight, std=0.01)  # nothing is preferred before something is learned

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """candidates (N, P, Fc), history (N, H, Fh), context (N, Fx) float32; mask (N, P) or (N, P + 1), any type.

        Returns (scores (N, P) or (N, P + 1), DEAD_SCORE where the mask is 0; value (N,))."""
        slots = candidates.shape[1]
        live = mask[:, :slots].to(candidates.dtype)[..., None]  # (N, P, 1)
        present = history[..., H.present, None]  # (N, H, 1)
        past = relu(self.past(torch.cat([history, rates(history, H.pevtr)], -1))) * present  # (N, H, W)
        described = torch.cat(
            [candidates, rates(candidates, C.pevtr), self._from_same_tag(candidates, history, past, present)], -1
        )
        met = relu(self.candidate(described))  # (N, P, W)
        pooled = torch.cat([context, mean_of(past, present), mean_of(met * live, live)], -1)
        person = relu(self.person(pooled))  # (N, W)
        hidden = relu(self.meeting(met) + self.meeting_person(person)[:, None])  # (N, P, W)
        scores = (self.score(hidden) + self.plain_score(described))[..., 0]  # (N, P)
        if self.ask is not None:
            scores = torch.cat([scores, self.ask(person)], 1)
        value = self.value(relu(self.value_hidden(person)))[:, 0]
        return scores.masked_fill(mask == 0, DEAD_SCORE), value

    def _from_same_tag(self, candidates: Tensor, history: Tensor, past: Tensor, present: Tensor) -> Tensor:
        """What past impressions say to each candidate, by the share of tags in common, (N, P, CROSSED + 1)."""
        tags = [candidates[..., column, None] for column in (C.tag, C.tag2)]  # (N, P, 1); equal tags are equal bits
        past_tags = [history[..., column][:, None] for column in (H.tag, H.tag2)]  # (N, 1, H)
        first, second = ((tag == past_tags[0]).to(past.dtype) + (tag == past_tags[1]).to(past.dtype) for tag in tags)
        same = 0.25 * (first + second)  # (N, P, H)
        said = torch.cat([self.crossed(past) * present, present], -1)  # (N, H, CROSSED + 1)
        total = torch.bmm(same, said)
        return total / (total[..., -1:] + BELIEF)


def rates(rows: Tensor, first: int) -> Tensor:
    """The probabilities behind the predicted-rate columns from `first` on."""
    return torch.sigmoid(rows[..., first : first + len(PREDICTED)] * LOGIT_SCALE)


def mean_of(rows: Tensor, counted: Tensor) -> Tensor:
    """Mean over the second axis of rows (N, M, W) where counted (N, M, 1) is 1; rows are 0 elsewhere."""
    return rows.sum(1) / counted.sum(1).clamp(min=1.0)
