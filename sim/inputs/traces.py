"""Capacity of links over time, as exact cumulative byte curves; and the tests that give access networks their level.

A trace is piecewise linear between integer knots and repeats after its last one. sim/network.py integrates it, and the
population draws one for each person. Other traffic on the link, and any loss of bytes on the way, are left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from nextone.sim.config import ENDLESS
from nextone.sim.data import open_data

from .errors import UserError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MAX_SEGMENT_US = 10_000_000
MAX_BYTES_PER_S = 10**6 * ENDLESS  # what "inf" means: slow enough for int64, and `network.finish_us` knows it
PAM_LAST_US = 500_000  # a shipped driving sample is half a second; the last one has no next to end it
SYNTHETIC_LAG_1S = 0.9  # autocorrelation after 1 s. Source: pam2025, .89 after 1 s and .60, about .9**5, after 5 s

MAX_SYNTHETIC_S = 20_000_000
MIN_MBPS, MAX_MBPS = 1e-3, 1e6
STEADY = 1 / 4  # of the 4G traces. Assumed; a wilder shape would make the spread of tests wider than it was measured


class TraceError(UserError):
    """Bad trace input, in one line that names the file, the row where there is one, and the remedy."""


class Traces(NamedTuple):
    """T traces, one after the other. In segment k, the bytes delivered from the trace's start up to time x are

    cum_bytes[k] + (x - t_us[k]) * (cum_bytes[k + 1] - cum_bytes[k]) // (t_us[k + 1] - t_us[k]);

    that product stays below 2**62, and no segment is longer than 10 s."""

    first: IntArray  # (T + 1,) first knot of each trace; trace k owns knots first[k]:first[k + 1], at least two
    t_us: IntArray  # (K,) first knot of a trace 0, then strictly increasing; the last one closes the loop
    cum_bytes: IntArray  # (K,) first knot of a trace 0, then non-decreasing, last one positive
    mean_bps: FloatArray  # (T,) bits per second averaged over the trace


def segment_bytes(t_us: IntArray, kbps: NDArray[Any]) -> IntArray:
    """Whole bytes in each of the n segments between n + 1 knots at the given rates; the remainder is carried on, so
    every cumulative count is the exact one rounded down."""
    bits_1000 = np.cumsum(kbps * np.diff(t_us))  # kbit/s times microseconds
    cum_bytes: IntArray = (bits_1000 // 8_000).astype(np.int64)
    amount: IntArray = np.diff(np.append(0, cum_bytes))
    return amount


def flatten(curves: Iterable[tuple[IntArray, IntArray]]) -> Traces:
    """Lay curves end to end; each is (t_us (n + 1,), bytes in each segment (n,)), the last knot closing the loop."""
    knots = [_split(t_us, amount) for t_us, amount in curves]
    assert knots, "no curve"
    return Traces(
        first=np.cumsum([0] + [len(t_us) for t_us, _ in knots], dtype=np.int64),
        t_us=np.concatenate([t_us for t_us, _ in knots]),
        cum_bytes=np.concatenate([cum_bytes for _, cum_bytes in knots]),
        mean_bps=np.array([8e6 * cum_bytes[-1] / t_us[-1] for t_us, cum_bytes in knots]),
    )


def _split(t_us: IntArray, amount: IntArray) -> tuple[IntArray, IntArray]:
    """Knots and cumulative bytes, with knots added until every segment is short enough and its product fits."""
    span = np.diff(t_us)
    assert t_us[0] == 0, t_us[0]
    assert (span > 0).all(), "knots not increasing"
    assert (amount >= 0).all(), "negative bytes"
    assert amount.any(), "no bytes"
    by_product = np.ceil(np.sqrt(span.astype(np.float64) * amount / 2.0**61)).astype(np.int64)  # a factor 2 in reserve
    pieces = np.maximum(-(-span // MAX_SEGMENT_US), by_product)
    cum_bytes = np.concatenate([[0], np.cumsum(amount)])
    if pieces.max() == 1:
        return t_us, cum_bytes
    segment = np.repeat(np.arange(len(span)), pieces)
    piece = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    x_us = span[segment] * piece // pieces[segment]
    part = (x_us.astype(object) * amount[segment] // span[segment]).astype(np.int64)  # Python integers: no overflow
    return np.append(t_us[segment] + x_us, t_us[-1]), np.append(cum_bytes[segment] + part, cum_bytes[-1])


def constant_trace(mbps: float) -> Traces:
    """One trace of constant rate; inf is 10**12 bytes/s, and transfers over it take no time."""
    if not mbps >= MIN_MBPS:
        raise TraceError(f"mbps={mbps} must be >= {MIN_MBPS}; use inf for a link that never delays anything")
    bytes_per_10_s = min(round(min(mbps, 8e6) * 1_250_000), 10 * MAX_BYTES_PER_S)
    return flatten([(np.array([0, 10_000_000]), np.array([bytes_per_10_s]))])


def synthetic_traces(n: int, seconds: int, median_mbps: float, cv: float, seed: int) -> Traces:
    """n traces of 1 s samples whose log throughput is a stationary AR(1); cv is the standard deviation over the mean.

    Trace k is a function of the other arguments and k, whatever n is. Samples are whole kbit/s, at least 1.
    """
    _check(n >= 1 and seconds >= 1, f"n={n} and seconds={seconds} must be >= 1; ask for at least one sample")
    _check(n * seconds <= MAX_SYNTHETIC_S, f"n*seconds={n * seconds} must be <= {MAX_SYNTHETIC_S:,}; make fewer traces")
    _check(
        MIN_MBPS <= median_mbps <= MAX_MBPS,
        f"median_mbps={median_mbps} must be in [{MIN_MBPS}, {MAX_MBPS:g}]; give Mbit/s",
    )
    _check(0 <= cv <= 10, f"cv={cv} must be in [0, 10]; cellular traces have .4 to 1.2")
    _check(0 <= seed < 2**64, f"seed={seed} must be in [0, 2**64); give a whole number")
    sd_log = np.sqrt(np.log1p(cv**2))
    t_us = np.arange(seconds + 1, dtype=np.int64) * 1_000_000

    def curve(k: int) -> tuple[IntArray, IntArray]:
        level = _ar1(np.random.Generator(np.random.Philox(key=[seed, k])).standard_normal(seconds))
        kbps = np.clip(np.rint(1e3 * median_mbps * np.exp(sd_log * level)), 1, 1e3 * MAX_MBPS).astype(np.int64)
        return t_us, segment_bytes(t_us, kbps)

    return flatten(curve(k) for k in range(n))


def _ar1(shock: FloatArray) -> FloatArray:
    """Standard normal AR(1) driven by independent standard normal shocks; its first value is its first shock."""
    from scipy.signal import lfilter  # late: takes longer to import than the rest of the world's input

    scaled = np.sqrt(1 - SYNTHETIC_LAG_1S**2) * shock
    scaled[0] = shock[0]
    return np.asarray(lfilter([1.0], [1.0, -SYNTHETIC_LAG_1S], scaled), dtype=np.float64)


def shipped_traces(seed: int = 0) -> tuple[Traces, dict[str, range]]:
    """The real traces, and the indices of each group: driving (pam2025), ghent_4g and oslo_3g (sabre), and steady, the
    quarter of ghent_4g that varies least, whose shape the world scales to an access network's level.

    seed: 0, or what draws as many days of each group with replacement, a day with all its traces: other days that the
    same people might have measured on. Ghent's traces do not say their day; each is taken for one."""
    pam, sabre = shipped("pam2025/throughput.parquet"), shipped("sabre/traces.parquet")
    pam = pam.append_column("duration_ms", pa.array(np.full(pam.num_rows, PAM_LAST_US // 1_000)))
    is_4g = pa.compute.equal(sabre["tech"], "4G")
    tables = pam, sabre.filter(is_4g), sabre.filter(pa.compute.invert(is_4g))
    driving, ghent, oslo = (_of_days(table, seed, group) for group, table in enumerate(tables))
    ghent = sorted(ghent, key=_variation)
    first, after = len(driving), len(driving) + len(ghent)
    groups = {
        "driving": range(first),
        "ghent_4g": range(first, after),
        "steady": range(first, first + round(STEADY * len(ghent))),
        "oslo_3g": range(after, after + len(oslo)),
    }
    return flatten(driving + ghent + oslo), groups


def day_of(trace: str) -> str:
    """The day of a shipped trace by its name: `3G_2010-09-13_1003CEST`; the drive of `a_1_run_10` and `v_1_run_10`;
    else the whole name."""
    first, second, *rest = trace.split("_")
    return second if first == "3G" or (rest and rest[0] == "run") else trace


def rows_drawn(days: Sequence[str], seed: int, group: int) -> list[int]:
    """Rows of as many days as there are, drawn with replacement by (seed, group); seed 0: each row once, in order.

    days: of each row."""
    if not seed:
        return list(range(len(days)))
    of_day: dict[str, list[int]] = {}
    for row, day in enumerate(days):
        of_day.setdefault(day, []).append(row)
    every = list(of_day.values())
    drawn = np.random.Generator(np.random.Philox(key=[seed, group])).integers(len(every), size=len(every))
    return [row for k in drawn for row in every[k]]


def _of_days(table: pa.Table, seed: int, group: int) -> list[tuple[IntArray, IntArray]]:
    curves = list(_shipped_curves(table))
    days = [day_of(str(name)) for name in pa.compute.unique(table["trace"]).to_pylist()]
    assert len(days) == len(curves), "a trace is one run of rows"
    return [curves[row] for row in rows_drawn(days, seed, group)]


def _variation(curve: tuple[IntArray, IntArray]) -> float:
    """Coefficient of variation of a curve's rate over time."""
    t_us, amount = curve
    span = np.diff(t_us)
    mean = amount.sum() / t_us[-1]
    return float(np.sqrt(np.average((amount / span - mean) ** 2, weights=span)) / mean)


def _shipped_curves(table: pa.Table) -> Iterator[tuple[IntArray, IntArray]]:
    """A sample holds until the next one of its trace, the last for its duration. Rows are sorted by trace and time."""
    t_us, duration_us = (numbers(table, name) * 1_000 for name in ("t_ms", "duration_ms"))
    kbps = numbers(table, "kbps")
    edges = np.concatenate([np.flatnonzero(t_us == 0), [len(t_us)]])
    for start, stop in pairwise(edges):
        knots = np.append(t_us[start:stop], t_us[stop - 1] + duration_us[stop - 1])
        yield knots, segment_bytes(knots, kbps[start:stop])


def bandwidth_tests() -> dict[str, FloatArray]:
    """Results of ten-second tests, Mbit/s (n,): 4G, 5G, wifi4, wifi5 and wifi6. Source: bts, 2021."""
    table = shipped("bts/tests.parquet")
    return {
        str(tech): numbers(table.filter(pa.compute.equal(table["tech"], tech)), "mbps", np.float64)
        for tech in pa.compute.unique(table["tech"]).to_pylist()
    }


def shipped(name: str) -> pa.Table:
    """A table of the shipped data, by its path below sim/data."""
    with open_data(name) as file:
        return pa.parquet.read_table(file)


def numbers(table: pa.Table, name: str, dtype: type = np.int64) -> NDArray[Any]:
    """A column of a table as numbers of this type."""
    return np.asarray(table[name].to_numpy()).astype(dtype)


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise TraceError(rule)
