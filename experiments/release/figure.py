"""A figure of one release as it unfolds: who has version 2, and what the monitor shows of both versions by minute."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from nextone.experiments.output.drawing import GREY, INK, bare, drawn, palette, save_figure

from .plan import Plan
from .run import Released

SMOOTH_MIN, FEWEST = 5, 30  # minutes of a rate, and what it must be of: noise hides the rest otherwise


def _rate(top: Any, bottom: Any) -> Any:
    """A ratio of sums over some minutes; NaN where there is hardly anything below."""
    ones = np.ones(SMOOTH_MIN)
    above, below = (np.convolve(each, ones, "same") for each in (top, bottom))
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below >= FEWEST)


PANELS: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
    ("phones active", lambda t: t["phones"]),
    ("effective views\nper impression", lambda t: _rate(t["valid_plays"], t["impressions"])),
    ("decision, ms\n(95th percentile)", lambda t: t["latency_p95_ms"]),
    ("failed decisions, %", lambda t: 100 * _rate(t["failures"], t["decisions"])),
)
"""What is drawn of the monitor, from the columns of one version."""


def figure(plan: Plan, released: Released, path: Path) -> None:
    """released: with its monitor's table."""
    table = released.monitor
    assert table is not None, "the table of this release was not kept"
    one, two = ({name: np.asarray(column)[v::2].astype(float) for name, column in table.items()} for v in (0, 1))
    old, new = (arm.label for arm in plan.versions)
    with drawn(8.2, 8.4) as page:
        axes = page.subplots(len(PANELS) + 1, 1, sharex=True)
        _waves(axes[0], plan, released)
        for axis, (label, of) in zip(axes[1:], PANELS, strict=True):
            for each, colour, name in zip((one, two), palette(2), (old, new), strict=True):
                axis.plot(each["minute"], of(each), color=colour, linewidth=1.4, label=name)
            axis.set_ylabel(label, fontsize=9)
            bare(axis)
        axes[1].legend(loc="upper left", ncols=2, frameon=False, fontsize=9)
        for axis in axes:
            for event in released.events:
                axis.axvline(event.minute, color=GREY, linewidth=0.8, linestyle=":" if event.what == "wave" else "-")
        axes[-1].set_xlabel(f"minutes; rates are of {SMOOTH_MIN} minutes together")
        axes[0].set_title("\n".join(wrap(_title(plan, released), 84)), loc="left")
        save_figure(page, path)


def _waves(axis: Any, plan: Plan, released: Released) -> None:
    """The share of people that is to have version 2, with the ends of waves that are not usual."""
    begins = [event for event in released.events if event.what in ("wave", "rolled back")]
    x = [0.0, *(event.minute for event in begins), plan.hours * 60]
    share = [0.0, *(100 * plan.waves[e.wave - 1].share if e.what == "wave" else 0.0 for e in begins)]
    axis.step(x, [*share, share[-1]], where="post", color=INK, linewidth=1.6)
    axis.set_ylabel("to have it, %", fontsize=9)
    axis.set_ylim(0, 108)
    for minute, events in groupby((e for e in released.events if e.what != "wave"), key=lambda e: e.minute):
        axis.annotate(" " + ", ".join(e.what for e in events), (minute, 100), fontsize=9, color=INK, va="top")
    bare(axis)


def _title(plan: Plan, released: Released) -> str:
    what = "as planned" if plan.fault is None else plan.fault.kind
    had = f"{released.people:,} people had it, for {released.hours:.3g} hours in the app"
    return f"{plan.versions[1].label}, {what}: {released.end}; {had}"
