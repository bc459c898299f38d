"""Commands for what people look at: `nextone headroom`, `nextone what-if` and `nextone report`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from . import common


def headroom(
    users: common.People = None,
    minutes: common.Window = 30.0,
    replications: common.Replications = 10,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save Parquet tables and a figure there.")] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Measure how much any policy could gain.

    Tries a fresher cloud, and a phone that knows more, up to knowing everything; a minute or two."""
    base = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    from nextone.experiments.questions.headroom import climb, headroom_json, intent_bound
    from nextone.experiments.runs.arms import check_run

    execute = common.executor(on, workers)
    workers = common.processes(workers)
    check_run(replications=replications, minutes=minutes, seed=seed)
    bound = intent_bound(scenario)
    if out is not None:
        common.prepare_folder(out)
    with common.progress_bar(as_json or quiet) as progress:
        found = climb(
            base, bound, seed=seed, replications=replications, minutes=minutes, workers=workers, execute=execute,
            progress=progress,
        )  # fmt: skip
    from nextone.experiments.questions.headroom_shown import headroom_figure, headroom_sentences, headroom_tables
    from nextone.experiments.runs.comparison_files import looked_at_before, save_tables

    if out is not None:
        found = found._replace(result=looked_at_before(found.result, out))

    def save() -> Iterator[Path]:
        if out is not None:
            yield from save_tables(found.result, out)
            headroom_figure(found, out / "headroom.png")
            yield out / "headroom.png"

    common.deliver(
        lambda: [*headroom_sentences(found), "", *headroom_tables(found)],
        lambda: headroom_json(found) | {"verdict": headroom_sentences(found)}, save, as_json=as_json, width=140,
    )


def what_if(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The question; without it, all are listed.")
    ] = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: the question's own]")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Length of the window in which everybody opens the app once.")
    ] = None,
    replications: Annotated[int | None, typer.Option(help="Independent runs of every arm, at least 10.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of people and luck.")] = 0,
    workers: common.Workers = None,
    on: common.On = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Save the figure there.  [default: results/what-if/NAME.png]"),
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Answer a ready-made question with a table and a figure.

    Takes one to three minutes."""
    from nextone.experiments.questions.ready_made import NAMES, load
    from nextone.experiments.questions.what_if import ABIf, SweepIf

    if name is None:
        print("\n".join(f"{each:20}{load(each)[1]}" for each in NAMES))
        return
    execute = common.executor(on, workers)
    asked, question = load(name)
    changed: dict[str, Any] = {"users": users, "minutes": minutes, "replications": replications}
    asked = replace(asked, **{key: value for key, value in changed.items() if value is not None})
    workers = common.processes(workers)
    file = common.prepare_figure(out or Path("results", "what-if", name))
    from nextone.experiments.ab import designs
    from nextone.experiments.questions.answer import answer_table, ask, ask_sweep, ask_test, sentences
    from nextone.experiments.questions.figures import sweep_figure, what_if_figure
    from nextone.experiments.questions.sensitivity_file import shipped_table
    from nextone.experiments.runs.comparison_files import comparison_json
    from nextone.experiments.sweeps.table import sweep_json, sweep_table

    told: dict[str, Any]
    draw: Callable[[Path], Iterable[Path]]
    with common.progress_bar(as_json or quiet) as progress:
        if isinstance(asked, SweepIf):
            folder = file.with_suffix("")
            result = ask_sweep(
                asked, question, folder, seed=seed, workers=workers, execute=execute, progress=progress
            )
            shown, told, draw = list(sweep_table(result)), sweep_json(result), partial(sweep_figure, result)
        elif isinstance(asked, ABIf):
            tried = ask_test(asked, seed=seed, workers=workers, execute=execute, progress=progress)
            shown, told = [*designs.sentences(tried), "", designs.table(tried)], designs.as_json(tried)
            draw = partial(designs.save, tried)
        else:
            answer = ask(asked, question, seed=seed, workers=workers, execute=execute, progress=progress)
            said = sentences(answer, shipped_table().gains_depend_on())
            told = comparison_json(answer.result) | {"verdict": list(said)}
            shown, draw = [*said, "", answer_table(answer)], partial(what_if_figure, answer)
    common.deliver(lambda: shown, lambda: {"question": question} | told, lambda: draw(file), as_json=as_json)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that nextone sweep or compare --out saved.")],
) -> None:
    """Write a report of a saved sweep or comparison.

    DIR/report.html holds question, answer, figures, tables and scenario in one file that loads nothing from elsewhere.
    The table of all numbers is beside it as CSV."""
    from nextone.sim.scenario import SettingError

    if not folder.is_dir():
        raise SettingError(f"{str(folder)!r} is not a folder; give the --out folder of nextone sweep or compare")
    common.prepare_folder(folder)
    from nextone.experiments.output.report.report import write_report

    common.deliver(list, save=lambda: write_report(folder))
