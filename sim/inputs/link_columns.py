"""What the names of columns in a table of links mean: times, rates, bytes, round trips, numbers of pings.

A unit in a name is read as it is written: b means bits, and a capital B with a per-second unit means bytes. A name
without a unit, or with one that can be read in two ways, is refused; `--columns` can say what it means.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .columns import Choice, parse_columns, placed
from .delimited import MAX_COLUMNS
from .errors import fail, short

TIME_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
RTT_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3}
PREFIX = {"": 1e-3, "k": 1.0, "m": 1e3, "g": 1e6, "ki": 1.024, "mi": 1.024**2 * 1e3, "gi": 1.024**3 * 1e6}  # to kbit/s
RATES = ("bps", "kbps", "Mbps", "Gbps", "Bps", "kBps", "MBps", "GBps", "KiBps", "MiBps", "GiBps")
KNOWN: dict[str, Collection[str]] = {
    "t_s": TIME_US, "t_ms": TIME_US, "t_us": TIME_US, "t_ns": TIME_US, "mbps": RATES, "kbps": RATES, "bps": RATES,
    "MBps": RATES, "bytes": ("bytes",), "rtt_ms": RTT_MS, "rtt_s": RTT_MS, "rtt_us": RTT_MS, "seq": (),
}  # fmt: skip
KINDS = {
    "time": ("t_s", "time_s", "t_ms", "time_ms"),
    "throughput": ("mbps", "kbps", "bps", "bytes"),
    "round-trip": ("rtt_ms",),
    "number": ("seq",),
}  # the names of each that win over others
KIND = {"time": "time", "rate": "throughput", "bytes": "throughput", "rtt": "round-trip", "seq": "number"}
OURS = {name for names in KINDS.values() for name in names}
OTHER = {"time": "t_ms", "throughput": "kbps", "round-trip": "rtt_s", "number": "seq"}
LONG_UNIT = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "msecs": "ms", "millis": "ms",
             "millisecond": "ms", "milliseconds": "ms", "usec": "us", "usecs": "us", "micros": "us", "µs": "us",
             "μs": "us", "microsecond": "us", "microseconds": "us", "nanos": "ns", "nsec": "ns", "nanosecond": "ns",
             "nanoseconds": "ns"}  # fmt: skip
TIME_WORDS = {"t", "time", "timestamp", "time stamp", "ts", "elapsed", "elapsed time", "epoch", "epoch time", "unix",
              "unix time", "unix timestamp", "unixtime", "date", "datetime", "date time"}  # fmt: skip
RTT_WORDS = {"rtt", "round trip", "roundtrip", "round trip time", "ping", "ping rtt", "ping time"}
SEQ_WORDS = {"seq", "icmp seq", "sequence", "sequence number", "seqno", "seq no"}
RATE_WORDS = {"bitrate", "bandwidth", "throughput", "speed", "rate", "goodput", "capacity", "bw", "datarate"}
UP_WORDS = {"ul", "up", "upload", "uplink", "tx", "sent", "transmitted", "upstream", "out"}
PER = r"(ps|/s|/sec|/second|[_ ]s|[_ ]sec|[_ ]per[_ ]s|[_ ]per[_ ]sec|[_ ]per[_ ]second|persec(ond)?)"
BITS = re.compile(rf"(?P<prefix>([kmg]i?|kilo|mega|giga)?)[_ ]?(?P<thing>bits?|bytes?|octets?){PER}", re.IGNORECASE)
B = re.compile(rf"(?P<prefix>([kKmMgG]i?)?)[_ ]?(?P<thing>[bB]){PER}")
CAPITALS = re.compile(r"[KMG]?B(PS|/S)")
NETTRACK = {"timestamp", "dl_bitrate", "ul_bitrate"}  # what G-NetTrack calls its columns; rates in kbit/s


class Field(NamedTuple):
    """One column that is read."""

    role: str  # time, rate, bytes, rtt or seq
    name: str  # the file's, or, in a file without header, ours
    place: int  # from 0
    factor: float  # to us, kbit/s, bytes or ms
    unit: str  # "" where the name has none: the values must then be dates
    decided: bool = False  # the person named the unit beside the column: no reading of it is implausible


class Unclear(NamedTuple):
    """A column that could be read if it had a unit."""

    role: str
    name: str


def rate_factor(unit: str) -> float | None:
    """How many kbit/s one unit is; None if it is no unit of rates."""
    match = BITS.fullmatch(unit) or B.fullmatch(unit)
    if match is None or (CAPITALS.fullmatch(unit) and "B" in unit):
        return None
    prefix = match["prefix"].lower().replace("kilo", "k").replace("mega", "m").replace("giga", "g")
    in_bytes = match["thing"] == "B" or match["thing"].lower().startswith(("byte", "octet"))
    return PREFIX[prefix] * (8 if in_bytes else 1)


@lru_cache(maxsize=2 * MAX_COLUMNS)
def field_of(name: str, place: int) -> Field | Unclear | None:
    """What a column is, by its name; None if it is not about links."""
    plain = re.sub(r"\s+", " ", name.strip(" #\"'\t"))[:100]
    words = re.sub(r"[_\-.\s\[\](){}:,]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)).strip().lower()
    if plain.lower() in KINDS["time"]:
        return Field("time", name, place, TIME_US[plain.lower().rpartition("_")[2]], plain.lower().rpartition("_")[2])
    if words in SEQ_WORDS:
        return Field("seq", name, place, 1.0, "")
    found = _with_unit(name, plain, words, place)
    if found is not None:
        return found
    if "bytes" in (words.split() or [""])[:1] + words.split()[-1:]:
        return Field("bytes", name, place, 1.0, "bytes")
    if words in TIME_WORDS:
        return Field("time", name, place, 1.0, "")
    if words in RTT_WORDS:
        return Unclear("rtt", name)
    return Unclear("rate", name) if set(words.split()) & RATE_WORDS or CAPITALS.fullmatch(plain) else None


def _with_unit(name: str, plain: str, words: str, place: int) -> Field | Unclear | None:
    for start in range(len(plain)):
        unit = plain[start:].strip(" [](){}")
        before = plain[:start].rstrip(" _-.[(:,")
        split = start == 0 or before != plain[:start] or (plain[start].isupper() and plain[start - 1].islower())
        if not split and before.lower() not in RATE_WORDS:
            continue
        factor = rate_factor(unit)
        if factor is not None:
            return Field("rate", name, place, factor, unit)
        if CAPITALS.fullmatch(unit):
            return Unclear("rate", name)
    what, _, last = words.rpartition(" ")
    unit = LONG_UNIT.get(last, last)
    if unit in TIME_US and what in TIME_WORDS:
        return Field("time", name, place, TIME_US[unit], unit)
    if unit in RTT_MS and what in RTT_WORDS:
        return Field("rtt", name, place, RTT_MS[unit], unit)
    return None


def fields(path: Path, names: Sequence[str], headed: bool, columns: str) -> list[Field]:
    """The columns to read: a time with a rate or bytes, or round trips and their numbers, or both; [] if no name is
    about links. columns: the text of `--columns`. Raises UserError."""
    said = {}
    for each in placed(path, parse_columns(columns, KNOWN), KNOWN, names, headed) if columns else []:
        field = _said(each, names[each.place] if headed else each.name)
        said[KIND[field.role]] = field
    by_name = [field_of(name, place) for place, name in enumerate(names)] if headed else []
    if not said and not any(by_name):
        return []
    if {name.lower() for name in names} >= NETTRACK:
        place = [name.lower() for name in names].index("dl_bitrate")
        by_name[place] = Field("rate", names[place], place, 1.0, "kbit/s")
    found = {kind: _best(kind, by_name) for kind in KINDS} | {kind: [field] for kind, field in said.items()}
    if not found["throughput"] and not found["round-trip"]:
        kind = "round-trip" if any(each and each.role == "rtt" for each in by_name) else "throughput"
        fail(path, needs(kind, [], names, by_name), 1)
    if not found["time"]:
        fail(path, needs("time", [], names, by_name), 1)
    kinds = KINDS if found["round-trip"] else ("time", "throughput")
    for kind in kinds:
        if len(found[kind]) > 1:
            fail(path, needs(kind, found[kind], names, by_name), 1)
    return [field for kind in kinds for field in found[kind]]


def _said(choice: Choice, name: str) -> Field:
    """What one part of `--columns` says."""
    own = choice.name.rpartition("_")[2] if "_" in choice.name else choice.name
    unit = choice.unit or {"mbps": "Mbps"}.get(own, own)
    if choice.name.startswith("t_"):
        return Field("time", name, choice.place, TIME_US[unit], unit, bool(choice.unit))
    if choice.name.startswith("rtt_"):
        return Field("rtt", name, choice.place, RTT_MS[unit], unit, bool(choice.unit))
    if choice.name in ("bytes", "seq"):
        return Field(choice.name, name, choice.place, 1.0, unit, bool(choice.unit))
    factor = rate_factor(unit)
    assert factor is not None, unit
    return Field("rate", name, choice.place, factor, unit, bool(choice.unit))


def _best(kind: str, by_name: Sequence[Field | Unclear | None]) -> list[Field]:
    """The columns of a kind: those whose name is one of ours, else those that are not about the way up."""
    found = [each for each in by_name if isinstance(each, Field) and KIND[each.role] == kind]
    ours = [each for each in found if each.name.strip().lower() in OURS]
    with_unit = [each for each in found if each.unit] or found
    down = [each for each in with_unit if not _words(each.name) & UP_WORDS]
    return ours or (down if kind == "throughput" else with_unit)


def needs(kind: str, found: Sequence[Field], names: Sequence[str], by_name: Sequence[Field | Unclear | None]) -> str:
    """What is wrong with a table that has not exactly one column of a kind."""
    has = " and ".join(each.name for each in found) or "none"
    why = f"needs one {kind} column ({', '.join(KINDS[kind])}), has {has} in {short(','.join(names))!r}"
    unclear = [each.name for each in by_name if isinstance(each, Unclear) and KIND[each.role] == kind]
    up = [each.name for each in by_name if isinstance(each, Field) and KIND[each.role] == kind]
    ours = KINDS[kind][0]
    if unclear and not found:
        name = unclear[0]
        both = CAPITALS.fullmatch(name.strip())
        said, other = ("could be bits or bytes", "MBps") if both else ("has no unit", OTHER[kind])
        return f"{why}: {name} {said}; name it in the header, or say --columns {ours}={name} or {other}={name}"
    if up and not found:
        remedy = f"say --columns {ours}={up[0]} or {OTHER[kind]}={up[0]}"
        return f"{why} of what comes down; if {up[0]} is what you mean, {remedy}"
    return f"{why}; name it in the header, or say --columns {ours}=COLUMN"


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
