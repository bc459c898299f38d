"""Commands for what answers depend on: `nextone must-be-true` and `nextone sensitivity`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from . import common


def must_be_true(
    users: common.People = None,
    minutes: common.Window = 30.0,
    replications: common.Replications = 15,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save Parquet tables and a figure there.")] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Find how strong passing interests must be for a gain.

    Varies their strength and how fast they pass, at pages of 6 and of 50; a quarter of an hour."""
    base = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    from nextone.experiments.questions.must_be_true import ask, asked_of, must_be_true_json
    from nextone.experiments.questions.ranges import fit_of
    from nextone.experiments.runs.arms import check_run

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    check_run(replications=replications, minutes=minutes, seed=seed)
    asked = asked_of(base, fit_of(scenario))
    if out is not None:
        common.prepare_folder(out)
    with common.progress_bar(as_json or quiet) as progress:
        found = ask(
            asked, base, seed=seed, replications=replications, minutes=minutes, workers=workers, execute=execute,
            progress=progress,
        )  # fmt: skip
    from nextone.experiments.questions.must_be_true_shown import must_be_true_figure, must_be_true_table, verdicts
    from nextone.experiments.runs.comparison_files import looked_at_before, save_tables

    if out is not None:
        found = found._replace(result=looked_at_before(found.result, out))

    def save() -> Iterator[Path]:
        if out is not None:
            yield from save_tables(found.result, out)
            must_be_true_figure(found, out / "must_be_true.png")
            yield out / "must_be_true.png"

    common.deliver(
        lambda: [*verdicts(found), "", must_be_true_table(found)], lambda: must_be_true_json(found), save,
        as_json=as_json, width=160,
    )  # fmt: skip


def sensitivity(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SECTION.FIELD", help="Vary only this setting. Repeatable.  [default: all assumed]"),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="How many catalogues, days of traces and parameter sets to draw; 0: none.", min=0)
    ] = 24,
    users: common.People = None,
    minutes: common.Window = 30.0,
    replications: common.Replications = 20,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save the table there as JSON, CSV and Markdown.")
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Rank the assumptions by how far answers depend on them.

    Varies each over its plausible range, on the same people and luck; half an hour on two
    quiet cores."""
    base = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    from nextone.experiments.questions.ranges import fit_of
    from nextone.experiments.questions.sensitivity import name_of, plan_of, run
    from nextone.experiments.questions.sensitivity_file import save_sensitivity, table_json
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.number_text import span

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    check_run(replications=replications, minutes=minutes, seed=seed)
    plan = plan_of(base, fit_of(scenario), seed=seed, draws=draws, only=only or ())
    if out is not None:
        common.prepare_folder(out)

    def say_minutes(runs: int, seconds: float) -> None:
        print(f"nextone: {runs:,} runs are left, {span(seconds)}", file=sys.stderr, flush=True)

    with common.progress_bar(as_json or quiet) as progress:
        table = run(
            plan, replications=replications, minutes=minutes, workers=workers, execute=execute, progress=progress,
            estimate=say_minutes, name=name_of(scenario, settings or ()),
        )  # fmt: skip
    from nextone.experiments.questions.sensitivity_shown import sensitivity_sentences, sensitivity_tables

    took = f"{len(plan.worlds):,} worlds took {table.took_min:.1f} minutes."
    common.deliver(
        lambda: [*sensitivity_sentences(table), "", *sensitivity_tables(table), took],
        lambda: json.loads(table_json(table)),
        lambda: [] if out is None else save_sensitivity(table, out), as_json=as_json, width=160,
    )  # fmt: skip
