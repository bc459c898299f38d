"""What a phone shows where decisions are logged: a policy's choice, with chances that are known and keyed luck.

A share of decisions takes any candidate, all equally likely; the others take the policy's best, or, at a temperature,
draw among its scores. Called by `collect.py` and by the estimates of `experiments/training/off_policy/`.
"""

from typing import NamedTuple

import numpy as np

from nextone.experiments.runs.deciding import make_decider
from nextone.sim.batch_run import Decide
from nextone.sim.scenario import SettingError
from nextone.sim.state import DEAD, Array, World

from .tried import draw_picks

COLDEST, HOTTEST = 0.01, 100.0  # temperatures: beyond them it is the best candidate, or any


class Spread(NamedTuple):
    """How much of a policy's choice is left to chance; nothing by default."""

    explore: float = 0.0  # share of decisions at which all candidates are equally likely
    temperature: float = 0.0  # of a softmax over scores at the others, see `softmax`; 0 takes the best

    def checked(self) -> "Spread":
        """The same, checked. Raises SettingError."""
        if not 0 <= self.explore <= 1:
            raise SettingError(f"explore={self.explore} must be in [0, 1]: the share of random picks")
        if self.temperature != 0 and not COLDEST <= self.temperature <= HOTTEST:
            raise SettingError(
                f"temperature={self.temperature} must be in [{COLDEST}, {HOTTEST:g}], or 0: the best candidate"
            )
        return self


class Choice(NamedTuple):
    """What the phones of n people are to show next, among P slots."""

    order: Array  # (n, P) slots in server order, those that cannot be shown last
    live: Array  # (n, P) bool by slot: can be shown
    ranking: Array  # (n, P) slots by the policy's scores, best first
    chance: Array  # (n, P) float64 by slot: how likely it is picked
    picked: Array  # (n,) slot
    random: Array  # (n,) bool: picked as one of all, equally likely


class LoggingPolicy:
    """A policy by name, spread over its candidates, in one world."""

    def __init__(self, policy: str, spread: Spread, world: World) -> None:
        self.spread = spread
        self.ask: Decide = make_decider(policy, world) or in_server_order

    def choose(self, w: World, rows: Array) -> Choice:
        """Choose for the people in `rows` (n,), each at a decision."""
        n, slots = len(rows), w.pool.shape[1]
        order, live = server_order(w, rows), rankable(w, rows)
        scores = np.where(live, self.ask(w, rows)[:, :slots], -np.inf)
        ranking = np.argsort(-np.take_along_axis(scores, order, 1), 1, kind="stable")  # ties in server order
        ranking = np.take_along_axis(order, ranking, 1)
        draws = np.empty((n, 2))
        draw_picks(w.key, w.users, rows, draws)
        count = live.sum(1)
        random = draws[:, 0] < self.spread.explore
        nth = np.minimum((draws[:, 1] * count).astype(np.int64), count - 1)
        at_random = np.take_along_axis(order, nth[:, None], 1)[:, 0]
        by_score = softmax(np.take_along_axis(scores, ranking, 1), self.spread.temperature)
        total = np.cumsum(by_score, 1)
        nth = (total <= draws[:, 1:] * total[:, -1:]).sum(1)
        of_policy = np.take_along_axis(ranking, nth[:, None], 1)[:, 0]
        chance = np.empty((n, slots))
        np.put_along_axis(chance, ranking, (1 - self.spread.explore) * by_score, 1)
        chance += self.spread.explore * live / count[:, None]
        return Choice(order, live, ranking, chance, np.where(random, at_random, of_policy), random)


def softmax(scores: Array, temperature: float) -> Array:
    """Chances (n, P) from scores (n, P), sorted best first, -inf where there is nothing; higher scores have higher
    chances.

    Temperatures are in standard deviations of the scores that are there, so that one temperature suits any policy. At 0
    the first has all of the chance; where all scores are equal, it is the same for each at any other temperature."""
    there = np.isfinite(scores)
    there[:, 0] |= temperature == 0 or ~there.any(1)
    if temperature == 0:
        there[:, 1:] = False
    known = np.where(there & np.isfinite(scores), scores, 0.0).astype(np.float64)
    deviation = np.where(there, known - known.mean(1, keepdims=True, where=there), 0.0)
    spread = np.sqrt(np.mean(deviation**2, 1, keepdims=True, where=there))
    behind = np.where(there, known[:, :1] - known, 0.0) / np.where(spread > 0, spread * temperature, 1.0)
    weights = np.where(there, np.exp(-behind), 0.0)
    chance: Array = weights / weights.sum(1, keepdims=True)
    return chance


def to_scores(choice: Choice) -> Array:
    """The scores given to the driver, float32 (n, P): the pick first, the others as the policy ranks them."""
    n, slots = choice.live.shape
    given = np.empty((n, slots), np.float32)
    np.put_along_axis(given, choice.ranking, -np.arange(slots, dtype=np.float32)[None], 1)
    given[np.arange(n), choice.picked] = 1.0
    return given


def rankable(w: World, rows: Array) -> Array:
    """Which slots (n, P) of the people in `rows` hold a video with embeddings for the phone's version of the model."""
    pool, users = w.pool[rows], w.users[rows]
    age = (users["request"][:, None] - pool["request"].astype(np.int64)) & 0xFFFF
    ranks: Array = (pool["rank"] != DEAD) & (age <= (users["request"] - users["model_since"])[:, None])
    return ranks


def server_order(w: World, rows: Array) -> Array:
    """Slots (n, P) of the people in `rows` in the server's order: older pages first, then by rank; others last."""
    pool = w.pool[rows]
    age = (w.users["request"][rows, None] - pool["request"].astype(np.int64)) & 0xFFFF
    key = pool["rank"].astype(np.int64) - (age << 8) + np.where(rankable(w, rows), 0, 1 << 40)
    return np.argsort(key, 1, kind="stable")


def in_server_order(w: World, rows: Array) -> Array:
    """The order of `cloud_only` as scores (n, P)."""
    order = server_order(w, rows)
    scores = np.zeros(order.shape, np.float32)
    np.put_along_axis(scores, order, -np.arange(order.shape[1], dtype=np.float32)[None], 1)
    return scores
