"""The main job: the same people, phones, links and luck under several arms, over independent replications.

An arm is a policy in a scenario; the first is the baseline. Every (arm, replication) is one task, a pure function of
the scenario, the policy and the keys of its draws, so the result does not depend on the number of processes or on who
finishes first. Called by `nextone compare` and, with policies of one's own, from Python.
"""

import math
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nextone import __version__
from nextone.policies.base import PolicyLike
from nextone.policies.names import SHIPPED, is_trained, make_policy
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, nearest, with_settings
from nextone.sim.traces import TraceError

from .deciding import decider_names, is_decider
from .metrics import METRICS, Metric
from .replication import run_replication
from .statistics import Interval, PairedDifference, mean_interval, paired, require_replications

BASELINE_POLICY = "cloud_only"
MAX_REPLICATIONS = 10_000
Engine = Literal["event", "batch"]
Progress = Callable[[int, int], None]


class RunFailed(RuntimeError):
    """A replication failed; the message names its arm, replication and seed."""


@dataclass(frozen=True)
class Arm:
    """One column of the comparison: a label, a policy (a name, or one of your own), and the world it meets."""

    label: str
    policy: str | PolicyLike
    scenario: Scenario


@dataclass(frozen=True, repr=False)
class Comparison:
    """What came of it: values (arm, replication, metric), NaN where undefined, and all that is needed to repeat it."""

    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    values: NDArray[np.float64]  # (A, R, M)
    seed: int
    minutes: float | None
    days: float | None
    engine: Engine
    version: str = __version__

    @property
    def baseline(self) -> Arm:
        return self.arms[0]

    @property
    def replications(self) -> int:
        return len(self.values[0])

    @cached_property
    def intervals(self) -> tuple[tuple[Interval | None, ...], ...]:
        """[arm][metric]: mean over replications with its 95 % interval; None where undefined."""
        return tuple(tuple(mean_interval(column) for column in arm.T) for arm in self.values)

    @cached_property
    def differences(self) -> tuple[tuple[PairedDifference | None, ...], ...]:
        """[arm][metric]: paired difference from the baseline; None for the baseline and where undefined."""
        base = self.values[0].T  # (M, R)
        nothing: tuple[PairedDifference | None, ...] = (None,) * len(self.metrics)
        return nothing, *(tuple(map(paired, base, arm.T)) for arm in self.values[1:])

    def __str__(self) -> str:
        """The table, as `nextone compare` prints it."""
        from rich.console import Console

        from .present import comparison_table

        console = Console(width=120, color_system=None)
        with console.capture() as text:
            console.print(comparison_table(self))
        return text.get()

    def window(self) -> str:
        """`60 min` or `2 days`, for titles."""
        return f"{self.days:g} days" if self.days is not None else f"{self.minutes:g} min"


def resolve_policy(name: str, scenario: Scenario) -> str:
    """The policy of that name; the one place where names are looked up.

    Raises SettingError with the nearest name, CheckpointError if the folder after a colon holds none that fits."""
    if not is_decider(name):
        raise SettingError(f"unknown policy {name[:60]!r}{nearest(name, (*decider_names(), *SHIPPED))}")
    if is_trained(name):
        make_policy(name, scenario)
    return name


def parse_arm(text: str, base: Scenario) -> Arm:
    """`small=cloud_only server.page_size=2 server.workers=8`: label, policy and settings over the base scenario."""
    first, *settings = _words(text)
    label, equals, policy = first.partition("=")
    if not equals or not re.fullmatch(r"[\w.+-]{1,40}", label):
        raise SettingError(
            f"arm {text[:60]!r} must read 'label=policy section.field=value ...', the label 1 to 40 letters, digits "
            "or . + - _; for example 'small=cloud_only server.page_size=2'"
        )
    try:
        world = with_settings(base, settings)
        return Arm(label, resolve_policy(policy, world), world)
    except SettingError as error:
        raise SettingError(f"arm {label!r}: {error}") from None


def compare(
    arms: Sequence[Arm],
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    engine: Engine = "event",
    workers: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Run every arm over the same replications; `progress(done, total)` is called after each task.

    Arms that leave `server.workers` at 0 get the number that suits the first arm. Raises SettingError,
    TooFewReplications, or RunFailed. With workers > 1, policies of one's own must be functions or objects that another
    process can import.
    """
    if minutes is None and days is None:
        minutes = 60.0
    check_run(replications=replications, minutes=minutes, days=days, seed=seed, workers=workers)
    if len(arms) < 2:
        raise SettingError("a comparison needs a baseline and at least one other arm; add a policy or an --arm")
    labels = [arm.label for arm in arms]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise SettingError(f"two arms are called {twice!r}; give each its own label")
    arms = _with_the_same_servers(arms, minutes, days)
    tasks = [
        Task(arm, seed, replication, minutes, days, engine) for replication in range(replications) for arm in arms
    ]
    values = np.full((len(arms), replications, len(METRICS)), np.nan)
    position = {arm.label: index for index, arm in enumerate(arms)}
    with closing(_run_all(tasks, workers)) as rows:  # closed at once on Ctrl-C, so that no process outlives us
        for done, (task, row) in enumerate(rows, start=1):
            values[position[task.arm.label], task.replication] = row
            if progress:
                progress(done, len(tasks))
    values.setflags(write=False)
    return Comparison(tuple(arms), METRICS, values, seed, minutes, days, engine)


def compare_policies(
    policies: Mapping[str, str | PolicyLike],
    scenario: Scenario | None = None,
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    engine: Engine = "event",
    workers: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Compare policies in one scenario, the first being the baseline: `{"cloud_only": "cloud_only", "mine": mine}`."""
    world = scenario or Scenario()
    arms = [
        Arm(label, resolve_policy(policy, world) if isinstance(policy, str) else policy, world)
        for label, policy in policies.items()
    ]
    return compare(
        arms,
        seed=seed,
        replications=replications,
        minutes=minutes,
        days=days,
        engine=engine,
        workers=workers,
        progress=progress,
    )


def check_run(
    *,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Raises TooFewReplications or SettingError for a run that cannot or must not be made."""
    require_replications(replications)
    if replications > MAX_REPLICATIONS:
        raise SettingError(f"replications={replications} must be <= {MAX_REPLICATIONS}; intervals shrink with its root")
    if minutes is not None and days is not None:
        raise SettingError("minutes and days are both given; give one window")
    for name, value, most in (("minutes", minutes, 1440.0), ("days", days, 366.0)):
        if value is not None and not 0 < value <= most:
            raise SettingError(f"{name}={value:g} must be > 0 and <= {most:g}; the default is 60 minutes")
    if not 0 <= seed < 2**63:
        raise SettingError(f"seed={seed} must be >= 0 and < 2**63; any such number will do")
    if not 1 <= workers <= 1024:
        raise SettingError(f"workers={workers} must be >= 1 and <= 1024; processes to use, at most one per core helps")


@dataclass(frozen=True)
class Task:
    """One arm in one replication."""

    arm: Arm
    seed: int
    replication: int
    minutes: float | None
    days: float | None
    engine: Engine

    def __str__(self) -> str:
        return f"arm {self.arm.label!r}, replication {self.replication}, seed {self.seed}"


def run_task(task: Task) -> tuple[float, ...]:
    """One number per metric, in the order of METRICS, NaN where undefined."""
    try:
        row = run_replication(
            task.arm.scenario,
            task.arm.policy,
            seed=task.seed,
            replication=task.replication,
            minutes=task.minutes,
            days=task.days,
            engine=task.engine,
        )
        numbers = tuple(float(row[metric.name]) for metric in METRICS)
    except (SettingError, TraceError):  # about the user's input: says all by itself
        raise
    except Exception as error:
        raise RunFailed(f"{task}: {type(error).__name__}: {error}") from error
    if any(math.isinf(x) for x in numbers):
        name = next(metric.name for metric, x in zip(METRICS, numbers, strict=True) if math.isinf(x))
        raise RunFailed(f"{task}: metric {name} is infinite; every metric must be a number, or NaN where undefined")
    return numbers


def _words(text: str) -> list[str]:
    """Split at spaces, but not within brackets or quotes, so that `a.b=[1, 2]` stays one word."""
    return re.findall(r"(?:\[[^\]]*\]|\"[^\"]*\"|'[^']*'|\S)+", text) or [""]


def _with_the_same_servers(arms: Sequence[Arm], minutes: float | None, days: float | None) -> list[Arm]:
    """Resolve `server.workers = 0` once, for the baseline, before page sizes differ: the same for all arms."""
    count = arms[0].scenario.with_workers(minutes, days).server.workers
    return [
        arm
        if arm.scenario.server.workers
        else replace(arm, scenario=with_settings(arm.scenario, [f"server.workers={count}"]))
        for arm in arms
    ]


def _run_all(tasks: Sequence[Task], workers: int) -> Generator[tuple[Task, tuple[float, ...]], None, None]:
    if workers == 1:
        for task in tasks:
            yield task, run_task(task)
        return
    for arm in {id(task.arm): task.arm for task in tasks}.values():
        _must_travel(arm)
    with _processes(min(workers, len(tasks))) as pool:
        with _ctrl_c_later():  # the processes start here, and inherit that they leave Ctrl-C to us
            futures: dict[Future[tuple[float, ...]], Task] = {pool.submit(run_task, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except (SettingError, TraceError, RunFailed):
                raise
            except Exception as error:  # the process died: killed, out of memory
                raise RunFailed(f"{futures[future]}: {type(error).__name__}: {error}") from error


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are gone when the block is left, at once if by an error or Ctrl-C."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_process, (threads,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    pool.shutdown()


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back, in this thread and for good in what it starts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_process(threads: int) -> None:
    """End with the parent, and share the cores with the other processes."""
    import numba

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be held back
    threading.Thread(target=_end_with_parent, daemon=True).start()
    numba.set_num_threads(min(threads, numba.get_num_threads()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _must_travel(arm: Arm) -> None:
    try:
        ForkingPickler.dumps(arm)
    except Exception as error:
        raise SettingError(
            f"policy {arm.label!r} cannot be sent to another process ({error}); use workers=1, or define it at the "
            "top of a module"
        ) from None
