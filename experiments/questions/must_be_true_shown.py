"""The answer of `nextone must-be-true` as a table and a figure."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from nextone.experiments.output.drawing import (
    GREY,
    PALE,
    bare,
    curve_of,
    curves,
    drawn,
    palette,
    save_figure,
    zero_line,
)
from nextone.experiments.runs.comparison import ran
from nextone.experiments.runs.metrics import PRIMARY, metric_named
from nextone.experiments.runs.number_text import difference_text
from nextone.experiments.runs.statistics import PairedDifference

from .must_be_true import DEFAULT, PAGES, SHOWN, TRUE, Found, People, wins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = (SHOWN[0], PRIMARY)
HALF_LIFE, DIMS = "half-life, min", "dimensions"


def must_be_true_table(found: Found) -> Table:
    """A section for each page and line of worlds, a row for each strength; gains in %, by what is assumed."""
    table = Table(
        title="What must be true: what the phone's filter gains over the cloud", title_justify="left",
        caption=Text(_caption(found)), caption_justify="left",
    )  # fmt: skip
    for heading in (HALF_LIFE, DIMS, "intent sd, logit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in SHOWN:
        table.add_column(f"{name} %\nassume {TRUE}", justify="right", no_wrap=True)
        table.add_column(f"\nassume {DEFAULT}", justify="right", no_wrap=True)
    for page in PAGES:
        table.add_section()
        table.add_row(Text(f"pages of {page}", style="bold"))
        before: tuple[object, ...] = ()
        for people in found.asked.people:
            line = people.half_life_min, people.dims
            if line != before:
                table.add_section()
            shown = (f"{line[0]:g}", str(line[1])) if line != before else ("", "")
            before = line
            cells = [
                difference_text(found.gain(people, page, assumes, name), metric_named(name).better)
                for name in SHOWN
                for assumes in (TRUE, DEFAULT)
            ]
            table.add_row(*shown, _strength(found, people), *cells)
    return table


def verdicts(found: Found) -> list[str]:
    """A sentence for each page: from which strength on there is a gain, and whether the canary wins, as it must."""
    said = []
    for page in PAGES:
        for name in DRAWN:
            needed = found.needed(page, TRUE, name)
            where = "at no strength tried" if needed is None else f"from an intent sd of {needed:g} logit on"
            said.append(f"Pages of {page}: a gain in {name} can be told from 0 {where}; {_log_says(found)}.")
        d, far = found.canary(page), found.asked.usual.strength
        sings = "as it must" if wins(d) else "AND SHOULD: something is broken, or the size is too small to tell"
        does = "wins" if wins(d) else "does not win"
        gain = f"{_percent(d)} in {SHOWN[0]}"
        said.append(f"Pages of {page}, canary: at {far:g} logit the filter {does}, {gain}, {sings}.")
    return said


def _log_says(found: Found) -> str:
    a = found.asked.agreeing
    return f"{a.low:g} to {a.high:g} agree with the log"


def _percent(d: PairedDifference | None) -> str:
    return f"{difference_text(d, 'more').plain.strip()} %"


def _strength(found: Found, people: People) -> Text:
    a = found.asked.agreeing
    agrees = a.low <= people.strength <= a.high
    return Text(f"{people.strength:g}{' ' if agrees else '°'}", style="" if agrees else "dim")


def _caption(found: Found) -> str:
    return (
        f"{_ran(found)}. Gains of reference_filter over cloud_only in the same world, paired, % ± half the interval; * "
        f"it excludes 0. {_log_says(found)}: the fit to {found.asked.agreeing.log}; ° does not. "
        "Cloud and phone assume what is true, or what the scenario's server assumes, right or wrong."
    )


def _ran(found: Found) -> str:
    return f"{ran(found.result, 'ample servers')} that hold luck and people"


def must_be_true_figure(found: Found, path: Path) -> None:
    """Gains by strength, to `path`, PNG: rows are pages and metrics, columns what else varies; shaded: as the log."""
    asked = found.asked
    columns = {
        HALF_LIFE: [(f"{h:g} min", h, asked.usual.dims) for h in asked.half_lives],
        DIMS: [(f"{d} dimensions", asked.usual.half_life_min, d) for d in asked.dims],
    }
    rows = [(page, name) for page in PAGES for name in DRAWN]
    with drawn(12.0, 2.9 * len(rows) + 1.4) as figure:
        axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
        for row, (page, name) in zip(axes, rows, strict=True):
            for axis, lines in zip(row, columns.values(), strict=True):
                _panel(axis, found, page, name, lines)
            row[0].set_title(f"Pages of {page}: {metric_named(name).meaning}", loc="left")
            row[0].set_ylabel(f"gain in {name}, %")
        for axis, what in zip(axes[0], columns, strict=True):
            axis.legend(title=what, loc="upper left", frameon=False, fontsize=8, title_fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("strength of passing interests, sd in logit")
        figure.suptitle(fill(verdicts(found)[0], 112), x=0.01, ha="left", fontsize=12, weight="bold")
        figure.supxlabel(
            f"{_ran(found)}.\nWith markers: cloud and phone assume what is true; thin, without: the default. Shaded: "
            "agrees with the log. Dotted upright: the scenario. Far right: the canary, where a filter must win.",
            fontsize=8, color=GREY,
        )  # fmt: skip
        save_figure(figure, path)


def _panel(axis: "Axes", found: Found, page: str, name: str, lines: list[tuple[str, float, int]]) -> None:
    asked = found.asked
    axis.axvspan(asked.agreeing.low, asked.agreeing.high, color=PALE, alpha=0.7, linewidth=0, zorder=0)
    axis.axvline(asked.own, color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    worlds = [[People(s, half_life, dims) for s in asked.strengths] for _, half_life, dims in lines]
    known, default = (
        [
            curve_of(label, [found.gain(people, page, assumes, name) for people in line])
            for (label, _, _), line in zip(lines, worlds, strict=True)
        ]
        for assumes in (TRUE, DEFAULT)
    )
    curves(axis, asked.strengths, known)
    for curve, colour in zip(default, palette(len(default)), strict=True):
        axis.plot(asked.strengths, curve.mean, color=colour, linewidth=0.9, zorder=2)
    zero_line(axis)
    bare(axis)
