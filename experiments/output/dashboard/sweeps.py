"""A sweep as a page shows it: the answer, where a cell lies on its axes, maps, cuts and the table of cells."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.output.report.landscape import labels
from nextone.experiments.output.report.page import flat_cell
from nextone.experiments.output.report.report import answer_so_far, read_unfinished
from nextone.experiments.runs.metrics import PRICES, PRIMARY, Metric, metric_named
from nextone.experiments.runs.number_text import (
    MISSING,
    difference_text,
    interval_text,
    name_and_unit,
    percent_interval,
)
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.experiments.sweeps.answer import cell_words, field_name, value_text
from nextone.experiments.sweeps.plan import Cell as SweepCell
from nextone.experiments.sweeps.result import OBJECTIVES, RESULTS, SweepArm, SweepResult, read_sweep
from nextone.experiments.sweeps.table import EXTENDED, sweep_rows

from .comparisons import against_cell
from .figures import MARKS, Point, Series, Square, css_colours
from .lives import Asked
from .tables import Cell, Row, Table, number_cell

LEVEL, DEFAULT, BASELINE = "level", "default", "baseline"
COSTS = tuple(name for name, _ in OBJECTIVES if name != PRIMARY)
MOST_SQUARES = 60  # rows or columns of a map; what has more is no grid


class Axis(NamedTuple):
    """A swept field and the values it takes, ascending if they are numbers."""

    name: str
    values: tuple[str, ...]
    numeric: bool


class SweepView(NamedTuple):
    """A sweep that was read."""

    result: SweepResult
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    axes: tuple[Axis, ...]
    places: Mapping[tuple[int, ...], SweepCell]  # by its place on each axis
    front: frozenset[tuple[int, str]]  # (cell number, policy) that nothing else dominates

    def place(self, cell: SweepCell) -> tuple[int, ...]:
        """The place of a cell on each axis."""
        return _place(self.axes, cell)

    def start(self) -> tuple[int, ...]:
        """Where the sliders are at first: at the best cell, else the default, else the first."""
        best = self.result.best
        cell = best.arm.cell if best else self.result.plan.default
        return self.place(cell if cell.number not in self.result.failed else self.result.cells[0])

    def nearest(self, place: Sequence[int]) -> tuple[SweepCell, bool]:
        """(the cell at a place of the sliders, True); where there is none, the nearest by places on the axes, False."""
        there = self.places.get(tuple(place))
        if there is not None:
            return there, True
        far = {p: sum(abs(a - b) / max(len(axis.values) - 1, 1) for a, b, axis in zip(p, place, self.axes, strict=True))
               for p in self.places}  # fmt: skip
        return self.places[min(far, key=lambda p: (far[p], p))], False

    def dominated(self, arm: SweepArm) -> bool:
        """Whether another arm has more time in the app, fewer requests and fewer wasted bytes, by the means."""
        return (arm.cell.number, arm.policy) not in self.front

    def asked(self, cell: SweepCell, policy: str) -> Asked:
        """What is needed to simulate a person's life in a cell again."""
        plan = self.result.plan
        task = plan.task(cell, policy, 0)
        return Asked(str(task.arm.policy), task.arm.scenario, plan.seed, plan.minutes, plan.days)


@lru_cache(maxsize=8)
def sweep_view(folder: Path, stamp: str) -> SweepView:
    """The sweep in a folder, as far as it has come. stamp: it changes when the files do. Raises SettingError."""
    del stamp
    finished = (folder / RESULTS).is_file()
    result = read_sweep(folder) if finished else read_unfinished(folder)
    warnings = (result.failures if finished else "", EXTENDED if result.extended else "")
    axes = tuple(
        Axis(name, tuple(labels(result.cells, name)), all(_is_number(cell.values[name]) for cell in result.cells))
        for name in (result.plan.cells[0].values if result.cells else {})
    )
    places = {_place(axes, cell): cell for cell in result.cells}
    front = frozenset((arm.cell.number, arm.policy) for arm in result.pareto)
    return SweepView(result, answer_so_far(result), tuple(filter(None, warnings)), axes, places, front)


def _place(axes: Sequence[Axis], cell: SweepCell) -> tuple[int, ...]:
    return tuple(axis.values.index(value_text(cell.values[axis.name])) for axis in axes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def caption(view: SweepView) -> str:
    """What was run."""
    plan = view.result.plan
    return (
        f"{len(plan.cells):,} cells, {', '.join(plan.policies)}; {plan.base.population.users:,} people, "
        f"{plan.window()}, seed {plan.seed}, {plan.engine} engine, servers {plan.servers}. Paired 95 % intervals."
    )


def difference(view: SweepView, arm: SweepArm, metric: str, what: str) -> PairedDifference | None:
    """The difference of an arm from the same policy at the default, or from the baseline policy in the same cell."""
    of = view.result.against_default if what == DEFAULT else view.result.against_baseline
    return of(arm, metric)


def told_of(view: SweepView, arm: SweepArm, metric: Metric) -> str:
    """The text shown when a pointer is over an arm: value, interval, what it gains and costs, whether servers drown."""
    result = view.result
    own = result.interval(arm, metric.name)
    lines = [f"{arm.policy} at {cell_words(arm.cell)}", f"{metric.name} {_ends(own)} {metric.unit}"]
    for what, words in ((DEFAULT, "over the default"), (BASELINE, f"over {result.plan.baseline} in this cell")):
        d = difference(view, arm, metric.name, what)
        if d is not None:
            lines.append(f"{words}: {percent_interval(d, metric.unit)}" + ("" if d.sure else ", may be luck"))
    for name in COSTS:
        cost = result.interval(arm, name)
        lines.append(f"{name} {interval_text(cost)} {metric_named(name).unit}")
    lines += ["its servers are overloaded"] * result.overloaded(arm)
    lines += ["dominated: another arm is better in time, requests and waste"] * view.dominated(arm)
    return "\n".join(lines)


def _ends(own: Interval | None) -> str:
    return MISSING if own is None else f"{own.mean:.5g} [{own.low:.5g}, {own.high:.5g}]"


def squares(
    view: SweepView, policy: str, metric: Metric, what: str, y: int, x: int, place: Sequence[int]
) -> list[list[Square]] | None:
    """The map of two axes, with the others where the sliders are; None if the cells form no grid of them."""
    rows, columns = view.axes[y].values, view.axes[x].values
    grid: list[list[Square]] = []
    for r in range(len(rows)):
        line = []
        for c in range(len(columns)):
            at = [{y: r, x: c}.get(k, place[k]) for k in range(len(view.axes))]
            cell = view.places.get(tuple(at))
            line.append(_square(view, cell, policy, metric, what))
        grid.append(line)
    swept = sum(square.number is not None for line in grid for square in line)
    if max(len(rows), len(columns)) > MOST_SQUARES or 2 * swept < len(rows) * len(columns):
        return None
    return grid


def _square(view: SweepView, cell: SweepCell | None, policy: str, metric: Metric, what: str) -> Square:
    if cell is None:
        return Square(None, "not swept", None, False, "")
    arm = SweepArm(cell, policy)
    if what == LEVEL:
        own = view.result.interval(arm, metric.name)
        value = own and own.mean
    else:
        d = difference(view, arm, metric.name, what)
        value = 0.0 if d is None and _is_compared_with(view, arm, what) else d and d.diff_pct
    mark = ("★" if _is_best(view, arm) else "") + view.result.mark(arm).strip()
    return Square(value, told_of(view, arm, metric), cell.number, view.dominated(arm), mark)


def _is_compared_with(view: SweepView, arm: SweepArm, what: str) -> bool:
    """Whether it is what others are compared with, so that its own difference is 0."""
    return arm.cell.default if what == DEFAULT else arm.policy == view.result.plan.baseline


def _is_best(view: SweepView, arm: SweepArm) -> bool:
    best = view.result.best
    return best is not None and best.arm == arm


def cut(
    view: SweepView, policies: Collection[str], metric: Metric, what: str, along: int, place: Sequence[int]
) -> tuple[list[Series], bool]:
    """(a series for each policy along one axis, whether they are a cut). A cut has the cells where all other fields are
    where the sliders are; if these are fewer than two, all cells are shown."""
    there = [cell for p, cell in sorted(view.places.items())
             if all(p[k] == place[k] for k in range(len(p)) if k != along)]  # fmt: skip
    is_cut = len(there) > 1
    cells = there if is_cut else [view.places[p] for p in sorted(view.places)]
    axis, colours = view.axes[along], css_colours(len(view.result.plan.policies))
    made = []
    for k, policy in enumerate(view.result.plan.policies):
        if policy not in policies:
            continue
        x = [value_text(cell.values[axis.name]) if is_cut else _coordinate(cell, axis) for cell in cells]
        look = colours[k], MARKS[k % len(MARKS)]
        points = [_point(view, SweepArm(cell, policy), metric, what, *look) for cell in cells]
        made.append(Series(policy, x, points))
    return made, is_cut


def _point(view: SweepView, arm: SweepArm, metric: Metric, what: str, colour: str, mark: str) -> Point | None:
    told = told_of(view, arm, metric)
    if what == LEVEL:
        own = view.result.interval(arm, metric.name)
        return None if own is None else Point(arm.policy, own.mean, own.low, own.high, told, colour, mark)
    d = difference(view, arm, metric.name, what)
    if d is None or d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        zero = d is None and _is_compared_with(view, arm, what)
        return Point(arm.policy, 0.0, 0.0, 0.0, told, colour, mark) if zero else None
    return Point(arm.policy, d.diff_pct, d.diff_pct_low, d.diff_pct_high, told, colour, mark)


def beside_the_best(view: SweepView, cell: SweepCell, policy: str, metric: Metric) -> Table:
    """The numbers of a cell under a policy beside those of the best arm; a row for each metric."""
    result, arm = view.result, SweepArm(cell, policy)
    best = result.best.arm if result.best else None
    names = dict.fromkeys((metric.name, result.plan.metric, PRIMARY, *PRICES))
    rows = []
    for each in map(metric_named, names):
        own = result.interval(arm, each.name)
        cells = [Cell(name_and_unit(each)), number_cell(interval_text(own))]
        record: dict[str, Any] = {"metric": each.name, "unit": each.unit, **_flat("this", own)}
        if best is not None:
            there = result.interval(best, each.name)
            d = None if best == arm else result.difference(arm, best, each.name)
            told = "same arm" if best == arm else difference_text(d, each.better).plain.strip().rstrip("*")
            cells += [number_cell(interval_text(there)), number_cell(told)]
            record |= _flat("best", there)
        rows.append(Row(tuple(cells), record))
    head = ["metric", f"this cell: {policy}"]
    head += ["the best arm", "best over this, %"] if best is not None else []
    return Table(tuple(head), tuple(rows))


def _flat(name: str, own: Interval | None) -> dict[str, Any]:
    return {f"{name}_mean": own and own.mean, f"{name}_low": own and own.low, f"{name}_high": own and own.high}


def cells_table(view: SweepView, metric: Metric, policies: Collection[str]) -> Table:
    """A row for each cell and policy that is switched on."""
    result, plan = view.result, view.result.plan
    rows = []
    for arm, record in zip(result.arms, sweep_rows(result, [metric]), strict=True):
        if arm.policy not in policies:
            continue
        notes = ["default"] * arm.cell.default + ["best"] * _is_best(view, arm)
        notes += ["on the front" if not view.dominated(arm) else "dominated"] + ["overloaded"] * result.overloaded(arm)
        default, base = (difference(view, arm, metric.name, what) for what in (DEFAULT, BASELINE))
        own = result.interval(arm, metric.name)
        costs = [result.interval(arm, name) for name in COSTS]
        cells = (
            *(Cell(value_text(arm.cell.values[axis.name]), "number" * axis.numeric) for axis in view.axes),
            Cell(arm.policy + result.mark(arm)), number_cell(str(result.replications(arm.cell))),
            number_cell(interval_text(own)),
            Cell("default" if arm.cell.default else MISSING, "dim") if default is None
            else against_cell(default, metric),
            Cell("baseline" if arm.policy == plan.baseline else MISSING, "dim") if base is None
            else against_cell(base, metric),
            *(number_cell(interval_text(cost)) for cost in costs), Cell(", ".join(notes)),
        )  # fmt: skip
        extra = {f"{name}_mean": cost and cost.mean for name, cost in zip(COSTS, costs, strict=True)}
        flat = flat_cell(record, arm.cell.values) | extra | {"notes": ", ".join(notes)}
        rows.append(Row(cells, flat, "dim" if view.dominated(arm) else ""))
    head = (*(field_name(axis.name) for axis in view.axes), "policy", "n", name_and_unit(metric), "over default, %",
            f"over {plan.baseline}, %", *(name_and_unit(metric_named(name)) for name in COSTS), "notes")  # fmt: skip
    return Table(head, tuple(rows))


def cloud(
    view: SweepView, policy: str, metric: Metric, what: str, y: int, x: int
) -> list[tuple[object, object, Square]]:
    """(place across, place down, square) of every cell, where the cells form no grid."""
    made = []
    for place in sorted(view.places):
        cell = view.places[place]
        across, down = (_coordinate(cell, view.axes[k]) for k in (x, y))
        made.append((across, down, _square(view, cell, policy, metric, what)))
    return made


def _coordinate(cell: SweepCell, axis: Axis) -> object:
    value = cell.values[axis.name]
    number = float(str(value)) if axis.numeric else math.nan
    return number if math.isfinite(number) else value_text(value)
