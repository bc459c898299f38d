"""A user's own measurements of links: throughput traces and logs of round trips, checked row by row.

A file is recognised by its columns, so both kinds may lie in one directory, and one file may be both. The world takes
them in place of the shipped ones (`network.traces`, `network.rtt`); `nextone calibrate --traces` reports on them.
"""

import os
from pathlib import Path

import numpy as np

from .round_trips import Pings
from .sheets import NO_TRACE, Sheet, fail, read_sheets, short
from .traces import MAX_MBPS, MIN_MBPS, FloatArray, IntArray, Traces, flatten, segment_bytes

MAX_SPAN_S = 7 * 86_400
MAX_MEDIAN_MBPS = 20_000.0
MIN_MEDIAN_RTT_MS, MAX_MEDIAN_RTT_MS, MAX_RTT_MS = 0.5, 5_000.0, 60_000.0
NO_PINGS = "holds no log of round trips; put files with the columns t_s,rtt_ms directly into it"
MAX_LOST = 1_000  # in a row
TIME_US = {"t_s": 1e6, "time_s": 1e6, "t_ms": 1e3, "time_ms": 1e3}
RATE_KBPS = {"mbps": 1e3, "kbps": 1.0, "bps": 1e-3}
AMOUNTS = (*RATE_KBPS, "bytes")
RTT, SEQ = "rtt_ms", "seq"


def read_traces(path: str | os.PathLike[str]) -> Traces:
    """One trace from a .csv, .tsv or .parquet file, or one from each such file directly in a directory, by name.

    Columns: t_s, time_s, t_ms or time_ms (>= 0, increasing), and mbps, kbps, bps or bytes. A row holds until the next
    one; the last row holds for the median interval, then the trace repeats. bytes: delivered while the row holds.
    Logs of round trips are passed over. Raises TraceError; a row's number is its line in a text file (the header is
    line 1), its position from 1 in Parquet.
    """
    traces = find_traces(path)
    return fail(Path(path), NO_TRACE) if traces is None else traces


def read_pings(path: str | os.PathLike[str]) -> Pings:
    """One run of pings from each file, as `read_traces`: what a file is here, a session is to a person.

    Columns: a time as there (when the ping was sent), rtt_ms (> 0), and seq if there is one: numbers that rise by one
    a ping, so that one that is missing was lost. Throughput traces are passed over. Raises TraceError.
    """
    pings = find_pings(path)
    return fail(Path(path), NO_PINGS) if pings is None else pings


def find_traces(path: str | os.PathLike[str]) -> Traces | None:
    """`read_traces`, or None where there are logs of round trips alone."""
    curves = [_curve(sheet) for sheet in read_sheets(path, _choose_trace)]
    return flatten(curves) if curves else None


def find_pings(path: str | os.PathLike[str]) -> Pings | None:
    """`read_pings`, or None where there are throughput traces alone."""
    runs = [_run(sheet) for sheet in read_sheets(path, _choose_pings)]
    if not runs:
        return None
    return Pings(
        first=np.cumsum([0] + [len(t_us) for t_us, _, _ in runs]),
        t_us=np.concatenate([t_us for t_us, _, _ in runs]),
        rtt_us=np.concatenate([rtt_us for _, rtt_us, _ in runs]),
        sent=np.array([sent for _, _, sent in runs]),
    )


def _choose_trace(file: Path, names: list[str]) -> list[str]:
    if RTT in names and not set(names) & set(AMOUNTS):
        return []
    return [_only(file, names, "time", TIME_US), _only(file, names, "throughput", AMOUNTS)]


def _choose_pings(file: Path, names: list[str]) -> list[str]:
    if RTT not in names and set(names) & set(AMOUNTS):
        return []
    numbered = [_only(file, names, "number", (SEQ,))] if SEQ in names else []
    return [_only(file, names, "time", TIME_US), _only(file, names, "round-trip", (RTT,)), *numbered]


def _only(file: Path, names: list[str], kind: str, known: tuple[str, ...] | dict[str, float]) -> str:
    """The one column of a kind."""
    matches = [name for name in names if name in known]
    if len(matches) != 1:
        found_in = f"has {' and '.join(matches) or 'none'} in {short(','.join(names))!r}"
        fail(file, f"needs one {kind} column ({', '.join(known)}), {found_in}; name it in the header", 1)
    return matches[0]


def _curve(sheet: Sheet) -> tuple[IntArray, IntArray]:
    """Knots and the bytes of each segment, after every check."""
    with np.errstate(all="ignore"):  # values near 1e308 become inf on the way, and are refused
        t_us = _times(sheet)
        knots = np.append(t_us, t_us[-1] + np.rint(np.median(np.diff(t_us))).astype(np.int64))
        if knots[-1] < 1_000_000:
            lasts = f"lasts {knots[-1] / 1e6:g} s, must last >= 1 s"
            fail(sheet.file, f"{lasts}; name the column t_s if it is", sheet.first_row)
        amount = _amount(sheet, knots)
    mean_mbps = 8 * (amount.sum() + 1) / knots[-1]  # what rounding down took away is not held against it
    if mean_mbps < MIN_MBPS:
        rule = f"must be >= {MIN_MBPS}; nothing could be watched"
        fail(sheet.file, f"carries {mean_mbps:.3g} Mbit/s on average, {rule}")
    return knots, amount


def _times(sheet: Sheet) -> IntArray:
    """Microseconds since the first row, strictly increasing; two rows at least."""
    name = next(iter(sheet.columns))
    time = sheet.columns[name]
    if len(time) < 2:
        fail(sheet.file, f"has {len(time)} rows of data, must have >= 2; a row holds until the next", sheet.first_row)
    sheet.refuse(~np.isfinite(time), name, "must be finite; remove the row")
    sheet.refuse(time < 0, name, "must be >= 0; remove the row")
    t_us = np.rint((time - time[0]) * TIME_US[name])
    span_us = np.diff(t_us)
    sheet.refuse(np.append(False, span_us < 0), name, "is earlier than the row before; sort the rows by time")
    sheet.refuse(np.append(False, span_us == 0), name, "is the time of the row before; keep one row a microsecond")
    rule = "is over 7 days after the first row; cut it, or call it t_ms if it is"
    sheet.refuse(t_us > MAX_SPAN_S * 1e6, name, rule)
    times: IntArray = t_us.astype(np.int64)
    return times


def _amount(sheet: Sheet, knots: IntArray) -> IntArray:
    """Bytes of each segment; also refuses rates that no link has."""
    name = list(sheet.columns)[1]
    amount = sheet.columns[name]
    sheet.refuse(~np.isfinite(amount), name, "must be finite; remove or repair the row")
    sheet.refuse(amount < 0, name, "must be >= 0; remove or repair the row")
    if not amount.any():
        fail(sheet.file, f"{name}=0 in every row; a link must deliver something", sheet.first_row)
    kbps = amount * RATE_KBPS[name] if name in RATE_KBPS else amount * 8e3 / np.diff(knots)
    mbps = kbps / 1e3
    median = float(np.median(mbps[mbps > 0])) if (mbps > 0).any() else 0.0
    if median > MAX_MEDIAN_MBPS:
        rule = f"must be a link's rate, median here {median:.3g} Mbit/s; name the column kbps or bps if it is"
        sheet.refuse(mbps > MAX_MEDIAN_MBPS, name, rule)
    if median < MIN_MBPS:
        rule = f"must be a link's rate, median here {median:.3g} Mbit/s; name the column mbps or kbps if it is"
        sheet.refuse((amount > 0) & (mbps < MIN_MBPS), name, rule)
    sheet.refuse(mbps > MAX_MBPS, name, f"must be <= {MAX_MBPS:,.0f} Mbit/s; repair the row")
    whole: IntArray = segment_bytes(knots, kbps) if name in RATE_KBPS else np.rint(amount).astype(np.int64)
    return whole


def _run(sheet: Sheet) -> tuple[IntArray, FloatArray, int]:
    """Times and round trips of a run, microseconds, and the pings sent (0: not numbered), after every check."""
    with np.errstate(all="ignore"):
        t_us = _times(sheet)
    rtt_ms = sheet.columns[RTT]
    sheet.refuse(~np.isfinite(rtt_ms), RTT, "must be finite; leave a lost ping out, its seq tells")
    sheet.refuse(rtt_ms <= 0, RTT, "must be > 0; leave a lost ping out, its seq tells")
    median = float(np.median(rtt_ms))
    rule = f"must be a round trip in ms, median here {median:.3g} ms; convert it if it is in another unit"
    sheet.refuse((rtt_ms < MIN_MEDIAN_RTT_MS) & (median < MIN_MEDIAN_RTT_MS), RTT, rule)
    sheet.refuse((rtt_ms > MAX_MEDIAN_RTT_MS) & (median > MAX_MEDIAN_RTT_MS), RTT, rule)
    sheet.refuse(rtt_ms > MAX_RTT_MS, RTT, f"must be <= {MAX_RTT_MS:,.0f} ms; leave it out as lost")
    if SEQ not in sheet.columns:
        return t_us, rtt_ms * 1e3, 0
    seq = sheet.columns[SEQ]
    whole = np.isfinite(seq) & (np.floor(seq) == seq) & (seq >= 0)
    sheet.refuse(~whole, SEQ, "must be a whole number >= 0; repair it")
    step = np.append(1.0, np.diff(seq))
    sheet.refuse(step <= 0, SEQ, "must be above the row before's; drop duplicate replies")
    sheet.refuse(step > MAX_LOST, SEQ, f"leaves over {MAX_LOST:,} pings out; cut the log there into two files")
    return t_us, rtt_ms * 1e3, int(seq[-1] - seq[0]) + 1
