"""The SimPy world: people who open the app, and the recommender servers that they share.

Between two moments a phone meets the rest of the world in one place only: the wait in the server's queue. So a person
is a SimPy process that yields there. Between these waits the compiled model (`sim/impression.py`) runs ahead of the
world's clock as far as it can. Phones are moved together and as late as possible: only when the world's clock could
reach the first moment at which one of them might ask the server. Decisions then come in large batches, and results stay
exact.

The clock ticks in (microsecond, person), packed into one whole number. So events of the same microsecond happen in the
order of people, whatever the order of insertion.
"""

import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

import numpy as np
import simpy

from .batch_run import NO_SCORES, Decide, advance_rows
from .cloud.pooled import Pooled
from .config import NEVER_US
from .impression import ASK, DECIDE, DONE, PAUSED
from .records import Logs, Records
from .request import REFUSED_QUEUE_US
from .state import Array, World

NO_BUDGET = np.int64(2**40)  # of a width that it has without the compiler, too
YOUNG, NEVER = 100_000, 10**9  # objects made and not yet freed, after which Python looks for garbage among them


class ServerLedger(NamedTuple):
    """The server over a run. Little's law holds on the path: `waiting_area_us` is `waited_us`, to the microsecond."""

    arrived: int
    turned: int  # got a worker
    refused: int  # found the queue full
    reneged: int  # gave up in the queue
    busy_us: int  # worker time
    waited_us: int  # summed over requests
    waiting_area_us: int  # number in the queue, integrated over time


class Watch(NamedTuple):
    """Somebody outside who follows a run, and may change what a phone lives by when it asks for a page."""

    every_us: int
    look: Callable[[Logs, int], None]
    """At each multiple of `every_us`, us: what happened `client.timeout_s` before it, or earlier, is in the logs."""
    asked: Callable[[int, int], None]
    """A person's request has reached the server, us; nothing of that phone is computed beyond that moment."""


class Servers:
    """The recommender servers: so many workers, one queue in order of arrival, room for so many waiting requests.

    The clock has `ticks` ticks a microsecond, one per person (see above)."""

    def __init__(self, env: simpy.Environment, ticks: int, workers: int, queue_limit: int) -> None:
        self._env, self._ticks = env, ticks
        self._workers = simpy.Resource(env, workers)
        self._queue_limit = queue_limit
        self._arrived = self._turned = self._refused = self._reneged = 0
        self._busy_us = self._waited_us = self._area_us = 0
        self._waiting = self._since_us = 0

    @property
    def now_us(self) -> int:
        """The world's time, microseconds."""
        return int(self._env.now) // self._ticks

    def until(self, t_us: int, i: int) -> simpy.Event:
        """Person i's tick of a microsecond to come."""
        return self._env.timeout(t_us * self._ticks + i - self._env.now)

    def turn(self, i: int, service_us: int, gives_up_us: int) -> Generator[simpy.Event, object, int]:
        """Person i's request has arrived: its wait in the queue, us. REFUSED_QUEUE_US at once if the queue is full,
        NEVER_US when it was given up. With its turn a worker is held for `service_us`."""
        arrived_us = self.now_us
        self._arrived += 1
        if self._workers.count == self._workers.capacity and len(self._workers.queue) >= self._queue_limit:
            self._refused += 1
            return REFUSED_QUEUE_US
        turn = self._workers.request()
        if not turn.triggered:
            self._queue_grows(1)
            yield turn | self.until(max(gives_up_us, arrived_us + 1), i)
            self._queue_grows(-1)
            self._waited_us += self.now_us - arrived_us
        if not turn.triggered:
            turn.cancel()
            self._reneged += 1
            return NEVER_US
        self._env.process(self._serve(turn, i, service_us))
        return self.now_us - arrived_us

    def _serve(
        self, turn: simpy.resources.resource.Request, i: int, service_us: int
    ) -> Generator[simpy.Event, object, None]:
        """A worker is held, whether or not the phone still wants the page."""
        self._turned += 1
        self._busy_us += service_us
        yield self.until(self.now_us + service_us, i)
        self._workers.release(turn)

    def _queue_grows(self, change: int) -> None:
        self._area_us += self._waiting * (self.now_us - self._since_us)
        self._waiting, self._since_us = self._waiting + change, self.now_us

    def ledger(self) -> ServerLedger:
        """What the servers did so far; Little's law is checked on the path, once nobody waits."""
        assert self._waiting or self._waited_us == self._area_us, "Little's law on the path"
        return ServerLedger(
            self._arrived, self._turned, self._refused, self._reneged, self._busy_us, self._waited_us, self._area_us
        )


def run_events(
    world: World,
    decide: Decide | None,
    *,
    workers: int | Sequence[int],
    queue_limit: int,
    end_us: int,
    days: bool = False,
    group_of: Array | None = None,
    watch: Watch | None = None,
) -> tuple[Records, ServerLedger]:
    """Run everybody until they are gone, or to `end_us`, against `workers` servers with room for `queue_limit` waiting
    requests.

    workers: of each group of servers if there are several, each with a queue of its own; group_of: (N,) the group that
    answers each person; watch: who follows the run. The world must have been built without `queue_waits`."""
    logs = Logs(world)
    run = paused_at_decisions(
        world, logs, workers=workers, queue_limit=queue_limit, end_us=end_us, days=days, group_of=group_of, watch=watch
    )
    scores = None
    with _lasting_objects_left_alone():
        while True:
            try:
                rows = run.send(scores)
            except StopIteration as over:
                return logs.records(), over.value
            scores = NO_SCORES if decide is None else decide(world, rows)


@contextmanager
def _lasting_objects_left_alone() -> Iterator[None]:
    """Python looks for garbage among young objects only. People and servers last as long as the run, and to look
    through them again and again, and through torch, took a quarter of the time."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, NEVER, NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def paused_at_decisions(
    world: World,
    logs: Logs,
    *,
    workers: int | Sequence[int],
    queue_limit: int,
    end_us: int,
    days: bool,
    group_of: Array | None = None,
    watch: Watch | None = None,
) -> Generator[Array, Array | None, ServerLedger]:
    """The run as a generator: it yields rows (n,) of people at a decision, is sent their scores, and returns what the
    servers did. Those people do not meet before they have all been answered. Arguments as of `run_events`."""
    assert len(world.queue_waits) == 0 and len(world.logged) == 1, "the event driver answers requests itself"
    users, n = world.users, len(world.users)
    opens, arrived, gives_up = users["phase_end_us"], users["arrived_us"], users["give_up_us"]
    service, waited = users["service_us"], users["queue_us"]
    env = simpy.Environment(initial_time=0)
    groups = [Servers(env, n, w, queue_limit) for w in ([workers] if isinstance(workers, int) else workers)]
    served_by = [groups[g] for g in (np.zeros(n, np.int64) if group_of is None else group_of)]
    phones: dict[int, simpy.Event] = {}  # people whose phone is to be moved, until they need the world
    moved = _Moving(users["now_us"])
    barriers = [_Barrier(watch.every_us * n, watch.look)] if watch else []
    if pool_us := round(world.params["pool_min"][0] * 60e6):
        barriers.append(_Barrier(pool_us * n, Pooled(world).learn))

    def phone(i: int, answered: bool, not_before_us: int) -> simpy.Event:
        """Move phone i until it needs the world; it will not ask the server before `not_before_us`."""
        phones[i] = simpy.Event(env)
        moved.add(i, PAUSED, answered, not_before_us * n + i)
        return phones[i]

    def person(i: int) -> Generator[simpy.Event, int, None]:
        """A life: the phone runs until it asks for a page, the request reaches the server, waits for its turn."""
        servers, reason = served_by[i], (yield phone(i, False, opens.item(i)))
        while reason == ASK:
            yield servers.until(arrived.item(i), i)
            if watch:
                watch.asked(i, servers.now_us)
            waited[i] = yield from servers.turn(i, service.item(i), gives_up.item(i))
            back_us = servers.now_us + (0 if waited.item(i) == REFUSED_QUEUE_US else service.item(i))
            reason = yield phone(i, True, min(back_us, gives_up.item(i)))

    for i in range(n):
        env.process(person(i))
    due = _next_of(barriers)
    while True:
        if moved.rows and env.peek() >= min(moved.earliest, due):
            for i, reason in (yield from moved.move(world, logs, end_us, days)):
                phones.pop(i).succeed(reason)
        elif env.peek() == inf:
            break
        elif env.peek() >= due:
            for barrier in barriers:
                barrier.reached(due, logs, n)
            due = _next_of(barriers)
        else:
            env.step()
    return ServerLedger(*map(sum, zip(*(servers.ledger() for servers in groups), strict=True)))


class _Barrier:
    """A moment, again and again, up to which every phone has lived before somebody looks at the logs, but those that
    wait for a page: they are behind by `client.timeout_s` at most."""

    def __init__(self, every: int, call: Callable[[Logs, int], None]) -> None:
        self.next = self._every = every  # in ticks
        self._call = call

    def reached(self, tick: float, logs: Logs, ticks: int) -> None:
        """Look, if this is the moment. ticks: a microsecond's."""
        if tick == self.next:
            self._call(logs, self.next // ticks)
            self.next += self._every


def _next_of(barriers: Sequence[_Barrier]) -> float:
    return min((each.next for each in barriers), default=inf)


class _Moving:
    """Phones to be moved, and the first tick at which one of them might ask the server."""

    def __init__(self, clocks: Array) -> None:
        self._clocks = clocks  # (N,) each person's own, us
        self.clear()

    def clear(self) -> None:
        self.rows: list[int] = []
        self.earliest: float = inf
        self._reasons: list[int] = []
        self._answered: list[bool] = []

    def add(self, i: int, reason: int, answered: bool, not_before: int) -> None:
        self.rows.append(i)
        self._reasons.append(reason)
        self._answered.append(answered)
        self.earliest = min(self.earliest, not_before)

    def move(
        self, world: World, logs: Logs, end_us: int, days: bool
    ) -> Generator[Array, Array | None, list[tuple[int, int]]]:
        """Move them all once, asking for scores; those that need the world, with the reason. The others stay."""
        rows, reasons = np.array(self.rows), np.array(self._reasons, dtype=np.int8)
        answered = np.array(self._answered, dtype=np.bool_)
        self.clear()
        out: list[tuple[int, int]] = []
        deciding = reasons == DECIDE
        for group in (deciding, ~deciding):
            if not group.any():
                continue
            some: Array = rows[group]
            scores = (yield some) if group is deciding else NO_SCORES
            why = np.zeros(len(some), np.int8)
            advance_rows(world, some, scores, answered[group], end_us, days, NO_BUDGET, why, 0, len(some), 0)
            logs.collect_if_filling()
            for i, reason in zip(some.tolist(), why.tolist(), strict=True):
                if reason in (ASK, DONE):
                    out.append((i, reason))
                else:
                    self.add(i, reason, False, self._clocks.item(i) * len(self._clocks) + i)
        return out
