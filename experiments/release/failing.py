"""Decisions that go wrong: what a planted fault makes of a policy's scores.

Luck is keyed by (person, impression), so that a fault strikes the same decisions in every run with that seed. Called by
`run.py`.
"""

from collections.abc import Callable

import numpy as np

from nextone.sim.batch_run import Decide
from nextone.sim.engine.chance import uniform
from nextone.sim.engine.kernel import entry
from nextone.sim.engine.luck import FAULT
from nextone.sim.state import DEAD, Array, World

from .faults import BROKEN, CRASH, WORSE, Fault

NO_VIDEO = 0xFFFFFFFF  # in keys: a draw that is about no video


@entry
def draw_faults(key: Array, users: Array, pool: Array, rows: Array, strikes: Array, order: Array) -> None:
    """Draw into strikes (n,) whether the decisions of the people in `rows` (n,) are struck, and into order (n, P) a
    number for each of their candidates."""
    for k in range(len(rows)):
        user = users[rows[k]]
        strikes[k] = uniform(key[rows[k]], FAULT, user.user, NO_VIDEO, user.impression + 1)
        for j in range(order.shape[1]):
            order[k, j] = uniform(key[rows[k]], FAULT, user.user, pool[rows[k], j].video, user.impression + 1)


def failing(decide: Decide, fault: Fault, failed: Callable[[Array], None]) -> Decide:
    """The same decisions, some of them struck by the fault; unchanged for one that its settings make. failed(rows) is
    called with the people whose decision fails."""
    if fault.kind not in (WORSE, BROKEN, CRASH):
        return decide

    def struck(w: World, rows: Array) -> Array:
        scores = decide(w, rows)
        slots = w.pool.shape[1]
        strikes, order = np.empty(len(rows)), np.empty((len(rows), slots))
        draw_faults(w.key, w.users, w.pool, rows, strikes, order)
        hit = strikes < fault.size
        if fault.kind == CRASH:
            scores[hit] = -np.inf  # nothing is computed: the last order stands
            failed(rows[hit])
        else:
            live = w.pool["rank"][rows[hit]] != DEAD
            scores[hit, :slots] = swapped(scores[hit, :slots], live, order[hit])
        return scores

    return struck


def swapped(scores: Array, live: Array, order: Array) -> Array:
    """Scores (n, P) of which the live candidates have each other's, in the order of other numbers (n, P)."""
    given = np.argsort(np.where(live, order, np.inf), axis=1, kind="stable")  # the live slots first, mixed
    ranked = np.argsort(~live, axis=1, kind="stable")  # the live slots first, as they lie
    out = scores.copy()
    np.put_along_axis(out, given, np.take_along_axis(scores, ranked, axis=1), axis=1)
    return out
