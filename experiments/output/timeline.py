"""One person's session as a timeline, so that an engineer can see why a stall happened.

Five lanes: what is on the screen, whom the link works for, what happens to the pool, where each request is, when
decisions are asked for and ready. Written as Chrome trace events, which any trace viewer opens (ui.perfetto.dev,
chrome://tracing), or as lines of text. Everything comes from the run of one arm with that person traced; what a log
does not hold is asked of the model again (`lanes.py`). Called by `nextone timeline`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.provenance import arms_record, provenance
from nextone.experiments.runs.replication import run_arm
from nextone.policies.contract import PolicyLike, name_of
from nextone.sim.config import LINK_CLASSES, TIERS, Scenario
from nextone.sim.scenario import SettingError
from nextone.version import __version__

from .lanes import (
    LANES,
    Event,
    capacity_of,
    link_lane,
    outages_of,
    policy_lane,
    pool_lane,
    screen_lane,
    server_lane,
    session_of,
)


class Timeline(NamedTuple):
    """A session, ready to be shown."""

    about: dict[str, Any]
    open_us: int
    close_us: int
    events: list[Event]  # by lane, then time; a lane's stretches do not overlap but for parts within a request
    candidates: list[tuple[int, int]]  # (from when, how many are live)
    capacity_mbps: list[tuple[int, float]]  # (from when, the link's mean over a second)


def write_timeline(
    scenario: Scenario,
    user: int,
    seed: int,
    policy: str | PolicyLike,
    out: Path,
    *,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
) -> Path:
    """Write the session as Chrome trace-event JSON, whole or not at all. Raises SettingError as `make_timeline`."""
    made = make_timeline(scenario, user, seed, policy, minutes=minutes, days=days, session=session)
    text = json.dumps(chrome_trace(made), allow_nan=False, separators=(",", ":"))
    write_text(out, text)
    return out


def timeline_text(
    scenario: Scenario,
    user: int,
    seed: int,
    policy: str | PolicyLike,
    *,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
) -> str:
    """The same as lines of text: seconds since the app opened, lane, what, for how many seconds, details."""
    made = make_timeline(scenario, user, seed, policy, minutes=minutes, days=days, session=session)
    about = made.about
    lines = [
        f"user {about['user']} session {about['session']}, {about['policy']}, seed {about['seed']}: "
        f"{about['phone']} on {about['link']}, {_seconds(made.close_us - made.open_us)} s in the app",
        f"{'at s':>9} {'for s':>9}  {'lane':<7}what",
    ]
    whole = (event for event in made.events if event.kind != "part")  # a request's line says how long each part took
    for event in sorted(whole, key=lambda e: (e.start_us, LANES.index(e.lane), -e.end_us)):
        took = _seconds(event.end_us - event.start_us) if event.end_us > event.start_us else ""
        details = ", ".join(f"{name} {_word(value)}" for name, value in event.args.items() if value not in ("", None))
        line = f"{_seconds(event.start_us - made.open_us):>9} {took:>9}  {event.lane:<7}{event.name}"
        lines.append(f"{line}: {details}" if details else line)
    return "\n".join(lines) + "\n"


def make_timeline(
    scenario: Scenario,
    user: int,
    seed: int,
    policy: str | PolicyLike,
    *,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
) -> Timeline:
    """Run the arm (event driver, replication 0) and lay out what this person did in session number `session`.

    Raises SettingError if there is no such person, or no such session within the window."""
    if not 0 <= user < scenario.population.users:
        raise SettingError(f"user={user} must be >= 0 and < population.users={scenario.population.users}")
    run = run_arm(scenario, policy, seed=seed, replication=0, minutes=minutes, days=days, traced=user)
    s = session_of(run, user, session)
    open_us, close_us = int(s.row["open_us"]), int(s.row["close_us"])
    outages = outages_of(s)
    events = [*screen_lane(s), *link_lane(s, outages), *pool_lane(s), *server_lane(s, outages), *policy_lane(s)]
    events.sort(key=lambda e: (LANES.index(e.lane), e.start_us, -e.end_us))
    arm = Arm(str(policy), policy, run.scenario)
    about = {
        "user": user,
        "session": session,
        "policy": policy if isinstance(policy, str) else name_of(policy),
        "seed": seed,
        "phone": TIERS[int(s.link["tier"][0])] + (", software decoder" if s.link["software_decoder"][0] else ""),
        "link": LINK_CLASSES[int(s.link["link"][0])],
        "rtt_ms": int(s.link["rtt_level_us"][0]) / 1e3,
        "impressions": int(s.row["impressions"]),
        "ended_by": "window" if s.row["cut"] else "no page" if s.row["dry"] else "person",
        "window_us": run.window_us,
        "nextone": __version__,
        "scenario": arms_record([arm])[0]["scenario"],
        "provenance": provenance([arm], seed=seed, replications=1, minutes=minutes, days=days, engine="event"),
    }
    live = [(int(m["start_us"]), int(m["live"])) for m in s.moments]
    changes = [(t, n) for k, (t, n) in enumerate(live) if k == 0 or n != live[k - 1][1]]
    return Timeline(about, open_us, close_us, events, [*changes, (close_us, 0)], capacity_of(s))


def chrome_trace(made: Timeline) -> dict[str, Any]:
    """The timeline in the object form of Chrome's trace-event format; times are whole microseconds of the window."""
    about = made.about
    name = f"user {about['user']}, session {about['session']}: {about['policy']}, {about['phone']}, {about['link']}"
    rows: list[dict[str, Any]] = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": name}}]
    for tid, lane in enumerate(LANES, start=1):
        rows.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": lane}})
        rows.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})
    for event in made.events:
        row = {"pid": 1, "tid": LANES.index(event.lane) + 1, "ts": event.start_us, "cat": event.kind}
        row |= {"name": event.name, "args": event.args}
        instant = event.end_us == event.start_us
        rows.append(row | ({"ph": "i", "s": "t"} if instant else {"ph": "X", "dur": event.end_us - event.start_us}))
    rows += [
        {"ph": "C", "pid": 1, "ts": t, "name": "pool: live candidates", "args": {"candidates": n}}
        for t, n in made.candidates
    ]
    rows += [
        {"ph": "C", "pid": 1, "ts": t, "name": "link: capacity", "args": {"Mbit/s": mbps}}
        for t, mbps in made.capacity_mbps
    ]
    return {"traceEvents": rows + list(_flows(made.events)), "displayTimeUnit": "ms", "metadata": about}


def _flows(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Arrows from each decision, and from each request that was served, to the play it led to first."""
    plays = [event for event in events if event.lane == "screen" and event.kind == "play"]
    number = 0
    for event in events:
        if event.kind == "decision" and event.name == "decides" and event.end_us > event.start_us:
            after = [play for play in plays if play.start_us >= event.end_us]
        elif event.kind == "request" and event.name.endswith("served"):
            page = int(event.name.split(":")[0].split(",")[0].split()[1])
            after = [play for play in plays if play.args.get("page") == page]
        else:
            continue
        if after:
            number += 1
            arrow = {"pid": 1, "cat": event.kind, "name": event.kind, "id": number}
            yield arrow | {"ph": "s", "tid": LANES.index(event.lane) + 1, "ts": event.end_us - 1}
            yield arrow | {"ph": "f", "bp": "e", "tid": 1, "ts": after[0].start_us}


def _seconds(us: int) -> str:
    return f"{us // 1000 / 1e3:.3f}"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"
