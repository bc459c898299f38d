"""Facts of an impression log: every number by which simulated people are compared with real ones, defined once.

The same functions are applied to a measured log and to a simulated one (`thinning.py`), shrinkage and
minimum counts included. All are built from sums per person, so that a bootstrap over people is a product of matrices.
Facts of two rows of a person, by the time between them, are in `lags.py`; of activity and authors in `groups.py`.
Called by `experiments/fitting/people/calibrate.py` and `experiments/fitting/people/validate.py`.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.feedback import SHORT_US
from nextone.sim.state import Array
from nextone.sim.watching import COMPLETE_RATIO, LONG_US, SKIP_US, VALID_US

PLAY_S = (1, 2, 3, 5, 7, 10, 20, 30, 60)
HAZARD_S = range(10)
HAZARD_FROM_S = 60  # hazards are of videos of at least this length, in which the end plays no part
LENGTHS_S = (7, 12, 18, 30, 60, 90, 120, 180, 300, np.inf)
"""Edges of the nine classes of length, each (from, to]."""
CLASSES = tuple(f"{a:g} to {b:g} s" if b < np.inf else f"over {a:g} s" for a, b in pairwise(LENGTHS_S))
CLASS_PLAY_S = (0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 200, 300)
CLASS_RATIO = (0.5, 0.95, 1.05, 1.5, 2.0)
LEVELS = ("valid play", "long view", "complete", "skip < 2 s")
MEAN_PLAY = "mean play time, s"
SPREADS = ("long view", "skip < 2 s", "valid play", "like")
MIN_ROWS = 5  # of a person or a video, to count in a spread
MIN_TAG_ROWS = 100  # of a tag, to count in the spread between tags
MIN_SEQUENCE = 20  # of a person's sequence, for its entropy
VIDEO_WEIGHT = 13.6  # a video's long-view rate is shrunk as if it had so many average views; beta(4.84, 8.77)


class LogSums(NamedTuple):
    """Sums per person of a log; every fact is a function of their total, weighted by person."""

    names: tuple[str, ...]  # of the ratios
    over: Array  # (U, K) numerators of the ratios
    under: Array  # (U, K) denominators
    spread: Array  # (U, len(SPREADS), 5): of persons with MIN_ROWS: n, k, k^2 / n, n^2, 1
    tag: Array  # (U, T, 2): long views and rows
    by_video: tuple[Any, ...]  # sparse (U, V) each: rows, long views, likes


class Sequences(NamedTuple):
    """Tags in the order people met them: facts of diversity."""

    entropy: Array  # bits, of those with MIN_SEQUENCE items; NaN for others
    same: Array  # neighbours with the same tag
    pairs: Array  # neighbours


def ratios(log: UserLog) -> dict[str, tuple[Array, Array]]:
    """The facts that are ratios of sums over rows: (numerator, denominator) per row, by name."""
    play_s, length_s = log.play_ms / 1e3, log.duration_ms / 1e3
    bits = outcomes(log)
    every = np.ones(len(play_s), bool)
    rows: dict[str, tuple[Array, Array]] = {f"P(play < {t} s)": (play_s < t, every) for t in PLAY_S}
    long_video = length_s >= HAZARD_FROM_S
    for t in HAZARD_S:
        at_risk = long_video & (play_s >= t)
        rows[f"hazard in second {t}"] = (at_risk & (play_s < t + 1), at_risk)
    rows |= {name: (bits[name], every) for name in LEVELS}
    rows[MEAN_PLAY] = play_s, every
    short = log.play_ms * 1000 < SHORT_US
    given = {"long view": bits["long view"], "completion": bits["complete"], "skip < 5 s": short}
    for kind, flag in log.feedback.items():
        rows[kind] = (flag, every)
        given["a long view, not completed"] = bits["long view"] & ~bits["complete"]
        for what, condition in given.items():
            rows[f"{kind} given {what}"] = (flag & condition, condition)
        otherwise = ~(short | bits["long view"])
        rows[f"{kind} given a middling play"] = (flag & otherwise, otherwise)
        rows[f"{kind} given no long view"] = (flag & ~bits["long view"], ~bits["long view"])
    for k, name in enumerate(CLASSES):
        inside = (length_s > LENGTHS_S[k]) & (length_s <= LENGTHS_S[k + 1])
        rows |= {f"{name}: P(play < {t:g} s)": (inside & (play_s < t), inside) for t in CLASS_PLAY_S}
        rows |= {f"{name}: P(ratio < {r:g})": (inside & (play_s < r * length_s), inside) for r in CLASS_RATIO}
    return rows


def outcomes(log: UserLog) -> dict[str, Array]:
    """What each play counts as, by the thresholds of `sim/watching.py`, or by the log's own label where it has one."""
    play_us, length_us = log.play_ms * 1000, log.duration_ms * 1000
    bits = {
        "valid play": play_us >= np.minimum(VALID_US, length_us),
        "long view": play_us >= np.minimum(LONG_US, length_us),
        "complete": play_us >= COMPLETE_RATIO * length_us,
        "skip < 2 s": play_us < SKIP_US,
    }
    return bits | log.labels


def level_facts(log: UserLog) -> dict[str, float]:
    """Shares of plays and the mean play time, every impression counting once."""
    bits = outcomes(log)
    return {name: float(bits[name].mean()) for name in LEVELS} | {MEAN_PLAY: float(log.play_ms.mean() / 1e3)}


def sum_up(log: UserLog, by_person: bool = True) -> LogSums:
    """The sums of a log; by_person=False: of all people together, ten times as fast."""
    users, user = log.users, log.user
    table = ratios(log)
    over, under = (_sums([pair[side] for pair in table.values()], user, users, by_person) for side in (0, 1))
    bits = outcomes(log) | {"like": log.feedback.get("like", np.zeros(len(user), bool))}
    rows = np.bincount(user, minlength=users).astype(float)
    enough = rows >= MIN_ROWS
    spread = np.zeros((users, len(SPREADS), 5))
    for k, name in enumerate(SPREADS):
        count = np.bincount(user, bits[name], users)
        spread[:, k] = np.stack([rows, count, count**2 / np.maximum(rows, 1), rows**2, np.ones(users)], axis=1)
    spread[~enough] = 0
    long = bits["long view"].astype(float)
    tag = tags_of(log)
    known = tag >= 0
    tags = max(int(tag.max(initial=-1)) + 1, 1)
    cell = user[known].astype(np.int64) * tags + tag[known]
    by_tag = np.stack([np.bincount(cell, w, users * tags) for w in (long[known], None)], axis=1)
    by_tag = by_tag.reshape(users, tags, 2)
    by_video: tuple[Any, ...]
    if by_person:
        by_video = tuple(
            sparse.csr_array((w.astype(float), (user, log.video)), shape=(users, log.videos))
            for w in (np.ones(len(user)), long, bits["like"])
        )
    else:
        spread, by_tag = (x.sum(axis=0, keepdims=True) for x in (spread, by_tag))
        by_video = tuple(np.bincount(log.video, w, log.videos)[None] for w in (None, long, bits["like"]))
    return LogSums(tuple(table), over, under, spread, by_tag, by_video)


def _sums(columns: list[Array], user: Array, users: int, by_person: bool) -> Array:
    """(U, K), or (1, K) if not by person."""
    if by_person:
        return np.stack([np.bincount(user, column, users) for column in columns], axis=1)
    return np.array([[column.sum() for column in columns]], float)


def tags_of(log: UserLog) -> Array:
    """First tags, (n,); -1 where unknown, also where the log has none."""
    return np.full(len(log.user), -1, np.int16) if log.tag is None else log.tag


def long_residual(log: UserLog) -> Array:
    """Each row's long view (0 or 1) minus its video's own rate, shrunk; mean 0, (n,)."""
    long = outcomes(log)["long view"].astype(float)
    views, kept = np.bincount(log.video, minlength=log.videos), np.bincount(log.video, long, log.videos)
    shrunk = (kept + VIDEO_WEIGHT * long.mean()) / (views + VIDEO_WEIGHT)
    residual = long - shrunk[log.video]
    return np.asarray(residual - residual.mean())


def sequences(user: Array, tag: Array, users: int) -> Sequences:
    """Facts of the tags (-1 unknown: left out) that people met one after the other; rows sorted by user and time."""
    user, tag = user[tag >= 0], tag[tag >= 0]
    tags = int(tag.max(initial=0)) + 1
    counts = np.bincount(user.astype(np.int64) * tags + tag, minlength=users * tags).reshape(users, tags)
    rows = counts.sum(axis=1)
    p = counts / np.maximum(rows, 1)[:, None]
    entropy = -np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1)
    entropy[rows < MIN_SEQUENCE] = np.nan
    alike = (user[1:] == user[:-1]) & (tag[1:] == tag[:-1])
    return Sequences(entropy, np.bincount(user[1:], alike, users), np.maximum(rows - 1, 0))


def facts(sums: LogSums, weight: Array | None = None) -> dict[str, float]:
    """The facts of a log; NaN where it says nothing. weight: (U,) how often each person counts (default: once)."""
    w = np.ones(len(sums.over)) if weight is None else weight
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dict(zip(sums.names, (w @ sums.over) / (w @ sums.under), strict=True))
        for k, name in enumerate(SPREADS):
            found[f"spread between users: {name}"] = intra_class(*(w @ sums.spread[:, k]))
        found |= video_facts(*(w @ counts for counts in sums.by_video))
        long_by_tag, by_tag = np.tensordot(w, sums.tag, 1).T
        shown = by_tag >= MIN_TAG_ROWS
        rates = long_by_tag[shown] / by_tag[shown]
        found["spread of long view by tag"] = float(np.std(rates, ddof=1)) if shown.sum() > 1 else np.nan
    return {name: float(value) for name, value in found.items()}


def video_facts(rows: Array, long: Array, like: Array, weight: Array | None = None) -> dict[str, float]:
    """Spread between videos, from their rows, long views and likes, (V,). weight: how often each video counts.

    A person drawn twice by a bootstrap is twice the same row of a video, which looks like spread between videos: a
    sampling error of these facts is one over videos."""
    enough = rows >= MIN_ROWS
    n, w = rows[enough], np.ones(np.count_nonzero(enough)) if weight is None else weight[enough]
    found = {}
    for name, count in (("long view", long), ("like", like)):
        k = count[enough]
        parts: tuple[Any, ...] = (w @ n, w @ k, w @ (k**2 / n), w @ n**2, w.sum())
        with np.errstate(invalid="ignore"):
            found[f"spread between videos: {name}"] = intra_class(*parts)
    return found


def sequence_facts(of: Sequences, weight: Array | None = None) -> dict[str, float]:
    """Median entropy of a person's tags, and how often the next item has the same tag."""
    w = np.ones(len(of.entropy)) if weight is None else weight
    known = ~np.isnan(of.entropy)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "tag entropy per user": weighted_median(of.entropy[known], w[known]),
            "next item same tag": float((w @ of.same) / (w @ of.pairs)),
        }


def weighted_median(x: Array, w: Array) -> float:
    """The median of x with weights w; NaN if there is nothing."""
    if not w.sum() > 0:
        return float("nan")
    order = np.argsort(x)
    reached = np.cumsum(w[order])
    return float(x[order][np.searchsorted(reached, reached[-1] / 2)])


def intra_class(n: float, k: float, k2_n: float, n2: float, groups: float) -> float:
    """Intra-class correlation of a yes or no within groups, by the analysis of variance.

    n: rows, k: yes, k2_n: sum of k^2 / n over groups, n2: sum of n^2, groups: their number."""
    if groups < 2 or n <= groups:
        return float("nan")
    between = (k2_n - k * k / n) / (groups - 1)
    within = (k - k2_n) / (n - groups)
    size = (n - n2 / n) / (groups - 1)
    return float((between - within) / (between + (size - 1) * within))
