"""Facts of groups of rows: of people by how active they are, and of videos by their authors.

Called by `validate.py`.
"""

from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.state import Array

from .facts import MIN_ROWS, outcomes
from .lags import next_row

FIFTHS = ("fewest rows", "few rows", "a middling number", "many rows", "most rows")
ACTIVITY = tuple(f"valid play, fifth of the people with {name}" for name in FIFTHS)
ACTIVITY_CORRELATION = "correlation over people of log rows with valid play"
ACTIVITY_SPREAD = "standard deviation over people of log rows"
ACTIVITY_ROWS = "rows of who has any"
NEXT_AUTHOR = "next row of the same author"
LIKE_AUTHORS = "correlation of long views of two videos of one author"


def people_sums(log: UserLog) -> Array:
    """(U, 2): rows and valid plays of each person."""
    valid = np.bincount(log.user, outcomes(log)["valid play"], log.users)
    return np.stack([np.bincount(log.user, minlength=log.users), valid], axis=1)


def activity_facts(sums: Array, weight: Array | None = None) -> dict[str, float]:
    """How watching depends on activity. They are: valid plays by fifth of the people, from those with fewest rows; the
    correlation of log rows with the person's share of valid plays; and how many rows people have, and how far people
    differ in that. People with the same number of rows are shared out between the fifths in which they lie."""
    w = np.ones(len(sums)) if weight is None else weight
    rows, valid = sums.T
    there = rows > 0
    rows, valid, w = rows[there], valid[there], w[there]
    most = int(rows.max(initial=0))
    by_rows = (np.bincount(rows.astype(int), w * x, most + 1) for x in (np.ones(len(rows)), rows, valid))
    people, of_rows, of_valid = (np.append(0.0, np.cumsum(x)) for x in by_rows)
    edges = np.linspace(0, people[-1], len(FIFTHS) + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.diff(np.interp(edges, people, of_valid)) / np.diff(np.interp(edges, people, of_rows))
        x, y = np.log(rows), valid / rows
        covariance = np.cov(np.stack([x, y]), aweights=w) if w.sum() > 1 else np.full((2, 2), np.nan)
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    found = {ACTIVITY_CORRELATION: float(correlation), ACTIVITY_SPREAD: float(np.sqrt(covariance[0, 0]))}
    found[ACTIVITY_ROWS] = float(of_rows[-1] / people[-1]) if people[-1] > 0 else float("nan")
    return found | dict(zip(ACTIVITY, map(float, share), strict=True))


def author_sums(log: UserLog) -> Array:
    """(U, 2): of each person's rows with a next one (`lags.next_row`), those of the same author, and all."""
    if log.author is None:
        return np.zeros((log.users, 2))
    known = log.author >= 0
    user, author = log.user[known], log.author[known]
    after = next_row(np.searchsorted(user, np.arange(log.users + 1)), log.time_ms[known], log.video[known])
    row = np.flatnonzero(after >= 0)
    same = author[row] == author[after[row]]
    return np.stack([np.bincount(user[row], x, log.users) for x in (same, None)], axis=1)


def author_facts(sums: Array, weight: Array | None = None) -> dict[str, float]:
    """How often the next row has the same author."""
    same, every = sums.sum(axis=0) if weight is None else weight @ sums
    return {NEXT_AUTHOR: float(same / every) if every > 0 else float("nan")}


class AuthorSums(NamedTuple):
    """Sums per author with a video of MIN_ROWS rows, over such videos."""

    departure: Array  # (A,) sum of the departures of the videos' long-view rates from the mean video's
    square: Array  # (A,) sum of their squares
    videos: Array  # (A,)
    variance: float  # of one long view


def author_likeness_sums(log: UserLog) -> AuthorSums:
    """The sums of a log; empty if it knows no authors."""
    nothing = np.zeros(0)
    if log.author is None:
        return AuthorSums(nothing, nothing, nothing, 1.0)
    long = outcomes(log)["long view"]
    rows, kept = np.bincount(log.video, minlength=log.videos), np.bincount(log.video, long, log.videos)
    author = np.full(log.videos, -1)
    author[log.video] = log.author
    enough = (rows >= MIN_ROWS) & (author >= 0)
    code = np.unique(author[enough], return_inverse=True)[1]
    departure = kept[enough] / rows[enough]
    departure -= departure.mean() if len(departure) else 0.0
    total, square, videos = (np.bincount(code, x) for x in (departure, departure**2, None))
    return AuthorSums(total, square, videos, float(long.mean() * (1 - long.mean())))


def author_likeness(sums: AuthorSums, weight: Array | None = None) -> dict[str, float]:
    """How alike two videos of one author are, on the scale of the spread between videos: the covariance of the
    long-view rates of two different videos of an author, as a share of the variance of one long view. Rates of two
    videos come from different rows, so luck adds nothing. weight: (A,) how often each author counts."""
    w = np.ones(len(sums.videos)) if weight is None else weight
    pairs = w @ (sums.videos**2 - sums.videos)
    together = w @ (sums.departure**2 - sums.square)
    return {LIKE_AUTHORS: float(together / pairs / sums.variance) if pairs > 0 else float("nan")}
