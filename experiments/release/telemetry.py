"""What phones tell of themselves: decisions with their time, score and failure, and impressions as they end.

`Telemetry` collects while the run goes, `monitor` makes a table of it, a row a minute and version. Called by `run.py`.
"""

from typing import Any

import numpy as np

from nextone.sim.batch_run import Decide
from nextone.sim.records import Logs, Records, ended_us
from nextone.sim.state import ASKED, CUT, DEAD, IMPRESSION, STALE, VALID, Array, World

from .rollout import MINUTE_US, Rollout, version_at

DECISION = np.dtype(
    [
        ("at_us", "i8"),
        ("user", "i4"),
        ("latency_us", "i4"),  # -1: nothing was computed
        ("score", "f4"),  # of the candidate that it puts first
        ("place", "u1"),  # of that candidate in the server's order, from 0
        ("version", "i1"),
        ("failed", "?"),
    ]
)


class Telemetry:
    """Decisions and impressions, and how far they have been read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._decisions: list[Array] = []
        self._unread = [np.zeros(0, DECISION), np.zeros(0, IMPRESSION)]
        self._read = self._known = 0
        self._last: tuple[Array, Array] | None = None  # people who decided last, and their lines
        self._failing = np.zeros(len(world.users), bool)

    def follow(self, decide: Decide) -> Decide:
        """The same decisions, noted."""

        def noted(w: World, rows: Array) -> Array:
            self._time_last()
            scores = decide(w, rows)
            self._note(rows, scores)
            return scores

        return noted

    def failed(self, rows: Array) -> None:
        """The decisions of these people, which are being made, fail."""
        self._failing[rows] = True

    def _note(self, rows: Array, scores: Array) -> None:
        w = self._world
        ranks = w.pool["rank"][rows]
        alive = np.where(ranks != DEAD, scores[:, : ranks.shape[1]], -np.inf)
        first = alive.argmax(axis=1)[:, None]
        best, place = (np.take_along_axis(each, first, axis=1)[:, 0] for each in (alive, ranks))
        failed = self._failing[rows]
        self._failing[rows] = False
        told = (best > -np.inf) | failed  # not what lets the last order stand on purpose
        lines = np.zeros(int(told.sum()), DECISION)
        who = rows[told]
        lines["at_us"], lines["user"], lines["version"] = w.users["now_us"][who], who, w.users["arm"][who]
        lines["score"], lines["place"], lines["failed"] = best[told], place[told], failed[told]
        self._decisions.append(lines)
        self._last = who, lines

    def _time_last(self) -> None:
        """The phones have begun the decisions noted last, and none of them another one since."""
        if self._last is not None:
            rows, lines = self._last
            took = self._world.users["ready_us"][rows] - lines["at_us"]
            lines["latency_us"] = np.where(lines["failed"], -1, np.minimum(took, 2**31 - 1))
            self._last = None

    def decisions(self) -> Array:
        """All so far, in the order in which they were made."""
        self._time_last()
        return np.concatenate([np.zeros(0, DECISION), *self._decisions])

    def read(self, logs: Logs, until_us: int) -> tuple[Array, Array]:
        """Decisions made, and impressions that ended, up to a moment, each once."""
        self._time_last()
        decided = np.concatenate([self._unread[0], *self._decisions[self._read :]])
        self._read = len(self._decisions)
        shown, self._known = logs.impressions_since(self._known)
        shown = np.concatenate([self._unread[1], shown])
        both = (decided, decided["at_us"] <= until_us), (shown, ended_us(shown) <= until_us)
        self._unread = [rows[~past] for rows, past in both]
        return decided[both[0][1]], shown[both[1][1]]


def monitor(telemetry: Telemetry, records: Records, rollout: Rollout, minutes: int) -> dict[str, Any]:
    """The columns of a table with a row for each minute and version: counts, quantiles (NaN where there is nothing),
    and minutes that people spent in the app."""
    decided, shown = telemetry.decisions(), records.impressions
    made = _cell(decided["at_us"], decided["version"], minutes)
    ends = ended_us(shown)
    seen = _cell(ends, version_at(rollout, shown["user"], shown["start_us"]), minutes)
    outcome, whole = shown["outcome"], (shown["outcome"] & CUT) == 0
    asked = outcome & ASKED != 0
    spans, ends_us = with_version(records.sessions, rollout), np.arange(minutes + 1) * MINUTE_US
    size = 2 * minutes
    rows = np.arange(size)
    computed = decided["latency_us"] >= 0
    p50, p95 = _quantiles(made[computed], decided["latency_us"][computed] / 1e3, size, (0.5, 0.95))
    counted = np.bincount(made[computed], minlength=size)
    with np.errstate(invalid="ignore"):
        score, place = (
            np.bincount(made[computed], decided[name][computed], minlength=size) / counted
            for name in ("score", "place")
        )
    return {
        "minute": rows // 2,
        "version": rows % 2 + 1,
        "phones": np.stack([present(*each, ends_us) for each in spans], axis=1).ravel(),
        "decisions": np.bincount(made, minlength=size),
        "failures": np.bincount(made[decided["failed"]], minlength=size),
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "picks": np.bincount(seen[asked], minlength=size),
        "stale_picks": np.bincount(seen[asked & (outcome & STALE != 0)], minlength=size),
        "impressions": np.bincount(seen[whole], minlength=size),
        "valid_plays": np.bincount(seen[whole & (outcome & VALID != 0)], minlength=size),
        "app_min": np.stack([app_minutes(*each, ends_us) for each in spans], axis=1).ravel(),
        "score": score,
        "pick_rank": place + 1,
    }


def _cell(at_us: Array, version: Array, minutes: int) -> Array:
    return np.asarray(np.minimum(at_us // MINUTE_US, minutes - 1) * 2 + version)


def _quantiles(cell: Array, value: Array, size: int, wanted: tuple[float, ...]) -> list[Array]:
    """Of the values in each cell, (size,) each: the smallest that so many are not above; NaN without any."""
    order = np.lexsort((value, cell))
    ends = np.searchsorted(cell[order], np.arange(size), side="right")
    many = np.bincount(cell, minlength=size)
    ranked = np.append(value[order], np.nan)  # the last, at -1, of cells without any
    return [ranked[np.where(many > 0, ends - many + np.ceil(q * many).astype(np.int64) - 1, -1)] for q in wanted]


def with_version(sessions: Array, rollout: Rollout) -> list[tuple[Array, Array]]:
    """Spans of time in the app with version 1, and with version 2: when each begins and ends, us."""
    opened, closed = sessions["open_us"], sessions["close_us"]
    got, lost = (
        np.clip(when[sessions["user"]], opened, closed) for when in (rollout.got_us, rollout.lost_us)
    )  # without the other version, an empty span at the close
    pieces = [[(opened, got), (lost, closed)], [(got, lost)]]
    spans = [tuple(np.concatenate(ends) for ends in zip(*each, strict=True)) for each in pieces]
    return [(begins[ends > begins], ends[ends > begins]) for begins, ends in spans]


def app_minutes(begins: Array, ends: Array, at_us: Array) -> Array:
    """Minutes that such spans have between each two of these moments, (M - 1,)."""

    def since(times: Array) -> Array:
        ordered = np.sort(times)
        past = np.searchsorted(ordered, at_us)
        return np.asarray(past * at_us - np.concatenate([[0], np.cumsum(ordered)])[past])

    return np.diff(since(begins) - since(ends)) / MINUTE_US


def present(begins: Array, ends: Array, at_us: Array) -> Array:
    """How many such spans there are between each two of these moments, (M - 1,)."""
    begun = np.searchsorted(np.sort(begins), at_us[1:])
    return np.asarray(begun - np.searchsorted(np.sort(ends), at_us[:-1], side="right"))
