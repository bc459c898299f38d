"""How a sweep's metrics vary over its cells: maps of two axes, curves along one, clouds for more and for samples."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from nextone.experiments.output.drawing import curve_of, svg_text
from nextone.experiments.runs.metrics import OVERLOAD, PRIMARY, Metric, metric_named
from nextone.experiments.runs.number_text import STAR
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.experiments.sweeps.answer import cell_words, field_name, value_text
from nextone.experiments.sweeps.plan import Cell
from nextone.experiments.sweeps.result import SweepArm, SweepResult

from . import figures as draw
from .page import Figure, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SHOWN = (PRIMARY, "valid_play", "like", "requests", "queue_p95_ms", "wasted_mb")
Find = Callable[[SweepArm], PairedDifference | None]
MOST = 12  # rows or columns beyond which a map cannot be read


def landscape(result: SweepResult) -> Section:
    """The section that suits the number of swept fields and the shape of the cells."""
    if not result.plan.cells[0].values:
        return Section("How it varies", ("Nothing was varied: there is one cell.",))
    return {"maps": _maps, "curves": _curves, "clouds": _clouds}[_shape(result)](result)


def landscape_figure(result: SweepResult) -> "Drawing | None":
    """How the sweep's own metric varies, in the form that suits its cells; None if there is nothing to draw."""
    if not result.plan.cells[0].values or not result.cells:
        return None
    drawn: dict[str, Callable[[SweepResult, Metric], Drawing | None]]
    drawn = {"maps": map_of, "curves": _curve_of, "clouds": _cloud_of}
    return drawn[_shape(result)](result, result.plan.objective)


def _shape(result: SweepResult) -> str:
    """What shows the cells best: maps of two fields, curves along one, clouds of points otherwise."""
    asked, axes = _asked(result), _axes(result)
    if len(axes) == 2 and len(axes[0]) * len(axes[1]) <= 2 * len(asked) and max(map(len, axes)) <= MOST:
        return "maps"
    return "curves" if len(axes) == 1 and len(axes[0]) <= 2 * MOST else "clouds"


def _asked(result: SweepResult) -> list[Cell]:
    return [cell for cell in result.cells if cell.asked] or list(result.cells)


def _axes(result: SweepResult) -> list[list[str]]:
    """What each swept field takes, as texts."""
    return [labels(_asked(result), name) for name in result.plan.cells[0].values]


def labels(cells: Sequence[Cell], name: str) -> list[str]:
    """The values of a field in these cells as texts, ascending if they are numbers."""
    values = list(dict.fromkeys(cell.values[name] for cell in cells))
    if all(isinstance(value, int | float) for value in values):
        values.sort(key=lambda value: float(str(value)))
    return [value_text(value) for value in values]


def _metrics(result: SweepResult) -> list[Metric]:
    return [metric_named(name) for name in dict.fromkeys((result.plan.metric, *SHOWN))]


def _maps(result: SweepResult) -> Section:
    plan, names = result.plan, list(result.plan.cells[0].values)
    figures = []
    for metric in _metrics(result):
        drawing = map_of(result, metric)
        if drawing:
            caption = f"{metric.name}: paired differences in %. Bold and {STAR}."
            if any(map(result.overloaded, result.arms)):
                caption += f" {OVERLOAD}, of the policy or of what it is compared with."
            figures.append(Figure(svg_text(drawing), caption))
    text = (
        f"The default is {cell_words(plan.default)}. Blue is better, orange worse, on one scale for each metric. "
        "Blank: no cell, no result, or no percentage. A map over itself at the default says what the axes do; over "
        f"{plan.baseline} in the same cell, what the policy does. One cell in twenty is starred by luck alone."
    )
    return Section(f"{field_name(names[0])} × {field_name(names[1])}", (text,), tuple(figures))


def map_of(result: SweepResult, metric: Metric, title: str = "") -> "Drawing | None":
    """The maps of one metric over two swept fields; None if there is nothing to compare.

    title: instead of the metric's name; arms off the Pareto front are then grey."""
    plan, names, (rows, columns) = result.plan, list(result.plan.cells[0].values), _axes(result)
    place = {tuple(map(value_text, cell.values.values())): cell for cell in result.cells}
    default = tuple(map(value_text, plan.default.values.values()))
    inside = default[0] in rows and default[1] in columns
    usual = (rows.index(default[0]), columns.index(default[1])) if inside else None
    grid = [[place.get((row, column)) for column in columns] for row in rows]
    def grey(policy: str) -> list[list[bool]]:
        front = result.pareto if title else ()
        return [[c is not None and bool(front) and SweepArm(c, policy) not in front for c in line] for line in grid]

    maps = []
    if plan.default.number not in result.failed:
        find = partial(_over_default, result, metric.name)
        maps += [
            draw.Map(f"{p} over itself at the default", _each(grid, p, find), usual, _marks(result, grid, p), grey(p))
            for p in plan.policies
        ]
    find = partial(_over_baseline, result, metric.name)
    others = [p for p in plan.policies if p != plan.baseline]
    maps += [
        draw.Map(f"{p} over {plan.baseline}, same cell", _each(grid, p, find), None, _marks(result, grid, p), grey(p))
        for p in others
    ]
    told = [m for m in maps if any(d is not None and d.diff_pct is not None for line in m.cells for d in line)]
    if not told:
        return None
    return draw.maps_figure(metric, told, rows, columns, (field_name(names[0]), field_name(names[1])), title)


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


def _curves(result: SweepResult) -> Section:
    name, figures = next(iter(result.plan.cells[0].values)), []
    drowned = [f"{p} at {label}" for p, own in _along(result).items() for label, arm in own.items()
               if result.overloaded(arm)]  # fmt: skip
    for metric in _metrics(result):
        caption = f"{metric.name} by {field_name(name)}; bars are 95 % intervals, dotted is the default."
        caption += f" {OVERLOAD}: {', '.join(drowned)}." * bool(drowned)
        figures.append(Figure(svg_text(_curve_of(result, metric)), caption))
    return Section(f"Along {field_name(name)}", figures=tuple(figures))


def _along(result: SweepResult) -> dict[str, dict[str, SweepArm]]:
    """Each policy's arms along the one swept field, by its value as text, ascending."""
    name = next(iter(result.plan.cells[0].values))
    place = {value_text(cell.values[name]): cell for cell in result.cells}
    return {p: {label: SweepArm(place[label], p) for label in labels(result.cells, name)} for p in result.plan.policies}


def _curve_of(result: SweepResult, metric: Metric) -> "Drawing":
    """One metric along the one swept field: its level, and its change from the default."""
    plan, name, arms = result.plan, next(iter(result.plan.cells[0].values)), _along(result)
    levels = [curve_of(p, [result.interval(arm, metric.name) for arm in own.values()]) for p, own in arms.items()]
    panels = [(f"{metric.name}, {metric.meaning}", metric.unit, levels)]
    if plan.default.number not in result.failed:
        changes = [curve_of(p, [_or_zero(result, arm, metric) for arm in own.values()]) for p, own in arms.items()]
        panels.append(("paired difference from the default", "%", changes))
    return draw.curves_figure(
        panels, labels(result.cells, name), field_name(name), value_text(plan.default.values[name])
    )


def _or_zero(result: SweepResult, arm: SweepArm, metric: Metric) -> Interval | PairedDifference | None:
    return Interval(0.0, 0.0, 0.0, 0) if arm.cell.default else result.against_default(arm, metric.name)


def _clouds(result: SweepResult) -> Section:
    figures = []
    for metric in _metrics(result)[:4]:
        drawing = _cloud_of(result, metric)
        if drawing is None:
            return Section("How it varies", ("What was swept are no numbers; see the table of every cell.",))
        caption = (
            f"{metric.name} of every cell by each swept field, while the others vary as well; bars are 95 % intervals."
        )
        figures.append(Figure(svg_text(drawing), caption))
    return Section("Along each swept field", figures=tuple(figures))


def _cloud_of(result: SweepResult, metric: Metric) -> "Drawing | None":
    """One metric of every cell by each swept field; None if no field is a number."""
    plan, asked = result.plan, _asked(result)
    names = plan.cells[0].values
    numbers = [name for name in names if all(isinstance(cell.values[name], int | float) for cell in asked)]
    if not numbers:
        return None
    compared = plan.default.number not in result.failed
    series = []
    for policy in plan.policies:
        arms = [SweepArm(cell, policy) for cell in asked]
        own = [_or_zero(result, a, metric) if compared else result.interval(a, metric.name) for a in arms]
        series.append(curve_of(policy, own))
    panels = [(field_name(name), [float(str(cell.values[name])) for cell in asked], series) for name in numbers]
    return draw.clouds_figure(panels, f"{metric.name}, " + ("over the default, %" if compared else metric.unit))
