"""Learning: in tiny worlds whose optimum is known exactly, PPO and DQN reach 98 % of it.

What is learned plays the same people as the exact solution, so that luck nearly cancels."""

import numba
import numpy as np
import pytest
import torch

from nextone.experiments.training.rl.evaluate import chooser, play
from nextone.experiments.training.rl.tiny_worlds import simulate, solve, tiny_worlds
from nextone.experiments.training.rl.train import TrainSettings, make_env, train
from nextone.policies.rl import load_rl

WORLDS = tiny_worlds()
ENVS = 64
HYPERPARAMETERS = {
    "maskable_ppo": {
        "n_steps": 8, "batch_size": 128, "gamma": 1.0, "gae_lambda": 0.95, "ent_coef": 0.1, "expected_leaving": False,
        "from_rule": False,
    },
    "dqn": {
        "buffer_size": 20_000, "learning_starts": 2_000, "batch_size": 256, "gamma": 1.0, "exploration_fraction": 0.5,
        "exploration_final_eps": 0.05, "target_update_interval": 10 * ENVS, "gradient_steps": 3,
    },
}  # fmt: skip
# DQN's loss is Huber's, linear beyond an error of 1: of rewards that large and rare it learns too little.
SCALE = {"maskable_ppo": 1.0, "dqn": 0.2}  # of rewards, the optimum being 1
STEPS = {"maskable_ppo": 30_000, "dqn": 40_000}
ROWS, EPISODES, SEED = 4096, 4, 9


def share_of_optimum(k, algo, seed, out):
    """What a trained policy earns in world k against the exact optimum: 1 if as much."""
    world = WORLDS[k]
    solution = solve(world)
    scale = {"reward_scale": SCALE[algo] / abs(solution.value)}
    settings = TrainSettings(
        scenario=world.scenario, reward=world.reward, max_steps=world.max_steps, cut_is_end=True, algo=algo,
        steps=STEPS[algo], envs=ENVS, seed=seed, learning_rate=2e-3, hyperparameters=HYPERPARAMETERS[algo] | scale,
        checkpoints=2, evaluation=(512, 1), threads=1, width=16,
    )  # fmt: skip
    train(settings, out)
    best, _ = simulate(world, solution, episodes=ROWS * EPISODES, seed=SEED, at_once=ROWS)
    learned = play(make_env(settings, ROWS), chooser(load_rl(out)), SEED, EPISODES).reward(world.reward)
    noise = 4 * float(np.std(learned)) / np.sqrt(len(learned))
    assert learned.mean() <= solution.value + noise, "nothing earns more than the optimum"
    return 1 + (float(learned.mean()) - best) / abs(solution.value)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other are slow while other tests run."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1), numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0]), numba.set_num_threads(before[1])


@pytest.mark.parametrize("algo", ["maskable_ppo", "dqn"])
@pytest.mark.parametrize("k", [10, 14])
def test_a_tiny_world_is_learned(k, algo, tmp_path):
    assert share_of_optimum(k, algo, 0, tmp_path) >= 0.98


@pytest.mark.long
@pytest.mark.parametrize("algo", ["maskable_ppo", "dqn"])
def test_tiny_worlds_are_learned(algo, tmp_path):
    """Of 20 worlds at least 18, each as the mean of five seeds."""
    shares = np.array(
        [[share_of_optimum(k, algo, seed, tmp_path / f"{k}-{seed}") for seed in range(5)] for k in range(20)]
    )
    assert (shares.mean(1) >= 0.98).sum() >= 18, shares.round(3)
