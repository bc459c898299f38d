"""Files of links of every kind that people have: understood with the right means, or refused with the right reason."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextone.sim.config import Network, Scenario
from nextone.sim.inputs.trace_files import Links, read_links
from nextone.sim.inputs.traces import TraceError
from nextone.sim.world import build_world

MBPS = [6.0, 7.75, 9.5, 8.75, 10.0, 10.75, 9.0, 7.0, 6.75, 4.5] * 2  # mean 8
MEAN = 8.0


def table(header: str, rows: Iterable[Iterable[object]], mark: str = ",") -> str:
    return "\n".join([header, *(mark.join(map(str, row)) for row in rows)]) + "\n"


def seconds(name: str, factor: float = 1.0, start: float = 0, step: float = 1) -> str:
    """A rate every second under some name of the time column."""
    times = [f"{start + step * k:.10f}".rstrip("0").rstrip(".") for k in range(len(MBPS))]
    return table(name, [(time, f"{factor * mbps:.12g}") for time, mbps in zip(times, MBPS, strict=True)])


def links(folder: Path, content: str | bytes, columns: str = "", name: str = "a.csv") -> Links:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_links(folder / name, columns)


def means(found: Links) -> list[float]:
    assert found.traces is not None
    return [float(bps) / 1e6 for bps in found.traces.mean_bps]


def said(found: Links) -> str:
    return "; ".join(note for each in found.read for note in each.notes)


# ---- units


@pytest.mark.parametrize(
    ("name", "per_mbps", "is_bytes"),
    [
        ("Mbps", 1, False), ("Mbit/s", 1, False), ("mbit_s", 1, False), ("mb/s", 1, False), ("DL [Mbps]", 1, False),
        ("throughput_kbps", 1e3, False), ("bandwidthKbps", 1e3, False), ("bits_per_second", 1e6, False),
        ("Kibit/s", 1e6 / 1024, False), ("MBps", 1 / 8, True), ("MB/s", 1 / 8, True), ("kB/s", 125, True),
        ("KBps", 125, True), ("Bps", 125e3, True), ("GBps", 1 / 8e3, True), ("rate (MiB/s)", 1e6 / 8 / 1024**2, True),
        ("bytes per second", 125e3, True),
    ],
)  # fmt: skip
def test_a_rate_is_in_the_unit_of_its_name(tmp_path: Path, name: str, per_mbps: float, is_bytes: bool) -> None:
    found = links(tmp_path, seconds(f"t_s,{name}", per_mbps))
    assert means(found) == pytest.approx([MEAN], rel=1e-4)
    assert ("times 8" in said(found)) == is_bytes


REFUSED = {  # content, and what the message must hold after the file's path
    "capitals": (seconds("t_s,MBPS"), ":1: needs one throughput column .*: MBPS could be bits or bytes; .*--columns"),
    "no unit": (seconds("t_s,bitrate"), ":1: .*bitrate has no unit; .*--columns mbps=bitrate or kbps=bitrate"),
    "half a unit": (seconds("t_s,throughput_mbit"), ":1: .*throughput_mbit has no unit"),
    "an upload": (seconds("t_s,ul_mbps"), ":1: .*of what comes down; if ul_mbps"),
    "a round trip of no unit": (seconds("t_s,rtt"), ":1: .*rtt has no unit; .*--columns rtt_ms=rtt or rtt_s=rtt"),
    "a counter": (table("t_s,bytes", enumerate(np.cumsum(MBPS))), ":2: bytes never fall in 20 rows: .*differences"),
    "a counter that starts again": (
        table("t_s,rx_bytes", enumerate([*range(1, 10**8, 10**6)] * 2)), ":2: rx_bytes hardly ever fall in 200 rows",
    ),
    "epoch ms": (seconds("t_s,mbps", 1, 1.7e12, 1e3), ":2: t_s=1700000000000 is past the year 2100 .* as ms"),
    "epoch us": (seconds("t_ms,mbps", 1, 1.7e15, 1e6), ":2: .*, of this century as us; name the column t_us"),
    "epoch ns": (seconds("t_s,mbps", 1, 1.7e18, 1e9), ":2: .*, of this century as ns; "),
    "epoch s": (seconds("t_ms,mbps", 1, 1.7e9), ":3: t_ms: rows are 1 ms apart, too near .*as s they would be 1 s"),
    "ms and kbit/s": (seconds("t_s,mbps", 1e3, 7, 1e3), ":3: t_s: rows are 1,000 s apart, too far .*as ms .* 1 s; "),
    "tenths of seconds in ms": (seconds("t_s,mbps", 1, 0, 100), ":3: t_s: rows are 100 s apart"),
    "kbit/s": (seconds("t_s,mbps", 1e3), ":2: mbps=6000 must be a link's rate, median here 8,.* as kbps 8.*--columns"),
    "Mbit/s": (seconds("t_s,kbps"), ":2: kbps=6 must be .* as mbps 8.*; name the column mbps"),
    "dates": (seconds("t_s,mbps", 1, 20231101), ":2: t_s=20231101 looks like a date"),
    "dates and times": (seconds("t_s,mbps", 1, 20231114100000), ":2: t_s=20231114100000 looks like a date"),
    "a spreadsheet's dates": (seconds("t_s,mbps", 1, 45244.5, 1 / 86400), ":2: t_s=45244.5 .*a spreadsheet's date"),
    "times of no unit": (seconds("timestamp,mbps", 1, 1.7e9), ":2: timestamp=1700000000 has no unit; .*--columns"),
    "American dates": (table("time,mbps", [("11/14/2023", 5)] * 2), ":2: time='11/14/2023' is not .*2023-11"),
    "a time rounded": (table("t_ms,mbps", [("1.7E+12", 5)] * 3), ":2: t_ms=1.7E.12 was rounded by a spreadsheet"),
    "round trips in s": (seconds("t_s,rtt_ms", 0.005), ":2: .*median here 0.04.* too short .*name the column rtt_s"),
    "round trips in us": (seconds("t_s,rtt_ms", 5e3), ":2: .*, too long for a link; name the column rtt_us"),
    "two runs": (seconds("t_s,mbps") + seconds("x").partition("\n")[2], ":22: t_s=0 starts again: two runs in one"),
    "a late reply": (table("t_s,seq,rtt_ms", [(0, 0, 40), (1, 2, 40), (2, 1, 40)]), ":4: seq=1 must be above the row"),
    "a lost ping": ("t_s,rtt_ms\n0,40\n1,timeout\n2,40\n", ":3: rtt_ms='timeout' is not .*leave a lost ping out"),
    "two runs with headers": (seconds("t_s,mbps") * 2, ":22: the header stands here again: two runs in one file"),
    "two runs of pings": (table("t_s,rtt_ms", [*enumerate([40] * 9)] * 2), ":11: t_s=0 starts again: two runs"),
    "pings numbered from 1 again": (
        table("t_s,seq,rtt_ms", [(k, 1 + k % 9, 40) for k in range(18)]), ":11: seq=1 starts again: two runs",
    ),
    "rows out of order": (table("t_s,mbps", [(0, 5), (1, 5), (3, 5), (2, 5)]), ":5: t_s=2 is earlier .*; sort"),
    "decimal commas between commas": ("t_s,mbps\n0,5,1\n1,5,2\n", ":2: has 3 fields, .*decimal commas"),
    "thousands or decimals": ('sep=,\nt_s,kbps\n0,"6,000"\n1,"7,000"\n', ": kbps='6,000' could be with decimals"),
    "no header, two readings": ("0 150\n1 160\n2 150\n", ":1: has no header, .*t_s=1,mbps=2 or t_ms=1,kbps=2"),
    "no header, three columns": ("0 1 2\n1 1 2\n", ":1: has no header and 3 columns; .*--columns"),
    "one column": ("6\n7\n5\n", ": is one column of numbers, not the rising milliseconds of Mahimahi"),
    "iperf3 that failed": ('{"start": {}, "intervals": [], "error": "refused"}', ": .*without intervals .refused.; "),
    "two runs of iperf3": ('{"intervals": []}\n{"intervals": []}\n', ":2: holds several JSON texts; "),
    "other JSON": ('{"a": 1}', ": is JSON, but not of links: known are "),
    "iperf's text": ("[ ID] Interval           Transfer     Bitrate\n", ": is what iperf prints .* with --json"),
    "half of JSON": ('[{"duration_ms": 1000,', ":1: is not JSON"),
    "JSON of words": ('[{"duration_ms": "long", "bandwidth_kbps": 5}]', ': entry 1: duration_ms is "long", must be a'),
    "ping twice": ("PING a\n" + "64 bytes from a: icmp_seq=1 time=40 ms\n" + "PING a\n", ":3: a second ping starts"),
    "ping of nothing": ("PING a\nRequest timeout for icmp_seq 0\n", ": is what ping prints, with 0 replies"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_misread_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, expected = REFUSED[case]
    with pytest.raises(TraceError, match=f"^{tmp_path}/a.csv{expected}") as caught:
        links(tmp_path, content)
    assert len(str(caught.value).splitlines()) == 1
    assert "; " in str(caught.value)  # what to do


@pytest.mark.parametrize(
    ("header", "columns", "mean"),
    [
        ("t_s,mbps", "t_s=t_s:ms,mbps=mbps:kbps", MEAN),
        ("t_s,mbps", "t_s=t_s:s,mbps=mbps:Mbps", 1e3 * MEAN),
        ("when,speed", "t_ms=when,kbps=speed", MEAN),
        ("t_ms,speed", "kbps=speed", MEAN),
        ("7,5", "t_ms=1,kbps=2", None),
    ],
)
def test_the_person_decides(tmp_path: Path, header: str, columns: str, mean: float | None) -> None:
    found = links(tmp_path, seconds(header, 1e3, 1e3, 1e3), columns)
    assert means(found) == pytest.approx([mean], rel=1e-3) if mean else means(found)[0] > 7
    assert len(found.read) == 1


# ---- times


@pytest.mark.parametrize(
    "times", ["2023-11-14T10:00:{:02d}Z", "2023-11-14 10:00:{:02d}.25", "2023-11-14T10:00:{:02d}+08:00"]
)
@pytest.mark.parametrize("name", ["t_s", "Timestamp", "time", "date"])
def test_dates_as_text_are_times(tmp_path: Path, times: str, name: str) -> None:
    found = links(tmp_path, table(f"{name},mbps", [(times.format(k), mbps) for k, mbps in enumerate(MBPS)]))
    assert found.traces is not None and found.traces.t_us.tolist() == [10**6 * k for k in range(21)]
    assert means(found) == pytest.approx([MEAN])


def test_a_gap_of_hours_cuts_a_trace(tmp_path: Path) -> None:
    rows = [(k + 21_600 * (k >= 20), mbps) for k, mbps in enumerate(MBPS * 2)]
    found = links(tmp_path, table("t_s,mbps", [*rows, (90_000, 5)]))
    assert means(found) == pytest.approx([MEAN, MEAN])
    assert "cut into 3 at line 22, 42, for a gap of 19.0 h; 1 rows alone" in said(found)
    pings = links(tmp_path, table("t_s,seq,rtt_ms", [(t, k, 40) for k, (t, _) in enumerate(rows)])).pings
    assert pings is not None and pings.sent.tolist() == [20, 20]


def test_pings_lost_for_minutes_are_no_gap(tmp_path: Path) -> None:
    rows = [(t, t, 40) for t in (*range(30), *range(530, 560))]
    pings = links(tmp_path, table("t_s,seq,rtt_ms", rows)).pings
    assert pings is not None and (pings.sent.tolist(), len(pings.rtt_us)) == ([560], 60)


def test_numbers_of_pings_wrap(tmp_path: Path) -> None:
    rows = [(k / 10, (65_520 + k) % 65_536, 40) for k in range(60) if k != 16]
    found = links(tmp_path, table("t_s,seq,rtt_ms", rows))
    assert found.pings is not None and (found.pings.sent.tolist(), len(found.pings.rtt_us)) == ([60], 59)
    assert "counted on" in said(found)


def test_round_trips_of_a_wired_link(tmp_path: Path) -> None:
    found = links(tmp_path, seconds("t_s,rtt_ms", 0.04))
    assert found.pings is not None and np.median(found.pings.rtt_us) == pytest.approx(330)
    assert "of a wired or edge link" in said(found)


# ---- formats


def test_sabre(tmp_path: Path) -> None:
    lasts = [500 + 1000 * (k % 2) for k in range(20)]
    given = zip(lasts, MBPS, strict=True)
    periods = [{"duration_ms": t, "bandwidth_kbps": 1e3 * mbps, "latency_ms": 40} for t, mbps in given]
    found = links(tmp_path, json.dumps(periods), name="a.json")
    expected = np.average(MBPS, weights=lasts)
    assert means(found) == pytest.approx([expected])
    assert found.pings is None  # latency_ms is a setting of the trace
    assert "latency_ms, a setting, is not used" in said(found)


@pytest.mark.parametrize("stream", [False, True])
def test_iperf3(tmp_path: Path, stream: bool) -> None:
    each = [{"start": k, "end": k + 1, "bytes": int(m * 125e3), "omitted": k < 10} for k, m in enumerate(MBPS)]
    whole = {"start": {"test_start": {"reverse": 1}}, "intervals": [{"sum": total} for total in each]}
    events = [{"event": "start", "data": {}}, *({"event": "interval", "data": {"sum": total}} for total in each)]
    text = "\n".join(map(json.dumps, events)) if stream else json.dumps(whole)
    found = links(tmp_path, text, name="a.json")
    assert means(found) == pytest.approx([MEAN])
    assert found.read[0].rows == 10
    assert ("downloads" in said(found)) == (not stream)


def test_mahimahi(tmp_path: Path) -> None:
    """By hand: 3 packets of 12,000 bits in 2 s; the second second of 3 s carries none."""
    found = links(tmp_path, gzip.compress(b"0\n1\n1000\n2999\n3000\n3000\n"), name="a.up.gz")
    assert means(found) == pytest.approx([6 * 12_000 / 3e6])
    assert found.traces is not None
    assert found.traces.cum_bytes[found.traces.t_us == 1000].tolist() == [3_000]
    assert found.traces.cum_bytes[found.traces.t_us == 2_998_000].tolist() == [4_500]


@pytest.mark.parametrize(
    ("step", "factor", "what"), [(1, 1, "Pensieve"), (1000, 1e3, "Oboe"), (0.5, 0.1, "MM'22"), (100, 1e3, None)]
)
@pytest.mark.parametrize("mark", [" ", "\t", ",", ";"])
def test_two_columns_without_a_header(tmp_path: Path, step: float, factor: float, what: str | None, mark: str) -> None:
    text = "".join(f"{step * k}{mark}{factor * mbps}\n" for k, mbps in enumerate(MBPS))
    found = links(tmp_path, text, name="trace_1")
    assert means(found) == pytest.approx([MEAN * (factor if factor < 1 else 1)])
    assert what is None or what in said(found)


HEAD = {"linux": "PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.\n",
        "mac": "PING 192.0.2.1 (192.0.2.1): 56 data bytes\n", "busybox": "PING 192.0.2.1 (192.0.2.1): 56 data bytes\n",
        "stamped": "PING 192.0.2.1 (192.0.2.1) 56(84) bytes\n",
        "windows": "\r\nPinging 192.0.2.1 with 32 bytes of data:\r\n"}  # fmt: skip
LINE = {"linux": "64 bytes from 192.0.2.1: icmp_seq={n} ttl=55 time={ms} ms\n",
        "mac": "64 bytes from 192.0.2.1: icmp_seq={n} ttl=55 time={ms}.000 ms\n",
        "busybox": "64 bytes from 192.0.2.1: seq={n} ttl=55 time={ms} ms\n",
        "stamped": "[{at:.6f}] 64 bytes from 192.0.2.1: icmp_seq={n} ttl=55 time={ms} ms\n",
        "windows": "Reply from 192.0.2.1: bytes=32 time={ms}ms TTL=55\r\n"}  # fmt: skip
LOST = {"mac": "Request timeout for icmp_seq {n}\n", "stamped": "[{at:.6f}] no answer yet for icmp_seq={n}\n",
        "windows": "Request timed out.\r\n"}  # fmt: skip


@pytest.mark.parametrize("system", HEAD)
def test_what_ping_prints(tmp_path: Path, system: str) -> None:
    """Ping 7 of 40 is lost; the number starts again after 65,535; a duplicate is left out."""
    text = HEAD[system]
    for k in range(40):
        line = LOST.get(system, "") if k == 7 else LINE[system]
        text += line.format(n=(65_520 + k) % 65_536, ms=40 + k % 3, at=1.7e9 + k)
        if k == 9 and system == "stamped":
            text += line.format(n=65_529, ms=90, at=1.7e9 + k).replace(" ms\n", " ms (DUP!)\n")
    found = links(tmp_path, text, name="ping.txt")
    assert found.pings is not None
    assert (found.pings.sent.tolist(), len(found.pings.rtt_us)) == ([40], 39)
    assert found.pings.rtt_us[:3].tolist() == [40_000, 41_000, 42_000]
    assert found.pings.t_us[-1] == pytest.approx(39e6, abs=2_000)
    assert "1 lost of 40" in said(found)


def test_the_summary_of_ping_tells_its_pace_and_its_last_losses(tmp_path: Path) -> None:
    text = HEAD["linux"] + "".join(LINE["linux"].format(n=n, ms=40) for n in range(1, 11))
    found = links(tmp_path, text + "\n12 packets transmitted, 10 received, 16% packet loss, time 2200ms\n")
    assert found.pings is not None
    assert (found.pings.sent.tolist(), found.pings.t_us[1]) == ([12], 200_000)


def test_pings_lost_at_either_end_are_counted(tmp_path: Path) -> None:
    text = HEAD["linux"] + "".join(LINE["linux"].format(n=n, ms=40) for n in range(4, 11))
    found = links(tmp_path, text + "no answer yet for icmp_seq=11\nno answer yet for icmp_seq=12\n")
    assert found.pings is not None
    assert (found.pings.sent.tolist(), len(found.pings.rtt_us)) == ([12], 7)


def test_a_drive_with_g_nettrack(tmp_path: Path) -> None:
    header = "Timestamp,Speed,DL_bitrate,UL_bitrate,PINGAVG"
    kbps = ["-" if k == 39 else 1e3 * mbps for k, mbps in enumerate(MBPS * 2)]
    rows = [(f"2019.12.14_10.16.{k // 2:02d}", 3, rate, 9, "-") for k, rate in enumerate(kbps)]
    found = links(tmp_path, table(header, rows))
    assert means(found) == pytest.approx([np.mean([*(np.reshape(MBPS * 2, (20, 2)).mean(1)[:19]), MBPS[18]])])
    assert "1 rows with - left out" in said(found)
    assert "19 rows of the second before" in said(found)


def test_parquet_with_times_and_units(tmp_path: Path) -> None:
    times = pa.array([k * 10**9 for k in range(20)], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"Timestamp": times, "MB/s": [m / 8 for m in MBPS]}), tmp_path / "a.parquet")
    found = read_links(tmp_path / "a.parquet")
    assert means(found) == pytest.approx([MEAN])
    assert "times 8" in said(found)


# ---- folders


def test_a_folder_names_what_it_passes_over(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("day/c.csv", seconds("t_s,mbps"))
    for name, content in {
        "a.csv": seconds("t_s;mbps").replace(",", ";").encode(),
        "b.csv.gz": gzip.compress(seconds("t_s,mbps").encode()), "b.txt": seconds("t_s,mbps").encode("utf-16"),
        "c.zip": packed.getvalue(), "notes.md": b"# Notes\n",
        "photo.png": b"\x89PNG\0", ".hidden": b"", "dead.csv": b"t_s,mbps\n0,0\n1,0\n2,0\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    (tmp_path / "evening").mkdir()
    found = read_links(tmp_path)
    assert means(found) == pytest.approx([MEAN] * 4)
    assert [each.path.name for each in found.read] == ["a.csv", "b.csv.gz", "b.txt", "c.csv"]
    why = {each.path.name: each.why for each in found.passed_over}
    assert list(why) == [".hidden", "evening", "notes.md", "photo.png", "dead.csv"]
    assert why["evening"] == "is a folder; give it by itself"
    assert why["photo.png"].startswith("is binary, not text; ")
    assert why["dead.csv"].startswith("mbps=0 in every row; ")


def test_a_folder_of_nothing_says_why(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Some words.\n")
    with pytest.raises(TraceError, match=r"notes.txt: names no column of links .* holds no trace; put files"):
        read_links(tmp_path)


def test_a_world_reads_as_the_report_does(tmp_path: Path) -> None:
    """`--columns` is a setting of the world, too; without it the same file is refused."""
    (tmp_path / "a.txt").write_text("".join(f"{k} {20 * mbps}\n" for k, mbps in enumerate(MBPS)))
    network = Network(traces=str(tmp_path), link_columns="t_s=1,mbps=2")
    world = build_world(Scenario(network=network), edge=False, seed=0, window_us=1, log_rows=0)
    assert world.trace_mean_bps.tolist() == [20e6 * MEAN]
    with pytest.raises(TraceError, match="has no header"):
        build_world(Scenario(network=Network(traces=str(tmp_path))), edge=False, seed=0, window_us=1, log_rows=0)


def test_reading_goes_with_rows_not_with_their_span(tmp_path: Path) -> None:
    found = links(tmp_path, table("t_s,mbps", [(k * 86_400, 5) for k in range(4)]), "t_s=t_s:s")
    assert found.traces is not None and len(found.traces.t_us) < 50_000
