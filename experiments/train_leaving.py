"""What leaving costs, without the luck of it: how likely people leave after an impression, and what is lost if they do.

People leave with a hazard in time, so of two sessions played alike one may end after a minute and the other after an
hour, which drowns what a single choice is worth. What they leave with is known much better than whether they left: a
log-linear hazard per minute, given how the latest impressions went, fitted to who left, all of it from observations.

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

from nextone.envs.features import MOST_MIN, H, X

Array = NDArray[Any]

TOLD = (H.present, H.valid_play, H.completion, H.like, H.hate)
FADES = (0.0, 0.8, 1.0)  # weight of the impression before against the one after: the last one, some, all in the history
FACTS = 1 + len(TOLD) * len(FADES)
RIDGE = 3.0  # Assumed: leavings that speak against any effect
KEEP = 0.99  # Assumed: of what was learned, a rollout: people fare otherwise under another policy
KEEP_LEVEL = 0.9  # Assumed: likewise of the level, which rises while a policy learns


class Leaving:
    """log hazard = facts @ weights, fitted by one Newton step a rollout to a piecewise exponential lifetime."""

    def __init__(self) -> None:
        self.weights = np.zeros(FACTS)
        self.information = np.zeros((FACTS, FACTS))
        self.earned = np.zeros(2)  # rewards, endings

    @property
    def level(self) -> float:
        """What an average session still earns, in the rewards given to `count`."""
        return float(self.earned[0] / max(self.earned[1], 1.0))

    def count(self, rewards: float, endings: int) -> None:
        """A rollout's."""
        self.earned[:] = KEEP_LEVEL * self.earned + (rewards, endings)

    def learn(self, facts: Array, minutes: Array, left: Array) -> None:
        """facts (M, FACTS), minutes (M,) in the app since the last decision, left (M,) bool."""
        if not self.information.any():
            self.weights[0] = np.log((left.sum() + 1.0) / (minutes.sum() + 1.0))
        expected = np.exp(facts @ self.weights) * minutes
        gradient = facts.T @ (left - expected)
        self.information[...] = KEEP * self.information + (facts * expected[:, None]).T @ facts
        prior = np.full(FACTS, RIDGE)
        prior[0] = 0.0
        self.weights += np.linalg.solve(
            self.information + np.diag(prior + 1e-6), gradient - prior * self.weights * (1 - KEEP)
        )

    def chance(self, facts: Array, minutes: Array) -> Array:
        """That somebody leaves within these minutes, (M,)."""
        chance: Array = -np.expm1(-np.exp(facts @ self.weights) * minutes)
        return chance

    def state(self) -> dict[str, Array]:
        """What a checkpoint keeps; write into it to restore."""
        return {"weights": self.weights, "information": self.information, "earned": self.earned}


def facts_of(history: Array) -> Array:
    """How the latest impressions went, (N, FACTS), from what is observed of the past, (N, H, Fh)."""
    history = history[..., TOLD]  # (N, H, 5)
    rows = history.shape[1]
    shares = np.stack([fade ** np.arange(rows) / (fade ** np.arange(rows)).sum() for fade in FADES])  # (3, H)
    told = np.einsum("fh,nht->nft", shares, history).reshape(len(history), -1)
    return np.concatenate([np.ones((len(told), 1)), told], 1)


def minutes_of(context: Array) -> Array:
    """Since the app was opened, (...), from observed contexts (..., Fx)."""
    minutes: Array = np.expm1(context[..., X.session_minutes].astype(np.float64) * np.log1p(MOST_MIN))
    return minutes
