"""Capacity traces: cumulative curves by hand and by property, the shipped groups, and refusal of bad files."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextone.sim import traces as module
from nextone.sim.traces import (
    TraceError,
    Traces,
    bts_levels,
    constant_trace,
    flatten,
    read_traces,
    rtt_tables,
    segment_bytes,
    shipped_traces,
    synthetic_traces,
)


def delivered(traces: Traces, k: int, t_us: int) -> int:
    """Bytes trace k delivers in [0, t_us), from its definition, in Python's unbounded integers."""
    own = slice(traces.first[k], traces.first[k + 1])
    knots, cum_bytes = [int(t) for t in traces.t_us[own]], [int(c) for c in traces.cum_bytes[own]]
    loops, x = divmod(t_us, knots[-1])
    j = int(np.searchsorted(knots, x, side="right")) - 1
    part = (x - knots[j]) * (cum_bytes[j + 1] - cum_bytes[j]) // (knots[j + 1] - knots[j])
    return loops * cum_bytes[-1] + cum_bytes[j] + part


def assert_well_formed(traces: Traces) -> None:
    """What the world's integration relies on."""
    assert traces.first[0] == 0
    assert traces.first[-1] == len(traces.t_us) == len(traces.cum_bytes)
    assert len(traces.mean_bps) == len(traces.first) - 1
    assert [column.dtype for column in traces] == [np.int64, np.int64, np.int64, np.float64]
    start, last = traces.first[:-1], traces.first[1:] - 1
    assert (start < last).all()
    assert (traces.t_us[start] == 0).all()
    assert (traces.cum_bytes[start] == 0).all()
    assert (traces.cum_bytes[last] > 0).all()
    inside = np.setdiff1d(np.arange(len(traces.t_us) - 1), last)
    span, amount = np.diff(traces.t_us)[inside], np.diff(traces.cum_bytes)[inside]
    assert (span > 0).all()
    assert (span <= 10_000_000).all()
    assert (amount >= 0).all()
    assert max(int(a) * int(b) for a, b in zip(span, amount, strict=True)) < 2**62
    np.testing.assert_allclose(traces.mean_bps, 8e6 * traces.cum_bytes[last] / traces.t_us[last])


# ---- curves


def test_two_traces_by_hand() -> None:
    # 8 Mbit/s is 1 byte a microsecond: 1 s of it, then 2 s of nothing; and 3 bytes over 2 s.
    traces = flatten(
        [
            (np.array([0, 1_000_000, 3_000_000]), np.array([1_000_000, 0])),
            (np.array([0, 2_000_000]), np.array([3])),
        ]
    )
    assert traces.first.tolist() == [0, 3, 5]
    assert traces.t_us.tolist() == [0, 1_000_000, 3_000_000, 0, 2_000_000]
    assert traces.cum_bytes.tolist() == [0, 1_000_000, 1_000_000, 0, 3]
    assert traces.mean_bps.tolist() == [8e6 / 3, 12.0]
    assert [delivered(traces, 0, t) for t in (0, 250_000, 2_500_000, 3_000_001)] == [0, 250_000, 1_000_000, 1_000_001]


def test_remainders_are_carried_on() -> None:
    # 1 kbit/s is 125 bytes/s: each 4 ms half a byte, so every second segment has one byte.
    t_us = np.arange(6, dtype=np.int64) * 4_000
    assert segment_bytes(t_us, np.ones(5, np.int64)).tolist() == [0, 1, 0, 1, 0]


def test_long_segment_is_split_at_ten_seconds_exactly() -> None:
    traces = flatten([(np.array([0, 25_000_000]), np.array([10]))])
    assert traces.t_us.tolist() == [0, 8_333_333, 16_666_666, 25_000_000]
    assert traces.cum_bytes.tolist() == [0, 3, 6, 10]


segments = st.lists(
    st.tuples(st.integers(1, 10**9), st.integers(0, 10**12)),  # microseconds; bytes/s up to what "inf" means
    min_size=1,
    max_size=30,
)


@given(segments, st.lists(st.floats(0, 3), min_size=3, max_size=3))
def test_curve_is_exact_monotone_and_additive(rows: list[tuple[int, int]], at: list[float]) -> None:
    t_us = np.cumsum([0] + [span for span, _ in rows])
    amount = np.array([span * bytes_per_s // 10**6 for span, bytes_per_s in rows])
    amount[0] += 1  # a trace delivers something
    traces = flatten([(t_us, amount)])
    assert_well_formed(traces)

    knots = set(traces.t_us.tolist())
    cumulative = np.append(0, np.cumsum(amount))
    for t, total in zip(t_us.tolist()[:-1], cumulative.tolist(), strict=False):  # every given knot stays, exactly
        assert t in knots
        assert delivered(traces, 0, t) == total
    period, total = int(t_us[-1]), int(amount.sum())
    a, b, c = sorted(int(f * period) for f in at)
    assert delivered(traces, 0, a) <= delivered(traces, 0, b) <= delivered(traces, 0, c)
    for loops in (1, 7):  # additive over whole loops, from anywhere
        assert delivered(traces, 0, a + loops * period) == delivered(traces, 0, a) + loops * total


@given(segments, st.floats(0, 1))
def test_splitting_moves_no_byte(rows: list[tuple[int, int]], at: float) -> None:
    t_us = np.cumsum([0] + [span for span, _ in rows])
    amount = np.array([1 + span * bytes_per_s // 10**6 for span, bytes_per_s in rows])
    traces = flatten([(t_us, amount)])
    unsplit = Traces(np.array([0, len(t_us)]), t_us, np.append(0, np.cumsum(amount)), traces.mean_bps)
    t = int(at * int(t_us[-1]))
    assert abs(delivered(traces, 0, t) - delivered(unsplit, 0, t)) <= 1


@given(st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 3_000_000)), min_size=1, max_size=50))
def test_whole_rates_give_the_exact_total_rounded_down(rows: list[tuple[int, int]]) -> None:
    t_us = np.cumsum([0] + [1_000 * ms for ms, _ in rows])
    total_bits = sum(ms * kbps for ms, kbps in rows)
    assert segment_bytes(t_us, np.array([kbps for _, kbps in rows])).sum() == total_bits // 8


@pytest.mark.parametrize("mbps", [0.001, 0.3, 1, 52.3, 8e6, 1e9, float("inf")])
def test_constant_trace_delivers_its_rate(mbps: float) -> None:
    traces = constant_trace(mbps)
    assert_well_formed(traces)
    bytes_per_s = min(mbps * 125_000, 1e12)
    for t_us in (1_000_000, 3_700_000, 10_000_000, 25_000_000):
        assert delivered(traces, 0, t_us) == pytest.approx(bytes_per_s * t_us / 1e6, rel=1e-6, abs=1)


@pytest.mark.parametrize("mbps", [0, -1, float("nan"), float("-inf"), 1e-9])
def test_constant_trace_refuses(mbps: float) -> None:
    with pytest.raises(TraceError, match=r"^mbps=.* must be >= 0.001; "):
        constant_trace(mbps)


# ---- synthetic


def test_a_synthetic_trace_does_not_depend_on_how_many_there_are() -> None:
    few, many = synthetic_traces(2, 50, 20, 0.6, seed=3), synthetic_traces(9, 50, 20, 0.6, seed=3)
    assert_well_formed(many)
    assert (many.t_us[: len(few.t_us)] == few.t_us).all()
    assert (many.cum_bytes[: len(few.cum_bytes)] == few.cum_bytes).all()
    assert (synthetic_traces(2, 50, 20, 0.6, seed=4).cum_bytes != few.cum_bytes).any()


def test_synthetic_traces_have_the_asked_median_variation_and_memory() -> None:
    # 300 traces of 400 s at correlation .9 hold 300 * 400 * (1 - .9) / (1 + .9) = 6,316 independent samples, 79 for
    # each of the quantities below at their own scale: standard errors .016 (median of log, sd .47), .01 and .01.
    traces = synthetic_traces(300, 400, median_mbps=20, cv=0.5, seed=1)
    mbps = np.diff(traces.cum_bytes.reshape(300, 401)) * 8e-6
    log = np.log(mbps)
    sd = np.sqrt(np.log1p(0.5**2))
    assert np.median(log) == pytest.approx(np.log(20), abs=0.04)
    assert log.std() == pytest.approx(sd, rel=0.05)
    assert mbps.std() / mbps.mean() == pytest.approx(0.5, rel=0.1)
    lag = {s: np.mean((log[:, s:] - np.log(20)) * (log[:, :-s] - np.log(20))) / sd**2 for s in (1, 5)}
    # targets.json pam_throughput.all: ac1s .894, ac5s .598
    assert lag[1] == pytest.approx(0.894, abs=0.05)
    assert lag[5] == pytest.approx(0.598, abs=0.06)


def test_no_variation_is_a_constant_link() -> None:
    assert synthetic_traces(1, 30, 5, 0.0, seed=0).cum_bytes.tolist() == [625_000 * s for s in range(31)]


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"seconds": 0},
        {"n": 10**6, "seconds": 10**6},
        {"median_mbps": 0.0},
        {"median_mbps": float("nan")},
        {"cv": -0.1},
        {"cv": float("inf")},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_synthetic_traces_refuses(change: dict[str, float]) -> None:
    arguments = {"n": 1, "seconds": 10, "median_mbps": 5.0, "cv": 0.5, "seed": 0} | change
    with pytest.raises(TraceError, match=rf"{next(iter(change))}.* must be .*; "):
        synthetic_traces(**arguments)  # type: ignore[arg-type]


# ---- shipped


def test_shipped_groups() -> None:
    traces, groups = shipped_traces()
    assert_well_formed(traces)
    assert groups == {
        "driving": range(480),
        "ghent_4g": range(480, 509),
        "steady": range(503, 509),
        "oslo_3g": range(509, 569),
    }
    assert len(traces.mean_bps) == 569
    mbps = {name: traces.mean_bps[group.start : group.stop] / 1e6 for name, group in groups.items()}
    # targets.json: pam_throughput.all.trace_mean_q 20.5, 72.6, 186.9 (over samples; over time here)
    np.testing.assert_allclose(np.quantile(mbps["driving"], [0.1, 0.5, 0.9]), [20.5, 72.6, 186.9], rtol=0.05)
    # sabre 4G/all trace_mean_q .5: 32.47; 4G/foot 30.83; 3G/mixed 1.06 over samples, lower over time (gaps)
    assert np.median(mbps["ghent_4g"]) == pytest.approx(32.47, rel=0.01)
    assert np.median(mbps["steady"]) == pytest.approx(30.83, rel=0.01)
    assert 0.8 < np.median(mbps["oslo_3g"]) < 1.06
    last = traces.first[1:] - 1
    period, total = traces.t_us[last], traces.cum_bytes[last]
    ghent = slice(groups["ghent_4g"].start, groups["ghent_4g"].stop)
    assert 8 * total[ghent].sum() / period[ghent].sum() == pytest.approx(31.42, abs=0.01)  # sabre 4G/all mean


def test_levels_and_round_trip_tables() -> None:
    levels, rtt = bts_levels(), rtt_tables()
    assert list(levels) == ["4G", "5G", "wifi4", "wifi5", "wifi6"]
    assert {level.shape for level in levels.values()} == {(513,)}
    assert levels["5G"][256] == pytest.approx(313)  # targets.json bts 2021/5G
    assert rtt.probability.shape == rtt.level_ms.shape == rtt.jitter.shape
    assert np.interp(0.5, rtt.probability, rtt.level_ms) == pytest.approx(54.1, abs=0.1)  # targets.json pam_rtt.all
    assert rtt.loss == pytest.approx(0.005, abs=1e-4)


# ---- a user's files


def write_parquet(path: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "t_s,mbps\n0,8\n1,0\n2,4\n"),
        ("a.csv", "\ufefft_s,mbps\r\n0,8\r\n1,0\r\n2,4\r\n\r\n"),
        ("a.csv", "place, Mbps , Time_ms,place\nhome, 8 ,500,\nhome,0,1500,x\n,4.0,2500,y\n"),
        ("a.csv", '"t_s","kbps"\r"0","8e3"\r"1","0"\r"2","+4000."'),
        ("a.tsv", "time_s\tbps\n1000000000\t8000000\n1000000001\t0\n1000000002\t4000000\n"),
        ("A.CSV", "t_ms,bytes\n0,1000000\n1000,0\n2000,500000\n"),
    ],
)
def test_the_same_trace_in_every_spelling(tmp_path: Path, name: str, text: str) -> None:
    # 8 Mbit/s for 1 s, nothing for 1 s, 4 Mbit/s for the median interval, 1 s
    (tmp_path / name).write_bytes(text.encode())
    traces = read_traces(tmp_path / name)
    assert traces.t_us.tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
    assert traces.cum_bytes.tolist() == [0, 1_000_000, 1_000_000, 1_500_000]
    assert traces.mean_bps.tolist() == [4e6]


@pytest.mark.parametrize("kind", [pa.int16(), pa.int64(), pa.float32(), pa.float64()])
def test_parquet_is_read_whatever_its_numbers_are(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"t_s": pa.array([0, 1, 2], kind), "note": ["a", "b", "c"], "mbps": pa.array([8, 0, 4], kind)}
    write_parquet(tmp_path / "a.parquet", **columns)
    assert read_traces(tmp_path / "a.parquet").cum_bytes.tolist() == [0, 1_000_000, 1_000_000, 1_500_000]


def test_a_directory_is_its_trace_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("t_s,mbps\n0,2\n1,2\n")
    (tmp_path / "a.tsv").write_text("t_s\tmbps\n0\t1\n1\t1\n")
    write_parquet(tmp_path / "c.parquet", t_s=[0, 1], mbps=[3, 3])
    (tmp_path / "readme.txt").write_text("not a trace")
    (tmp_path / ".c.csv").write_text("hidden")
    (tmp_path / "more").mkdir()
    traces = read_traces(tmp_path)
    assert_well_formed(traces)
    assert traces.mean_bps.tolist() == [1e6, 2e6, 3e6]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=2, max_size=20))
def test_written_and_read_back(tmp_path: Path, rows: list[tuple[int, int]]) -> None:
    t_ms = np.cumsum([0] + [1_000 + span for span, _ in rows[:-1]])
    kbps = np.array([rate for _, rate in rows])
    text = "".join(f"{t},{rate}\n" for t, rate in zip(t_ms, kbps, strict=True))
    (tmp_path / "a.csv").write_text("t_ms,kbps\n" + text)
    traces = read_traces(tmp_path / "a.csv")
    assert_well_formed(traces)
    knots = np.append(t_ms, t_ms[-1] + round(np.median(np.diff(t_ms)) * 1_000) / 1_000)
    own = flatten(
        [(np.rint(knots * 1_000).astype(np.int64), segment_bytes(np.rint(knots * 1_000).astype(np.int64), kbps))]
    )
    assert traces.t_us.tolist() == own.t_us.tolist()
    assert traces.cum_bytes.tolist() == own.cum_bytes.tolist()


HEAD = "t_s,mbps\n"
BAD_TEXT = {  # content, and what the message must hold after the file's path
    "empty": (b"", ": is empty; "),
    "blank": (b"\n \n\n", ": is empty; "),
    "only a byte order mark": (b"\xef\xbb\xbf", ": is empty; "),
    "zeros": (bytes(1000), ": is binary, not text; "),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ": is binary, not text; "),
    "compressed": (b"\x1f\x8b\x08\x08abcdefgh\xff\xfe", ":1: is not UTF-8 text here; "),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01e.", ": is binary, not text; "),
    "parquet by another name": (b"PAR1 and so on", ": is binary, not text; "),
    "utf-16": ((HEAD + "0,1\n1,1\n").encode("utf-16"), ": is binary, not text; "),
    "mixed encodings": (b"t_s,mbps,place\n0,1,caf\xc3\xa9\n1,1,caf\xe9\n", ":3: is not UTF-8 text here; "),
    "header only": (b"t_s,mbps", ":2: has 0 rows of data, must have >= 2; "),
    "header and a line end": (b"t_s,mbps\n", ":2: has 0 rows of data, must have >= 2; "),
    "one row": (b"t_s,mbps\n0,5\n", ":2: has 1 rows of data, must have >= 2; "),
    "no header": (b"0,5\n1,5\n", ":1: needs one time column (t_s, time_s, t_ms, time_ms), has none in '0,5'; "),
    "blank line first": (b"\nt_s,mbps\n0,5\n1,5\n", ":1: needs one time column"),
    "no time": (b"second,mbps\n0,5\n1,5\n", ":1: needs one time column"),
    "no rate": (b"t_s,speed\n0,5\n1,5\n", ":1: needs one throughput column (mbps, kbps, bps, bytes), has none in"),
    "two times": (b"t_s,t_ms,mbps\n0,0,5\n1,1000,5\n", ":1: needs one time column"),
    "two rates": (b"t_s,kbps,mbps\n0,1,5\n1,1,5\n", "has kbps and mbps in 't_s,kbps,mbps'; "),
    "the same rate twice": (b"t_s,mbps,mbps\n0,1,5\n1,1,5\n", "has mbps and mbps in"),
    "semicolons": (b"t_s;mbps\n0;5\n1;5\n", ":1: needs one time column"),
    "spaces": (b"t_s mbps\n0 5\n1 5\n", ":1: needs one time column"),
    "a row too short": (b"t_s,mbps\n0,5\n1\n2,5\n", ":3: has 1 fields, must have the header's 2; "),
    "a row too long": (b"t_s,mbps\n0,5\n1,5\n2,5,5\n", ":4: has 3 fields, must have the header's 2; "),
    "decimal commas": (b"t_s,mbps\n0,5,1\n1,5,2\n", ":2: has 3 fields, must have the header's 2; "),
    "a quote left open": (b't_s,mbps\n0,5\n"1,5\n2,5\n', ":3: has 1 fields, must have the header's 2; "),
    "a blank line": (b"t_s,mbps\n0,5\n\n2,5\n", ":3: t_s='' is not a number; "),
    "text for a time": (b"t_s,mbps\n0,5\n00:01,5\n", ":3: t_s='00:01' is not a number; "),
    "text for a rate": (b"t_s,mbps\n0,5\n1,fast\n", ":3: mbps='fast' is not a number; "),
    "a unit": (b"t_s,mbps\n0,5 Mbit/s\n1,5\n", ":2: mbps='5 Mbit/s' is not a number; "),
    "no value": (b"t_s,mbps\n0,5\n1,\n2,5\n", ":3: mbps='' is not a number; "),
    "hexadecimal": (b"t_s,mbps\n0,0x10\n1,5\n", ":2: mbps='0x10' is not a number; "),
    "code": (b"t_s,mbps\n0,__import__('os')\n1,5\n", ":2: mbps=\"__import__('os')\" is not a number; "),
    "nan rate": (b"t_s,mbps\n0,5\n1,nan\n", ":3: mbps=nan must be finite; "),
    "infinite rate": (b"t_s,mbps\n0,inf\n1,5\n", ":2: mbps=inf must be finite; "),
    "overflowing rate": (b"t_s,mbps\n0,5\n1,1e400\n", ":3: mbps=inf must be finite; "),
    "nan time": (b"t_s,mbps\nnan,5\n1,5\n", ":2: t_s=nan must be finite; "),
    "negative rate": (b"t_s,mbps\n0,5\n1,5\n2,-3\n", ":4: mbps=-3 must be >= 0; "),
    "negative time": (b"t_s,mbps\n-1,5\n1,5\n", ":2: t_s=-1 must be >= 0; "),
    "time goes back": (b"t_s,mbps\n0,5\n2,5\n1,5\n", ":4: t_s=1 is earlier than the row before; "),
    "time stands still": (b"t_s,mbps\n0,5\n1,5\n1,5\n", ":4: t_s=1 is the time of the row before; "),
    "time below a microsecond": (b"t_s,mbps\n0,5\n1,5\n1.0000001,5\n", ":4: t_s=1.0000001 is the time of the row"),
    "milliseconds called seconds": (b"t_s,mbps\n0,5\n500000,5\n1000000,5\n", ":4: t_s=1000000 is over 7 days after"),
    "seconds called milliseconds": (b"t_ms,mbps\n0,5\n1,5\n2,5\n", ":2: lasts 0.003 s, must last >= 1 s; "),
    "time near the largest float": (b"t_s,mbps\n0,5\n1e308,5\n1.5e308,5\n", ":3: t_s=1e+308 is over 7 days after"),
    "all zero": (b"t_s,mbps\n0,0\n1,0\n2,0.0\n", ":2: mbps=0 in every row; "),
    "bit/s called Mbit/s": (b"t_s,mbps\n0,0\n1,5e6\n2,6e6\n", ":3: mbps=5000000 must be a link's rate, median here"),
    "kbit/s called Mbit/s": (b"t_s,mbps\n0,50000\n1,60000\n", "; name the column kbps or bps if it is"),
    "Mbit/s called bit/s": (b"t_s,bps\n0,50\n1,60\n", ":2: bps=50 must be a link's rate, median here 5.5e-05 Mbit/s; "),
    "bytes of a terabit": (b"t_s,bytes\n0,1e12\n1,1e12\n", ":2: bytes=1e+12 must be a link's rate"),
    "bytes of nearly nothing": (b"t_s,bytes\n0,0.1\n1,0.1\n", ":2: bytes=0.1 must be a link's rate"),
    "one absurd rate": (b"t_s,mbps\n0,5\n1,5\n2,2e6\n", ":4: mbps=2000000 must be <= 1,000,000 Mbit/s; "),
    "rate near the largest float": (b"t_s,mbps\n0,5\n1,5\n2,1.7e308\n", ":4: mbps=1.7e+308 must be <= 1,000,000"),
    "a link that never delivers": (
        b"t_s,mbps\n0,0.01\n1,0\n100000,0\n",
        ": carries 6.67e-08 Mbit/s on average, must be",
    ),
    "one endless line": (b"t_s,mbps\n0," + b"1" * 2_000_000 + b"\n1,5\n", ":2: mbps=inf must be finite; "),
    "endless header": (b"t_s,mbps," + b"x," * 100_000 + b"\n0,5\n1,5\n", ":2: has 2 fields"),
    "more rows than allowed": (HEAD.encode() + b"0,5\n" * 5_000_002, ": has more than 5,000,000 rows; "),
}


def refusal(path: Path) -> str:
    """The message, one line, given within a second (of this process, whatever else the machine is doing)."""
    start = time.process_time()
    with pytest.raises(TraceError) as caught:
        read_traces(path)
    assert time.process_time() - start < 1
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, expected = BAD_TEXT[case]
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    message = refusal(file)
    assert message.startswith(f"{file}:")
    assert expected in message
    assert message.rpartition("; ")[0], "no remedy"


BAD_PARQUET: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), ": is empty; "),
    "text": (lambda path: path.write_text("t_s,mbps\n0,1\n1,1\n"), ": is not a readable Parquet file ("),
    "magic only": (lambda path: path.write_bytes(b"PAR1PAR1"), ": is not a readable Parquet file ("),
    "no rows": (
        lambda path: write_parquet(path, t_s=pa.array([], pa.int64()), mbps=pa.array([], pa.int64())),
        "has 0 rows",
    ),
    "one row": (lambda path: write_parquet(path, t_s=[0], mbps=[1]), ":1: has 1 rows"),
    "no rate": (lambda path: write_parquet(path, t_s=[0, 1], speed=[1, 1]), ":1: needs one throughput column"),
    "strings": (lambda path: write_parquet(path, t_s=["0", "1"], mbps=[1, 1]), ": column t_s is "),
    "booleans": (lambda path: write_parquet(path, t_s=[0, 1], mbps=[True, False]), ": column mbps is bool; "),
    "lists": (lambda path: write_parquet(path, t_s=[0, 1], mbps=[[1], [1]]), ": column mbps is list"),
    "null": (lambda path: write_parquet(path, t_s=[0, 1, 2], mbps=[1, None, 1]), ":2: mbps=nan must be finite; "),
    "nan": (lambda path: write_parquet(path, t_s=[0, 1], mbps=[1, float("nan")]), ":2: mbps=nan must be finite; "),
    "negative": (lambda path: write_parquet(path, t_s=[0, 1], mbps=[1, -1]), ":2: mbps=-1 must be >= 0; "),
    "time goes back": (lambda path: write_parquet(path, t_s=[1, 0], mbps=[1, 1]), ":2: t_s=0 is earlier"),
    "more rows than allowed": (
        lambda path: write_parquet(path, t_s=np.zeros(5_000_001, np.int8), mbps=np.zeros(5_000_001, np.int8)),
        ": has more than 5,000,000 rows; ",
    ),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_bad_parquet_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, expected = BAD_PARQUET[case]
    file = tmp_path / "file.parquet"
    make(file)
    message = refusal(file)
    assert message.startswith(f"{file}:")
    assert expected in message


def loop(path: Path) -> Path:
    (path / "a.csv").symlink_to(path / "b.csv")
    (path / "b.csv").symlink_to(path / "a.csv")
    return path / "a.csv"


def pipe(path: Path) -> Path:
    os.mkfifo(path / "pipe.csv")
    return path / "pipe.csv"


def sparse(path: Path, size: int, name: str = "large.csv") -> Path:
    with (path / name).open("wb") as file:
        file.truncate(size)
    return path / name


def two_large(path: Path) -> Path:
    sparse(path, 150_000_000, "1.csv")
    sparse(path, 150_000_000, "2.csv")
    return path


def named_like_a_trace(path: Path) -> Path:
    (path / "folder.csv").mkdir()
    return path


def to_device(path: Path) -> Path:
    (path / "zero.csv").symlink_to("/dev/zero")
    return path


def one_bad(path: Path) -> Path:
    (path / "good.csv").write_text("t_s,mbps\n0,1\n1,1\n")
    (path / "other.csv").write_text("t_s,mbps\n0,1\n1,-1\n")
    return path


def other_suffix(path: Path) -> Path:
    (path / "trace.npy").write_bytes(b"\x93NUMPY")
    return path / "trace.npy"


def line_break(path: Path) -> Path:
    (path / "a\nb.csv").write_text("")
    return path / "a\nb.csv"


BAD_PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such path": (lambda path: path / "none.csv", "none.csv: cannot be opened (No such file or directory); "),
    "below a file": (lambda path: sparse(path, 9) / "a.csv", "a.csv: cannot be opened (Not a directory); "),
    "symlink loop": (loop, "a.csv: cannot be opened (Too many levels of symbolic links); "),
    "symlink loop in a directory": (lambda path: loop(path).parent, "a.csv: cannot be opened (Too many levels"),
    "name too long": (lambda path: path / ("x" * 5_000), ": cannot be opened (File name too long); "),
    "zero byte in the name": (lambda path: path / "a\0.csv", "cannot be opened (embedded null byte); "),
    "pipe": (pipe, "pipe.csv: is not a regular file; "),
    "pipe in a directory": (lambda path: pipe(path).parent, "pipe.csv: is not a regular file; "),
    "device": (lambda path: Path("/dev/zero"), "/dev/zero: is not a regular file; "),
    "device in a directory": (to_device, "zero.csv: is not a regular file; "),
    "empty directory": (lambda path: path, ": holds no trace; "),
    "directory named like a trace": (named_like_a_trace, "folder.csv: is not a regular file; "),
    "other suffix": (other_suffix, "trace.npy: must end in .csv, .tsv or .parquet; "),
    "larger than allowed": (lambda path: sparse(path, 200_000_001), "large.csv: holds more than 200 MB; "),
    "large parquet": (lambda path: sparse(path, 10**12, "large.parquet"), "large.parquet: holds more than 200 MB; "),
    "larger together": (two_large, ": holds more than 200 MB; "),
    "one bad file of two": (one_bad, "other.csv:3: mbps=-1 must be >= 0; "),
    "line break in the name": (line_break, "a b.csv: is empty; "),
}


@pytest.mark.parametrize("case", BAD_PLACES)
def test_bad_places_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, expected = BAD_PLACES[case]
    assert expected in refusal(make(tmp_path))


def test_rows_are_counted_over_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("t_s,mbps\n0,1\n1,1\n")
    assert ": holds more than 3 rows; " in refusal(tmp_path)


def test_a_bad_row_far_down_is_named_within_a_second(tmp_path: Path) -> None:
    rows = "".join(f"{k},{k % 97}\n" for k in range(600_000))  # under 7 days
    (tmp_path / "long.csv").write_text(HEAD + rows + "600000,x\n")
    assert "long.csv:600002: mbps='x' is not a number; " in refusal(tmp_path / "long.csv")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused_never_worse(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes overwritten at random: a well-formed trace or a TraceError, no other error and no hang."""
    suffix = data.draw(st.sampled_from(["csv", "tsv", "parquet"]))
    file = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        write_parquet(file, t_s=[0.0, 1.0, 2.0, 3.5], mbps=[1.0, 5.0, 0.0, 2.5])
    else:
        file.write_text("t_s,mbps\n0,1\n1,5\n2,0\n3.5,2.5\n".replace(",", "," if suffix == "csv" else "\t"))
    content = bytearray(file.read_bytes())
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
    ):
        content[place] = byte
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert_well_formed(read_traces(file))
    except TraceError as error:
        refused = str(error)
        assert len(refused.splitlines()) == 1
