"""Figures: uplifts of a comparison, links as measured and as simulated, training.

Those of people are in experiments/fitting/people/figures.py.

Tables of the same are in `experiments/runs/comparison.py`. A figure is written whole or not at all.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextone.experiments.runs.comparison import groups, subtitle
from nextone.experiments.runs.number_text import signed
from nextone.experiments.runs.verdict import headline

from .drawing import GREY, INK, MARKERS, drawn, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nextone.experiments.fitting.links.facts import Compared
    from nextone.experiments.runs.comparison import Comparison
    from nextone.experiments.runs.metrics import Metric
    from nextone.experiments.runs.statistics import Interval
    from nextone.experiments.training.off_policy.answer import OffPolicy
    from nextone.experiments.training.rl.frontier import FrontierPoint

WIDEST = 30.0  # percent that an off-policy estimate is drawn off the truth


def uplift_figure(result: "Comparison", path: Path | str | None = None) -> "Figure":
    """Uplift in percent of the baseline with 95 % intervals: a panel per group of metrics, a colour per arm.

    The axis is linear within 1 % and logarithmic beyond, the same in all panels, so that +1 % and -60 % can both be
    read; the numbers at the right are the uplifts. Filled points are no luck. path: saved there.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    shown = [(name, [m for m in indices if _has_uplift(result, m)]) for name, indices in groups(result)]
    shown = [(name, indices) for name, indices in shown if indices]
    columns = _balanced(shown or [("no metric has a percentage", [])])
    colours = sns.color_palette("colorblind", len(result.arms))
    rows = max(sum(len(indices) + 1.6 for _, indices in column) for column in columns)
    body_height = max(3.0, rows * (0.19 + 0.105 * (len(result.arms) - 1)))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(14, body_height + 0.9), layout="constrained")
        top, body = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.9, body_height])[:, 0]
        limit = _limit(result)
        for column, part in zip(columns, body.subfigures(1, len(columns), squeeze=False)[0], strict=True):
            axes = part.subplots(
                len(column), 1, sharex=True, squeeze=False, height_ratios=[len(indices) + 0.6 for _, indices in column]
            )[:, 0]
            for axis, (group, indices) in zip(axes, column, strict=True):
                _panel(axis, result, group, indices, colours, limit)
            axes[-1].set_xlabel(f"paired difference from {result.baseline.label}, % of its mean")
        _heading(top, result, colours)
    if path is not None:
        save_figure(figure, path, dpi=150)
    return figure


def _title(result: "Comparison") -> str:
    """The finding, in lines that fit."""
    return textwrap.fill(headline(result), 100)


def _heading(part: Any, result: "Comparison", colours: Any) -> None:
    from matplotlib.lines import Line2D

    part.text(0.01, 0.93, _title(result), fontsize=16, weight="bold", va="top")
    part.text(0.01, 0.55, subtitle(result), fontsize=10, va="top", color="0.35")
    handles = [
        Line2D([], [], color=colours[a], marker="o", linestyle="-", label=result.label(a))
        for a in range(1, len(result.arms))
    ]
    handles.append(Line2D([], [], color="0.4", marker="o", markerfacecolor="white", label="may be luck"))
    columns = min(len(handles), 7)
    part.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, -0.12), ncols=columns, frameon=False)


def _panel(axis: "Axes", result: "Comparison", group: str, indices: list[int], colours: Any, limit: float) -> None:
    arms = len(result.arms) - 1
    for place, m in enumerate(indices):
        for a in range(1, arms + 1):
            d = result.differences[a][m]
            if d is None or d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
                continue
            y = place + (a - (arms + 1) / 2) * 0.8 / max(arms, 2)
            x = max(-limit, min(limit, d.diff_pct))
            marker = "o" if x == d.diff_pct else ">" if x > 0 else "<"
            axis.plot([d.diff_pct_low, d.diff_pct_high], [y, y], color=colours[a], linewidth=1.8, solid_capstyle="butt")
            axis.plot(x, y, marker, color=colours[a], markersize=4.5, markerfacecolor=colours[a] if d.sure else "white",
                      clip_on=False)  # fmt: skip
            axis.annotate(
                signed(d.diff_pct), (1.0, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", color=colours[a], fontsize=7, va="center", annotation_clip=False,
            )  # fmt: skip
    axis.axvline(0, color="0.25", linewidth=1)
    axis.set_xscale("symlog", linthresh=1, linscale=0.6)
    axis.set_xlim(-limit, limit)
    ticks = [t for t in (1, 3, 10, 30, 100) if t <= limit]
    shown = [-t for t in reversed(ticks)] + [0] + ticks
    axis.set_xticks(shown, [signed(t) for t in shown])
    axis.minorticks_off()
    axis.set_yticks(range(len(indices)), [_figure_label(result.metrics[m]) for m in indices])
    axis.set_ylim(len(indices) - 0.4, -0.6)
    axis.set_title(group, loc="left", fontsize=11, weight="bold")
    for place in range(1, len(indices)):
        axis.axhline(place - 0.5, color="0.92", linewidth=0.8)
    axis.grid(visible=False, axis="y")


def _balanced(parts: list[tuple[str, list[int]]]) -> list[list[tuple[str, list[int]]]]:
    """Two columns of like height, in order; one where there is little to show."""
    total = sum(len(indices) + 1.6 for _, indices in parts)
    if len(parts) < 2:
        return [parts]
    heights = [abs(total / 2 - sum(len(i) + 1.6 for _, i in parts[:cut])) for cut in range(1, len(parts))]
    cut = heights.index(min(heights)) + 1
    return [parts[:cut], parts[cut:]]


def _limit(result: "Comparison") -> float:
    """The axis's end, percent: what the widest interval needs, at most 150; points beyond are arrows at the edge."""
    ends = [
        abs(x)
        for row in result.differences[1:]
        for d in row
        if d is not None
        for x in (d.diff_pct_low, d.diff_pct_high)
        if x is not None
    ]
    return min(150.0, max(5.0, 1.3 * max(ends, default=0.0)))


def _has_uplift(result: "Comparison", m: int) -> bool:
    return any(d is not None and d.diff_pct is not None for d in (row[m] for row in result.differences[1:]))


def _figure_label(metric: "Metric") -> str:
    arrow = {"more": " ↑", "fewer": " ↓"}.get(metric.better, "")
    return metric.name.replace("_", " ") + arrow


# ---- links


AXES = {"throughput": "Mbit/s", "test": "Mbit/s, mean of ten seconds", "rtt": "round trip, ms"}


def network_figure(found: "list[Compared]", path: Path) -> None:
    """Distributions of throughput and round trips, a panel per class: data with its 95 % band, simulation dashed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        figure, axes = plt.subplots(
            lines, columns, figsize=(4.4 * columns, 2.9 * lines + 0.5), layout="constrained", squeeze=False, sharey=True
        )
        for axis, compared in zip(axes.flat, found, strict=False):
            _distribution(axis, compared)
        for axis in axes.flat[len(found) :]:
            axis.set_axis_off()
        for line in axes:
            line[0].set_ylabel("share at or below")
        _legend(figure, axes[0, 0])
        try:
            save_figure(figure, path, dpi=150)
        finally:
            plt.close(figure)


def _distribution(axis: "Axes", compared: "Compared") -> None:
    import seaborn as sns
    from matplotlib.ticker import LogLocator, NullLocator

    from nextone.experiments.fitting.links.facts import below, resamples

    data, model = sns.color_palette("colorblind", 2)
    ends = np.quantile(compared.measured.value, [0.002, 0.998])
    lowest = max(ends[0], ends[1] / 1e3, 1e-3)
    x = np.geomspace(lowest, max(ends[1], lowest * 2), 80)
    counts, simulated = below(compared.measured, x), below(compared.simulated, x)
    low, high = np.quantile(_shares(resamples(len(counts)), counts), [0.025, 0.975], axis=0)
    axis.fill_between(x, low, high, color=data, alpha=0.25, linewidth=0, label="data, 95 % over traces")
    axis.plot(x, _shares(np.ones((1, len(counts))), counts)[0], color=data, label="data")
    once = np.ones((1, len(simulated)))
    axis.plot(x, _shares(once, simulated)[0], color=model, linestyle=(0, (4, 2)), label="simulation")
    axis.set_xscale("log")
    axis.set_xlim(x[0], x[-1])
    axis.set_ylim(0, 1)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if x[-1] > 100 * x[0] else (1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_title(compared.name, loc="left", fontsize=11, weight="bold")
    axis.set_xlabel(AXES[compared.kind])


def _shares(weight: Any, counts: Any) -> Any:
    """Shares of all values at or below each limit, (B, G), from counts per run (R, G + 1), all values last."""
    total = weight @ counts
    return total[:, :-1] / total[:, -1:]


def _legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def learning_figure(
    runs: Sequence[Sequence[dict[str, Any]]], levels: Mapping[str, "Interval"], path: Path | None = None
) -> "Figure":
    """Reward an episode on the evaluation people by steps, a line a run; every rule's level with its 95 % interval.

    path: saved there."""
    import seaborn as sns
    from matplotlib.figure import Figure

    with sns.axes_style("white"):
        figure = Figure(figsize=(7.6, 4.6), layout="constrained")
        axis = figure.subplots()
        for looks, colour in zip(runs, sns.color_palette("colorblind", len(runs)), strict=True):
            steps, reward = [look["step"] / 1e6 for look in looks], [look["reward"] for look in looks]
            axis.plot(steps, reward, color=colour, marker="o", markersize=3, linewidth=1.5)
        ranked = sorted(levels.items(), key=lambda item: item[1].mean)
        last = max(look["step"] for looks in runs for look in looks) / 1e6
        for k, (_, interval) in enumerate(ranked):  # intervals beside each other, right of the curves
            axis.axhline(interval.mean, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
            ends = [[interval.mean - interval.low], [interval.high - interval.mean]]
            axis.errorbar([last * (1.05 + 0.025 * k)], [interval.mean], ends, color="0.45", fmt="o", markersize=3)
        low, high = axis.get_ylim()
        gap, places = 0.045 * (high - low), [interval.mean for _, interval in ranked]
        for _ in range(50):  # names do not cover each other
            for k in range(1, len(places)):
                apart = places[k] - places[k - 1]
                if apart < gap:
                    places[k - 1], places[k] = places[k - 1] - (gap - apart) / 2, places[k] + (gap - apart) / 2
        for (name, interval), at in zip(ranked, places, strict=True):
            axis.annotate(
                f"{name} {interval.mean:.1f}", (1.0, at), xycoords=("axes fraction", "data"), xytext=(6, 0),
                textcoords="offset points", va="center", fontsize=8, color="0.3",
            )  # fmt: skip
        figure.suptitle(textwrap.fill(_learnt(runs, ranked[-1]), 68), x=0.01, ha="left", fontsize=12, weight="bold")
        axis.set_title("Dashed: rules, with their 95 % intervals (not paired)", loc="left", fontsize=9, color="0.35")
        axis.set_xlabel("decisions learned from, millions")
        axis.set_ylabel("reward an episode")
        sns.despine(figure)
    if path is not None:
        save_figure(figure, path, dpi=150)
    return figure


def _learnt(runs: Sequence[Sequence[dict[str, Any]]], best: "tuple[str, Interval]") -> str:
    """What the trainings reached at their end, beside the best rule."""
    reached = float(np.mean([looks[-1]["reward"] for looks in runs]))
    who = f"{len(runs)} trainings earn" if len(runs) > 1 else "The training earns"
    return f"{who} {reached:.1f} an episode at the end; the best rule, {best[0]}, earns {best[1].mean:.1f}"


def frontier_figure(points: Sequence["FrontierPoint"], path: Path) -> Path:
    """Watch time that asking for pages brings against requests a session, paired 95 % intervals; fixed thresholds are
    joined by a line, which mixtures of two neighbours reach."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    with sns.axes_style("whitegrid"):
        figure, axis = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
        for trained, colour, style, label in (
            (False, "0.4", "o-", "fixed thresholds"), (True, "#0173b2", "D", "trained"),
        ):  # fmt: skip
            shown = sorted((p for p in points if p.trained == trained), key=lambda p: p.requests.mean)
            x, y = [p.requests.mean for p in shown], [p.gained.mean for p in shown]
            half = [p.gained.high - p.gained.mean for p in shown]
            axis.errorbar(x, y, half, fmt=style, color=colour, markersize=5, linewidth=1, capsize=2, label=label)
            names: dict[tuple[float, float], str] = {}
            for p, place in zip(shown, zip(x, y, strict=True), strict=True):
                names.setdefault(place, Path(p.name).name if trained else p.name)  # rules that never differ: the first
            for place, name in names.items():
                offset = (-6, 6) if trained else (7, -10)
                aligned = "right" if trained else "left"
                axis.annotate(name, place, xytext=offset, textcoords="offset points", fontsize=8, ha=aligned)
        axis.margins(x=0.12, y=0.1)
        axis.set_title(_beyond_thresholds(points), loc="left", fontsize=11, weight="bold")
        axis.set_xlabel("requests a session")
        axis.set_ylabel("seconds watched a session, beyond never asking")
        axis.legend(loc="lower right")
        save_figure(figure, path, dpi=150)
        plt.close(figure)
    return path


def _beyond_thresholds(points: Sequence["FrontierPoint"]) -> str:
    """What trained policies gain over thresholds at as many requests, a line each."""
    told = [(Path(p.name).name, p.above) for p in points if p.trained]
    lines = [
        f"{name}: {signed(above.mean)} s a session [{signed(above.low)}, {signed(above.high)}]"
        for name, above in told if above is not None
    ]  # fmt: skip
    return "\n".join(["Trained, over thresholds at as many requests:", *lines]) if lines else (
        "Asking more often brings watch time, at the price of requests"
    )


def off_policy_figure(found: "OffPolicy", path: Path | str | None = None) -> "Figure":
    """How far each off-policy estimate is off the truth, in percent, with 95 % intervals over the same people.

    A panel for a decision, one for a session; of what lies beyond WIDEST only numbers are seen. path: saved there."""
    with drawn(11, 3.6) as figure:
        for axis, about in zip(figure.subplots(1, len(found.gains)), found.gains, strict=True):
            rows = [row for row in found.rows if row.about == about and row.off]
            estimated = [row.name for few in (False, True) for row in found.estimates(about, few)]
            for y, row in enumerate(rows):
                assert row.off is not None
                mean, half = row.off.mean, row.off.high - row.off.mean
                axis.errorbar(mean, y, xerr=half, fmt=MARKERS[y], color=INK if row.name in estimated else GREY)
                said = f"{signed(mean)} ±{half:.1f} %"
                axis.annotate(said, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=9)
            axis.axvline(0, color=INK, linewidth=1)
            nearest = found.nearest(about)
            finding = f"{nearest.name} is nearest" if nearest else "nothing stands on enough"
            axis.set(title=f"{about.capitalize()}: {finding}", xlabel=f"{found.settings.reward}, % off the truth",
                     xlim=(-WIDEST, WIDEST), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)),
                     yticklabels=[row.name for row in rows])  # fmt: skip
    if path is not None:
        save_figure(figure, path)
    return figure
