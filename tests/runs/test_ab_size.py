"""How many people an A/B test needs: formulas by hand, on people whose minutes are known, and the command."""

import json

import numpy as np
import pytest
from scipy import stats
from test_cli import run
from test_verdict import compared

from nextone.cli import common
from nextone.experiments.ab.size import daily_minutes, needed, precision, seen_between, size_sentences, sizes
from nextone.experiments.runs.metrics import PRIMARY
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings


def test_people_by_hand():
    assert needed(1.0, 1.0) == pytest.approx(2 * ((1.959964 + 0.841621) / 0.01) ** 2, abs=1)
    assert seen_between(1.0, 20_000) == pytest.approx(1.96, abs=0.01)


def test_a_test_of_that_size_sees_the_difference_four_times_in_five():
    rng, n, seen = np.random.default_rng(4), needed(0.5, 20.0), 0
    for _ in range(600):
        control, arm = 10 + rng.normal(0, 5, n), 12 + rng.normal(0, 5, n)
        seen += stats.ttest_ind(arm, control).pvalue < 0.05
    assert abs(seen / 600 - 0.8) < 0.06


def test_longer_tests_average_chance_out_but_not_people_and_cuped_takes_people_out():
    """Variance of a person's mean over d days: 2^2 + 6^2 / d; correlation with the days before: 2^2 / that."""
    rng = np.random.default_rng(9)
    minutes = 20 + rng.normal(0, 2, (40_000, 1)) + rng.normal(0, 6, (40_000, 8))
    for size in sizes(minutes, 1.0, [1, 4]):
        variance = 4 + 36 / size.days
        assert size.sd_of_mean == pytest.approx(np.sqrt(variance) / 20, rel=0.02)
        assert size.correlation == pytest.approx(4 / variance, abs=0.02)
        assert size.per_arm_cuped == pytest.approx(size.per_arm * (1 - size.correlation**2), rel=0.001)
        assert size.low < size.per_arm < size.high < 1.1 * size.low
        assert size.mean_min == pytest.approx(20, rel=0.01)


def test_minutes_are_those_of_the_sessions_of_the_day_on_which_they_began():
    scenario = with_settings(Scenario(), ["population.users=12", "catalogue.kind=synthetic", "catalogue.videos=400"])
    minutes = daily_minutes(scenario, 2, 3)
    assert minutes.shape == (12, 2) and (minutes >= 0).all() and minutes.sum() > 0
    assert daily_minutes(scenario, 2, 3).tolist() == minutes.tolist()


def test_beside_it_stands_how_sharply_the_simulator_told_it():
    told = precision(compared({PRIMARY: 2}, {PRIMARY: -1}))
    assert (told.arm, told.people) == ("rule", 700 * 12) and told.difference_pct == pytest.approx(2, abs=0.1)
    minutes = 20 + np.random.default_rng(9).normal(0, 2, (50, 4))
    first, second = size_sentences(sizes(minutes, 2.0, [1, 2]), 2.0, told)
    assert first.startswith("To see a difference of 2 %, that of rule, in time in the app, an A/B test of 2 days needs")
    assert "from 8,400 people" in second
    with pytest.raises(SettingError, match="nothing to see"):
        precision(compared({}, noise=0.0))


@pytest.mark.parametrize(("difference", "lengths"), [(0.0, [1]), (float("nan"), [1]), (1.0, [3]), (1.0, [0])])
def test_what_cannot_be_sized_is_refused(difference, lengths):
    with pytest.raises(SettingError):
        sizes(np.ones((5, 4)), difference, lengths)


def test_the_command():
    small = ("--users", "20", "--set", "catalogue.kind=synthetic", "--set", "catalogue.videos=400", "--days", "1")
    code, out, err = run("ab-size", "--difference", "5", *small, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [size["days"] for size in told["sizes"]] == [1] and told["people"] == 20
    assert "an A/B test of 1 day needs" in told["verdict"][0]
    code, out, err = run("ab-size")
    assert (code, out) == (2, "") and "give the folder of a saved comparison, or --difference" in err


def test_a_job_s_log_has_a_line_a_minute(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(common.time, "monotonic", lambda: clock[0])
    told = common.a_line_a_minute("runs")
    for minute, done in ((1.5, 100), (3, 400), (3.5, 500), (4, 600)):
        clock[0] = 60 * minute
        told(done, 1_000)
    lines = capsys.readouterr().err.splitlines()
    told = ("100 of 1,000 runs", "400 of 1,000 runs, about 3 minutes left", "600 of 1,000 runs, about 2 minutes left")
    assert lines == [f"nextone: {line}" for line in told]
