"""The ladder of `nextone headroom` as tables and a figure."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from nextone.experiments.output.drawing import GREY, bare, curve_of, curves, drawn, save_figure, zero_line
from nextone.experiments.runs.comparison import ran
from nextone.experiments.runs.metrics import IN_WORDS, PRIMARY, metric_named
from nextone.experiments.runs.names import ORACLE, ORACLE_INTENT, REFERENCE_FILTER
from nextone.experiments.runs.number_text import difference_text, interval_text, name_and_unit, percent_interval

from .headroom import CONFIGURED, SHOWN, Headroom, Step, World

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERVERS = "ample servers"
STEP_TEXT = "{number}  {label}"


def headroom_tables(found: Headroom) -> Iterator[Table]:
    """What the steps are, then what they are worth."""
    yield _steps_table(found)
    yield _worth_table(found)


def headroom_sentences(found: Headroom) -> list[str]:
    """The answer in words: what a phone can gain, in each world, and what it cannot know."""
    by_policy = {step.policy: step for step in found.steps}
    phone, told, everything = (by_policy[name] for name in (REFERENCE_FILTER, ORACLE_INTENT, ORACLE))

    def gains(step: Step) -> str:
        each = ((found.gain(world.label, step, PRIMARY), world.label) for world in found.worlds)
        return ", ".join(f"{percent_interval(d)} ({label})" for d, label in each)

    return [
        f"In {IN_WORDS[PRIMARY]}, a phone that knows how people are and sees what a phone sees gains over the cloud as "
        f"configured: {gains(phone)}.",
        f"Told the passing interests, which no phone can be, it would gain {gains(told)}; told everything, "
        f"{gains(everything)}.",
    ]


def _steps_table(found: Headroom) -> Table:
    table = Table(title="The ladder: each step adds one thing to the one it is measured from", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("from", justify="right")
    table.add_column("what it adds, and what that needs")
    labels = [step.label for step in found.steps]
    for number, step in enumerate(found.steps, 1):
        over = str(labels.index(step.over) + 1) if step.over else ""
        table.add_row(STEP_TEXT.format(number=number, label=step.label), over, Text(step.adds))
    return table


def _worth_table(found: Headroom) -> Table:
    """A row per metric and step; for each world what the step is worth over the one it adds to, and over the cloud."""
    table = Table(title="What can be gained at all", caption=Text(_caption(found)), title_justify="left",
                  caption_justify="left")  # fmt: skip
    table.add_column("step", no_wrap=True)
    for world in found.worlds:
        table.add_column(f"{world.label}\nstep %", justify="right", no_wrap=True)
        table.add_column("\nin all %", justify="right", no_wrap=True)
    for name in SHOWN:
        metric = metric_named(name)
        table.add_section()
        heading = Text(name_and_unit(metric), style="bold" if name == PRIMARY else "")
        table.add_row(heading, *(Text(t) for world in found.worlds for t in ("", _level(found, world, name))))
        for number, step in enumerate(found.steps[1:], 2):
            cells = [
                difference_text(d(world.label, step, name), metric.better)
                for world in found.worlds
                for d in (found.worth, found.gain)
            ]
            table.add_row("  " + STEP_TEXT.format(number=number, label=step.label), *cells)
    return table


def _level(found: Headroom, world: World, metric: str) -> str:
    return interval_text(found.level(world.label, CONFIGURED, metric))


def _caption(found: Headroom) -> str:
    told = "; ".join(f"{world.label}: {world.meaning}" for world in found.worlds)
    return (
        f"{ran(found.result, SERVERS)}. Primary metric: {PRIMARY}. step: paired difference from the step it adds to; "
        f"in all: from {CONFIGURED} as configured in the same world, whose means stand beside the metric's name; both "
        "in % ± half the interval, * it excludes 0. What step 3 is worth is in all of 4 and 5.\n"
        f"Passing interests, {told}."
    )


def headroom_figure(found: Headroom, path: Path | None = None) -> "Figure":
    """The total gain of each step: a panel for each metric, a colour and marker for each world. path: where it is
    saved."""
    with drawn(11.0, 3.1 * len(SHOWN) + 1.5) as figure:
        axes = figure.subplots(len(SHOWN), 1, squeeze=False, sharex=True)[:, 0]
        for axis, name in zip(axes, SHOWN, strict=True):
            _panel(axis, found, name)
        title = fill(headroom_sentences(found)[0], 110)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].legend(handles, labels, loc="upper left", title="passing interests", frameon=False)
        axes[-1].set_xlabel(ran(found.result, SERVERS), fontsize=8, color=GREY)
    if path is not None:
        save_figure(figure, path)
    return figure


def _panel(axis: "Axes", found: Headroom, name: str) -> None:
    steps = found.steps[1:]
    places = range(len(steps))
    series = [curve_of(w.label, [found.gain(w.label, step, name) for step in steps]) for w in found.worlds]
    curves(axis, places, series, joined=False, apart=0.4)
    zero_line(axis)
    bare(axis)
    labels = [STEP_TEXT.format(number=n, label=step.label) for n, step in enumerate(steps, 2)]
    axis.set_xticks(places, labels, rotation=25, ha="right")
    axis.set_title(metric_named(name).meaning + (", the primary metric" if name == PRIMARY else ""), loc="left")
    axis.set_ylabel(f"gain in {name}\nover {CONFIGURED}, %")
