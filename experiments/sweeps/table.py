"""A sweep shown in the terminal; `experiments/output/report/report.py` draws it."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from nextone.experiments.runs.metrics import OVERLOAD
from nextone.experiments.runs.number_text import MISSING, difference_cell, mean_and_half

from .result import OBJECTIVES, SweepArm, SweepResult
from .sweep import Effort


def sweep_table(result: SweepResult) -> Iterator[object]:
    """A row for each cell: mean of the metric under the baseline, every other policy against it, the baseline against
    the default cell; then the best, the Pareto front, and what failed."""
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
        f"servers {plan.servers}. Paired 95 % intervals; * excludes 0; ×: variance that shared luck saved."
        + f" {OVERLOAD}." * any(map(result.overloaded, result.arms))
    )
    yield table
    yield best_text(result)
    front = "; ".join(arm_text(result, arm) for arm in result.pareto)
    yield f"Pareto front of {', '.join(name for name, _ in OBJECTIVES)}: {front}"
    for number, reason in result.failed.items():
        yield f"failed: {plan.cells[number].label}: {reason}"


def best_text(result: SweepResult) -> str:
    """The answer: which is best, how surely, and what fresh seeds say."""
    best, metric = result.best, result.plan.objective
    if best is None:
        return f"No best cell: neither more nor less of {metric.name} is better, or it is undefined somewhere."
    near, sure = f"within {best.indifference:.3g} {metric.unit} of the best", f"probability >= {best.probability:.0%}"
    if best.settled:
        text = (
            f"Best {metric.name}: {arm_text(result, best.arm)}; with {sure} it is {near} (Kim and Nelson, "
            f"{best.replications} replications)."
        )
    else:
        more = f" and {len(best.contenders) - 8} more" if len(best.contenders) > 8 else ""
        some = "; ".join(arm_text(result, arm) for arm in best.contenders[:8]) + more
        text = (
            f"Best {metric.name} so far: {arm_text(result, best.arm)}; the budget ended with "
            f"{len(best.contenders)} in the race: "
            f"with {sure} one of them is {near}: {some}."
        )
    if best.fresh is None:
        return text
    own = mean_and_half(best.fresh.mean, best.fresh.high - best.fresh.mean)
    text += f" On fresh seeds: {own} {metric.unit} (n = {best.fresh.n})"
    others = (best.fresh_against_baseline, result.plan.baseline), (best.fresh_against_default, "the default cell")
    for d, whom in others:
        if d is not None:
            text += f", {difference_cell(d, metric).plain.split('×')[0].strip()} % against {whom}"
    return text + "."


def arm_text(result: SweepResult, arm: SweepArm) -> str:
    return f"{arm.cell.label} {arm.policy}" + (" (default)" if arm.cell.default else "") + result.mark(arm)


def effort_line(effort: Effort) -> str:
    share = effort.own_s / effort.wall_s if effort.wall_s else 0.0
    return (
        f"{effort.tasks:,} runs in {effort.wall_s:.0f} s, cores busy {effort.busy:.0%}; ledger, files and decisions "
        f"took {share:.1%} of it."
    )
