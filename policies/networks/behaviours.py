"""What edge networks share: behaviours as two sequences, id embeddings, candidates in server order, masked averages.

A past impression is either a page view (the person engaged: a long view, or feedback other than hate) or an exposure
(watched, without that), as in EdgeRec (CIKM 2020), where the two are never merged. Everything here has fixed shapes and
no branches on data, so that networks can be exported. Called by the networks, their training, and the code that
triggers a rerank.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nextone.envs.features import CANDIDATE, EMBEDDING, MOST_EMBEDDING, MOST_S, PREDICTED, TAG_SCALE, C, H
from nextone.sim.config import DIMS, FEEDBACK

TAGS = int(TAG_SCALE)
TAG_WIDTH, LENGTH_WIDTH = 16, 8  # Assumed: numbers an id is embedded in; EdgeRec publishes 40 for brands only
LENGTHS = 16  # buckets of a video's length, even in log(1 + s)
EMBEDDED = TAG_WIDTH + LENGTH_WIDTH + DIMS
RATE_SCALE = 5.0  # predicted rates are observed in 10 logits, networks learn faster from 2
DEAD = -1e9  # finite, so that no product with zero is undefined
OLDER_PAGE, BY_SLOT = 16.0, 1e-6  # in the server's order: more than all ranks of a page, less than one
EMPTY = 64.0  # more than any page is old, by OLDER_PAGE

ENGAGING = ("long_view", *(kind for kind in FEEDBACK if kind != "hate"))
ACTIONS = (
    "watch_ratio", "play_time", "valid_play", "long_view", "completion", "skip", *FEEDBACK, "position",
)  # fmt: skip
"""History columns that say what the person did; fixed once the impression is over. `since` moves on: see `edgerec`."""
SAID = (*(feature.name for feature in PREDICTED), "duration")
"""Columns that say the same of a candidate and of a past video."""
CLOUD = (*SAID, "popularity", "rank", "score")
"""Candidate columns that the cloud knows too."""
RATES = tuple(feature.name for feature in PREDICTED)
NUMBERS = [k for k, feature in enumerate(CANDIDATE) if feature.name not in ("tag", "tag2") and feature not in EMBEDDING]
"""Candidate columns that are no ids, the predicted rates first."""


def columns_of(names: tuple[str, ...], table: Any) -> list[int]:
    """Column numbers of features by their names, in C, H or X."""
    return [getattr(table, name) for name in names]


def engaged(history: Any) -> Any:
    """Which past impressions are page views: bool (..., H) from history (..., H, Fh), NumPy or torch."""
    first, *others = columns_of(ENGAGING, H)
    some = history[..., first] > 0
    for column in others:
        some = some | (history[..., column] > 0)
    return some & (history[..., H.hate] <= 0) & (history[..., H.present] > 0)


def exposed(history: Any) -> Any:
    """Which past impressions are exposures, not page views: bool (..., H), NumPy or torch."""
    return (history[..., H.present] > 0) & ~engaged(history)


class Embeddings(nn.Module):
    """Id embeddings of videos. They live in the cloud's embedding server; a page brings those of its candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.tag = nn.Embedding(TAGS, TAG_WIDTH)
        self.length = nn.Embedding(LENGTHS, LENGTH_WIDTH)
        for table in (self.tag, self.length):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, rows: Tensor, table: Any) -> Tensor:
        """(N, M, EMBEDDED) from rows (N, M, F) whose columns `table` (C or H) names. Two tags count half each. The
        server's embedding of the video's content comes last, scaled so that the variance of its numbers is about
        one."""
        tags = (rows[..., [table.tag, table.tag2]] * TAG_SCALE).round().long().clamp(0, TAGS - 1)
        length = (rows[..., table.duration] * LENGTHS).long().clamp(0, LENGTHS - 1)
        content = MOST_EMBEDDING * rows[..., table.embedding_0 : table.embedding_0 + DIMS]
        return torch.cat([self.tag(tags).mean(-2), self.length(length), content], -1)


class Sequence(NamedTuple):
    """Some of the past impressions, oldest first, padding at the end."""

    actions: Tensor  # (N, H, len(ACTIONS))
    items: Tensor  # (N, H, EMBEDDED + len(SAID))
    since: Tensor  # (N, H): time since, as the feature of that name
    present: Tensor  # (N, H) 0 or 1


def behaviour_sequence(history: Tensor, embedded: Tensor, member: Tensor) -> Sequence:
    """Those rows of history (N, H, Fh), with their embeddings (N, H, EMBEDDED), that are members (N, H), in the order
    of time."""
    order = oldest_first(member)
    present = torch.gather(member, 1, order).to(history.dtype)
    actions, items = what_was_done(history), what_it_was(history, embedded, H)
    return Sequence(
        taken(actions, order) * present[..., None], taken(items, order) * present[..., None],
        torch.gather(history[..., H.since], 1, order) * present, present,
    )  # fmt: skip


def oldest_first(member: Tensor) -> Tensor:
    """An order (N, H) of rows that run from the newest to the oldest: members (N, H) first, the oldest of them first,
    then the others."""
    age = torch.arange(member.shape[1], device=member.device)
    return torch.argsort(torch.where(member, -age, age + 1))  # all different


def what_was_done(history: Tensor) -> Tensor:
    """Features of the person's action, of past impressions, (..., len(ACTIONS))."""
    return history[..., columns_of(ACTIONS, H)]


def what_it_was(rows: Tensor, embedded: Tensor, table: Any) -> Tensor:
    """Features of the video, of candidates or past impressions, (..., EMBEDDED + len(SAID)): the same for both."""
    return torch.cat([embedded, scaled(rows, columns_of(SAID, table))], -1)


def scaled(rows: Tensor, columns: list[int]) -> Tensor:
    """Columns of candidates or past impressions. The first of them are the predicted rates, which are put on
    RATE_SCALE."""
    rates = len(PREDICTED)
    return torch.cat([RATE_SCALE * rows[..., columns[:rates]], rows[..., columns[rates:]]], -1)


def cloud_items(candidates: Tensor, embedded: Tensor) -> Tensor:
    """Those features of candidates that the cloud knows too, (N, P, EMBEDDED + len(CLOUD))."""
    return torch.cat([embedded, scaled(candidates, columns_of(CLOUD, C))], -1)


def server_order(candidates: Tensor, mask: Tensor) -> Tensor:
    """Slots (N, P) in the server's order: older pages first, then by rank; empty slots last."""
    slots = torch.arange(candidates.shape[1], device=candidates.device, dtype=candidates.dtype)
    key = candidates[..., C.rank] - OLDER_PAGE * candidates[..., C.page_age] + BY_SLOT * slots
    return torch.argsort(torch.where(mask > 0, key, key + EMPTY))


def taken(rows: Tensor, order: Tensor) -> Tensor:
    """The rows (N, M, F) in another order (N, M)."""
    return torch.gather(rows, 1, order[..., None].expand(-1, -1, rows.shape[-1]))


def put_back(values: Tensor, order: Tensor) -> Tensor:
    """Values (N, M, K) of rows that were `taken` in an order, back in the rows' own places."""
    return torch.zeros_like(values).scatter(1, order[..., None].expand_as(values), values)


def last_present(rows: Tensor, present: Tensor) -> Tensor:
    """The last row (N, F) that is present (N, M), of rows (N, M, F); 0 if none is."""
    count = present.sum(1).long()
    at = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, rows.shape[-1])
    return torch.gather(rows, 1, at)[:, 0] * (count > 0)[:, None]


def attention_weights(energy: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis where present, which is broadcast to the energy's shape; all 0 where nothing is
    present."""
    weights = torch.softmax(torch.where(present > 0, energy, DEAD), -1)
    return weights * present


def megabytes(module: nn.Module) -> float:
    """Size of a module's weights as float32, in 1e6 bytes."""
    return 4e-6 * sum(parameter.numel() for parameter in module.parameters())


def seconds(column: Any) -> Any:
    """The seconds in a column of log-scaled seconds, NumPy or torch."""
    return (1.0 + MOST_S) ** column - 1.0
