"""Metrics: what is reported of a run, each defined once with its unit. All are functions of a run's records.

One is primary, the time that people spend in the app; guard rails are what it must not be bought with. A share of
impressions says how good a shown video was, a rate per minute how much of it people got for their time: a better ranker
shows longer videos, which lowers rates per minute, and who skips much has high ones. So neither more nor less of a
rate per minute is better by itself.

Impressions cut off by the run's end count for time, bytes and requests, but not for rates of what people did with a
video; sessions cut by it are left out of session length. Called by `experiments/runs/replication.py`.
"""

from __future__ import annotations  # types of the compiled model are named without loading it

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nextone.sim.config import FEEDBACK, NEVER_US, Scenario
from nextone.sim.records import samples_arrive_us
from nextone.sim.state import (
    ASKED,
    COMPLETE,
    CUT,
    LONG,
    MISSED,
    REFUSED,
    SERVED,
    SKIP,
    STALE,
    TIMED_OUT,
    VALID,
    WAITING,
    Array,
    World,
)  # fmt: skip

if TYPE_CHECKING:
    from nextone.sim.event_run import ServerLedger
    from nextone.sim.records import Records

PRIMARY = "app_min"
"""The metric that comparisons and sweeps are about, unless one asks for another."""
GUARD_RAILS = "guard rails"
"""The group of metrics that a gain of the primary one must not be bought with."""


PRICES = ("requests", "workers", "wasted_mb", "data_mb", "queue_p95_ms")
"""What a gain may cost, besides guard rails."""
LIMITS = {"skip_2s": 2.0, "hate": 10.0, "tags": 5.0, "tag_entropy": 5.0, "author_repeats": 10.0, "startup_p95_ms": 10.0,
          "stall_ratio": 5.0, "wait_ratio": 5.0, "waits_per_min": 5.0}  # fmt: skip
"""By how many percent of the baseline a guard rail may become worse.

Assumed: what a product owner would let pass is theirs to say (`--limit NAME=PERCENT`); wider where a metric is rare, so
that the usual comparison can tell."""
WORSE_IF_FEWER = ("tags", "tag_entropy")  # of guard rails of which neither more nor less is better by itself
IN_WORDS = {
    PRIMARY: "time in the app", "watch_s": "watch time", "like": "likes", "skip_2s": "skips within 2 s",
    "hate": "'not interested'", "tags": "tags in a session", "tag_entropy": "variety of tags",
    "author_repeats": "repeated authors", "startup_p95_ms": "wait for the first frame (95th percentile)",
    "stall_ratio": "stalled time", "wait_ratio": "time waiting for a page", "waits_per_min": "waits for a page",
    "requests": "requests", "workers": "servers", "wasted_mb": "bytes delivered and never watched",
    "data_mb": "bytes of pages and models", "queue_p95_ms": "wait for a server (95th percentile)",
}  # fmt: skip


class Run(NamedTuple):
    """A finished run, as metrics see it."""

    scenario: Scenario
    world: World
    records: Records
    whole: Array  # impressions not cut by the run's end
    server: ServerLedger | None  # None: the batch driver has no server
    workers: int
    window_us: int  # in which people open the app; of a window of minutes they are followed beyond its end


class Metric(NamedTuple):
    """One number of a run."""

    name: str
    unit: str
    group: str
    better: Literal["more", "fewer", "neither"]
    meaning: str
    of: Callable[[Run], float]


def _app_minutes(run: Run) -> float:
    return float(run.world.users["wall_us"].sum() / 6e7)


def did(run: Run, bit: int) -> Array:
    return np.asarray((run.whole["outcome"] & bit) != 0)


def gave(run: Run, kind: str) -> Array:
    return np.asarray((run.whole["feedback"] & (1 << FEEDBACK.index(kind))) != 0)


def _share(bit: int) -> Callable[[Run], float]:
    return lambda run: _mean(did(run, bit))


def _feedback(kind: str) -> Callable[[Run], float]:
    return lambda run: _mean(gave(run, kind))


def _per_minute(marked: Array, run: Run) -> float:
    minutes = _app_minutes(run)
    return np.count_nonzero(marked) / minutes if minutes else float("nan")


def _mean(x: Array) -> float:
    return float(np.mean(x)) if len(x) else float("nan")


def _quantile(x: Array, q: float) -> float:
    return float(np.quantile(x, q)) if len(x) else float("nan")


def _per_person(total: float, run: Run) -> float:
    return float(total) / len(run.world.users)


def _session_minutes(run: Run) -> float:
    done = run.records.sessions[run.records.sessions["cut"] == 0]
    return _mean((done["close_us"] - done["open_us"]) / 6e7)


def sessions_shown(impressions: Array) -> tuple[Array, Array]:
    """Person and number of each session that has an impression, (2, S), and which of them each impression is in; of
    impressions in the order of people and their lives, as `Records` has them."""
    user, session = impressions["user"], impressions["session"]
    begins = np.ones(len(user), np.bool_)
    begins[1:] = (user[1:] != user[:-1]) | (session[1:] != session[:-1])
    return np.stack([user[begins], session[begins]]), np.cumsum(begins) - 1


def tags_of_sessions(run: Run) -> Array:
    """Impressions by session and first tag, (S, D), in the order of `sessions_shown`."""
    shown = run.records.impressions
    sessions, which = sessions_shown(shown)
    many, tags = sessions.shape[1], int(run.world.videos["tag"].max()) + 1
    counts = np.bincount(which * tags + run.world.videos["tag"][shown["video"]], minlength=many * tags)
    return counts.reshape(many, tags).astype(np.float64)


def entropy_of_sessions(run: Run) -> Array:
    """Of the tags of each session, bits, (S,)."""
    counts = tags_of_sessions(run)
    p = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(-np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=1))


def repeats_of_sessions(run: Run) -> Array:
    """Of each session's impressions, the share whose author it had shown before, (S,)."""
    shown = run.records.impressions
    which, authors = sessions_shown(shown)[1], int(run.world.videos["author"].max()) + 1
    met = np.unique(which * authors + run.world.videos["author"][shown["video"]])  # each author of each session once
    return np.asarray(1 - np.bincount(met // authors) / np.bincount(which))


def _stall_ratio(run: Run) -> float:
    shown = run.records.impressions
    play, stall = shown["play_us"].sum(), shown["stall_us"].sum()
    return float(stall / (play + stall)) if play + stall else float("nan")


def _wait_ratio(run: Run) -> float:
    minutes = _app_minutes(run)
    return float(run.world.users["ledger_us"][:, WAITING].sum() / 6e7 / minutes) if minutes else float("nan")


def _loaded(run: Run) -> tuple[int, int]:
    """The span in which load is measured, us: from the end of the warm-up to that of the window. Before, the app fills
    with people; later nobody opens it any more."""
    warm_up_us = round(run.scenario.sessions.warm_up_min * 60e6)
    return min(warm_up_us, run.window_us // 2), run.window_us


def _got_worker(requests: Array) -> Array:
    return requests[(requests["queue_us"] >= 0) & (requests["queue_us"] < NEVER_US)]


def _within(requests: Array, field: str, run: Run) -> Array:
    start, end = _loaded(run)
    return requests[(requests[field] >= start) & (requests[field] < end)]


def _utilisation(run: Run) -> float:
    if run.server is None:
        return float("nan")
    start, end = _loaded(run)
    served = _got_worker(run.records.requests)
    begins = served["arrived_us"] + served["queue_us"]
    held = np.minimum(begins + served["service_us"], end) - np.maximum(begins, start)
    return float(np.maximum(held, 0).sum()) / (run.workers * (end - start))


def _queue_p95(run: Run) -> float:
    served = _within(_got_worker(run.records.requests), "arrived_us", run)
    return float("nan") if run.server is None else _quantile(served["queue_us"], 0.95) / 1e3


def _ended(outcome: int) -> Callable[[Run], float]:
    return lambda run: _mean(_within(run.records.requests, "sent_us", run)["outcome"] == outcome)


def _decisions_per_page(run: Run) -> float:
    pages = len(run.records.impressions) / run.scenario.server.page_size  # a page may be left halfway
    decisions = int(run.world.users["inferences"].sum()) or pages
    return decisions / pages if pages else float("nan")


def _stale(run: Run) -> float:
    asked = run.records.impressions
    return _mean((asked["outcome"][(asked["outcome"] & ASKED) != 0] & STALE) != 0)


def _missed(run: Run) -> float:
    served = run.records.requests[run.records.requests["outcome"] == SERVED]
    return _mean(served["model"] == MISSED)


def _sent_up(run: Run) -> tuple[int, int]:
    """Bytes that went up of all impressions, and those that raw events would have taken beyond them."""
    client, shown = run.scenario.client, len(run.records.impressions)
    of_each = client.sample_bytes if run.world.params["edge"][0] else client.event_bytes
    return shown * of_each, shown * (client.event_bytes - of_each)


def _samples(run: Run) -> float:
    """Of the impressions that were not cut, those whose sample was there when the last person had left."""
    return _mean(samples_arrive_us(run.world, run.whole) <= run.world.users["now_us"].max())


METRICS: tuple[Metric, ...] = (
    Metric(PRIMARY, "min/person", "watching", "more", "minutes in the app, from opening to leaving", lambda r:
           _per_person(_app_minutes(r), r)),
    Metric("valid_play", "share", "watching", "more", "played 7 s or to the end", _share(VALID)),
    Metric("long_view", "share", "watching", "more", "played 18 s or to the end", _share(LONG)),
    Metric("valid_play_per_min", "/min", "watching", "neither", "valid plays per minute in the app", lambda r:
           _per_minute(did(r, VALID), r)),
    Metric("long_view_per_min", "/min", "watching", "neither", "long views per minute in the app", lambda r:
           _per_minute(did(r, LONG), r)),
    Metric("completion", "share", "watching", "more", "played .95 of the video or more", _share(COMPLETE)),
    Metric("watch_s", "s/person", "watching", "more", "seconds of play", lambda r: _per_person(
        r.records.impressions["play_us"].sum() / 1e6, r)),
    Metric("session_min", "min", "watching", "more", "session length, sessions that ended by themselves",
           _session_minutes),
    Metric("impressions", "/person", "watching", "neither", "videos that took the screen; who skips sees more",
           lambda r: _per_person(len(r.records.impressions), r)),
    Metric("like", "share", "feedback", "more", "liked", _feedback("like")),
    Metric("like_per_min", "/min", "feedback", "neither", "likes per minute in the app", lambda r: _per_minute(
        gave(r, "like"), r)),
    Metric("follow", "share", "feedback", "more", "author followed", _feedback("follow")),
    Metric("comment", "share", "feedback", "more", "comment written", _feedback("comment")),
    Metric("forward", "share", "feedback", "more", "forwarded", _feedback("forward")),
    Metric("skip_2s", "share", GUARD_RAILS, "fewer", "left within 2 s", _share(SKIP)),
    Metric("hate", "share", GUARD_RAILS, "fewer", "marked 'not interested'", _feedback("hate")),
    Metric("tags", "/session", GUARD_RAILS, "neither", "distinct tags shown in a session", lambda r: _mean(
        (tags_of_sessions(r) > 0).sum(axis=1))),
    Metric("tag_entropy", "bits/session", GUARD_RAILS, "neither",
           "entropy of its tags: a large fall is a feed that narrows, a rise may be mere chance", lambda r:
           _mean(entropy_of_sessions(r))),
    Metric("author_repeats", "share", GUARD_RAILS, "neither",
           "impressions whose author the session had shown before; a large rise is a feed that narrows",
           lambda r: _mean(repeats_of_sessions(r))),
    Metric("startup_p95_ms", "ms", GUARD_RAILS, "fewer", "wait for the first frame, 95th percentile", lambda r:
           _quantile(r.records.impressions["startup_us"], 0.95) / 1e3),
    Metric("stall_ratio", "share", GUARD_RAILS, "fewer", "stalled time / (play + stalled time)", _stall_ratio),
    Metric("wait_ratio", "share", GUARD_RAILS, "fewer", "time without a page to show, of the time in the app",
           _wait_ratio),
    Metric("waits_per_min", "/min", GUARD_RAILS, "fewer", "waits for a page, the first included, per minute in the app",
           lambda r: _per_minute(r.records.impressions["wait_us"] > 0, r)),
    Metric("startup_p50_ms", "ms", "phone", "fewer", "wait for the first frame, median", lambda r: _quantile(
        r.records.impressions["startup_us"], 0.5) / 1e3),
    Metric("inferences", "/person", "phone", "neither", "decisions computed on the phone", lambda r: _per_person(
        r.world.users["inferences"].sum(), r)),
    Metric("decisions_per_page", "/page", "phone", "neither",
           "orders computed on the phone per page_size impressions; 1, the cloud's, if none", _decisions_per_page),
    Metric("stale_picks", "share", "phone", "fewer", "picks whose ranking was not ready, of those asked for", _stale),
    Metric("embedding_misses", "share", "phone", "fewer", "pages without the embeddings that a phone would rank by",
           _missed),
    Metric("requests", "/person", "server", "fewer", "requests sent, retries included", lambda r: _per_person(
        len(r.records.requests), r)),
    Metric("utilisation", "share", "server", "neither", "worker time used, after the warm-up and in the window",
           _utilisation),
    Metric("workers", "/1,000 people", "server", "fewer", "requests that the servers can work on at once", lambda r:
           float("nan") if r.server is None else 1e3 * r.workers / len(r.world.users)),
    Metric("queue_p95_ms", "ms", "server", "fewer", "wait for a worker in the same span, 95th percentile", _queue_p95),
    Metric("timeout_rate", "share", "server", "fewer", "requests given up by the phone, of those sent in the same span",
           _ended(TIMED_OUT)),
    Metric("refusal_rate", "share", "server", "fewer", "requests that found the queue full, of the same",
           _ended(REFUSED)),
    Metric("data_mb", "MB/person", "link", "neither", "pages with their embeddings, and models", lambda r: _per_person(
        r.world.users["data_bytes"].sum() / 1e6, r)),
    Metric("uplink_mb", "MB/person", "link", "neither",
           "sent up: samples that the phone joined where it ranks, else raw events", lambda r: _per_person(
               _sent_up(r)[0] / 1e6, r)),
    Metric("uplink_saved_mb", "MB/person", "link", "neither", "raw events not sent up, less the samples sent instead",
           lambda r: _per_person(_sent_up(r)[1] / 1e6, r)),
    Metric("samples", "share", "link", "more", "impressions whose sample is in the cloud by the end of the run",
           _samples),
    Metric("delivered_mb", "MB/person", "link", "neither", "video bytes delivered", lambda r: _per_person(
        r.world.users["delivered"].sum() / 1e6, r)),
    Metric("wasted_mb", "MB/person", "link", "fewer", "delivered and never watched, cancelled ones included",
           lambda r: _per_person((r.world.users["wasted"] + r.world.users["cancelled"]).sum() / 1e6, r)),
    Metric("unseen", "/person", "link", "fewer", "videos shipped that expired, were replaced or never seen",
           lambda r: _per_person(sum(r.world.users[k].sum() for k in ("expired", "dropped", "unseen")), r)),
    Metric("expired", "/person", "link", "fewer", "videos that expired unseen", lambda r: _per_person(
        r.world.users["expired"].sum(), r)),
)  # fmt: skip


MOST_USED, MOST_GIVEN_UP = 0.9, 0.01
OVERLOADED = "‡"
OVERLOAD = f"{OVERLOADED} overloaded: workers used over .9 of the time, or over 1 % of requests given up"


def overloaded(utilisation: float, timeout_rate: float) -> bool:
    """Whether servers drown, and with them what is measured; never where there are none (NaN)."""
    return utilisation > MOST_USED or (not math.isnan(utilisation) and timeout_rate > MOST_GIVEN_UP)


def drowned(values: Array) -> bool:
    """`overloaded`, by the means over replications. values: (replications, metrics), in the order of METRICS."""
    return overloaded(*(float(values[:, column_of(name)].mean()) for name in ("utilisation", "timeout_rate")))


def overload_mark(overloaded: bool) -> str:
    """The mark behind the name or a number of an arm whose servers drown; empty for others."""
    return f" {OVERLOADED}" * overloaded


def without_people(values: Array) -> Array:
    """In which replications nobody opened the app, (..., R) from (..., R, metrics)."""
    return np.asarray(values[..., column_of(PRIMARY)] == 0)


def nobody_words(without: int, of: int, window: str) -> str:
    """What to say where nobody opened the app in some of the replications; empty where somebody did in all."""
    if not without:
        return ""
    where = "" if without == of else f" in {without} of {of} replications"
    return f"Nobody opened the app in the window of {window}{where}: give a longer window, or more people."


def column_of(name: str) -> int:
    """The place of a metric in METRICS; KeyError without one of that name."""
    known = [metric.name for metric in METRICS]
    if name not in known:
        raise KeyError(f"no metric {name!r}; known: {', '.join(known)}")
    return known.index(name)


def metric_named(name: str) -> Metric:
    """The metric of that name; KeyError without one."""
    return {metric.name: metric for metric in METRICS}[name]


def check_metrics(names: Collection[str]) -> None:
    """Raises ValueError if a metric is missing among names that a file has."""
    missing = [metric.name for metric in METRICS if metric.name not in names]
    if missing:
        raise ValueError(f"it lacks the metric {missing[0]}")


def measure(run: Run) -> dict[str, float]:
    """Every metric of a run; NaN where undefined."""
    return {metric.name: metric.of(run) for metric in METRICS}


def by_position(run: Run) -> Array:
    """(P, 2) int64 by position in the page: impressions that the run's end did not cut, and valid plays among them.

    The last position also holds impressions beyond the page, shown while the next one was on its way."""
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
    """Impressions that were not cut off by the run's end."""
    cut = (records.impressions["outcome"] & CUT) != 0
    return records.impressions.take(np.flatnonzero(~cut)) if cut.any() else records.impressions
