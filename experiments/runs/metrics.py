"""Metrics: what is reported of a run, each defined once with its unit. All are functions of a run's records.

Impressions cut off by the window's end count for time, bytes and requests, but not for rates of what people did with a
video; sessions cut by it are left out of session length and counted. Called by `experiments/runs/replication.py`.
"""

from __future__ import annotations  # types of the compiled model are named without loading it

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.state import ASKED, COMPLETE, CUT, LONG, REFUSED, SKIP, STALE, TIMED_OUT, VALID, Array, World

if TYPE_CHECKING:
    from nextone.sim.event_run import ServerLedger
    from nextone.sim.records import Records


class Run(NamedTuple):
    """A finished run, as metrics see it."""

    scenario: Scenario
    world: World
    records: Records
    whole: Array  # impressions not cut by the window's end
    server: ServerLedger | None  # None: the batch driver has no server
    workers: int
    window_us: int


class Metric(NamedTuple):
    """One number of a run."""

    name: str
    unit: str
    group: str
    better: Literal["more", "fewer", "neither"]
    meaning: str
    of: Callable[[Run], float]


def _share(bit: int) -> Callable[[Run], float]:
    return lambda run: _mean((run.whole["outcome"] & bit) != 0)


def _feedback(kind: str) -> Callable[[Run], float]:
    bit = 1 << FEEDBACK.index(kind)
    return lambda run: _mean((run.whole["feedback"] & bit) != 0)


def _mean(x: Array) -> float:
    return float(np.mean(x)) if len(x) else float("nan")


def _quantile(x: Array, q: float) -> float:
    return float(np.quantile(x, q)) if len(x) else float("nan")


def _per_person(total: float, run: Run) -> float:
    return float(total) / len(run.world.users)


def _session_minutes(run: Run) -> float:
    done = run.records.sessions[run.records.sessions["cut"] == 0]
    return _mean((done["close_us"] - done["open_us"]) / 6e7)


def _tags_of_sessions(run: Run) -> Array:
    """Impressions by session and first tag, (S, D)."""
    shown = run.records.impressions
    session = np.unique(np.stack([shown["user"], shown["session"]]), axis=1, return_inverse=True)[1].ravel()
    counts = np.zeros((session.max(initial=-1) + 1, int(run.world.videos["tag"].max()) + 1))
    np.add.at(counts, (session, run.world.videos["tag"][shown["video"]]), 1)
    return counts


def _tag_entropy(run: Run) -> float:
    counts = _tags_of_sessions(run)
    p = counts / counts.sum(axis=1, keepdims=True)
    return _mean(-np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1))


def _stall_ratio(run: Run) -> float:
    shown = run.records.impressions
    play, stall = shown["play_us"].sum(), shown["stall_us"].sum()
    return float(stall / (play + stall)) if play + stall else float("nan")


def _utilisation(run: Run) -> float:
    return float("nan") if run.server is None else run.server.busy_us / (run.workers * run.window_us)


def _queue_p95(run: Run) -> float:
    asked = run.records.requests
    turned = asked["queue_us"][(asked["queue_us"] >= 0) & (asked["queue_us"] < 2**61)]
    return float("nan") if run.server is None else _quantile(turned, 0.95) / 1e3


def _ended(outcome: int) -> Callable[[Run], float]:
    return lambda run: _per_person(int(np.count_nonzero(run.records.requests["outcome"] == outcome)), run)


def _decisions_per_page(run: Run) -> float:
    pages = len(run.records.impressions) / run.scenario.server.page_size  # a page may be left halfway
    decisions = int(run.world.users["inferences"].sum()) or pages
    return decisions / pages if pages else float("nan")


def _stale(run: Run) -> float:
    asked = run.records.impressions
    return _mean((asked["outcome"][(asked["outcome"] & ASKED) != 0] & STALE) != 0)


METRICS: tuple[Metric, ...] = (
    Metric("watch_s", "s/person", "watching", "more", "seconds of play", lambda r: _per_person(
        r.records.impressions["play_us"].sum() / 1e6, r)),
    Metric("session_min", "min", "watching", "more", "session length, sessions that ended by themselves",
           _session_minutes),
    Metric("impressions", "/person", "watching", "more", "videos that took the screen", lambda r: _per_person(
        len(r.records.impressions), r)),
    Metric("valid_play", "share", "watching", "more", "played 7 s or to the end", _share(VALID)),
    Metric("long_view", "share", "watching", "more", "played 18 s or to the end", _share(LONG)),
    Metric("completion", "share", "watching", "more", "played .95 of the video or more", _share(COMPLETE)),
    Metric("skip_2s", "share", "watching", "fewer", "left within 2 s", _share(SKIP)),
    Metric("like", "share", "feedback", "more", "liked", _feedback("like")),
    Metric("follow", "share", "feedback", "more", "author followed", _feedback("follow")),
    Metric("comment", "share", "feedback", "more", "comment written", _feedback("comment")),
    Metric("forward", "share", "feedback", "more", "forwarded", _feedback("forward")),
    Metric("hate", "share", "feedback", "fewer", "marked 'not interested'", _feedback("hate")),
    Metric("tags", "/session", "diversity", "neither", "distinct tags shown in a session", lambda r: _mean(
        (_tags_of_sessions(r) > 0).sum(axis=1))),
    Metric("tag_entropy", "bits/session", "diversity", "neither", "entropy of its tags", _tag_entropy),
    Metric("startup_p50_ms", "ms", "phone", "fewer", "wait for the first frame, median", lambda r: _quantile(
        r.records.impressions["startup_us"], 0.5) / 1e3),
    Metric("startup_p95_ms", "ms", "phone", "fewer", "wait for the first frame, 95th percentile", lambda r: _quantile(
        r.records.impressions["startup_us"], 0.95) / 1e3),
    Metric("stall_ratio", "share", "phone", "fewer", "stalled time / (play + stalled time)", _stall_ratio),
    Metric("wait_s", "s/person", "phone", "fewer", "seconds without a page to show", lambda r: _per_person(
        r.world.users["ledger_us"][:, 4].sum() / 1e6, r)),
    Metric("waits", "share", "phone", "fewer", "impressions that had to wait for a page", lambda r: _mean(
        r.records.impressions["wait_us"] > 0)),
    Metric("inferences", "/person", "phone", "neither", "decisions computed on the phone", lambda r: _per_person(
        r.world.users["inferences"].sum(), r)),
    Metric("decisions_per_page", "/page", "phone", "neither",
           "orders computed on the phone per page_size impressions; 1, the cloud's, if none", _decisions_per_page),
    Metric("stale_picks", "share", "phone", "fewer", "picks whose ranking was not ready, of those asked for", _stale),
    Metric("requests", "/person", "server", "fewer", "requests sent, retries included", lambda r: _per_person(
        len(r.records.requests), r)),
    Metric("utilisation", "share", "server", "neither", "worker time used, of the window", _utilisation),
    Metric("queue_p95_ms", "ms", "server", "fewer", "wait for a worker, 95th percentile", _queue_p95),
    Metric("timeouts", "/person", "server", "fewer", "requests given up by the phone", _ended(TIMED_OUT)),
    Metric("refused", "/person", "server", "fewer", "requests refused, the queue being full", _ended(REFUSED)),
    Metric("data_mb", "MB/person", "link", "neither", "pages with their embeddings, and models", lambda r: _per_person(
        r.world.users["data_bytes"].sum() / 1e6, r)),
    Metric("delivered_mb", "MB/person", "link", "neither", "video bytes delivered", lambda r: _per_person(
        r.world.users["delivered"].sum() / 1e6, r)),
    Metric("wasted_mb", "MB/person", "link", "fewer", "delivered and never watched, cancelled ones included",
           lambda r: _per_person((r.world.users["wasted"] + r.world.users["cancelled"]).sum() / 1e6, r)),
    Metric("unseen", "/person", "link", "fewer", "videos shipped that expired, were replaced or never seen",
           lambda r: _per_person(sum(r.world.users[k].sum() for k in ("expired", "dropped", "unseen")), r)),
    Metric("expired", "/person", "link", "fewer", "videos that expired unseen", lambda r: _per_person(
        r.world.users["expired"].sum(), r)),
)  # fmt: skip


def metric_named(name: str) -> Metric:
    """The metric of that name; KeyError without one."""
    return {metric.name: metric for metric in METRICS}[name]


def measure(run: Run) -> dict[str, float]:
    """Every metric of a run; NaN where undefined."""
    return {metric.name: metric.of(run) for metric in METRICS}


def by_position(run: Run) -> Array:
    """(P, 2) int64 by position in the page: impressions not cut by the window's end, and valid plays among them.

    The last position holds those that were shown beyond the page, while the next one was still on its way, as well."""
    pages = run.scenario.server.page_size
    place = run.whole["position"].astype(np.int64)
    valid = (run.whole["outcome"] & VALID) != 0
    counts = (np.bincount(x, minlength=pages) for x in (place, place[valid]))
    return np.stack(tuple(counts), axis=-1).astype(np.int64)


def shares(positions: Array) -> Array:
    """Valid plays of impressions, from (..., 2) counts; NaN where there is no impression."""
    shown, valid = positions[..., 0], positions[..., 1]
    share: Array = np.divide(valid, shown, out=np.full(shown.shape, np.nan), where=shown > 0)
    return share


def whole_impressions(records: Records) -> Array:
    """Impressions that were not cut off by the window's end."""
    whole: Array = records.impressions[(records.impressions["outcome"] & CUT) == 0]
    return whole
