"""What large jobs would take on many machines: `nextone bench --plan`. Measured on this one, then multiplied.

Tasks are independent of each other, so one rule is enough: a machine works on as many tasks at a time as it has cores,
and no more than its memory holds; minutes are the tasks that each process gets, rounded up, times what a task takes,
plus what a process needs to start. Tasks are measured side by side on all cores of this machine, through the executor,
so that what they cost each other is in it; in seconds of the processor, so that other work here is not. Left out: other
processors, compiling once on each machine, machines that are busy or lost.
"""

import math
import os
import resource
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from statistics import mean
from time import process_time
from typing import Any, NamedTuple

from rich.table import Table

from nextone.experiments.runs.arms import Arm, Task
from nextone.experiments.runs.executor import in_processes, replicate, results
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

CORES, MEMORY_GB = 16, 64.0  # of a machine. Assumed: a common size
MACHINES = (1, 4, 16, 64)
PEOPLE, CELLS, REPLICATIONS = 1_000_000, 1_000, 10
A_WORLD = 1_000  # people of a task of the first job


class Job(NamedTuple):
    """A large job of many tasks, of which a few are measured."""

    name: str
    tasks: int
    sample: tuple[Arm, ...]  # tasks are evenly of these
    minutes: float | None = None
    days: float | None = None


class Cost(NamedTuple):
    """What a task of a job costs here."""

    start_s: float  # until a process works, and its model is loaded
    task_s: float  # of a core
    peak_gb: float  # of a process
    result_bytes: float  # that come back


class Line(NamedTuple):
    """A job on so many machines."""

    machines: int
    processes: int  # of each
    minutes: float


def jobs() -> tuple[Job, ...]:
    """A sweep at its defaults; and a day of a million people, in worlds of a thousand with their servers."""
    world = with_settings(Scenario(), [f"population.users={A_WORLD}"])
    arms = tuple(Arm(policy, policy, Scenario()) for policy in ("cloud_only", "tag_momentum"))
    return (
        Job(
            f"A sweep of {CELLS:,} cells × {REPLICATIONS} replications × 2 policies, an hour of "
            f"{Scenario().population.users} people", CELLS * REPLICATIONS * len(arms), arms, minutes=60.0,
        ),
        Job(f"A day of {PEOPLE:,} people, cloud_only", PEOPLE // A_WORLD, (Arm("day", "cloud_only", world),), days=1.0),
    )  # fmt: skip


class Spent(NamedTuple):
    """What one task cost, in the process where it ran."""

    process: int
    before_s: float  # of the processor, since the process began
    task_s: float
    peak_gb: float
    result_bytes: int


def spent(task: Task) -> Spent:
    """Run a replication, and measure what it costs."""
    before = process_time()
    result = replicate(task)
    took, peak = process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Spent(os.getpid(), before, took, peak * 1024 / 1e9, len(ForkingPickler.dumps(result)))


def measure(job: Job, workers: int, each: int) -> Cost:
    """Run `each` tasks of the job per process, and one before, which loads the model. Raises RunFailed."""
    tasks = (
        Task(job.sample[k % len(job.sample)], 0, k, job.minutes, job.days, "event") for k in range(workers * (each + 1))
    )
    first, later = dict[int, Spent](), list[Spent]()
    for _, cost in results(tasks, workers, spent, in_processes):
        if first.setdefault(cost.process, cost) is not cost:
            later.append(cost)
    task_s = mean(x.task_s for x in later)
    start_s = max(x.before_s + x.task_s for x in first.values()) - task_s
    both = [*first.values(), *later]
    return Cost(max(start_s, 0.0), task_s, max(x.peak_gb for x in both), mean(x.result_bytes for x in both))


def lines(job: Job, cost: Cost) -> Iterator[Line]:
    """The minutes for each number of machines, by the rule above."""
    processes = max(1, min(CORES, math.floor(MEMORY_GB / cost.peak_gb)))
    for machines in MACHINES:
        seconds = cost.start_s + math.ceil(job.tasks / (machines * processes)) * cost.task_s
        yield Line(machines, processes, seconds / 60)


def run_plan(workers: int, each: int = 4) -> list[dict[str, Any]]:
    """For each job, what a task costs, measured in `workers` processes, and what that means on many machines: JSON."""
    found = []
    for job in jobs():
        cost = measure(job, workers, each)
        megabytes = job.tasks * cost.result_bytes / 1e6
        told = {"job": job.name, "tasks": job.tasks, "results_mb": megabytes, **cost._asdict()}
        found.append(told | {"machines": [line._asdict() for line in lines(job, cost)]})
    return found


def plan_shown(plan: list[dict[str, Any]]) -> Iterator[object]:
    """The same for people: what each job is, a table, and what a task of it costs."""
    for told in plan:
        yield told["job"]
        table = Table()
        for name in ("machines", "processes each", "GB each", "minutes"):
            table.add_column(name, justify="right")
        for line in told["machines"]:
            memory = line["processes"] * told["peak_gb"]
            minutes = f"{line['minutes']:,.0f}" if line["minutes"] >= 10 else f"{line['minutes']:.1f}"
            table.add_row(f"{line['machines']}", f"{line['processes']}", f"{memory:.0f}", minutes)
        yield table
        yield (
            f"{told['tasks']:,} tasks of {told['task_s']:.2g} s on a core, {told['peak_gb']:.2g} GB a process, "
            f"{told['start_s']:.2g} s until it works, {told['results_mb']:,.3g} MB of results. Machines of {CORES} "
            f"cores like these and {MEMORY_GB:g} GB.\n"
        )
