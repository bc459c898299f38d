"""Sequences of decision rules: `["3 skip", "like"]`, within n impressions.

The steps happened in that order, the last of them in an impression that ended since the last decision, all of them
among the last n impressions up to that one. Other impressions may lie between; one impression counts for one step.

Called by `rule_file.py` and `policy.py`.
"""

import re
from typing import NamedTuple

import numpy as np

from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import nearest

from .features import EVENTS, REACTION, Array, events

STEP = re.compile(r"\s*(?:(\d{1,3})\s+)?(\w{1,40})\s*", re.ASCII)
MOST_STEPS = 50  # impressions that a sequence asks for
MOST_WITHIN = 200  # impressions that a phone remembers


class Sequence(NamedTuple):
    """What happened, oldest first, among so many impressions."""

    steps: tuple[str, ...]  # an event for each impression
    within: int
    words: str

    def ends(self, history: Array, new: Array) -> Array:
        """For which of N people it ended in one of the `new` (N,) newest past impressions of history (N, H, Fh)."""
        happened = {event: events(history, event) for event in set(self.steps)}
        ended = np.zeros(len(history), np.bool_)
        for newest in range(min(int(new.max(initial=0)), history.shape[1])):
            ended |= (newest < new) & self._ends_at(happened, newest)
        return ended

    def _ends_at(self, happened: dict[str, Array], newest: int) -> Array:
        """Whether it ends with past impression number `newest`. Looking back, each step takes the first impression
        that it can: if any choice of impressions will do, this one does."""
        order = [happened[event] for event in reversed(self.steps)]
        n, rows = order[0].shape
        found = order[0][:, newest].astype(np.int64)  # steps found so far; without the last one there is nothing
        for k in range(newest + 1, min(newest + self.within, rows)):
            next_step = np.zeros(n, np.bool_)
            for step in range(1, len(order)):
                next_step |= (found == step) & order[step][:, k]
            found += next_step
        return np.asarray(found == len(order))


def sequence(steps: object, within: object) -> Sequence:
    """From the words of a rule file. Raises UserError."""
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise UserError('sequence must be an array of steps, for example ["3 skip", "like"]')
    known, flat = (*EVENTS, REACTION), list[str]()
    for step in steps:
        found = STEP.fullmatch(step)
        if found is None or found[2] not in known:
            raise UserError(f"sequence has a step {step[:60]!r}{nearest(found[2] if found else step, known)}")
        flat += [found[2]] * int(found[1] or "1")
    if not 1 <= len(flat) <= MOST_STEPS:
        raise UserError(f"sequence asks for {len(flat)} impressions, must be 1 to {MOST_STEPS}")
    if not isinstance(within, int) or isinstance(within, bool) or not len(flat) <= within <= MOST_WITHIN:
        raise UserError(
            f"within={str(within)[:20]} must be a whole number from {len(flat)}, the steps of the sequence, to "
            f"{MOST_WITHIN}"
        )
    words = ", then ".join(" ".join(step.split()).replace("_", " ") for step in steps)
    return Sequence(tuple(flat), within, f"{words}, within {within} impressions")
