"""How far apart two sets of play times are: Kolmogorov-Smirnov and Wasserstein distances, as facts of a log.

Measured against the log itself, resampled people show how far apart two such logs are by luck alone. Called by
`experiments/fitting/people/validate.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.state import Array

from .facts import CLASSES, LENGTHS_S

SEGMENT_KS, SEGMENT_W1 = 0.10, 0.10  # Assumed: twice what is asked of all plays; to be met in 90 % of the segments
MIN_SEGMENT = 500  # rows of the measured log, to be judged


class Part(NamedTuple):
    """Some rows of the measured log, and those of the simulated one that they are compared with."""

    rows: Array
    others: Array

    def also(self, other: "Part") -> "Part":
        """The rows that are in both parts."""
        return Part(self.rows & other.rows, self.others & other.others)


def parts(measured: UserLog, simulated: UserLog, start_hour: float) -> dict[str, list[Part]]:
    """All rows, the classes of length, and these by hour of delivery, where the measured log tells it, and by how many
    rows the person has.

    start_hour: of the simulated people's day at their log's time 0."""
    both = (measured, simulated)
    classes = _split([np.searchsorted(LENGTHS_S, log.duration_ms / 1e3) - 1 for log in both], len(CLASSES))
    hours = (measured.hour, (simulated.time_ms / 3.6e6 + start_hour) % 24)
    rows = [np.bincount(log.user)[log.user] for log in both]
    limits = np.quantile(rows[0], [1 / 3, 2 / 3])
    thirds = {
        "hour": _split([hour.astype(int) // 8 for hour in hours], 3) if measured.has_hours else [],
        "activity": _split([np.searchsorted(limits, n) for n in rows], 3),
    }
    whole = Part(*(np.ones(len(log.user), bool) for log in both))
    crossed = {by: [one.also(other) for one in classes for other in others] for by, others in thirds.items()}
    return {"whole": [whole], "length": classes, **crossed}


def _split(labels: Sequence[Array], n: int) -> list[Part]:
    rows, others = labels
    return [Part(rows == k, others == k) for k in range(n)]


class Distances:
    """Distances of other play times from those of the log's rows in each part."""

    def __init__(self, measured: UserLog, simulated: UserLog, start_hour: float) -> None:
        self._each = {
            name: [
                _Distance(measured.play_ms[p.rows], measured.user[p.rows], simulated.play_ms[p.others])
                for p in of
                if name in ("whole", "length") or np.count_nonzero(p.rows) >= MIN_SEGMENT
            ]
            for name, of in parts(measured, simulated, start_hour).items()
        }

    def simulated(self) -> dict[str, float]:
        """Distances of the simulated log from the measured one."""
        return self._facts({name: [d.simulated() for d in of] for name, of in self._each.items()})

    def resampled(self, weight: Array) -> dict[str, float]:
        """Distances of the measured log, with weights of its people, from itself."""
        return self._facts({name: [d.resampled(weight) for d in of] for name, of in self._each.items()})

    def _facts(self, found: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
        ks, w1 = found["whole"][0]
        facts = {"play time: KS distance": ks, "play time: Wasserstein-1 / mean": w1}
        facts |= {f"{name}: KS distance": ks for name, (ks, _) in zip(CLASSES, found["length"], strict=True)}
        for by in ("hour", "activity"):
            good = [ks <= SEGMENT_KS and w1 <= SEGMENT_W1 for ks, w1 in found[by]]
            facts[f"segments by length and {by} that fit"] = float(np.mean(good)) if good else np.nan
        return facts


class _Distance:
    """(KS, Wasserstein-1 / mean) of other play times from a sample's."""

    def __init__(self, sample: Array, user: Array, other: Array) -> None:
        order = np.argsort(sample, kind="stable")
        self._sample, self._user, self._other = sample[order], user[order], np.sort(other)
        self._last = np.flatnonzero(np.append(np.diff(self._sample) > 0, True))[: len(sample)]  # of equal ones

    def simulated(self) -> tuple[float, float]:
        grid = np.union1d(self._sample, self._other)
        below = [np.searchsorted(x, grid, side="right") / max(len(x), 1) for x in (self._sample, self._other)]
        return self._between(grid, *below)

    def resampled(self, weight: Array) -> tuple[float, float]:
        grid, below = self._sample[self._last], (self._last + 1) / max(len(self._sample), 1)
        count = np.cumsum(weight[self._user])
        return self._between(grid, below, count[self._last] / count[-1:])

    def _between(self, grid: Array, below: Array, other: Array) -> tuple[float, float]:
        """From two distribution functions on a grid; NaN if one is of nothing."""
        if not len(self._sample) or not len(self._other) or not other[-1] > 0:
            return np.nan, np.nan
        gap = np.abs(other - below)
        return float(gap.max()), float(gap[:-1] @ np.diff(grid) / self._sample.mean())
