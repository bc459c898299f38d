"""Contract: wrong arguments, resets and actions are refused in one line, and change nothing."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from singles_and_vectors import IDS, same, single, vector
from worlds import scenario

BAD = {
    "num_envs=0 must be a whole number >= 1": {"num_envs": 0},
    "max_steps=0 must": {"max_steps": 0},
    "max_steps=2.5 must": {"max_steps": 2.5},
    "request_budget=-1 must": {"request_budget": -1},
    "request_budget is for nextone/NextOneRefresh-v0": {"request_budget": 3},
    "invalid_action='ignore' must be one of nearest, raise": {"invalid_action": "ignore"},
    "render_mode='human' must be one of": {"render_mode": "human"},
    "autoreset_mode='never' must be one of": {"autoreset_mode": "never"},
    "reward='wach' is no preset; did you mean watch": {"reward": "wach"},
    "reward has no component 'likes'; did you mean like": {"reward": {"likes": 1}},
    "reward weight like=nan must be a finite number": {"reward": {"like": float("nan")}},
    "reward=3 must be a preset's name": {"reward": 3},
    "unknown setting client.ttls; did you mean client.ttl_s": {"scenario": {"client.ttls": 3.0}},
    "must be named section.field": {"scenario": {"ttl_s": 3.0}},
    "client.ttl_s=-1": {"scenario": {"client.ttl_s": -1}},
    "scenario=7 must be a Scenario": {"scenario": 7},
    "scenario file 'nowhere.toml'": {"scenario": "nowhere.toml"},
    "server.candidates=1 leaves nothing to choose": {"scenario": {"server.candidates": 1, "server.page_size": 1}},
    "queue_waits must be whole microseconds": {"queue_waits": [5, 3]},
    "queue_waits must be whole microseconds >= 0": {"queue_waits": np.array([5, 3], np.uint64)},
    "queue_waits must be whole microseconds >= 0 by": {"queue_waits": [2**63]},
    "max_steps=4294967296 must be a whole number >= 1 and < 2": {"max_steps": 2**32},
    "num_envs=True must be a whole number": {"num_envs": True},
    "refresh='no' must be True or False": {"refresh": "no"},
    "inference=None must be True or False": {"inference": None},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_told_in_one_line(message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace(".", r"\.")) as error:
        gymnasium.make_vec(IDS[0], **({"num_envs": 2} | BAD[message]))
    assert "\n" not in str(error.value)


RESETS = {
    "reset has no option 'persn'; did you mean person": {"options": {"persn": 1}},
    "option person=-1 must": {"options": {"person": -1}},
    "option person=1.5 must": {"options": {"person": 1.5}},
    "option network is no link class: 'wifi7'; did you mean wifi": {"options": {"network": "wifi7"}},
    "option network has 3 entries": {"options": {"network": ["4g"] * 3}},
    "option scenario has pool slots=30, the observation 20": {"options": {"scenario": {"server.candidates": 30}}},
    "reset_mask must be a bool array": {"options": {"reset_mask": np.zeros(2, np.bool_)}},
    "seed has 3 entries": {"seed": [1, 2, 3]},
    "seed=-1 must be a whole number": {"seed": -1},
    "seed=1.5 must be a whole number": {"seed": [1.5, 2]},
    "seed=2.0 must be a whole number": {"seed": 2.0},
    "seed=True must be a whole number": {"seed": True},
    "seed='7' must be a whole number": {"seed": "7"},
    "option network=3 must be the name of a link class": {"options": {"network": 3}},
    "options=5 must be a dict of person, network": {"options": 5},
    r"options=\[\] must be a dict": {"options": []},
}


@pytest.mark.parametrize("message", RESETS)
def test_bad_resets_are_told_in_one_line(message):
    env = vector(2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message) as error:
        env.reset(**RESETS[message])
    assert "\n" not in str(error.value)
    env.step(np.zeros(2, np.int64))  # and it goes on


def test_a_refused_reset_changes_nothing():
    """Also where only one of its options is wrong."""
    env, untouched = (vector(2, autoreset_mode="Disabled") for _ in range(2))
    env.reset(seed=3)
    for options in ({"scenario": {"client.ttl_s": 2.0}, "person": -1}, {"person": 5, "network": "fax"}):
        with pytest.raises(ValueError, match="option"):
            env.reset(seed=8, options=options)
    untouched.reset(seed=3)
    assert same(env.step(np.zeros(2, np.int64))[0], untouched.step(np.zeros(2, np.int64))[0])


ACTIONS = (None, "3", "a", 1.0, np.float32(2), np.nan, np.inf, True, np.bool_(True), [1, 2], (1,), np.array([3]), {},
           1j, 2**63, 10**30, -(10**30), np.array(3.0), np.array([]), b"1")  # fmt: skip


def test_actions_that_are_none():
    stays = scenario(sessions__leave_per_min=0.0)
    env, before = single(scenario=stays).unwrapped, single(scenario=stays).unwrapped
    for made in (env, before):
        made.reset(seed=3)
    for action in ACTIONS:
        with pytest.raises(ValueError, match="action"):
            env.step(action)
    for action in (2, np.int8(2), np.uint64(2), np.array(2), np.array(2, ">i2")):
        assert same(env.step(action)[0], before.step(2)[0])
    many = vector(3)
    many.reset(seed=0)
    for actions in (None, 5, "abc", [0, 1], np.zeros((3, 1), np.int64), ["0", "1", "2"], [0, -1, 2], [0, np.nan, 1],
                    np.array([0, 2**63, 1], np.uint64), np.array([0, 1, 2], object), [True, False, True]):  # fmt: skip
        with pytest.raises(ValueError, match="action"):
            many.step(actions)


def test_misuse():
    env = vector(3)
    with pytest.raises(ResetNeeded, match="not reset yet"):
        env.step(np.zeros(3, np.int64))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions have shape \(2,\), must be \(3,\)"):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="actions are float64"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match=r"action 20 of environment 1 must be in \[0, 20\)"):
        env.step(np.array([0, 20, 0]))
    env.close()
    for use in (lambda: env.step(np.zeros(3, np.int64)), env.reset, env.render, env.action_masks):
        with pytest.raises(ClosedEnvironmentError, match="closed; make a new one"):
            use()
    one = single().unwrapped
    one.close()
    with pytest.raises(ClosedEnvironmentError):
        one.reset()
