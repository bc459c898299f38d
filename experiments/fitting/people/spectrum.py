"""Is there a taste in a log that is no tag's? A spectral test of who stays with what.

    python -m nextone.experiments.fitting.people.spectrum [ROUNDS]

What is left of each row's long view, when its video's rate and its person's are taken off, fills a matrix of users and
videos. People who share a taste make it more regular than luck does: its largest singular value exceeds that of the
same numbers with signs drawn at random. Rows and columns are divided by the roots of their sizes (each plus the mean
size), or the most popular video would be the largest factor.

The command prints the log's value, how often the test sees a factor where none is, and how strong a factor it would
have seen: plays drawn with the log's own people and videos, and strength * a[user] * b[video] added to the logit of a
long view, a and b standard normal. Called by `validate.py`.
"""

import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds
from scipy.special import expit, logit

from nextone.experiments.fitting.logs.user_log import UserLog, shipped_log
from nextone.sim.state import Array

from .facts import long_residual, outcomes

PERSON_WEIGHT = 8.0  # a person's rate is shrunk as if so many average rows more were known; beta(2.31, 4.38), about
FLIPS = 30  # draws of signs
LEVEL = 0.05
STRENGTHS = (0.0, 0.4, 0.6, 0.7, 0.8)  # logit; 0: how often a factor is seen where none is
ROUNDS, FEW_FLIPS = 20, 20
LARGEST = "largest factor of users and videos / of random signs"


class Spectrum(NamedTuple):
    """The largest singular value, as a multiple of its mean under random signs."""

    ratio: float
    low: float  # 95 % interval of the ratio under random signs
    high: float
    spread: float  # its standard deviation under random signs
    p: float  # chance of a ratio so large under random signs


def largest_factor(log: UserLog, seed: int = 0, flips: int = FLIPS) -> Spectrum:
    """The test on a log's long views."""
    return of_residual(log, long_residual(log), seed, flips)


def of_residual(log: UserLog, residual: Array, seed: int, flips: int) -> Spectrum:
    """The test on the residuals of long views, each minus its video's rate, (n,)."""
    rows, views = np.bincount(log.user, minlength=log.users), np.bincount(log.video, minlength=log.videos)
    left = residual - (np.bincount(log.user, residual, log.users) / (rows + PERSON_WEIGHT))[log.user]
    left = left / np.sqrt((rows[log.user] + rows.mean()) * (views[log.video] + views.mean()))
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x7369676E]))
    found = _largest(log, left)
    by_luck = np.array([_largest(log, left * rng.choice((-1.0, 1.0), len(left))) for _ in range(flips)])
    ratios = by_luck / by_luck.mean()
    p = (1 + np.count_nonzero(by_luck >= found)) / (1 + flips)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Spectrum(float(found / by_luck.mean()), float(low), float(high), float(ratios.std()), float(p))


def _largest(log: UserLog, values: Array) -> float:
    matrix = sparse.coo_array((values, (log.user, log.video)), shape=(log.users, log.videos)).tocsr()
    first = np.ones(min(matrix.shape))  # where the iteration starts: the same always
    return float(svds(matrix, k=1, v0=first, tol=1e-3, return_singular_vectors=False)[0])


def seen_share(log: UserLog, strength: float, rounds: int, seed: int = 0) -> float:
    """How often the test sees a factor of this strength in long views drawn for the log's people and videos."""
    long, residual = outcomes(log)["long view"], long_residual(log)
    rows = np.bincount(log.user, minlength=log.users)
    person = np.bincount(log.user, residual, log.users) / (rows + PERSON_WEIGHT)
    chance = np.clip(long - residual + residual.mean() + person[log.user], 0.02, 0.98)
    seen = 0
    for k in range(rounds):
        rng = np.random.Generator(np.random.Philox(key=[seed + k, 0x706C616E]))
        factor = rng.standard_normal(log.users)[log.user] * rng.standard_normal(log.videos)[log.video]
        drawn = rng.random(len(chance)) < expit(logit(chance) + strength * factor)
        again = replace(log, labels={**log.labels, "long view": drawn})
        seen += largest_factor(again, seed + k, FEW_FLIPS).p <= LEVEL
    return seen / rounds


def text(log: UserLog, rounds: int) -> str:
    """The test's result and its power, as text."""
    of = largest_factor(log, flips=200)
    lines = [
        f"{log.source}: the largest factor is {of.ratio:.4f} times that of random signs "
        f"(95 % of these: {of.low:.4f} to {of.high:.4f}), p {of.p:.3f}",
        f"a planted factor, strength in logit: share of {rounds} logs in which the test sees it at p <= {LEVEL:g}",
    ]
    lines += [f"  {strength:3.1f}  {seen_share(log, strength, rounds):4.0%}" for strength in STRENGTHS]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(text(shipped_log(), int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS) + "\n")
