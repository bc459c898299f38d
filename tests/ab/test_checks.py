"""The big checks in small: what they count, on populations whose days are drawn here."""

import numpy as np
import pytest
from scipy import stats

from nextone.experiments.ab.checks import Misses, alarms, misses, page, peeking
from nextone.experiments.ab.people import People, Sums
from nextone.experiments.runs.statistics import upper_limit
from nextone.sim.config import Scenario


def population(seed, people=300, looks=24):
    """People who come and go by the hour, more alike from day to day than from person to person."""
    rng = np.random.default_rng(seed)
    keen, ones = rng.lognormal(0, 0.7, people), np.ones(people)
    hours = rng.gamma(0.3, 5.0, (people, looks)) * keen[:, None]
    before, opened = rng.gamma(0.3 * looks, 5.0, people) * keen, rng.integers(0, looks, people)
    hours[np.arange(looks) < opened[:, None]] = 0
    sums = {"app_min": Sums(hours.sum(axis=1), ones), "never": Sums(np.zeros(people), np.zeros(people))}
    return People(
        np.zeros(people, np.int8), np.arange(people), sums, {"app_min": Sums(before, ones), "never": sums["never"]},
        hours.cumsum(axis=1).astype(np.float32), opened, {}, {},
    )  # fmt: skip


FOUND = [population(seed) for seed in range(5)]


def test_what_is_counted():
    rows = misses(FOUND, Scenario(), 300)
    assert [(row.metric, row.of) for row in rows] == [("app_min", 300), ("never", 0)]
    for missed in (rows[0].fixed, rows[0].cuped):
        assert stats.binom.sf(missed, 300, 0.05) > 1e-4 and stats.binom.cdf(missed, 300, 0.05) > 1e-4


def test_who_looks_each_hour_is_misled_by_fixed_intervals_and_not_by_others():
    always, fixed = peeking(FOUND, Scenario(), 150)
    assert always <= 10 and fixed > 15


def test_the_ratio_check_counts_alarms():
    assert alarms(20_000, 0.4, 20) == 20 and alarms(20_000, 0.5, 20) == 0


def test_the_upper_limit_is_that_of_clopper_and_pearson():
    low = stats.binomtest(37, 2000, alternative="less").proportion_ci(0.99, method="exact").high
    assert upper_limit(37, 2000) == pytest.approx(low) and upper_limit(5, 5) == 1


def test_the_page_says_what_was_kept():
    rows = [Misses("app_min", 2000, 100, 160), Misses("never", 0, 0, 0)]
    words = page(rows, (40, 500), 2000, (9950, 9))
    assert "| 95.0 | kept |" in words and "with CUPED | 92.0 | **not kept** |" in words
    assert "| 99.50 | kept |" in words and "| 0.09 | kept |" in words and "missed at some look in 25.0 %" in words
    assert "Outside 93.5 to 96.5 %: app_min." in words
    assert "| never | 0 | - | - |" in words
