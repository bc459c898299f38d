"""Numbers as text: means with their half-widths, differences in percent with their sign, metrics with their unit."""

import math
from typing import TYPE_CHECKING

from rich.text import Text

from .statistics import Interval, PairedDifference

if TYPE_CHECKING:
    from .metrics import Metric

MISSING = "–"
STAR = "* no luck, with how many numbers are looked at allowed for"


def name_and_unit(metric: "Metric") -> str:
    """The name of a metric, its unit, and an arrow if more or fewer of it is better: `app_min [min/person] ↑`."""
    arrow = {"more": " ↑", "fewer": " ↓"}.get(metric.better, "")
    return f"{metric.name}{f' [{metric.unit}]' if metric.unit else ''}{arrow}"


def interval_text(interval: Interval | None) -> str:
    """The mean of an arm with half of its interval."""
    return MISSING if interval is None else mean_and_half(interval.mean, interval.high - interval.mean)


def mean_and_half(mean: float, half: float) -> str:
    """Both with the decimals that the half-width deserves: two significant digits of it, four of an exact mean."""
    half = half if half > 1e-9 * abs(mean) else 0.0  # what rounding leaves of numbers that do not vary
    size = half if half > 0 else abs(mean) / 100
    decimals = min(8, max(0, 1 - math.floor(math.log10(size)))) if size > 0 else 0
    return f"{mean:,.{decimals}f} ±{half:,.{decimals}f}"


def difference_cell(d: PairedDifference | None, metric: "Metric") -> Text:
    """A paired difference in a table's cell, coloured by which way is better for the metric."""
    text = difference_text(d, metric.better)
    if d is not None and d.diff_pct is not None and not d.diff == d.low == d.high == 0:
        text.append(f" {_saved(d)}")
    return text


def difference_text(d: PairedDifference | None, better: str) -> Text:
    """`+0.29 ±0.24*`, percent of the baseline's mean; green if it is surely better, red if surely worse."""
    if d is None:
        return Text(MISSING, style="dim")
    if d.diff == d.low == d.high == 0:
        return Text("0", style="dim")
    if d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        size = mean_and_half(abs(d.diff), d.high - d.diff)
        return Text(f"{'+' if d.diff >= 0 else '−'}{size} abs", style="dim")
    good = (d.diff > 0) == (better == "more")
    style = "dim" if not d.sure else "" if better == "neither" else "green" if good else "red"
    return Text(f"{signed(d.diff_pct)} ±{_rounded(d.diff_pct_high - d.diff_pct)}{'*' if d.sure else ' '}", style=style)


def percent_interval(d: PairedDifference | None, unit: str = "") -> str:
    """`+0.41 % [−0.20, +1.02]`, or in the metric's unit where a percentage is undefined."""
    if d is None:
        return "an undefined difference"
    if d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        return f"{signed(d.diff)} {unit} [{signed(d.low)}, {signed(d.high)}]"
    return f"{signed(d.diff_pct)} % [{signed(d.diff_pct_low)}, {signed(d.diff_pct_high)}]"


def span(seconds: float) -> str:
    """A time as people say it."""
    return "less than a minute" if seconds < 60 else "a minute" if seconds < 90 else f"about {seconds / 60:.0f} minutes"


def _saved(d: PairedDifference) -> str:
    if d.variance_saved is None:
        return "     "
    shown = "∞" if math.isinf(d.variance_saved) else f"{min(d.variance_saved, 9999):.0f}"
    return f"×{shown}".ljust(5) if d.variance_saved >= 1 else f"×{d.variance_saved:.1f}".ljust(5)


def signed(x: float) -> str:
    """A number as text with its sign; zero has none."""
    text = _rounded(abs(x))
    return text if not float(text.replace(",", "")) else f"{'+' if x > 0 else '−'}{text}"


def _rounded(x: float) -> str:
    return f"{x:.2f}" if x < 10 and x != int(x) else f"{x:.1f}" if x < 100 and x != int(x) else f"{x:,.0f}"
