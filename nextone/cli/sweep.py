"""`nextone sweep`: many settings at once, resumable."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import common

if TYPE_CHECKING:
    from nextone.experiments.sweeps.plan import Question
    from nextone.experiments.sweeps.sweep import Effort
    from nextone.sim.config import Scenario


def sweep(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="A file that describes the sweep; options override it.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.FIELD=A,B,...", help="Values of a setting. Repeatable, for all combinations of several."
        ),
    ] = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(metavar="'FIELD=VALUE ...'", help="One combination of settings, instead of --grid. Repeatable."),
    ] = None,
    sobol: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=LOW..HIGH", help="A range to sample from, instead of --grid. Repeatable."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="How many samples, a power of two.  [default: 16]")] = None,
    policies: Annotated[str | None, typer.Option(help="Names, separated by commas.  [default: cloud_only]")] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric that decides which cell is best.  [default: app_min]")
    ] = None,
    half_width: Annotated[
        str | None,
        typer.Option(help="Wanted half of a 95 % interval: % of the mean, or in the metric's unit.  [default: 0.5%]"),
    ] = None,
    max_replications: Annotated[int | None, typer.Option(help="Most replications of a cell.  [default: 30]")] = None,
    users: common.Users = None,
    minutes: common.Minutes = None,
    days: common.Days = None,
    seed: Annotated[int | None, typer.Option(help="Seed of people and luck.  [default: 0]")] = None,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    servers: Annotated[
        Literal["own", "same"] | None, typer.Option(help=f"{common.SERVERS_HELP}  [default: own]")
    ] = None,
    engine: Annotated[
        Literal["event", "batch"] | None,
        typer.Option(help="event: with server queues; batch: without them, people in parallel.  [default: event]"),
    ] = None,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results.  [default: results/sweep]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Continue the sweep in this folder, perhaps with more --max-replications."),
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Run combinations of settings until the best is clear.

    All meet the same people and luck. A sweep that was stopped goes on with --resume."""
    from nextone.experiments.runs.names import listed
    from nextone.experiments.sweeps.plan import Question, plan_of
    from nextone.experiments.sweeps.sweep import begun, opened
    from nextone.sim.scenario import SettingError

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    options = Question(
        grid=tuple(grid or ()), cells=tuple(cell or ()), sobol=tuple(sobol or ()), samples=samples,
        policies=tuple(listed(policies or "")), metric=metric,
        half_width=half_width, max_replications=max_replications, seed=seed, minutes=minutes, days=days,
        engine=engine, servers=servers,
    )  # fmt: skip
    if resume is not None:
        allowed = Question(max_replications=max_replications)
        if file or out or users is not None or settings or scenario or options != allowed:
            raise SettingError(
                "--resume goes on with what its folder says; give nothing else but --workers, --on, or more "
                "--max-replications"
            )
        ledger = opened(resume, max_replications)
    else:
        question, base = _asked(file, options, settings, users, scenario)
        folder = out or Path("results/sweep")
        plan = plan_of(question, base)
        common.prepare_folder(folder)
        ledger = begun(folder, plan)
    from nextone.experiments.sweeps.sweep import finish
    from nextone.experiments.sweeps.table import effort_line, sweep_json, sweep_table

    effort: list[Effort] = []
    try:
        with common.progress_bar(as_json or quiet, "cells × replications × policies") as progress:
            result = finish(ledger, workers=workers, execute=execute, progress=progress, effort=effort)
    except KeyboardInterrupt:
        typer.echo(f"nextone: go on with nextone sweep --resume {ledger.folder}", err=True)
        raise
    common.deliver(
        lambda: [*sweep_table(result), effort_line(effort[0])], lambda: sweep_json(result), lambda: [ledger.folder],
        as_json=as_json,
    )
    if result.failed:
        raise typer.Exit(1)


def _asked(
    file: Path | None, options: "Question", settings: list[str] | None, users: int | None, scenario: Path | None
) -> "tuple[Question, Scenario]":
    """What the file says, then what the options say, and the base scenario."""
    from dataclasses import fields, replace

    from nextone.experiments.sweeps.plan import Question
    from nextone.experiments.sweeps.question_file import read_question

    question, own, people = Question(), list[str](), None
    if file is not None:
        question, own, people = read_question(file)
    given = {f.name: getattr(options, f.name) for f in fields(options) if getattr(options, f.name) != f.default}
    if any(name in given for name in ("grid", "cells", "sobol")):
        question = replace(question, grid=(), cells=(), sobol=(), samples=None)
    if "minutes" in given or "days" in given:
        question = replace(question, minutes=None, days=None)
    named = {text.partition("=")[0].strip() for text in settings or []}
    merged = [text for text in own if text.partition("=")[0].strip() not in named] + list(settings or [])
    if users is None and not any(text.partition("=")[0].strip() == "population.users" for text in merged):
        users = people
    return replace(question, **given), common.chosen_scenario(scenario, merged, users)
