"""What the tests of the environments share: one or many made, actions, and whether two answers are the same.

Not a test module."""

import gymnasium
import numpy as np
from worlds import scenario

IDS = ("nextone/NextOne-v0", "nextone/NextOneRefresh-v0")
FLAT, MASKED = "nextone/NextOneFlat-v0", "nextone/NextOneMasked-v0"
EVERY_ID = (*IDS, FLAT, MASKED)
SHORT = scenario(sessions__leave_per_min=1.0, sessions__leave_satisfaction=0.0)  # sessions of about a minute


def single(env_id=IDS[0], **settings):
    return gymnasium.make(env_id, **({"scenario": SHORT} | settings))


def vector(n, env_id=IDS[0], **settings):
    return gymnasium.make_vec(env_id, num_envs=n, **({"scenario": SHORT} | settings))


def some_action(observation, step):
    """A masked action that looks random: a pure function of one observation and the step."""
    return allowed(observation["mask"], step, observation["context"])


def allowed(mask, step, numbers):
    """The same of a mask and any numbers."""
    live = np.flatnonzero(mask)
    return int(live[hash((step, round(float(numbers.sum()) * 1e6))) % len(live)])


def row(observations, i):
    if isinstance(observations, dict):
        return {name: array[i] for name, array in observations.items()}
    return observations[i]


def same(a, b):
    """Whether two observations, or anything nested, are the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    left, right = np.asarray(a), np.asarray(b)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
