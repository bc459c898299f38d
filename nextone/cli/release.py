"""`nextone release`: a new version goes out in waves, watched by gates; how often a fault is stopped, and how soon."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import common

if TYPE_CHECKING:
    from nextone.experiments.release.faults import Fault


def release(
    plans: Annotated[
        list[Path], typer.Argument(metavar="PLAN.toml...", help="Plans of the release, see docs/releases.md.")
    ],
    runs: Annotated[
        int, typer.Option(help="Releases of each plan and fault: 1, or at least 10, each with other people and luck.")
    ] = 1,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=SIZE]",
            help="What is wrong with version 2, instead of what the plan says: worse, slow, crash, broken, stale or "
            "harmless. Repeatable.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All these faults, one after the other.")] = False,
    users: Annotated[int | None, typer.Option(help="People, instead of as many as the plan says.")] = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Save what was found, and of the first release the monitor and a figure."),
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Release a new version in waves; see what a fault reaches.

    Everybody lives in one world with shared servers. Gates look at monitored metrics each minute, and hold or stop the
    release. With --runs, a harmless version is released as often, for the rate of false alarms."""
    base = common.chosen_scenario(scenario, None)
    from nextone.experiments.release import shown
    from nextone.experiments.release.faults import KINDS, fault_named
    from nextone.experiments.release.plan import read_plan
    from nextone.experiments.release.summary import run_releases
    from nextone.sim.scenario import SettingError

    if every and fault:
        raise SettingError("--all and --fault are both given; give one")
    execute = common.executor(on, workers)
    workers = common.processes(workers)
    read = [read_plan(path, base, users, settings or ()) for path in plans]
    faults = [fault_named(kind) for kind in KINDS] if every else [_fault(text) for text in fault or ()]
    if out is not None:
        common.prepare_folder(out)
    with common.progress_bar(as_json or quiet, "releases") as progress:
        found = run_releases(
            read, faults or [None], runs=runs, seed=seed, workers=workers, execute=execute, progress=progress
        )  # fmt: skip
    common.deliver(
        lambda: (*shown.verdict(found), "", *shown.tables(found)),
        lambda: shown.as_json(found),
        lambda: shown.save(found, out) if out is not None else (),
        as_json=as_json,
        width=80,
    )


def _fault(text: str) -> "Fault":
    """`crash` or `crash=0.1`. Raises SettingError."""
    from nextone.experiments.release.faults import fault_named
    from nextone.sim.scenario import SettingError

    kind, equals, size = text.partition("=")
    try:
        return fault_named(kind, float(size) if equals else None)
    except SettingError:
        raise
    except ValueError:
        raise SettingError(f"--fault {text[:60]}: must read KIND or KIND=SIZE, such as crash=0.1") from None
