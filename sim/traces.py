"""Capacity of links over time, as exact cumulative byte curves; also the tables of access levels and round-trip times.

A trace is piecewise linear between integer knots and repeats after its last one. sim/network.py integrates it, the
population draws one for each person. Left out: what else the link carries, and any loss of bytes on the way.
"""

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from .data import open_data

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MAX_SEGMENT_US = 10_000_000
MAX_BYTES_PER_S = 10**12  # what "inf" means: faster than any decision can notice, slow enough for int64
PAM_LAST_US = 500_000  # a shipped driving sample is half a second; the last one has no next to end it
SYNTHETIC_LAG_1S = 0.9  # autocorrelation after 1 s. Source: pam2025, .89 after 1 s and .60, about .9**5, after 5 s

MAX_FILE_BYTES = 200_000_000
MAX_ROWS = 5_000_000
MAX_SYNTHETIC_S = 20_000_000
MAX_SPAN_S = 7 * 86_400
MIN_MBPS, MAX_MEDIAN_MBPS, MAX_MBPS = 1e-3, 20_000.0, 1e6
TIME_US = {"t_s": 1e6, "time_s": 1e6, "t_ms": 1e3, "time_ms": 1e3}
RATE_KBPS = {"mbps": 1e3, "kbps": 1.0, "bps": 1e-3}
AMOUNTS = (*RATE_KBPS, "bytes")


class TraceError(ValueError):
    """Bad trace input, in one line that names the file, the row where there is one, and the remedy."""


class Traces(NamedTuple):
    """T traces end to end. In segment k, bytes delivered by offset x are
    cum_bytes[k] + (x - t_us[k]) * (cum_bytes[k + 1] - cum_bytes[k]) // (t_us[k + 1] - t_us[k]);
    that product stays below 2**62 and no segment is longer than 10 s."""

    first: IntArray  # (T + 1,) first knot of each trace; trace k owns knots first[k]:first[k + 1], at least two
    t_us: IntArray  # (K,) first knot of a trace 0, then strictly increasing; the last one closes the loop
    cum_bytes: IntArray  # (K,) first knot of a trace 0, then non-decreasing, last one positive
    mean_bps: FloatArray  # (T,) bits per second averaged over the trace


class RttTables(NamedTuple):
    """Round-trip time = a level (median of a session) times independent jitter. Source: pam2025, driving, 2023."""

    probability: FloatArray  # (Q,) 0 to 1, denser in both tails
    level_ms: FloatArray  # (Q,) quantiles of a run's median RTT
    jitter: FloatArray  # (Q,) quantiles of RTT over its run's median (unitless)
    loss: float  # share of pings without a reply


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
    """One trace of constant rate; inf is 10**12 bytes/s."""
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


def shipped_traces() -> tuple[Traces, dict[str, range]]:
    """The real traces, and the indices of each group: driving (pam2025), ghent_4g and oslo_3g (sabre), and steady,
    those of ghent_4g recorded on foot, whose shape the world scales to an access network's level."""
    groups: dict[str, range] = {}
    curves: list[tuple[IntArray, IntArray]] = []
    pam, sabre = _shipped("pam2025/throughput.parquet"), _shipped("sabre/traces.parquet")
    is_4g, on_foot = pa.compute.equal(sabre["tech"], "4G"), pa.compute.equal(sabre["mobility"], "foot")
    off_foot = pa.compute.and_(is_4g, pa.compute.invert(on_foot))
    for group, table in {
        "driving": pam.append_column("duration_ms", pa.array(np.full(pam.num_rows, PAM_LAST_US // 1_000))),
        "ghent_4g": sabre.filter(off_foot),
        "steady": sabre.filter(on_foot),
        "oslo_3g": sabre.filter(pa.compute.invert(is_4g)),
    }.items():
        start = len(curves)
        curves.extend(_shipped_curves(table))
        groups[group] = range(start, len(curves))
    groups["ghent_4g"] = range(groups["ghent_4g"].start, groups["steady"].stop)
    return flatten(curves), groups


def _shipped_curves(table: pa.Table) -> Iterator[tuple[IntArray, IntArray]]:
    """A sample holds until the next one of its trace, the last for its duration. Rows are sorted by trace and time."""
    t_us, duration_us = (_numbers(table, name) * 1_000 for name in ("t_ms", "duration_ms"))
    kbps = _numbers(table, "kbps")
    edges = np.concatenate([np.flatnonzero(t_us == 0), [len(t_us)]])
    for start, stop in pairwise(edges):
        knots = np.append(t_us[start:stop], t_us[stop - 1] + duration_us[stop - 1])
        yield knots, segment_bytes(knots, kbps[start:stop])


def bts_levels() -> dict[str, FloatArray]:
    """Mbit/s (513,) at evenly spaced probabilities, 0 to 1: 4G, 5G, wifi4, wifi5 and wifi6. Source: bts, 2021."""
    table = _shipped("bts/levels.parquet")
    return {tech: _numbers(table, tech, np.float64) for tech in table.column_names if tech != "probability"}


def rtt_tables() -> RttTables:
    table, pings = _shipped("pam2025/rtt.parquet"), _shipped("pam2025/loss.parquet")
    return RttTables(
        probability=_numbers(table, "probability", np.float64),
        level_ms=_numbers(table, "level_ms", np.float64),
        jitter=_numbers(table, "jitter", np.float64),
        loss=float(_numbers(pings, "lost").sum() / _numbers(pings, "sent").sum()),
    )


def _shipped(name: str) -> pa.Table:
    with open_data(name) as file:
        return pa.parquet.read_table(file)


def _numbers(table: pa.Table, name: str, dtype: type = np.int64) -> NDArray[Any]:
    return np.asarray(table[name].to_numpy()).astype(dtype)


# ---- a user's own files


def read_traces(path: str | os.PathLike[str]) -> Traces:
    """One trace from a .csv, .tsv or .parquet file, or one from each such file directly in a directory, by name.

    Columns: t_s, time_s, t_ms or time_ms (>= 0, increasing), and mbps, kbps, bps or bytes. A row holds until the next
    one; the last row holds for the median interval, then the trace repeats. bytes: delivered while the row holds.
    Raises TraceError; a row's number is its line in a text file (the header is line 1), its position from 1 in Parquet.
    """
    root = Path(path)
    files = _trace_files(root)
    if sum(file.stat().st_size for file in files) > MAX_FILE_BYTES:
        _fail(root, f"holds more than {MAX_FILE_BYTES // 10**6} MB; cut or resample it")
    curves, rows = [], 0
    for file in files:
        column = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_text(file)
        rows += len(column.time)
        if rows > MAX_ROWS:
            _fail(root, f"holds more than {MAX_ROWS:,} rows; cut or resample it")
        curves.append(_curve(column))
    return flatten(curves)


class _Columns(NamedTuple):
    """The two columns of one file, before any check of their values."""

    file: Path
    first_row: int  # what the first row of data is called in messages
    time_name: str
    time: FloatArray
    amount_name: str
    amount: FloatArray

    def refuse_time(self, bad: NDArray[np.bool_], rule: str) -> None:
        self._refuse(bad, self.time_name, self.time, rule)

    def refuse_amount(self, bad: NDArray[np.bool_], rule: str) -> None:
        self._refuse(bad, self.amount_name, self.amount, rule)

    def _refuse(self, bad: NDArray[np.bool_], name: str, column: FloatArray, rule: str) -> None:
        """Names the first bad row."""
        if bad.any():
            row = int(np.argmax(bad))
            _fail(self.file, f"{name}={column[row]:.12g} {rule}", self.first_row + row)


def _trace_files(root: Path) -> list[Path]:
    """The files to read, in order of their names."""
    if not stat.S_ISDIR(_mode(root)):
        files = [root]
    else:
        files = sorted(root / name for name in _listed(root) if _is_named_as_trace(root / name))
    if not files:
        _fail(root, "holds no trace; put .csv, .tsv or .parquet files directly into it")
    for file in files:
        if not stat.S_ISREG(_mode(file)):  # opening a pipe or a device could wait for ever
            _fail(file, "is not a regular file; copy the trace into one, or take it out of the directory")
        if not _is_named_as_trace(file):
            _fail(file, "must end in .csv, .tsv or .parquet; rename it after what it is")
    return files


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        _fail_to_open(path, error)


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError as error:
        _fail_to_open(path, error)


def _is_named_as_trace(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv", ".parquet") and not path.name.startswith(".")


def _read_text(file: Path) -> _Columns:
    text = _bytes_of(file)
    if b"\0" in text or text.startswith(b"PAR1"):
        _fail(file, "is binary, not text; export it as UTF-8 CSV, or name Parquet files .parquet")
    if max(text.count(b"\n"), text.count(b"\r")) > MAX_ROWS:
        _fail(file, f"has more than {MAX_ROWS:,} rows; cut or resample it")
    try:
        header = text[:10_000].splitlines()[0].decode()
        text.decode()
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        _fail(file, "is not UTF-8 text here; save the file with one encoding, UTF-8", line)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    time_name, amount_name = _choose(file, names)
    table = _parse(file, text, names, delimiter, [time_name, amount_name])
    time, amount = (_floats(file, name, table[name]) for name in (time_name, amount_name))
    return _Columns(file, 2, time_name, time, amount_name, amount)


def _bytes_of(file: Path) -> bytes:
    """The file without byte order mark and trailing blank lines, not empty."""
    try:
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip()
    except OSError as error:
        _fail_to_open(file, error)
    if not text:
        _fail(file, "is empty; write a header such as t_s,mbps and at least two rows")
    return text


def _parse(file: Path, text: bytes, names: list[str], delimiter: str, wanted: list[str]) -> pa.Table:
    """The wanted columns as strings, row for row."""
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    unique = [name if name in wanted else f"{name}#{k}" for k, name in enumerate(names)]  # repeated others don't matter
    try:
        return pa.csv.read_csv(
            io.BytesIO(text + b"\n"),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=unique, skip_rows=1, block_size=1 << 24),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=refuse
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        if ragged:
            has, expected, line = ragged[0].actual_columns, ragged[0].expected_columns, ragged[0].number
            _fail(file, f"has {has} fields, must have the header's {expected}; repair the row", line)
        _fail(file, f"is not a table ({_short(error)}); write a header such as t_s,mbps and one line a row")


def _floats(file: Path, name: str, words: pa.ChunkedArray) -> FloatArray:
    """Strings as numbers; refuses the first that is none."""
    parts = [np.empty(0)]
    for chunk in words.chunks:
        trimmed = pa.compute.utf8_trim_whitespace(chunk)
        numbers = _parse_floats(trimmed)
        if numbers is None:
            k = _first_bad(trimmed)
            line = 2 + sum(map(len, parts)) + k
            _fail(file, f"{name}={_short(chunk[k].as_py(), 40)!r} is not a number; write it like 12.5", line)
        parts.append(numbers)
    return np.concatenate(parts)


def _parse_floats(words: pa.Array) -> FloatArray | None:
    try:
        return np.asarray(pa.compute.cast(words, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None


def _first_bad(words: pa.Array) -> int:
    """Where the first word stands that is not a number, given that there is one; by halving."""
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _parse_floats(words[low:middle]) is None else (middle, high)
    return low


def _read_parquet(file: Path) -> _Columns:
    if file.stat().st_size == 0:
        _fail(file, "is empty; write it again")
    try:
        with pa.parquet.ParquetFile(file, page_checksum_verification=True) as parquet:
            if parquet.metadata.num_rows > MAX_ROWS:
                _fail(file, f"has more than {MAX_ROWS:,} rows; cut or resample it")
            schema = parquet.schema_arrow
            time_name, amount_name = _choose(file, list(schema.names))
            for name in (time_name, amount_name):
                kind = schema.field(name).type
                if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                    _fail(file, f"column {name} is {_short(kind)}; store plain numbers")
            table = parquet.read([time_name, amount_name])
    except TraceError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        _fail(file, f"is not a readable Parquet file ({_short(error)}); write it again")
    time, amount = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in (time_name, amount_name))
    return _Columns(file, 1, time_name, time, amount_name, amount)  # an absent value reads as NaN, refused below


def _choose(file: Path, names: list[str]) -> tuple[str, str]:
    """The one time column and the one amount column."""
    found = []
    for kind, known in (("time", TIME_US), ("throughput", AMOUNTS)):
        matches = [name for name in names if name in known]
        if len(matches) != 1:
            found_in = f"has {' and '.join(matches) or 'none'} in {_short(','.join(names))!r}"
            _fail(file, f"needs one {kind} column ({', '.join(known)}), {found_in}; name it in the header", 1)
        found.append(matches[0])
    return found[0], found[1]


def _curve(c: _Columns) -> tuple[IntArray, IntArray]:
    """Knots and the bytes of each segment, after every check."""
    if len(c.time) < 2:
        _fail(c.file, f"has {len(c.time)} rows of data, must have >= 2; a row holds until the next", c.first_row)
    with np.errstate(all="ignore"):  # values near 1e308 become inf on the way, and are refused
        knots = _knots(c)
        amount = _amount(c, knots)
    mean_mbps = 8 * (amount.sum() + 1) / knots[-1]  # what rounding down took away is not held against it
    if mean_mbps < MIN_MBPS:
        _fail(c.file, f"carries {mean_mbps:.3g} Mbit/s on average, must be >= {MIN_MBPS}; nothing could be watched")
    return knots, amount


def _knots(c: _Columns) -> IntArray:
    c.refuse_time(~np.isfinite(c.time), "must be finite; remove the row")
    c.refuse_time(c.time < 0, "must be >= 0; remove the row")
    t_us = np.rint((c.time - c.time[0]) * TIME_US[c.time_name])
    span_us = np.diff(t_us)
    c.refuse_time(np.append(False, span_us < 0), "is earlier than the row before; sort the rows by time")
    c.refuse_time(np.append(False, span_us == 0), "is the time of the row before; keep one row a microsecond")
    c.refuse_time(t_us > MAX_SPAN_S * 1e6, "is over 7 days after the first row; cut it, or call it t_ms if it is")
    knots = np.append(t_us, t_us[-1] + np.rint(np.median(span_us))).astype(np.int64)
    if knots[-1] < 1_000_000:
        _fail(c.file, f"lasts {knots[-1] / 1e6:g} s, must last >= 1 s; name the column t_s if it is", c.first_row)
    return knots


def _amount(c: _Columns, knots: IntArray) -> IntArray:
    """Bytes of each segment; also refuses rates that no link has."""
    c.refuse_amount(~np.isfinite(c.amount), "must be finite; remove or repair the row")
    c.refuse_amount(c.amount < 0, "must be >= 0; remove or repair the row")
    if not c.amount.any():
        _fail(c.file, f"{c.amount_name}=0 in every row; a link must deliver something", c.first_row)
    is_rate = c.amount_name in RATE_KBPS
    kbps = c.amount * RATE_KBPS[c.amount_name] if is_rate else c.amount * 8e3 / np.diff(knots)
    mbps = kbps / 1e3
    median = float(np.median(mbps[mbps > 0])) if (mbps > 0).any() else 0.0
    if median > MAX_MEDIAN_MBPS:
        rule = f"must be a link's rate, median here {median:.3g} Mbit/s; name the column kbps or bps if it is"
        c.refuse_amount(mbps > MAX_MEDIAN_MBPS, rule)
    if median < MIN_MBPS:
        rule = f"must be a link's rate, median here {median:.3g} Mbit/s; name the column mbps or kbps if it is"
        c.refuse_amount((c.amount > 0) & (mbps < MIN_MBPS), rule)
    c.refuse_amount(mbps > MAX_MBPS, f"must be <= {MAX_MBPS:,.0f} Mbit/s; repair the row")
    return segment_bytes(knots, kbps) if is_rate else np.rint(c.amount).astype(np.int64)


def _fail_to_open(path: Path, error: Exception) -> NoReturn:
    _fail(path, f"cannot be opened ({getattr(error, 'strerror', None) or _short(error)}); name a readable file")


def _fail(path: Path, problem: str, row: int | None = None) -> NoReturn:
    where = _short(path, 200) + (f":{row}" if row is not None else "")
    raise TraceError(f"{where}: {problem}") from None


def _short(value: object, most: int = 80) -> str:
    """One printable line of at most so many characters."""
    line = "".join(c if c.isprintable() else " " for c in str(value))
    return line if len(line) <= most else line[: most - 3] + "..."


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise TraceError(rule)
