"""What 200 releases of the example plan say: how often each planted fault is stopped, and a harmless version.

Run as a command, which writes a page, with the commit that it is run at:
python -m nextone.experiments.release.checks docs/evidence/releases.md COMMIT
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextone.experiments.runs.executor import results
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.number_text import mean_and_half, percent_interval
from nextone.experiments.runs.statistics import PairedDifference, paired
from nextone.sim.state import CUT, VALID
from nextone.version import SEMANTICS, __version__

from .faults import BROKEN, CRASH, HARMLESS, KINDS, SLOW, STALE, WORSE, Fault, fault_named
from .plan import Plan, Wave, read_plan
from .run import Release, run_world
from .shown import percent
from .summary import Releases, Row, run_releases

RUNS, WORLDS = 200, 24
AT_LEAST = {CRASH: 0.95, BROKEN: 0.95, WORSE: 0.95, SLOW: 0.5}
"""In what share of releases each fault is to be stopped."""
AT_MOST = {HARMLESS: 0.05, STALE: 1.0}


class Lived(NamedTuple):
    """A world in which everybody has version 2 from the outset."""

    valid_play: float
    app_min: float


def everybody(task: Release) -> Lived:
    """What people do there."""
    _, world, records = run_world(task)
    outcome = records.impressions["outcome"]
    whole = outcome[(outcome & CUT) == 0]
    return Lived(float(np.mean((whole & VALID) != 0)), float(world.users["wall_us"].mean() / 6e7))


def truths(plan: Plan, faults: Sequence[Fault], worlds: int, workers: int, seed: int = 0) -> dict[Fault, Any]:
    """By fault: effective views and time in the app, everybody with version 2 against nobody, the same people and
    luck; a PairedDifference each."""
    all_at_once = replace(plan, waves=(Wave(1.0, 1.0),), gates=(), start_min=0.0)
    tasks = [Release(all_at_once.with_fault(fault), seed, r) for r in range(worlds) for fault in faults]
    lived: dict[Fault, dict[int, Lived]] = {fault: {} for fault in faults}
    for task, found in results(tasks, workers, everybody):
        lived[task.plan.fault][task.replication] = found
    rows = {fault: np.array([each[r] for r in range(worlds)]) for fault, each in lived.items()}
    base = next(row for fault, row in rows.items() if fault.kind == HARMLESS)
    return {fault: [paired(base[:, k], row[:, k]) for k in range(2)] for fault, row in rows.items()}


def page(found: Releases, harm: dict[Fault, list[PairedDifference | None]], worlds: int, commit: str) -> str:
    """What was found, as Markdown."""
    rows = [row for row in found.rows() if row.fault]
    plan = found.plans[0]
    lines = [
        "# Releases", "",
        f"By `python -m nextone.experiments.release.checks docs/evidence/releases.md COMMIT`, {date.today()}, commit "
        f"{commit}, version {__version__}, semantics {SEMANTICS}.",
        f"{found.runs} releases by `docs/example_release.toml` of each version 2: "
        f"{plan.versions[0].scenario.population.users:,} people, seed {found.seed}, 95 % intervals.", "",
        "| version 2 | stopped, % | asked | | after minutes: median, 90 % | people | hours in the app |",
        "|---|---|---|---|---|---|---|",
        *map(_line, rows), "",
        "People: the median of who ever had version 2. Hours: the mean of theirs in the app, until the run ends.",
        "", f"True, were everybody to have it from the outset ({worlds} worlds, the same people and luck in each):", "",
        "| version 2 | effective views per impression | time in the app |", "|---|---|---|",
        *(
            f"| {fault} | {' | '.join(percent_interval(each) for each in both)} |"
            for fault, both in harm.items()
            if fault.kind != HARMLESS
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    assert row.fault is not None
    kind = row.fault.kind
    asked, kept = "", ""
    if kind in AT_LEAST:
        asked, kept = f"at least {100 * AT_LEAST[kind]:g}", _kept(row.stopped.share >= AT_LEAST[kind])
    elif AT_MOST[kind] < 1:
        asked, kept = f"at most {100 * AT_MOST[kind]:g}", _kept(row.stopped.share <= AT_MOST[kind])
    when = "-" if row.stop_min is None else f"{row.stop_min[0]:.0f}, {row.stop_min[1]:.0f}"
    hours = mean_and_half(row.hours.mean, row.hours.high - row.hours.mean)
    stopped = percent(row.stopped).replace(" %", "")
    return f"| {kind} | {stopped} | {asked} | {kept} | {when} | {row.people:,.0f} | {hours} |"


def _kept(whether: bool) -> str:
    return "kept" if whether else "**not kept**"


def main(path: Path, commit: str) -> None:
    """Run everything and write the page."""
    plan = read_plan(Path("docs/example_release.toml"))
    faults = [fault_named(kind) for kind in KINDS]
    found = run_releases([plan], faults, runs=RUNS, workers=2)
    write_text(path, page(found, truths(plan, faults, WORLDS, 2), WORLDS, commit))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
