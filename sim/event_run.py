"""The SimPy world: people who open the app, and the recommender servers they share.

Between two moments a phone meets the rest of the world in one place only, the wait in the server's queue. So a person
is a SimPy process that yields there, and in between the compiled life (`sim/impression.py`) runs ahead of the world's
clock as far as it likes. Phones are moved together, as late as possible: only when the world's clock could reach the
first moment at which one of them might ask the server. Decisions come in large batches that way, at no cost in truth.

The clock ticks in (microsecond, person), packed into one whole number, so that events of the same microsecond happen in
the order of people and not of insertion.
"""

from collections.abc import Generator
from math import inf
from typing import NamedTuple

import numpy as np
import simpy

from .batch_run import NO_SCORES, Decide, advance_rows
from .config import NEVER_US
from .impression import ASK, DECIDE, DONE, PAUSED
from .records import Logs, Records
from .request import REFUSED_QUEUE_US
from .state import Array, World

NO_BUDGET = 2**40


class ServerLedger(NamedTuple):
    """The server over a run. Little's law holds on the path: `waiting_area_us` is `waited_us`, to the microsecond."""

    arrived: int
    turned: int  # got a worker
    refused: int  # found the queue full
    reneged: int  # gave up in the queue
    busy_us: int  # worker time
    waited_us: int  # summed over requests
    waiting_area_us: int  # number in the queue, integrated over time


def run_events(
    world: World, decide: Decide | None, *, workers: int, queue_limit: int, end_us: int, days: bool = False
) -> tuple[Records, ServerLedger]:
    """Run everybody to the end of the window against `workers` servers with room for `queue_limit` waiting requests.

    The world must have been built without `queue_waits`."""
    assert len(world.queue_waits) == 0 and len(world.logged) == 1, "the event driver answers requests itself"
    users, n = world.users, len(world.users)
    opens, arrived, gives_up = users["phase_end_us"], users["arrived_us"], users["give_up_us"]
    service, waited = users["service_us"], users["queue_us"]
    env = simpy.Environment(initial_time=0)
    servers = simpy.Resource(env, workers)
    logs = Logs(world)
    phones: dict[int, simpy.Event] = {}  # people whose phone is to be moved, until they need the world
    moved = _Moving(users["now_us"])
    ledger = _Counting()

    def now_us() -> int:
        return int(env.now) // n

    def until(t_us: int, i: int) -> simpy.Event:
        return env.timeout(t_us * n + i - int(env.now))

    def phone(i: int, answered: bool, not_before_us: int) -> simpy.Event:
        """Move phone i until it needs the world; it will not ask the server before `not_before_us`."""
        phones[i] = simpy.Event(env)
        moved.add(i, PAUSED, answered, not_before_us * n + i)
        return phones[i]

    def person(i: int) -> Generator[simpy.Event, int, None]:
        """A life: the phone runs until it asks for a page, the request reaches the server, waits for its turn."""
        reason = yield phone(i, False, opens.item(i))
        while reason == ASK:
            yield until(arrived.item(i), i)
            yield from queue(i)
            back_us = now_us() + (0 if waited.item(i) == REFUSED_QUEUE_US else service.item(i))
            reason = yield phone(i, True, min(back_us, gives_up.item(i)))

    def queue(i: int) -> Generator[simpy.Event, object, None]:
        """At the server: refused if the queue is full, a turn in order of arrival, or given up."""
        ledger.arrived += 1
        waited[i] = NEVER_US
        if servers.count == workers and len(servers.queue) >= queue_limit:
            waited[i] = REFUSED_QUEUE_US
            ledger.refused += 1
            return
        turn = servers.request()
        if not turn.triggered:
            ledger.queued(now_us(), 1)
            yield turn | until(max(gives_up.item(i), now_us() + 1), i)
            ledger.queued(now_us(), -1)
            ledger.waited_us += now_us() - arrived.item(i)
        if not turn.triggered:
            turn.cancel()
            ledger.reneged += 1
            return
        waited[i] = now_us() - arrived.item(i)
        env.process(serve(turn, i, service.item(i)))

    def serve(turn: simpy.resources.resource.Request, i: int, service_us: int) -> Generator[simpy.Event, object, None]:
        """A worker is held, whether or not the phone still wants the page."""
        ledger.turned += 1
        ledger.busy_us += service_us
        yield until(now_us() + service_us, i)
        servers.release(turn)

    for i in range(n):
        env.process(person(i))
    while True:
        if moved.rows and env.peek() >= moved.earliest:
            for i, reason in moved.move(world, decide, logs, end_us, days):
                phones.pop(i).succeed(reason)
        elif env.peek() == inf:
            break
        else:
            env.step()
    assert ledger.waited_us == ledger.area_us, "Little's law on the path"
    return logs.records(), ServerLedger(
        ledger.arrived, ledger.turned, ledger.refused, ledger.reneged, ledger.busy_us, ledger.waited_us, ledger.area_us
    )


class _Counting:
    """Running sums behind `ServerLedger`."""

    def __init__(self) -> None:
        self.arrived = self.turned = self.refused = self.reneged = 0
        self.busy_us = self.waited_us = self.area_us = 0
        self._waiting = self._since_us = 0

    def queued(self, now_us: int, change: int) -> None:
        """The number in the queue changes."""
        self.area_us += self._waiting * (now_us - self._since_us)
        self._waiting, self._since_us = self._waiting + change, now_us


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
        self, world: World, decide: Decide | None, logs: Logs, end_us: int, days: bool
    ) -> list[tuple[int, int]]:
        """Move them all once; those that need the world, with the reason. The others stay."""
        rows, reasons = np.array(self.rows), np.array(self._reasons, dtype=np.int8)
        answered = np.array(self._answered, dtype=np.bool_)
        self.clear()
        out: list[tuple[int, int]] = []
        deciding = reasons == DECIDE
        for group in (deciding, ~deciding):
            if not group.any():
                continue
            some: Array = rows[group]
            scores = decide(world, some) if decide is not None and group is deciding else NO_SCORES
            why = np.zeros(len(some), np.int8)
            advance_rows(world, some, scores, answered[group], end_us, days, NO_BUDGET, why, 0, len(some), 0)
            logs.collect_if_filling()
            for i, reason in zip(some.tolist(), why.tolist(), strict=True):
                if reason in (ASK, DONE):
                    out.append((i, reason))
                else:
                    self.add(i, reason, False, self._clocks.item(i) * len(self._clocks) + i)
        return out
