"""The common hand of the what-ifs' and the report's figures: one style, one order of colours and markers, intervals.

Colours are seaborn's colour-blind palette, each with a marker of its own, so that a print in grey can be read too.
Figures are written whole as PNG, or returned as SVG text with letters as outlines, which needs no fonts.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nextone.experiments.runs.files import write_whole
from nextone.experiments.runs.statistics import Interval, PairedDifference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure

INK, GREY, PALE = "#222833", "#667085", "#e4e7ec"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ((None, None), (5, 2), (2, 1.5), (6, 2, 1.5, 2))


class Curve(NamedTuple):
    """A series of points with intervals, (n,) each; NaN where undefined."""

    label: str
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@contextmanager
def drawn(width: float, height: float) -> Iterator["Figure"]:
    """An empty figure in our style; sizes in inches. It belongs to no window and no notebook: it is the caller's."""
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.figure import Figure

    style = {"axes.edgecolor": GREY, "axes.labelcolor": INK, "text.color": INK, "grid.color": PALE,
             "xtick.color": GREY, "ytick.color": GREY, "axes.titlecolor": INK}  # fmt: skip
    fixed: Any = {"axes.titleweight": "bold", "axes.titlesize": 11}
    with sns.plotting_context("notebook", font_scale=0.85), sns.axes_style("whitegrid", style), mpl.rc_context(fixed):
        yield Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path | str, dpi: int = 130) -> None:
    """Save a figure in the format that the ending of `path` says, whole or not at all."""
    with _names_as_they_are(figure):
        write_whole(path, lambda tmp: figure.savefig(tmp, dpi=dpi))


def svg_text(figure: "Figure") -> str:
    """The figure as an <svg> element, the same bytes for the same figure."""
    import matplotlib as mpl

    text = io.StringIO()
    with _names_as_they_are(figure), mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "nextone"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


@contextmanager
def _names_as_they_are(figure: "Figure") -> Iterator[None]:
    """Dollars in what a user called an arm begin no formula; a character that the font lacks is drawn as a box, which
    says enough without matplotlib's warning."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text():  # labels of ticks, which may be formulas, are still empty
            text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def palette(n: int) -> list[tuple[float, float, float]]:
    """n colours that colour-blind people can tell apart, up to eight."""
    import seaborn as sns

    colours = [c for k, c in enumerate(sns.color_palette("colorblind", 10)) if k not in (7, 8)]  # no grey, no yellow
    return [colours[k % len(colours)] for k in range(n)]


def curves(axis: "Axes", x: ArrayLike, series: Sequence[Curve], *, joined: bool = True, apart: float = 0.0) -> None:
    """Points with 95 % bars; the order of series fixes colours and markers. apart: room for the series of one place,
    side by side, in units of x."""
    places = np.asarray(x, float)
    step = apart / max(len(series), 2)
    for k, (curve, colour) in enumerate(zip(series, palette(len(series)), strict=True)):
        mean, low, high = (np.asarray(v, float) for v in curve[1:])
        at = places + (k - (len(series) - 1) / 2) * step
        marker = MARKERS[k % len(MARKERS)]
        axis.errorbar(
            at, mean, [mean - low, high - mean], fmt="none", ecolor=colour, elinewidth=1.6, capsize=2.5, zorder=2
        )
        (line,) = axis.plot(
            at, mean, marker, color=colour, markersize=5.5, markeredgecolor="white", markeredgewidth=0.6,
            label=curve.label, zorder=3,
        )  # fmt: skip
        if joined:
            line.set_linestyle("-")
            line.set_linewidth(1.6)
            if k % len(DASHES):
                line.set_dashes([d for d in DASHES[k % len(DASHES)] if d is not None])


def zero_line(axis: "Axes") -> None:
    """A line at zero, where there is no difference."""
    axis.axhline(0, color=INK, linewidth=1, zorder=1)


def bare(axis: "Axes") -> None:
    """Remove all lines that the eye does not need: the abscissa and the horizontal grid stay."""
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.grid(visible=False, axis="x")


def curve_of(label: str, found: Sequence[Interval | PairedDifference | None]) -> Curve:
    """A curve of means with intervals, or of differences in percent; it has gaps where they are undefined."""
    points = np.array([ends(x) for x in found]).reshape(-1, 3)
    return Curve(label, *points.T.tolist())


def ends(x: Interval | PairedDifference | None) -> tuple[float, float, float]:
    """(mean, low, high) of an interval, or of a difference in percent; NaN if there is none."""
    if isinstance(x, Interval):
        return x.mean, x.low, x.high
    if x is None or x.diff_pct is None or x.diff_pct_low is None or x.diff_pct_high is None:
        return math.nan, math.nan, math.nan
    return x.diff_pct, x.diff_pct_low, x.diff_pct_high


def is_number(text: str) -> bool:
    """Whether the text is a number, so that an axis can place it."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
