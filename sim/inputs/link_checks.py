"""From the columns of one file to curves of capacity and runs of pings, after every check of their values.

Values are compared with what their unit allows: years, how far rows of a trace are apart, what links deliver, how long
round trips take. Where another unit fits better, the message names it, and the user decides, in the header or with
`--columns NAME=COLUMN:UNIT`.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .errors import fail, short
from .link_columns import RATES, RTT_MS, TIME_US, Field
from .traces import MAX_MBPS, MIN_MBPS, FloatArray, IntArray, segment_bytes

MAX_SPAN_S = 7 * 86_400
YEAR_2000_S, YEAR_2100_S = 946_684_800.0, 4_102_444_800.0
PLAUSIBLE_MBPS = 0.03, 2_000.0  # median while it delivers: from EDGE to millimetre waves
TYPICAL_MBPS = 10.0
PLAUSIBLE_MS = 0.1, 3_000.0  # median: from the same building to a satellite behind a bad cell
LEAST_OF_PHONES_MS = 0.5
MAX_RTT_MS = 60_000.0
NEAREST_MS = {"rate": 10.0, "bytes": 0.0, "rtt": 2.0}  # rows of a trace or a log are further apart
FURTHEST_S = 100.0  # unless they are whole minutes, such as the means of a monitor
GAP_S, GAP_STEPS, LONGEST_GAP_S = 60.0, 100, 3_600.0
MAX_LOST = 1_000  # in a row
SEQ_WRAPS = 65_536
DAYS_2000, DAYS_2100 = 36_526, 73_051  # as spreadsheets count them
TWO_RUNS = "two runs in one file; put each run into a file of its own"
Curve = tuple[IntArray, IntArray]


class Table(NamedTuple):
    """The columns of one file that are about links, before any check of their values; n rows."""

    path: Path
    format: str  # what the file is, for people
    fields: list[Field]
    values: list[FloatArray]  # of each field
    row: IntArray  # (n,) what messages call each row
    words: pa.ChunkedArray | None = None  # (n,) the times, where they are dates
    last_us: int | None = None  # how long the last row holds; None: as long as the median one
    complete: bool = False  # no row is missing: a long one is no gap
    sent: int = 0  # pings, where the file says; else by their numbers
    notes: tuple[str, ...] = ()  # how it was read, for people

    def at(self, *roles: str) -> int | None:
        """The place of the first field that has one of these roles ("time", "rate", ...); None if there is none."""
        return next((k for k, field in enumerate(self.fields) if field.role in roles), None)

    def refuse(self, bad: NDArray[np.bool_], k: int, rule: str) -> None:
        """Raise UserError for the first row that is bad (n,), with its value in field k; does nothing if no row is."""
        if bad.any():
            i = int(np.argmax(bad))
            value = f"{self.values[k][i]:.15g}"
            if self.words is not None and self.fields[k].role == "time":
                value = short(self.words[i].as_py(), 40)
            fail(self.path, f"{self.fields[k].name}={value} {rule}", int(self.row[i]))


class Run(NamedTuple):
    """One run of pings."""

    t_us: IntArray
    rtt_us: FloatArray
    sent: int  # 0: not numbered


class Found(NamedTuple):
    """What one file gives. notes: what was done beyond the plain reading, for people."""

    curves: list[Curve]
    runs: list[Run]
    dead: str  # why a trace gives no curve; "" else
    notes: list[str]


def checked(table: Table) -> Found:
    """The curves and runs of a table. Raises UserError."""
    with np.errstate(all="ignore"):  # values near 1e308 become inf on the way, and are refused
        notes = list(table.notes)
        t_us, starts = _times(table)
        if len(starts) > 2:
            cuts = ", ".join(f"{int(table.row[k]):,}" for k in starts[1:-1][:3])
            gap_s = np.diff(t_us)[starts[1:-1] - 1].max() / 1e6
            notes.append(f"cut into {len(starts) - 1} at line {cuts}, for a gap of {_span(gap_s)}")
        pieces = [slice(a, b) for a, b in pairwise(starts) if b - a >= 2]
        if len(pieces) < len(starts) - 1:
            notes.append(f"{len(starts) - 1 - len(pieces)} rows alone between gaps left out")
        curves: list[Curve] = []
        runs: list[Run] = []
        dead = ""
        if table.at("rate", "bytes") is not None:
            curves, dead = _curves(table, t_us, pieces)
        if table.at("rtt") is not None:
            runs = _runs(table, t_us, pieces, notes)
    return Found(curves, runs, dead, notes)


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


# ---- times


def _times(table: Table) -> tuple[IntArray, IntArray]:
    """(n,) microseconds since the first row, strictly increasing, and the rows at which a piece without gaps starts,
    the last one past the end; two rows at least."""
    k = table.at("time")
    assert k is not None
    field, time = table.fields[k], table.values[k]
    if len(time) < 2:
        row = int(table.row[0]) if len(time) else None
        fail(table.path, f"has {len(time)} rows of data, must have >= 2; a row holds until the next", row)
    table.refuse(~np.isfinite(time), k, "must be finite; remove the row")
    table.refuse(time < 0, k, "must be >= 0; remove the row")
    if table.words is None:
        _check_dates(table, k)
    t_us = np.rint((time - time[0]) * field.factor)
    _check_order(table, k, np.diff(t_us))
    step_us = float(np.median(np.diff(t_us)))
    if not field.decided:
        _check_step(table, k, step_us / 1e6)
    return t_us.astype(np.int64), _pieces(table, k, t_us, step_us)


def _check_dates(table: Table, k: int) -> None:
    """Refuses times whose unit cannot be that of the name, and dates written as numbers."""
    field, time = table.fields[k], table.values[k]
    first = f"{time[0]:.15g}"
    remedy = "write times as 2023-11-14 10:00:00, or as seconds"
    if (np.floor(time) == time).all() and _is_date(f"{time[0]:.0f}") and _is_date(f"{time[-1]:.0f}"):
        looks = f"looks like a date, not a time in {field.unit}; {remedy}"
        fail(table.path, f"{field.name}={first} {looks}", int(table.row[0]))
    step = float(np.median(np.abs(np.diff(time))))
    if field.unit == "s" and ((time >= DAYS_2000) & (time <= DAYS_2100)).all() and step < 0.005 and np.ptp(time) < 7:
        looks = f"looks like a spreadsheet's date, in days; {remedy}"
        fail(table.path, f"{field.name}={first} in steps of {step * 1e3:.2g} ms {looks}", int(table.row[0]))
    late = time * field.factor > YEAR_2100_S * 1e6
    if late.any():
        first_s = float(time[np.argmax(late)]) / 1e6
        fits = [unit for unit, us in TIME_US.items() if YEAR_2000_S < first_s * us < YEAR_2100_S]
        rule = f"is past the year 2100 as {field.unit}"
        if fits:
            table.refuse(late, k, f"{rule}, of this century as {fits[0]}; {_rename('t', field, fits[0])}")
        table.refuse(late, k, f"{rule}, and fits no other unit; repair the row")


def _is_date(word: str) -> bool:
    """Whether a whole number is written like 20231114, 202311141059 or 20231114105900."""
    if len(word) not in (8, 12, 14, 17) or not word.isdecimal():
        return False
    month, day, hour, minute = int(word[4:6]), int(word[6:8]), int(word[8:10] or 0), int(word[10:12] or 0)
    return 1990 <= int(word[:4]) < 2100 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60


def _rename(kind: str, field: Field, unit: str) -> str:
    return f"name the column {kind}_{unit} if it is, or say --columns {kind}_{unit}={field.name}"


def _check_order(table: Table, k: int, span_us: FloatArray) -> None:
    forward = span_us[span_us > 0]
    back = np.append(False, span_us < 0)
    if back.any() and -span_us.min() > 2 * (np.median(forward) if len(forward) else np.inf):
        at = int(np.argmin(span_us)) + 1
        one = np.zeros(len(back), np.bool_)
        one[at if np.count_nonzero(back) == 1 else int(np.argmax(back))] = True
        table.refuse(one, k, f"starts again: {TWO_RUNS}")
    table.refuse(back, k, "is earlier than the row before; sort the rows by time")
    table.refuse(np.append(False, span_us == 0), k, "is the time of the row before; keep one row a microsecond")


def _check_step(table: Table, k: int, step_s: float) -> None:
    """Refuses rows too far apart or too near for what they are, where another unit fits."""
    field = table.fields[k]
    units = list(TIME_US)
    role = "rtt" if table.at("rate", "bytes") is None else table.fields[table.at("rate", "bytes") or 0].role
    keep = f"or, if they are, say --columns t_{field.unit or 's'}={field.name}:{field.unit or 's'}"
    row = int(table.row[1])
    if step_s > LONGEST_GAP_S or (step_s >= FURTHEST_S and step_s % 60):
        finer = units[min(units.index(field.unit) + 1, 3)] if field.unit else "s"
        looks = f"as {finer} they would be {step_s / 1e3:g} s; name the column t_{finer} if it is, {keep}"
        fail(table.path, f"{field.name}: rows are {step_s:,.12g} s apart, too far for a link; {looks}", row)
    if field.unit in ("ms", "us", "ns") and step_s * 1e3 <= NEAREST_MS[role] and 1e3 * step_s >= 1e-3:
        coarser = units[units.index(field.unit) - 1]
        looks = f"as {coarser} they would be {step_s * 1e3:g} s; name the column t_{coarser} if it is, {keep}"
        fail(table.path, f"{field.name}: rows are {step_s * 1e3:g} ms apart, too near for a link; {looks}", row)


def _pieces(table: Table, k: int, t_us: FloatArray, step_us: float) -> IntArray:
    span_us = np.diff(t_us)
    limit = min(max(GAP_S * 1e6, GAP_STEPS * step_us), max(LONGEST_GAP_S * 1e6, 10 * step_us))
    gap = span_us > limit
    seq = table.at("seq")
    if table.complete:
        gap[:] = False
    elif seq is not None:  # pings that were sent all the while are losses, not a gap
        gap &= np.diff(table.values[seq]) % SEQ_WRAPS < span_us / step_us / 2
    starts = np.concatenate([[0], np.flatnonzero(gap) + 1, [len(t_us)]])
    since = t_us - np.repeat(t_us[starts[:-1]], np.diff(starts))
    remedy = _rename("t", table.fields[k], "ms")
    table.refuse(since > MAX_SPAN_S * 1e6, k, f"is over 7 days after the first row; cut it, or {remedy}")
    return starts


# ---- capacity


def _curves(table: Table, t_us: IntArray, pieces: list[slice]) -> tuple[list[Curve], str]:
    """Knots and the bytes of each segment of each piece; or why there are none."""
    k = table.at("rate", "bytes")
    assert k is not None
    field, amount = table.fields[k], table.values[k]
    table.refuse(~np.isfinite(amount), k, "must be finite; remove or repair the row")
    table.refuse(amount < 0, k, "must be >= 0; remove or repair the row")
    if not amount.any():
        return [], f"{field.name}=0 in every row; a link must deliver something"
    knots = [_knots(table, t_us[piece]) for piece in pieces]
    spans = np.concatenate([np.diff(each) for each in knots])
    rows = np.concatenate([np.arange(piece.start, piece.stop) for piece in pieces])
    kbps = amount[rows] * field.factor if field.role == "rate" else amount[rows] * 8e3 / spans
    if field.role == "bytes":
        _check_counter(table, k)
    all_kbps = np.zeros(len(amount))
    all_kbps[rows] = kbps
    _check_rate(table, k, all_kbps / 1e3)
    curves, at, dead = [], 0, ""
    for each in knots:
        here = slice(at, at + len(each) - 1)
        at = here.stop
        given = np.rint(amount[rows][here]).astype(np.int64)
        whole = segment_bytes(each, kbps[here]) if field.role == "rate" else given
        mean_mbps = 8 * (whole.sum() + 1) / each[-1]  # what rounding down took away is not held against it
        if mean_mbps < MIN_MBPS or not whole.any():
            dead = f"carries {mean_mbps:.3g} Mbit/s on average, must be >= {MIN_MBPS}; nothing could be watched"
        else:
            curves.append((each, whole))
    return curves, "" if curves else dead or "no two rows without a gap between them; give longer runs"


def _knots(table: Table, t_us: IntArray) -> IntArray:
    """Times of the rows of a piece from its first, and its end."""
    last = table.last_us or np.rint(np.median(np.diff(t_us))).astype(np.int64)
    knots: IntArray = np.append(t_us, t_us[-1] + last) - t_us[0]
    if knots[-1] < 1_000_000:
        lasts = f"lasts {knots[-1] / 1e6:g} s, must last >= 1 s"
        fail(table.path, f"{lasts}; name the column t_s if it is", int(table.row[0]))
    return knots


def _check_counter(table: Table, k: int) -> None:
    """Refuses a running total: bytes that hardly ever fall."""
    step = np.diff(table.values[k])
    rises, falls = np.count_nonzero(step > 0), np.count_nonzero(step < 0)
    if table.format != "Mahimahi" and len(step) >= 5 and rises >= 3 and falls <= len(step) / 50:
        fail(table.path, f"{table.fields[k].name} {'never' if not falls else 'hardly ever'} fall in {len(step) + 1:,} "
             "rows: looks like a running total; give the differences from row to row", int(table.row[0]))  # fmt: skip


def _check_rate(table: Table, k: int, mbps: FloatArray) -> None:
    field = table.fields[k]
    least, most = (0.0, np.inf) if field.decided else PLAUSIBLE_MBPS
    median = float(np.median(mbps[mbps > 0])) if (mbps > 0).any() else 0.0
    others = {"bps": 1e-6, "kbps": 1e-3, "mbps": 1.0}
    given = median if field.role == "bytes" else median * 1e3 / field.factor
    far = {unit: abs(np.log10(given * mbps / TYPICAL_MBPS)) for unit, mbps in others.items() if median > 0}
    likely = min(far, key=lambda unit: far[unit], default="mbps")
    fits = f", as {likely} {given * others[likely]:.3g}"
    shown = f"{median:,.0f}" if median >= 1_000 else f"{median:.3g}"
    seen = f"must be a link's rate, median here {shown} Mbit/s{fits if field.role == 'rate' else ''}; name the column"
    unit = {"mbps": "Mbps"}.get(field.unit, field.unit)
    keep = f", or say --columns mbps={field.name}:{unit if unit in RATES else 'UNIT'} to keep it"
    keep = keep if field.role == "rate" else f", or say --columns bytes={field.name}:bytes to keep it"
    keep = "" if table.complete else keep  # no table: there is nothing to say of columns
    if median > most:
        table.refuse(mbps > most, k, f"{seen} kbps or bps if it is{keep}")
    if median < least:
        table.refuse((mbps > 0) & (mbps < least), k, f"{seen} mbps or kbps if it is{keep}")
    table.refuse(mbps > MAX_MBPS, k, f"must be <= {MAX_MBPS:,.0f} Mbit/s; repair the row")


# ---- round trips


def _runs(table: Table, t_us: IntArray, pieces: list[slice], notes: list[str]) -> list[Run]:
    """Times and round trips of each piece, microseconds, and the pings sent."""
    k = table.at("rtt")
    assert k is not None
    field, values = table.fields[k], table.values[k]
    table.refuse(~np.isfinite(values), k, "must be finite; leave a lost ping out, its seq tells")
    table.refuse(values <= 0, k, "must be > 0; leave a lost ping out, its seq tells")
    rtt_ms = values * field.factor
    _check_round_trips(table, k, rtt_ms, notes)
    seq = _numbers(table, notes)
    runs = []
    for piece in pieces:
        sent = 0 if seq is None else int(seq[piece][-1] - seq[piece][0]) + 1
        sent = max(sent, table.sent) if len(pieces) == 1 else sent
        runs.append(Run(t_us[piece] - t_us[piece.start], rtt_ms[piece] * 1e3, sent))
    return runs


def _check_round_trips(table: Table, k: int, rtt_ms: FloatArray, notes: list[str]) -> None:
    field = table.fields[k]
    median = float(np.median(rtt_ms))
    least, most = (0.0, np.inf) if field.decided else PLAUSIBLE_MS
    units = list(RTT_MS)
    for bad, shift, why in (((rtt_ms < least) & (median < least), -1, "too short"),
                            ((rtt_ms > most) & (median > most), 1, "too long")):  # fmt: skip
        other = units[min(max(units.index(field.unit) + shift, 0), len(units) - 1)]
        rule = f"must be a round trip in {field.unit}, median here {median:.3g} ms, {why} for a link"
        keep = f"say --columns rtt_{field.unit}={field.name}:{field.unit} to keep it"
        remedy = f"name the column rtt_{other} if it is, or {keep}"
        table.refuse(bad, k, f"{rule}; {remedy}")
    table.refuse(rtt_ms > MAX_RTT_MS, k, f"must be <= {MAX_RTT_MS:,.0f} ms; leave it out as lost")
    if median < LEAST_OF_PHONES_MS:
        seconds = f"if these are seconds, name the column rtt_s; median {median:.3g} s" if field.unit == "ms" else ""
        notes.append(f"median round trip {median:.3g} ms, of a wired or edge link{seconds and f' ({seconds})'}")


def _numbers(table: Table, notes: list[str]) -> FloatArray | None:
    """The numbers of the pings, counted on where a 16-bit counter starts again."""
    k = table.at("seq")
    if k is None:
        return None
    seq = table.values[k]
    table.refuse(~(np.isfinite(seq) & (np.floor(seq) == seq) & (seq >= 0)), k, "must be a whole number >= 0; repair it")
    step = np.append(1.0, np.diff(seq))
    wraps = (step < 0) & (step + SEQ_WRAPS > 0) & (step + SEQ_WRAPS <= MAX_LOST)
    if wraps.any():
        times = np.count_nonzero(wraps)
        notes.append(f"{table.fields[k].name} starts again after {SEQ_WRAPS - 1:,}, {times} times: counted on")
    seq = seq + SEQ_WRAPS * np.cumsum(wraps)
    step = np.append(1.0, np.diff(seq))
    table.refuse((step <= -3) & (table.values[k] <= 1), k, f"starts again: {TWO_RUNS}")
    table.refuse(step <= 0, k, "must be above the row before's; drop duplicate replies")
    table.refuse(step > MAX_LOST, k, f"leaves over {MAX_LOST:,} pings out; cut the log there into two files")
    return seq
