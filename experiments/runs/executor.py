"""Running tasks: in this process or in several, and what came of each; on many machines, see `on_ray.py`.

A task is whatever `run` makes a result of. The result is a pure function of the task, so that it does not matter where,
when or in which order tasks are run. Most tasks are replications of an arm (`arms.Task`), which `replicate` runs.
"""

import math
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as first_of
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, Protocol

from nextone.sim.batch_run import model_is_compiled
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import SettingError

from .arms import Task
from .replication import Replication, run_replication
from .shipping import Movable
from .starting import GUARD, alone_because, main_can_be_imported, main_left_alone


class RunFailed(RuntimeError):
    """A task failed. The message names it: for a replication its arm, number and seed."""


class Failed(NamedTuple):
    """The outcome of a task without a result: the reason in one line, and the error itself if it is about the user's
    input, else its traceback."""

    reason: str
    error: UserError | None = None
    trace: str = ""

    def raised(self) -> Exception:
        """The error to raise where one failure ends everything."""
        if self.error is not None:
            return self.error
        failed = RunFailed(self.reason)
        failed.add_note(self.trace)
        return failed


Outcome = Replication | Failed
Run = Callable[[Any], Any]
"""run(task) -> its result; a function at the top of a module, so that other processes can import it."""
Outcomes = Generator[tuple[Any, Any], None, None]
"""Each task with what `run` made of it, or with why that failed (`Failed`)."""
Source = Callable[[], Movable | None]
"""The next task to run; None while there is none before more outcomes are in, and for good when none is out either."""


def replicate(task: Task) -> Replication:
    """One replication of one arm. Raises RunFailed if a metric is infinite, and whatever goes wrong in the run."""
    result = run_replication(
        task.arm.scenario,
        task.arm.policy,
        seed=task.seed,
        replication=task.replication,
        minutes=task.minutes,
        days=task.days,
        engine=task.engine,
    )
    wrong = [name for name, value in result.metrics.items() if math.isinf(value)]
    if wrong:
        raise RunFailed(f"{task}: metric {wrong[0]} is infinite; every metric must be a number, or NaN where undefined")
    return result


class Execute(Protocol):
    """How tasks are run. execute(source, workers, run) yields each task of the source once with its outcome, in any
    order, until the source is empty and every outcome is in. It is closed early on Ctrl-C."""

    def __call__(self, source: Source, workers: int, run: Run = replicate) -> Outcomes: ...


AHEAD = 2  # tasks handed out per process: one to work on, one to go on with
DIED = "its process was killed, as when memory runs out; give it more memory, or fewer users"


def run_all(source: Source, workers: int, run: Run = replicate) -> Outcomes:
    """Run tasks in this process if workers is 1, else in several."""
    return in_this_process(source, 1, run) if workers == 1 else in_processes(source, workers, run)


def results(
    tasks: Iterable[Movable], workers: int, run: Run = replicate, execute: Execute | None = None
) -> Iterator[tuple[Any, Any]]:
    """Each task with its result, in any order. Raises what the first task that fails has to say; processes that still
    run are stopped then, and on Ctrl-C. execute: where tasks are run; None: `run_all`."""
    with closing((execute or run_all)(partial(next, iter(tasks), None), workers, run)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.raised()
            yield task, outcome


def in_this_process(source: Source, workers: int = 1, run: Run = replicate) -> Outcomes:
    """Run tasks one after the other, in this process."""
    del workers
    while (task := source()) is not None:
        yield task, outcome_of(task, run)


def in_processes(source: Source, workers: int, run: Run = replicate) -> Outcomes:
    """Run tasks in other processes. When a process dies, the tasks that were running are run again one by one, which
    shows whose fault it was. Where no process can be started, tasks run in this one, with a line on standard error."""
    if reason := alone_because():
        sys.stderr.write(f"nextone: in one process: {reason}\n")
        yield from in_this_process(source, 1, run)
        return
    suspects = deque[Movable]()
    while True:
        alone, died = bool(suspects), False
        take: Source = (lambda: suspects.popleft() if suspects else None) if alone else source
        with _processes(1 if alone else workers) as pool:
            if alone:
                _must_start(pool)
            for task, outcome in _results(pool, take, 1 if alone else AHEAD * workers, run):
                if outcome is not None:
                    yield task, outcome
                elif alone:
                    yield task, Failed(f"{task}: {DIED}")
                else:
                    died = True
                    suspects.append(task)
        if not alone and not died:
            return


def _results(
    pool: ProcessPoolExecutor, take: Source, most: int, run: Run = replicate
) -> Iterator[tuple[Movable, Any]]:
    """Hands out tasks, at most so many at a time, and yields their outcomes; once a process has died it takes no more
    and yields None for those that were out.

    The very first task on a machine runs alone: several processes would each compile the same model."""
    futures: dict[Future[Any], Movable] = {}
    dead, alone = False, not model_is_compiled()
    while True:
        while not dead and len(futures) < (1 if alone else most) and (task := take()) is not None:
            _must_travel(task)
            try:
                # Processes start here, and inherit that they leave Ctrl-C to us.
                with main_left_alone(), _ctrl_c_later():
                    futures[pool.submit(partial(outcome_of, run=run), task)] = task
            except BrokenProcessPool:
                dead = True
                yield task, None
        if not futures:
            return
        for future in first_of(futures, return_when=FIRST_COMPLETED).done:
            task, alone = futures.pop(future), False
            try:
                outcome = future.result()
            except BrokenProcessPool:
                dead, outcome = True, None
            except Exception as error:
                outcome = Failed(f"{task}: {type(error).__name__}: {error}")
            yield task, outcome


def outcome_of(task: Movable, run: Run) -> Any:
    """What `run` returns for a task, or Failed if it raises an error."""
    try:
        return run(task)
    except UserError as error:  # about the user's input: says all by itself
        return Failed(str(error), error)
    except RunFailed as error:
        return Failed(str(error))
    except Exception as error:
        return Failed(f"{task}: {type(error).__name__}: {error}", trace=traceback.format_exc())


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


def _must_start(pool: ProcessPoolExecutor) -> None:
    """Tell processes that die of a task from such that cannot start at all."""
    try:
        with main_left_alone(), _ctrl_c_later():
            started = pool.submit(os.getpid)
        started.result()
    except BrokenProcessPool:
        raise RunFailed("processes end as soon as they start; standard error may say why") from None


def _must_travel(task: Movable) -> None:
    """Raises SettingError for a policy of the user's own that cannot be pickled; our own tasks can."""
    if not isinstance(task, Task) or isinstance(task.arm.policy, str):
        return
    try:
        if b"__main__" in bytes(ForkingPickler.dumps(task.arm)) and not main_can_be_imported():
            raise ValueError(f"it stands in a script or notebook that cannot be imported; a script needs {GUARD!r}")
    except Exception as error:
        raise SettingError(
            f"policy {task.arm.label!r} cannot be sent to another process ({error}); use workers=1, or define it at "
            "the top of a module"
        ) from None
