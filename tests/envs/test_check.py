"""The deep checker: planted faults are named, sound environments are left alone."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from faults import FAULTS, findings
from gymnasium.vector import AutoresetMode
from singles_and_vectors import EVERY_ID, IDS
from sound import OURS, SHELF, SMALL, ours, shelf

from nextone.envs.checker.check import EnvironmentFault, Report, check_environment
from nextone.envs.checker.claims import Claims
from nextone.envs.checker.moments import misfit
from nextone.envs.checker.transcript import Finding, difference
from nextone.envs.checker.vector import check_vector_environment

GYMNASIUM = (
    "CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1",
    "FrozenLake-v1", "Taxi-v4", "Blackjack-v1", "CliffWalking-v1",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_named(fault):
    """All of them are found; 95 % were asked for."""
    told = {finding.name for finding in findings(fault)}
    assert told & fault.found_as


def test_there_are_enough_faults_of_every_listed_kind():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40
    assert len([fault for fault in FAULTS if fault.listed]) >= 16


@pytest.mark.parametrize("name", GYMNASIUM)
def test_no_false_alarm_on_gymnasiums_own(name):
    assert check_environment(lambda: gymnasium.make(name), steps=300) == []


def test_gymnasiums_mountain_car_continuous_returns_its_own_memory():
    """Not a false alarm: by hand, overwriting what it returned moves the car."""
    found = check_environment(lambda: gymnasium.make("MountainCarContinuous-v0"), steps=200)
    assert [finding.name for finding in found] == ["observation-kept"]
    env = gymnasium.make("MountainCarContinuous-v0")
    env.reset(seed=0)
    seen = env.step(np.zeros(1, np.float32))[0]
    seen[:] = 0.5, 0.0
    assert env.step(np.zeros(1, np.float32))[0][0] > 0.49


@pytest.mark.parametrize("name", EVERY_ID)
def test_no_false_alarm_on_ours(name):
    claims = OURS if name == IDS[0] else replace(OURS, observe=None)
    claims = replace(claims, executed="") if name == IDS[1] else claims  # asking for a page shows a slot
    report = check_environment(lambda: ours(name), claims=claims)
    assert report == [] and report.unseen == []


def test_no_false_alarm_on_the_shelf():
    assert check_environment(shelf, claims=SHELF) == []


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((IDS[0], mode) for mode in AutoresetMode), *((name, AutoresetMode.NEXT_STEP) for name in EVERY_ID[1:])],
)
def test_no_false_alarm_on_our_vector_environment(name, mode):
    def batch(n):
        how = {"scenario": SMALL, "max_steps": 8, "autoreset_mode": mode}
        return gymnasium.make_vec(name, n, vectorization_mode="vector_entry_point", **how)

    report = check_vector_environment(batch, lambda: gymnasium.make(name, scenario=SMALL, max_steps=8), steps=40)
    assert report == []


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("name", ["CartPole-v1", "Blackjack-v1", "Taxi-v4"])
def test_no_false_alarm_on_gymnasiums_vector_environment(name, mode):
    def batch(n):
        return gymnasium.make_vec(name, n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})

    assert check_vector_environment(batch, lambda: gymnasium.make(name), steps=150) == []


def test_a_finding_says_how_to_see_it_and_can_be_raised():
    fault = next(fault for fault in FAULTS if fault.name == "shelf: the mask is the last step's")
    report = check_environment(fault.make, claims=fault.claims)
    assert report[0].name == "mask-wrong"
    assert str(report[0]).startswith("mask-wrong: observation['mask'] says ") and ", step " in report[0].see
    with pytest.raises(EnvironmentFault, match="mask-wrong"):
        check_environment(fault.make, claims=fault.claims, raise_on_error=True)
    names = {finding.name for finding in report}
    assert check_environment(fault.make, claims=fault.claims, ignore=names) == []


def test_what_was_never_seen_is_told():
    assert check_environment(lambda: gymnasium.make("CartPole-v1")).unseen[0].startswith("the time limit of 500 steps")
    balance = lambda seen, info, rng: np.int64(seen[2] + 0.5 * seen[3] + 0.05 * seen[1] > 0)  # noqa: E731
    report = check_environment(lambda: gymnasium.make("CartPole-v1"), claims=Claims(choose=balance))
    assert report == [] and report.unseen == []


def test_differences_by_hand():
    nan = np.array([1.0, np.nan])
    assert difference(nan, nan.copy()) == ""
    assert difference(nan, np.array([1.0, 2.0]), "x") == "x is nan, then 2.0"
    assert difference({"a": (1, [2])}, {"a": (1, [3])}, "x") == "x['a'][1][0] is 2, then 3"
    assert difference(np.zeros(2), np.zeros(2, np.float32), "x") == "x is float64(2,), then float32(2,)"
    assert difference({"a": 1}, {"b": 1}, "x") == "x has ['a'], then ['b']"


def test_fit_to_a_space_by_hand():
    space = gymnasium.spaces.Dict(a=gymnasium.spaces.Box(0.0, 1.0, (2,)), b=gymnasium.spaces.Discrete(3))
    good = {"a": np.array([0.0, 1.0], np.float32), "b": 2}
    assert misfit(space, good) == ("", "")
    assert misfit(space, good | {"b": 3})[0] == "observation-out-of-space"
    assert misfit(space, good | {"a": np.array([0.0, 1.1], np.float32)})[1].startswith("observation['a'] holds 1.1")
    assert misfit(space, good | {"a": np.array([0.0, np.inf], np.float32)})[0] == "observation-not-finite"
    assert misfit(space, good | {"a": np.zeros(2)})[0] == "observation-type"


def test_a_report_names_each_fault_once():
    report = Report([Finding("a", "first", ""), Finding("a", "second", ""), Finding("b", "", "")])
    assert [finding.explanation for finding in report if finding.name == "a"] == ["first"]
