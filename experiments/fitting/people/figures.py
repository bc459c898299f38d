"""Figures of how well simulated people match a log: when they leave, what they watch, how they differ and drift.

The log is drawn as a band, its own 95 % interval by a bootstrap over people; the simulation as a line. Called by the
command line; links and comparisons of policies are drawn in `experiments/output/figures.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.experiments.output.drawing import save_figure
from nextone.experiments.output.figures import network_figure
from nextone.sim.state import Array

from .facts import outcomes
from .lags import LAGS, OTHER_LESS_LASTING, SAME_LESS_OTHER
from .validate import Validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

CLASSES_S = ((7.0, 18.0), (18.0, 60.0), (60.0, 120.0), (120.0, np.inf))
CLASS_NAMES = ("7 to 18 s", "18 to 60 s", "1 to 2 min", "over 2 min")
HAZARD_TO_S = 40
SURVIVAL_S = np.geomspace(0.5, 300, 120)
RATIOS = np.arange(0, 2.05, 0.05)
RATES = np.linspace(0, 1, 11)
MIN_ROWS = 10  # of a person, to have a rate
SAMPLES = 100
GREY = "0.45"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))  # told apart in grey print, too
MARKERS = ("o", "s", "^", "D")

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {  # what each figure is about, and rows of the scoreboard about that
    "leaving": ("play times", ("play time: ", "P(play", "hazard in second")),
    "watch_ratio": ("plays as parts of a video", ("complete", "long view", "valid play")),
    "people": ("differences between people", ("spread between users: ",)),
    "drift": ("correlations by the time between two plays", (*OTHER_LESS_LASTING, *SAME_LESS_OTHER)),
}


class Band(NamedTuple):
    """A curve of the log and its 95 % interval, (n,) each."""

    value: Array
    low: Array
    high: Array


def save_figures(of: Validation, out: Path) -> list[Path]:
    """leaving.png, watch_ratio.png, people.png, drift.png, and links.png, which is figures.py's."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    paths = []
    for name, draw in (("leaving", leaving), ("watch_ratio", watch_ratio), ("people", people), ("drift", drift)):
        with sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.92"}), sns.plotting_context("notebook"):
            figure = plt.figure(figsize=(7.5 if name == "watch_ratio" else 12, 4.6), layout="constrained")
            draw(figure, of)
            figure.suptitle(_within(of, ROWS[name]), x=0.01, ha="left", fontsize=13, weight="bold")
            sns.despine(figure)
            paths.append(out / f"{name}.png")
            save_figure(figure, paths[-1], dpi=150)
            plt.close(figure)
    if of.links:
        paths.append(out / "links.png")
        network_figure(of.links, paths[-1])
    return paths


def leaving(figure: "Figure", of: Validation) -> None:
    """Hazard of leaving in each second, and survival, by length of the video."""
    left, right = figure.subplots(1, 2)
    for k, (low, high) in enumerate(CLASSES_S):
        logs = [_of_length(log, low, high) for log in (of.measured, of.simulated)]
        seconds = min(int(low), HAZARD_TO_S)  # before any of them ends
        _both(left, np.arange(seconds) + 0.5, logs, partial(_hazard, seconds), k, CLASS_NAMES[k])
        _both(right, SURVIVAL_S, logs, _survival, k, CLASS_NAMES[k])
    left.set(xscale="log", yscale="log", xlabel="second of the video", ylabel="chance to leave in this second")
    left.set_xticks([0.5, 1.5, 2.5, 4.5, 9.5, 19.5, 39.5], ["0", "1", "2", "4", "9", "19", "39"])
    left.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2], ["1 %", "2 %", "5 %", "10 %", "20 %"])
    left.minorticks_off()
    right.set(xscale="log", xlabel="play time, s", ylabel="share still watching", ylim=(0, 1))
    right.set_xticks([0.5, 1, 2, 5, 10, 30, 60, 120, 300], ["0.5", "1", "2", "5", "10", "30", "60", "120", "300"])
    right.minorticks_off()
    _titles(left, right, names=("Leaving, second by second", "Still watching"))
    _legend(left, right, of, title="length of the video")


def watch_ratio(figure: "Figure", of: Validation) -> None:
    """Share of plays by the ratio of play time to length."""
    axes = figure.subplots()
    bins = len(RATIOS) - 1

    def shares(log: UserLog, weight: Array) -> Array:
        at = np.minimum((log.play_ms / log.duration_ms / RATIOS[1]).astype(int), bins)
        count = np.bincount(at, weight[log.user], bins + 1)
        return np.asarray(count[:-1] / count.sum())

    _both(axes, RATIOS, [of.measured, of.simulated], shares, step=True)
    axes.set(yscale="log", xlabel="play time / length of the video", ylabel="share of plays per 0.05", xlim=(0, 2))
    axes.set_yticks([0.001, 0.003, 0.01, 0.03, 0.1, 0.3], ["0.1 %", "0.3 %", "1 %", "3 %", "10 %", "30 %"])
    axes.minorticks_off()
    _titles(axes, names=("How much of a video is played",))
    _legend(axes, axes, of)


def people(figure: "Figure", of: Validation) -> None:
    """Rates of single people, of long views and of skips; and how they would spread if all people were alike."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MultipleLocator

    panels = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, ("long view", "skip < 2 s"), strict=True):

        def shares(log: UserLog, weight: Array, name: str = name) -> Array:
            return _rates(log, outcomes(log)[name], weight)

        _both(axes, RATES, [of.measured, of.simulated], shares, step=True)
        alike = np.random.Generator(np.random.Philox(key=0)).permutation(outcomes(of.measured)[name])
        same = _rates(of.measured, alike, np.ones(of.measured.users))
        axes.stairs(same, RATES, baseline=None, color=GREY, linestyle=":", linewidth=1.5)
        axes.set(xlabel=f"share of a person's plays: {name}", xlim=(0, 1))
        axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
        axes.yaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
        axes.yaxis.set_major_locator(MultipleLocator(0.05))
    panels[0].set(ylabel=f"share of people with {MIN_ROWS} plays or more", ylim=(0, None))
    _titles(*panels, names=("Long views of single people", "Quick skips of single people"))
    dotted = Line2D([], [], color=GREY, linestyle=":", label="were all people alike")
    panels[1].legend(handles=[*_kinds(of), dotted], frameon=False)


def drift(figure: "Figure", of: Validation) -> None:
    """Correlation of the residuals of two long views of a person by the time between them: what passes with time, and
    what two videos of one tag add."""
    rows = {row.quantity: row for row in of.rows}
    panels = figure.subplots(1, 2)
    for axes, names, colour in zip(panels, (OTHER_LESS_LASTING, SAME_LESS_OTHER), _colours(2), strict=True):
        there = [(k, rows[name]) for k, name in enumerate(names) if name in rows]
        at = np.array([k for k, _ in there])
        if len(there):
            low, high, value, simulated = np.array([(r.low, r.high, r.target, r.simulated) for _, r in there]).T
            axes.fill_between(at, low, high, color=colour, alpha=0.25, linewidth=0, label=_log_name(of))
            axes.plot(at, value, "x--", color=GREY, linewidth=1.2, label=of.measured.source)
            axes.plot(at, simulated, "o-", color=colour, label="simulation")
            axes.legend(frameon=False)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xticks(range(len(LAGS)), ["\n".join(lag.replace(" to ", "–").rsplit(" ", 1)) for lag in LAGS])
        axes.set(xlabel="time between two plays of a person")
    panels[0].set_ylabel("difference of correlations of long views\n(each minus its video's own rate)")
    _titles(*panels, names=("What passes within a day", "What a common tag adds"))


def _within(of: Validation, about: tuple[str, tuple[str, ...]]) -> str:
    """How many of these rows of the scoreboard are within tolerance, as a title."""
    what, names = about
    rows = [row for row in of.judged if row.quantity.startswith(names)]
    if not rows:
        return f"The log has too little for measures of {what}"
    return f"{sum(row.ok for row in rows)} of {len(rows)} measures of {what} are within tolerance of the log"


def _both(
    axes: "Axes",
    x: Array,
    logs: list[UserLog],
    curve: Callable[[UserLog, Array], Array],
    k: int = 0,
    name: str = "",
    step: bool = False,
) -> None:
    """The measured log as a band, the simulated one as a line, the k-th of its panel."""
    measured, simulated = logs
    colour = _colours(k + 1)[k]
    band, once = _band(measured, curve), curve(simulated, np.ones(simulated.users))
    if step:
        axes.stairs(band.high, x, baseline=band.low, fill=True, color=colour, alpha=0.3, linewidth=0)
        axes.stairs(band.value, x, baseline=None, color=colour, alpha=0.35, linewidth=3)
        axes.stairs(once, x, baseline=None, color=colour, linewidth=1.8)
    else:
        axes.fill_between(x, band.low, band.high, color=colour, alpha=0.3, linewidth=0)
        axes.plot(x, band.value, color=colour, alpha=0.3, linewidth=4)
        axes.plot(
            x, once, color=colour, linestyle=DASHES[k], linewidth=1.6, label=name, marker=MARKERS[k], markersize=5,
            markevery=(0.03 * k, 0.12),
        )  # fmt: skip


def _band(log: UserLog, curve: Callable[[UserLog, Array], Array]) -> Band:
    rng = np.random.Generator(np.random.Philox(key=log.users))
    drawn = (np.bincount(rng.integers(log.users, size=log.users), minlength=log.users) for _ in range(SAMPLES))
    with np.errstate(invalid="ignore"):
        again = np.array([curve(log, weight.astype(float)) for weight in drawn])
    low, high = np.nanquantile(again, [0.025, 0.975], axis=0)
    return Band(curve(log, np.ones(log.users)), low, high)


def _of_length(log: UserLog, low: float, high: float) -> UserLog:
    """The rows of a log whose videos are that long, s; people keep their numbers."""
    rows = (log.duration_ms > low * 1e3) & (log.duration_ms <= high * 1e3)
    names = ("user", "video", "time_ms", "duration_ms", "play_ms")
    return replace(log, feedback={}, labels={}, tag=None, **{name: getattr(log, name)[rows] for name in names})


def _hazard(seconds: int, log: UserLog, weight: Array) -> Array:
    count = np.bincount(np.minimum(log.play_ms // 1000, seconds), weight[log.user], seconds + 1)
    at_risk = np.cumsum(count[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        return np.asarray((count / at_risk)[:seconds])


def _survival(log: UserLog, weight: Array) -> Array:
    at = np.searchsorted(SURVIVAL_S, log.play_ms / 1e3, side="right")
    count = np.bincount(at, weight[log.user], len(SURVIVAL_S) + 1)
    return np.asarray(np.cumsum(count[::-1])[::-1][1:] / max(count.sum(), 1))


def _rates(log: UserLog, yes: Array, weight: Array) -> Array:
    """Share of people, of those with MIN_ROWS, by their rate."""
    rows = np.bincount(log.user, minlength=log.users)
    rate = np.bincount(log.user, yes, log.users) / np.maximum(rows, 1)
    at = np.minimum((rate * (len(RATES) - 1)).astype(int), len(RATES) - 2)
    count = np.bincount(at, weight * (rows >= MIN_ROWS), len(RATES) - 1)
    return np.asarray(count / max(count.sum(), 1))


def _colours(n: int) -> list[tuple[float, float, float]]:
    import seaborn as sns

    return list(sns.color_palette("colorblind", n))


def _titles(*axes: "Axes", names: tuple[str, ...]) -> None:
    for each, name in zip(axes, names, strict=True):
        each.set_title(name, loc="left", fontweight="bold")


def _log_name(of: Validation) -> str:
    return f"{of.measured.source}, 95 %"


def _legend(colours: "Axes", styles: "Axes", of: Validation, title: str | None = None) -> None:
    """Colours, if they mean something, in one panel; band and line in the other."""
    if title:
        colours.legend(title=title, frameon=False, handlelength=4)
    styles.legend(handles=_kinds(of), frameon=False)


def _kinds(of: Validation) -> list["Patch | Line2D"]:
    """What band and line stand for."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [Patch(color=GREY, alpha=0.4, label=_log_name(of)), Line2D([], [], color="0.2", label="simulation")]
