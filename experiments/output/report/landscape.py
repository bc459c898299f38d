"""How a sweep's metrics vary over its cells: maps of two axes, curves along one, clouds for more and for samples."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nextone.experiments.output.drawing import curve_of
from nextone.experiments.runs.metrics import OVERLOAD, PRIMARY, Metric, metric_named
from nextone.experiments.runs.number_text import STAR
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.experiments.sweeps.answer import cell_words, field_name, value_text
from nextone.experiments.sweeps.plan import Cell
from nextone.experiments.sweeps.result import SweepArm, SweepResult

from . import figures as draw
from .page import Figure, Section

SHOWN = (PRIMARY, "valid_play", "like", "requests", "queue_p95_ms", "wasted_mb")
Find = Callable[[SweepArm], PairedDifference | None]
MOST = 12  # rows or columns beyond which a map cannot be read


def landscape(result: SweepResult) -> Section:
    """The section that suits the number of swept fields and the shape of the cells."""
    names = list(result.plan.cells[0].values)
    asked = [cell for cell in result.cells if cell.asked] or list(result.cells)
    axes = [labels(asked, name) for name in names]
    if not names:
        return Section("How it varies", ("Nothing was varied: there is one cell.",))
    if len(names) == 2 and len(axes[0]) * len(axes[1]) <= 2 * len(asked) and max(map(len, axes)) <= MOST:
        return _maps(result, names, axes)
    if len(names) == 1 and len(axes[0]) <= 2 * MOST:
        return _curves(result, names[0])
    return _clouds(result, names, asked)


def labels(cells: Sequence[Cell], name: str) -> list[str]:
    """What a field takes over these cells, ascending if numbers, as texts."""
    values = list(dict.fromkeys(cell.values[name] for cell in cells))
    if all(isinstance(value, int | float) for value in values):
        values.sort(key=lambda value: float(str(value)))
    return [value_text(value) for value in values]


def _metrics(result: SweepResult) -> list[Metric]:
    return [metric_named(name) for name in dict.fromkeys((result.plan.metric, *SHOWN))]


def _maps(result: SweepResult, names: list[str], axes: list[list[str]]) -> Section:
    plan = result.plan
    figures = []
    for metric in _metrics(result):
        svg = map_of(result, metric, names, axes)
        if svg:
            caption = f"{metric.name}: paired differences in %. Bold and {STAR}."
            if any(map(result.overloaded, result.arms)):
                caption += f" {OVERLOAD}, of the policy or of what it is compared with."
            figures.append(Figure(svg, caption))
    text = (
        f"The default is {cell_words(plan.default)}. Blue is better, orange worse, on one scale for each metric. "
        "Blank: no cell, no result, or no percentage. A map over itself at the default says what the axes do; over "
        f"{plan.baseline} in the same cell, what the policy does. One cell in twenty is starred by luck alone."
    )
    return Section(f"{field_name(names[0])} × {field_name(names[1])}", (text,), tuple(figures))


def map_of(
    result: SweepResult, metric: Metric, names: list[str], axes: list[list[str]], png: Path | None = None
) -> str:
    """The maps of one metric, as SVG, and to `png`; empty where there is nothing to compare."""
    plan, (rows, columns) = result.plan, axes
    place = {tuple(map(value_text, cell.values.values())): cell for cell in result.cells}
    default = tuple(map(value_text, plan.default.values.values()))
    inside = default[0] in rows and default[1] in columns
    usual = (rows.index(default[0]), columns.index(default[1])) if inside else None
    grid = [[place.get((row, column)) for column in columns] for row in rows]
    maps = []
    if plan.default.number not in result.failed:
        find = partial(_over_default, result, metric.name)
        maps += [
            draw.Map(f"{p} over itself at the default", _each(grid, p, find), usual, _marks(result, grid, p))
            for p in plan.policies
        ]
    find = partial(_over_baseline, result, metric.name)
    others = [p for p in plan.policies if p != plan.baseline]
    maps += [
        draw.Map(f"{p} over {plan.baseline}, same cell", _each(grid, p, find), None, _marks(result, grid, p))
        for p in others
    ]
    told = [m for m in maps if any(d is not None and d.diff_pct is not None for line in m.cells for d in line)]
    if not told:
        return ""
    return draw.maps_figure(metric, told, rows, columns, (field_name(names[0]), field_name(names[1])), png)


def _each(grid: list[list[Cell | None]], policy: str, find: Find) -> list[list[PairedDifference | None]]:
    return [[None if cell is None else find(SweepArm(cell, policy)) for cell in line] for line in grid]


def _marks(result: SweepResult, grid: list[list[Cell | None]], policy: str) -> list[list[str]]:
    """What marks a cell in which the servers of the policy, or of the baseline, drown."""
    whose = {policy, result.plan.baseline}
    return [["" if c is None else max(result.mark(SweepArm(c, p)) for p in whose) for c in line] for line in grid]


def _over_default(result: SweepResult, metric: str, arm: SweepArm) -> PairedDifference | None:
    return result.against_default(arm, metric)


def _over_baseline(result: SweepResult, metric: str, arm: SweepArm) -> PairedDifference | None:
    return result.against_baseline(arm, metric)


def _curves(result: SweepResult, name: str) -> Section:
    plan, along = result.plan, labels(result.cells, name)
    place = {value_text(cell.values[name]): cell for cell in result.cells}
    figures = []
    for metric in _metrics(result):
        arms = {policy: [SweepArm(place[label], policy) for label in along] for policy in plan.policies}
        levels = [curve_of(p, [result.interval(arm, metric.name) for arm in own]) for p, own in arms.items()]
        panels = [(f"{metric.name}, {metric.meaning}", metric.unit, levels)]
        if plan.default.number not in result.failed:
            changes = [curve_of(p, [_or_zero(result, arm, metric) for arm in own]) for p, own in arms.items()]
            panels.append(("paired difference from the default", "%", changes))
        svg = draw.curves_figure(panels, along, field_name(name), value_text(plan.default.values[name]))
        caption = f"{metric.name} by {field_name(name)}; bars are 95 % intervals, dotted is the default."
        drowned = [f"{p} at {label}" for p, own in arms.items() for label, arm in zip(along, own, strict=True)
                   if result.overloaded(arm)]  # fmt: skip
        figures.append(Figure(svg, caption + f" {OVERLOAD}: {', '.join(drowned)}." * bool(drowned)))
    return Section(f"Along {field_name(name)}", figures=tuple(figures))


def _or_zero(result: SweepResult, arm: SweepArm, metric: Metric) -> Interval | PairedDifference | None:
    return Interval(0.0, 0.0, 0.0, 0) if arm.cell.default else result.against_default(arm, metric.name)


def _clouds(result: SweepResult, names: list[str], asked: Sequence[Cell]) -> Section:
    plan = result.plan
    numbers = [name for name in names if all(isinstance(cell.values[name], int | float) for cell in asked)]
    if not numbers:
        return Section("How it varies", ("What was swept are no numbers; see the table of every cell.",))
    compared = plan.default.number not in result.failed
    figures = []
    for metric in _metrics(result)[:4]:
        series = []
        for policy in plan.policies:
            arms = [SweepArm(cell, policy) for cell in asked]
            own = [_or_zero(result, a, metric) if compared else result.interval(a, metric.name) for a in arms]
            series.append(curve_of(policy, own))
        panels = [(field_name(name), [float(str(cell.values[name])) for cell in asked], series) for name in numbers]
        svg = draw.clouds_figure(panels, f"{metric.name}, " + ("over the default, %" if compared else metric.unit))
        figures.append(Figure(svg, f"{metric.name} of every cell by each swept field, while the others vary as well; "
                              "bars are 95 % intervals."))  # fmt: skip
    return Section("Along each swept field", figures=tuple(figures))
