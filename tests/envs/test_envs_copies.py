"""Copies and states of environments: what goes on from them is the same life, bit for bit. And how one says of itself
how it was made."""

import copy
import json
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from worlds import scenario

import nextone  # noqa: F401 (registers the ids)
from nextone.envs.reward import RewardWeights
from nextone.envs.sb3 import NextOneVecEnv
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

WORLD = scenario(client__history=5, server__candidates=6, server__page_size=3)
OTHER = with_settings(WORLD, ["sessions.leave_per_min=3.0"])


def single(**arguments):
    return gymnasium.make("nextone/NextOne-v0", scenario=WORLD, **arguments)


def vector(n=5, **arguments):
    return gymnasium.make_vec("nextone/NextOne-v0", n, scenario=WORLD, **arguments)


def lived(env, steps=30):
    """The bits of all that the next steps bring; ended episodes are followed by the next ones."""
    told = []
    for _ in range(steps):
        mask = env.unwrapped.action_masks()
        action = mask.shape[-1] - 1 - np.argmax(mask[..., ::-1], axis=-1)
        seen, reward, terminated, truncated, info = env.step(action)
        told += [seen[name].tobytes() for name in sorted(seen)]
        told += [np.asarray(x).tobytes() for x in (reward, terminated, truncated, info["session_min"])]
        if isinstance(terminated, bool) and (terminated or truncated):
            seen, info = env.reset()
            told += [seen["candidates"].tobytes(), info["episode_number"]]
    return told


@pytest.mark.parametrize("make", [single, vector])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_lives_on_as_the_original(make, way):
    env = make()
    env.reset(seed=4, options={"scenario": OTHER})
    lived(env, 3)
    other = way(env)
    assert lived(env) == lived(other)
    first, second = (e.reset(seed=9)[0]["candidates"].tobytes() for e in (env, other))
    assert first == second


def test_a_copy_shares_nothing_with_the_original():
    env, alone = single(), single()
    env.reset(seed=4)
    alone.reset(seed=4)
    lived(copy.deepcopy(env), 10)
    assert lived(env) == lived(alone)


def test_a_copy_before_the_first_reset():
    other = copy.deepcopy(single())
    with pytest.raises(ResetNeeded):
        other.unwrapped.step(0)
    env = single()
    env.reset(seed=1), other.reset(seed=1)
    assert lived(env, 5) == lived(other, 5)


def test_a_copy_for_training():
    env = NextOneVecEnv(vector(autoreset_mode="SameStep"))
    env.seed(3)
    env.reset()
    other = copy.deepcopy(env)
    ways = [[e.step(np.zeros(5, np.int64))[1].tobytes() for _ in range(10)] for e in (env, other)]
    assert ways[0] == ways[1]


@pytest.mark.parametrize("make", [single, vector])
def test_a_state_brings_back_the_same_bits(make):
    env = make()
    env.reset(seed=4)
    lived(env, 3)
    state = env.unwrapped.get_state()
    first = lived(env)
    env.unwrapped.set_state(state)
    assert lived(env) == first
    fresh = make()
    fresh.reset(seed=77, options={"scenario": OTHER})
    fresh.unwrapped.set_state(state)
    assert lived(fresh) == first


def test_a_state_is_of_one_kind_of_environment():
    env, two = vector(1), vector(2)
    with pytest.raises(ResetNeeded):
        env.unwrapped.get_state()
    env.reset(seed=0), two.reset(seed=0)
    before = two.unwrapped.get_state()
    with pytest.raises(SettingError, match="another kind of environment"):
        two.unwrapped.set_state(env.unwrapped.get_state())
    after = two.unwrapped.get_state()
    assert all((before.arrays[name] == array).all() for name, array in after.arrays.items())


@pytest.mark.parametrize("make", [single, vector])
def test_an_assigned_generator_says_which_episodes_are_played(make):
    def episodes(seed, env):
        env.np_random = np.random.default_rng(seed)
        return [env.reset()[0]["candidates"].tobytes() for _ in range(3)]

    env = make()
    env.reset(seed=5)
    first, again, others = episodes(1, env), episodes(1, make()), episodes(2, env)
    assert first == again and len(set(first + others)) == 6
    assert env.reset(seed=5)[0]["candidates"].tobytes() == make().reset(seed=5)[0]["candidates"].tobytes()
    assert env.reset()[1]["episode_number"] == pytest.approx(1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scenario": Scenario()}, {"scenario": "strong_intent"}, {"scenario": Path("strong_intent")},
        {"scenario": {"client.ttl_s": 5.0}},
        {"scenario": with_settings(Scenario(), ["client.ttl_s=inf", "network.constant_mbps=3"])},
        {"reward": RewardWeights(like=2.0), "queue_waits": np.array([0, 5])}, {"reward": {"like": np.float64(1)}},
    ],
)  # fmt: skip
def test_a_specification_survives_json(arguments):
    env = gymnasium.make("nextone/NextOne-v0", **arguments)
    told = env.spec.to_json()
    json.loads(told)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(told))
    assert again.unwrapped.batch.scenario == env.unwrapped.batch.scenario
    assert again.unwrapped.batch.weights == env.unwrapped.batch.weights
    several = gymnasium.make_vec("nextone/NextOne-v0", 2, **arguments)
    assert json.loads(several.spec.to_json())["kwargs"].items() >= json.loads(told)["kwargs"].items()
