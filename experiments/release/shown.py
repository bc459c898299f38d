"""Releases in words, as tables for a terminal of 80 columns, as JSON, and as files. Called by `nextone release`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from nextone.experiments.release import GATES, MONITOR, RELEASE
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.number_text import MISSING, mean_and_half
from nextone.experiments.runs.parquet import write_record
from nextone.experiments.runs.provenance import arms_record
from nextone.experiments.runs.verdict import listed
from nextone.sim.inputs.errors import plural

from .faults import HARMLESS, Fault
from .figure import figure, plans_figure
from .plan import Plan
from .run import Released
from .summary import Releases, Row, Share


def verdict(found: Releases) -> list[str]:
    """Up to three sentences: whether faults are stopped and how soon, and what a harmless version meets; of one run, a
    sentence on each release."""
    return _of_many(found.rows()) if found.runs > 1 else [_of_one(*each) for each in found.firsts()]


def _of_one(plan: Plan, released: Released) -> str:
    people, second = plan.versions[0].scenario.population.users, plan.versions[1].label
    second += f", {plan.fault.kind}," if plan.fault else ""
    had = f"{released.people:,} of {people:,} people had it, for {released.hours:.3g} hours in the app"
    last = released.events[-1] if released.events else None
    if last is None:
        return f"The release of {second} did not begin in {plan.hours:g} hours."
    minutes = released.minute_of(last.what)
    if last.what in ("rolled back", "released"):
        why = f" ({last.why})" if last.why else " at the end of its last wave"
        what = "rolled back" if last.what == "rolled back" else "out"
        return f"{second} was {what} {minutes:.0f} minutes after its first wave began{why}: {had}."
    why = f" ({last.why})" if last.why else ""
    return f"The run ended in wave {last.wave} of {len(plan.waves)}, {last.what}{why}: {had}."


def _of_many(rows: list[Row]) -> list[str]:
    faults = [row for row in rows if row.label != HARMLESS]
    harmless = [row for row in rows if row not in faults]
    several = len({row.plan for row in rows}) > 1
    told = []
    if several:
        parts = "; ".join(
            f"{label} " + listed([f"{_hours(row)} under {row.plan}" for row in faults if row.label == label])
            for label in dict.fromkeys(row.label for row in faults)
        )
        told.append(f"Hours in the app with version 2, mean: {parts}.")
    elif len(faults) == 1:
        row = faults[0]
        when = f", {row.stop_min[0]:.0f} minutes after the first wave began" if row.stop_min else ""
        told.append(
            f"{_who(row)} is stopped in {percent(row.stopped)} of releases{when} (median). It reaches "
            f"{row.people:,.0f} people (median), for {_hours(row)} hours in the app (mean)."
        )
    elif faults:
        parts = listed([f"{_who(row)} {percent(row.stopped)}" for row in faults])
        told.append(f"Stopped are, of releases: {parts}.")
    if harmless:
        parts = listed([f"{percent(row.stopped)}{f' under {row.plan}' if several else ''}" for row in harmless])
        took = listed([MISSING if row.release_min is None else f"{row.release_min:.0f}" for row in harmless])
        told.append(
            f"A harmless version is stopped in {parts}: false alarms. Otherwise its last wave is over {took} minutes "
            "after the first began, which is what the waves cost in delay."
        )
    return told


def _who(row: Row) -> str:
    return row.fault.kind if row.fault else "Version 2"


def _hours(row: Row) -> str:
    return mean_and_half(row.hours.mean, row.hours.high - row.hours.mean)


def percent(share: Share) -> str:
    """`70 % [64, 77]`."""
    mean, low, high = (_whole(100 * x) for x in (share.share, share.low, share.high))
    return f"{mean} % [{low}, {high}]"


def _whole(x: float) -> str:
    return f"{x:.0f}" if x == 0 or x >= 10 else f"{x:.1f}"


def tables(found: Releases) -> Iterator[object]:
    """The course of one release, or a row for each plan and fault."""
    if found.runs == 1:
        for plan, released in found.firsts():
            yield _course(plan, released, found.seed)
        return
    rows = found.rows()
    table = Table(title="Releases", caption=Text(
        f"{plural(found.runs, 'release')} a row, seed {found.seed}; 95 % intervals. Minutes are from the first wave: "
        "until a stop, the median and 90 %; until the last wave is over, the median. People: median of who ever had "
        "version 2; hours: mean of theirs in the app with it, until the run ends."
    ))  # fmt: skip
    table.caption_justify = "left"
    several = len({row.plan for row in rows}) > 1
    for head in ["plan", "version 2"] if several else ["version 2"]:
        table.add_column(head)
    for head in ("stopped, %", "after min", "people", "hours", "out after"):
        table.add_column(head, justify="right")
    for row in rows:
        stop = MISSING if row.stop_min is None else f"{row.stop_min[0]:.0f}, {row.stop_min[1]:.0f}"
        out = MISSING if row.release_min is None else f"{row.release_min:.0f}"
        table.add_row(
            *([row.plan] if several else []), row.label, percent(row.stopped).replace(" %", ""), stop,
            f"{row.people:,.0f}", _hours(row), out,
        )  # fmt: skip
    yield table
    for row in rows:
        if row.fault and row.plan == rows[0].plan and row.fault.kind != HARMLESS:
            yield f"{row.fault}."


def _course(plan: Plan, released: Released, seed: int) -> Table:
    people = plan.versions[0].scenario.population.users
    what = "as planned" if plan.fault is None else plan.fault.kind
    table = Table(title=f"{plan.name}: {plan.versions[1].label}, {what}", caption=Text(
        f"{people:,} people, {plan.hours:.3g} hours, seed {seed}; what happens is seen {plan.delay_min:g} minutes "
        "later. One release says little: --runs 200 says how often and how soon."
        + (f" {plan.fault}." if plan.fault else "")
    ))  # fmt: skip
    table.caption_justify = "left"
    table.add_column("minute", justify="right")
    for head in ("what", "why"):
        table.add_column(head)
    for each in released.events:
        told = f"wave {each.wave}: {100 * plan.waves[each.wave - 1].share:g} %" if each.what == "wave" else each.what
        table.add_row(f"{each.minute:.0f}", told, each.why)
    return table


def as_json(found: Releases) -> dict[str, Any]:
    """Everything that was found, and what it takes to run it again."""
    rows = found.rows() if found.runs > 1 else []
    return {
        "verdict": verdict(found),
        "rows": [
            {
                "plan": row.plan, **_fault(row.fault), "stopped": row.stopped._asdict(),
                "stop_min_median": row.stop_min and row.stop_min[0], "stop_min_p90": row.stop_min and row.stop_min[1],
                "people_median": row.people, "hours": row.hours._asdict(), "released": row.released._asdict(),
                "release_min_median": row.release_min,
            }
            for row in rows
        ],
        "releases": [
            {
                "plan": found.plans[k].name, **_fault(fault), "run": r, "end": each.end, "people": each.people,
                "hours": each.hours, "events": [event._asdict() for event in each.events],
            }
            for (k, fault), releases in found.found.items()
            for r, each in enumerate(releases)
        ],
        "plans": [_plan(plan) for plan in found.plans],
        "seed": found.seed, "runs": found.runs, "provenance": dict(found.provenance),
    }  # fmt: skip


def _fault(fault: Fault | None) -> dict[str, Any]:
    return {"fault": fault and fault.kind, "size": fault and fault.size}


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name, "waves": [wave._asdict() for wave in plan.waves],
        "gates": [gate._asdict() for gate in plan.gates], "start_min": plan.start_min, "delay_min": plan.delay_min,
        "hours": plan.hours, "salt": plan.salt, "versions": arms_record(plan.versions), **_fault(plan.fault),
    }  # fmt: skip


def save(found: Releases, folder: Path) -> Iterator[Path]:
    """`release.json` (as --json prints), `monitor.parquet` (a row for each minute and version of the first release) and
    `gates.parquet` (what its gates said each minute), `release.png`, a figure of both, and `plans.png` of several."""
    write_text(folder / RELEASE, json.dumps(as_json(found), allow_nan=False, indent=1) + "\n")
    plan, released = found.firsts()[0]
    about = {"plan": _plan(plan), "seed": found.seed, "run": 0}
    write_record(pa.table(released.monitor), about, folder / MONITOR)
    write_record(pa.table(_looks(released)), about, folder / GATES)
    figure(plan, released, folder / "release.png")
    yield from (folder / name for name in (RELEASE, MONITOR, GATES, "release.png"))
    if len(found.plans) > 1 and found.runs > 1:
        plans_figure(found, verdict(found)[0], folder / "plans.png")
        yield folder / "plans.png"


def _looks(released: Released) -> dict[str, Any]:
    """What each gate said at each minute, in columns; NaN where nothing was known."""
    lines = [(minute, k + 1, each) for minute, judged in released.looks for k, each in enumerate(judged)]
    return {
        "minute": pa.array([minute for minute, _, _ in lines], pa.float64()),
        "gate": pa.array([k for _, k, _ in lines], pa.int64()),
        "metric": pa.array([each.gate.metric for *_, each in lines], pa.string()),
        "state": pa.array([each.state for *_, each in lines], pa.string()),
        **{
            name: pa.array([getattr(each, name) for *_, each in lines], pa.float64())
            for name in ("value", "low", "high", "limit")
        },
    }
