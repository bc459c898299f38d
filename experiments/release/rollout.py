"""Who has which version: waves that advance, are held or rolled back, and phones that pull at their next page request.

A phone that is to have version 2 downloads its files, where there are any, beside everything else that its link does,
and changes at the first request after that. Version 1 stays on the phone, so that going back takes a request and no
download. Called by `run.py`.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from nextone.experiments.ab.assignment import chances
from nextone.sim.config import NEVER_US
from nextone.sim.state import CURRENT, Array, World

from .plan import Gate, Plan

MINUTE_US = 60_000_000
State = Literal["bad", "fine", "unclear"]
End = Literal["waiting", "rolling", "released", "rolled back"]
What = Literal["wave", "held", "released", "rolled back"]


class Judged(NamedTuple):
    """What a gate says at a look: the harm that it measures, with its interval, and the limit, in one unit."""

    gate: Gate
    state: State
    value: float
    low: float
    high: float
    limit: float

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return f"{self.gate}: not seen yet"
        within = "" if self.low == self.high else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.gate}: {self.value:.3g}{within}"


class Event(NamedTuple):
    """Something that happened to the release."""

    minute: float
    wave: int  # from 1
    what: What
    why: str  # the gates and what they say; empty for waves


def place_of(salt: str, people: int) -> Array:
    """Where each person comes by the salted hash, (N,) from 0: the first x % have version 2 first."""
    place = np.empty(people, np.int64)
    place[np.argsort(chances(salt, people), kind="stable")] = np.arange(people)
    return place


def installed(plan: Plan, people: int) -> Array:
    """Who has version 2 before anybody opens the app, (N,) int8: the first wave, if it begins at minute 0."""
    first = _people_of(plan.waves[0].share, people) if plan.start_min == 0 else 0
    return (place_of(plan.salt, people) < first).astype(np.int8)


def _people_of(share: float, people: int) -> int:
    return round(share * people)


class Rollout:
    """The release as it goes."""

    def __init__(self, plan: Plan, world: World) -> None:
        n = len(world.users)
        self._plan, self._world = plan, world
        self._place = place_of(plan.salt, n)
        self._first = 0  # people before this place are to have version 2
        self._files = [int(row["model_bytes"]) for row in world.params]
        self._until_us = round(plan.start_min * MINUTE_US)
        self._held = False
        self.wave = -1
        self.end: End = "waiting"
        self.events: list[Event] = []
        self.pulling = np.zeros(n, bool)
        self.got_us, self.lost_us = np.full(n, NEVER_US), np.full(n, NEVER_US)
        self.asked_us = np.full(n, NEVER_US)  # the first request of each person since the wave began
        self.got_us[world.arms[:, 0] == 1] = 0
        self.minute(0, ())

    def treated(self) -> Array:
        """Who is in the wave, (N,) bool."""
        return self._place < self._first

    def minute(self, now_us: int, judged: Sequence[Judged]) -> bool:
        """A minute is over; returns whether a wave begins now. judged: what each gate says of the present one."""
        if self.end in ("released", "rolled back"):
            return False
        bad = [each for each in judged if each.state == "bad"]
        back = [each for each in bad if each.gate.action == "roll_back"]
        if back:
            self._first, self.end = 0, "rolled back"
            self._note(now_us, "rolled back", back)
            return False
        if now_us < self._until_us:
            return False
        waits = [each for each in judged if each.state == "unclear" and each.gate.unclear == "hold"]
        if bad or waits:
            if not self._held:
                self._note(now_us, "held", bad or waits)
            self._held = True
            return False
        self._held = False
        return self._advance(now_us)

    def _advance(self, now_us: int) -> bool:
        if self.wave + 1 == len(self._plan.waves):
            self.end = "released"
            self._note(now_us, "released", ())
            return False
        self.wave, self.end = self.wave + 1, "rolling"
        wave = self._plan.waves[self.wave]
        self._first = _people_of(wave.share, len(self._place))
        self._until_us = now_us + round(wave.minutes * MINUTE_US)
        self.asked_us[:] = NEVER_US
        self._note(now_us, "wave", ())
        return True

    def _note(self, now_us: int, what: What, why: Sequence[Judged]) -> None:
        self.events.append(Event(now_us / MINUTE_US, self.wave + 1, what, "; ".join(map(str, why))))

    def asked(self, i: int, now_us: int) -> None:
        """Person i's request has reached the server: the moment at which a phone learns what it is to have."""
        if self.end == "waiting":
            return
        if self.asked_us[i] == NEVER_US:
            self.asked_us[i] = now_us
        users = self._world.users
        has, wanted = users["arm"][i] == 1, self._place[i] < self._first
        if has and not wanted:
            self.lost_us[i] = now_us
            self._change(i, 0)
        elif wanted and not has and not self.pulling[i] and self._files[1]:
            self.pulling[i] = True
            users["model_left"][i] = self._files[1]
            users["model_at_us"][i] = now_us + self._world.params["cdn_us"][1]
        elif wanted and not has and (not self.pulling[i] or users["model_left"][i] == 0):
            self.pulling[i] = False
            self.got_us[i] = now_us
            self._change(i, 1)
        elif self.pulling[i] and not wanted:
            self.pulling[i] = False
            users["model_left"][i] = 0 if users["model_held"][i] <= CURRENT else self._files[0]

    def _change(self, i: int, version: int) -> None:
        """The phone has loaded the other version, and keeps it when the app is opened again."""
        users = self._world.users
        users["arm"][i] = self._world.arms[i, 0] = version
        if self._files[version]:
            users["cold"][i] = self._world.params["cold_start"][version] > 1.0


def version_at(rollout: Rollout, people: Array, at_us: Array) -> Array:
    """Which version each of these people had at a moment of theirs, (n,): 0 the first, 1 the second."""
    return np.asarray((at_us >= rollout.got_us[people]) & (at_us < rollout.lost_us[people])).astype(np.int8)
