"""What an experimentation platform makes of a test: differences between the people of two arms, and how sure they are.

A unit is what was hashed: a person, a region or a stretch of time. Each metric is a ratio of two sums over units (of a
mean, ones are summed below), and is linearised (delta method). Intervals are Welch's, relative ones Fieller's. With the
same people's values before the test, CUPED takes away what those predict. Called by `run.py`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from nextone.experiments.runs.statistics import CONFIDENCE, PairedDifference, paired
from nextone.sim.state import Array

from .people import Sums


class Side(NamedTuple):
    """One arm in one metric."""

    units: int
    mean: float
    sd: float  # between units, of what is linearised if it is a ratio
    variance: float  # of the mean


class Found(NamedTuple):
    """What a test says of a metric: the control, the treated, and their difference."""

    control: Side
    treated: Side
    fixed: PairedDifference  # at the end, by itself
    always: tuple[float, float] | None  # percent: an interval that holds at every look; None where `fixed` has none
    saved: float  # share of the variance that CUPED took away


def between(
    sums: Sums, treated: Array, unit: Array | None = None, before: Sums | None = None, planned: int | None = None
) -> Found | None:
    """The difference between arms. sums and treated: (N,) of the people who count. unit: (N,) what was hashed, None:
    the person. before: the same metric of the same people before the test, for CUPED. planned: units at the end of the
    test, for which the interval that always holds is shortest; None: those there are. None where undefined.

    Source of CUPED: A. Deng, Y. Xu, R. Kohavi, T. Walker, Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data, WSDM 2013; of ratios: A. Deng, U. Knoblich, J. Lu, Applying the delta method in
    metric analytics, KDD 2018."""
    if unit is not None:
        units, place = np.unique(unit, return_inverse=True)
        member = np.zeros(len(units), bool)
        member[place] = treated != 0
        sums, treated = _by_unit(sums, place, len(units)), member
        before = before and _by_unit(before, place, len(units))
    treated = np.asarray(treated, bool)
    lines = [linear(sums.of(rows)) for rows in (~treated, treated)]
    if any(len(line) < 2 or not np.isfinite(line).all() for line in lines):
        return None
    told = lines
    if before is not None:
        known = linear(before)
        told = less_known(lines, [known[rows] for rows in (~treated, treated)])
    control, test = (_side(line) for line in told)
    plain = sum(_side(line).variance for line in lines)
    saved = 1 - (control.variance + test.variance) / plain if plain > 0 else 0.0
    fixed = _difference(control, test)
    always = None if fixed.diff_pct is None else _ratio_within(control, test, boundary(fixed.n, planned or fixed.n))
    return Found(control, test, fixed, always, saved)


def _ratio_within(control: Side, treated: Side, reach: float) -> tuple[float, float] | None:
    """The relative differences, percent, that so many standard errors leave possible: those ratios by which the
    control's mean may be multiplied to be that close to the treated's. None where every ratio may be.

    Of a rare metric it holds where the delta method's interval does not, since nothing is divided by an uncertain mean;
    with many people both are the same. Source: E. C. Fieller, Some problems in interval estimation, J. Royal Stat.
    Society B 16(2), 1954.
    """
    a = control.mean**2 - reach**2 * control.variance
    b = control.mean * treated.mean
    c = treated.mean**2 - reach**2 * treated.variance
    if not a > 0:
        return None
    half = math.sqrt(max(b * b - a * c, 0.0))
    return 100 * ((b - half) / a - 1), 100 * ((b + half) / a - 1)


def linear(sums: Sums) -> Array:
    """Numbers of each unit whose mean is the ratio of the sums, and whose variance is its variance: delta method."""
    below = sums.bottom.mean() if len(sums.bottom) else 0.0
    if not below > 0:
        return np.full(len(sums.top), np.nan)
    ratio = sums.top.mean() / below
    return np.asarray(ratio + (sums.top - ratio * sums.bottom) / below)


def _by_unit(sums: Sums, place: Array, units: int) -> Sums:
    return Sums(*(np.bincount(place, part, minlength=units) for part in sums))


def less_known(values: Sequence[Array], known: Sequence[Array]) -> list[Array]:
    """CUPED: each unit's value less what is known of it beforehand predicts, one slope for all groups. Both by group;
    what is known is taken around its mean over all, since groups differ in it by chance alone."""
    middle = np.concatenate(known).mean()
    apart = [x - x.mean() for x in known]
    spread = sum(float((x * x).sum()) for x in apart)
    if not (math.isfinite(spread) and spread > 0):
        return list(values)
    slope = sum(float((x * y).sum()) for x, y in zip(apart, values, strict=True)) / spread
    return [y - slope * (x - middle) for x, y in zip(known, values, strict=True)]


def _side(line: Array) -> Side:
    return Side(len(line), float(line.mean()), float(line.std(ddof=1)), float(line.var(ddof=1)) / len(line))


def _difference(control: Side, treated: Side) -> PairedDifference:
    """Welch's interval of the difference in the metric's unit, and that of the relative one, which leaves 0 out where
    the first does. Percentages are None where the control's mean cannot be told from 0."""
    diff, error = treated.mean - control.mean, math.sqrt(control.variance + treated.variance)
    freedom = _freedom(control, treated)
    reach = float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2))
    within = _ratio_within(control, treated, reach)
    pct, low, high = (100 * diff / control.mean, *within) if within else (None, None, None)
    p = float(diff == 0) if error == 0 else float(2 * stdtr(freedom, -abs(diff) / error))
    n = control.units + treated.units
    found = diff, diff - reach * error, diff + reach * error, pct, low, high, None, None, n
    return PairedDifference(*found, p, p < 1 - CONFIDENCE)


def _freedom(control: Side, treated: Side) -> float:
    """Degrees of freedom of a difference of two means (Welch, Satterthwaite)."""
    a, b = control.variance, treated.variance
    return (a + b) ** 2 / (a**2 / (control.units - 1) + b**2 / (treated.units - 1)) if a + b > 0 else math.inf


def boundary(n: float, planned: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors an interval must reach to hold the truth at every number n of units at once, with this
    probability, for many units. Shortest near `planned` of them: about 3 standard errors, where 2 hold once.

    Source: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, Time-uniform central limit theory and
    asymptotic confidence sequences, Annals of Statistics 52(6), 2024: theorem 2.2 and its choice of rho."""
    miss = -2 * math.log(1 - confidence)
    weight = (miss + math.log(miss) + 1) * n / planned  # n rho^2
    return math.sqrt((1 + 1 / weight) * (miss + math.log1p(weight)))


def same_people(control: Sums, treated: Sums) -> PairedDifference | None:
    """The difference between two worlds with the same people and luck: what everybody's treatment changes. Intervals
    are over people."""
    lines = linear(control), linear(treated)
    if not all(np.isfinite(line).all() for line in lines):
        return None
    return paired(*lines)


class Spill(NamedTuple):
    """How far sharing a world moves a test, in percent of the control's mean were nobody treated: what people in the
    test gain or lose because others are in the other arm."""

    treated: float
    control: float
    bias: float  # of the test's difference: treated - control
    error: float  # standard error of bias, over people


def spill(test: Sums, arms: Array, worlds: tuple[Sums, Sums], arm: int) -> Spill | None:
    """Of one metric, between the control and one arm. test: of all people in the test, arms: (N,) theirs, worlds: of
    all people were nobody treated, and were everybody. With nothing shared each is exactly 0."""
    base = linear(worlds[0])
    if not np.isfinite(base).all() or not base.mean():
        return None
    moved = []
    for which, alone in ((arm, worlds[1]), (0, worlds[0])):
        rows = arms == which
        lived, had = test.of(rows), alone.of(rows)
        d = linear(lived) - linear(had)
        if not np.isfinite(d).all() or len(d) < 2:
            return None
        moved.append(100 * d / base.mean())
    treated, control = moved
    error = math.sqrt(treated.var(ddof=1) / len(treated) + control.var(ddof=1) / len(control))
    return Spill(float(treated.mean()), float(control.mean()), float(treated.mean() - control.mean()), error)
