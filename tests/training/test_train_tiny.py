"""Learning: in tiny worlds whose optimum is known exactly, PPO and DQN come near it.

What is learned plays the same people as the exact solution, so that the luck of playing nearly cancels. The luck of
training stays: its bits depend on the processor and on the libraries' kernels, so another machine is another seed."""

from typing import NamedTuple

import numpy as np
import pytest

from nextone.experiments.training.rl.evaluate import chooser, play
from nextone.experiments.training.rl.tiny_worlds import simulate, solve, tiny_worlds
from nextone.experiments.training.rl.train import TrainSettings, make_env, train, usual_reward
from nextone.policies.rl import load_rl

pytestmark = pytest.mark.usefixtures("one_thread")

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


class Shares(NamedTuple):
    """What is earned against the exact optimum: 1 if as much."""

    learned: float
    myopic: float  # by the policy that takes the best next reward, exactly


def shares_of_optimum(k, algo, seed, out, steps=1.0):
    """What a policy earns in world k that is trained for so many times STEPS."""
    world = WORLDS[k]
    solution = solve(world)
    chosen = HYPERPARAMETERS[algo] | {"reward_scale": usual_reward(world.reward) * SCALE[algo] / abs(solution.value)}
    settings = TrainSettings(
        scenario=world.scenario, reward=world.reward, max_steps=world.max_steps, cut_is_end=True, algo=algo,
        steps=int(steps * STEPS[algo]), envs=ENVS, seed=seed, learning_rate=2e-3, hyperparameters=chosen,
        checkpoints=2, evaluation=(512, 1), threads=1, width=16,
    )  # fmt: skip
    train(settings, out)
    best, _ = simulate(world, solution, episodes=ROWS * EPISODES, seed=SEED, at_once=ROWS)
    learned = play(make_env(settings, ROWS), chooser(load_rl(out)), SEED, EPISODES).reward(world.reward)
    noise = 4 * float(np.std(learned)) / np.sqrt(len(learned))
    assert learned.mean() <= solution.value + noise, "nothing earns more than the optimum"
    size = abs(solution.value)
    return Shares(1 + (float(learned.mean()) - best) / size, 1 + (solution.greedy - solution.value) / size)


@pytest.mark.parametrize("algo", ["maskable_ppo", "dqn"])
@pytest.mark.parametrize("k", [8, 14])
def test_it_learns_to_look_ahead(k, algo, tmp_path):
    """Training finds more than half of what is lost by always taking the best next reward, which earns .81 of the
    optimum in world 8 and .79 in world 14: the bounds are .90.

    Measured in 21 trainings with seeds 0 to 3 and the kernels for AVX-512, AVX2 and SSE2 (`ATEN_CPU_CAPABILITY`,
    `MKL_CBWR`, `OPENBLAS_CORETYPE`, `NPY_DISABLE_CPU_FEATURES`): .9872 to .9991 in world 8 (mean .998, sd .004), 1.0014
    to 1.0015 in world 14 (sd under .0001). The bounds are 15 and more of these below the means.
    World 10 with a bound of .98 was no test: PPO earns .9745 to .9982 there, by seed and processor."""
    shares = shares_of_optimum(k, algo, 0, tmp_path, steps=0.5)
    assert shares.myopic < 0.87
    assert shares.learned > (1 + shares.myopic) / 2


@pytest.mark.long
@pytest.mark.parametrize("algo", ["maskable_ppo", "dqn"])
def test_tiny_worlds_are_learned(algo, tmp_path):
    """Five seeds a world: 98 % of the optimum in the mean of all, and in at least 18 of the 20 worlds.

    A world's mean may lie two of its standard errors below .98, because seed and processor choose among policies that
    are nearly as good. PPO, three to six trainings each: worlds 2, 6, 8, 14 and 17 give the same four digits each time
    (.9783 in world 6), world 10 .9745 to .9982, world 15 .9705 to .9901, world 16 .9621 to .9802, sd .009 to .010 in
    these three. By plain means 6 and 16 fail, and 10 or 15 in about one run of six. With these spreads the standard
    error is .0016 and the bound .977: 6 passes, 16 may fail, two more do not in one run of 1,000. The mean over the
    worlds was .995 (one seed each), its error .0004."""
    shares = np.array(
        [[shares_of_optimum(k, algo, seed, tmp_path / f"{k}-{seed}").learned for seed in range(5)] for k in range(20)]
    )
    error = float(np.sqrt(shares.var(1, ddof=1).mean() / 5))  # of a world's mean
    assert shares.mean() >= 0.98, shares.round(3)
    assert (shares.mean(1) >= 0.98 - 2 * error).sum() >= 18, (error, shares.round(3))
