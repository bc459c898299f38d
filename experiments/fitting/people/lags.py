"""Facts of two rows of one person by the time between them: what passes with time, and how fast the cloud reacts.

Two kinds. Of all pairs of rows: the correlation of what is left of their long views when each video's own rate is taken
off, for two videos of one tag and of different tags. Of each row and the next one: whether the cloud shows the tag
again, the more so after a long view than after a skip.

Fitted and judged are pairs of different videos delivered more than a minute apart. Within one delivery the cloud chose
the videos together; within a minute only those who skip get the next page; a video delivered twice is one video. These
three are shown, and nothing is fitted to them. Called by `validate.py`, `calibrate.py`,
`interests_fit.py` and `play_fit.py`.
"""

from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.engine.kernel import entry
from nextone.sim.state import Array

from .facts import long_residual, outcomes, tags_of

MINUTE_MS = 60_000
EVER_MS = np.iinfo(np.int64).max
TOO_NEAR = ("same delivery", "under a minute")
LAGS = (
    "1 to 5 min", "5 to 15 min", "15 to 30 min", "30 to 60 min", "1 to 2 h", "2 to 6 h", "6 to 24 h", "beyond a day",
)  # fmt: skip
EDGES_MS = np.array([0, 1, *(MINUTE_MS * m for m in (1, 5, 15, 30, 60, 120, 360, 1440)), EVER_MS])
"""Of the classes TOO_NEAR and LAGS, each [from, to)."""
REACTIONS = ("1 to 5 min", "5 to 15 min", "15 to 30 min", "30 to 60 min", "1 to 24 h", "beyond a day")
REACTION_EDGES_MS = np.array([*(MINUTE_MS * m for m in (1, 5, 15, 30, 60, 1440)), EVER_MS])
SAME, OTHER, REPEAT = range(3)  # what two rows are of: two videos of one tag, of two tags, one video twice

SAME_LESS_OTHER = tuple(f"residual correlation, {lag}: same tag less other tags" for lag in LAGS)
OTHER_LESS_LASTING = tuple(f"residual correlation, {lag}: other tags less beyond a day" for lag in LAGS[:-1])
LASTING = f"residual correlation, {LAGS[-1]}: other tags"
REACTION = tuple(f"next row has the tag, {lag}: after a long view less after a skip" for lag in REACTIONS)
SHOWN = (
    *(f"residual correlation, {lag}: {tags}" for lag in TOO_NEAR for tags in ("same tag", "other tags")),
    "residual correlation, repeats of a video",
)
SECOND_STAGE = {
    **dict.fromkeys(SAME_LESS_OTHER, 0.01), **dict.fromkeys(OTHER_LESS_LASTING, 0.01), **dict.fromkeys(REACTION, 0.01),
}  # fmt: skip
"""What is to be met by simulating anew under other settings, and how closely, about the scoreboard's tolerance: mood
and how long it lasts (other tags less beyond a day), intents and what the cloud makes of them (the other two)."""


INTO = tuple(f"valid play, {lag} after coming back: less that of the person's other rows" for lag in LAGS[:3])
APART_MS = 60 * MINUTE_MS  # of a row at which a person comes back, from the one before. Assumed: an hour


class LagSums(NamedTuple):
    """Sums per person."""

    pairs: Array  # (U, classes of lag, 3, 2): sum and number of products of residuals; SAME, OTHER, REPEAT
    square: Array  # (U, 2): sum and number of squared residuals
    reaction: Array  # (U, classes of reaction, 2, 2): after a long view, after a skip: with the same tag, all
    into: Array  # (U, lags of INTO, 2): sum of valid plays less the person's rate at other times, and number


def sum_lags(log: UserLog) -> LagSums:
    """The sums of a log; rows whose tag is unknown are left out."""
    users, tag = log.users, tags_of(log)
    residual, bits = long_residual(log), outcomes(log)
    square = np.stack([np.bincount(log.user, residual**2, users), np.bincount(log.user, minlength=users)], axis=1)
    known = tag >= 0
    user, tag, video, time_ms = log.user[known], tag[known], log.video[known], log.time_ms[known]
    start = np.searchsorted(user, np.arange(users + 1))
    pairs = np.zeros((users, len(EDGES_MS) - 1, 3, 2))
    add_lags(start, time_ms, tag, video, residual[known], EDGES_MS, pairs)
    after = next_row(start, time_ms, video)
    row = np.flatnonzero(after >= 0)
    after = after[row]
    lag = np.searchsorted(REACTION_EDGES_MS, time_ms[after] - time_ms[row], side="right") - 1
    reaction = np.zeros((users, len(REACTIONS), 2, 2))
    for k, name in enumerate(("long view", "skip < 2 s")):
        given = bits[name][known][row]
        np.add.at(reaction[:, :, k, 0], (user[row][given], lag[given]), tag[after][given] == tag[row][given])
        np.add.at(reaction[:, :, k, 1], (user[row][given], lag[given]), 1)
    into = np.zeros((users, len(INTO), 2))
    add_into(start, time_ms, bits["valid play"][known].astype(float), EDGES_MS[len(TOO_NEAR) :], into)
    return LagSums(pairs, square, reaction, into)


def lag_facts(sums: LagSums, weight: Array | None = None) -> dict[str, float]:
    """The facts; NaN where the log says nothing. weight: (U,) how often each person counts (default: once)."""
    w = np.ones(len(sums.pairs)) if weight is None else weight
    pairs, square, reaction, into = (np.tensordot(w, each, 1) for each in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = square[0] / square[1]
        level = pairs[:, :, 0] / pairs[:, :, 1] / variance
        repeats = pairs[:, REPEAT].sum(axis=0)
        shares = reaction[:, :, 0] / reaction[:, :, 1]
        shown = (*level[: len(TOO_NEAR), :REPEAT].ravel(), repeats[0] / repeats[1] / variance)
        along = into[:, 0] / into[:, 1]
    judged = level[len(TOO_NEAR) :]
    found = dict(zip(INTO, along, strict=True))
    found |= dict(zip(SHOWN, shown, strict=True)) | {LASTING: judged[-1, OTHER]}
    found |= dict(zip(SAME_LESS_OTHER, judged[:, SAME] - judged[:, OTHER], strict=True))
    found |= dict(zip(OTHER_LESS_LASTING, judged[:-1, OTHER] - judged[-1, OTHER], strict=True))
    found |= dict(zip(REACTION, shares[:, 0] - shares[:, 1], strict=True))
    return {name: float(value) for name, value in found.items()}


@entry
def add_lags(start, time_ms, tag, video, residual, edges_ms, out):
    """Products of the residuals of every two rows of a person, added up by the time between them and by whether their
    tags are equal."""
    for u in range(len(start) - 1):
        for i in range(start[u], start[u + 1]):
            k = 0  # gaps grow with j
            for j in range(i + 1, start[u + 1]):
                gap = time_ms[j] - time_ms[i]
                while gap >= edges_ms[k + 1]:
                    k += 1
                kind = REPEAT if video[i] == video[j] else SAME if tag[i] == tag[j] else OTHER
                out[u, k, kind, 0] += residual[i] * residual[j]
                out[u, k, kind, 1] += 1


@entry
def add_into(start, time_ms, valid, edges_ms, out):
    """Add by how much the rows' share of valid plays differs from that of the person's rows at other times, by the time
    since the person came back."""
    for u in range(len(start) - 1):
        rows, total = start[u + 1] - start[u], valid[start[u] : start[u + 1]].sum()
        first = start[u]
        while first < start[u + 1]:
            end = first + 1
            while end < start[u + 1] and time_ms[end] - time_ms[end - 1] < APART_MS:
                end += 1
            others = rows - (end - first)
            for i in range(first + 1, end if others > 0 else first):
                usual = (total - valid[first:end].sum()) / others
                k = np.searchsorted(edges_ms, time_ms[i] - time_ms[first], side="right") - 1
                if 0 <= k < out.shape[1]:
                    out[u, k, 0] += valid[i] - usual
                    out[u, k, 1] += 1
            first = end


@entry
def next_row(start, time_ms, video):
    """For each row, the next row of the same person that is of another video and was delivered a minute later or more,
    (n,); or -1."""
    after = np.full(len(time_ms), -1)
    for u in range(len(start) - 1):
        for i in range(start[u], start[u + 1]):
            for j in range(i + 1, start[u + 1]):
                if time_ms[j] - time_ms[i] >= MINUTE_MS and video[j] != video[i]:
                    after[i] = j
                    break
    return after
