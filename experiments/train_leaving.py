"""What leaving costs, without the luck of it: how likely people leave after an impression, and what is lost if they do.

People leave with a hazard in time, so of two sessions played alike one may end after a minute and the other after an
hour, which drowns what a single choice is worth. The hazard that a step held is known to the world. It is told to the
training alone: nothing that a policy observes, in training or later, is made of it.

A session is worth about what an average one still earns, `level` = all rewards / all endings, whatever the state; a
network learns the departure V from it. The temporal difference r + (level + V') - (level + V), with level + V' = 0
for who left, has the same mean, whatever was chosen, as

    r - chance * level + (left - chance) * V + V' - V

(`left - chance` has mean 0: a control variate), and a small part of its variance. The environment's rewards are not
touched, and who ends otherwise (no page came) loses the level at once. Used by `experiments/train_ppo.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

KEEP = 0.9  # Assumed: of what was counted, a rollout: the level rises while a policy learns


class Level:
    """What an average session still earns: rewards / endings, of about the latest ten rollouts."""

    def __init__(self) -> None:
        self.counted = np.zeros(2)  # rewards, endings

    @property
    def value(self) -> float:
        """In the rewards given to `count`; 0 before any."""
        return float(self.counted[0] / max(self.counted[1], 1.0))

    def count(self, rewards: float, endings: int) -> None:
        """A rollout's."""
        self.counted[:] = KEEP * self.counted + (rewards, endings)


def correction(level: float, hazard: Array, left: Array, gone: Array, values: Array, gamma: float) -> Array:
    """What is added to rewards (...), so that their temporal differences have the mean above and not the luck.

    hazard (...): of leaving in the step, cumulated, >= 0. left, gone (...): bool, whether the person left by it, or
    the episode ended otherwise. values (...): V before the step."""
    chance = -np.expm1(-hazard)
    added: Array = gamma * (left - chance) * values - (1.0 - gamma * (1.0 - chance - gone)) * level
    return added
