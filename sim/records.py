"""What happened: impressions, requests and sessions, in the order of people and their lives.

Kernels write lines into small buffers; `Logs` collects them between calls. Sorted at the end by person and number, so
that a log does not depend on the order in which people were moved.
"""

from typing import NamedTuple

import numpy as np

from .state import Array, World

ORDER = (("user", "impression"), ("user", "request", "attempt"), ("user", "session"))


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
                    chunks.append(buffer[part, : logged[part, k]].copy())
        logged[:] = 0

    def collect_if_filling(self) -> None:
        """Empty the buffers if one of them is half full."""
        if 2 * self._world.logged.max() > self._world.impressions.shape[1]:
            self.collect()

    def records(self) -> Records:
        """Everything collected, sorted."""
        self.collect()
        tables = []
        for buffer, chunks, order in zip(self._buffers, self._chunks, ORDER, strict=True):
            table = np.concatenate([buffer[0, :0], *chunks])
            tables.append(table[np.lexsort([table[name] for name in reversed(order)])])
        return Records(*tables)
