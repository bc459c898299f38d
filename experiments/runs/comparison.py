"""What a comparison found, and its table for the terminal, which carries intervals, replications and the seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextone.version import __version__

from .arms import Arm, Engine, window_words
from .metrics import (
    GUARD_RAILS,
    OVERLOAD,
    PRICES,
    PRIMARY,
    Metric,
    drowned,
    nobody_words,
    overload_mark,
    shares,
    without_people,
)
from .number_text import STAR, difference_cell, difference_text, interval_text, name_and_unit
from .statistics import Interval, PairedDifference, many_looked_at, mean_interval, one_is_best, paired


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of a comparison: values by arm, replication and metric (NaN where undefined), and what repeats it."""

    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    values: NDArray[np.float64]  # (A, R, M)
    seed: int
    minutes: float | None
    days: float | None
    engine: Engine
    positions: NDArray[np.int64]  # (A, R, P, 2) by position in the page: impressions, and valid plays among them
    version: str = __version__
    provenance: Mapping[str, Any] = field(default_factory=dict)  # see experiments/runs/provenance.py
    looks: tuple[int, ...] = ()  # other numbers of replications at which its results were saved before

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with: the first."""
        return self.arms[0]

    @property
    def replications(self) -> int:
        """How many replications each arm has."""
        return len(self.values[0])

    @cached_property
    def intervals(self) -> tuple[tuple[Interval | None, ...], ...]:
        """[arm][metric]: mean over replications with its 95 % interval; None where undefined."""
        if self.nobody_opened == self.replications:
            return ((None,) * len(self.metrics),) * len(self.arms)
        return tuple(tuple(mean_interval(column, self.extended) for column in arm.T) for arm in self.values)

    @cached_property
    def differences(self) -> tuple[tuple[PairedDifference | None, ...], ...]:
        """[arm][metric]: paired difference from the baseline; None for the baseline and where undefined.

        Sure of the primary metric by `one_is_best` of its arms, of the others by `many_looked_at` together."""
        nothing: tuple[PairedDifference | None, ...] = (None,) * len(self.metrics)
        arms, metrics = range(1, len(self.arms)), range(len(self.metrics))
        found = {m: [self.difference(0, a, m) for a in arms] for m in metrics}
        first = next((m for m in metrics if self.metrics[m].name == PRIMARY), -1)
        rest = [m for m in metrics if m != first]
        judged = iter(many_looked_at([d for m in rest for d in found[m]]))
        told = {m: [next(judged) for _ in arms] for m in rest} | {first: one_is_best(found.get(first, []))}
        return nothing, *(tuple(told[m][a - 1] for m in metrics) for a in arms)

    def difference(self, before: int, after: int, metric: int) -> PairedDifference | None:
        """Paired difference between two arms, by their places; None where undefined."""
        if self.nobody_opened == self.replications:
            return None
        return paired(self.values[before, :, metric], self.values[after, :, metric], self.extended)

    @property
    def extended(self) -> bool:
        """Whether it was looked at before with other numbers of replications; its intervals then allow for that."""
        return bool(self.looks)

    @cached_property
    def overloaded(self) -> tuple[bool, ...]:
        """[arm]: whether its servers drowned, by the means over replications."""
        return tuple(map(drowned, self.values))

    @property
    def drowned(self) -> tuple[str, ...]:
        """The labels of the arms whose servers drowned."""
        return tuple(arm.label for arm, drowned in zip(self.arms, self.overloaded, strict=True) if drowned)

    @property
    def nobody_opened(self) -> int:
        """In how many replications nobody opened the app, under any arm."""
        return int(without_people(self.values).all(axis=0).sum())

    def label(self, arm: int) -> str:
        """An arm's label, marked where its servers drowned."""
        return self.arms[arm].label + overload_mark(self.overloaded[arm])

    @cached_property
    def valid_play_by_position(self) -> tuple[tuple[Interval | None, ...], ...]:
        """[arm][position in the page]: share of valid plays; None where some replication has no impression there."""
        return tuple(tuple(map(mean_interval, shares(arm).T)) for arm in self.positions)

    def __str__(self) -> str:
        """The table, as `nextone compare` prints it."""
        console = Console(width=120, color_system=None)
        with console.capture() as text:
            console.print(comparison_table(self))
        return text.get()

    def window(self) -> str:
        """`60 min` or `2 days`, for titles."""
        return window_words(self.minutes, self.days)


def comparison_table(result: Comparison, whole: bool = True) -> Table:
    """Baseline mean ± half-width per metric, then each arm's paired difference; fits 100 columns with three arms.

    whole: every metric, and what shared luck saved; else the primary one, guard rails and prices."""
    table = Table(title=Text(_title(result)), caption=Text(_caption(result, whole)), caption_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column(Text(result.label(0)), justify="right", overflow="fold")
    for a in range(1, len(result.arms)):
        table.add_column(Text(f"{result.label(a)} %"), justify="right", overflow="fold")  # wraps at spaces if narrow
    difference = difference_cell if whole else _difference_alone
    for group, indices in groups(result):
        shown = [m for m in indices if whole or group == GUARD_RAILS or result.metrics[m].name in (PRIMARY, *PRICES)]
        if not shown:
            continue
        table.add_section()
        table.add_row(Text(group, style="bold"))
        for m in shown:
            cells = [
                difference(row[m], result.metrics[m])
                if row[m] or result.intervals[0][m]
                else interval_text(own[m])
                for row, own in zip(result.differences[1:], result.intervals[1:], strict=True)
            ]
            metric = result.metrics[m]
            name = Text(f"  {name_and_unit(metric)}", style="bold" if metric.name == PRIMARY else "")
            table.add_row(name, interval_text(result.intervals[0][m]), *cells)
    return table


def _difference_alone(d: PairedDifference | None, metric: Metric) -> Text:
    return difference_text(d, metric.better)


def ran(result: Comparison, servers: str) -> str:
    """People, window, replications, seed, method: for captions. servers: `ample servers`, or what they are."""
    return (
        f"{result.baseline.scenario.population.users:,} people, {result.window()}, {result.replications} replications "
        f"with shared luck, seed {result.seed}, {servers}, 95 % intervals"
        + "".join(f". {words}" for words in (extended(result), empty(result)) if words)
    )


def groups(result: Comparison) -> Iterator[tuple[str, list[int]]]:
    """Metrics by group, both in the order in which they are defined."""
    for group in dict.fromkeys(metric.group for metric in result.metrics):
        yield group, [m for m, metric in enumerate(result.metrics) if metric.group == group]


def subtitle(result: Comparison) -> str:
    """What was run and how to read the table, for its caption."""
    people = result.baseline.scenario.population.users
    return (
        f"{people:,} people, {result.window()}, {result.replications} replications with shared luck, seed "
        f"{result.seed}, {result.engine} engine. Primary metric: {PRIMARY}. Paired 95 % intervals. ↑ more is better, ↓ "
        "fewer is better." + f" {OVERLOAD}." * any(result.overloaded)
        + "".join(f" {words}" for words in (extended(result), empty(result)) if words)
    )


def empty(result: Comparison) -> str:
    """The sentence that nobody opened the app in some replications; empty if somebody did in all."""
    return nobody_words(result.nobody_opened, result.replications, result.window())


def extended(result: Comparison) -> str:
    """The sentence that it was looked at before with other numbers of replications; empty if it was not."""
    looks = ", ".join(map(str, result.looks))
    return f"Looked at before with {looks} replications: intervals hold however often one looks." if looks else ""


def _title(result: Comparison) -> str:
    return f"{result.baseline.label} against {', '.join(arm.label for arm in result.arms[1:])}"


def _caption(result: Comparison, whole: bool) -> str:
    others = result.differences[1:]
    if not whole:
        return (
            f"{subtitle(result)}\nArms: paired difference in % of the baseline's mean ± half its interval; {STAR}; "
            "abs: in the metric's unit. All metrics: --all."
        )
    return (
        f"{subtitle(result)}\nArms: paired difference in % of the baseline's mean ± half its 95 % interval; "
        f"{STAR}; ×n: the variance that shared luck saved (abs: in the metric's unit, where the "
        f"baseline cannot be told from 0; without * or ×: the arm's own mean, where the baseline has none).\n"
        f"Median over metrics: {'; '.join(map(_luck, result.arms[1:], others))}."
    )


def _luck(arm: Arm, differences: Sequence[PairedDifference | None]) -> str:
    """`random correlation .93, variance ×12` of an arm with the baseline."""
    known = [d for d in differences if d is not None and d.correlation is not None and d.variance_saved is not None]
    if not known:
        return f"{arm.label} nothing shared varies"
    correlation = median(d.correlation or 0.0 for d in known)
    return f"{arm.label} correlation {correlation:.2f}, variance ×{median(d.variance_saved or 0.0 for d in known):.3g}"
