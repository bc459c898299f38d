"""One person's session as a timeline, so that an engineer can see why a stall happened.

Five lanes: what is on the screen, whom the link works for, what happens to the pool, where each request is, when
decisions are asked for and ready. Written as Chrome trace events, which any trace viewer opens (ui.perfetto.dev,
chrome://tracing), or as lines of text. Everything comes from the run of one arm with that person traced; what a log
does not hold is asked of the model again (`lanes.py`). Called by `nextone timeline`.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nextone.experiments.runs.arms import Arm, Engine
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.metrics import Run
from nextone.experiments.runs.provenance import arms_record, provenance
from nextone.experiments.runs.replication import run_arm
from nextone.policies.contract import PolicyLike, name_of
from nextone.sim.config import LINK_CLASSES, TIERS, Scenario
from nextone.sim.scenario import SettingError
from nextone.version import __version__

from .drawing import bare, drawn, palette
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMELINE = "timeline.json"  # the usual name of its file
COUNTERS = {"pool: live candidates": "candidates", "link: capacity": "Mbit/s"}
"""What is counted over time in a trace, and its unit."""
LONG_ENOUGH, READABLE = 20, 100  # videos: pages are used up and refilled; all of it is still looked through
FIRST_FEW = 50  # people that are tried


class Timeline(NamedTuple):
    """A session in the form in which it is shown."""

    about: dict[str, Any]
    open_us: int
    close_us: int
    events: list[Event]  # by lane, then time; a lane's stretches do not overlap but for parts within a request
    candidates: list[tuple[int, int]]  # (from when, how many are live)
    capacity_mbps: list[tuple[int, float]]  # (from when, the link's mean over a second)


class Traced(NamedTuple):
    """A session and the run to which it belongs."""

    timeline: Timeline
    run: Run


def write_timeline(made: Timeline, out: Path | str) -> Path:
    """Write the session as Chrome trace-event JSON, whole or not at all."""
    write_text(out, json.dumps(chrome_trace(made), allow_nan=False, separators=(",", ":")))
    return Path(out)


def read_timeline(file: Path | str) -> Timeline:
    """The timeline that `write_timeline` wrote. Raises SettingError if the file is none, or one that this version
    cannot read."""
    try:
        told = json.loads(Path(file).read_text(encoding="utf-8"))
        about, rows = told["metadata"], told["traceEvents"]
        open_us, close_us = int(about.pop("open_us")), int(about.pop("close_us"))
        events = [
            Event(LANES[row["tid"] - 1], row["ts"], row["ts"] + row.get("dur", 0), row["cat"], row["name"], row["args"])
            for row in rows if row["ph"] in "Xi"
        ]  # fmt: skip
        candidates, capacity = (
            [(row["ts"], row["args"][unit]) for row in rows if row["ph"] == "C" and row["name"] == name]
            for name, unit in COUNTERS.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)[:80]
        raise SettingError(
            f"{str(file)!r} is no timeline that nextone {__version__} can read ({reason}); write it again with nextone "
            "timeline"
        ) from None
    return Timeline(about, open_us, close_us, events, candidates, capacity)


def timeline_sentence(made: Timeline) -> str:
    """Who saw how much, and how long they waited for it."""
    about, us = made.about, Counter[str]()
    for event in made.events:
        if event.lane == "screen":
            us[event.kind] += event.end_us - event.start_us
    minutes = (made.close_us - made.open_us) / 60e6
    return (
        f"User {about['user']} saw {about['impressions']} videos in {minutes:.1f} minutes under {about['policy']} "
        f"({about['phone']} on {about['link']}), and waited {_seconds(us['wait'])} s for pages, "
        f"{_seconds(us['startup'])} s for first frames and {_seconds(us['stall'])} s in stalls."
    )


def timeline_figure(made: Timeline) -> "Figure":
    """The five lanes over the minutes of the session, a colour for each kind of thing in a lane."""
    with drawn(12.0, 4.2) as figure:
        axis = figure.subplots()
        for place, lane in enumerate(LANES):
            events = [e for e in made.events if e.lane == lane and e.kind != "part"]
            kinds = list(dict.fromkeys(e.kind for e in events))
            for kind, colour in zip(kinds, palette(len(kinds)), strict=True):
                spans = [((e.start_us - made.open_us) / 60e6, (e.end_us - e.start_us) / 60e6)
                         for e in events if e.kind == kind]  # fmt: skip
                axis.broken_barh(spans, (-place - 0.35, 0.5), color=colour)
                axis.annotate(kind, (1.005 + 0.075 * kinds.index(kind), -place - 0.1), color=colour, fontsize=7,
                              xycoords=("axes fraction", "data"), va="center")  # fmt: skip
        axis.set_yticks([-place - 0.1 for place in range(len(LANES))], LANES)
        axis.set_xlabel("minutes since the app opened")
        axis.set_title(textwrap.fill(timeline_sentence(made), 110), loc="left")
        bare(axis)
    return figure


def timeline_text(made: Timeline) -> str:
    """The timeline as lines of text: seconds since the app opened, lane, what, for how many seconds, details."""
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


def worth_a_look(
    scenario: Scenario, seed: int, policy: str | PolicyLike, *, minutes: float | None = None, days: float | None = None
) -> int:
    """The first person, by number, whose first session shows at least LONG_ENOUGH videos and is not too long to read;
    if there is none among the first few people, the one of them who saw most. Each is run alone. Raises SettingError if
    none of them opened the app."""
    best, most = -1, 0
    for user in range(min(scenario.population.users, FIRST_FEW)):
        run = run_arm(
            scenario, policy, seed=seed, replication=0, minutes=minutes, days=days, engine="batch", traced=user,
            alone=True,
        )  # fmt: skip
        seen = int(run.records.sessions["impressions"][0]) if len(run.records.sessions) else 0
        if LONG_ENOUGH <= seen <= READABLE:
            return user
        if seen > most:
            best, most = user, seen
    if best < 0:
        raise SettingError("nobody among the first people opened the app; give a user, or a longer window")
    return best


def make_timeline(
    scenario: Scenario,
    user: int,
    seed: int,
    policy: str | PolicyLike,
    *,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
    engine: Engine | None = None,
) -> Timeline:
    """Run the arm (replication 0) and lay out what this person did in session number `session`.

    engine: "batch" runs this person alone, whose requests find a free server: the same life as in `nextone run --engine
    batch`, in a fraction of a second. "event" runs everybody, who queue for the servers. None: "event" if the scenario
    says how many servers there are, else "batch".

    Raises SettingError if there is no such person, or no such session within the window."""
    return traced_timeline(
        scenario, user, seed, policy, minutes=minutes, days=days, session=session, engine=engine
    ).timeline


def traced_timeline(
    scenario: Scenario,
    user: int,
    seed: int,
    policy: str | PolicyLike,
    *,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
    engine: Engine | None = None,
) -> Traced:
    """`make_timeline`, with the run that the session belongs to."""
    if not 0 <= user < scenario.population.users:
        raise SettingError(f"user={user} must be >= 0 and < population.users={scenario.population.users}")
    engine = engine or ("event" if scenario.server.workers else "batch")
    run = run_arm(
        scenario, policy, seed=seed, replication=0, minutes=minutes, days=days, engine=engine, traced=user,
        alone=engine == "batch",
    )  # fmt: skip
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
        "provenance": provenance([arm], seed=seed, replications=1, minutes=minutes, days=days, engine=engine),
        "engine": engine,
    }
    live = [(int(m["start_us"]), int(m["live"])) for m in s.moments]
    changes = [(t, n) for k, (t, n) in enumerate(live) if k == 0 or n != live[k - 1][1]]
    return Traced(Timeline(about, open_us, close_us, events, [*changes, (close_us, 0)], capacity_of(s)), run)


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
    counts: tuple[Sequence[tuple[int, float]], ...] = made.candidates, made.capacity_mbps
    for (name, unit), counted in zip(COUNTERS.items(), counts, strict=True):
        rows += [{"ph": "C", "pid": 1, "ts": t, "name": name, "args": {unit: value}} for t, value in counted]
    whole = about | {"open_us": made.open_us, "close_us": made.close_us}
    return {"traceEvents": rows + list(_flows(made.events)), "displayTimeUnit": "ms", "metadata": whole}


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
