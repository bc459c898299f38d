"""Round-trip times as measured: runs of pings, and the level and jitter that the world draws from them.

sim/network.py makes a round trip from a session's level, from jitter, and from a short memory. Two things are left out:
the radio's wake-up, which pings prevent, and queueing behind a download.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .traces import FloatArray, IntArray, numbers, rows_drawn, shipped

GROUP = 3  # of what a seed draws; traces are the first three
PING_EVERY_US = 200_000  # of the shipped runs


class Pings(NamedTuple):
    """R runs of answered pings end to end, n in all."""

    first: IntArray  # (R + 1,) run k owns the pings first[k]:first[k + 1]
    t_us: IntArray  # (n,) when sent, since the run's first one
    rtt_us: FloatArray  # (n,)
    sent: IntArray  # (R,) pings sent from the first to the last answered one; 0 where they are not numbered


def shipped_pings() -> Pings:
    """858 runs of about 30 s while driving. Source: pam2025, 2023."""
    table = shipped("pam2025/pings.parquet")
    run, seq = numbers(table, "run"), numbers(table, "seq")
    first = np.append(np.flatnonzero(np.diff(run, prepend=-1)), len(run))
    start, last = seq[first[:-1]], seq[first[1:] - 1]
    since = seq - np.repeat(start, np.diff(first))
    return Pings(first, since * PING_EVERY_US, numbers(table, "rtt_us", np.float64), last - start + 1)


def redrawn_pings(pings: Pings, seed: int) -> Pings:
    """As many runs, drawn with replacement by a seed; 0: the runs as they are."""
    runs = rows_drawn([str(run) for run in range(len(pings.sent))], seed, GROUP)
    rows = np.concatenate([np.arange(pings.first[k], pings.first[k + 1]) for k in runs])
    first = np.append(0, np.cumsum(np.diff(pings.first)[runs]))
    return Pings(first, pings.t_us[rows], pings.rtt_us[rows], pings.sent[runs])


def level_and_jitter(pings: Pings) -> tuple[FloatArray, FloatArray]:
    """(R,) the median RTT of each run, microseconds, and (n,) each RTT over its run's median, unitless."""
    level = np.array([np.median(pings.rtt_us[start:stop]) for start, stop in pairwise(pings.first)])
    return level, pings.rtt_us / np.repeat(level, np.diff(pings.first))
