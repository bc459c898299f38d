"""Tiny worlds: dynamic programming and simulation agree. Theory; the numbers by hand stand in comments."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from nextone.experiments.training.rl import tiny_worlds as module
from nextone.experiments.training.rl.tiny_worlds import (
    MOODY,
    Law,
    Solution,
    backwards,
    groups,
    law_of,
    simulate,
    solve,
    tiny_world,
    tiny_worlds,
)
from nextone.sim.catalogue import make_catalogue

ALL = range(len(tiny_worlds()))
FEW = (2, 9, 13, 16)  # of different sizes, pages and rewards


def assert_agree(world, solution, value, *, seed, relative_error):
    """A pilot says how many episodes the wanted standard error takes; they are drawn anew."""
    pilot, error = simulate(world, solution, episodes=4096, seed=10**6 + seed, at_once=1024)
    episodes = math.ceil(4096 * (1.1 * error / (relative_error * abs(pilot))) ** 2)
    mean, error = simulate(world, solution, episodes=max(episodes, 10_000), seed=10**9 + seed * 10**6)
    told = f"exact {value:.4f}, simulated {mean:.4f} +- {error:.4f}, {episodes} episodes"
    assert error <= relative_error * abs(value), told
    assert abs(mean - value) <= 4 * error, told
    print(told, f"z {(mean - value) / error:.2f}")


@pytest.mark.parametrize("n", FEW)
def test_simulation_agrees_with_dynamic_programming(n):
    world = tiny_worlds()[n]
    solution = solve(world)
    assert_agree(world, solution, solution.value, seed=n, relative_error=0.01)


@pytest.mark.long
@pytest.mark.parametrize("n", ALL)
def test_simulation_agrees_closely_with_dynamic_programming(n):
    world = tiny_worlds()[n]
    solution = solve(world)
    assert_agree(world, solution, solution.value, seed=100 + n, relative_error=0.002)


def test_it_agrees_for_a_policy_that_is_not_the_best_too():
    world = tiny_worlds()[14]
    laws = [law_of(world, video) for video in make_catalogue(world.scenario).videos]
    value, video, after = backwards(world, laws, lambda choice: choice.reward)
    assert value < 0.85 * solve(world).value  # greedy: a fifth is lost
    assert_agree(world, Solution(value, value, video, after), value, seed=50, relative_error=0.01)


@pytest.mark.long
def test_the_worlds_are_not_trivial():
    """The best next reward is the best policy in less than half of them."""
    solved = [solve(world) for world in tiny_worlds()]
    assert len(solved) >= 20
    assert sum(solution.greedy < 0.99 * solution.value for solution in solved) > len(solved) / 2


def test_nobody_leaves_so_the_best_video_is_shown_each_time():
    """By hand: without leaving, every page offers everything, so four steps earn four times the best reward."""
    world = tiny_world(4, 1, 4, "watch", MOODY | {"sessions.leave_per_min": 0.0}, 3)
    laws = [law_of(world, video) for video in make_catalogue(world.scenario).videos]
    assert solve(world).value == pytest.approx(4 * max(law.reward for law in laws), rel=1e-12)
    used_up = tiny_world(4, 4, 4, "watch", MOODY | {"sessions.leave_per_min": 0.0}, 3)  # each once
    assert solve(used_up).value == pytest.approx(sum(law.reward for law in laws), rel=1e-12)


def test_the_law_of_a_video_by_hand():
    """P(valid play) in closed form: dead time and one of two lognormals last 7 s, or to the end if that is sooner."""
    world = tiny_world(4, 1, 4, {"valid_play": 1.0}, {"watching.dead_time_log_sd": 0.0}, 3)
    w = world.scenario.watching
    for video in make_catalogue(world.scenario).videos:
        law = law_of(world, video)
        assert sum(weight.sum() for weight in law.weight) == pytest.approx(1.0, abs=1e-9)
        logit = w.stay + float(video["quality"])
        rest_s = min(7.0, video["duration_us"] / 1e6) - w.dead_time_s
        watch_mean = w.watch_log_mean + w.watch_log_slope * logit
        watch_z = (math.log(rest_s) - watch_mean) / w.watch_log_sd
        skip_z = (math.log(rest_s) - w.skip_log_mean) / w.skip_log_sd
        stays = 1 / (1 + math.exp(-logit))
        expected = stays * norm.sf(min(watch_z, skip_z)) + (1 - stays) * norm.sf(skip_z)  # who stays does not stay less
        assert law.reward == pytest.approx(expected, abs=2e-4)


def test_the_states_are_those_of_two_steps_by_hand():
    """Two videos on each page, two steps, two ways to watch: the start, and one state for each way.

    Play takes no time, so nobody leaves after the first step; who leaves after the second loses nothing."""
    world = tiny_world(2, 1, 2, {"valid_play": 1.0}, {"feedback.like": 0.0}, 3)
    laws = [Law(reward, [0, 3], [np.array([0.5]), np.array([0.5])], [np.zeros(1)] * 2) for reward in (0.2, 0.7)]
    value, video, after = backwards(world, laws, lambda choice: choice.value)
    assert video.tolist() == [1, 1, 1] and after[0, [0, 3]].tolist() == [1, 2]
    assert value == pytest.approx(0.7 + 0.7, rel=1e-12)


def test_a_finer_grid_changes_nothing(monkeypatch):
    worlds = [tiny_worlds()[n] for n in (2, 17)]
    values = [solve(world).value for world in worlds]
    monkeypatch.setattr(module, "POINTS", 2 * module.POINTS)
    monkeypatch.setattr(module, "GROUPS", 4 * module.GROUPS)
    assert [solve(world).value for world in worlds] == pytest.approx(values, rel=2e-4)


def test_groups_keep_mass_and_mean():
    rng = np.random.default_rng(1)
    weight, value = rng.random(1000), rng.random(1000)
    grouped, means = groups(weight, value)
    assert len(grouped) <= module.GROUPS and grouped.sum() == pytest.approx(weight.sum())
    assert grouped @ means == pytest.approx(weight @ value)
