"""Sweeps: cells of settings under several policies, replicated until intervals are as narrow as asked, resumable.

A sweep runs in rounds, and a round ends when all its tasks have ended. What is run next is a pure function of the plan
and of all results so far. So it does not depend on the number of processes, on the order in which they finish, or on a
kill in between. Keyed draws make each result a function of its task alone, with the same bits whatever happened.
"""

import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.experiments.runs.arms import FRESH, Progress, Task
from nextone.experiments.runs.metrics import METRICS, column_of
from nextone.experiments.runs.provenance import check_same, inputs, made_with, read_measurements
from nextone.experiments.runs.statistics import MIN_REPLICATIONS, Selection, replications_needed
from nextone.sim.config import Scenario
from nextone.sim.engine.sources import code_digest, imported, package_files
from nextone.sim.scenario import SettingError

from .ledger import Key, Ledger, Result, begin, told
from .ledger import resume as open_ledger
from .plan import Plan, Question, plan_of

if TYPE_CHECKING:
    from nextone.experiments.runs.executor import Execute, Outcome

    from .result import SweepResult

RUNS_A_TASK = "nextone.experiments.runs.replication"
Values = Mapping[tuple[int, str], NDArray[np.float64]]


class Effort(NamedTuple):
    """What a sweep cost this time; for people, never part of a result."""

    tasks: int
    wall_s: float
    own_s: float  # of this process, on the ledger, the files and deciding what to run
    busy: float  # share of the workers' time that a core spent on them; NaN where they are not of this machine


def sweep(
    question: Question,
    base: Scenario | None = None,
    *,
    out: Path | str,
    workers: int = 1,
    progress: Progress | None = None,
    execute: "Execute | None" = None,
) -> "SweepResult":
    """Run a sweep and keep it in a folder: `sweep(Question(grid=("server.page_size=2,4",)), out="results/pages")`.

    execute: how tasks are run; `on_ray()` on Ray, `executor.in_processes` if None. Raises SettingError,
    TooFewReplications."""
    plan = plan_of(question, base or Scenario())
    folder = Path(out)
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return finish(begun(folder, plan), workers=workers, progress=progress, execute=execute)


def resume(
    folder: Path | str, *, max_replications: int | None = None, workers: int = 1, progress: Progress | None = None,
    execute: "Execute | None" = None,
) -> "SweepResult":  # fmt: skip
    """Go on with the sweep in a folder, with nothing but what is in the folder; tasks that failed are tried again.

    max_replications: more than it had; its intervals then allow for the look in between. Raises SettingError."""
    return finish(opened(Path(folder), max_replications), workers=workers, progress=progress, execute=execute)


def begun(folder: Path, plan: Plan, *, replace: bool = False) -> Ledger:
    """The ledger of a new sweep; from here on, the folder alone is enough. Loads nothing heavy.

    replace: throw away a sweep that is in the folder; otherwise it is refused. Raises SettingError."""
    read_measurements(cell.scenario for cell in plan.cells)
    return begin(folder, plan, made_of(plan), first_round(plan), replace=replace)


def opened(folder: Path, max_replications: int | None = None) -> Ledger:
    """The ledger of a sweep to go on with; the arguments are those of `resume`.

    Raises SettingError before anything is changed, also if the code, versions or a file of its inputs have changed."""
    ledger = open_ledger(folder)
    try:
        check_made(ledger)
        if max_replications is not None:
            ledger.extend(ledger.plan.extended(max_replications))
        ledger.try_again()
    except BaseException:
        ledger.close()
        raise
    return ledger


def made_of(plan: Plan) -> dict[str, Any]:
    """What all results of a plan must be made of: code, versions, and digests of the files that it points to."""
    return {"code": code_sha256()} | versions_and_files(plan)


def versions_and_files(plan: Plan) -> dict[str, Any]:
    """`made_of` without the code."""
    scenarios = [cell.scenario for cell in plan.cells]
    return made_with(plan.policies, plan.home) | {"inputs": inputs(scenarios, plan.policies, plan.home)}


def check_made(ledger: Ledger) -> None:
    """Raises SettingError, which names the difference, unless everything that results depend on is as it was at the
    start."""
    check_files(ledger)
    where, then, now = f"--resume {str(ledger.folder)!r}", ledger.made["code"], code_sha256()
    if then != now:
        raise SettingError(
            f"{where}: begun by other code of nextone ({then[:12]}, this is {now[:12]}); finish it with that, or begin "
            "a new one"
        )


def check_files(ledger: Ledger) -> None:
    """`check_made` for versions and files alone."""
    check_same(
        ledger.made, versions_and_files(ledger.plan), f"--resume {str(ledger.folder)!r}",
        f"put back what it was begun with, then go on with nextone sweep --resume {ledger.folder}, or begin a new one "
        "in another folder",
    )  # fmt: skip


def _cpu_s() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def first_round(plan: Plan) -> list[Key]:
    """The tasks of the first round: the fewest replications of everything from which an interval can be made."""
    return [Key(c.number, r, p) for c in plan.cells for r in range(MIN_REPLICATIONS) for p in plan.policies]


def finish(
    ledger: Ledger,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    execute: "Execute | None" = None,
    effort: list[Effort] | None = None,
) -> "SweepResult":
    """Run the rest of a sweep and write its tables; the ledger is closed. effort: a list to which what it cost is
    appended."""
    from nextone.experiments.runs.executor import in_processes  # late: the plan is in the ledger by now

    from .result import read_sweep, save_sweep

    started, ran, waited, cpu = time.monotonic(), 0, 0.0, _cpu_s()
    with closing(ledger):
        rounds = _Rounds(ledger)
        asked = time.monotonic()
        with closing((execute or in_processes)(rounds.next_task, workers)) as outcomes:
            for task, outcome in outcomes:
                waited += time.monotonic() - asked
                rounds.take(task, outcome)
                ran += 1
                if progress:
                    progress(rounds.done, rounds.expected)
                asked = time.monotonic()
        waited += time.monotonic() - asked - rounds.own_s
        check_made(ledger)
        rounds.close()
        with told(ledger.folder):
            save_sweep(ledger.folder, ledger.plan, ledger.made, rounds.kept(), rounds.failed)
    wall = time.monotonic() - started
    if effort is not None:
        busy = (_cpu_s() - cpu) / (wall * workers) if execute is None else math.nan
        effort.append(Effort(ran, wall, wall - waited, busy))
    return read_sweep(ledger.folder)


class _Rounds:
    """Where a sweep stands: what is wanted, what has come in, what is still to be handed out."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.own_s = 0.0  # spent in `next_task`
        self._results, self._failures = ledger.outcomes()
        self._out: dict[Task, Key] = {}
        self._todo: deque[Key] = deque()
        self._worlds = Worlds(ledger.plan)
        for key, result in self._results.items():
            self._worlds.meet(key, result)
        self._plan_round()

    @property
    def done(self) -> int:
        return len(self.wanted) - len(self._todo) - len(self._out)

    def next_task(self) -> Task | None:
        """The next to be run; a new round begins when the last one is in."""
        started = time.monotonic()
        if not self._todo and not self._out:
            self._plan_round()
        task = None
        if self._todo:
            key = self._todo.popleft()
            plan = self.ledger.plan
            task = plan.task(plan.cells[key.cell], key.policy, key.replication)
            self._out[task] = key
        self.own_s += time.monotonic() - started
        return task

    def take(self, task: Task, outcome: "Outcome") -> None:
        """Acknowledge what came of a task."""
        from nextone.experiments.runs.executor import Failed

        key = self._out.pop(task)
        if isinstance(outcome, Failed):
            check_files(self.ledger)  # what failed because a file is gone is not the cell's failure: it stays planned
            self._failures[key] = outcome.reason
            self.ledger.failed(key, outcome.reason)
            self.ledger.mark([(key.cell, "failed", outcome.reason)])
            return
        numbers = np.array([outcome.metrics[metric.name] for metric in METRICS])
        result = Result(numbers, outcome.positions, outcome.links_sha256, outcome.catalogue_sha256)
        self._worlds.meet(key, result)
        self._results[key] = result
        self.ledger.done(key, result)

    def close(self) -> None:
        """Every cell's last state."""
        states = ((c.number, "failed" if c.number in self.failed else "done") for c in self.ledger.plan.cells)
        self.ledger.mark((c, state, self.failed.get(c, "")) for c, state in states)

    def kept(self) -> dict[Key, Result]:
        """The results that the answer is made of, in order."""
        return {key: self._results[key] for key in self.wanted if key in self._results}

    def _plan_round(self) -> None:
        self.failed = failed_cells(self._failures)
        self.wanted = wanted_tasks(self.ledger.plan, self._results, self.failed)
        self.expected = expected_tasks(self.ledger.plan, self._results, self.wanted, self.failed)
        self._todo.extend(k for k in self.wanted if k not in self._results and k not in self._failures)
        if self._todo:
            self.ledger.promise(self._todo, self.expected)
            running = {key.cell for key in self._todo}
            states = {c.number: "running" if c.number in running else "done" for c in self.ledger.plan.cells}
            self.ledger.mark((c, state, "") for c, state in states.items() if c not in self.failed)


def wanted_tasks(plan: Plan, results: Mapping[Key, Result], failed: Mapping[int, str]) -> list[Key]:
    """Every task of this and all earlier rounds, in order. When everything is answered, there are no more than there
    are results."""
    wanted = dict.fromkeys(first_round(plan))
    while all(key in results for key in wanted if key.cell not in failed):
        if any(key.replication >= FRESH for key in wanted) or len(failed) == len(plan.cells):
            break
        more = _next_round(plan, _values(plan, results, wanted, failed), failed)
        if not more:
            break
        wanted |= dict.fromkeys(more)
    return list(wanted)


def failed_cells(failures: Mapping[Key, str]) -> dict[int, str]:
    """The reason of each failed cell: that of its first task that failed, in the order of replications."""
    found: dict[int, str] = {}
    for key in sorted(failures):
        found.setdefault(key.cell, failures[key])
    return found


def code_sha256() -> str:
    """Of the code that a task runs, as parsed: results of two versions never meet in one table."""
    files = package_files()
    return code_digest(files, imported(files, [RUNS_A_TASK], late=True))


class Worlds:
    """The links and the catalogue that each cell's tasks met: always the same ones."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._met: dict[object, str] = {}

    def meet(self, key: Key, result: Result) -> None:
        """Raises SettingError if a task met other links or another catalogue than those before it."""
        cell = self._plan.cells[key.cell]
        for where, digest in ((cell.scenario.network, result.links_sha256), (cell.number, result.catalogue_sha256)):
            if self._met.setdefault(where, digest) != digest:
                raise SettingError(
                    f"cell {cell.label!r}, replication {key.replication}: met other links or videos than earlier runs "
                    "of this sweep: a file was changed while it ran; begin a new one in another folder"
                )


def expected_tasks(
    plan: Plan, results: Mapping[Key, Result], wanted: Sequence[Key], failed: Mapping[int, str]
) -> int:
    """How many tasks there will be in all, as far as is known, so that the time left is not stated too short.

    Before the first round is in: all that the budget allows. After it: what each cell's spread so far asks for, all
    that the budget allows for those in the race for the best, and the re-estimate on fresh seeds."""
    from .result import choose

    if any(key.replication >= FRESH for key in wanted):
        return len(wanted)
    cells = [cell.number for cell in plan.cells if cell.number not in failed]
    values = _values(plan, results, [key for key in wanted if key in results], failed)
    has = {c: min(len(values.get((c, policy), ())) for policy in plan.policies) for c in cells}
    need = dict.fromkeys(cells, plan.max_replications)
    if min(has.values(), default=0) >= MIN_REPLICATIONS:
        even = {(c, policy): x[: has[c]] for (c, policy), x in values.items()}
        need = _for_intervals(plan, even, has, growth=math.inf)
        race = choose(plan, even, failed)
        if race is not None and not race.settled:
            need |= dict.fromkeys(_in_race(plan, race, failed), plan.max_replications)
    planned = Counter(key.cell for key in wanted)
    fresh = 0 if plan.objective.better == "neither" else min(2, len(cells)) * max(need.values(), default=0)
    return sum(max(len(plan.policies) * need[c], planned[c]) for c in cells) + len(plan.policies) * fresh


def _next_round(plan: Plan, values: Values, failed: Mapping[int, str]) -> list[Key]:
    """What to run after these results: replications where intervals are wide or the race for the best is open, then
    the winner and the default on fresh seeds; nothing if the plan has a metric that cannot be better or worse."""
    from .result import choose

    cells = [cell for cell in plan.cells if cell.number not in failed]
    has = {cell.number: len(values[cell.number, plan.baseline]) for cell in cells}
    need = has | _for_intervals(plan, values, has)
    race = choose(plan, values, failed)
    if race is None:
        return _more(plan, has, need)
    racing = _in_race(plan, race, failed)
    if not race.settled:
        for c in racing:
            need[c] = max(need[c], min(plan.max_replications, race.n + math.ceil(race.n / 4)))
    more = _more(plan, has, need)
    if more:
        return more
    winner = racing[0]
    judged = dict.fromkeys((winner, plan.default.number))
    return [Key(c, FRESH + r, p) for c in judged if c in has for r in range(has[winner]) for p in plan.policies]


def _in_race(plan: Plan, race: Selection, failed: Mapping[int, str]) -> list[int]:
    """Cells with an arm that is still in the race for the best, that with the best first."""
    arms = [cell.number for cell in plan.cells if cell.number not in failed for _ in plan.policies]
    return list(dict.fromkeys(arms[i] for i in race.left))


def _for_intervals(plan: Plan, values: Values, has: Mapping[int, int], growth: float = 2.0) -> dict[int, int]:
    """Replications each cell needs for its intervals: relative to the mean for means; for differences, from the
    baseline and from the default cell, absolute: in percent of the mean that is compared with, or in units.

    growth: at most so many times what there is."""
    m = column_of(plan.metric)
    need = dict(has)

    def ask(x: NDArray[np.float64], mean_of: NDArray[np.float64], *cells: int) -> None:
        half_width = plan.half_width.of(float(np.mean(mean_of)))
        wanted = replications_needed(
            x, half_width, plan.max_replications, extended=bool(plan.looks), growth=growth
        )
        for c in cells:
            need[c] = max(need[c], wanted)

    for (c, policy), of_arm in values.items():
        own, base = of_arm[:, m], values[c, plan.baseline][:, m]
        ask(own, own, c)
        if policy != plan.baseline:
            ask(own - base, base, c)
        default = plan.default.number
        if c != default and default in has:
            there = values[default, policy][:, m]
            n = min(len(own), len(there))
            ask((own[:n] - there[:n]), there[:n], c, default)
    return need


def _more(plan: Plan, has: Mapping[int, int], need: Mapping[int, int]) -> list[Key]:
    return [Key(c, r, p) for c, n in has.items() for r in range(n, need[c]) for p in plan.policies]


def _values(
    plan: Plan, results: Mapping[Key, Result], wanted: Iterable[Key], failed: Mapping[int, str]
) -> dict[tuple[int, str], NDArray[np.float64]]:
    """(cell, policy): metrics (R, M) of what was wanted so far, without the fresh seeds."""
    rows: dict[tuple[int, str], list[NDArray[np.float64]]] = {}
    for key in wanted:
        if key.cell not in failed and key.replication < FRESH:
            rows.setdefault((key.cell, key.policy), []).append(results[key].metrics)
    return {key: np.array(x) for key, x in rows.items()}
