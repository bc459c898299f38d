"""The sections of a sweep's report: what was run, the landscape, the Pareto front, positions, server load, every cell.

Works on whatever cells there are; those that failed or are not finished are named and left out. Called by
experiments/output/report/report.py.
"""

import math
from collections.abc import Iterator

from nextone.experiments.output.drawing import curve_of, svg_text
from nextone.experiments.runs.metrics import OVERLOAD, metric_named
from nextone.experiments.runs.number_text import STAR, interval_text, name_and_unit
from nextone.experiments.sweeps.answer import cell_words, field_name, value_text
from nextone.experiments.sweeps.plan import Cell as SweepCell
from nextone.experiments.sweeps.result import OBJECTIVES, SweepArm, SweepResult

from . import figures as draw
from .landscape import landscape
from .page import Cell, Figure, Section, Table, difference_cell

LOAD = ("workers", "requests", "utilisation", "queue_p95_ms", "timeout_rate")
PAGE = "server.page_size"
CURVES = 8  # in one panel, at most


def facts(result: SweepResult) -> tuple[tuple[str, str], ...]:
    """What was run, for the head of the page."""
    plan = result.plan
    n = [result.replications(cell) for cell in result.cells]
    spread = "–" if not n else f"{min(n)}" if min(n) == max(n) else f"{min(n)} to {max(n)}"
    return (
        ("Cells", f"{len(plan.cells)}" + (f", {len(result.failed)} without results" if result.failed else "")),
        ("Policies", ", ".join(plan.policies)),
        ("Baseline", plan.baseline),
        ("People, window", f"{plan.base.population.users:,}, {plan.window()}"),
        ("Replications a cell", spread),
        ("Asked of intervals", f"{plan.metric} ± {plan.half_width}"),
        ("Seed", f"{plan.seed}"),
        ("Engine, servers", f"{plan.engine}, {plan.servers}"),
    )


def sections(result: SweepResult) -> Iterator[Section]:
    """The sections of the report."""
    if result.cells:
        yield landscape(result)
        yield _front(result)
        yield _positions(result)
        yield _load(result)
        yield _every_cell(result)
    if result.failed:
        rows = [[Cell(cell_words(result.plan.cells[k])), Cell(why)] for k, why in result.failed.items()]
        yield Section("Cells without results", table=Table(("cell", "reason"), rows, words=2))


def _front(result: SweepResult) -> Section:
    front = sorted(result.pareto, key=lambda arm: float(result.of(arm, "requests").mean()))
    numbers = {(arm.cell.number, arm.policy): k for k, arm in enumerate(front, start=1)}
    clouds = []
    for policy in result.plan.policies:
        points = []
        for arm in (SweepArm(cell, policy) for cell in result.cells):
            watch, requests, waste = (result.interval(arm, name) for name, _ in OBJECTIVES)
            if watch and requests and waste:
                points.append(draw.Point(requests, watch, waste.mean, numbers.get((arm.cell.number, policy), 0)))
        clouds.append((policy, points))
    svg = draw.front_figure(
        clouds, "requests a person: the servers' cost", "minutes in the app a person", "MB wasted a person"
    )
    rows = [
        [Cell(str(k)), Cell(cell_words(arm.cell)), Cell(arm.policy + result.mark(arm))]
        + [Cell(interval_text(result.interval(arm, name))) for name, _ in OBJECTIVES]
        for k, arm in enumerate(front, start=1)
    ]
    head = ("", "cell", "policy", *(name_and_unit(metric_named(name)) for name, _ in OBJECTIVES))
    text = (
        f"{len(front)} of {len(result.arms)} arms are on the front: no other arm has more time in the app, "
        "fewer requests and fewer wasted bytes at once. Means decide, so arms close to others may be on it by luck; "
        "intervals here are each arm's own, paired differences in the tables are sharper."
    )
    caption = "Every arm; the front is ringed, numbered, shaded by its waste and has 95 % intervals. Grey: dominated."
    return Section("What is traded for what: the Pareto front", (text,), (Figure(svg, caption),), Table(head, rows, 3))


def _positions(result: SweepResult) -> Section:
    cells, fixed = along(result, PAGE)
    named = [(f"page of {cell.scenario.server.page_size}", cell) for cell in cells[:CURVES]]
    if len(cells) < 2:
        default, best = result.plan.default, result.best
        named = [("the default", default)] if default.number not in result.failed else []
        if best and best.arm.cell != default:
            named.append(("the best cell", best.arm.cell))
        named = named or [(cell_words(result.cells[0]), result.cells[0])]
        fixed = f": {'; '.join(f'{name}, {cell_words(cell)}' for name, cell in named)}"
    panels = []
    for policy in result.plan.policies:
        found = [
            (name, c.scenario.server.page_size, result.valid_play_by_position(SweepArm(c, policy))) for name, c in named
        ]
        panels.append((policy, [curve_of(name, shares[:size]) for name, size, shares in found]))
    text = (
        f"Share of impressions that played 7 s or to the end, by position in the page{fixed}. A page's last position "
        "also holds what was shown beyond it, while the next page was late."
    )
    figure = Figure(
        draw.positions_figure(panels), "Valid play by position; bands are 95 % intervals over replications."
    )
    return Section("Valid play by position in the page", (text,), (figure,))


def _load(result: SweepResult) -> Section:
    title, policies = "Server load against page size", result.plan.policies
    if PAGE not in result.plan.cells[0].values:
        return Section(title, ("The page size was not swept; the table of every cell has each one's load.",))
    cells, fixed = along(result, PAGE)
    joined = len(cells) > 1
    panels = []
    for name in LOAD:
        metric, shown = metric_named(name), cells if joined else list(result.cells)
        series = [curve_of(p, [result.interval(SweepArm(c, p), name) for c in shown]) for p in policies]
        if any(math.isfinite(y) for curve in series for y in curve.mean):
            panels.append((metric, series))
    if joined:
        told = [(f"{metric.name}, {metric.meaning}", metric.unit, series) for metric, series in panels]
        figures = [
            draw.curves_figure(told, [str(c.scenario.server.page_size) for c in cells], "page size, impressions")
        ]
    else:
        x = [float(cell.scenario.server.page_size) for cell in result.cells]
        figures = [draw.clouds_figure([("page size", x, series)], f"{m.name}, {m.unit}") for m, series in panels[:2]]
    text = f"Means with 95 % intervals{fixed}." if joined else "Every cell; the other fields vary as well."
    return Section(title, (text,), tuple(Figure(svg_text(each), "Server load by page size.") for each in figures))


def along(result: SweepResult, name: str) -> tuple[list[SweepCell], str]:
    """Cells that differ in this field only, in its order, and the values of the other fields: the default's, else the
    best cell's, else any."""
    if not result.cells or name not in result.cells[0].values:
        return [], ""
    best = [result.best.arm.cell] if result.best else []
    for of in (result.plan.default, *best, *result.cells):
        rest = {k: v for k, v in of.values.items() if k != name}
        cells = [c for c in result.cells if {k: v for k, v in c.values.items() if k != name} == rest]
        if len(cells) > 1:
            fixed = ", ".join(f"{field_name(k)} {value_text(v)}" for k, v in rest.items())
            return sorted(cells, key=lambda c: float(str(c.values[name]))), f", at {fixed}" if fixed else ""
    return [], ""


def _every_cell(result: SweepResult) -> Section:
    plan, metric = result.plan, result.plan.objective
    more = [metric_named(name) for name in ("workers", "requests", "queue_p95_ms", "wasted_mb") if name != plan.metric]
    rows = [
        _row(result, SweepArm(cell, policy), [m.name for m in more])
        for cell in result.cells
        for policy in plan.policies
    ]
    against = ("over default, %", f"over {plan.baseline}, %")
    head = ("cell", "policy", "n", name_and_unit(metric), *against, *map(name_and_unit, more))
    text = "Mean ± half its 95 % interval over n replications; differences are paired, " + STAR + "."
    if any(map(result.overloaded, result.arms)):
        text += f" {OVERLOAD}."
    return Section("Every cell", (text,), table=Table(head, rows, 2), folded=len(rows) > 24)


def _row(result: SweepResult, arm: SweepArm, more: list[str]) -> list[Cell]:
    plan, name, better = result.plan, result.plan.metric, result.plan.objective.better
    default, base = result.against_default(arm, name), result.against_baseline(arm, name)
    return [
        Cell(cell_words(arm.cell)),
        Cell(arm.policy + result.mark(arm)),
        Cell(str(result.replications(arm.cell))),
        Cell(interval_text(result.interval(arm, name))),
        Cell("default", "dim") if arm.cell.default else difference_cell(default, better),
        Cell("baseline", "dim") if arm.policy == plan.baseline else difference_cell(base, better),
        *(Cell(interval_text(result.interval(arm, m))) for m in more),
    ]
