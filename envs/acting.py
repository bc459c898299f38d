"""What an action is: a slot, a score per slot, an order of slots, or when to act; as the scores that a policy gives.

A rank of the whole list stays until the next decision, which comes at the next trigger. Called by `envs/batch.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from nextone.sim.scenario import SettingError

from .arguments import whole
from .features import Observation

ACTIONS = ("slot", "scores", "order", "when")
"""slot: what is shown next. scores: a number per slot, in [-1, 1] or any other; the highest is shown first, and a row
of -inf lets the last order stand. order: slots, the first of them first; the rest follows by the server's rank. With
`refresh`, each has a choice more: the last slot; a last score, which asks for a page where it is the highest; a last
number, 1 to ask. when: 0 does nothing, 1 ranks anew by the `ranker`, 2 asks the cloud for a page."""
NOTHING, RANKS, ASKS = range(3)
Ranker = Callable[[Observation], Any]
"""ranker(observation) -> scores (N, P), without memory: `policies.rules.tag_momentum`, for example."""


class Acting:
    """The space of actions, and what they mean. slots: how many the pool has. of_order: how many slots an order names,
    None: all. ranker: who ranks, where an action only says when to rank.

    Raises SettingError."""

    def __init__(self, action: str, slots: int, refresh: bool, of_order: int | None, ranker: Ranker | None) -> None:
        if (action == "when") != (ranker is not None) or (action == "when" and not refresh):
            raise SettingError("action='when' goes with refresh=True and a ranker=, a function of an observation")
        if of_order is not None:
            whole("of_order", of_order, 1, slots)
            if action != "order":
                raise SettingError(f"of_order={of_order} is for action='order'; action is {action!r}")
        self.ranks, self._action, self._slots, self._refresh = action != "slot", action, slots, refresh
        self._named, self._ranker = of_order or slots, ranker
        self.space: spaces.Space[Any] = spaces.Discrete(slots + refresh)
        if action == "scores":
            self.space = spaces.Box(-1.0, 1.0, (slots + refresh,), np.float32)
        elif action == "order":
            self.space = spaces.MultiDiscrete([slots] * self._named + [2] * refresh)
        elif action == "when":
            self.space = spaces.Discrete(3)
        self.choices = 3 if action == "when" else slots + refresh

    def allowed(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which choices are allowed, (n, choices). masks (n, slots or slots + 1): which slots are, and whether asking
        is."""
        if self._ranker is None:
            return masks
        both = np.ones((len(masks), 2), np.bool_)
        return np.concatenate([both, masks[:, -1:]], 1)

    def scores(self, actions: ArrayLike, n: int, seen: Callable[[], Observation]) -> NDArray[np.float32]:
        """The scores (n, slots or slots + 1) that the actions of n people stand for. seen() returns what their phones
        know. Raises ValueError."""
        given = np.asarray(actions)
        shape = (n, *(self.space.shape or ()))
        if given.shape != shape:
            raise ValueError(f"actions have shape {given.shape}, must be {shape}: a row for each environment")
        if self._action == "scores":
            scores = given.astype(np.float32)
            stands = (scores[:, : self._slots] == -np.inf).all(1)
            wrong = np.isnan(scores).any(1) | ~(stands | np.isfinite(scores[:, : self._slots]).all(1))
            if wrong.any():
                i = int(wrong.argmax())
                raise ValueError(f"the scores of environment {i} must be finite, or -inf for every slot: {scores[i]}")
            return scores
        if self._action == "when":
            return self._when(given, seen())
        bounds = np.array(self.space.nvec)  # type: ignore[attr-defined]
        if given.dtype.kind not in "iu" or (given < 0).any() or (given >= bounds).any():
            raise ValueError(f"an order must be whole numbers, each in [0, {self._slots}); got {given.tolist()}"[:300])
        scores = np.zeros((n, self._slots + self._refresh), np.float32)
        rows = np.arange(n)
        for k in range(self._named - 1, -1, -1):  # who is named twice stands where it is named first
            scores[rows, given[:, k]] = self._named - k
        if self._refresh:
            scores[:, -1] = np.where(given[:, -1] == 1, self._named + 1.0, -1.0)
        return scores

    def _when(self, given: NDArray[Any], seen: Observation) -> NDArray[np.float32]:
        """Rows of -inf let the order stand; the last column asks."""
        if given.dtype.kind not in "iu" or (given < 0).any() or (given >= self.choices).any():
            raise ValueError(f"actions must be 0, 1 or 2; got {given.tolist()}"[:300])
        scores = np.full((len(given), self._slots + 1), -np.inf, np.float32)
        rows = np.flatnonzero((given == RANKS) & seen.mask.any(1))
        if len(rows):
            assert self._ranker is not None
            ranked = np.asarray(self._ranker(Observation._make(array[rows] for array in seen)), np.float32)
            scores[rows, :-1] = np.where(seen.mask[rows], ranked, 0.0)
        scores[given == ASKS, -1] = 1.0
        return scores
