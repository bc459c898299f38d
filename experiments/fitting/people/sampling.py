"""How sure a log is of its own facts: intervals, standard errors and noise floors, all by drawing its people again.

Called by `validate.py`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from nextone.sim.state import Array

BOOTSTRAPS = 200
HALVES = 50
Facts = Callable[[Array], dict[str, float]]
"""facts(weight (n,)): numbers of all people (or videos), each counted so often."""


class Measured(NamedTuple):
    """A number of the log, its 95 % interval, its standard error and its noise floor."""

    value: float
    low: float
    high: float
    error: float
    floor: float = float("nan")


def bootstrap(fact: Facts, n: int) -> dict[str, Measured]:
    """Each fact of all n people (or videos), with its interval from samples of n drawn with replacement; always the
    same draws."""
    rng = np.random.Generator(np.random.Philox(key=n))
    drawn = (np.bincount(rng.integers(n, size=n), minlength=n).astype(float) for _ in range(BOOTSTRAPS))
    again = [fact(weight) for weight in drawn]
    found = {}
    for name, value in fact(np.ones(n)).items():
        each = np.array([sample[name] for sample in again])
        each = each[~np.isnan(each)]
        if np.isnan(value) or len(each) == 0:
            found[name] = Measured(value, np.nan, np.nan, 0.0)
        else:
            found[name] = Measured(value, *(float(x) for x in (*np.quantile(each, [0.025, 0.975]), each.std())))
    return found


def noise_floors(fact: Facts, n: int) -> dict[str, float]:
    """How far a fact of one log is from that of another log with as many other people, by luck alone.

    It is the mean over HALVES random halves of |fact(one half) - fact(the other half)|, divided by the root of two: two
    logs of n people each differ by less than two halves of n people."""
    apart: dict[str, list[float]] = {}
    for half in halves(n):
        one, other = fact(half), fact(1 - half)
        for name in one:
            apart.setdefault(name, []).append(abs(one[name] - other[name]))
    return {name: _typical(each) for name, each in apart.items()}


def distance_floors(distance: Facts, n: int) -> dict[str, float]:
    """`noise_floors` for facts that are themselves distances of resampled people from all: half as far as from the
    others."""
    apart: dict[str, list[float]] = {}
    for half in halves(n):
        for name, value in distance(half).items():
            apart.setdefault(name, []).append(2 * value)
    return {name: _typical(each) for name, each in apart.items()}


def halves(n: int) -> Iterable[Array]:
    """Which of n people are in one half, (n,), HALVES times; always the same draws."""
    rng = np.random.Generator(np.random.Philox(key=[n, 0x68616C76]))
    return [(rng.permutation(n) < n // 2).astype(float) for _ in range(HALVES)]


def with_floors(known: dict[str, Measured], floors: dict[str, float]) -> dict[str, Measured]:
    """The facts, with noise floors where there are any."""
    return {name: of._replace(floor=floors.get(name, of.floor)) for name, of in known.items()}


def _typical(apart: list[float]) -> float:
    there = [x for x in apart if np.isfinite(x)]
    return float(np.mean(there) / np.sqrt(2)) if there else float("nan")
