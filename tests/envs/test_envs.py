"""Contract: the environments as Gymnasium and stable-baselines3 want them. Spaces, masks, autoreset, seeds, errors.

Also properties: single = vector = Gymnasium's own vector of singles, bit for bit; observations are never written again.
"""

import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordVideo
from gymnasium.wrappers.vector import DictInfoToList
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from worlds import scenario

from nextone.envs.reward import COMPONENTS, PRESETS, RewardWeights
from nextone.envs.sb3 import NextOneVecEnv
from nextone.envs.screen import HEIGHT, WIDTH

IDS = ("nextone/NextOne-v0", "nextone/NextOneRefresh-v0")
SHORT = scenario(sessions__leave_per_min=1.0, sessions__leave_satisfaction=0.0)  # sessions of about a minute
MODES = [mode.value for mode in AutoresetMode]


def single(env_id=IDS[0], **settings):
    return gymnasium.make(env_id, **({"scenario": SHORT} | settings))


def vector(n, env_id=IDS[0], **settings):
    return gymnasium.make_vec(env_id, num_envs=n, **({"scenario": SHORT} | settings))


def some_action(observation, step):
    """A masked action that looks random: a pure function of one observation and the step."""
    live = np.flatnonzero(observation["mask"])
    return int(live[hash((step, round(float(observation["context"].sum()) * 1e6))) % len(live)])


def row(observations, i):
    return {name: array[i] for name, array in observations.items()}


def same(a, b):
    """Whether two observations, or anything nested, are the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    left, right = np.asarray(a), np.asarray(b)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def inside(env, observations):
    """Every number of N observations is in the space and finite, every mask has a 1; without Python per row."""
    for name, box in env.single_observation_space.items():
        array = observations[name]
        assert array.shape[1:] == box.shape and array.dtype == box.dtype, name
        if name == "mask":
            assert array.any(1).all() and ((array == 0) | (array == 1)).all()
        else:
            assert np.isfinite(array).all() and (array >= box.low).all() and (array <= box.high).all(), name


# -- the checkers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_and_sb3_find_nothing(env_id):
    """Warnings are errors; SB3's remark on two-dimensional observations apart."""
    check_env(gymnasium.make(env_id, scenario=SHORT, render_mode="ansi").unwrapped)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your observation .* has an unconventional shape")
        sb3_check_env(gymnasium.make(env_id, scenario=SHORT).unwrapped)


def test_the_defaults_are_found_by_name():
    env = gymnasium.make(IDS[0])
    assert env.action_space.n == 20 and env.observation_space["history"].shape[0] == 20
    many = gymnasium.make_vec(IDS[1], num_envs=3)
    assert type(many.unwrapped).__name__ == "NextOneVectorEnv" and many.single_action_space.n == 21
    assert many.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP and many.action_space.shape == (3,)
    observations, _ = many.reset(seed=0)
    assert many.observation_space.contains(observations) and many.action_space.contains(many.action_space.sample())


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
                parts = {name: info["components"][name][i] for name in COMPONENTS}
                assert parts == about["components"] and info["executed_slot"][i] == about["executed_slot"]
            assert same(mine[i], row(observations, i)), (step, i)
            assert tuple(told) == (rewards[i], terminated[i], truncated[i])
            assert info["_components"][i] == (not over[i])
            assert about["person"] == info["person"][i] and about["session_min"] == info["session_min"][i]
            over[i] = told[1] or told[2]
            ends += over[i]
    assert ends


def native_and_gymnasiums_own(mode, kind, steps=60):
    """Everything a step returns, from the native vector and from Gymnasium's vector of singles."""
    own = gymnasium.make_vec(
        IDS[1], num_envs=7, scenario=SHORT, max_steps=9, vectorization_mode=kind, vector_kwargs={"autoreset_mode": mode}
    )
    pair = [DictInfoToList(env) for env in (vector(7, IDS[1], autoreset_mode=mode, max_steps=9), own)]
    seen = [env.reset(seed=4) for env in pair]
    yield seen
    for step in range(steps):
        actions = np.array([some_action(row(seen[0][0], i), step) for i in range(7)])
        results = [env.step(actions) for env in pair]
        yield results
        seen = [(result[0], None) for result in results]
        ended = results[0][2] | results[0][3]
        if mode == "Disabled" and ended.any():
            seen = [env.reset(options={"reset_mask": ended.copy()}) for env in pair]
            yield [(a, [b[i] if ended[i] else {} for i in range(7)]) for a, b in seen]
    own.close()


def check_equal(mode, kind, steps):
    ends = 0
    for mine, theirs in native_and_gymnasiums_own(mode, kind, steps):
        *arrays, infos = mine
        *others, their_infos = theirs
        for a, b in zip(arrays, others, strict=True):
            assert same(a, b)
        for info, other in zip(infos, their_infos, strict=True):
            assert info.keys() == other.keys()
            for key in info:
                assert info[key] == other[key] if key != "final_obs" else same(info[key], other[key]), key
            ends += "final_obs" in info or (len(arrays) > 1)
    assert ends


@pytest.mark.parametrize("mode", MODES)
def test_native_is_gymnasiums_own_vector_of_singles(mode):
    """Observations, rewards, ends and infos, final ones too, in each autoreset mode."""
    check_equal(mode, "sync", 60)


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


# -- observations, masks, spaces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 200])
def test_an_observation_is_never_written_again(n):
    env = vector(n, autoreset_mode="SameStep")
    kept = [env.reset(seed=2)[0]]
    copies = [{name: array.copy() for name, array in kept[0].items()}]
    for _ in range(12):
        kept.append(env.step(kept[-1]["mask"].argmax(1))[0])
        copies.append({name: array.copy() for name, array in kept[-1].items()})
        env.action_masks()[:] = False  # what is given away is the caller's
    slices = [{name: array[:1] for name, array in seen.items()} for seen in kept]
    kept.clear()  # a part held keeps the whole
    for _ in range(6):
        env.step(np.zeros(n, np.int64))
    for part, copy in zip(slices, copies, strict=True):
        assert same(part, {name: array[:1] for name, array in copy.items()})


FUZZ = {
    "default": {},
    "merge": {"client__on_refill": "merge", "client__refill_at": 3, "server__page_size": 4},
    "start": {"client__decide_at": "start", "client__ttl_impressions": 4.0},
    "rough": {"network__loss": 0.2, "network__outages_per_hour": 120.0, "network__constant_mbps": 1.5,
              "client__ttl_s": 8.0, "network__shares": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)},
}  # fmt: skip


def fuzz(env, steps, seed):
    """Random actions, masked ones too: everything stays in its space, ends are of one kind, shown slots were live."""
    rng, size = np.random.default_rng(seed), env.single_action_space.n
    observations, _ = env.reset(seed=seed)
    inside(env, observations)
    ends = 0
    for _ in range(steps):
        before = observations["mask"]
        assert (env.action_masks() == before).all()
        observations, rewards, terminated, truncated, info = env.step(rng.integers(0, size, env.num_envs))
        inside(env, observations)
        assert np.isfinite(rewards).all() and not (terminated & truncated).any()
        shown = info["executed_slot"]
        assert (shown >= -1).all() and (shown < env.world.pool.shape[1]).all()
        seen = np.flatnonzero((shown >= 0) & info["_executed_slot"])
        assert before[seen, shown[seen]].all()
        ends += (terminated | truncated).sum()
    assert ends
    return ends


@pytest.mark.parametrize("odd", FUZZ)
@pytest.mark.parametrize("env_id", IDS)
def test_random_steps_stay_in_the_space(env_id, odd):
    """A quarter of a million steps in all; a million in each in `make test-long`."""
    steps = -(-250_000 // (1024 * len(FUZZ) * len(IDS)))
    fuzz(vector(1024, env_id, scenario=scenario(**FUZZ[odd]), max_steps=150, inference=odd == "start"), steps, 5)


@pytest.mark.long
@pytest.mark.parametrize("odd", FUZZ)
@pytest.mark.parametrize("env_id", IDS)
def test_a_million_random_steps_stay_in_the_space(env_id, odd):
    fuzz(vector(1024, env_id, scenario=scenario(**FUZZ[odd]), max_steps=500), 1000, 6)


def test_the_mask_is_what_is_alive_and_a_dead_slot_takes_the_nearest():
    env = single(max_steps=200, scenario=scenario(sessions__leave_per_min=0.0)).unwrapped
    observation, _ = env.reset(seed=12)
    for _ in range(4):
        live = np.flatnonzero(env.batch.world.pool["rank"][0] != 255)
        assert np.flatnonzero(observation["mask"]).tolist() == live.tolist()
        dead = np.setdiff1d(np.arange(20), live)
        action = int(dead[0]) if len(dead) else 3
        observation, _, terminated, _, info = env.step(action)
        assert info["executed_slot"] == live[np.argmin(np.abs(live - action))]  # the lower one of two
        assert not terminated


def test_invalid_actions():
    env = single(invalid_action="raise").unwrapped
    observation, _ = env.reset(seed=12)
    env.step(3)
    with pytest.raises(ValueError, match=r"action 3 of environment 0 is masked; allowed are \[0, 1, 2, 4, 5"):
        env.step(3)
    for wrong in (-1, 20, 10**12):
        with pytest.raises(ValueError, match=rf"action {wrong} of environment 0 must be in \[0, 20\)"):
            env.step(wrong)
    with pytest.raises(ValueError, match=r"whole numbers"):
        env.step(1.5)
    assert observation["mask"].all()


def test_asking_for_pages():
    """By hand: the last action asks; not while a request is under way, nor beyond the budget; and is counted."""
    env = single(IDS[1], request_budget=2, scenario=scenario(client__refill_at=0)).unwrapped
    observation, _ = env.reset(seed=3)
    assert observation["mask"].tolist() == [1] * 21
    _, _, _, _, info = env.step(20)
    assert info["executed_slot"] == 0  # the server's first, meanwhile
    assert info["components"]["requests"] == 2  # the first page's, before the first decision, and this one
    asked, total = 1, info["components"]["requests"]
    for _ in range(40):
        observation = {"mask": env.action_masks()}
        waiting = env.batch.world.users["request_state"][0] != 0
        assert observation["mask"][20] == (not waiting and asked < 2)
        asked += bool(observation["mask"][20])
        _, _, over, _, info = env.step(20)
        total += info["components"]["requests"]
        if over:
            break
    assert asked == 2 and total == env.batch.world.users["request"][0]


def test_leaving_terminates_and_the_step_limit_truncates():
    env = single(max_steps=5).unwrapped
    kinds = set()
    for seed in range(12):
        env.reset(seed=seed)
        for _ in range(6):
            _, _, terminated, truncated, info = env.step(0)
            if terminated or truncated:
                break
        assert truncated != terminated and info["components"]["leaving"] == terminated
        kinds.add((terminated, truncated))
        with pytest.raises(ResetNeeded, match="environment 0 has ended"):
            env.step(0)
    assert kinds == {(True, False), (False, True)}


def test_a_world_that_ends_truncates():
    """Nobody ever leaves: the session is cut at the end of the next day."""
    forever = scenario(sessions__leave_per_min=0.0, catalogue__duration_log_mean=8.0, watching__stay=20.0,
                       sessions__away=1.0, sessions__away_s=20_000.0, sessions__wait_patience_s=1e6)  # fmt: skip
    env = single(scenario=forever).unwrapped
    env.reset(seed=1)
    for _ in range(500):
        observation, _, terminated, truncated, info = env.step(0)
        if terminated or truncated:
            break
    assert truncated and not terminated and info["components"]["leaving"] == 0 and info["session_min"] > 24 * 60
    assert observation["mask"].any()


def test_a_session_that_ends_before_the_first_decision():
    """Nothing arrives: the first step tells, and every mask has a 1."""
    dead = scenario(network__loss=1.0, sessions__wait_patience_s=0.5)
    env = single(scenario=dead, reward={"wait_s": -1.0, "leaving": -1.0}).unwrapped
    observation, _ = env.reset(seed=1)
    assert observation["mask"].tolist() == [1] + [0] * 19 and not observation["candidates"].any()
    observation, reward, terminated, truncated, info = env.step(0)
    assert terminated and not truncated and info["executed_slot"] == -1
    assert reward == -info["components"]["wait_s"] - 1 and info["components"]["wait_s"] > 0
    assert observation["mask"].sum() == 1


# -- seeds and options -------------------------------------------------------------------------------------------------


def transcript(env, seed, steps=60):
    """A hash of everything an environment returns, across episodes."""
    sha = hashlib.sha256()
    observation, info = env.reset(seed=seed)
    for step in range(steps):
        for name in sorted(observation):
            sha.update(observation[name].tobytes())
        observation, *told, info = env.step(some_action(observation, step))
        sha.update(json.dumps([told, info], sort_keys=True).encode())
        if told[1] or told[2]:
            observation, info = env.reset()
    return sha.hexdigest()


def test_same_seed_same_bits():
    """Fresh instance, after any history, and different seeds differ."""
    env = single(IDS[1], max_steps=30)
    first = [transcript(env, seed) for seed in (0, 1, 2)]
    assert len(set(first)) == 3
    transcript(env, 77, 13)
    env.reset(options={"person": 5, "network": "oslo_3g"})
    assert [transcript(env, seed) for seed in (2, 0, 1)] == [first[2], first[0], first[1]]
    assert transcript(single(IDS[1], max_steps=30), 1) == first[1]


@pytest.mark.long
def test_same_seed_same_bits_a_hundred_times():
    env, other = single(max_steps=300), single(max_steps=300)
    hashes = [transcript(env, seed, 1000) for seed in range(100)]
    assert len(set(hashes)) == 100
    assert [transcript(other, seed, 1000) for seed in range(99, -1, -1)] == hashes[::-1]


OTHER = """
import sys
sys.path[:0] = ["tests", "tests/envs"]
from test_envs import single, transcript, IDS
print(transcript(single(IDS[1], max_steps=30), 1))
"""


def test_same_seed_same_bits_in_another_process():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", OTHER], cwd=root, env=os.environ | {"PYTHONHASHSEED": "0"},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == transcript(single(IDS[1], max_steps=30), 1)


def test_episodes_follow_each_other():
    """Without a seed the next episode of the same one; unseeded environments differ from each other."""
    env, again = single(), single()
    firsts = [env.reset(seed=9)[0], env.reset()[0], env.reset()[0]]
    assert not same(firsts[0], firsts[1]) and not same(firsts[1], firsts[2])
    again.reset(seed=9)
    assert same(again.reset()[0], firsts[1]) and same(env.reset(seed=9)[0], firsts[0])
    assert not same(single().reset()[0], single().reset()[0])


def test_options():
    env = vector(3)
    alike, info = env.reset(seed=[6, 6, 6], options={"person": [4, 4, 5], "network": ["oslo_3g", "wifi6", "wifi6"]})
    assert info["person"].tolist() == [4, 4, 5]
    assert env.world.users["link"].tolist() == [7, 2, 2]
    people = alike["context"][:, :13]  # past counts
    assert same(people[0], people[1]) and not same(people[1], people[2])
    assert env.reset(seed=6)[1]["person"].tolist() == [0, 0, 0]  # nothing of the last episode survives
    env.reset(seed=6, options={"scenario": {"client.ttl_s": 1.5, "sessions.leave_per_min": 0.5}})
    assert (env.world.params["ttl_us"] == 1_500_000).all()
    env.reset(seed=6)
    assert (env.world.params["ttl_us"] == 600_000_000).all()


def test_reset_of_some_rows():
    env = vector(4, autoreset_mode="Disabled")
    before, _ = env.reset(seed=1)
    after, info = env.reset(options={"reset_mask": np.array([False, True, False, True])})
    assert info["_person"].tolist() == [False, True, False, True]
    assert info["episode_number"].tolist() == [0, 1, 0, 1]
    for i in range(4):
        assert same(row(before, i), row(after, i)) == (i % 2 == 0)


def test_a_scenario_may_be_given_in_four_ways(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[server]\npage_size = 3\ncandidates = 9\n")
    settings = {"server.page_size": 3, "server.candidates": 9}
    for given in (str(file), file, settings, scenario(server__page_size=3, server__candidates=9)):
        env = gymnasium.make(IDS[0], scenario=given)
        assert env.action_space.n == 9
    assert gymnasium.make(IDS[0], scenario={"client.on_refill": "merge"}).action_space.n == 27


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


WORLDS = {
    "two_candidates": {"server__candidates": 2, "server__page_size": 1, "client__history": 1},
    "page_of_one": {"server__page_size": 1, "client__refill_at": 0},
    "large": {"server__candidates": 150, "server__page_size": 40, "client__on_refill": "merge"},
    "tiny_ttl": {"client__ttl_s": 0.001, "client__ttl_impressions": 1.0},
    "offline": {"network__outages_per_hour": 1000.0, "network__outage_s": 60.0, "client__expired_offline": "serve",
                "network__shares": (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)},
    "slow": {"network__constant_mbps": 0.01, "server__service_ms": 9000.0, "client__timeout_s": 1.0},
    "one_video": {"catalogue__videos": 1, "catalogue__tags": 1, "server__candidates": 3, "server__page_size": 2},
}  # fmt: skip


@pytest.mark.parametrize("limit", [1, 40])
@pytest.mark.parametrize("odd", WORLDS)
def test_odd_worlds(odd, limit):
    """Every number stays in its space, in each autoreset mode that goes on by itself."""
    for mode in ("NextStep", "SameStep"):
        settings = {"max_steps": limit, "autoreset_mode": mode, "inference": True}
        fuzz(vector(8, IDS[1], scenario=scenario(**WORLDS[odd]), **settings), 45, 7)


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


# -- reward ------------------------------------------------------------------------------------------------------------


def test_reward_is_the_weighted_sum_of_its_components():
    weights = RewardWeights(watch_s=0.5, requests=-1.5, leaving=-3.0)
    for given in (*PRESETS, weights, {"stall_s": -1.0, "wasted_mb": -0.25}):
        env = single(reward=given).unwrapped
        used = env.batch.weights
        observation, _ = env.reset(seed=21)
        for step in range(8):
            observation, reward, over, _, info = env.step(some_action(observation, step))
            assert tuple(info["components"]) == tuple(COMPONENTS)
            expected = sum(getattr(used, name) * value for name, value in info["components"].items())
            assert reward == pytest.approx(expected, rel=1e-12, abs=1e-12)
            if over:
                break
    assert PRESETS["default"] == RewardWeights() and PRESETS["default"].hate == -10 and PRESETS["watch"].valid_play == 0


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


# -- rendering ---------------------------------------------------------------------------------------------------------


def test_text_screen():
    env = single(render_mode="ansi")
    env.reset(seed=5)
    assert "last: nothing yet" in env.render()
    env.step(4)
    shown = env.render()
    assert shown.startswith("person 0") and "last (slot 4): " in shown and "\n   4 " not in shown


def test_picture_and_video(tmp_path):
    env = single(render_mode="rgb_array", max_steps=4)
    env.reset(seed=5)
    first = env.render()
    assert first.shape == (HEIGHT, WIDTH, 3) and first.dtype == np.uint8 and first.std() > 20
    video = RecordVideo(env, str(tmp_path / "video"), disable_logger=True)
    observation, _ = video.reset(seed=5)
    over = False
    while not over:
        observation, _, terminated, truncated, _ = video.step(observation["mask"].argmax())
        over = terminated or truncated
    video.close()
    files = list(tmp_path.glob("video/*.mp4"))
    assert len(files) == 1 and files[0].stat().st_size > 5000
    many = vector(2, render_mode="rgb_array")
    many.reset(seed=0)
    assert len(many.render()) == 2
