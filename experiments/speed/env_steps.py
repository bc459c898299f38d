"""How fast the environments step, on one core. Part of `nextone bench`; alone:

    python -c "from nextone.experiments.speed.env_steps import env_speed; print(env_speed())"

The default scenario, full observations and info, episodes following each other, random masked actions; choosing them is
not timed. The best of several stretches, since other work on the machine can only slow one down.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import numba
import numpy as np

from nextone.envs.single import NextOneEnv
from nextone.envs.vector import NextOneVectorEnv
from nextone.sim.state import Array

WARM_UP = 60  # steps, after which sessions are of all ages


def vector_steps_per_s(rows: int, steps: int, repeats: int) -> float:
    """Steps of the native vector environment, times rows."""
    env, rng = NextOneVectorEnv(rows), np.random.Generator(np.random.Philox(0))
    observations, _ = env.reset(seed=0)
    best = float("inf")
    for stretch in range(repeats + 1):
        took = 0.0
        for _ in range(steps if stretch else WARM_UP):
            actions = chosen(observations["mask"], rng)
            start = perf_counter()
            observations, *_ = env.step(actions)
            took += perf_counter() - start
        if stretch:
            best = min(best, took)
    env.close()
    return rows * steps / best


def single_steps_per_s(steps: int, repeats: int) -> float:
    """Steps of one environment, resets included."""
    env, rng = NextOneEnv(), np.random.Generator(np.random.Philox(0))
    observation, _ = env.reset(seed=0)
    best = float("inf")
    for _ in range(repeats):
        took = 0.0
        for _ in range(steps):
            action = int(chosen(observation["mask"][None], rng)[0])
            start = perf_counter()
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                observation, _ = env.reset()
            took += perf_counter() - start
        best = min(best, took)
    env.close()
    return steps / best


def chosen(mask: Array, rng: np.random.Generator) -> Array:
    """A random allowed action for each row of a mask (N, A)."""
    actions: Array = (rng.random(mask.shape, np.float32) * mask).argmax(1)
    return actions


def env_speed(rows: int = 1024, steps: int = 100, repeats: int = 3) -> dict[str, float]:
    """Both rates, with one thread."""
    with numba_threads(1):
        return {
            "env_steps_per_s": vector_steps_per_s(rows, steps, repeats),
            "env_single_steps_per_s": single_steps_per_s(20 * steps, repeats),
        }


@contextmanager
def numba_threads(count: int) -> Iterator[None]:
    """A block in which numba has so many threads."""
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)
