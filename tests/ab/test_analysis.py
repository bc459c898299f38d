"""Differences between people: by hand, against scipy, and coverage in small."""

import math

import numpy as np
import pytest
from scipy import stats

from nextone.experiments.ab.analysis import between, boundary, linear, same_people, spill
from nextone.experiments.ab.assignment import arm_of_each
from nextone.experiments.ab.people import Sums

RNG = np.random.default_rng(5)
TREATED = np.arange(500) % 2 == 1


def mean_of(values):
    return Sums(values, np.ones(len(values)))


def test_the_difference_of_means_is_welchs():
    y = RNG.lognormal(2.0, 1.0, 500) * np.where(TREATED, 1.3, 1.0)
    found = between(mean_of(y), TREATED)
    welch = stats.ttest_ind(y[TREATED], y[~TREATED], equal_var=False)
    low, high = welch.confidence_interval()
    assert (found.fixed.low, found.fixed.high) == pytest.approx((low, high), rel=1e-9)
    assert (found.control.units, found.treated.units) == (250, 250)
    assert found.treated.sd == pytest.approx(y[TREATED].std(ddof=1))


def test_the_relative_difference_by_hand():
    """Control 1, 2, 3 (mean 2, variance of it 1/3), treated 2, 4, 6 (mean 4, 4/3). With 20 copies the variances are
    these x 2/59. The ratio R may be one for which (4 - 2 R)^2 <= t^2 (4/3 + R^2 / 3) 2/59, with 86.76 degrees."""
    y = np.tile([1.0, 2, 3, 2, 4, 6], 20)
    found = between(mean_of(y), np.tile([False] * 3 + [True] * 3, 20)).fixed
    share = stats.t.ppf(0.975, 59 * 25 / 17) ** 2 * 2 / 59
    ends = np.sort(np.roots([4 - share / 3, -16, 16 - share * 4 / 3]))
    assert found.diff_pct == pytest.approx(100)
    assert (found.diff_pct_low, found.diff_pct_high) == pytest.approx(tuple(100 * (ends - 1)), rel=1e-9)


def test_with_many_people_the_relative_interval_is_that_of_the_delta_method():
    y = RNG.lognormal(2.0, 0.3, 200_000)
    treated = np.arange(200_000) % 2 == 1
    found = between(mean_of(y), treated)
    a, b = found.control, found.treated
    half = 1.959964 * math.sqrt(b.variance / a.mean**2 + b.mean**2 * a.variance / a.mean**4)
    assert found.fixed.diff_pct_high - found.fixed.diff_pct == pytest.approx(100 * half, rel=1e-2)


def test_the_interval_that_always_holds_leaves_out_the_ratios_that_are_too_far():
    """Its ends are those by which the control's mean may be multiplied to be `boundary` standard errors away."""
    y = RNG.lognormal(2.0, 1.0, 500)
    found = between(mean_of(y), TREATED, planned=1000)
    for end in found.always:
        ratio = 1 + end / 100
        error = math.sqrt(found.treated.variance + ratio**2 * found.control.variance)
        assert abs(found.treated.mean - ratio * found.control.mean) / error == pytest.approx(boundary(500, 1000))
    assert found.always[0] < found.fixed.diff_pct_low < found.fixed.diff_pct_high < found.always[1]
    rare = between(mean_of((np.arange(500) < 3).astype(float)), TREATED)
    assert rare.always is None


def test_a_ratio_of_sums_has_the_variance_of_the_delta_method():
    plays = RNG.poisson(20, 500).astype(float) + 1
    valid = RNG.binomial(plays.astype(int), 0.4).astype(float)
    line = linear(Sums(valid, plays))
    ratio, below = valid.sum() / plays.sum(), plays.mean()
    c = np.cov(valid, plays)
    by_hand = (c[0, 0] - 2 * ratio * c[0, 1] + ratio**2 * c[1, 1]) / below**2
    assert line.mean() == pytest.approx(ratio) and line.var(ddof=1) == pytest.approx(by_hand)


def test_cuped_takes_the_share_of_the_variance_that_the_days_before_explain():
    before = RNG.normal(10, 3, 20_000)
    y = 0.8 * (before - 10) + RNG.normal(20, 1.8, 20_000)  # correlation .8
    treated = arm_of_each("cuped", 20_000, (0.5, 0.5)) == 1
    plain, cuped = (between(mean_of(y), treated, before=b) for b in (None, mean_of(before)))
    assert cuped.saved == pytest.approx(0.64, abs=0.02) and plain.saved == 0
    assert abs(cuped.fixed.diff) < 4 * 1.8 / math.sqrt(5000)
    beforehand = before[treated].mean() - before[~treated].mean()
    assert cuped.fixed.diff == pytest.approx(plain.fixed.diff - 0.8 * beforehand, abs=0.003)


def test_units_are_what_was_hashed():
    """People of a region are one unit: its people's sums, over their number."""
    region, y = np.arange(500) // 25, RNG.lognormal(0, 1, 500)
    found = between(mean_of(y), region % 2 == 1, unit=region)
    means = y.reshape(20, 25).mean(axis=1)
    welch = stats.ttest_ind(means[1::2], means[::2], equal_var=False)
    assert found.control.units == 10
    assert found.fixed.low == pytest.approx(welch.confidence_interval().low)


@pytest.mark.parametrize("values", [np.zeros(500), np.full(500, 3.0)])
def test_what_does_not_vary_has_no_difference(values):
    found = between(mean_of(values), TREATED)
    assert found.fixed.diff == 0 and found.fixed.p == 1 and not found.fixed.sure
    assert (found.fixed.diff_pct == 0) if values.any() else (found.fixed.diff_pct is None and found.always is None)


def test_what_nobody_has_is_undefined():
    assert between(Sums(np.zeros(500), np.zeros(500)), TREATED) is None
    assert between(mean_of(np.ones(500)), np.arange(500) < 1) is None


def test_fixed_intervals_cover_under_new_salts():
    """One population of skewed values, 2,000 A/A tests: 95 % of intervals hold 0 (z within 4 of 95 %)."""
    y = mean_of(RNG.lognormal(2.0, 1.0, 1000))
    held = [
        d.diff_pct_low <= 0 <= d.diff_pct_high
        for k in range(2000)
        for d in (between(y, arm_of_each(f"aa{k}", 1000, (0.5, 0.5))).fixed,)
    ]
    assert abs(np.mean(held) - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_intervals_that_always_hold_do_where_fixed_ones_do_not():
    """A difference of nothing looked at 100 times, as people arrive: 4,000 tests."""
    n = np.arange(100, 10_001, 100)
    z = np.cumsum(RNG.standard_normal((4000, 100)) * 10, axis=1) / np.sqrt(n)
    reach = np.array([boundary(k, 10_000) for k in n])
    missed, naive = (np.abs(z) > reach).any(axis=1).mean(), (np.abs(z) > 1.96).any(axis=1).mean()
    assert 0.005 < missed < 0.05 and naive > 0.3
    assert boundary(10_000, 10_000) == pytest.approx(3.035, abs=0.001)  # by hand, at n rho^2 = 8.78
    assert reach.argmin() > 80 and reach[0] > 8


def test_the_truth_is_paired():
    before = RNG.lognormal(2, 1, 500)
    d = same_people(mean_of(before), mean_of(1.1 * before))
    assert d.diff_pct == pytest.approx(10) and d.diff_pct_high - d.diff_pct_low < 1e-9


def test_sharing_by_hand():
    """Nobody treated: all have 10. Everybody: 8. In the test the treated have 9 and the control 5: of 10, the treated
    gain 1 (10 %) by the others' being untreated, the control loses 5 (50 %), and the test is 60 points too high."""
    arms = TREATED.astype(np.int8)
    moved = spill(
        mean_of(np.where(TREATED, 9.0, 5.0)), arms, (mean_of(np.full(500, 10.0)), mean_of(np.full(500, 8.0))), 1
    )
    assert moved == pytest.approx((10, -50, 60, 0))
