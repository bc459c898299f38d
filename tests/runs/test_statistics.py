"""Means and paired differences: by hand, property, and theory (coverage on known truth, as z-scores)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nextone.experiments.runs.statistics import TooFewReplications, always_valid, beaten, gains, mean_interval, paired

TEN = np.arange(1.0, 11.0)


def test_mean_interval_by_hand():
    # mean of 1..10 is 5.5, variance 82.5 / 9 = 9.1667, standard error sqrt(.91667) = .95743, t(9) = 2.262157
    interval = mean_interval(TEN)
    assert interval is not None
    assert interval.mean == 5.5
    assert interval.low == pytest.approx(5.5 - 2.262157 * 0.957427, abs=1e-5)
    assert interval.high == pytest.approx(5.5 + 2.262157 * 0.957427, abs=1e-5)
    assert interval.n == 10


def test_mean_interval_equals_scipy():
    x = np.random.default_rng(3).gamma(2.0, size=17)
    low, high = stats.t.interval(0.95, 16, loc=x.mean(), scale=stats.sem(x))
    assert mean_interval(x)[:3] == pytest.approx((x.mean(), low, high))


def test_constant_metric_has_an_interval_of_no_width():
    assert mean_interval([0.25] * 10) == (0.25, 0.25, 0.25, 10)


@pytest.mark.parametrize("hole", [None, math.nan, math.inf])
def test_undefined_in_one_replication_is_undefined(hole):
    broken = [*TEN[:-1], hole]
    assert mean_interval(broken) is None
    assert paired(broken, TEN) is None
    assert paired(TEN, broken) is None


@pytest.mark.parametrize("n", range(10))
def test_fewer_than_ten_replications_are_refused_with_the_reason(n):
    with pytest.raises(TooFewReplications, match="does not hold its 95 % coverage"):
        mean_interval(TEN[:n])
    with pytest.raises(TooFewReplications):
        paired(TEN[:n], TEN[:n])


def test_pairs_need_the_same_replications():
    with pytest.raises(ValueError, match="10 replications, arm 11"):
        paired(TEN, np.arange(11.0))


def test_one_number_per_replication():
    with pytest.raises(ValueError, match="one number per replication"):
        mean_interval(np.ones((10, 1)))


def test_paired_by_hand():
    # arm = 1.1 * baseline: difference .1 * (1..10), mean .55; the ratio is exactly 10 % in every replication.
    result = paired(TEN, 1.1 * TEN)
    assert result.diff == pytest.approx(0.55)
    assert (result.low, result.high) == pytest.approx((0.55 - 0.1 * 2.165850, 0.55 + 0.1 * 2.165850), abs=1e-5)
    assert result.diff_pct == pytest.approx(10)
    assert (result.diff_pct_low, result.diff_pct_high) == pytest.approx((10, 10))  # the plain one would be +-3.9
    assert result.correlation == pytest.approx(1)
    assert paired(TEN / 100, 1.1 * TEN / 100).diff_pct == pytest.approx(10)  # of a baseline of .055
    # (1 + 1.21) v / .01 v
    assert result.variance_saved == pytest.approx(221)


def test_correlation_by_hand():
    # b is a and as much again of something that does not hang together with it: 1 / sqrt(2); and the reverse of a line
    a = np.tile([0.0, 0.0, 1.0, 1.0], 3)
    result = paired(a, a + np.tile([0.0, 1.0, 0.0, 1.0], 3))
    assert result.correlation == pytest.approx(0.5**0.5)
    assert result.variance_saved == pytest.approx(3)  # (v + 2 v) / v
    assert paired(TEN, 20 - TEN).correlation == pytest.approx(-1)


def test_percent_interval_by_hand():
    # baseline 9, 11 in turn (mean 10), difference 1, 2 in turn (mean 1.5): r = .15,
    # e = (1 - .15 * 9) / 10 = -.035 and (2 - .15 * 11) / 10 = .035: sd = .035 * sqrt(10 / 9), half = t * sd / sqrt(10)
    baseline = np.tile([9.0, 11.0], 5)
    result = paired(baseline, baseline + np.tile([1.0, 2.0], 5))
    half = 100 * 2.262157 * 0.035 * math.sqrt(10 / 9) / math.sqrt(10)
    assert result.diff_pct == pytest.approx(15)
    assert (result.diff_pct_low, result.diff_pct_high) == pytest.approx((15 - half, 15 + half), abs=1e-5)


def test_gains_by_hand():
    # baseline 8, 12 in turn (mean 10), difference 1, 2 in turn: r = .15; .15 + (1 - .15 * 8) / 10 = .13 and
    # .15 + (2 - .15 * 12) / 10 = .17, as percentages
    baseline = np.tile([8.0, 12.0], 5)
    assert gains(baseline, baseline + np.tile([1.0, 2.0], 5)) == pytest.approx(np.tile([13.0, 17.0], 5))
    assert np.isnan(gains(np.tile([-1.0, 1.0], 5), baseline)).all()


def test_the_same_arm_differs_by_exactly_nothing():
    result = paired(TEN, TEN)
    assert result[:6] == (0, 0, 0, 0, 0, 0)
    assert result.variance_saved == math.inf


def test_constant_difference_saves_all_variance_despite_rounding():
    x = np.random.default_rng(0).normal(1e6, 1.0, 20)
    assert paired(x, x + 0.1).variance_saved == math.inf


def test_nothing_varies_nothing_to_save():
    result = paired(np.full(10, 2.0), np.full(10, 3.0))
    assert result.diff_pct == 50
    assert result.correlation is None
    assert result.variance_saved is None


def test_nothing_correlates_with_what_does_not_vary():
    for constant in (0.0, 2.0):
        for a, b in ((np.full(10, constant), TEN), (TEN, np.full(10, constant))):
            result = paired(a, b)
            assert result.correlation is None and result.variance_saved == pytest.approx(1)
    for n in range(10, 21):
        zero, tenth = np.zeros(n), np.full(n, 0.1)  # whose mean may be rounded, so that it seems to vary a little
        for a, b in ((zero, zero), (zero, tenth), (tenth, zero)):
            result = paired(a, b)
            assert result.correlation is None and result.variance_saved is None


def test_no_percentage_of_a_baseline_that_may_be_zero():
    noise = np.tile([-1.0, 1.5], 5)
    for baseline in (np.zeros(10), noise):
        result = paired(baseline, baseline + 1)
        assert result.diff == 1
        assert (result.diff_pct, result.diff_pct_low, result.diff_pct_high) == (None, None, None)


def test_percentage_of_a_negative_baseline_keeps_the_sign_of_the_ratio():
    result = paired(-TEN - 20, -TEN - 19)
    assert result.diff == 1
    assert result.diff_pct == pytest.approx(100 * 1 / -25.5)


metric_values = st.floats(-1e9, 1e9).map(lambda x: round(x, 6))


@given(arrays(np.float64, 12, elements=metric_values), arrays(np.float64, 12, elements=metric_values))
def test_never_nan_and_ordered(a, b):
    result = paired(a, b)
    assert result.low <= result.diff <= result.high
    assert not any(isinstance(v, float) and math.isnan(v) for v in result)
    if result.diff_pct is not None:
        assert result.diff_pct_low <= result.diff_pct <= result.diff_pct_high
    if result.correlation is not None:
        assert -1 <= result.correlation <= 1


@given(
    arrays(np.float64, 10, elements=st.floats(50, 100)),
    arrays(np.float64, 10, elements=st.floats(50, 100)),
    st.floats(0.001, 1000),
)
def test_percent_does_not_depend_on_the_unit(a, b, factor):
    one, other = paired(a, b), paired(factor * a, factor * b)
    assert other.diff_pct == pytest.approx(one.diff_pct, rel=1e-6, abs=1e-9)
    assert other.diff_pct_high == pytest.approx(one.diff_pct_high, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n", [10, 40])
def test_coverage_on_known_truth(n):
    # Normal pairs, correlation .95, baseline 100 +- 8, true difference +2 (2 %). 4,000 macro-replications each.
    rng = np.random.default_rng(20)
    macros, hits = 4000, np.zeros(3)
    for _ in range(macros):
        shared = rng.normal(0, 8, n)
        a = 100 + shared
        b = 102 + 0.95 * shared + rng.normal(0, 8 * math.sqrt(1 - 0.95**2), n)
        mean, pair = mean_interval(a), paired(a, b)
        hits += [
            mean.low <= 100 <= mean.high,
            pair.low <= 2 <= pair.high,
            pair.diff_pct_low <= 2 <= pair.diff_pct_high,
        ]
    z = (hits / macros - 0.95) / math.sqrt(0.95 * 0.05 / macros)
    assert np.abs(z).max() <= 4, hits / macros


def test_percent_interval_covers_where_the_plain_one_does_not():
    # arm = 1.5 * baseline + little noise: ignoring the denominator's noise gives far too wide an interval, and
    # dividing pair by pair is biased; the linearised ratio covers 50 % at its nominal rate.
    rng = np.random.default_rng(21)
    macros, hits, widths = 3000, 0, []
    for _ in range(macros):
        a = rng.normal(100, 15, 12)
        pair = paired(a, 1.5 * a + rng.normal(0, 1, 12))
        hits += pair.diff_pct_low <= 50 <= pair.diff_pct_high
        widths.append((pair.diff_pct_high - pair.diff_pct_low) / (pair.high - pair.low))
    assert abs(hits / macros - 0.95) / math.sqrt(0.95 * 0.05 / macros) <= 4
    assert np.median(widths) < 0.3


def test_screening_keeps_the_best_and_leaves_out_what_is_surely_worse():
    rng, kept = np.random.default_rng(8), 0
    for _ in range(400):
        luck = rng.normal(size=(6, 12)) + rng.normal(size=12)
        kept += not beaten(luck)[0]  # all alike: the hardest case
    assert kept >= stats.binom.ppf(0.001, 400, 0.95)
    ahead = np.concatenate([luck[:1] + 5, luck[1:]])
    assert beaten(ahead).tolist() == [False, *[True] * 5]
    assert beaten(luck[:1]).tolist() == [False]


def test_intervals_after_looks_cover_however_often_one_looks():
    """2,000 series, looked at after every replication from 10 to 100. Student's t misses the truth at some look in a
    quarter of them; a confidence sequence in 5 % at most, z-score against that."""
    n = np.arange(1, 101)
    x = np.random.default_rng(5).normal(size=(2_000, 100))
    mean = np.cumsum(x, axis=1) / n
    error = np.sqrt((np.cumsum(x**2, axis=1) - n * mean**2)[:, 9:] / (n[9:] * (n[9:] - 1)))
    t = np.abs(mean[:, 9:] / error)
    missed = (t > [always_valid(int(k)) for k in n[9:]]).any(axis=1).mean()
    assert (missed - 0.05) / math.sqrt(0.05 * 0.95 / 2_000) < 3
    assert (t > stats.t.ppf(0.975, n[9:] - 1)).any(axis=1).mean() > 0.2
    # by hand, n = 10: spread 11, bound (sqrt(11) / .05)^(1 / 5) = 2.3136, 9 * 1.3136 / (1 - 2.3136 / 11) = 14.971
    assert always_valid(10) == pytest.approx(3.8692, abs=1e-3)
    row = x[0, :20]
    wide = mean_interval(row, extended=True)
    assert (wide.high - wide.low) / 2 == pytest.approx(always_valid(20) * stats.sem(row))
