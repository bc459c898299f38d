"""The five lanes of a timeline: what the rows of one traced person say of screen, link, pool, servers and policy.

What a log does not hold (outages, capacity) is asked of the model again, under the same keys. Called by `timeline.py`.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nextone.experiments.runs.metrics import Run
from nextone.experiments.runs.run_logs import feedback_names, outcome_names
from nextone.sim.network import draw_outage, join_link, link_bytes
from nextone.sim.scenario import SettingError
from nextone.sim.state import (
    ASKED,
    BACKOFF,
    DECODING,
    FROM_WAITING,
    LOST,
    MISSING,
    MODEL,
    NOBODY,
    PAYLOAD,
    PHASES,
    PICKING,
    PLAYING,
    READY,
    REQUEST_OUTCOMES,
    SCREEN,
    SERVED,
    STALE,
    STARTING,
    SWIPING,
    Array,
)

LANES = ("screen", "link", "pool", "server", "policy")
SECOND_US = 1_000_000


class Event(NamedTuple):
    """Something in a lane: a stretch of time, or an instant if it ends where it starts. Times are microseconds of the
    window."""

    lane: str
    start_us: int
    end_us: int
    kind: str  # which sort of thing it is; lane and kind add up
    name: str
    args: dict[str, Any]


class Session(NamedTuple):
    """The rows of one session of the traced person."""

    run: Run
    row: Array  # () sessions
    moments: Array
    delivered: Array  # (M,) int64: bytes so far in this life at the end of each moment
    impressions: Array
    requests: Array
    link: Array  # (1,) state.USER: the person as the session found its link


def session_of(run: Run, user: int, session: int) -> Session:
    """The rows of a person's session. Raises SettingError if there is no such session, or too much of it to trace."""
    records, world = run.records, run.world
    mine = records.sessions[records.sessions["user"] == user]
    window = f"{run.window_us / 60e6:g} min"
    if not len(mine):
        raise SettingError(f"user {user} did not open the app within {window}; choose another user or a longer window")
    if not 0 <= session < len(mine):
        raise SettingError(
            f"session={session} must be >= 0 and < {len(mine)}, the times user {user} opened the app within {window}"
        )
    row = mine[session]
    moments = world.moments[: world.traced[1]]
    delivered = np.append(moments["delivered"][1:], world.users["delivered"][user])
    inside = (moments["start_us"] >= row["open_us"]) & (moments["end_us"] <= row["close_us"])
    moments, delivered = moments[inside], delivered[inside]
    if np.sum(moments["end_us"] - moments["start_us"]) != row["close_us"] - row["open_us"]:
        raise SettingError(
            f"user {user} has more than {len(world.moments):,} moments until session {session} ends, too many to "
            "trace; choose an earlier session or a shorter window"
        )
    impressions, requests = (
        table[(table["user"] == user) & (table["session"] == session)]
        for table in (records.impressions, records.requests)
    )
    link = world.users[user : user + 1].copy()
    link["session"], link["now_us"] = session, row["open_us"]
    join_link(
        world.params[0], world.key[user], link[0], world.knots, world.trace_first, world.trace_mean_bps,
        world.link_traces, world.link_levels, world.rtt, int(row["open_us"]),
    )  # fmt: skip
    return Session(run, row, moments, delivered, impressions, requests, link)


def outages_of(s: Session) -> list[tuple[int, int]]:
    """Spells without network during the session: the same keyed draws as in the run."""
    person, spells = s.link.copy(), []
    while person["outage_start_us"][0] < s.row["close_us"]:
        spells.append((int(person["outage_start_us"][0]), int(min(person["outage_end_us"][0], s.row["close_us"]))))
        person["outage"] += 1
        draw_outage(s.run.world.params[0], s.run.world.key[s.row["user"]], person[0], int(person["outage_end_us"][0]))
    return spells


def capacity_of(s: Session) -> list[tuple[int, float]]:
    """The capacity of the link, a mean for each second of the session, Mbit/s; outages are not in it."""
    open_us, close_us = int(s.row["open_us"]), int(s.row["close_us"])
    edges = [*range(open_us, close_us, SECOND_US), close_us]
    carried = [int(link_bytes(s.link[0], s.run.world.knots, t)) for t in edges]
    means = [
        (start, round((after - before) * 8 / (end - start), 3))  # bytes per microsecond times 8: Mbit/s
        for (start, end), (before, after) in zip(pairwise(edges), pairwise(carried), strict=True)
    ]
    return [(t, mbps) for k, (t, mbps) in enumerate(means) if k == 0 or mbps != means[k - 1][1]]


def screen_lane(s: Session) -> Iterator[Event]:
    """What the person does, and with which video."""
    impression, told = _impression_at(s), -1
    for a, b in _merged(s.moments, s.moments["phase"], impression):
        phase, shown = int(s.moments["phase"][a]), int(impression[a])
        kind = PHASES[STARTING if phase in (PICKING, DECODING) else phase]
        detail = {PICKING: " (inference)", DECODING: " (decoder)", STARTING: " (first bytes)"}.get(phase, "")
        row = s.impressions[shown] if shown < len(s.impressions) else None
        video = f" {row['video']}" if row is not None and s.moments["screen"][a] >= 0 else ""
        args = {} if row is None else {"impression": int(row["impression"])}
        if row is not None and phase == PLAYING and told != shown:  # all about it where play begins
            args, told = args | _about_impression(s, row), shown
        yield _event(s, "screen", a, b, kind, kind + detail + video, args)


def _about_impression(s: Session, row: Array) -> dict[str, Any]:
    video = s.run.world.videos[row["video"]]
    return {
        "video": int(row["video"]),
        "duration_s": video["duration_us"] / 1e6,
        "watched_s": row["play_us"] / 1e6,
        "outcome": " ".join(outcome_names(int(row["outcome"]) & ~ASKED)),
        "feedback": " ".join(feedback_names(int(row["feedback"]))),
        "tag": int(video["tag"]),
        "page": int(row["request"]),
        "position": int(row["position"]),
        "rank": int(row["rank"]),
        "live": int(row["live"]),
        "preloaded_bytes": int(row["buffered"]),
        "bitrate_mbps": row["bitrate_bps"] / 1e6,
        "stalls": int(row["stalls"]),
    }


def link_lane(s: Session, outages: list[tuple[int, int]]) -> Iterator[Event]:
    """Whom the link works for, how many bytes come, and spells without network."""
    m, impression = s.moments, _impression_at(s)
    for a, b in _merged(m, m["fetching"], m["video"], np.where(m["fetching"] == SCREEN, impression, 0)):
        fetching, video = int(m["fetching"][a]), int(m["video"][a])
        got = int(s.delivered[b - 1] - m["delivered"][a])
        if fetching == SCREEN:
            of = int(s.impressions["total_bytes"][impression[a]])
            yield _event(s, "link", a, b, "screen", f"screen {video}", {"bytes": got, "of": of})
        elif fetching == PAYLOAD:
            yield _event(s, "link", a, b, "payload", "payload", _payload(s, a))
        elif fetching == MODEL:
            yield _event(s, "link", a, b, "model", "model", {})
        elif fetching != NOBODY:
            later = s.impressions[(s.impressions["video"] == video) & (s.impressions["start_us"] >= m["end_us"][b - 1])]
            place = f"waiting page's {fetching - FROM_WAITING}" if fetching >= FROM_WAITING else f"slot {fetching}"
            args = {"bytes": got, "for": place, "then": "" if len(later) else "never shown"}
            yield _event(s, "link", a, b, "preload", f"preload {video}", args)
    for start, end in outages:
        yield Event("link", start, end, "outage", "no network", {})


def _payload(s: Session, a: int) -> dict[str, Any]:
    """The number of the request whose response flows at moment a, and that response's bytes."""
    p, row = s.run.world.params[0], s.requests[s.requests["sent_us"] <= s.moments["start_us"][a]][-1]
    per_video = p["item_bytes"] + p["embedding_bytes"] * _asked_to_rank(p, row)
    return {"page": int(row["request"]), "bytes": int(per_video * _shipped(p, row))}


def _shipped(p: Array, request: Array) -> int:
    """Videos of a whole response, from a catalogue that has enough."""
    return int((p["candidates"] if _asked_to_rank(p, request) else p["page_size"]) + p["refill_at"])


def _asked_to_rank(p: Array, request: Array) -> bool:
    """Whether the phone that asked ranks."""
    return bool(p["edge"] and request["model"] < MISSING)


def pool_lane(s: Session) -> Iterator[Event]:
    """Pages that land and take over, and candidates that go unseen. What the log does not hold follows from how many
    candidates are live before and after."""
    p, m = s.run.world.params[0], s.moments
    landed = s.requests[s.requests["outcome"] == SERVED]
    for row in landed:
        asked = ", asked for by the policy" if row["refresh"] else ""
        yield _instant("pool", int(row["ended_us"]), "landed", f"page {row['request']} landed{asked}", {})
    takeovers = {}
    for row in landed:
        k = int(np.searchsorted(m["start_us"], row["ended_us"]))
        while k < len(m) and m["request_state"][k] == READY:
            k += 1
        if k < len(m):
            takeovers[int(m["start_us"][k])] = row
    live = [0, *m["live"].tolist()]  # nothing before the app opens
    for k, start in enumerate(m["start_us"].tolist()):
        shown = int(np.count_nonzero(s.impressions["start_us"] == start))
        row = takeovers.get(start)
        gone = live[k] - live[k + 1] - shown
        if row is None:
            if gone > 0:
                yield _instant("pool", start, "expired", f"{gone} expired", {"live": live[k + 1]})
            continue
        gone = max(gone + _shipped(p, row), 0)  # of the pool, and of the page what was shown meanwhile
        why = "expired or dropped" if p["ttl_impressions"] < 2**62 else "dropped"
        counts = {why: gone}
        if not shown and start != row["ended_us"]:  # the TTL fired
            counts = {"expired": live[k], "dropped": gone - live[k]}
        name = f"page {row['request']} {'joins' if p['merge'] and not row['refresh'] else 'takes over'}"
        yield _instant("pool", start, "takeover", name, counts | {"live": live[k + 1]})


def server_lane(s: Session, outages: list[tuple[int, int]]) -> Iterator[Event]:
    """Each attempt, and within it where the request was: on its way, in the queue, at a worker, in the chain, coming
    back."""
    m, chain_us = s.moments, int(s.run.world.params["chain_us"][0])
    for row in s.requests:
        sent, ended, queue = int(row["sent_us"]), int(row["ended_us"]), int(row["queue_us"])
        at = int(np.searchsorted(m["start_us"], sent))
        lost = at < len(m) and m["start_us"][at] == sent and m["request_state"][at] == LOST
        outcome = "lost on its way" if lost else REQUEST_OUTCOMES[row["outcome"]].replace("_", " ")
        attempt = f", attempt {row['attempt'] + 1}" if row["attempt"] else ""
        name = f"request {row['request']}{attempt}: {outcome}"
        parts = [] if lost else _parts(row, queue, chain_us)
        whole = {part: round((end - start) / 1e3, 3) for part, start, end in parts if end < 2**61}
        yield Event("server", sent, ended, "request", name, {f"{part}_ms": ms for part, ms in whole.items()})
        for part, start, end in parts:
            if min(end, ended) > start:
                yield Event("server", start, min(end, ended), "part", part, {})
    for a, b in _merged(m, m["request_state"] == BACKOFF):
        if m["request_state"][a] == BACKOFF:
            offline = any(start <= m["start_us"][a] < end for start, end in outages)
            yield _event(s, "server", a, b, "backoff", "waits for network" if offline else "backs off", {})


def _parts(row: Array, queue_us: int, chain_us: int) -> list[tuple[str, int, int]]:
    """(what, from, to) along a request's way; ends may lie beyond the moment the phone gave up."""
    sent, arrived, response, ended = (int(row[name]) for name in ("sent_us", "arrived_us", "response_us", "ended_us"))
    if queue_us < 0:
        return [("up", sent, arrived), ("refused", arrived, response)]
    turn = min(arrived + queue_us, 2**62)
    if turn == 2**62:
        return [("up", sent, arrived), ("queue", arrived, turn)]
    served = turn + int(row["service_us"])
    back = served + chain_us
    way = [("up", sent, arrived), ("queue", arrived, turn), ("service", turn, served), ("chain", served, back)]
    return [*way, ("down", back, response), ("payload", response, max(ended, response))]


def policy_lane(s: Session) -> Iterator[Event]:
    """Each decision, from the question to the ranking. A pick is stale if its video starts before the ranking is ready.
    A decision that takes no time is an instant."""
    m, start_us = s.moments, s.impressions["start_us"]
    busy = m["ranking"] != 0
    before = np.concatenate([[-1], m["phase"][:-1]])
    lifted = ((m["phase"] == SWIPING) | (m["phase"] == PICKING)) & (before != m["phase"])
    first_frame = (m["phase"] == PLAYING) & ((before != PLAYING) | np.isin(m["start_us"], start_us))
    asked_now = first_frame if s.run.world.params["decide_at_start"][0] else lifted
    asked_now |= (m["phase"] == PICKING) & (before != PICKING)
    covered: set[int] = set()
    for a, b in _merged(m, busy, np.cumsum(asked_now & busy)):
        if not busy[a]:
            continue
        asked, ready = int(m["start_us"][a]), int(m["end_us"][b - 1])
        covered.add(asked)
        early = s.impressions[(start_us >= asked) & (start_us < ready) & (s.impressions["outcome"] & STALE != 0)]
        args: dict[str, Any] = {"live": int(m["live"][a])}
        if len(early):
            args["too_late_for_video"] = int(early["video"][0])
        elif b < len(m) and busy[b]:
            args["then"] = "asked anew"
        yield _event(s, "policy", a, b, "decision", "stale" if len(early) else "decides", args)
    for row in s.impressions[(s.impressions["outcome"] & ASKED) != 0]:
        asked = _asked_us(s, row)
        if asked not in covered and not busy[min(np.searchsorted(m["start_us"], asked), len(m) - 1)]:
            yield _instant("policy", asked, "decision", "decides", {"live": int(row["live"])})


def _asked_us(s: Session, row: Array) -> int:
    """When the decision that this impression's log speaks of was asked for."""
    if s.run.world.params["decide_at_start"][0] and not row["pick_us"]:
        return int(row["start_us"] + row["startup_us"])
    return int(row["start_us"] - (row["pick_us"] if row["wait_us"] else row["swipe_us"]))


def _merged(moments: Array, *labels: Array) -> Iterator[tuple[int, int]]:
    """Runs [first, after) of moments that follow on each other and share their labels."""
    if not len(moments):
        return
    breaks = moments["start_us"][1:] != moments["end_us"][:-1]
    for label in labels:
        breaks |= label[1:] != label[:-1]
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(moments)]
    yield from pairwise(edges)


def _impression_at(s: Session) -> Array:
    """For each moment, the index of the impression it belongs to, as in the log: a swipe, a wait and a pick belong to
    the one that follows; len(impressions) if none does."""
    on_screen = np.searchsorted(s.impressions["start_us"], s.moments["start_us"], side="right") - 1
    return np.where(s.moments["screen"] >= 0, on_screen, on_screen + 1)


def _event(s: Session, lane: str, a: int, b: int, kind: str, name: str, args: dict[str, Any]) -> Event:
    return Event(lane, int(s.moments["start_us"][a]), int(s.moments["end_us"][b - 1]), kind, name, args)


def _instant(lane: str, at_us: int, kind: str, name: str, args: dict[str, Any]) -> Event:
    return Event(lane, at_us, at_us, kind, name, args)
