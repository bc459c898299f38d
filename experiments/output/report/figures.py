"""The report's drawings of a sweep: maps of two axes, curves along one, clouds of many, the Pareto front,
valid play by position, server load.

Colours say better (blue) or worse (orange); what is significant is bold and starred, so that grey prints tell it too.
"""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nextone.experiments.output.drawing import (
    GREY,
    INK,
    MARKERS,
    PALE,
    Curve,
    bare,
    curves,
    drawn,
    ends,
    is_number,
    palette,
    svg_text,
    zero_line,
)
from nextone.experiments.runs.metrics import OVERLOAD, Metric
from nextone.experiments.runs.number_text import signed
from nextone.experiments.runs.statistics import Interval, PairedDifference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DOMINATED = "Grey: dominated, another design is at least as good in time in the app, requests and wasted bytes."


class Map(NamedTuple):
    """One heat map: differences by (row, column) of two axes; None where there is no cell or nothing to compare."""

    title: str
    cells: Sequence[Sequence[PairedDifference | None]]
    usual: tuple[int, int] | None = None  # (row, column) that differences are measured from, outlined
    marks: Sequence[Sequence[str]] = ()  # after each number: where servers drown
    grey: Sequence[Sequence[bool]] = ()  # arms that another one dominates


class Point(NamedTuple):
    """An arm by two objectives with their intervals, and a third."""

    x: Interval
    y: Interval
    shade: float
    number: int  # on the front, from 1; 0: not on it


def maps_figure(metric: Metric, maps: Sequence[Map], rows: Sequence[str], columns: Sequence[str],
                names: tuple[str, str], title: str = "") -> "Figure":  # fmt: skip
    """Heat maps of one metric side by side, with one scale that is symmetric about zero; names of (row, column) axes.

    title: the finding; without it the metric's name is the title."""
    numbers = [_number(d)[0] for m in maps for line in m.cells for d in line]
    limit = max((abs(x) for x in numbers if np.isfinite(x)), default=0.0) or 1.0
    wide = min(len(maps), 3 if len(columns) <= 6 else 2)
    lines = -(-len(maps) // wide)
    width = max(3.9, 0.62 * len(columns) + 0.7)
    with drawn(max(width * wide, 7.8), lines * (0.4 * len(rows) + 1.25) + 0.45 + 0.75 * bool(title)) as figure:
        axes = figure.subplots(lines, wide, squeeze=False)
        for axis, one in zip(axes.flat, maps, strict=False):
            _heat_map(axis, one, rows, columns, names, limit, metric.better)
            if axis not in axes[:, 0]:
                axis.set(ylabel="", yticklabels=[])
        for axis in axes.flat[len(maps) :]:
            axis.set_axis_off()
        if any(mark for m in maps for line in m.marks for mark in line):
            figure.text(0.995, 0.995, OVERLOAD, ha="right", va="top", fontsize=8, color=GREY)
        heading = fill(title, 128) or _title(metric)
        figure.suptitle(heading, x=0.005, ha="left", fontsize=11 if title else 13, weight="bold")
        if title:
            figure.supxlabel(f"{_title(metric)}. Blue is better, orange worse. {DOMINATED}", fontsize=8, color=GREY)
    return figure


def _heat_map(axis: "Axes", one: Map, rows: Sequence[str], columns: Sequence[str], names: tuple[str, str],
              limit: float, better: str) -> None:  # fmt: skip
    import seaborn as sns
    from matplotlib.patches import Rectangle

    found = [[_number(d) for d in line] for line in one.cells]
    values = np.array([[x for x, _ in line] for line in found])
    toward = -values if better == "fewer" else values
    colours = sns.diverging_palette(35, 245, s=85, l=58, as_cmap=True)  # orange: worse, blue: better
    sns.heatmap(
        toward, ax=axis, cmap=colours, vmin=-limit, vmax=limit, cbar=False, linewidths=1.5, linecolor="white",
        mask=~np.isfinite(values), xticklabels=list(columns), yticklabels=list(rows),
    )  # fmt: skip
    for r, c in np.argwhere(np.array(one.grey, bool)):
        axis.add_patch(Rectangle((c, r), 1, 1, facecolor=PALE, edgecolor="white", linewidth=1.5))
    for r, line in enumerate(found):
        for c, (x, sure) in enumerate(line):
            if np.isfinite(x):
                mark = one.marks[r][c] if one.marks else ""
                strong = abs(x) > 0.75 * limit and not (one.grey and one.grey[r][c])
                axis.text(
                    c + 0.5, r + 0.5, signed(x) + "*" * sure + mark, ha="center", va="center", fontsize=8.5,
                    weight="bold" if sure else "normal", color="white" if strong else INK if sure else GREY,
                )  # fmt: skip
    if one.usual is not None:
        row, column = one.usual
        axis.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, fill=False, edgecolor=INK, linewidth=1.4))
        axis.text(column + 0.5, row + 0.5, "default", ha="center", va="center", fontsize=8, color=INK)
    axis.set_title(one.title, loc="left", fontsize=10)
    axis.set_ylabel(names[0])
    axis.set_xlabel(names[1])
    axis.tick_params(axis="both", length=0, rotation=0)
    axis.grid(visible=False)


def curves_figure(panels: Sequence[tuple[str, str, Sequence[Curve]]], labels: Sequence[str], axis_name: str,
                  usual: str | None = None) -> "Figure":  # fmt: skip
    """Panels (title, label of the ordinate, curves) over the same axis, two in a row."""
    numeric = all(is_number(text) for text in labels)
    x = [float(t) for t in labels] if numeric else list(range(len(labels)))
    spread = numeric and min(x) > 0 and max(x) / min(x) > 6
    wide = min(2, len(panels))
    lines = -(-len(panels) // wide)
    with drawn(5.4 * wide, 3.0 * lines + 0.5) as figure:
        axes = figure.subplots(lines, wide, squeeze=False)
        for axis, (title, ordinate, series) in zip(axes.flat, panels, strict=False):
            curves(axis, x, series, joined=numeric, apart=0.0 if numeric else 0.5)
            if spread:
                axis.set_xscale("log")
                axis.minorticks_off()
            axis.set_xticks(x, [_short(t) for t in labels])
            if usual in labels:
                axis.axvline(x[list(labels).index(str(usual))], color=GREY, linewidth=0.9, linestyle=":", zorder=0)
            if "%" in ordinate:
                zero_line(axis)
            _named(axis, title, axis_name, ordinate)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        _legend_above(figure, axes[0, 0])
    return figure


def clouds_figure(panels: Sequence[tuple[str, Sequence[float], Sequence[Curve]]], ordinate: str) -> "Figure":
    """A panel for each swept field (name, its value in every cell, points by policy): for samples of many fields."""
    wide = min(3, len(panels))
    lines = -(-len(panels) // wide)
    with drawn(3.8 * wide if wide > 1 else 5.6, 2.9 * lines + 0.5) as figure:
        axes = figure.subplots(lines, wide, squeeze=False, sharey=True)
        for axis, (name, x, series) in zip(axes.flat, panels, strict=False):
            finite = [v for v in x if np.isfinite(v)]
            top = max(finite, default=1.0) * 1.15 if finite else 1.0
            places = [v if np.isfinite(v) else top for v in x]
            curves(axis, places, series, joined=False, apart=0.02 * (max(places) - min(places)))
            if len(finite) < len(x):
                axis.set_xlabel("")
                axis.annotate("∞", (top, 0), xycoords=("data", "axes fraction"), xytext=(0, -12),
                              textcoords="offset points", ha="center")  # fmt: skip
            if "%" in ordinate:
                zero_line(axis)
            _named(axis, "", name, ordinate if axis in axes[:, 0] else "")
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        _legend_above(figure, axes[0, 0])
    return figure


def front_figure(clouds: Sequence[tuple[str, Sequence[Point]]], x_name: str, y_name: str, shade_name: str) -> str:
    """Every arm (policy, points) by two objectives. The front is shaded by the third, ringed, numbered, with bars;
    dominated arms are grey."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    shades = [p.shade for _, points in clouds for p in points if p.number]
    shade = ScalarMappable(Normalize(min(shades, default=0), max(shades, default=1)), "cividis_r")
    with drawn(9.2, 4.9) as figure:
        axis = figure.subplots()
        for k, (policy, points) in enumerate(clouds):
            marker = MARKERS[k % len(MARKERS)]
            axis.plot([], [], marker, color=GREY, markersize=8, label=policy)
            for p in points:
                _point(axis, p, marker, shade.to_rgba(np.array([p.shade]))[0] if p.number else "0.82")
        bar = figure.colorbar(shade, ax=axis, pad=0.015, aspect=30)
        bar.set_label(shade_name)
        bar.outline.set_visible(False)
        _named(axis, "", x_name, y_name)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, frameon=False, borderaxespad=0.2)
        return svg_text(figure)


def _point(axis: "Axes", p: Point, marker: str, colour: object) -> None:
    if p.number:
        sides = [[p.x.mean - p.x.low], [p.x.high - p.x.mean]], [[p.y.mean - p.y.low], [p.y.high - p.y.mean]]
        axis.errorbar(p.x.mean, p.y.mean, sides[1], sides[0], fmt="none", ecolor="0.75", elinewidth=1, zorder=1)
        axis.annotate(str(p.number), (p.x.mean, p.y.mean), xytext=(7, 5), textcoords="offset points", fontsize=9,
                      weight="bold", zorder=5)  # fmt: skip
    edge, width = (INK, 1.5) if p.number else ("white", 0.5)
    axis.plot(p.x.mean, p.y.mean, marker, color=colour, markersize=8, markeredgecolor=edge, markeredgewidth=width,
              zorder=3 + (p.number > 0))  # fmt: skip


def positions_figure(panels: Sequence[tuple[str, Sequence[Curve]]]) -> str:
    """Valid play by position in the page: a panel for each (title, curves), a curve from position 1 on each."""
    wide = min(2, len(panels))
    lines = -(-len(panels) // wide)
    with drawn(5.4 * wide, 3.2 * lines + 0.5) as figure:
        axes = figure.subplots(lines, wide, squeeze=False, sharey=True)
        for axis, (title, series) in zip(axes.flat, panels, strict=False):
            for k, (curve, colour) in enumerate(zip(series, palette(len(series)), strict=True)):
                x = 1 + np.arange(len(curve.mean))
                axis.fill_between(x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
                axis.plot(x, curve.mean, color=colour, marker=MARKERS[k % len(MARKERS)], markersize=4.5,
                          markeredgecolor="white", markeredgewidth=0.5, linewidth=1.5, label=curve.label)  # fmt: skip
            axis.xaxis.get_major_locator().set_params(integer=True)
            _named(axis, title, "position in the page", "valid play, share" if axis in axes[:, 0] else "")
            axis.legend(frameon=False, fontsize=8, ncols=2)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        return svg_text(figure)


def _number(d: PairedDifference | None) -> tuple[float, bool]:
    """Percent, and whether it is no luck; NaN where there is none."""
    return ends(d)[0], d is not None and d.sure


def _named(axis: "Axes", title: str, x: str, y: str) -> None:
    axis.set_title(title, loc="left")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    bare(axis)


def _legend_above(figure: object, axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper left", ncols=6, frameon=False)  # type: ignore[attr-defined]


def _title(metric: Metric) -> str:
    arrow = {"more": " ↑", "fewer": " ↓"}.get(metric.better, "")
    return f"{metric.name}{arrow}, {metric.meaning}: difference in %"


def _short(label: str) -> str:
    return f"{float(label):g}" if is_number(label) else label
