"""What the functions of `nextone.api` return: one type for comparisons, sweeps, headroom, trainings and timelines.

It has sentences first, then tables, frames and figures of the same numbers that the commands show. It computes nothing
itself: the code of the question made everything that it holds. pandas and matplotlib are loaded only when a frame or a
figure is asked for.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rich.console import Console
from rich.table import Table

from nextone.sim.scenario import SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from nextone.experiments.output.timeline import Timeline
    from nextone.experiments.questions.headroom import Headroom
    from nextone.experiments.runs.comparison import Comparison
    from nextone.experiments.sweeps.result import SweepResult
    from nextone.policies.rl import RlPolicy

Found = TypeVar("Found")
MOST_ROWS = 40  # of a table in a notebook; the frame has all
RESULT = "result.json"  # the name of a file
LEVEL, PERCENT = "that of the column unit", "% of the baseline's mean"


@dataclass(frozen=True, eq=False)
class Answer(Generic[Found]):
    """An answer to read (`verdict`, `print`, or the value of a notebook's cell), to compute with (`frame`, `found`), to
    draw (`plot`) and to keep (`save`, read back by `nextone.load`).

    Two answers are equal if their sentences and their frames are."""

    found: Found = field(repr=False)
    """The typed result: a Comparison, a SweepResult, a Headroom, an RlPolicy or a Timeline."""
    verdict: tuple[str, ...]
    """The answer in sentences, the first that are printed."""
    rows: Callable[[], Sequence[Mapping[str, Any]]] = field(repr=False)
    units: Mapping[str, str] = field(repr=False)
    shown: Callable[[], Iterable[object]] = field(repr=False)
    draw: Callable[[], "Figure | None"] = field(repr=False)
    write: Callable[[Path], Iterable[Path]] = field(repr=False)

    def frame(self) -> "DataFrame":
        """The numbers as a table with an observation in each row; NaN where undefined.

        `frame().attrs["units"]` gives the unit of each column, and of each metric in the column `metric`."""
        import pandas as pd

        made = pd.DataFrame(list(self.rows()))
        made.attrs["units"] = dict(self.units)
        return made

    def plot(self, path: str | Path | None = None) -> "Figure":
        """The figure that the command draws, as a matplotlib Figure. path: where it is saved, too.

        Raises SettingError where there is nothing to draw."""
        figure = self.draw()
        if figure is None:
            raise SettingError("there is nothing to draw: no number of this answer varies; look at .frame()")
        _let_notebooks_draw()
        if path is not None:
            from nextone.cli.common import prepare_figure
            from nextone.experiments.output.drawing import save_figure

            save_figure(figure, prepare_figure(Path(path)))
        return figure

    def save(self, folder: str | Path) -> list[Path]:
        """Write the files that the command's `--out` writes into a folder, which is created if it is missing.

        Returns their paths.

        Raises SettingError, or UserError if the system refuses."""
        from nextone.cli.common import prepare_folder

        prepare_folder(Path(folder))
        return list(self.write(Path(folder)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        return self.verdict == other.verdict and bool(self.frame().equals(other.frame()))

    __hash__ = None  # type: ignore[assignment]  # what holds arrays has no hash

    def __str__(self) -> str:
        """What the command prints, 140 columns wide."""
        console = Console(width=140, color_system=None, markup=False, emoji=False, highlight=False)
        with console.capture() as text:
            for part in (*self.verdict, "", *self.shown()):
                console.print(part)
        return text.get()

    def _repr_html_(self) -> str:
        """The sentences, then the tables: what a notebook shows."""
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict)
        return f"<div>{sentences}{''.join(map(_html_of, self.shown()))}</div>"


def _let_notebooks_draw() -> None:
    """In a notebook, figures are shown as PNG, also those that pyplot does not know; nothing if that is so already."""
    running = sys.modules.get("IPython")
    shell = running.get_ipython() if running else None
    if shell is None:
        return
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib.figure import Figure

    if Figure not in shell.display_formatter.formatters["image/png"].type_printers:
        select_figure_formats(shell, {"png"})  # type: ignore[no-untyped-call]


def _html_of(part: object) -> str:
    """What is shown, as an HTML element: a table, or text."""
    if isinstance(part, Table):
        return _html(part)
    text = escape(str(part))
    return f"<pre>{text}</pre>" if "\n" in text else f"<p>{text}</p>"


def _html(table: Table) -> str:
    """A table as an HTML element. Labels are a user's own: every text is escaped."""
    lines = [list(line) for line in zip(*(column.cells for column in table.columns), strict=True)]
    head = "".join(f"<th>{escape(str(column.header))}</th>" for column in table.columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell)).strip()}</td>' for cell in line)}</tr>" for line in lines[:MOST_ROWS]
    )
    more = len(lines) - MOST_ROWS
    rest = f"<p>and {more:,} more rows: .frame() has them all</p>" if more > 0 else ""
    title = f"<caption>{escape(str(table.title))}</caption>" if table.title else ""
    rest += f"<p><small>{escape(str(table.caption))}</small></p>" if table.caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


# ---- one for each question


def of_comparison(found: "Comparison") -> "Answer[Comparison]":
    """The answer of a comparison."""
    from nextone.experiments.output.figures import uplift_figure
    from nextone.experiments.questions.sensitivity_file import shipped_table
    from nextone.experiments.runs.comparison import comparison_table
    from nextone.experiments.runs.comparison_files import comparison_json
    from nextone.experiments.runs.verdict import verdict

    units = {metric.name: metric.unit for metric in found.metrics} | {"p": "probability"}
    units |= dict.fromkeys(("mean", "low", "high", "diff", "diff_abs_low", "diff_abs_high"), LEVEL)
    units |= dict.fromkeys(("diff_pct", "diff_low", "diff_high"), PERCENT)
    return Answer(
        found, verdict(found, depends=shipped_table().gains_depend_on()), lambda: comparison_json(found)["rows"], units,
        lambda: [comparison_table(found, whole=False)], partial(uplift_figure, found), partial(_save, found),
    )  # fmt: skip


def _save(found: "Comparison", folder: Path) -> list[Path]:
    from nextone.experiments.runs.comparison_files import looked_at_before, save_tables

    return save_tables(looked_at_before(found, folder), folder)


def of_sweep(folder: Path) -> "Answer[SweepResult]":
    """The answer of the sweep in a folder. Raises SettingError if there is none that is finished."""
    from nextone.experiments.output.report.landscape import landscape_figure
    from nextone.experiments.output.report.page import flat_cell
    from nextone.experiments.sweeps.answer import answer
    from nextone.experiments.sweeps.result import POSITIONS, RESULTS, read_sweep
    from nextone.experiments.sweeps.table import sweep_json, sweep_table

    found = read_sweep(folder)
    files = {name: (folder / name).read_bytes() for name in (POSITIONS, RESULTS)}
    fields, verdict = {cell.number: cell.values for cell in found.cells}, answer(found)
    units = {metric.name: metric.unit for metric in found.metrics}
    units |= dict.fromkeys(("mean", "low", "high"), LEVEL)
    return Answer(
        found, verdict, lambda: [flat_cell(row, fields[row["cell"]]) for row in sweep_json(found)["rows"]], units,
        lambda: [part for part in sweep_table(found) if part and part not in verdict],
        partial(landscape_figure, found), partial(_write_again, files),
    )  # fmt: skip


def _write_again(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    from nextone.experiments.runs.files import write_whole

    for name, data in files.items():
        write_whole(folder / name, methodcaller("write_bytes", data))
    return [folder / name for name in files]


def of_headroom(found: "Headroom") -> "Answer[Headroom]":
    """The answer of a headroom."""
    from nextone.experiments.questions.headroom import headroom_json
    from nextone.experiments.questions.headroom_shown import headroom_figure, headroom_sentences, headroom_tables

    units = {metric.name: metric.unit for metric in found.result.metrics}
    units |= dict.fromkeys(("mean", "low", "high"), LEVEL)
    units |= {f"{of}_{end}": "%" for of in ("worth", "gain") for end in ("pct", "low", "high")}
    return Answer(
        found, tuple(headroom_sentences(found)), lambda: headroom_json(found)["rows"], units,
        lambda: headroom_tables(found), partial(headroom_figure, found), partial(_save, found.result),
    )  # fmt: skip


def of_timeline(found: "Timeline") -> "Answer[Timeline]":
    """The answer of a timeline."""
    from nextone.experiments.output.timeline import (
        TIMELINE,
        timeline_figure,
        timeline_sentence,
        timeline_text,
        write_timeline,
    )

    def rows() -> list[dict[str, Any]]:
        return [
            {"lane": event.lane, "kind": event.kind, "name": event.name, "at_s": (event.start_us - found.open_us) / 1e6,
             "for_s": (event.end_us - event.start_us) / 1e6, **event.args}
            for event in found.events
        ]  # fmt: skip

    def shown() -> list[str]:
        lines = timeline_text(found).splitlines()
        more = len(lines) - MOST_ROWS
        return ["\n".join([*lines[:MOST_ROWS], *([f"and {more:,} more lines: .frame() has them all"] * (more > 0))])]

    units = {"at_s": "s since the app opened", "for_s": "s"}
    return Answer(
        found, (timeline_sentence(found),), rows, units, shown, partial(timeline_figure, found),
        lambda folder: [write_timeline(found, folder / TIMELINE)],
    )  # fmt: skip


def of_training(folder: Path, result: dict[str, Any] | None = None) -> "Answer[RlPolicy]":
    """The answer of the training in a folder.

    result: of `train.final_result`; None: as it was kept in the folder, or computed again. Raises CheckpointError."""
    from nextone.experiments.output.figures import learning_figure
    from nextone.experiments.runs.files import write_text
    from nextone.experiments.training.rl.evaluate import result_lines
    from nextone.experiments.training.rl.train import final_result, levels, settings_of
    from nextone.policies.checkpoint import best_checkpoint, newest_checkpoint
    from nextone.policies.rl import load_rl

    newest, kept = newest_checkpoint(folder), folder / RESULT
    settings = settings_of(newest)
    if result is None and kept.is_file():
        held = json.loads(kept.read_text(encoding="utf-8"))
        result = held if held.get("steps") == best_checkpoint(folder).step else None
    if result is None:
        result = final_result(settings, folder)
    if not kept.is_file():
        write_text(kept, json.dumps(result))
    looks = newest.about["looks"]
    rows = [{"step": look["step"], "reward": look["reward"], **uplift} for look in looks for uplift in look["uplifts"]]
    first, *others = result_lines(result)
    units = {"step": "decisions", **dict.fromkeys(("reward", "rule_mean", "diff", "low", "high"), "reward an episode")}
    return Answer(
        load_rl(folder), (first,), lambda: rows, units, lambda: others,
        lambda: learning_figure([looks], levels(settings)), partial(_copied, folder),
    )  # fmt: skip


def _copied(folder: Path, to: Path) -> list[Path]:
    """A training's folder, copied."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return sorted(to.iterdir())
