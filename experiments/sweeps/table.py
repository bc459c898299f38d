"""A sweep shown in the terminal; `experiments/output/report/report.py` draws it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from nextone.experiments.runs.metrics import OVERLOAD, Metric
from nextone.experiments.runs.number_text import MISSING, STAR, difference_cell, mean_and_half
from nextone.experiments.runs.statistics import PairedDifference

from .answer import answer, arm_words
from .result import OBJECTIVES, SweepArm, SweepResult
from .sweep import Effort

EXTENDED = "Its budget was raised after a look: intervals hold however often one looks."


def sweep_table(result: SweepResult) -> Iterator[object]:
    """The answer; then a row for each cell: the mean of the metric under the baseline, every other policy against it,
    and the baseline against the default cell; then the Pareto front, and what failed."""
    yield from (*answer(result), "")
    plan, metric = result.plan, result.plan.objective
    others = [p for p in plan.policies if p != plan.baseline]
    table = Table(title=Text(plan.question or f"{metric.name} [{metric.unit}] by cell"), caption_justify="left")
    for name in plan.cells[0].values:
        table.add_column(Text(name.partition(".")[2]), justify="right")
    table.add_column("n", justify="right")
    table.add_column(Text(f"{plan.baseline} {metric.name}"), justify="right")
    table.add_column(Text("vs default %"), justify="right")
    for policy in others:
        table.add_column(Text(f"{policy} %"), justify="right")
    for cell in result.cells:
        base = SweepArm(cell, plan.baseline)
        own = result.interval(base, metric.name)
        row = [Text(str(value)) for value in cell.values.values()]
        row += [Text(str(result.replications(cell)))]
        row += [Text((MISSING if own is None else mean_and_half(own.mean, own.high - own.mean)) + result.mark(base))]
        row += [
            Text("default", style="dim")
            if cell.default
            else difference_cell(result.against_default(base, metric.name), metric)
        ]
        for arm in (SweepArm(cell, p) for p in others):
            row += [difference_cell(result.against_baseline(arm, metric.name), metric).append(result.mark(arm))]
        table.add_row(*row)
    people = plan.base.population.users
    table.caption = Text(
        f"{people:,} people, {plan.window()}, n replications with shared luck, seed {plan.seed}, {plan.engine} engine, "
        f"servers {plan.servers}. Paired 95 % intervals; {STAR}; ×: variance that shared luck saved."
        + f" {OVERLOAD}." * any(map(result.overloaded, result.arms))
        + f" {EXTENDED}" * result.extended
    )
    yield table
    if result.failed and result.cells:
        yield result.failures
    front = "; ".join(arm_words(result, arm) for arm in result.pareto)
    if front:
        yield f"Pareto front of {', '.join(name for name, _ in OBJECTIVES)}: {front}"
    for number, reason in result.failed.items():
        yield f"failed: {plan.cells[number].label}: {reason}"


def sweep_json(result: SweepResult) -> dict[str, Any]:
    """What was found, with `sweep_rows` of every metric, and what it takes to run it again."""
    best, rows = result.best, list(sweep_rows(result, result.metrics))
    return {
        "metric": result.plan.metric, "baseline": result.plan.baseline, "answer": " ".join(answer(result)),
        "best": best and {"cell": best.arm.cell.number, "policy": best.arm.policy, "settled": best.settled},
        "failed": {str(cell): why for cell, why in result.failed.items()}, "extended": result.extended,
        "method": result.method, "rows": rows, "plan": result.plan.record(), "provenance": dict(result.provenance),
    }  # fmt: skip


def sweep_rows(result: SweepResult, metrics: Sequence[Metric]) -> Iterator[dict[str, Any]]:
    """A row for every cell, policy and metric; None where undefined.

    `vs_policy` is the paired difference from the baseline policy in the same cell, `vs_default` that from the same
    policy in the default cell: with 95 % bounds in the metric's unit, and in percent where that is defined."""
    for arm in result.arms:
        for metric in metrics:
            own = result.interval(arm, metric.name)
            yield {
                "cell": arm.cell.number, "settings": list(arm.cell.settings), "policy": arm.policy,
                "metric": metric.name, "unit": metric.unit, "replications": result.replications(arm.cell),
                "mean": own and own.mean, "low": own and own.low, "high": own and own.high,
                "vs_policy": _difference(result.against_baseline(arm, metric.name)),
                "vs_default": _difference(result.against_default(arm, metric.name)),
            }  # fmt: skip


def _difference(d: PairedDifference | None) -> dict[str, float | None] | None:
    if d is None:
        return None
    return {
        "diff": d.diff, "low": d.low, "high": d.high, "diff_pct": d.diff_pct, "diff_pct_low": d.diff_pct_low,
        "diff_pct_high": d.diff_pct_high,
    }  # fmt: skip


def effort_line(effort: Effort) -> str:
    """What a sweep cost, in one line."""
    share = effort.own_s / effort.wall_s if effort.wall_s else 0.0
    busy = "" if math.isnan(effort.busy) else f", cores busy {effort.busy:.0%}"
    return (
        f"{effort.tasks:,} runs in {effort.wall_s:.0f} s{busy}; ledger, files and decisions "
        f"took {share:.1%} of it."
    )
