"""Single plays told by the model: its chances are the kernels', its scores are right by hand."""

import sys

import numpy as np
import pytest

from nextone.cli import main as cli
from nextone.experiments.fitting.logs.user_log import shipped_log
from nextone.experiments.fitting.people.response import Model, Rows, auc, by_turn, calibration_error, features, split
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import LONG, SKIP, VALID
from nextone.sim.watching import length_logit, outcome_of, watch_time_us

CALM = ["population.match_sd=0", "population.taste_sd=0", "interests.mood_sd=0", "interests.intent_sd=0",
        "watching.dead_time_log_sd=0"]  # fmt: skip


def rows(**columns):
    n = len(columns["user"])
    defaults = dict(video=np.zeros(n, int), length_s=np.full(n, 60.0), level=np.zeros(n, int), hour=np.zeros(n),
                    tag=np.zeros(n, int))  # fmt: skip
    return Rows(**{**defaults, **{name: np.asarray(x) for name, x in columns.items()}})


@pytest.mark.parametrize(("length_s", "odds", "person"), [(60.0, 1.0, 0.5), (12.0, 0.0, -1.0), (200.0, 3.0, 0.0)])
def test_chances_are_those_of_the_kernels(length_s, odds, person):
    """Theory: frequencies of 4,000 plays by `watch_time_us` within four standard errors."""
    world, n = with_settings(Scenario(), CALM), 4_000
    model = Model(world, rows(user=[0, 1], level=[0, 3]))
    model.shift = 0.0
    chance = model.chances(np.array([length_s]), np.array([[odds]]), np.array([[person]]))[:, 0, 0]
    assert chance.sum() == pytest.approx(1.0)
    p, rng, us = world.params()[0], np.random.default_rng(3), round(length_s * 1e6)
    logit = p["stay"] + length_logit(p, us) + odds
    u, z = rng.random((n, 2)), rng.standard_normal((n, 3))
    plays = [watch_time_us(p, logit, person, us, u[k, 0], z[k, 0], z[k, 1], u[k, 1], z[k, 2]) for k in range(n)]
    outcome = np.array([outcome_of(play, us) for play in plays])
    seen = [np.mean(outcome & SKIP != 0), np.mean(outcome & VALID != 0), np.mean(outcome & LONG != 0)]
    told = [chance[0], chance[2] + chance[3], chance[3]]
    assert np.abs(np.subtract(seen, told)).max() < 4 * 0.5 / np.sqrt(n)


def test_area_under_the_curve_by_hand():
    """Of the six pairs of a yes and a no three are in order and one is equal: 3.5 / 6."""
    score, happened = np.array([0.1, 0.4, 0.4, 0.8, 0.9]), np.array([False, False, True, True, False])
    assert auc(score, happened) == pytest.approx(3.5 / 6)


def test_calibration_error_by_hand():
    """Ten rows, a bin each: told .1 nothing happens, told .9 it always does."""
    chance = np.array([0.1] * 5 + [0.9] * 5)
    assert calibration_error(chance, chance > 0.5) == pytest.approx(0.1)
    assert calibration_error(chance, chance < 0.5) == pytest.approx(0.9)


def test_turns_by_hand():
    assert [turn.tolist() for turn in by_turn(np.array([0, 0, 0, 1, 2, 2]))] == [[0, 3, 4], [1, 5], [2]]


def test_who_stayed_is_expected_to_stay():
    """Two people, one with two long views behind them, one with two skips, before the same video."""
    model = Model(Scenario(), rows(user=[0, 1], level=[0, 3]))
    before = rows(user=[0, 0, 0, 1, 1, 1], level=[3, 3, 0, 0, 0, 0])
    told = model.predict(before, np.zeros(1))
    assert told[2, 1] > told[5, 1] + 0.05
    assert told[0].tolist() == told[3].tolist()  # nothing known yet


def test_the_baseline_is_not_told_what_it_is_asked():
    """A video seen in one fold only is known by its prior there; a person's first row knows no row of theirs."""
    both = rows(user=[0, 0, 1], video=[0, 1, 1], level=[3, 3, 0])
    told = features(both, both, both.user % 5)
    assert told[0, -4] == 0 and told[1, -4] == 1 and told[2, -4] == 1  # views elsewhere
    assert told[0, 4:7] == pytest.approx(np.mean(both.level >= 3))


def test_without_scikit_learn_it_says_so_at_once(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    assert cli.main(["held-out", "--users", "10"]) == 2
    assert capsys.readouterr().err == "nextone: nextone held-out needs scikit-learn; pip install 'nextone[dev]'\n"


def test_halves_share_no_user_and_lose_none():
    log = shipped_log()
    mine = split(log, 0)
    assert not set(log.user[mine]) & set(log.user[~mine])
    assert len(set(log.user[mine])) == log.users // 2
    assert (split(log, 1) != mine).any()
