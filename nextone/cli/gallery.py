"""Commands for what people look at: `nextone what-if` and `nextone report`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer


def what_if(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which; without one, they are listed.")] = None,
    users: Annotated[int | None, typer.Option(help="People simulated.  [default: the question's own]")] = None,
    minutes: Annotated[float | None, typer.Option(help="Window in which everyone opens once.")] = None,
    replications: Annotated[int | None, typer.Option(help="Independent worlds, at least 10.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes people and luck.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes.  [default: one per core]")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.png", help="[default: results/what-if/NAME.png]")] = None,
) -> None:
    """Answer a ready-made question, by a table with paired intervals and a figure, in one to three minutes."""
    from nextone.cli.main import _cores, _progress, prepare_file
    from nextone.experiments.what_if import NAMES, SweepIf, load

    if name is None:
        print("\n".join(f"{each:20}{load(each)[1]}" for each in NAMES))
        return
    asked, question = load(name)
    changed: dict[str, Any] = {"users": users, "minutes": minutes, "replications": replications}
    asked = replace(asked, **{key: value for key, value in changed.items() if value is not None})
    file = out or Path("results", "what-if", f"{name}.png")
    prepare_file(file)
    from rich.console import Console

    from nextone.experiments.what_if_answer import answer_table, ask
    from nextone.experiments.what_if_figures import answer_sweep, what_if_figure

    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width to fit
        console.width = 120
    with _progress(False) as progress:
        if isinstance(asked, SweepIf):
            shown = answer_sweep(asked, question, file, seed=seed, workers=workers or _cores(), progress=progress)
        else:
            answer = ask(asked, question, seed=seed, workers=workers or _cores(), progress=progress)
            what_if_figure(answer, file)
            shown = [answer_table(answer)]
    for each in shown:
        console.print(each, highlight=False)
    console.print(f"Saved {file}", highlight=False, soft_wrap=True)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What nextone sweep or compare --out saved.")],
) -> None:
    """Write DIR/report.html: question, answer, figures, tables, scenario, in one file that loads nothing."""
    from nextone.cli.main import prepare_folder
    from nextone.sim.scenario import SettingError

    if not folder.is_dir():
        raise SettingError(f"{str(folder)!r} is not a folder; give the --out folder of nextone sweep or compare")
    prepare_folder(folder)
    from nextone.experiments.report import write_report

    print(f"Saved {write_report(folder)}")
