"""The figure of a what-if: a panel for each thing shown, a colour and marker for each series."""

from math import isfinite
from pathlib import Path
from textwrap import fill, wrap
from typing import TYPE_CHECKING

from nextone.experiments.output.drawing import (
    GREY,
    INK,
    bare,
    curve_of,
    curves,
    drawn,
    is_number,
    save_figure,
    zero_line,
)
from nextone.experiments.output.report.landscape import map_of
from nextone.experiments.runs.metrics import OVERLOADED, metric_named
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.experiments.sweeps.answer import headline
from nextone.experiments.sweeps.result import SweepResult

from .answer import Answer, finding, legend, ran_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def what_if_figure(answer: Answer, path: Path) -> list[Path]:
    """Draw it to `path`; returns the files written."""
    asked = answer.asked
    columns = 2 if len(asked.show) > 1 else 1
    rows = -(-len(asked.show) // columns)
    title, question = wrap(finding(answer), 96), fill(answer.question, 130)
    high = 0.24 * len(title) + 0.66
    with drawn(5.6 * columns, 3.1 * rows + high + 0.36) as figure:
        top, body, foot = figure.subfigures(3, 1, squeeze=False, height_ratios=[high, 3.1 * rows, 0.36])[:, 0]
        top.text(0.012, 1 - 0.06 / high, "\n".join(title), fontsize=13, weight="bold", va="top", color=INK)
        top.text(0.012, 0.5 / high, question, fontsize=9.5, va="center", color=GREY)
        foot.text(0.012, 0.4, fill(ran_of(answer) + (f".  {legend(answer)}" if legend(answer) else ""), 175),
                  fontsize=8, va="center", color=GREY)  # fmt: skip
        axes = body.subplots(rows, columns, squeeze=False)
        for axis, (kind, metric) in zip(axes.flat, asked.show, strict=False):
            _panel(axis, answer, kind, metric)
        for axis in axes.flat[len(asked.show) :]:
            axis.set_axis_off()
        handles, labels = axes.flat[0].get_legend_handles_labels()
        if len(labels) > 1:
            top.legend(handles, labels, loc="lower left", ncols=6, frameon=False, bbox_to_anchor=(0.005, -0.05 / high))
        save_figure(figure, path)
    return [path]


def sweep_figure(result: SweepResult, path: Path) -> list[Path]:
    """Draw the map of a what-if that is a sweep, with dominated arms in grey. Returns the files written, none if there
    is nothing to compare."""
    figure = map_of(result, result.plan.objective, title=headline(result))
    if figure is None:
        return []
    save_figure(figure, path)
    return [path]


def _panel(axis: "Axes", answer: Answer, kind: str, metric: str) -> None:
    asked = answer.asked
    numeric = all(map(is_number, asked.values))
    x = [float(v) for v in asked.values] if numeric else list(range(len(asked.values)))
    series = [curve_of(name, [_found(answer, kind, v, name, metric) for v in asked.values]) for name in asked.series]
    curves(axis, x, series, joined=numeric, apart=0.0 if numeric else 0.5)
    for curve in series:
        for place, value, height in zip(x, asked.values, curve.mean, strict=True):
            if answer.overloaded(value, curve.label):
                axis.annotate(OVERLOADED, (place, height), xytext=(5, 3), textcoords="offset points", color=INK)
    if kind != "level":
        zero_line(axis)
    if not any(isfinite(mean) for curve in series for mean in curve.mean):
        axis.annotate("undefined: no percentage of 0", (0.5, 0.6), xycoords="axes fraction", ha="center", color=GREY)
    if numeric and asked.log_axis:
        axis.set_xscale("log")
        axis.minorticks_off()
    axis.set_xticks(x, [label.replace(", ", ",\n") for label in asked.values])
    if asked.usual in asked.values:
        axis.axvline(x[list(asked.values).index(asked.usual)], color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    bare(axis)
    axis.set_xlabel(asked.axis)
    _name(axis, kind, metric)


def _name(axis: "Axes", kind: str, metric: str) -> None:
    found = metric_named(metric)
    arrow = {"more": " ↑", "fewer": " ↓"}.get(found.better, "")
    axis.set_title(fill(f"{found.meaning}{arrow}", 46), loc="left")
    axis.set_ylabel(f"{metric}, {found.unit}" if kind == "level" else f"{kind} in {metric}, %")


def _found(answer: Answer, kind: str, value: str, series: str, metric: str) -> Interval | PairedDifference | None:
    if kind == "level":
        return answer.level(value, series, metric)
    if kind == "gain":
        return answer.gain(value, series, metric)
    itself = value == answer.asked.usual and series == next(iter(answer.asked.series))
    return Interval(0.0, 0.0, 0.0, 0) if itself else answer.change(value, series, metric)
