"""A user's measurements of links: good files in every spelling, bad ones refused in one line that names the row."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv  # loaded here, so that no test times the loading (.4 s)
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_traces import assert_well_formed

from nextone.sim.inputs import trace_files as module
from nextone.sim.inputs.trace_files import read_pings, read_traces
from nextone.sim.inputs.traces import TraceError, flatten, segment_bytes


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
@given(st.lists(st.tuples(st.integers(1, 98_000), st.integers(30, 10**6)), min_size=2, max_size=20))
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
    "half of something compressed": (b"\x1f\x8b\x08\x08abcdefgh\xff\xfe", ": cannot be unpacked ("),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01e.", ": is binary, not text; "),
    "parquet by another name": (b"PAR1 and so on", ": is not a readable Parquet file ("),
    "utf-16 without a mark": ((HEAD + "0,1\n1,1\n").encode("utf-16-le"), ": is binary, not text; "),
    "mixed encodings": (b"t_s,mbps,place\n0,1,caf\xc3\xa9\n1,1,caf\xe9\n", ":3: is not UTF-8 text here; "),
    "header only": (b"t_s,mbps", ": has 0 rows of data, must have >= 2; "),
    "header and a line end": (b"t_s,mbps\n", ": has 0 rows of data, must have >= 2; "),
    "one row": (b"t_s,mbps\n0,5\n", ":2: has 1 rows of data, must have >= 2; "),
    "no header": (b"0,50\n1,50\n", ":1: has no header, and its two columns could be several"),
    "no time": (b"second,mbps\n0,5\n1,5\n", ":1: needs one time column"),
    "no rate": (b"t_s,speed\n0,5\n1,5\n", ":1: needs one throughput column (mbps, kbps, bps, bytes), has none in"),
    "two times": (b"t_s,t_ms,mbps\n0,0,5\n1,1000,5\n", ":1: needs one time column"),
    "two rates": (b"t_s,kbps,mbps\n0,1,5\n1,1,5\n", "has kbps and mbps in 't_s,kbps,mbps'; "),
    "the same rate twice": (b"t_s,mbps,mbps\n0,1,5\n1,1,5\n", "has mbps and mbps in"),
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
    "milliseconds called seconds": (b"t_s,mbps\n0,5\n500000,5\n1000000,5\n", ":3: t_s: rows are 500,000 s apart"),
    "seconds called milliseconds": (b"t_ms,mbps\n0,5\n1,5\n2,5\n", ":3: t_ms: rows are 1 ms apart, too near"),
    "time near the largest float": (b"t_s,mbps\n0,5\n1e308,5\n1.5e308,5\n", ":3: t_s=1e+308 is past the year 2100"),
    "all zero": (b"t_s,mbps\n0,0\n1,0\n2,0.0\n", ": mbps=0 in every row; "),
    "bit/s called Mbit/s": (b"t_s,mbps\n0,0\n1,5e6\n2,6e6\n", ":3: mbps=5000000 must be a link's rate, median here"),
    "kbit/s called Mbit/s": (b"t_s,mbps\n0,50000\n1,60000\n", "; name the column kbps or bps if it is"),
    "Mbit/s called bit/s": (b"t_s,bps\n0,50\n1,60\n", ":2: bps=50 must be a link's rate, median here 5.5e-05"),
    "bytes of a terabit": (b"t_s,bytes\n0,1e12\n1,1e12\n", ":2: bytes=1000000000000 must be a link's rate"),
    "bytes of nearly nothing": (b"t_s,bytes\n0,0.1\n1,0.1\n", ":2: bytes=0.1 must be a link's rate"),
    "one absurd rate": (b"t_s,mbps\n0,5\n1,5\n2,2e6\n", ":4: mbps=2000000 must be <= 1,000,000 Mbit/s; "),
    "rate near the largest float": (b"t_s,mbps\n0,5\n1,5\n2,1.7e308\n", ":4: mbps=1.7e+308 must be <= 1,000,000"),
    "a link that never delivers": (
        b"t_s,mbps\n0,0.03\n60,0\n3600,0\n7200,0\n",
        ": carries 0.000168 Mbit/s on average, must be",
    ),
    "one endless line": (b"t_s,mbps\n0," + b"1" * 2_000_000 + b"\n1,5\n", ":2: mbps=inf must be finite; "),
    "endless header": (b"t_s,mbps," + b"x," * 100_000 + b"\n0,5\n1,5\n", ":1: has more than 5,000 columns; "),
    "more rows than allowed": (HEAD.encode() + b"0,5\n" * 5_000_002, ": has more than 5,000,000 rows; "),
}


def refusal(path: Path) -> str:
    """The message, one line, given within a second (of this process, whatever else the machine is doing)."""
    start = time.process_time()
    with pytest.raises(TraceError) as caught:
        read_traces(path)
    assert time.process_time() - start < 1  # measured: .07 s at most, for 600,000 rows
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
    "other suffix": (other_suffix, "trace.npy:1: is not UTF-8 text here; "),
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
    monkeypatch.setattr(module, "LIMITS", module.LIMITS._replace(rows=3))
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


# ---- round trips


def test_runs_of_pings_by_hand(tmp_path: Path) -> None:
    """Two logs and a trace in one directory; number 12 of the first log was lost, the second is not numbered."""
    (tmp_path / "a.csv").write_text("t_ms,seq,rtt_ms\n1000,10,50\n1200,11,60.5\n1600,13,40\n")
    (tmp_path / "b.tsv").write_text("rtt_ms\tt_s\n7\t0\n9\t1\n")
    (tmp_path / "c.csv").write_text("t_s,mbps\n0,2\n1,2\n")
    pings, traces = read_pings(tmp_path), read_traces(tmp_path)
    assert pings.first.tolist() == [0, 3, 5]
    assert pings.t_us.tolist() == [0, 200_000, 600_000, 0, 1_000_000]
    assert pings.rtt_us.tolist() == [50_000, 60_500, 40_000, 7_000, 9_000]
    assert pings.sent.tolist() == [4, 0]
    assert traces.mean_bps.tolist() == [2e6]


def test_one_file_may_be_both(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t_s,mbps,rtt_ms\n0,2,30\n1,2,40\n")
    assert read_traces(tmp_path).mean_bps.tolist() == [2e6]
    assert read_pings(tmp_path).rtt_us.tolist() == [30_000, 40_000]


RTT_HEAD = "t_s,rtt_ms\n"
BAD_PINGS = {
    "nothing of the kind": ("t_s,mbps\n0,1\n1,1\n", ": holds no log of round trips; "),
    "no known column": ("t_s,ping\n0,1\n1,1\n", ":1: needs one round-trip column (rtt_ms), has none"),
    "two numbers": ("t_s,rtt_ms,seq,seq\n0,50,1,1\n1,50,2,2\n", ":1: needs one number column (seq), has seq and seq"),
    "one reply": (RTT_HEAD + "0,50\n", ":2: has 1 rows of data, must have >= 2; "),
    "zero": (RTT_HEAD + "0,50\n1,0\n", ":3: rtt_ms=0 must be > 0; leave a lost ping out"),
    "nothing for a lost ping": (RTT_HEAD + "0,50\n1,\n", ":3: rtt_ms='' is not a number; "),
    "nan for a lost ping": (RTT_HEAD + "0,50\n1,nan\n", ":3: rtt_ms=nan must be finite; leave a lost ping out"),
    "seconds": (RTT_HEAD + "0,.05\n1,.06\n", ":2: rtt_ms=0.05 must be a round trip in ms, median here"),
    "microseconds": (RTT_HEAD + "0,55000\n1,50000\n", ":2: rtt_ms=55000 must be a round trip in ms, median here"),
    "an hour": (RTT_HEAD + "0,50\n1,50\n2,3600000\n", ":4: rtt_ms=3600000 must be <= 60,000 ms; "),
    "a reply twice": ("t_s,rtt_ms,seq\n0,50,1\n1,50,1\n", ":3: seq=1 must be above the row before's; "),
    "half a number": ("t_s,rtt_ms,seq\n0,50,1\n1,50,1.5\n", ":3: seq=1.5 must be a whole number >= 0; "),
    "numbers leap": ("t_s,rtt_ms,seq\n0,50,1\n1,50,1e15\n", ":3: seq=1e+15 leaves over 1,000 pings out; "),
    "time goes back": (RTT_HEAD + "1,50\n0,50\n", ":3: t_s=0 is earlier than the row before; "),
}


@pytest.mark.parametrize("case", BAD_PINGS)
def test_bad_logs_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, expected = BAD_PINGS[case]
    file = tmp_path / "file.csv"
    file.write_text(content)
    with pytest.raises(TraceError) as caught:
        read_pings(file)
    assert str(caught.value).startswith(f"{file}{expected}")


def test_a_log_of_round_trips_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(RTT_HEAD + "0,50\n1,50\n")
    assert refusal(tmp_path).startswith(f"{tmp_path}: holds no trace; ")
