"""Many people in parallel, each on their own clock. Waits in the server's queue are given, and not simulated.

The compiled model is that of `sim/event_run.py`. With `queue_waits` of zero, the impressions are the same, bit for bit,
as in an event run with ample servers, for any number of threads.
"""

from collections.abc import Callable

import numpy as np
from numba import get_num_threads

from nextone.sim.engine.kernel import compiled, is_kept
from nextone.sim.engine.threads import in_blocks

from .impression import DECIDE, DONE, PAUSED, advance
from .records import Logs, Records
from .state import Array, World

Decide = Callable[[World, Array], Array]
"""decide(world, rows) -> scores (n, P) or (n, P + 1) for the people in `rows`, each at a decision."""

NO_SCORES = np.zeros((0, 0), np.float32)
AT_A_TIME = 64  # impressions a person moves before the logs are looked at again
PARALLEL_FROM = 16  # rows worth a thread: to hand over and wait takes some 100 us


@compiled(nogil=True)
def advance_rows(w, rows, scores, answered, end_us, comes_back, budget, reason, start, stop, part):
    """`impression.advance` for rows[start:stop], one after another; the reason of each in `reason`.

    scores: (n, P) or (n, P + 1), or (0, 0) when no row is at a decision. answered: (n,) whether a row's request was.
    part: of the logs."""
    for k in range(start, stop):
        row = scores[k] if len(scores) > 0 else scores.reshape(-1)[:0]
        reason[k] = advance(w, rows[k], row, answered[k], end_us, comes_back, budget, part)


def model_is_compiled() -> bool:
    """Whether this machine has compiled the model before."""
    return is_kept(advance_rows)


def advance_parallel(
    w: World, rows: Array, scores: Array, answered: Array, end_us: int, comes_back: bool, budget: int, reason: Array
) -> None:
    """`advance_rows` in threads: one block of rows and one part of the logs each."""
    parts = min(len(w.logged), max(len(rows) // PARALLEL_FROM, 1))
    common = (w, rows, scores, answered, end_us, comes_back, budget, reason)
    in_blocks(lambda start, stop, part: advance_rows(*common, start, stop, part), len(rows), parts)


def run_batch(
    world: World, decide: Decide | None, *, end_us: int, days: bool = False, only: int | None = None
) -> Records:
    """Run everybody until they are gone, or until `end_us`. only: run this person alone, whose life stays the same.

    `world.queue_waits` must be given (zeros: ample servers)."""
    assert len(world.queue_waits) > 0, "the batch driver has no server: give build_world queue_waits"
    logs = Logs(world)
    rows = np.arange(len(world.users)) if only is None else np.array([only])
    reason = np.full(len(rows), PAUSED, np.int8)
    while len(rows):
        deciding = reason == DECIDE
        groups = ((rows[deciding], True), (rows[~deciding], False)) if deciding.any() else ((rows, False),)
        rows, reason = np.zeros(0, np.int64), np.zeros(0, np.int8)
        for group, at_decision in groups:
            if not len(group):
                continue
            assert decide is not None or not at_decision
            scores = decide(world, group) if decide is not None and at_decision else NO_SCORES
            why = np.zeros(len(group), np.int8)
            advance_parallel(world, group, scores, np.zeros(len(group), np.bool_), end_us, days, AT_A_TIME, why)
            logs.collect()
            rows, reason = np.concatenate([rows, group[why != DONE]]), np.concatenate([reason, why[why != DONE]])
    return logs.records()


def log_parts() -> int:
    """How many parts the logs of a batch world should have: one per thread."""
    return int(get_num_threads())
