"""A what-if answered: its settings table becomes arms, they are compared, and the answer becomes a table.

experiments/questions/figures.py draws it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from nextone.experiments.ab.assignment import Split
from nextone.experiments.ab.designs import Tried, all_shares, compare_tests
from nextone.experiments.runs.arms import Arm, Progress, parse_arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import Comparison, ran
from nextone.experiments.runs.executor import Execute
from nextone.experiments.runs.metrics import IN_WORDS, OVERLOAD, PRIMARY, column_of, metric_named, overload_mark
from nextone.experiments.runs.number_text import STAR, difference_text, interval_text, name_and_unit, percent_interval
from nextone.experiments.runs.statistics import Interval, PairedDifference, many_looked_at
from nextone.experiments.runs.verdict import depends_on, headline, listed, verdict
from nextone.experiments.sweeps.ledger import NAME, Ledger, resume
from nextone.experiments.sweeps.plan import Plan, Question, plan_of
from nextone.experiments.sweeps.result import SweepResult
from nextone.experiments.sweeps.sweep import begun, finish, made_of
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

from .what_if import ABIf, SweepIf, WhatIf


@dataclass(frozen=True)
class Answer:
    """A what-if and its comparison, looked up by value and series."""

    question: str
    asked: WhatIf
    result: Comparison

    def level(self, value: str, series: str, metric: str) -> Interval | None:
        """Mean with its 95 % interval."""
        return self.result.intervals[self._arm(value, series)][column_of(metric)]

    def change(self, value: str, series: str, metric: str) -> PairedDifference | None:
        """Paired difference from the first series at the usual value; None for that one."""
        return self.result.differences[self._arm(value, series)][column_of(metric)]

    def gain(self, value: str, series: str, metric: str) -> PairedDifference | None:
        """Paired difference from the first series at the same value; None for the first series."""
        first = self._arm(value, next(iter(self.asked.series)))
        arm, m = self._arm(value, series), column_of(metric)
        return None if arm == first else self.result.difference(first, arm, m)

    def overloaded(self, value: str, series: str) -> bool:
        """Whether its servers drowned."""
        return self.result.overloaded[self._arm(value, series)]

    def _arm(self, value: str, series: str) -> int:
        return [arm.label for arm in self.result.arms].index(f"{series} at {value}")


def arms(asked: WhatIf) -> list[Arm]:
    """The arms, by value in the order of the table; the usual value of the first series comes first, as the
    baseline."""
    base = with_settings(Scenario(), [f"population.users={asked.users}", *asked.world.split()])
    first = next(iter(asked.series))
    cells = [(value, name) for value in asked.values for name in asked.series]
    cells.sort(key=lambda cell: cell != (asked.usual, first))
    return [
        replace(parse_arm(f"arm={asked.series[name]} {asked.values[value]}", base), label=f"{name} at {value}")
        for value, name in cells
    ]


def ask(
    asked: WhatIf, question: str, *, seed: int = 0, workers: int = 1, execute: Execute | None = None,
    progress: Progress | None = None,
) -> Answer:  # fmt: skip
    """Run every arm over the same replications."""
    result = compare(
        arms(asked),
        seed=seed,
        replications=asked.replications,
        minutes=asked.minutes,
        engine="event" if asked.servers else "batch",
        workers=workers,
        execute=execute,
        progress=progress,
    )
    return Answer(question, asked, result)


def ask_sweep(
    asked: SweepIf, question: str, out: Path, *, seed: int = 0, workers: int = 1, execute: Execute | None = None,
    progress: Progress | None = None,
) -> SweepResult:  # fmt: skip
    """`ask` for a question that is a grid, kept in the folder `out` as any sweep. Asked again, the answer is read from
    there; a run that was broken off goes on; a run of another size, or by other code, is made again.

    Raises SettingError if the folder holds another sweep, or one that cannot be read."""
    base = with_settings(Scenario(), [f"population.users={asked.users}", *asked.world.split()])
    swept = Question(
        question=question,
        grid=asked.grid,
        policies=asked.policies,
        max_replications=asked.replications,
        minutes=asked.minutes,
        seed=seed,
    )
    return finish(_ledger(out, plan_of(swept, base)), workers=workers, execute=execute, progress=progress)


def ask_test(
    asked: ABIf, *, seed: int = 0, workers: int = 1, execute: Execute | None = None, progress: Progress | None = None
) -> Tried:
    """`ask` for an A/B test: what it says with each share of people treated, and what is true."""
    base = with_settings(Scenario(), [f"population.users={asked.users}", *asked.world.split()])
    both = [parse_arm(text, base) for text in (asked.control, asked.treatment)]
    return compare_tests(
        both, all_shares(Split("person", (0.5, 0.5)), asked.shares), seed=seed, replications=asked.replications,
        minutes=asked.minutes, workers=workers, execute=execute, progress=progress,
    )  # fmt: skip


def _ledger(folder: Path, plan: Plan) -> Ledger:
    """The one that the folder holds if it is of this very plan, else a new one."""
    if not (folder / NAME).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        return begun(folder, plan)
    try:
        kept = resume(folder)
    except SettingError as error:
        raise SettingError(f"{error}; or remove {folder} and ask again") from None
    if kept.plan == plan and kept.made == json.loads(json.dumps(made_of(plan))):
        kept.try_again()
        return kept
    kept.close()
    if kept.plan.question != plan.question:
        raise SettingError(f"{str(folder)!r} holds a sweep of another question; give --out another name")
    return begun(folder, plan, replace=True)


def sentences(answer: Answer, depends: Sequence[str] = ()) -> tuple[str, ...]:
    """The answer in words. If series are compared at each value, because nobody chooses a network or a phone, it says
    what each series gains over the first, value by value; otherwise it is the verdict over all that was tried. depends:
    as for `verdict`."""
    if not any(kind == "gain" for kind, _ in answer.asked.show):
        return verdict(answer.result, depends=depends)
    first, *others = answer.asked.series
    asked = [(series, value) for series in others for value in answer.asked.values]
    judged = many_looked_at([answer.gain(value, series, PRIMARY) for series, value in asked])
    told = {at: d for at, d in zip(asked, judged, strict=True) if d is not None}
    return *(_gained(series, first, told) for series in others), *depends_on(depends)


def finding(answer: Answer) -> str:
    """The answer in one sentence, the title of its figure."""
    if any(kind == "gain" for kind, _ in answer.asked.show):
        return sentences(answer)[0]
    drowned = answer.result.drowned
    return f"Servers drown under {listed(drowned)}." if drowned else headline(answer.result)


def _gained(series: str, first: str, told: Mapping[tuple[str, str], PairedDifference]) -> str:
    own = {value: d for (of, value), d in told.items() if of == series}
    sure = [f"{percent_interval(d)} at {value}" for value, d in own.items() if d.sure]
    luck = [value for value, d in own.items() if not d.sure]
    parts = [", ".join(sure)] if sure else []
    parts += [f"cannot be told from luck at {', '.join(luck)}"] if luck else []
    return f"{series} over {first}, {IN_WORDS[PRIMARY]}: {'; '.join(parts) or 'undefined'}."


def answer_table(answer: Answer) -> Table:
    """A row per value and series, a column per thing shown."""
    asked = answer.asked
    table = Table(title=Text(answer.question), caption=Text(_caption(answer)), caption_justify="left")
    table.add_column(Text(asked.axis))
    table.add_column("", no_wrap=True)
    for kind, name in asked.show:
        heading = name_and_unit(metric_named(name)) if kind == "level" else f"{name} {kind} %"
        table.add_column(Text(heading), justify="right", overflow="fold")
    for value in asked.values:
        table.add_section()
        for place, series in enumerate(asked.series):
            mark = overload_mark(answer.overloaded(value, series))
            cells = [cell(answer, kind, value, series, name) for kind, name in asked.show]
            table.add_row(Text(value if place == 0 else ""), Text(series + mark), *cells)
    return table


def cell(answer: Answer, kind: str, value: str, series: str, metric: str) -> Text:
    """The text of an arm in a table."""
    if kind == "level":
        return Text(interval_text(answer.level(value, series, metric)))
    difference = (answer.change if kind == "change" else answer.gain)(value, series, metric)
    better = metric_named(metric).better
    return difference_text(difference, better)


def legend(answer: Answer) -> str:
    """What change and gain are measured from."""
    asked, first = answer.asked, next(iter(answer.asked.series))
    kinds = {kind for kind, _ in asked.show}
    told = {
        "change": f"change: from {first} at {asked.usual}",
        "gain": f"gain: over {first} at the same value",
    }
    return "; ".join(text for kind, text in told.items() if kind in kinds)


def ran_of(answer: Answer) -> str:
    """People, window, replications, seed, method, and whether servers drown: for captions."""
    servers = "servers with queues" if answer.asked.servers else "ample servers"
    return ran(answer.result, servers) + f". {OVERLOAD}" * any(answer.result.overloaded)


def _caption(answer: Answer) -> str:
    return f"{ran_of(answer)}. {legend(answer)}; paired, % of what they are measured from; {STAR}."
