"""What a comparison says in sentences, and what it calls no luck when many numbers are looked at; by hand, and on arms
that are alike."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.comparison import Comparison, comparison_table
from nextone.experiments.runs.metrics import GUARD_RAILS, IN_WORDS, LIMITS, METRICS, PRICES, PRIMARY, column_of
from nextone.experiments.runs.statistics import always_valid, many_looked_at, one_is_best, paired
from nextone.experiments.runs.verdict import rail, read_limits, verdict
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError

LUCK = np.random.default_rng(5).normal(size=(2, 12, len(METRICS)))
CALM = {"utilisation": 0.5, "timeout_rate": 0.001}  # servers that do not drown


def compared(*arms: dict[str, float], noise: float = 0.01) -> Comparison:
    """Arms that differ from the baseline by so many percent in some metrics, and by a little luck in all."""
    values = np.full((1 + len(arms), 12, len(METRICS)), 10.0)
    for name, value in CALM.items():
        values[..., column_of(name)] = value
    for a, changes in enumerate(arms, start=1):
        values[a] *= 1 + noise * LUCK[a % 2] / 100
        for name, percent in changes.items():
            values[a, :, column_of(name)] *= 1 + percent / 100
    named = tuple(Arm(name, name, Scenario()) for name in ("cloud_only", "rule", "other")[: len(values)])
    return Comparison(named, METRICS, values, 0, 60.0, None, "event", np.zeros((len(values), 12, 0, 2), np.int64))


def differences(p):
    """Differences whose p is known."""
    one = paired(np.arange(10.0), np.arange(10.0) + 1)
    return [None if each is None else one._replace(p=each) for each in p]


def sure(found):
    return [d is not None and d.sure for d in found]


def test_holm_and_benjamini_and_hochberg_by_hand():
    # Holm: .01 <= .05/4, .02 > .05/3. Benjamini and Hochberg: bounds .0125, .025, .0375, .05; 3 below
    some = differences([0.02, None, 0.03, 0.01, 0.6])
    assert sure(one_is_best(some)) == [False, False, False, True, False]
    assert sure(many_looked_at(some)) == [True, False, True, True, False]
    assert sure(many_looked_at(differences([0.04, 0.045]))) == [True, True]
    assert sure(one_is_best(differences([0.04, 0.045]))) == [False, False]
    assert one_is_best([]) == () and sure(many_looked_at([None])) == [False]


@pytest.mark.parametrize("shift", [0.0, 0.3, -1.2])
def test_p_is_that_of_student_s_test(shift):
    a, b = np.zeros(14), LUCK[0, :, :14].mean(axis=0) + shift
    assert paired(a, b).p == pytest.approx(stats.ttest_1samp(b, 0).pvalue)
    base = 5 + LUCK[0, :, 0]
    found = paired(base, base + LUCK[1, :, 1] + shift)  # in percent: the interval that is shown and p agree
    assert found.sure is (found.diff_pct_low > 0 or found.diff_pct_high < 0)


def test_p_after_looks_is_where_the_interval_that_allows_for_them_touches_zero():
    x = LUCK[0, :, 3] - LUCK[0, :, 3].mean()
    edge = always_valid(12) * x.std(ddof=1) / np.sqrt(12)
    assert paired(np.zeros(12), x + edge, extended=True).p == pytest.approx(0.05)
    assert paired(np.zeros(12), x + 0.1 * edge, extended=True).p == pytest.approx(1)


def test_a_constant_difference_is_sure_and_none_is_not():
    base = 5 + LUCK[0, :, 0]
    assert (paired(np.zeros(12), np.ones(12)).p, paired(base, base).p) == (0, 1)


def test_of_tables_of_arms_that_are_alike_one_in_ten_has_a_star_and_one_in_twenty_at_the_primary_metric():
    """2 arms, 42 metrics, 10 replications. Each number's own interval leaves 0 out in nearly every such table."""
    rng, many = np.random.default_rng(11), 150
    any_star = own = primary = 0
    for _ in range(many):
        values = 10 + rng.normal(size=(3, 10, len(METRICS)))
        for name, value in CALM.items():
            values[..., column_of(name)] *= value / 10
        arms = tuple(Arm(name, name, Scenario()) for name in "abc")
        found = Comparison(arms, METRICS, values, 0, 60.0, None, "event", np.zeros((3, 10, 0, 2), np.int64))
        cells = [d for row in found.differences[1:] for d in row if d is not None]
        any_star += any(d.sure for d in cells)
        own += any(d.p < 0.05 for d in cells)
        primary += any(row[column_of(PRIMARY)].sure for row in found.differences[1:])
    limit = stats.binom.ppf(0.999, many, [0.1, 0.05])
    assert any_star <= limit[0] and primary <= limit[1] and own > 0.9 * many


def test_what_is_better_at_what_price_and_what_next():
    result = compared({PRIMARY: 2, "requests": 7, "data_mb": -3}, {PRIMARY: -1})
    answer, price, rails, after, hangs = verdict(result, depends=("interests.intent_sd", "server.feature_lag_s"))
    assert answer.startswith("rule is better than cloud_only: time in the app +2") and "Worse: other (−1" in answer
    assert price.startswith("Its price: requests +7") and "; it saves bytes of pages and models −3" in price
    assert rails == "Guard rails: 9 of 9 within their limits."
    assert after.startswith("Next: an A/B test of rule on real people")
    assert "depend most on interests.intent_sd and server.feature_lag_s" in hangs


def test_a_guard_rail_that_breaks_is_named_with_its_limit():
    result = compared({PRIMARY: 2, "stall_ratio": 9, "tag_entropy": -8, "tags": 8})
    states = [rail(result, 1, name, LIMITS) for name in ("stall_ratio", "tag_entropy", "tags")]
    assert states == ["broken", "broken", "kept"]
    *_, rails, after = verdict(result)
    assert "7 of 9 within" in rails and "variety of tags (−8" in rails and "stalled time (+9" in rails
    assert "limit 5 %" in rails and "is worth variety of tags and stalled time" in after
    assert "9 of 9 within" in verdict(result, read_limits(["stall_ratio=20", "tag_entropy = 20"]))[-2]


def test_what_luck_leaves_open_is_said_to_be_open():
    shaky = compared({PRIMARY: 2}, noise=8.0)
    assert rail(shaky, 1, "skip_2s", LIMITS) == "open"
    assert "too uncertain to say: " in " ".join(verdict(compared({PRIMARY: 50}, noise=8.0)))
    one = compared({PRIMARY: 0.5}, noise=1.0)
    answer, after = verdict(one)
    assert "no different, as far as can be told, from cloud_only" in answer
    assert after.startswith("Next: --replications ") and int(after.split()[2]) > 12
    assert "stay with cloud_only" in verdict(compared({PRIMARY: -3}))[-1]
    two = verdict(compared({PRIMARY: -3}, {PRIMARY: -1}))
    assert two[0].startswith("Nothing is better than cloud_only in time in the app")


def test_of_many_arms_three_are_named():
    many = compared({PRIMARY: 2}, {PRIMARY: 1})
    values = np.concatenate([many.values, many.values[[2] * 4]])
    arms = (*many.arms, *(Arm(name, name, Scenario()) for name in "wxyz"))
    told = verdict(replace(many, arms=arms, values=values))[0]
    assert "Better, too: other (" in told and told.endswith(" and 2 more.")


def test_servers_that_drown_are_told_before_anything_else():
    result = compared({PRIMARY: 2, "timeout_rate": 2_000})
    assert verdict(result)[0].startswith("Servers drown under rule:")


@pytest.mark.parametrize("text", ["hate", "hate=-1", "hate=x", "hate=nan", "hate=inf", "app_min=3"])
def test_limits_that_are_none_are_refused(text):
    with pytest.raises(SettingError, match=f"--limit {text}: "):
        read_limits([text])


def test_every_guard_rail_has_a_limit_and_words_and_the_short_table_holds_what_the_verdict_is_of():
    rails = {metric.name for metric in METRICS if metric.group == GUARD_RAILS}
    assert set(LIMITS) == rails and {PRIMARY, *rails, *PRICES} <= set(IN_WORDS)
    names = [str(cell).split()[0] for cell in comparison_table(compared({}), whole=False).columns[0].cells]
    assert set(names) >= {PRIMARY, *rails, *PRICES} and "like" not in names
