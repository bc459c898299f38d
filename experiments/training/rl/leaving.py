"""What leaving costs, without the luck of it: how likely people leave after an impression, and what is lost if they do.

People leave with a hazard in time, so of two sessions played alike one may end after a minute and the other after an
hour, which drowns what a single choice is worth. The hazard that a step held is known to the world. It is told to the
training alone: nothing that a policy observes, in training or later, is made of it.

What a session still earns, `level`, is what it has earned so far for each unit of hazard that it bore: since a session
bears a hazard with mean one, that is its worth, if it goes on as it did. People differ: who is quick to leave has
little to lose by a long video. Early in a session, the level is drawn towards that of all, rewards / endings. What a
step gains is r - chance * level, with mean 0 over a policy's steps. PPO's values V are of gains to come, discounted,
and the temporal difference, r - level - V for who left, has the same mean, whatever was chosen, as

    r - chance * level + gamma * (left - chance) * V + gamma * V' - V

(`left - chance` has mean 0: a control variate), and a small part of its variance. The environment's rewards are not
touched, and who ends otherwise (no page came) loses the level at once.

V is discounted, and hardly bootstrapped, for a reason. What is observed is not the whole state: somebody who liked much
is somebody who likes much, and V of a like in the history is large. A policy that is paid V' - V for it shows what is
liked by anybody, as if that made a person so. See docs/training.md. Used by `experiments/training/rl/ppo.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

KEEP = 0.9  # Assumed: of what was counted, a rollout: the level rises while a policy learns
BELIEVED = 0.05  # Assumed: hazard after which a session's own level is believed half


class Level:
    """How much each of n sessions earns per unit of hazard, drawn towards the average: rewards / endings, of about the
    latest ten rollouts."""

    def __init__(self, n: int) -> None:
        self.counted = np.zeros(2)  # rewards, endings
        self.so_far = np.zeros((2, n))  # rewards, hazard, of the sessions that are open

    @property
    def value(self) -> float:
        """The average, in the rewards given to `count`; 0 before any."""
        return float(self.counted[0] / max(self.counted[1], 1.0))

    def count(self, rewards: float, endings: int) -> None:
        """Add the rewards and endings of a rollout."""
        self.counted[:] = KEEP * self.counted + (rewards, endings)

    def of(self, rewards: Array, hazard: Array, over: Array) -> Array:
        """What each session still earns from each step of a rollout on, (T, N). over: whether the step ended it."""
        levels = np.empty(hazard.shape)
        for t in range(len(hazard)):
            earned, borne = self.so_far
            levels[t] = (earned + BELIEVED * self.value) / (borne + BELIEVED)
            self.so_far[:] = (self.so_far + (rewards[t], hazard[t])) * ~over[t]
        return levels


def correction(level: Array | float, hazard: Array, left: Array, gone: Array, values: Array, gamma: float) -> Array:
    """What is added to rewards (...), so that their temporal differences are those above.

    level (...): what a session still earns. hazard (...): of leaving in the step, cumulated, >= 0. left, gone (...):
    bool, whether the person left by it, or the episode ended otherwise. values (...): V before the step."""
    chance = -np.expm1(-hazard)
    added: Array = gamma * (left - chance) * values - (chance + gone) * level
    return added
