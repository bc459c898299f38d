"""Gates: version 2's people against a limit or against version 1's, each minute, from what has been seen by then.

People are compared as they were hashed: those in the wave, whether or not their phone has pulled yet, against all
others, each from their first page request since the wave began. A unit is a person. Called by `run.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from nextone.experiments.ab.analysis import between, boundary, linear
from nextone.experiments.ab.people import Sums
from nextone.experiments.runs.statistics import CONFIDENCE
from nextone.sim.records import ended_us
from nextone.sim.state import ASKED, CUT, LAST, SKIP, STALE, VALID, Array

from .plan import MONITORED, Gate
from .rollout import Judged, State

HOUR_US = 3_600_000_000
SIDE = (1 + CONFIDENCE) / 2
SLOW, BEYOND = "latency_p95_ms", 0.05  # of decisions, one in twenty is slower than the 95th percentile


class Counts:
    """What each person did in the present wave, as far as it has been seen: sums of every monitored metric."""

    def __init__(self, people: int) -> None:
        self._people = people
        self.begin()

    def begin(self) -> None:
        """A wave begins: nothing has been seen of it."""
        self._sums = {name: Sums(*np.zeros((2, self._people))) for name in MONITORED if name != SLOW}
        self._latest: list[Array] = []

    def add(self, decided: Array, shown: Array, since_us: Array) -> None:
        """Count lines of what happened since `since_us` (N,) of each person."""
        decided = decided[decided["at_us"] >= since_us[decided["user"]]]
        shown = shown[shown["start_us"] >= since_us[shown["user"]]]
        outcome, whole = shown["outcome"], (shown["outcome"] & CUT) == 0
        computed = decided["latency_us"] >= 0
        spent_min = (ended_us(shown) - shown["start_us"] + shown["wait_us"] + shown["swipe_us"]) / 6e7
        for name, top, bottom in (
            ("valid_play", whole & (outcome & VALID != 0), whole), ("skip_2s", whole & (outcome & SKIP != 0), whole),
            ("leaves", outcome & LAST != 0, spent_min),
            ("stale_picks", (outcome & ASKED != 0) & (outcome & STALE != 0), outcome & ASKED != 0),
        ):  # fmt: skip
            self._count(name, shown["user"], top, bottom)
        self._count("failures", decided["user"], decided["failed"], np.ones(len(decided)))
        self._count("score", decided["user"], np.where(computed, decided["score"], 0.0), computed)
        self._count("pick_rank", decided["user"], np.where(computed, decided["place"] + 1.0, 0.0), computed)
        self._latest.append(decided[computed])

    def _count(self, name: str, user: Array, top: Array, bottom: Array) -> None:
        for total, what in zip(self._sums[name], (top, bottom), strict=True):
            np.add.at(total, user, what.astype(np.float64))

    def judge(self, gates: Sequence[Gate], treated: Array, asked: Array, now_us: int) -> list[Judged]:
        """What each gate says of the people who have asked for a page since the wave began, (N,) bool."""
        sides = treated & asked, ~treated & asked
        self._planned = int(treated.sum())
        if any(gate.metric == SLOW for gate in gates):
            latest = np.concatenate(self._latest) if self._latest else None
            self._latest = [] if latest is None else [latest[latest["at_us"] > now_us - HOUR_US]]
        return [self._judge(gate, *sides) for gate in gates]

    def _judge(self, gate: Gate, second: Array, first: Array) -> Judged:
        against = gate.worse_pct is not None
        limit = gate.worse_pct if gate.worse_pct is not None else float(gate.limit or 0.0)
        enough = second.sum() >= gate.least and (first.sum() >= gate.least or not against)
        found = None
        if enough and gate.metric == SLOW:
            found = self._slower(gate, second, first)
            return _judged(gate, found, 100 * BEYOND)
        if enough and against:
            found = self._worse(gate, second, first)
        elif enough:
            found = _own(self._sums[gate.metric].of(second), gate, self._planned)
            if found and MONITORED[gate.metric][0] == "more":
                return _judged(gate, tuple(-x for x in (found[0], found[2], found[1])), -limit)
        return _judged(gate, found, limit)

    def _worse(self, gate: Gate, second: Array, first: Array) -> tuple[float, float, float] | None:
        """By how many percent version 2 is worse than version 1: value, low, high."""
        of = second | first
        found = between(self._sums[gate.metric].of(of), second[of], planned=self._people)
        if found is None or found.fixed.diff_pct is None or found.fixed.diff_pct_low is None:
            return None
        value, ends = found.fixed.diff_pct, (found.fixed.diff_pct_low, found.fixed.diff_pct_high)
        if gate.test == "always":
            ends = found.always or (-math.inf, math.inf)
        low, high = (value, value) if gate.test == "value" else (float(ends[0]), float(ends[1] or 0.0))
        better = MONITORED[gate.metric][0]
        if better == "more":
            return -value, -high, -low
        if better == "neither" and value < 0:  # a change either way
            return -value, -high, -low
        return value, low, high

    def _slower(self, gate: Gate, second: Array, first: Array) -> tuple[float, float, float] | None:
        """What share of version 2's decisions, percent, is slower than the limit: value, low, high."""
        lines = np.concatenate(self._latest)
        mine, theirs = second[lines["user"]], first[lines["user"]]
        beyond_us = 1e3 * float(gate.limit or 0.0)
        if gate.worse_pct is not None:
            if not theirs.any():
                return None
            usual_us = float(np.quantile(lines["latency_us"][theirs], 1 - BEYOND))
            if usual_us == 0:
                return None
            beyond_us = usual_us * (1 + gate.worse_pct / 100)
        user, slow = lines["user"][mine], lines["latency_us"][mine] > beyond_us
        sums = Sums(*(np.bincount(user, what, minlength=self._people)[second] for what in (slow, np.ones(len(user)))))
        found = _own(sums, gate, self._planned)
        return found and (100 * found[0], 100 * found[1], 100 * found[2])


def _own(sums: Sums, gate: Gate, planned: int) -> tuple[float, float, float] | None:
    """A metric of version 2's people: value, low, high."""
    line = linear(sums)
    if len(line) < 2 or not np.isfinite(line).all():
        return None
    value, error = float(line.mean()), math.sqrt(line.var(ddof=1) / len(line))
    if gate.test == "value":
        return value, value, value
    reach = boundary(len(line), planned) if gate.test == "always" else float(stdtrit(len(line) - 1, SIDE))
    return value, value - reach * error, value + reach * error


def _judged(gate: Gate, found: tuple[float, ...] | None, limit: float) -> Judged:
    if found is None:
        return Judged(gate, "unclear", math.nan, math.nan, math.nan, limit)
    value, low, high = found
    state: State = "bad" if low > limit else "fine" if high <= limit else "unclear"
    return Judged(gate, state, value, low, high, limit)
