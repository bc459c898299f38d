"""Contract: the same seed gives the same bits, in any process and after any history; what else a reset may choose."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from singles_and_vectors import IDS, row, same, single, some_action, vector
from worlds import scenario


def transcript(env, seed, steps=60):
    """A hash of everything an environment returns, across episodes."""
    sha = hashlib.sha256()
    observation, info = env.reset(seed=seed)
    for step in range(steps):
        for name in sorted(observation):
            sha.update(observation[name].tobytes())
        observation, *told, info = env.step(some_action(observation, step))
        sha.update(json.dumps([told, info], sort_keys=True, default=np.ndarray.tolist).encode())
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
from test_envs_seeds import single, transcript, IDS
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
