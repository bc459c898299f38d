"""How large an A/B test on real people must be to see a difference: their variance, from simulated people.

Between people is where the variance of a real test is: one stays for minutes, another for an hour, and chance puts them
into the arms. The simulator shows every arm the same people with the same luck, and sees the same difference with far
fewer. Here both are put side by side. Called by `nextone ab-size`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text
from scipy.special import ndtri

from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.metrics import IN_WORDS, PRIMARY, column_of
from nextone.experiments.runs.replication import run_arm
from nextone.experiments.runs.statistics import CONFIDENCE
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import plural
from nextone.sim.scenario import SettingError

from .analysis import less_known

DAY_US = 86_400_000_000
POWER = 0.8  # the usual one of online tests
RESAMPLES = 400  # of people, for the intervals


class Size(NamedTuple):
    """What a test of this many days needs. Bounds are a 95 % bootstrap over people."""

    days: int
    mean_min: float  # time in the app per person and day
    sd_of_mean: float  # between people, of their mean over the days, as a share of it
    correlation: float  # with the same people's mean over as many days before
    per_arm: int  # people
    low: int
    high: int
    per_arm_cuped: int  # with the days before as a covariate


def daily_minutes(scenario: Scenario, days: int, seed: int) -> NDArray[np.float64]:
    """Minutes in the app by person and day, (people, days), under `cloud_only` with ample servers; a session counts
    for the day on which it began."""
    run = run_arm(scenario, "cloud_only", seed=seed, replication=0, days=float(days), engine="batch")
    sessions = run.records.sessions
    minutes = np.zeros((len(run.world.users), days))
    day = np.minimum(sessions["open_us"] // DAY_US, days - 1)
    np.add.at(minutes, (sessions["user"], day), (sessions["close_us"] - sessions["open_us"]) / 6e7)
    return minutes


def sizes(minutes: NDArray[np.float64], difference_pct: float, lengths: Sequence[int], seed: int = 0) -> list[Size]:
    """The size of a test, for each of these lengths in days, which may be at most half of the days simulated. minutes:
    of `daily_minutes`. Raises SettingError.

    People per arm: 2 (z + z')^2 (sd / difference)^2 for a two-sided test at 5 % that finds it in four of five cases,
    with CUPED by the sd that `analysis.less_known` leaves."""
    people, simulated = minutes.shape
    if not (difference_pct and math.isfinite(difference_pct)):
        raise SettingError(f"--difference {difference_pct:g}: must be a number of percent other than 0")
    if min(lengths) < 1 or 2 * max(lengths) > simulated:
        raise SettingError(f"tests of 1 to {simulated // 2} days fit into {simulated} simulated days, not {lengths}")
    draw = np.random.Generator(np.random.Philox(seed)).integers(0, people, (RESAMPLES, people))
    return [_size(minutes, difference_pct, days, draw) for days in lengths]


def _size(minutes: NDArray[np.float64], difference_pct: float, days: int, draw: NDArray[np.int64]) -> Size:
    now, before = minutes[:, -days:].mean(axis=1), minutes[:, -2 * days : -days].mean(axis=1)
    share = float(now.std(ddof=1) / now.mean())
    correlation = float(np.corrcoef(now, before)[0, 1]) if before.std() and now.std() else 0.0
    (left,) = less_known([now], [before])
    again = now[draw]
    shares = again.std(axis=1, ddof=1) / again.mean(axis=1)
    low, high = (needed(float(np.quantile(shares, q)), difference_pct) for q in (0.025, 0.975))
    whole = needed(share, difference_pct)
    return Size(
        days, float(now.mean()), share, correlation, whole, low, high,
        needed(float(left.std(ddof=1) / now.mean()), difference_pct),
    )  # fmt: skip


def needed_errors() -> float:
    """How many standard errors a difference must be, to be seen by a two-sided 5 % test in four cases of five."""
    return float(ndtri((1 + CONFIDENCE) / 2) + ndtri(POWER))


def needed(sd_share: float, difference_pct: float) -> int:
    """People per arm. sd_share: their standard deviation, as a share of their mean; difference_pct: to be found, in
    percent."""
    return math.ceil(2 * (needed_errors() * sd_share / (difference_pct / 100)) ** 2)


def seen_between(sd_share: float, per_arm: int) -> float:
    """Half of the 95 % interval, in percent, that a test with so many people per arm leaves."""
    return 100 * float(ndtri((1 + CONFIDENCE) / 2)) * sd_share * math.sqrt(2 / per_arm)


class Paired(NamedTuple):
    """How precisely a comparison measured the difference of its best arm."""

    arm: str
    difference_pct: float
    half_pct: float  # half of its 95 % interval
    people: int  # that each arm met, over all replications


def precision(result: Comparison) -> Paired:
    """The precision for the arm with the most time in the app. Raises SettingError if no arm differs from the
    baseline."""
    m = column_of(PRIMARY)
    told = {a: d for a, row in enumerate(result.differences) if (d := row[m]) is not None and d.diff_pct}
    if not told:
        raise SettingError(f"no arm differs from {result.baseline.label} in {PRIMARY}: there is nothing to see")
    best = max(told, key=lambda a: told[a].diff)
    mean, high = told[best].diff_pct, told[best].diff_pct_high
    assert mean is not None and high is not None
    people = result.baseline.scenario.population.users * result.replications
    return Paired(result.arms[best].label, mean, high - mean, people)


def size_sentences(found: Sequence[Size], difference_pct: float, paired: Paired | None = None) -> list[str]:
    """The answer in words."""
    last = found[-1]
    whose = f", that of {paired.arm}," if paired else ""
    told = [
        f"To see a difference of {difference_pct:.2g} %{whose} in {IN_WORDS[PRIMARY]}, an A/B test of "
        f"{plural(last.days, 'day')} needs {last.per_arm:,} people per arm, {last.per_arm_cuped:,} if the days before "
        "are used (CUPED)."
    ]
    if paired:
        between = seen_between(found[0].sd_of_mean, paired.people)
        told += [
            f"The simulator told it to ±{paired.half_pct:.2g} % from {paired.people:,} people, since both arms met the "
            f"same ones; a test of one day with so many per arm leaves ±{between:.2g} %."
        ]
    return told


def size_table(found: Sequence[Size], people: int, seed: int) -> Table:
    """A row for each length."""
    caption = (
        f"{people:,} simulated people under cloud_only, seed {seed}; [ ]: 95 % bootstrap over people. Two-sided "
        "test at 5 %, power .8. Between people; the difference is taken to be the same on every day. More days help "
        "little where people differ for good. Arms that share servers make any number of them wrong: nextone ab."
    )
    table = Table(title="People for an A/B test", caption=Text(caption), caption_justify="left")
    for head in ("days", "min/person/day", "sd, % of it", "people per arm", "with CUPED", "correlation"):
        table.add_column(head, justify="right")
    for size in found:
        table.add_row(
            str(size.days), f"{size.mean_min:.1f}", f"{100 * size.sd_of_mean:.0f}",
            f"{size.per_arm:,} [{size.low:,}, {size.high:,}]", f"{size.per_arm_cuped:,}", f"{size.correlation:.2f}",
        )  # fmt: skip
    return table
