"""Figures: one release as it unfolds, with what the monitor shows of both versions; and plans beside each other."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from nextone.experiments.output.drawing import GREY, INK, Curve, bare, curves, drawn, palette, save_figure

from .plan import Plan
from .run import Released
from .summary import Releases

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


def plans_figure(found: Releases, title: str, path: Path) -> None:
    """What each plan costs in delay, and what each fault reaches under it; of many releases."""
    rows = found.rows()
    plans = sorted(found.plans, key=lambda plan: plan.shortest_min)
    series = [
        Curve(label, *np.array([(row.hours.mean, row.hours.low, row.hours.high) for row in mine]).T.tolist())
        for label, mine in (
            (label, [next(row for row in rows if row.plan == plan.name and row.label == label) for plan in plans])
            for label in dict.fromkeys(row.label for row in rows)
        )
    ]
    x = [plan.shortest_min for plan in plans]
    with drawn(7.2, 4.6) as page:
        axis = page.subplots()
        curves(axis, x, series)
        axis.set_yscale("log")
        axis.set_xticks(x, [f"{plan.shortest_min:g}\n{plan.name}" for plan in plans])
        axis.set_xlabel("minutes that the waves take")
        axis.set_ylabel("hours in the app with version 2")
        axis.legend(frameon=False, fontsize=9)
        bare(axis)
        axis.set_title("\n".join(wrap(title, 72)), loc="left")
        save_figure(page, path)
