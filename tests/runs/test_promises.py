"""What the statistics promise, tried on worlds whose truth is known: theory. Long versions with fresh seeds.

A macro is one use of a method: ten replications or more, an interval or a choice, right or wrong.
"""

import math
import secrets

import numpy as np
import pytest
from scipy.special import stdtrit

from nextone.experiments.runs.statistics import (
    Selection,
    TooFewReplications,
    mean_interval,
    paired,
    replications_needed,
    select_best,
    steady_state,
)


def luck(times):
    """The quick run has a fixed seed, the long one a fresh one, which is printed."""
    seed = 16 if times < 1000 else secrets.randbits(32)
    print(f"seed {seed}")
    return np.random.default_rng(seed)


# -- worlds: (baseline, arm), each (macros, n), and the truth of both --------------------------------------------------


def normal(rng, macros, n):
    """Shared luck of 8 about 100, the arm 2 better with a little luck of its own."""
    shared = rng.normal(0, 8, (macros, n))
    return 100 + shared, 102 + 0.95 * shared + rng.normal(0, 2.5, (macros, n)), 100.0, 102.0


def watch_time(rng, macros, n):
    """Mean seconds of 200 people with lognormal watch times (sd of the log 1), shared but for a tenth of the luck."""
    z, own = rng.normal(size=(2, macros, n, 200)).astype(np.float32)
    truth = 100 * np.exp(0.5)
    return 100 * np.exp(z).mean(-1), 101 * np.exp(0.99 * z + 0.14 * own).mean(-1), truth, 101 / 100 * truth


def rare(rng, macros, n):
    """Shares of follows in 4,000 impressions: .17 % and .25 %, those of the baseline among those of the arm."""
    both, more = rng.binomial(4000, 0.0017, (macros, n)), rng.binomial(4000, 0.0008, (macros, n))
    return both / 4000, (both + more) / 4000, 0.0017, 0.0025


def queue(rng, macros, n):
    """Mean wait of 1,000 customers of one server, from its steady state: M/M/1, load .5; the arm serves faster, .45.

    Truth: load / (service rate - arrival rate); the first wait is 0, or exponential with that rate difference."""
    gaps, service = rng.exponential(1, (2, 1000, macros, n)).astype(np.float32)
    u, truths, waits = rng.random((macros, n)), [], []
    for load in (0.5, 0.45):
        rate = 1 / load - 1
        wait = np.where(u < load, -np.log(np.maximum(u / load, 1e-300)) / rate, 0.0)
        total = np.zeros((macros, n))
        for gap, work in zip(gaps, service, strict=True):
            total += wait
            wait = np.maximum(0.0, wait + load * work - gap)
        waits.append(total / 1000)
        truths.append(load / rate)
    return *waits, *truths


WORLDS = (normal, watch_time, rare, queue)


@pytest.mark.parametrize("macros", [600, pytest.param(8000, marks=pytest.mark.long)])
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
@pytest.mark.parametrize("n", [10, 30])
def test_intervals_cover_the_truth(world, n, macros):
    a, b, true_a, true_b = world(luck(macros), macros, n)
    hits = np.zeros(3)
    for x, y in zip(a, b, strict=True):
        mean, pair = mean_interval(x), paired(x, y)
        hits += [
            mean.low <= true_a <= mean.high,
            pair.low <= true_b - true_a <= pair.high,
            pair.diff_pct_low <= 100 * (true_b / true_a - 1) <= pair.diff_pct_high,
        ]
    slack = np.array([0.015, 0.015, 0.025])  # percentages: a linearised ratio, first order in the baseline's spread
    if macros < 8000:
        slack = slack + 2 * (0.95 * 0.05 / macros) ** 0.5  # sampling error of the test itself
    assert np.all(np.abs(hits / macros - 0.95) <= slack), hits / macros


# -- sequential stopping -----------------------------------------------------------------------------------------------


def stopped_at(x, half_width):
    n = 10
    while (more := replications_needed(x[:n], half_width, len(x))) > n:
        n = more
    return n


@pytest.mark.parametrize("macros", [300, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("wanted", [14, 25, 80])
@pytest.mark.parametrize("skewed", [False, True])
def test_stopping_early_keeps_coverage_and_wastes_little(wanted, skewed, macros):
    # Differences with sd 1; half-width such that about `wanted` replications are needed. Skewed: as the mean of
    # 100 people with exponential watch times is (skewness .2).
    rng = luck(macros)
    width = 1.96 / wanted**0.5
    hits, used, least = 0, 0, 0
    for _ in range(macros):
        x = rng.gamma(100, 0.1, 5 * wanted) - 10 if skewed else rng.normal(size=5 * wanted)
        n = stopped_at(x, width)
        interval = mean_interval(x[:n])
        assert interval.high - interval.low <= 2 * width * (1 + 1e-9)
        hits += interval.low <= 0 <= interval.high
        used += n
        least += _first_narrow(x[:n], width)
    assert hits / macros >= 0.93 - 2 * (0.93 * 0.07 / macros) ** 0.5  # sampling error of the test itself
    assert used / least <= 1.25


def _first_narrow(x, half_width):
    """The least number of replications, >= 10, whose interval is narrow enough."""
    n = np.arange(10, len(x) + 1)
    total, square = np.cumsum(x)[9:], np.cumsum(x**2)[9:]
    sd = np.sqrt((square - total**2 / n) / (n - 1))
    return int(n[stdtrit(n - 1, 0.975) * sd / np.sqrt(n) <= half_width * (1 + 1e-9)][0])


def test_stopping_by_hand():
    # 10 values of sd .7 in turn 0 and 1.328: half-width t(9) * .7 / sqrt(10) = .5007
    x = np.tile([0.0, 2 * 0.7 * 0.9**0.5], 5)
    assert x.std(ddof=1) == pytest.approx(0.7)
    assert replications_needed(x, 0.51, 100) == 10
    assert replications_needed(np.ones(12), 0.0, 100) == 12  # exactly as sharp as was asked
    assert replications_needed(x, 0.01, 15) == 15  # the budget
    assert replications_needed(x, 0.01, 100) == 20  # at most twice as many at once
    assert replications_needed([*x[:-1], np.nan], 0.01, 100) == 10  # undefined: nothing to wait for
    with pytest.raises(TooFewReplications):
        replications_needed(x[:9], 0.5, 100)


@pytest.mark.parametrize(("n", "least"), [(10, 11), (20, 22), (21, 24)])
def test_another_look_needs_a_tenth_more_and_as_many_as_the_spread_asks_for(n, least):
    """A half-width that is a fifth too large asks for 1.44 n; one that is just too large, for a tenth more."""
    x = np.random.default_rng(6).normal(size=n)
    half = mean_interval(x).high - mean_interval(x).mean
    assert replications_needed(x, half * (1 + 1e-9), 100) == n
    assert replications_needed(x, half * (1 - 1e-9), 100) == least
    assert replications_needed(x, half / 1.2, 100) == math.ceil(1.44 * n)
    assert replications_needed(x, half / 1.2, n + 1) == n + 1
    assert replications_needed(x, half / 1.2, n) == replications_needed(x, half / 1.2, n - 1) == n


# -- the best of many --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("macros", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize(("k", "shared"), [(2, 0.0), (16, 0.0), (16, 0.9), (64, 0.0), (64, 0.9)])
def test_the_best_is_found_in_the_slippage_configuration(k, shared, macros):
    # The hardest case: one system is better by exactly the indifference (1 % of 100), all others are equal. sd 2
    # within a system, of which `shared` is luck in common. Its mean on fresh seeds promises nothing too much.
    rng = luck(macros)
    right, promised, fresh, flattered = 0, [], [], []
    for _ in range(macros):
        common = rng.normal(0, 2 * shared**0.5, 1500)
        x = 100 + common + rng.normal(0, 2 * (1 - shared) ** 0.5, (k, 1500))
        best = int(rng.integers(k))
        x[best] += 1.0
        found = select_best(x, indifference=1.0)
        assert found.settled
        right += found.left == (best,)
        truth = 101.0 if found.left[0] == best else 100.0
        promised.append(x[found.left[0], : found.n].mean() - truth)
        fresh.append(rng.normal(0, 2, found.n).mean())
        flattered.append(x[:, :10].mean(axis=1).max() - 101.0)
    low = 0.95 - (0 if macros == 1000 else 2 * (0.95 * 0.05 / macros) ** 0.5)
    assert right / macros >= low
    assert np.mean(fresh) / 100 <= 0.001
    if k == 64 and not shared:  # what a choice by ten means would have promised
        assert np.mean(flattered) / 100 > 0.003


def test_the_choice_is_a_function_of_what_it_may_look_at():
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (5, 60))
    x[2] += 0.5
    whole = select_best(x, 0.3)
    cut = x.copy()
    cut[:, whole.n :] = np.nan  # what comes later was not looked at
    assert select_best(cut, 0.3) == whole
    assert select_best(x + 1000, 0.3) == whole


def test_a_race_that_is_not_over_says_so():
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, (4, 12))
    open_race = select_best(x, 0.01)
    assert not open_race.settled
    means = x.mean(axis=1)
    assert list(open_race.left) == sorted(open_race.left, key=lambda i: -means[i])
    assert open_race.n == 12
    x[2, 11] = np.nan  # one of those in the race has only 11
    assert select_best(x, 0.01).n == 11
    with pytest.raises(TooFewReplications):
        select_best(x[:, :9], 0.5)


def test_systems_exactly_alike_count_as_one():
    x = np.random.default_rng(5).normal(0, 1, (1, 12))
    assert select_best(np.concatenate([x, x, x - 5]), 0.5).left == (0,)
    assert select_best(x, 0.5).left == (0,)


def race(x, indifference, confidence, first):
    """Kim and Nelson's procedure, written out as in the paper: (those left, best first; replications)."""
    k, n = x.shape
    eta = 0.5 * ((2 * (1 - confidence) / (k - 1)) ** (-2 / (first - 1)) - 1)
    budget = {
        (i, j): 2 * eta * (first - 1) * (x[i, :first] - x[j, :first]).var(ddof=1) for i in range(k) for j in range(k)
    }
    left = list(range(k))
    for r in range(first, n + 1):
        mean = x[:, :r].mean(axis=1)

        def room(i, j, r=r):
            return max(0.0, indifference / (2 * r) * (budget[i, j] / indifference**2 - r))

        left = [i for i in left if all(mean[i] >= mean[j] - room(i, j) for j in left)]
        if len(left) == 1:
            break
    return tuple(sorted(left, key=lambda i: -mean[i])), r


@pytest.mark.parametrize(("k", "confidence", "first"), [(2, 0.95, 10), (5, 0.95, 10), (5, 0.8, 15)])
def test_the_race_is_that_of_the_paper(k, confidence, first):
    """Oracle: 20 races of which some are over at once, some late, some not at all."""
    rng, ends = np.random.default_rng(8), set()
    for _ in range(20):
        x = rng.normal(0, 1, 40) + rng.normal(0, 1, (k, 40)) + rng.normal(0, 1, (k, 1))
        found = select_best(x, 0.4, confidence, first)
        assert (found.left, found.n) == race(x, 0.4, confidence, first)
        ends.add(found.n)
    assert len(ends) > 4


def test_one_system_needs_no_race_and_confidence_is_95_percent_unless_asked_otherwise():
    x = np.random.default_rng(9).normal(0, 1, (4, 60)) + np.arange(4)[:, None] / 3
    assert select_best(x, 0.4) == select_best(x, 0.4, 0.95, 10)
    assert select_best(x[:1], 0.4) == ((0,), 10) and select_best(x[:1], 0.4, first=12).n == 12
    assert Selection((0,), 10).settled and not Selection((0, 1), 10).settled
    with pytest.raises(TooFewReplications):
        select_best(x, 0.4, first=9)


# -- steady state ------------------------------------------------------------------------------------------------------


def warming(rng, replications, points, start):
    """An AR(1) around 10 that starts far off and forgets it at rate .9 a point."""
    x = np.empty((replications, points))
    level = np.full(replications, start)
    for t in range(points):
        level = 10 + 0.9 * (level - 10) + rng.normal(0, 0.5, replications)
        x[:, t] = level
    return x


@pytest.mark.parametrize("macros", [60, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("start", [0.0, 10.0, 30.0])
def test_what_the_start_colours_is_left_out(start, macros):
    rng = luck(macros)
    found = [steady_state(warming(rng, 20, 300, start)) for _ in range(macros)]
    bias = np.mean([f.interval.mean for f in found]) / 10 - 1
    assert abs(bias) <= 0.01
    assert np.mean([f.doubtful for f in found]) < 0.25  # MSER is known to cut too much at times; it says so
    if start != 10:
        raw = np.mean(warming(rng, 20, 300, start)) / 10 - 1
        assert abs(raw) > 0.02  # it was needed


def test_a_run_that_never_settles_is_doubtful():
    late = np.maximum(0, np.linspace(20, -8, 200)) + np.random.default_rng(0).normal(0, 1, (10, 200))
    assert steady_state(late).doubtful
    assert steady_state(late).cut >= 135
    with pytest.raises(ValueError, match="at least 50"):
        steady_state(np.zeros((10, 20)))
    with pytest.raises(TooFewReplications):
        steady_state(np.zeros((9, 100)))


@pytest.mark.parametrize("points", [50, 57, 200])
def test_the_cut_is_where_the_rest_has_the_least_standard_error(points):
    """Brute force over batches of five, the last five cuts left out; what is kept reaches to the end of the series."""
    rng, cuts = np.random.default_rng(points), set()
    for start in (10.0, 12.0, 20.0, 40.0):
        x = warming(rng, 10, points, start)
        batch = x[:, : points // 5 * 5].mean(axis=0).reshape(-1, 5).mean(axis=1)
        errors = [batch[cut:].var() / len(batch[cut:]) for cut in range(len(batch) - 5)]
        best = int(np.argmin(errors))
        found = steady_state(x)
        assert found.cut == 5 * best and found.doubtful == (best > len(batch) // 2)
        assert found.interval == mean_interval(x[:, 5 * best :].mean(axis=1))
        cuts.add(best)
    assert len(cuts) > 1


@pytest.mark.parametrize(("late", "doubtful"), [(10, False), (11, True)])
def test_more_than_half_cut_off_is_doubtful(late, doubtful):
    """Twenty batches, the first of them far off, the others at .4 and .6 in turn."""
    x = np.tile(np.where(np.arange(100) < 5 * late, 50.0, np.arange(100) % 2), (10, 1))
    assert steady_state(x)[1:] == (5 * late, doubtful)


def test_a_series_must_be_long_and_whole_and_one_for_each_of_ten_replications():
    for shape, value in (((60,), 1.0), ((10, 49), 1.0), ((10, 60, 2), 1.0), ((10, 60), np.nan), ((10, 60), np.inf)):
        with pytest.raises(ValueError, match="at least 50 finite points"):
            steady_state(np.full(shape, value))
    with pytest.raises(TooFewReplications):
        steady_state(np.ones((9, 60)))
