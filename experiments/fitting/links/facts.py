"""Facts of links: the same functions of measured traces and pings, and of what the simulated links deliver.

The simulator is asked, not its tables: people open the app on a link class, and their links say what they would carry
and how long round trips would take (`experiments/fitting/links/probe.py`). Called by `nextone validate`, and by
experiments/fitting/links/calibrate.py for a user's own measurements.

Classes with traces are compared second by second. 4G, 5G and WiFi are known by ten-second tests alone, so only the
spread of such tests is compared; how those links vary in time is Assumed: like the steadier Ghent 4G traces. WiFi round
trips have no row: nothing is measured.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.scoreboard import Row, row
from nextone.sim.config import LINK_CLASSES, Catalogue, Scenario
from nextone.sim.inputs.round_trips import Pings, shipped_pings
from nextone.sim.inputs.trace_files import read_links
from nextone.sim.inputs.traces import FloatArray, IntArray, Traces, bandwidth_tests, shipped_traces
from nextone.sim.state import World
from nextone.sim.world import LEVELS, build_world

from .probe import capacity_mbps, round_trips_us, trace_seconds

PEOPLE = 2_000  # sessions of each class that are asked, about
MAX_VALUES = 1_000_000  # seconds or round trips asked of a class
TEST_S = 10  # a bandwidth test
LOW_MBPS = 0.5
BOOTSTRAPS = 200
RELATIVE = 0.1  # tolerance of the scoreboard


class Series(NamedTuple):
    """R runs end to end of a quantity over time, n values in all."""

    first: IntArray  # (R + 1,) run k owns first[k]:first[k + 1]
    t_s: FloatArray  # (n,) rising within a run
    value: FloatArray  # (n,)

    @property
    def run(self) -> IntArray:
        """Which run each value belongs to, (n,)."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


Fact = Callable[[FloatArray], float]
"""fact(weight (R,)): a number over all runs, each counted so often."""


class Compared(NamedTuple):
    """A quantity of a class of links, measured and simulated."""

    name: str
    kind: str  # a key of FACTS
    measured: Series
    simulated: Series


def network_rows(scenario: Scenario, traces: Path | None = None) -> list[Row]:
    """The scoreboard's rows on throughput and round trips; `traces`: a user's measurements in place of the shipped."""
    return [each for compared in compare_network(scenario, traces) for each in rows(compared)]


def rows(c: Compared) -> list[Row]:
    """The scoreboard's rows of a quantity. Tolerance: a tenth of the target, or two standard errors of the data if they
    are more."""
    once = np.ones(len(c.simulated.first) - 1)
    found = []
    for name, fact_of in FACTS[c.kind].items():
        target, low, high, error = interval(fact_of(c.measured), len(c.measured.first) - 1)
        if np.isfinite(target):
            tolerance = max(RELATIVE * abs(target), 2 * error)
            found.append(row(f"{c.name}: {name}", target, low, high, fact_of(c.simulated)(once), tolerance))
    return found


def interval(fact: Fact, runs: int) -> tuple[float, float, float, float]:
    """A fact, its 95 % interval and its standard error: a bootstrap over runs, always the same draws."""
    found = fact(np.ones(runs))
    if not np.isfinite(found):
        return found, np.nan, np.nan, np.nan
    again = [fact(weight) for weight in resamples(runs)]
    low, high = np.nanquantile(again, [0.025, 0.975])
    return found, float(low), float(high), float(np.nanstd(again))


@lru_cache(maxsize=16)
def resamples(runs: int) -> FloatArray:
    """How often each run counts in each bootstrap sample, (BOOTSTRAPS, runs)."""
    rng = np.random.Generator(np.random.Philox(key=runs))
    drawn = rng.integers(runs, size=(BOOTSTRAPS, runs))
    return np.stack([np.bincount(each, minlength=runs) for each in drawn]).astype(np.float64)


# ---- facts


def quantile(x: Series, p: float) -> Fact:
    """A quantile over all values of all runs."""
    order = np.argsort(x.value)
    run, value = x.run[order], x.value[order]

    def of(weight: FloatArray) -> float:
        total = np.cumsum(weight[run])
        return float(value[min(np.searchsorted(total, p * total[-1]), len(value) - 1)])

    return of


def share_below(x: Series, limit: float) -> Fact:
    """The share of all values that are below the limit."""
    below, size = np.bincount(x.run, x.value < limit), np.diff(x.first)
    return lambda weight: float(weight @ below / (weight @ size))


def below(x: Series, limits: FloatArray) -> FloatArray:
    """How many values of each run are at or below each rising limit, (R, G + 1); the last column is all of them."""
    runs, bins = len(x.first) - 1, len(limits) + 1
    each = np.bincount(x.run * bins + np.searchsorted(limits, x.value), minlength=runs * bins)
    return np.cumsum(each.reshape(runs, bins), axis=1).astype(np.float64)


def variation(x: Series) -> Fact:
    """The standard deviation within a run over the run's mean; of the median run."""
    mean, square = _run_means(x, x.value), _run_means(x, x.value**2)
    return _median_run(np.sqrt(np.maximum(square - mean**2, 0)) / mean)


def median_memory(x: Series, lag_s: float) -> Fact:
    """The autocorrelation at a lag, of the median run."""
    return _median_run(autocorrelation(x, lag_s))


def mean_log_memory(x: Series, lag_s: float) -> Fact:
    """The autocorrelation of the logarithm at a lag, averaged over runs."""
    each = autocorrelation(x._replace(value=np.log(x.value)), lag_s)
    known = np.isfinite(each)
    return lambda weight: float(np.average(each[known], weights=weight[known])) if weight[known].any() else np.nan


def autocorrelation(x: Series, lag_s: float) -> FloatArray:
    """The autocorrelation of each run, (R,): between departures from the run's mean and those about lag_s later. NaN
    for runs that have no such pair."""
    runs, run = len(x.first) - 1, x.run
    departure = x.value - _run_means(x, x.value)[run]
    at = x.t_s + run * (x.t_s.max() + 2 * lag_s)  # runs far apart on one axis
    later = np.searchsorted(at, at + lag_s).clip(1, len(at) - 1)
    later -= at + lag_s - at[later - 1] < at[later] - at - lag_s  # the nearer neighbour
    pair = np.abs(at[later] - at - lag_s) < lag_s / 4
    product = np.bincount(run[pair], departure[pair] * departure[later[pair]], runs)
    with np.errstate(all="ignore"):
        return product / np.bincount(run[pair], minlength=runs) / _run_means(x, departure**2)


def level_spread(x: Series) -> Fact:
    """The standard deviation of the runs' mean logarithms."""
    mean = _run_means(x, np.log(x.value))
    return lambda weight: float(np.sqrt(np.average((mean - np.average(mean, weights=weight)) ** 2, weights=weight)))


def jitter_spread(x: Series) -> Fact:
    """The standard deviation of the logarithm about its run's mean."""
    log = np.log(x.value)
    square, size = np.bincount(x.run, (log - _run_means(x, log)[x.run]) ** 2), np.diff(x.first)
    return lambda weight: float(np.sqrt(weight @ square / (weight @ size)))


def _run_means(x: Series, value: FloatArray) -> FloatArray:
    return np.bincount(x.run, value) / np.diff(x.first)


def _median_run(each: FloatArray) -> Fact:
    known = np.flatnonzero(np.isfinite(each))
    if not len(known):
        return lambda weight: np.nan
    of = quantile(Series(np.arange(len(known) + 1), np.zeros(len(known)), each[known]), 0.5)
    return lambda weight: of(weight[known])


FACTS: dict[str, dict[str, Callable[[Series], Fact]]] = {
    "throughput": {
        "median, Mbit/s": partial(quantile, p=0.5),
        "CV in a trace": variation,
        "autocorrelation after 1 s": partial(median_memory, lag_s=1.0),
        "autocorrelation after 5 s": partial(median_memory, lag_s=5.0),
        f"share below {LOW_MBPS} Mbit/s": partial(share_below, limit=LOW_MBPS),
    },
    "test": {f"p{p:g}, Mbit/s": partial(quantile, p=p / 100) for p in (5, 25, 50, 75, 95)},
    "rtt": {
        **{f"p{p:g}, ms": partial(quantile, p=p / 100) for p in (5, 50, 95)},
        "spread of levels, sd of log": level_spread,
        "spread of jitter, sd of log": jitter_spread,
        "autocorrelation of log after 0.2 s": partial(mean_log_memory, lag_s=0.2),
        "autocorrelation of log after 1 s": partial(mean_log_memory, lag_s=1.0),
        "autocorrelation of log after 5 s": partial(mean_log_memory, lag_s=5.0),
    },
}


# ---- measured and simulated


def compare_network(scenario: Scenario, traces: Path | None = None) -> list[Compared]:
    """Each class of links, measured and simulated: shipped data with people who are all on that class, a user's own
    with the scenario's mix of people."""
    if traces is not None:
        found, own = [], read_links(traces, scenario.network.link_columns)
        if own.traces is not None:
            found.append(Compared("throughput", "throughput", per_second(own.traces), simulated_seconds(scenario)))
        if own.pings is not None:
            found.append(Compared("RTT", "rtt", in_ms(own.pings), simulated_round_trips(scenario, own.pings)))
        return found
    shipped, groups = shipped_traces()
    found = [
        Compared(f"throughput {link}", "throughput", per_second(shipped, groups[link]),
                 simulated_seconds(all_on(scenario, link)))
        for link in LINK_CLASSES if link not in LEVELS
    ]  # fmt: skip
    tests = bandwidth_tests()
    found += [
        Compared(f"{TEST_S} s test {link}", "test", singly(tests[tech]), simulated_tests(all_on(scenario, link)))
        for link, tech in LEVELS.items()
    ]
    pings = shipped_pings()
    on_road = simulated_round_trips(all_on(scenario, "driving"), pings)
    return [*found, Compared("RTT driving", "rtt", in_ms(pings), on_road)]


def per_second(traces: Traces, which: range | None = None) -> Series:
    """Mean rate of every whole second of the traces, Mbit/s."""
    each = []
    for k in which or range(len(traces.mean_bps)):
        own = slice(traces.first[k], traces.first[k + 1])
        seconds = np.arange(traces.t_us[own][-1] // 1_000_000 + 1)
        each.append(np.diff(np.interp(seconds * 1e6, traces.t_us[own], traces.cum_bytes[own])) * 8e-6)
    first = np.cumsum([0] + [len(mbps) for mbps in each])
    return Series(first, _clock(first), np.concatenate(each))


def singly(value: FloatArray) -> Series:
    """A series with one value in each run."""
    return Series(np.arange(len(value) + 1), np.zeros(len(value)), value)


def in_ms(pings: Pings) -> Series:
    """Round trips as a series, milliseconds."""
    return Series(pings.first, pings.t_us / 1e6, pings.rtt_us / 1e3)


def simulated_seconds(scenario: Scenario) -> Series:
    """The capacity of each simulated session, second by second, Mbit/s, for as long as its trace lasts."""
    world = _people(scenario, PEOPLE)
    seconds = np.zeros(PEOPLE, np.int64)
    trace_seconds(world, seconds)
    first = np.append(0, np.cumsum(seconds))
    first = first[: max(2, np.searchsorted(first, MAX_VALUES))]
    mbps = np.zeros(first[-1])
    capacity_mbps(world, first, 1, mbps)
    return Series(first, _clock(first), mbps)


def simulated_tests(scenario: Scenario) -> Series:
    """A ten-second test at the beginning of each simulated session, Mbit/s."""
    mbps = np.zeros(5 * PEOPLE)
    capacity_mbps(_people(scenario, len(mbps)), np.arange(len(mbps) + 1), TEST_S, mbps)
    return singly(mbps)


def simulated_round_trips(scenario: Scenario, pings: Pings) -> Series:
    """Round trips of each simulated session, at the times of a measured run; runs are taken in turn."""
    runs, size = len(pings.first) - 1, len(pings.t_us)
    turns = max(1, min(-(-PEOPLE // runs), MAX_VALUES // size))
    first = np.concatenate([pings.first[:-1] + k * size for k in range(turns)] + [[turns * size]])
    t_us, rtt = np.tile(pings.t_us, turns), np.zeros(turns * size, np.int64)
    round_trips_us(_people(scenario, turns * runs), first, t_us, rtt)
    return Series(first, t_us / 1e6, np.maximum(rtt, 1) / 1e3)


def all_on(scenario: Scenario, link: str) -> Scenario:
    """The scenario with everybody on one class of links."""
    shares = tuple(float(name == link) for name in LINK_CLASSES)
    return scenario.model_copy(update={"network": scenario.network.model_copy(update={"shares": shares})})


def _people(scenario: Scenario, users: int) -> World:
    """So many people before their first open; what they would see does not matter here."""
    population = scenario.population.model_copy(update={"users": users})
    videos = Catalogue(kind="synthetic", videos=10, tags=1)
    lean = scenario.model_copy(update={"population": population, "catalogue": videos})
    return build_world(lean, edge=False, seed=0, window_us=3_600_000_000, log_rows=0)


def _clock(first: IntArray) -> FloatArray:
    """Seconds from each run's start."""
    return np.concatenate([np.arange(stop - start, dtype=np.float64) for start, stop in pairwise(first)])
