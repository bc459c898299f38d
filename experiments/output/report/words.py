"""What a report says in words: names of cells and arms, and the answer of a sweep in three sentences with intervals."""

from collections.abc import Iterator, Mapping
from typing import Any

from nextone.experiments.runs.metrics import metric_named
from nextone.experiments.runs.number_text import mean_and_half, percent_interval
from nextone.experiments.runs.statistics import PairedDifference, paired
from nextone.experiments.sweeps.plan import Cell as SweepCell
from nextone.experiments.sweeps.result import SweepArm, SweepResult
from nextone.sim.config import Scenario
from nextone.sim.scenario import setting_text

from .page import Cell, Section, Table

PRICES = {
    "workers": "workers",
    "requests": "requests",
    "wasted_mb": "wasted bytes",
    "queue_p95_ms": "the 95th percentile of waits for a worker",
}


def answer(result: SweepResult) -> tuple[str, ...]:
    """What is best and how surely, what it gains, what it costs."""
    best, metric = result.best, result.plan.objective
    if best is None:
        return (f"There is no best cell: {result.why_no_best}",)
    own = best.fresh or result.interval(best.arm, metric.name)
    where = f"on {best.fresh.n} fresh replications" if best.fresh else "in the replications that chose it"
    reached = f"{mean_and_half(own.mean, own.high - own.mean)} {metric.unit} {where}" if own else "undefined"
    near = f"within {best.indifference:.3g} {metric.unit} of the best, with probability ≥ {best.probability:.0%}"
    if best.settled:
        first = f"Best for {metric.name}: {arm_words(result, best.arm)}, {reached}; it is {near}."
    else:
        first = (
            f"Ahead in {metric.name}: {arm_words(result, best.arm)}, {reached}; but the budget ended with "
            f"{len(best.contenders)} of {len(result.arms)} arms in the race, and all that can be said of them is that "
            f"one is {near}."
        )
    return first, _gain(result), _price(result)


def _gain(result: SweepResult) -> str:
    best, plan, metric = result.best, result.plan, result.plan.objective
    assert best is not None
    base, default = best.fresh_against_baseline, best.fresh_against_default
    if best.fresh is None:
        base = result.against_baseline(best.arm, metric.name)
        default = result.against_default(best.arm, metric.name)
    told = []
    if best.arm.policy != plan.baseline:
        told.append(f"{percent_interval(base, metric.unit)} over {plan.baseline} in the same cell")
    if not best.arm.cell.default:
        told.append(
            f"{percent_interval(default, metric.unit)} over the same policy at the default ({cell_words(plan.default)})"
        )
    if not told:
        return f"It is {plan.baseline} in the default cell: nothing that was tried improves on that."
    return f"That is {' and '.join(told)}; paired, 95 %."


def _price(result: SweepResult) -> str:
    """Requests, wasted bytes and queueing of the best, against the baseline in the default cell."""
    best, plan = result.best, result.plan
    assert best is not None
    base = SweepArm(plan.default, plan.baseline)
    if plan.default.number in result.failed:
        return "Its price against the default cannot be told: the default cell has no results."
    if best.arm == base:
        return "So there is no price to tell."
    told = []
    for name, words in PRICES.items():
        d = difference(result, base, best.arm, name)
        if d is not None:
            told.append(f"{percent_interval(d, metric_named(name).unit)} in {words}")
    return f"The price, against {plan.baseline} at the default: {', '.join(told) or 'undefined'}."


def difference(result: SweepResult, base: SweepArm, arm: SweepArm, metric: str) -> PairedDifference | None:
    """Of any two arms, over the replications both have."""
    a, b = result.of(base, metric), result.of(arm, metric)
    n = min(len(a), len(b))
    return paired(a[:n], b[:n], result.extended)


def made_of(provenance: Mapping[str, Any]) -> Section:
    """Versions, window and digests of all files that the numbers depend on."""
    rows = [
        [Cell(name), Cell(str(provenance[name]))]
        for name in ("version", "semantics", "seed", "replications", "minutes", "days", "engine", "folder")
        if provenance.get(name) not in (None, "")
    ]
    rows += [[Cell(name), Cell(number)] for name, number in provenance.get("libraries", {}).items()]
    rows += [
        [Cell(f"{what}: {file}"), Cell(digest)]
        for what, files in provenance.get("inputs", {}).items()
        for file, digest in files.items()
    ]
    text = "What it takes to run it again, and the first 32 digits of the SHA-256 of each file that was read."
    return Section("What it was made of", (text,), table=Table(("", ""), rows, 2), folded=True)


def cell_words(cell: SweepCell) -> str:
    """`page_size 4, ttl_s ∞`."""
    said = ", ".join(f"{field_name(name)} {value_text(value)}" for name, value in cell.values.items())
    return said or "the scenario as it is"


def arm_words(result: SweepResult, arm: SweepArm) -> str:
    """`tag_momentum at page_size 4, ttl_s ∞`."""
    known = " (the default)" * arm.cell.default + " (its servers are overloaded)" * result.overloaded(arm)
    return f"{arm.policy} at {cell_words(arm.cell)}{known}"


def field_name(name: str) -> str:
    """`page_size` of `server.page_size`."""
    return name.partition(".")[2] or name


def value_text(value: object) -> str:
    """A field's value, short."""
    if isinstance(value, float):
        return "∞" if value == float("inf") else f"{value:.6g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return str(value)


def changed(base: Scenario, shipped: Scenario | None = None) -> Iterator[str]:
    """`section.field=value` of every field that differs from another scenario, the shipped one unless given."""
    shipped = shipped or Scenario()
    for section in Scenario.model_fields:
        own = getattr(base, section)
        for field in type(own).model_fields:
            value = getattr(own, field)
            if value != getattr(getattr(shipped, section), field):
                yield f"{section}.{field}={setting_text(value)}"
