"""Files of links that tools of the field write, other than tables with a header.

JSON of Sabre (its network traces) and of iperf3; what `ping` prints; the packet times of Mahimahi; two columns without
a header, as Pensieve, Oboe and the short-video challenge of MM'22 have them. Each becomes a `Table`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import fail, short
from .files import Content, decoded
from .link_checks import MAX_LOST, PLAUSIBLE_MBPS, SEQ_WRAPS, Table
from .link_columns import RTT_MS, TIME_US, Field
from .traces import FloatArray, IntArray

PACKET_BYTES = 1_500  # Source: Mahimahi, one packet of that size a line
TRACE_STEP_S = 0.05, 100.0  # of rows without a header: nearer or further is the other unit
BEGINNING = 20_000
KBPS = Field("rate", "bandwidth_kbps", 1, 1.0, "kbps")
BYTES = Field("bytes", "bytes", 1, 1.0, "bytes", True)
REPLY = re.compile(
    r"^(?:\[(?P<stamp>\d+\.?\d*)\] )?.*?\b(?:icmp_seq|seq|icmp_req)[= ](?P<seq>\d+)\b"
    r".*?\btime[=<] ?(?P<ms>\d+(?:[.,]\d+)?) ?ms(?P<twice>.*\bDUP!)?"
)
UNNUMBERED = re.compile(r"^.*\bbytes=\d+\b.*\btime(?P<below>[=<]) ?(?P<ms>\d+) ?ms\b", re.IGNORECASE)
LOST = re.compile(
    r"(no answer yet for icmp_seq=|Request timeout for icmp_seq )(?P<seq>\d+)|\bUnreachable\b|^Request timed out"
)
IPERF_TEXT = re.compile(rb"^Connecting to host \S+, port \d+|^\[ *ID\] +Interval", re.MULTILINE)
START = re.compile(r"^(PING |Pinging )")
SUMMARY = re.compile(
    r"(?P<unix>\d+) packets transmitted, \d+ (packets )?received(.*, time (?P<ms>\d+) ?ms)?|Sent = (?P<windows>\d+), "
)


def table_of(file: Content) -> Table | None:
    """What a tool wrote, or None for anything else. Raises UserError."""
    start = file.data[:BEGINNING].lstrip(b"\xef\xbb\xbf \t\r\n")
    if IPERF_TEXT.search(start):
        fail(file.path, "is what iperf prints for people; measure again with --json, and -R for what comes down")
    if start[:1] in (b"{", b"["):
        return _json(file) if start[1:].lstrip()[:1] in (b"{", b"[", b'"', b"}", b"]") else _ping(file, start)
    return _ping(file, start)


# ---- JSON


def _json(file: Content) -> Table:
    text = decoded(file)
    try:
        held = json.loads(text)
    except json.JSONDecodeError as error:
        held = _json_lines(text)
        if held is None:
            several = "holds several JSON texts; put each run into a file of its own"
            wrong = f"is not JSON ({short(error.msg)}); write it again"
            fail(file.path, several if error.msg == "Extra data" else wrong, error.lineno)
    except (RecursionError, ValueError) as error:
        fail(file.path, f"is not JSON ({short(error)}); write it again")
    if isinstance(held, dict) and ("intervals" in held or "error" in held):
        return _iperf3(file, held)
    if not (isinstance(held, list) and held and all(isinstance(each, dict) and "duration_ms" in each for each in held)):
        known = "a list with duration_ms and bandwidth_kbps (Sabre), or iperf3's intervals"
        fail(file.path, f"is JSON, but not of links: known are {known}; write a table with t_s,mbps")
    return _sabre(file, held)


def _json_lines(text: bytes) -> dict[str, Any] | None:
    """iperf3 --json-stream as what --json gives; None if it is not that."""
    try:
        events = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
    if not all(isinstance(each, dict) and "event" in each for each in events):
        return None
    return {"intervals": [each.get("data") for each in events if each["event"] == "interval"]}


def _number(file: Content, what: str, entry: Any, name: str) -> float:
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        fail(file.path, f"{what}: {name} is {short(json.dumps(value), 40)}, must be a number; repair it")
    return float(value)


def _sabre(file: Content, periods: list[dict[str, Any]]) -> Table:
    """Periods one after another, each of one rate."""
    lasts_ms, kbps = (
        np.array([_number(file, f"entry {k}", each, name) for k, each in enumerate(periods, 1)])
        for name in ("duration_ms", "bandwidth_kbps")
    )
    if not (np.isfinite(lasts_ms) & (lasts_ms >= 0)).all():
        fail(file.path, "has a duration_ms that is no time; repair it")
    keep = lasts_ms > 0
    t_ms = np.append(0.0, np.cumsum(lasts_ms[keep]))
    rows = 1 + np.flatnonzero(keep)
    notes = ("duration_ms and bandwidth_kbps",)
    if any("latency_ms" in each for each in periods):
        notes = ("duration_ms and bandwidth_kbps; latency_ms, a setting, is not used",)
    return _trace(file, "Sabre's JSON", t_ms, kbps[keep], rows, KBPS, notes)


def _trace(
    file: Content, name: str, t_ms: FloatArray, amount: FloatArray, row: IntArray, of: Field, notes: tuple[str, ...]
) -> Table:
    """Rows that follow one another without a gap; t_ms (n + 1,): when each begins, and the end of the last."""
    fields = [Field("time", "time", 0, TIME_US["ms"], "ms", True), of]
    last_us = max(1, round((t_ms[-1] - t_ms[-2]) * 1e3)) if len(t_ms) > 1 else 1
    return Table(file.path, name, fields, [t_ms[:-1], amount], row, last_us=last_us, complete=True, notes=notes)


def _iperf3(file: Content, held: dict[str, Any]) -> Table:
    """The sum of all streams in each interval."""
    intervals = held.get("intervals")
    if not isinstance(intervals, list) or not intervals:
        fail(file.path, f"is a report of iperf3 without intervals ({short(held.get('error', 'none'))}); measure again")
    start, stop, size, rows = [], [], [], []
    down = _is_reverse(held)
    key = "sum_bidir_reverse" if isinstance(intervals[0], dict) and "sum_bidir_reverse" in intervals[0] else "sum"
    for k, each in enumerate(intervals, 1):
        total = each.get(key) if isinstance(each, dict) else None
        if isinstance(total, dict) and total.get("omitted") is True:
            continue
        begin, end = (_number(file, f"interval {k}", total, name) for name in ("start", "end"))
        if end > begin:  # the last one may be of no length
            start.append(begin), stop.append(end), rows.append(k)  # type: ignore[func-returns-value]
            size.append(_number(file, f"interval {k}", total, "bytes"))
    if not start:
        fail(file.path, "is a report of iperf3 with omitted intervals alone; measure for longer")
    way = {True: "downloads (-R)", False: "uploads: without -R the client sends", None: "no word on the way"}
    told = "way down of --bidir" if key != "sum" else way[down]
    notes = (f"bytes of each interval; {told}",)
    return _trace(file, "iperf3's JSON", np.append(start, stop[-1]) * 1e3, np.array(size), np.array(rows), BYTES, notes)


def _is_reverse(held: dict[str, Any]) -> bool | None:
    start = held.get("start")
    test = start.get("test_start") if isinstance(start, dict) else None
    reverse = test.get("reverse") if isinstance(test, dict) else None
    return None if reverse is None else bool(reverse)


# ---- ping


class Reply(NamedTuple):
    """One answer to a ping."""

    rtt_ms: float
    stamp_s: float  # when it came, unix; 0: not told
    line: int


def _ping(file: Content, start: bytes) -> Table | None:
    """Replies in the order in which they were asked for; numbers that are missing were lost."""
    head = start.decode(errors="replace").replace("\0", "")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = start.decode("utf-16", errors="replace")
    lines = head.splitlines()[:200]
    if not any(REPLY.match(line) or UNNUMBERED.match(line) or LOST.search(line) for line in lines):
        return None
    if not any(START.match(line) for line in lines[:5]) and not any(REPLY.match(line) for line in lines):
        return None
    return _of_replies(file, decoded(file).decode().splitlines())


def _of_replies(file: Content, lines: list[str]) -> Table:
    asked: dict[int, Reply] = {}  # by number, which is counted on where it starts again
    silent: list[int] = []  # numbers that are said to be without an answer
    wraps, before, runs, first, unnumbered = 0, 0, 0, None, 0
    transmitted, took_ms, twice, rounded = 0, 0.0, 0, 0
    for k, line in enumerate(lines, 1):
        if START.match(line):
            runs += 1
            first = 1 if "bytes of data" in line else 0 if "data bytes" in line else None
            if runs > 1:
                fail(file.path, "a second ping starts here; put each run into a file of its own", k)
        elif found := REPLY.match(line):
            seq = int(found["seq"])
            wraps += seq - before < -SEQ_WRAPS // 2
            late = wraps > 0 and seq - before > SEQ_WRAPS // 2
            before = before if late else seq
            number = seq + SEQ_WRAPS * (wraps - late)
            if found["twice"] or number in asked:
                twice += 1
            else:
                asked[number] = Reply(float(found["ms"].replace(",", ".")), float(found["stamp"] or 0), k)
        elif found := UNNUMBERED.match(line):
            rounded += found["below"] == "<"
            asked[unnumbered] = Reply(0.5 if found["below"] == "<" else float(found["ms"]), 0.0, k)
            unnumbered += 1
        elif found := LOST.search(line):
            if found["seq"]:
                silent.append(int(found["seq"]) + SEQ_WRAPS * wraps)
            elif unnumbered or line.startswith("Request timed out"):
                unnumbered += 1
        elif found := SUMMARY.search(line):
            transmitted, took_ms = int(found["unix"] or found["windows"]), float(found["ms"] or 0)
    if len(asked) < 2:
        fail(file.path, f"is what ping prints, with {len(asked)} replies, must have >= 2; ping for longer")
    numbers = [*asked, *silent]
    if first is not None and min(numbers) <= MAX_LOST:  # the beginning of the run is in the file
        numbers.append(first)
    sent = max(transmitted, unnumbered, max(numbers) - min(numbers) + 1)
    notes = [f"{sent - len(asked):,} lost of {sent:,}"]
    if twice:
        notes.append(f"{twice:,} duplicate replies left out")
    if rounded:
        notes.append(f"{rounded:,} below 1 ms taken as 0.5 ms")
    return _as_table(file, asked, sent, took_ms / (transmitted - 1) if transmitted > 1 else 0.0, notes)


def _as_table(file: Content, asked: dict[int, Reply], sent: int, every_ms: float, notes: list[str]) -> Table:
    """every_ms: what the summary says; 0: nothing."""
    numbers = sorted(asked)
    rtt_ms = np.array([asked[n].rtt_ms for n in numbers])
    came_s = np.array([asked[n].stamp_s for n in numbers])
    seq = np.array(numbers, np.float64)
    if (came_s > 0).all():
        t_ms = came_s * 1e3 - rtt_ms  # stamped when the reply came
        notes.append("times as stamped")
    else:
        t_ms = (seq - seq[0]) * (every_ms or 1e3)
        by_itself = "" if every_ms else ", as ping does by itself (-D stamps them)"
        notes.append(f"one every {every_ms or 1e3:.4g} ms{by_itself}")
    fields = [Field("time", "time", 0, TIME_US["ms"], "ms", True), Field("rtt", "time", 1, RTT_MS["ms"], "ms"),
              Field("seq", "icmp_seq", 2, 1.0, "")]  # fmt: skip
    row = np.array([asked[n].line for n in numbers])
    return Table(file.path, "output of ping", fields, [t_ms, rtt_ms, seq], row, sent=sent, notes=tuple(notes))


# ---- numbers without a header


def packets(file: Content, t_ms: FloatArray) -> Table | None:
    """Mahimahi: a line for each packet that could be delivered, with its millisecond. None if the numbers are not of
    that form."""
    whole = np.isfinite(t_ms) & (np.floor(t_ms) == t_ms) & (t_ms >= 0)
    if len(t_ms) < 2 or not whole.all() or (np.diff(t_ms) < 0).any() or t_ms[0] > 86_400_000 or t_ms[-1] < 1:
        return None
    at, count = np.unique(np.maximum(t_ms, 1), return_counts=True)  # those of ms 0 with those of the first one
    edges = np.unique(np.concatenate([[0.0], at - 1, at]))
    amount = np.zeros(len(edges) - 1)
    amount[np.searchsorted(edges, at) - 1] = count * float(PACKET_BYTES)
    row = np.searchsorted(t_ms, edges[1:]) + 1
    notes = (f"{len(t_ms):,} lines, each {PACKET_BYTES:,} bytes at that millisecond",)
    return _trace(file, "Mahimahi", edges, amount, np.minimum(row, len(t_ms)), BYTES, notes)


def two_columns(time: FloatArray, rate: FloatArray) -> tuple[Field, Field, str] | None:
    """Units of time and rate in a file without a header, and which tool writes such files. None unless the values allow
    exactly one reading."""
    step = np.diff(time)
    if len(time) < 2 or not (step > 0).all() or not (rate >= 0).all():
        return None
    near, far = TRACE_STEP_S
    median = float(np.median(rate[rate > 0])) if (rate > 0).any() else 0.0
    least, most = PLAUSIBLE_MBPS
    times = [unit for unit in ("s", "ms") if near <= float(np.median(step)) * TIME_US[unit] / 1e6 < far]
    rates = [unit for unit, mbps in (("Mbps", 1.0), ("kbps", 1e-3)) if least <= median * mbps <= most]
    if len(times) != 1 or len(rates) != 1:
        return None
    who = {("s", "Mbps"): "Pensieve, MM'22", ("ms", "kbps"): "Oboe"}.get((times[0], rates[0]), "no header")
    factor = {"Mbps": 1e3, "kbps": 1.0}[rates[0]]
    fields = Field("time", "column 1", 0, TIME_US[times[0]], times[0]), Field("rate", "column 2", 1, factor, rates[0])
    return *fields, f"two columns ({who}): {times[0]} and {rates[0]}"
