"""Properties: single = vector = Gymnasium's own vector of singles, bit for bit, in each autoreset mode and for SB3."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from singles_and_vectors import FLAT, IDS, MASKED, SHORT, allowed, row, same, single, some_action, vector
from worlds import scenario

from nextone.envs.sb3 import NextOneVecEnv

MODES = [mode.value for mode in AutoresetMode]


# -- single = vector ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_row_i_of_seed_s_is_the_single_environment_of_seed_s_plus_i(n):
    many, ones = vector(n, IDS[1], autoreset_mode="NextStep"), [single(IDS[1]).unwrapped for _ in range(min(n, 7))]
    observations, _ = many.reset(seed=30)
    mine = [env.reset(seed=30 + i)[0] for i, env in enumerate(ones)]
    over = [False] * len(ones)
    ends = 0
    for step in range(60):
        actions = np.array([some_action(row(observations, i), step) for i in range(n)])
        observations, rewards, terminated, truncated, info = many.step(actions)
        for i, env in enumerate(ones):
            if over[i]:
                mine[i], about = env.reset()
                told = (0.0, False, False)
            else:
                mine[i], *told, about = env.step(actions[i])
            assert same(mine[i], row(observations, i)), (step, i)
            assert tuple(told) == (rewards[i], terminated[i], truncated[i])
            assert same(about, {name: info[name][i] for name in about}) and all(info[f"_{name}"][i] for name in about)
            over[i] = told[1] or told[2]
            ends += over[i]
    assert ends


def native_and_gymnasiums_own(mode, kind, steps=60, name=IDS[1]):
    """Everything a step returns, from the native vector and from Gymnasium's vector of singles."""
    own = gymnasium.make_vec(
        name, num_envs=7, scenario=SHORT, max_steps=9, vectorization_mode=kind, vector_kwargs={"autoreset_mode": mode}
    )
    pair = [DictInfoToList(env) for env in (vector(7, name, autoreset_mode=mode, max_steps=9), own)]
    seen = [env.reset(seed=4) for env in pair]
    yield seen
    for step in range(steps):
        masks = pair[0].unwrapped.action_masks()
        actions = np.array([allowed(masks[i], step, np.arange(i + 1)) for i in range(7)])
        results = [env.step(actions) for env in pair]
        yield results
        seen = [(result[0], None) for result in results]
        ended = results[0][2] | results[0][3]
        if mode == "Disabled" and ended.any():
            seen = [env.reset(options={"reset_mask": ended.copy()}) for env in pair]
            yield [(a, [b[i] if ended[i] else {} for i in range(7)]) for a, b in seen]
    own.close()


def check_equal(mode, kind, steps, name=IDS[1]):
    ends = 0
    for mine, theirs in native_and_gymnasiums_own(mode, kind, steps, name):
        *arrays, infos = mine
        *others, their_infos = theirs
        for a, b in zip(arrays, others, strict=True):
            assert same(a, b)
        for info, other in zip(infos, their_infos, strict=True):
            assert info.keys() == other.keys()
            for key in info:
                assert same(info[key], other[key]), key
            ends += "final_obs" in info or (len(arrays) > 1)
    assert ends


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [IDS[1], FLAT, MASKED])
def test_native_is_gymnasiums_own_vector_of_singles(name, mode):
    """Observations, rewards, ends and infos, final ones too, in each autoreset mode."""
    check_equal(mode, "sync", 60 if name == IDS[1] else 20, name)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_native_is_gymnasiums_own_asynchronous_vector(mode):
    check_equal(mode, "async", 2000)


FORKED = """
import gymnasium, nextone
env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=2, vectorization_mode="async")
observations, _ = env.reset(seed=0)
print(env.step(observations["mask"].argmax(1))[1].shape)
env.close()
"""


def test_processes_forked_from_one_with_an_environment_have_theirs():
    """Threads do not survive a fork; Gymnasium makes a first environment before it forks."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("(2,)\n", "", 0)


def test_same_step_keeps_the_final_observation():
    stays = scenario(sessions__leave_per_min=0.0)
    env = vector(5, autoreset_mode="SameStep", max_steps=3, scenario=stays)
    before, _ = env.reset(seed=1)
    for _ in range(3):
        before, _, _, truncated, info = env.step(before["mask"].argmax(1))
    assert truncated.all() and info["_final_obs"].all() and (info["episode_number"] == 1).all()
    other = vector(5, autoreset_mode="Disabled", max_steps=3, scenario=stays)
    observations, _ = other.reset(seed=1)
    for _ in range(3):
        observations, *_ = other.step(observations["mask"].argmax(1))
    for i in range(5):
        assert same(info["final_obs"][i], row(observations, i)) and not same(row(before, i), row(observations, i))
        assert info["final_info"]["episode_number"][i] == 0


def test_parallel_is_sequential(monkeypatch):
    """The same bits on two threads."""
    monkeypatch.setattr("nextone.envs.batch.numba.get_num_threads", lambda: 2)
    two = vector(130, autoreset_mode="SameStep")
    assert len(two.world.logged) == 2
    monkeypatch.setattr("nextone.envs.batch.numba.get_num_threads", lambda: 1)
    one = vector(130, autoreset_mode="SameStep")
    assert len(one.world.logged) == 1
    a, b = one.reset(seed=8)[0], two.reset(seed=8)[0]
    for step in range(30):
        assert same(a, b)
        actions = (a["mask"] * (np.arange(20) * 7919 + step * 31) % 1009).argmax(1)
        (a, *left, _), (b, *right, _) = one.step(actions), two.step(actions)
        assert all(same(x, y) for x, y in zip(left, right, strict=True))


# -- stable-baselines3 -------------------------------------------------------------------------------------------------


def test_sb3_adapter():
    """The same numbers as the native vector, masks by env_method, episodes told when they end."""
    native = vector(6, IDS[1], autoreset_mode="SameStep", max_steps=20)
    env = NextOneVecEnv(vector(6, IDS[1], autoreset_mode="SameStep", max_steps=20))
    env.seed(11)
    mine, (theirs, _) = env.reset(), native.reset(seed=11)
    assert is_masking_supported(env)
    total, ends = np.zeros(6), 0
    for step in range(50):
        assert same(mine, theirs) and (get_action_masks(env) == mine["mask"]).all()
        actions = np.array([some_action(row(mine, i), step) for i in range(6)])
        mine, rewards, dones, infos = env.step(actions)
        theirs, their_rewards, terminated, truncated, info = native.step(actions)
        total += their_rewards
        assert rewards.dtype == np.float32 and (rewards == their_rewards.astype(np.float32)).all()
        assert (dones == (terminated | truncated)).all()
        for i in np.flatnonzero(dones):
            assert same(infos[i]["terminal_observation"], info["final_obs"][i])
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert infos[i]["episode"]["r"] == pytest.approx(total[i]) and 0 < infos[i]["episode"]["l"] <= 20
            total[i] = 0
            ends += 1
        assert all(infos[i] == {} for i in np.flatnonzero(~dones))
    assert ends > 6
    env.set_options({"person": 3})
    env.reset()
    assert [about["person"] for about in env.reset_infos] == [3] * 6
    with pytest.raises(ValueError, match="autoreset_mode=SameStep"):
        NextOneVecEnv(vector(2))
