"""What happened: logs of impressions, requests and sessions, in the order of people and their lives.

Compiled functions write lines into small buffers, and `Logs` collects them between calls. At the end they are sorted by
person and number, so a log does not depend on the order in which people were moved.
"""

from typing import NamedTuple

import numpy as np

from nextone.sim.engine.chance import uniform2
from nextone.sim.engine.kernel import entry, inlined, kernel
from nextone.sim.engine.luck import LIFE, UPLINK

from .config import NEVER_US
from .state import Array, World

ORDER = (("user", "impression"), ("user", "request", "attempt"), ("user", "session"))


MOMENT = np.dtype(
    [
        ("start_us", "i8"),
        ("end_us", "i8"),
        ("phase", "i4"),
        ("fetching", "i4"),
        ("video", "i4"),  # being fetched, -1 if none
        ("bytes", "i8"),  # held of the video on screen
        ("delivered", "i8"),  # so far in this life
        ("screen", "i4"),  # video on screen
        ("live", "i4"),
        ("ranking", "i4"),
        ("request_state", "i4"),
    ],
    align=True,
)
"""Between two events of the person that is traced (for `nextone timeline`)."""


class Records(NamedTuple):
    """The logs of a run."""

    impressions: Array  # state.IMPRESSION
    requests: Array  # state.REQUEST
    sessions: Array  # state.SESSION


class Logs:
    """Collects the kernels' log buffers of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffers = (world.impressions, world.requests, world.sessions)
        self._chunks: tuple[list[Array], ...] = ([], [], [])

    def collect(self) -> None:
        """Empty the buffers."""
        logged = self._world.logged
        for part in range(len(logged)):
            for k, (buffer, chunks) in enumerate(zip(self._buffers, self._chunks, strict=True)):
                if logged[part, k]:
                    chunks.append(in_one(buffer[part, : logged[part, k]]).copy())
        logged[:] = 0

    def collect_if_filling(self) -> None:
        """Empty the buffers if one of them is half full."""
        if 2 * self._world.logged.max() > self._world.impressions.shape[1]:
            self.collect()

    def impressions_since(self, known: int) -> tuple[Array, int]:
        """Impressions collected since `known` chunks of them were known, and how many are known now."""
        self.collect()
        chunks, empty = self._chunks[0], self._buffers[0][0, :0]
        rows = np.concatenate([in_one(empty), *chunks[known:]]).view(empty.dtype)
        return rows, len(chunks)

    def records(self) -> Records:
        """Everything collected, sorted."""
        self.collect()
        tables = []
        for buffer, chunks, order in zip(self._buffers, self._chunks, ORDER, strict=True):
            rows = np.concatenate([in_one(buffer[0, :0]), *chunks])
            chunks.clear()  # the same rows once more: a day of many people takes gigabytes
            table = rows.view(buffer.dtype)
            tables.append(rows.take(np.lexsort([table[name] for name in reversed(order)])).view(buffer.dtype))
        return Records(*tables)


def in_one(rows: Array) -> Array:
    """The same rows without fields, so that numpy copies each row as a whole and not field by field."""
    return np.asarray(rows).view(np.dtype((np.void, rows.itemsize)))


@kernel
def log_request(user, requests, logged, part, outcome):
    """One line of the request log: an attempt ended."""
    if requests.shape[1] == 0:
        return
    row = requests[part, logged[part, 1]]
    row.user, row.session, row.request, row.attempt = user.user, user.session, user.request, user.attempt
    row.outcome, row.refresh, row.model = outcome, user.refresh, user.model_sent
    row.sent_us, row.arrived_us, row.queue_us = user.sent_us, user.arrived_us, user.queue_us
    row.service_us, row.response_us, row.ended_us = user.service_us, user.response_us, user.now_us
    logged[part, 1] += 1


@inlined
def log_impression(screen, impressions, logged, part):
    """Write one line of the impression log. Then nothing is on the screen, and later counts belong to the next
    impression."""
    if impressions.shape[1] > 0:
        impressions[part, logged[part, 0]] = screen
        logged[part, 0] += 1
    clear_screen(screen)


@inlined
def clear_screen(screen):
    """Empty the screen; later counts belong to the next impression."""
    screen.video = -1
    screen.outcome = 0
    screen.feedback = 0
    screen.stalls = 0
    screen.wait_us = screen.pick_us = screen.swipe_us = screen.startup_us = 0
    screen.play_us = screen.stall_us = screen.browse_us = screen.away_us = 0
    screen.bytes = screen.total_bytes = 0


def ended_us(impressions: Array) -> Array:
    """When each impression was over."""
    parts = ("startup_us", "play_us", "stall_us", "browse_us", "away_us")
    total: Array = impressions["start_us"] + sum(impressions[name] for name in parts)
    return total


def samples_arrive_us(world: World, impressions: Array) -> Array:
    """When the cloud has the sample of each impression: what the phone saw as it decided, joined with what came of it
    when that was over; NEVER_US for those that are lost on the way."""
    arrive = np.empty(len(impressions), np.int64)
    who, which = (np.ascontiguousarray(impressions[name]) for name in ("user", "impression"))
    _send_up(world.params, world.key, who, which, ended_us(impressions), arrive)
    return arrive


@entry
def _send_up(params, key, users, impressions, over_us, arrive):
    """`samples_arrive_us` of impressions (n,) that were over by over_us (n,), into arrive (n,)."""
    p = params[0]
    for k in range(len(arrive)):
        u, v = uniform2(key[users[k]], LIFE, users[k], impressions[k], UPLINK)
        late_us = np.int64(-np.log(v) * p.uplink_us)
        arrive[k] = NEVER_US if u < p.uplink_loss else over_us[k] + late_us


@inlined
def log_has_room(impressions, requests, sessions, logged, part):
    """Whether an event's lines fit into each log (a log of no rows is off)."""
    return (
        (impressions.shape[1] == 0 or logged[part, 0] + 3 <= impressions.shape[1])
        and (requests.shape[1] == 0 or logged[part, 1] + 6 <= requests.shape[1])
        and (sessions.shape[1] == 0 or logged[part, 2] + 3 <= sessions.shape[1])
    )
