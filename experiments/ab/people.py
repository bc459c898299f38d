"""What a test measures of each person: sums of the metrics that are means or ratios, and how people are told apart.

A metric of `experiments/runs/metrics.py` that is a ratio of two sums over people is here as these two sums of each
person, (N,) over (N,): a test checks that they give the metric. Percentiles are none and left out; so are wasted bytes
and those of pages, which are counted over whole lives. Called by `trial.py`.
"""

from typing import NamedTuple

import numpy as np

from nextone.experiments.runs.metrics import (
    Run,
    did,
    entropy_of_sessions,
    gave,
    repeats_of_sessions,
    sessions_shown,
    tags_of_sessions,
    whole_impressions,
)
from nextone.sim.config import CELLULAR, TIERS
from nextone.sim.records import Records, ended_us
from nextone.sim.state import COMPLETE, LONG, SKIP, VALID, Array

HOUR_US = 3_600_000_000
MOST_LOOKS = 400  # at the primary metric while the test runs: one an hour, fewer in longer tests


class Sums(NamedTuple):
    """A metric of each person: top over bottom, (N,) float64 each; a mean per person has ones below."""

    top: Array
    bottom: Array

    def of(self, rows: Array) -> "Sums":
        return Sums(self.top[rows], self.bottom[rows])


class People(NamedTuple):
    """One world's people in a test, N of them."""

    arm: Array  # (N,) in which they opened the app in the test, -1: they did not
    unit: Array  # (N,) what was hashed: the person, the region or the stretch of time
    sums: dict[str, Sums]  # by metric, from the test's begin
    before: dict[str, Sums]  # the same before it; empty where there is no time before
    looks: Array  # (N, H) float32 minutes in the app up to each look
    first: Array  # (N,) the first look that has seen the person, H if none
    segments: dict[str, tuple[tuple[str, ...], Array]]  # names, and (N,) which of them each person is in
    load: dict[str, float]  # of the servers: utilisation, timeout_rate, queue_p95_ms, workers


def sums_of(run: Run, from_us: int, to_us: int) -> dict[str, Sums]:
    """The metrics of each person in sessions that opened from `from_us` to before `to_us`."""
    n, sessions = len(run.world.users), run.records.sessions
    within = (sessions["open_us"] >= from_us) & (sessions["open_us"] < to_us)
    counted = run if within.all() else _only(run, within, n)
    shown, requests, mine = counted.records

    def per_person(who: Array, what: Array | None = None) -> Array:
        return np.bincount(who["user"], what, minlength=n).astype(np.float64)

    whole, ones = counted.whole, np.ones(n)
    ended = mine[mine["cut"] == 0]
    length_min, plays = (mine["close_us"] - mine["open_us"]) / 6e7, per_person(whole)
    minutes, shown_sessions = per_person(mine, length_min), sessions_shown(shown)[0][0]
    of_sessions = np.bincount(shown_sessions, minlength=n).astype(np.float64)

    def by_session(what: Array) -> Sums:
        return Sums(np.bincount(shown_sessions, what, minlength=n), of_sessions)

    def share(marked: Array) -> Sums:
        return Sums(per_person(whole, marked), plays)

    play_s, stall_s = per_person(shown, shown["play_us"] / 1e6), per_person(shown, shown["stall_us"] / 1e6)
    return {
        "app_min": Sums(minutes, ones),
        "valid_play": share(did(counted, VALID)),
        "long_view": share(did(counted, LONG)),
        "completion": share(did(counted, COMPLETE)),
        "watch_s": Sums(play_s, ones),
        "session_min": Sums(per_person(ended, (ended["close_us"] - ended["open_us"]) / 6e7), per_person(ended)),
        "impressions": Sums(per_person(shown), ones),
        **{kind: share(gave(counted, kind)) for kind in ("like", "follow", "comment", "forward")},
        "skip_2s": share(did(counted, SKIP)),
        "hate": share(gave(counted, "hate")),
        "tags": by_session((tags_of_sessions(counted) > 0).sum(axis=1)),
        "tag_entropy": by_session(entropy_of_sessions(counted)),
        "author_repeats": by_session(repeats_of_sessions(counted)),
        "stall_ratio": Sums(stall_s, play_s + stall_s),
        "wait_ratio": Sums(per_person(shown, shown["wait_us"] / 6e7) + _last_waits(counted, n), minutes),
        "waits_per_min": Sums(per_person(shown, shown["wait_us"] > 0), minutes),
        "requests": Sums(per_person(requests), ones),
    }


def _only(run: Run, within: Array, n: int) -> Run:
    """What happened in some of the sessions, (S,) bool."""
    sessions = run.records.sessions
    first = np.searchsorted(sessions["user"], np.arange(n))  # sessions are numbered from 0 without a gap
    shown, requests = (
        table[within[first[table["user"]] + table["session"]]]
        for table in (run.records.impressions, run.records.requests)
    )
    records = Records(shown, requests, sessions[within])
    return run._replace(records=records, whole=whole_impressions(records))


def _last_waits(run: Run, n: int) -> Array:
    """Minutes of waiting at the end of sessions that no page came to, which no impression holds, (N,)."""
    sessions, shown = run.records.sessions, run.records.impressions
    dry = sessions[sessions["dry"] != 0]
    over = dry["open_us"].copy()
    if len(shown):
        last = (
            np.searchsorted(_numbered(shown), _numbered(dry), side="right") - 1
        )  # -1: the last of all, somebody else's
        ended = ended_us(shown)[last] + run.world.params["swipe_us"][0]
        over = np.where(_numbered(shown)[last] == _numbered(dry), ended, over)
    return np.asarray(np.bincount(dry["user"], np.maximum(dry["close_us"] - over, 0) / 6e7, minlength=n))


def _numbered(rows: Array) -> Array:
    """Person and session in one number that sorts as both do."""
    return np.asarray((rows["user"].astype(np.int64) << 32) | rows["session"])


def looked_at(sessions: Array, n: int, from_us: int, to_us: int) -> tuple[Array, Array]:
    """Minutes in the app of each person up to each look, (N, H) float32, and the first look that saw them, (N,)."""
    looks = max(1, min(MOST_LOOKS, -(-(to_us - from_us) // HOUR_US)))
    at = from_us + (np.arange(1, looks + 1) * ((to_us - from_us) / looks)).astype(np.int64)
    mine = sessions[(sessions["open_us"] >= from_us) & (sessions["open_us"] < to_us)]
    minutes, first = np.zeros((n, looks), np.float32), np.full(n, looks)
    np.minimum.at(first, mine["user"], np.searchsorted(at, mine["open_us"], side="right"))
    for k, now in enumerate(at):
        so_far = np.clip(np.minimum(mine["close_us"], now) - mine["open_us"], 0, None) / 6e7
        minutes[:, k] = np.bincount(mine["user"], so_far, minlength=n)
    return minutes, np.minimum(first, looks)


def segments_of(users: Array) -> dict[str, tuple[tuple[str, ...], Array]]:
    """What an analysis may tell people apart by: device, network, and how often they open the app, in thirds."""
    thirds = np.quantile(users["frequency"], (1 / 3, 2 / 3))
    return {
        "device": (TIERS, users["tier"].astype(np.int64)),
        "network": (("wifi", "cellular"), (users["link"] >= CELLULAR).astype(np.int64)),
        "activity": (("seldom", "usual", "often"), np.searchsorted(thirds, users["frequency"])),
    }
