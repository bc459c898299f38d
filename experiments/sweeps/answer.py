"""The answer of a sweep in sentences with intervals: what is best and how surely, what it gains, what it costs.

The terminal and the report begin with it. Also names of cells and arms, for people.
"""

import numpy as np
from numpy.typing import NDArray

from nextone.experiments.runs.metrics import IN_WORDS, PRICES, metric_named
from nextone.experiments.runs.number_text import mean_and_half, percent_interval

from .plan import Cell
from .result import SweepArm, SweepResult

NAMED = 6  # arms that a sentence names


def answer(result: SweepResult) -> tuple[str, ...]:
    """What is best and how surely, what it gains, what it costs."""
    best, metric = result.best, result.plan.objective
    if best is None:
        return (headline(result),)
    sure = f"with probability ≥ {best.probability:.0%}"
    near = f"within {best.indifference:.3g} {metric.unit} of the best"
    if best.settled:
        return f"{headline(result)}; {sure} it is {near}.", _gain(result), _price(result)
    rest = len(best.contenders) - NAMED
    named = "; ".join(_with_ties(result, arm) for arm in best.contenders[:NAMED])
    first = f"{headline(result)}, {sure} one of them is {near}: {named}" + (f"; and {rest} more." if rest > 0 else ".")
    return first, _gain(result), _price(result)


def headline(result: SweepResult) -> str:
    """Which arm is best and whether that is settled, without how surely: short enough for the title of a figure."""
    best, metric = result.best, result.plan.objective
    if best is None:
        return f"There is no best cell: {result.why_no_best}"
    own = best.fresh or result.interval(best.arm, metric.name)
    where = f"on {best.fresh.n} fresh replications" if best.fresh else "in the replications that chose it"
    reached = f"{mean_and_half(own.mean, own.high - own.mean)} {metric.unit} {where}" if own else "undefined"
    if best.settled:
        return f"Best for {metric.name}: {_with_ties(result, best.arm)}, {reached}"
    return (
        f"Ahead in {metric.name}: {arm_words(result, best.arm)}, {reached}. Not settled: "
        f"{len(best.contenders)} of {len(result.arms)} arms left in the race"
    )


def _with_ties(result: SweepResult, arm: SweepArm) -> str:
    """The arm, and those with the very same numbers, which the race counts as one."""
    own, metric = result.of(arm, result.plan.metric), result.plan.metric
    alike = [other for other in result.arms if other != arm and _equal(own, result.of(other, metric))]
    return " = ".join(arm_words(result, each) for each in (arm, *alike))


def _equal(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    n = min(len(a), len(b))
    return bool((a[:n] == b[:n]).all())


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
    """What the best costs more and less of, against the baseline in the default cell."""
    best, plan = result.best, result.plan
    assert best is not None
    base = SweepArm(plan.default, plan.baseline)
    if plan.default.number in result.failed:
        return "Its price against the default cannot be told: the default cell has no results."
    if best.arm == base:
        return "So there is no price to tell."
    more, less, unclear = list[str](), list[str](), list[str]()
    for name in PRICES:
        d = result.difference(base, best.arm, name)
        if d is not None and d.diff:
            told = f"{IN_WORDS[name]} {percent_interval(d, metric_named(name).unit)}"
            (unclear if not d.sure else more if d.diff > 0 else less).append(told)
    said = {"It costs": more, "It saves": less, "May be luck": unclear}
    sentences = " ".join(f"{words}: {', '.join(each)}." for words, each in said.items() if each)
    return f"Against {plan.baseline} at the default: {sentences or 'no price.'}"


def cell_words(cell: Cell) -> str:
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
