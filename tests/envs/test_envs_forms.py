"""The forms of an observation are views of one array of numbers, for one and for many; and what libraries ask of each.

Properties, and contracts of Gymnasium's and stable-baselines3's."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import flatten
from gymnasium.vector import SyncVectorEnv
from singles_and_vectors import EVERY_ID, FLAT, IDS, MASKED, SHORT, row, same, single, vector
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from worlds import scenario

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY
from nextone.sim.scenario import SettingError

SAME_STEP = {"autoreset_mode": "SameStep"}
STAYS = scenario(sessions__leave_per_min=0.0)


def played(env, steps=25):
    """What `reset` and each step return, under the last allowed action."""
    told = [env.reset(seed=5)]
    for _ in range(steps):
        mask = env.unwrapped.action_masks()
        told.append(env.step(mask.shape[-1] - 1 - mask[..., ::-1].argmax(-1)))
    return told


@pytest.mark.parametrize(
    "make",
    [
        lambda name, **more: single(name, scenario=STAYS, **more),
        lambda name, **more: vector(130, name, **SAME_STEP, **more),
    ],
    ids=["single", "vector"],
)
def test_forms_are_views_of_one_observation(make):
    """The same numbers in each, the same rewards and infos; half precision and `compact` are cut from them."""
    for (seen, *told), (flat, *flat_told), (masked, *masked_told), (half, *_), (small, *small_told) in zip(
        *map(played, (make(IDS[0]), make(FLAT), make(MASKED), make(FLAT, dtype="float16"),
                      make(IDS[0], features="compact"))), strict=True
    ):  # fmt: skip
        parts = {name: array for name, array in seen.items() if name != "mask"}
        lead = flat.shape[:-1]
        assert same(flat, np.concatenate([parts[name].reshape(*lead, -1) for name in sorted(parts)], axis=-1))
        assert same(masked, {"action_mask": seen["mask"], "observations": flat})
        assert same(half, flat.astype(np.float16))
        kept = [not feature.name.startswith("embedding_") for feature in CANDIDATE]
        compact = {"candidates": seen["candidates"][..., kept], "context": seen["context"], "mask": seen["mask"]}
        assert same(small, compact)
        rewards = [other[:-1] for other in (told, flat_told, masked_told, small_told)]
        assert all(same(list(one), list(rewards[0])) for one in rewards)
        infos = [{k: v for k, v in other[-1].items() if "final" not in k} for other in (told, flat_told, masked_told)]
        assert same(infos[0], infos[1]) and same(infos[0], infos[2])
        assert same(infos[0]["action_mask"], seen["mask"])


def test_no_form_copies_what_was_observed():
    seen, _ = vector(2).reset(seed=0)
    assert np.shares_memory(seen["candidates"], seen["history"].base) and seen["context"].base is seen["history"].base
    space = single().observation_space
    three = gymnasium.spaces.Dict({name: box for name, box in space.items() if name != "mask"})
    first = row(seen, 0)
    assert same(flatten(three, {name: first[name] for name in three}), vector(2, FLAT).reset(seed=0)[0][0])


@pytest.mark.parametrize("name", EVERY_ID)
def test_infos_are_flat_and_have_the_same_keys_from_the_first_on(name):
    first, *rest = (told[-1] for told in played(single(name, scenario=STAYS), 5))
    for info in rest:
        assert list(info) == list(first)
        assert [type(value) for value in info.values()] == [type(value) for value in first.values()]
    assert {type(value) for value in first.values()} == {int, float, np.ndarray}
    assert first["executed_slot"] == -1 and not any(first[key] for key in first if key.startswith("reward_"))


@pytest.mark.parametrize("arguments", [{"form": "dict"}, {"form": "flat"}, {"form": "masked"}])
def test_two_observations_in_less_than_three_kilobytes(arguments):
    env = single(features="compact", dtype="float16", **arguments)
    kind = ReplayBuffer if arguments["form"] == "flat" else DictReplayBuffer
    buffer = kind(100, env.observation_space, env.action_space)
    arrays = [x for held in (buffer.observations, buffer.next_observations)
              for x in (held.values() if isinstance(held, dict) else [held])]  # fmt: skip
    assert sum(array.nbytes for array in arrays) / 100 < 3000
    whole = single(**arguments).observation_space
    numbers = len(CANDIDATE) * 20 + len(CONTEXT) + len(HISTORY) * 20
    masks = 0 if arguments["form"] == "flat" else 20
    assert sum(np.prod(box.shape) for box in (whole.values() if masks else [whole])) == numbers + masks


@pytest.mark.parametrize("name", EVERY_ID)
def test_vecnormalize_takes_every_form(name):
    env = VecNormalize(DummyVecEnv([lambda: single(name)]))
    env.reset()
    env.step([0])
    assert np.isfinite(env.normalize_reward(1.0))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_max_episode_steps_is_gymnasiums_own(mode):
    """Who leaves with the last step is terminated and truncated, as TimeLimit has it."""
    both, steps, n = 0, 40, 16
    how = {"scenario": scenario(sessions__leave_per_min=2.0), "max_episode_steps": 3}
    native = gymnasium.make_vec(IDS[0], n, autoreset_mode=mode, **how)
    own = SyncVectorEnv([lambda: gymnasium.make(IDS[0], **how)] * n, autoreset_mode=mode)
    native.reset(seed=1), own.reset(seed=1)
    for _ in range(steps):
        actions = native.action_masks().argmax(1)
        mine, theirs = native.step(actions)[1:4], own.step(actions)[1:4]
        assert same(list(mine), list(theirs))
        both += (mine[1] & mine[2]).sum()
    assert both
    with pytest.raises(SettingError, match="max_episode_steps=0 must be"):
        vector(2, max_episode_steps=0)


def test_rows_answer_as_gymnasiums_own():
    native = vector(3, FLAT, render_mode="ansi")
    own = gymnasium.make_vec(FLAT, 3, scenario=SHORT, render_mode="ansi", vectorization_mode="sync")
    native.reset(seed=9), own.reset(seed=9)
    for name in ("action_masks", "render", "observation_space", "action_space", "render_mode", "np_random_seed"):
        assert isinstance(native.call(name), tuple)
        assert all(same(a, b) if isinstance(a, np.ndarray) else a == b
                   for a, b in zip(native.call(name), own.call(name), strict=True)), name  # fmt: skip
    assert native.get_attr("render_mode") == own.get_attr("render_mode") == ("ansi",) * 3
    with pytest.raises(AttributeError, match="no_such"):
        native.get_attr("no_such")
    for wrong in (lambda: native.call("reset"), lambda: native.set_attr("render_mode", "rgb_array")):
        with pytest.raises(SettingError):
            wrong()
    unseen = vector(2)
    unseen.reset(seed=0)
    assert unseen.call("render") == (None, None)


ELSEWHERE = """
import gymnasium
how = {"vectorization_mode": "async", "vector_kwargs": {"context": "spawn"}}
env = gymnasium.make_vec("nextone:nextone/NextOneFlat-v0", num_envs=1, **how)
observations, info = env.reset(seed=3)
print(float(observations.sum()), sorted(info) == sorted(env.step([0])[4]))
env.close()
"""


def test_an_id_works_where_nothing_was_imported():
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False, timeout=300)
    observation, _ = gymnasium.make(FLAT).reset(seed=3)
    assert (done.stdout, done.returncode) == (f"{float(observation[None].sum())} True\n", 0), done.stderr


def test_wrong_forms_are_refused():
    for wrong in ({"form": "box"}, {"features": "few"}, {"dtype": "int8"}):
        (name, value), = wrong.items()  # fmt: skip
        with pytest.raises(SettingError, match=f"{name}={value!r} must be one of"):
            single(**wrong)


@pytest.mark.parametrize("name", EVERY_ID)
def test_a_form_says_how_it_was_made(name):
    env = single(name, scenario="strong_intent", dtype="float16", features="compact")
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert json.loads(again.spec.to_json()) == json.loads(env.spec.to_json())
    assert again.observation_space == env.observation_space
