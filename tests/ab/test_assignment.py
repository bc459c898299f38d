"""Who gets which arm: uniform, lasting, independent between salts. By hand, and theory by z-scores."""

import numpy as np
import pytest

from nextone.experiments.ab.assignment import (
    Split,
    arm_of_each,
    as_many_as,
    budgets,
    chances,
    check_split,
    one_of_each_pair,
    plan,
    ratio_p,
)
from nextone.sim.scenario import SettingError


def test_a_hash_is_uniform_and_does_not_depend_on_how_many_there_are():
    u = chances("ab", 40_000)
    assert (chances("ab", 100) == u[:100]).all()
    assert u.min() > 0 and u.max() < 1
    counts = np.bincount((u * 20).astype(int), minlength=20)
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # chi-squared of 19 degrees, p .001


def test_tests_with_other_salts_are_independent():
    a, b = (arm_of_each(salt, 40_000, (0.5, 0.5)) for salt in ("edge", "cloud"))
    both = np.bincount(2 * a + b, minlength=4)
    assert abs(both - 10_000).max() < 4 * np.sqrt(40_000 * 3 / 16)


def test_shares_are_kept():
    counts = np.bincount(arm_of_each("ab", 50_000, (0.7, 0.2, 0.1)))
    assert counts / 50_000 == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_regions_and_stretches_are_told_off_in_numbers():
    assert as_many_as("ab", 20, 0.5).sum() == 10
    assert as_many_as("ab", 20, 0.01).sum() == 1 and as_many_as("ab", 20, 0.99).sum() == 19
    stretches = one_of_each_pair("ab", 41, 0.5)
    assert (stretches[:40].reshape(20, 2).sum(axis=1) == 1).all() and 2 < stretches[:40:2].sum() < 18
    assert one_of_each_pair("ab", 40, 0.25).sum() == 10


def test_servers_are_divided():
    by_arm = plan(Split("budget", (0.75, 0.25)), 1000, 40, 3_600_000_000)
    assert by_arm.workers == [30, 10] and (by_arm.group == by_arm.arms[:, 0]).all()
    regions = plan(Split("cluster", (0.5, 0.5), regions=8), 1000, 40, 3_600_000_000)
    assert regions.workers == [5] * 8 and (regions.group == regions.region).all()
    truth = plan(Split("budget", (0.75, 0.25)), 1000, 40, 3_600_000_000, everybody=1)
    assert truth.workers == [40] and (truth.arms == 1).all()


def test_a_split_of_52_to_48_is_found_and_one_of_half_is_not():
    """At 20,000 people; |z| = 5.7 against a limit of 3.29: 99.1 % found."""
    off, fair = (
        [ratio_p(np.bincount(arm_of_each(f"{k}", 20_000, shares)), (0.5, 0.5)) for k in range(400)]
        for shares in ((0.52, 0.48), (0.5, 0.5))
    )
    assert np.mean(np.array(off) < 0.001) > 0.97 and np.mean(np.array(fair) < 0.001) < 0.011
    assert np.mean(np.array(fair) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_budgets_add_up_to_what_there_is():
    assert budgets(7, (0.5, 0.5)) == [4, 3] and budgets(8, (0.99, 0.01)) == [7, 1] and budgets(2, (0.9, 0.1)) == [1, 1]
    assert budgets(10, (0.4, 0.35, 0.25)) == [4, 4, 2] and budgets(3, (0.98, 0.01, 0.01)) == [1, 1, 1]
    with pytest.raises(SettingError, match="cannot be divided among 2 arms"):
        budgets(1, (0.5, 0.5))


@pytest.mark.parametrize(
    ("split", "minutes", "words"),
    [
        (Split("person", (0.0, 1.0)), 60.0, "--share 1"),
        (Split("person", (-0.2, 0.6, 0.6)), 60.0, "--share 0.6"),
        (Split("cluster", (0.5, 0.5), regions=2), 60.0, "--regions 2"),
        (Split("person", (0.5, 0.5), regions=0), 60.0, "--regions 0"),
        (Split("switchback", (0.5, 0.5)), None, "--minutes"),
        (Split("switchback", (0.5, 0.5), period_min=20.0), 60.0, "fewer than 4 such stretches"),
        (Split("switchback", (0.5, 0.5), period_min=0.0), 60.0, "--period 0"),
        (Split("switchback", (0.4, 0.3, 0.3)), 60.0, "two arms"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(split, minutes, words):
    with pytest.raises(SettingError, match=words):
        check_split(split, minutes)
