"""A user's own log: every spelling reads alike, what is dropped is counted, and what would mislead is refused."""

import gzip
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from worlds import run, scenario

from nextone.experiments.fitting.logs.user_log import (
    UserLog,
    UserLogError,
    read_user_log,
    shipped_log,
    simulated_log,
    write_generic,
)
from nextone.experiments.runs.metrics import whole_impressions
from nextone.sim.config import FEEDBACK
from nextone.sim.data import open_data
from nextone.sim.data.derive import LOG_FLAGS

N = 80
T0 = 1_650_000_000_000
Columns = dict[str, list[Any]]


def columns() -> Columns:
    """80 plausible impressions: 8 users, 16 videos of 4 to 64 s, one minute after another; all play times differ."""
    k = np.arange(N)
    duration = 4_000 * (1 + k % 16)
    return {
        "user": (k // 10).tolist(),
        "video": (k % 16).tolist(),
        "time_ms": (T0 + 61_000 * k).tolist(),
        "duration_ms": duration.tolist(),
        "play_ms": (duration * (k % 7) // 5 + 7 * k + 500).tolist(),
        "like": (k % 9 == 0).astype(int).tolist(),
    }


def changed(**change: Any) -> Columns:
    """The columns with some replaced: by a list, or by a function of the old one."""
    base = columns()
    return base | {name: new(base[name]) if callable(new) else new for name, new in change.items()}


def times(factor: float) -> Callable[[list[Any]], list[Any]]:
    return lambda old: [value * factor for value in old]


def with_value(value: Any, *rows: int) -> Callable[[list[Any]], list[Any]]:
    return lambda old: [value if k in rows else v for k, v in enumerate(old)]


def csv_text(data: Columns, delimiter: str = ",") -> str:
    lines = [delimiter.join(data), *(delimiter.join(map(str, row)) for row in zip(*data.values(), strict=True))]
    return "\n".join(lines) + "\n"


def read(path: Path, data: Columns) -> UserLog:
    path.write_text(csv_text(data))
    return read_user_log(path)


def assert_same(a: UserLog, b: UserLog, but: tuple[str, ...] = ()) -> None:
    for name in UserLog.__dataclass_fields__:
        if name in ("source", "rows_read", "findings", *but):
            continue
        x, y = getattr(a, name), getattr(b, name)
        if name in ("feedback", "labels"):
            assert list(x) == list(y)
            x, y = np.array([*x.values()]), np.array([*y.values()])
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, err_msg=name)


def found(log: UserLog) -> list[tuple[str, int, str]]:
    """(column, rows, action) but for the warnings that so small a log always has."""
    return [
        (f.column, f.rows, f.action)
        for f in log.findings
        if "fewer than" not in f.problem and "only 8" not in f.problem
    ]


# ---- what reads


def test_arrays_by_hand(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", columns())
    assert (log.users, log.videos, log.rows_read, found(log)) == (8, 16, N, [])
    assert log.user.tolist() == [k // 10 for k in range(N)]
    assert log.time_ms.tolist() == columns()["time_ms"]
    assert log.duration_ms[:3].tolist() == [4_000, 8_000, 12_000]
    assert log.play_ms[:3].tolist() == [500, 8_000 // 5 + 507, 24_000 // 5 + 514]
    assert list(log.feedback) == ["like"]
    assert np.flatnonzero(log.feedback["like"]).tolist() == list(range(0, N, 9))
    assert log.absent == ["follow", "comment", "forward", "hate", "profile", "randomised", "comment_open_ms", "tag",
                          "session", "request", "stall_ms", "network"]  # fmt: skip
    with pytest.raises(AttributeError):
        log.users = 3  # type: ignore[misc]


def in_seconds(c: Columns) -> Columns:
    return {k.replace("_ms", "_s"): [x / 1e3 for x in v] if "_ms" in k else v for k, v in c.items()}


def iso(c: Columns, offset: str = "Z", ahead_ms: int = 0) -> Columns:
    words = [f"{np.datetime64(t + ahead_ms, 'ms')}{offset}" for t in c["time_ms"]]
    return {"time": words} | {k: v for k, v in c.items() if k != "time_ms"}


def as_kuairand(c: Columns, **more: list[Any]) -> Columns:
    names = ("user_id", "video_id", "time_ms", "duration_ms", "play_time_ms", "is_like")
    return dict(zip(names, c.values(), strict=True)) | more


def in_parquet(c: Columns, kind: Callable[[list[Any]], Any]) -> bytes:
    return parquet({name: kind(values) for name, values in c.items()})


SPELLINGS: dict[str, Callable[[Columns], str | bytes]] = {
    "semicolons": lambda c: csv_text(c, ";"),
    "tabs": lambda c: csv_text(c, "\t"),
    "bars": lambda c: csv_text(c, "|"),
    "gzipped": lambda c: gzip.compress(csv_text(c).encode()),
    "byte order mark and CRLF": lambda c: "\ufeff" + csv_text(c).replace("\n", "\r\n"),
    "quoted": lambda c: re.sub(r"[^,\n]+", lambda word: f'"{word[0]}"', csv_text(c)),
    "capitals and blanks": lambda c: csv_text({f" {k.title()} ": v for k, v in c.items()}),
    "no last newline": lambda c: csv_text(c).rstrip(),
    "other columns": lambda c: csv_text({"": [*range(N)], "x": ["é"] * N, "x ": ["1"] * N} | c),
    "kuairand": lambda c: csv_text(as_kuairand(c)),
    "kuairand with tab": lambda c: csv_text(as_kuairand(c, tab=[1] * N, date=[20220414] * N, is_click=[1] * N)),
    "seconds": lambda c: csv_text(in_seconds(c)),
    "ISO": lambda c: csv_text(iso(c)),
    "ISO without offset": lambda c: csv_text(iso(c, "")),
    "ISO elsewhere": lambda c: csv_text(iso(c, "+08:00", 28_800_000)),
    "true and false": lambda c: csv_text(c | {"like": [str(bool(x)) for x in c["like"]]}),
    "numbers with points": lambda c: csv_text({k: v if k in ("user", "video") else [f"{x}.0" for x in v]
                                               for k, v in c.items()}),
    "Parquet": lambda c: parquet(c),
    "Parquet of floats": lambda c: in_parquet(c, lambda v: np.array(v, float)),
    "Parquet of text": lambda c: in_parquet(c, lambda v: [*map(str, v)]),
    "Parquet of categories": lambda c: in_parquet(c, lambda v: pa.array(map(str, v)).dictionary_encode()),
    "Parquet, gzipped": lambda c: gzip.compress(parquet(c)),
    "Parquet timestamps": lambda c: parquet(c | {"time_ms": np.array(c["time_ms"], "M8[ms]").astype("M8[ns]")}),
    "Parquet timestamps elsewhere": lambda c: parquet(
        c | {"time_ms": pa.array(np.array(c["time_ms"], "M8[ms]"), pa.timestamp("us", "Asia/Shanghai"))}
    ),
    "Parquet ISO": lambda c: parquet(iso(c)),
    "Parquet bits": lambda c: parquet(c | {"like": [bool(x) for x in c["like"]]}),
}  # fmt: skip


def parquet(data: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(data), sink)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_log(tmp_path: Path, spelling: str) -> None:
    content = SPELLINGS[spelling](columns())
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_same(read(tmp_path / "b.csv", columns()), read_user_log(tmp_path / "a.csv"), but=("labels",))


def test_shuffled_rows_are_the_same_log(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(N)
    shuffled = {name: [values[k] for k in order] for name, values in columns().items()}
    assert_same(read(tmp_path / "a.csv", columns()), read(tmp_path / "b.csv", shuffled))


@pytest.mark.parametrize(
    "name",
    [lambda k: f"person-{k:04d}", lambda k: str(10**30 + k), lambda k: str(2**63 - 20 + k), lambda k: f"ключ,{k:02d}"],
)
def test_huge_and_text_ids_stay_apart(tmp_path: Path, name: Callable[[int], str]) -> None:
    as_text = changed(user=lambda old: [f'"{name(k)}"' for k in old], video=lambda old: [f'"{name(k)}"' for k in old])
    assert_same(read(tmp_path / "a.csv", columns()), read(tmp_path / "b.csv", as_text))


def test_rows_of_one_time_keep_the_file_s_order(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", changed(time_ms=[T0 + 10**6 * (k // 10) for k in range(N)]))
    assert log.play_ms.tolist() == columns()["play_ms"]


def test_times_from_any_origin(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", changed(time_ms=lambda old: [t - T0 for t in old]))
    assert (log.time_ms[0], log.time_ms[-1], found(log)) == (0, 61_000 * (N - 1), [])


def test_optional_columns_by_hand(tmp_path: Path) -> None:
    # Two users a session of the same name: two sessions. Requests 1 and 2 in each session, of tags the first counts.
    log = read(
        tmp_path / "log.csv",
        columns()
        | {
            "session": ["a" if k % 10 < 5 else "b" for k in range(N)],
            "page": [1 + k % 5 // 3 for k in range(N)],
            "tag": ['"7,39"' if k % 2 else "" for k in range(N)],
            "network": ["4G" if k < 10 else "WiFi" for k in range(N - 1)] + ["NA"],
            "stall_s": [0.25 * (k % 3) for k in range(N)],
            "comment_open_ms": [6_200 * (k % 2) for k in range(N)],
            "randomised": [k % 2 for k in range(N)],
        },
    )
    assert log.session is not None and log.session.tolist() == [k // 5 for k in range(N)]
    assert log.request is not None and log.request.tolist() == [2 * (k // 5) + k % 5 // 3 for k in range(N)]
    assert log.tag is not None and log.tag.tolist() == [-1, 0] * (N // 2)
    assert log.network is not None and log.networks == ("4G", "WiFi")
    assert log.network.tolist() == [0] * 10 + [1] * (N - 11) + [-1]
    assert log.stall_ms is not None and log.stall_ms[:4].tolist() == [0, 250, 500, 0]
    assert log.comment_open_ms is not None and log.comment_open_ms[:2].tolist() == [0, 6_200]
    assert log.randomised is not None and log.randomised[:2].tolist() == [False, True]
    assert found(log) == [("tag", N // 2, "warned")]
    assert log.absent == ["follow", "comment", "forward", "hate", "profile"]


# ---- KuaiRand


def kuairand(tab: list[int]) -> Columns:
    return as_kuairand(columns(), tab=tab, is_profile_enter=[k % 3 // 2 for k in range(N)])


def test_only_the_main_feed_is_used_and_videos_are_looked_up(tmp_path: Path) -> None:
    data = kuairand([k % 2 for k in range(N)])
    data["duration_ms"] = with_value(0, 1, 3, 17)(data["duration_ms"])  # videos 1, 3 and 1
    (tmp_path / "videos.csv").write_text('video_id,tag,video_duration\n3,"39,2",\n1,,8000\n5,39,1\n99,6,1\n')
    (tmp_path / "log.csv").write_text(csv_text(data))
    log = read_user_log(tmp_path / "log.csv", videos=tmp_path / "videos.csv")
    assert (len(log.user), log.rows_read, log.videos) == (N // 2 - 1, N, 8)
    assert found(log) == [
        ("tab", N // 2, "dropped"),
        ("duration_ms", 2, "kept"),  # video 1, twice
        ("tag", 10, "kept"),  # videos 3 and 5, five times each
        ("duration_ms", 1, "dropped"),  # video 3
        ("tag", 30, "warned"),
    ]
    assert [f.row for f in log.findings][:1] == [2]  # the header is line 1
    assert log.duration_ms[0] == 8_000
    assert log.tag is not None and sorted(log.tag.tolist()) == [-1] * 30 + [0] * 9
    assert list(log.feedback) == ["like", "profile"]
    beside = log
    for name in ("videos.parquet", "video_features_basic_pure.csv"):
        (tmp_path / name).write_bytes((tmp_path / "videos.csv").read_bytes())
        assert_same(read_user_log(tmp_path / "log.csv"), beside)
        (tmp_path / name).unlink()
    assert read_user_log(tmp_path / "log.csv").tag is None


def test_the_main_feed_of_kuairand_pure(tmp_path: Path) -> None:
    """The shipped rows under KuaiRand's column names, among rows that its log has besides: other tabs, no length."""
    with open_data("kuairand/log.parquet") as file:
        shipped = pq.read_table(file)
    other_tabs, no_length = 34_143, 1_852  # of the 155,291 rows from which the shipped ones were selected
    rng = np.random.default_rng(0)
    row = rng.permutation(np.r_[np.zeros(len(shipped)), np.full(other_tabs, 1), np.full(no_length, 2)])
    source = np.zeros(len(row), int)
    source[row == 0] = np.arange(len(shipped))  # in their order: rows of one time keep it
    column = {name: shipped[name].to_numpy()[source] for name in shipped.column_names}
    names = {"user": "user_id", "video_id": "video_id", "time_ms": "time_ms", "play_ms": "play_time_ms",
             "comment_open_ms": "comment_stay_time"}  # fmt: skip
    data = {new: column[old] for old, new in names.items()}
    data |= {"duration_ms": np.where(row == 2, 0, column["duration_ms"]), "tab": np.where(row == 1, 4, 1)}
    data |= {name: column["flags"] >> k & 1 for k, name in enumerate(LOG_FLAGS)}
    pq.write_table(pa.table(data), tmp_path / "log.parquet")
    start = time.process_time()
    log = read_user_log(tmp_path / "log.parquet")
    assert time.process_time() - start < 5  # CPU seconds; a tenth of it, unless rows go one by one
    dropped = [(f.column, f.rows) for f in log.findings if f.action == "dropped"]
    assert (log.rows_read, dropped) == (155_291, [("tab", other_tabs), ("duration_ms", no_length)])
    assert_same(log, shipped_log(), but=("tag",))  # tags are in another table
    # Counted from KuaiRand-Pure: P(play < 2 s) .238, mean 24.84 s, likes .01875.
    assert len(log.user) == 119_296
    assert (log.play_ms < 2_000).mean() == pytest.approx(0.2380, abs=5e-5)
    assert log.play_ms.mean() / 1e3 == pytest.approx(24.84, abs=0.005)
    assert log.feedback["like"].mean() == pytest.approx(0.01875, abs=5e-6)
    assert len(np.unique(log.user)) == log.users == log.user.max() + 1
    assert len(np.unique(log.video)) == log.videos == log.video.max() + 1
    assert (np.diff(log.user) >= 0).all()
    assert (np.diff(log.time_ms)[np.diff(log.user) == 0] >= 0).all()


# ---- round trip


@pytest.fixture(scope="module")
def simulated() -> UserLog:
    world, records, _ = run(scenario(), minutes=20.0)
    return simulated_log(whole_impressions(records), world)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_what_is_written_is_read(tmp_path: Path, simulated: UserLog, name: str) -> None:
    assert len(simulated.user) > 200
    assert simulated.absent == ["randomised", "comment_open_ms"]
    full = replace(
        simulated,
        comment_open_ms=simulated.play_ms // 2,
        randomised=simulated.play_ms % 2 == 0,
        tag=np.where(simulated.video % 7 == 0, -1, simulated.tag).astype(np.int16),
    )
    for log in (simulated, full):
        write_generic(tmp_path / name, log)
        again = read_user_log(tmp_path / name)
        assert_same(log, again, but=("tag", "network", "networks"))  # these are coded anew
        assert log.network is not None and again.network is not None
        assert [log.networks[k] for k in log.network] == [again.networks[k] for k in again.network]
        assert log.tag is not None and again.tag is not None
        assert (again.tag[log.tag < 0] == -1).all()
        np.testing.assert_array_equal(
            np.unique(log.tag, return_inverse=True)[1], np.unique(again.tag, return_inverse=True)[1]
        )
    assert os.listdir(tmp_path) == [name]


# ---- dropped and counted


DROPPED: dict[str, tuple[Columns, str]] = {
    "no user": (changed(user=with_value("", 3)), "user"),
    "no video": (changed(video=with_value("NA", 3)), "video"),
    "no time": (changed(time_ms=with_value("", 3)), "time_ms"),
    "NaN": (changed(play_ms=with_value("nan", 3)), "play_ms"),
    "inf": (changed(play_ms=with_value("inf", 3)), "play_ms"),
    "1e999": (changed(duration_ms=with_value("1e999", 3)), "duration_ms"),
    "text": (changed(duration_ms=with_value("long", 3)), "duration_ms"),
    "decimal comma": (changed(play_ms=with_value('"3,5"', 3)), "play_ms"),
    "null like": (changed(like=with_value("null", 3)), "like"),
    "like of 2": (changed(like=with_value(2, 3)), "like"),
    "like of -1": (changed(like=with_value(-1, 3)), "like"),
    "like of a half": (changed(like=with_value(0.5, 3)), "like"),
    "play below 0": (changed(play_ms=with_value(-1, 3)), "play_ms"),
    "play over a day": (changed(play_ms=with_value(86_400_001, 3)), "play_ms"),
    "play of 101 times": (changed(play_ms=with_value(101 * 16_000, 3)), "play_ms"),
    "duration 0": (changed(duration_ms=with_value(0, 3)), "duration_ms"),
    "duration below 0": (changed(duration_ms=with_value(-5, 3)), "duration_ms"),
    "duration over a day": (changed(duration_ms=with_value(86_400_001, 3)), "duration_ms"),
    "year 1999": (changed(time_ms=with_value(946_684_799_999, 3)), "time_ms"),
    "year 2100": (changed(time_ms=with_value(4_102_444_800_001, 3)), "time_ms"),
    "time below 0": (changed(time_ms=with_value(-1, 3)), "time_ms"),
    "stall below 0": (columns() | {"stall_ms": with_value(-1, 3)([0] * N)}, "stall_ms"),
}


@pytest.mark.parametrize("case", DROPPED)
def test_an_impossible_row_is_dropped_and_told(tmp_path: Path, case: str) -> None:
    data, column = DROPPED[case]
    log = read(tmp_path / "log.csv", data)
    assert found(log) == [(column, 1, "dropped")]
    assert [f.row for f in log.findings if f.action == "dropped"] == [5]  # the fourth row after the header
    without = {name: values[:3] + values[4:] for name, values in columns().items()}
    assert_same(log, read(tmp_path / "without.csv", without | {k: [0] * (N - 1) for k in data if k == "stall_ms"}))


def test_a_log_s_own_origin_has_its_own_absurd_times(tmp_path: Path) -> None:
    data = changed(time_ms=lambda old: [*(t - T0 for t in old[:-1]), 400_000_000_000])
    assert found(read(tmp_path / "log.csv", data)) == [("time_ms", 1, "dropped")]


def test_repeated_rows_are_dropped_however_many(tmp_path: Path) -> None:
    text = csv_text(columns())
    (tmp_path / "twice.csv").write_text(text + text.split("\n", 1)[1] + text.split("\n", 1)[1])
    log = read_user_log(tmp_path / "twice.csv")
    assert found(log) == [("", 2 * N, "dropped")]
    assert_same(log, read(tmp_path / "log.csv", columns()))


def test_of_rows_that_differ_in_values_only_the_first_stays(tmp_path: Path) -> None:
    data = {name: [*values, values[3]] for name, values in columns().items()}
    data["play_ms"][-1] += 1
    log = read(tmp_path / "log.csv", data)
    assert found(log) == [("", 1, "dropped")]
    assert_same(log, read(tmp_path / "once.csv", columns()))


def test_ragged_lines_are_dropped_and_later_lines_keep_their_numbers(tmp_path: Path) -> None:
    lines = csv_text(changed(play_ms=with_value(-1, 6))).splitlines()
    lines[3] += ",extra"
    lines[5] = "1,2"
    (tmp_path / "log.csv").write_text("\n".join(lines))
    log = read_user_log(tmp_path / "log.csv")
    assert found(log) == [("", 2, "dropped"), ("play_ms", 1, "dropped")]
    assert [f.row for f in log.findings if f.action == "dropped"] == [4, 8]
    assert log.rows_read == N


# ---- kept, with a warning


WARNED: dict[str, tuple[Columns, str, str]] = {
    "capped": (changed(play_ms=lambda old: np.minimum(old, columns()["duration_ms"]).tolist()), "play_ms", "capped"),
    "one row per user": (changed(user=[*range(N)]), "user", "one row per user"),
    "one video": (changed(video=[7] * N), "video", "one video"),
    "one length": (changed(duration_ms=[30_000] * N), "duration_ms", "the same in every row"),
    "no like": (changed(like=[0] * N), "like", "0 in every row"),
    "mostly liked": (changed(like=[int(k % 9 > 0) for k in range(N)]), "like", "is it feedback"),
    "minutes": (changed(time_ms=[60_000 * (T0 // 60_000 + k) for k in range(N)]), "time_ms", "whole minutes"),
    "too fast": (changed(time_ms=[T0 + 10 * k for k in range(N)]), "time_ms", "are played in"),
    "misspelt": ({("likes" if k == "like" else k): v for k, v in columns().items()}, "likes", "did you mean like?"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_log_that_tells_less_is_kept_with_a_warning(tmp_path: Path, case: str) -> None:
    data, column, problem = WARNED[case]
    log = read(tmp_path / "log.csv", data)
    assert [f.column for f in log.findings if problem in f.problem] == [column]
    assert {f.action for f in log.findings} == {"warned"}
    assert len(log.user) == N


def test_few_users_and_rows_are_told_and_many_are_not(tmp_path: Path) -> None:
    small = read(tmp_path / "small.csv", columns())
    assert ["8 users" in f.problem or "1,000" in f.problem for f in small.findings] == [True, True]
    many = {name: values * 13 for name, values in columns().items()}
    many["user"] = [k // 10 for k in range(13 * N)]
    assert read(tmp_path / "many.csv", many).findings == ()


def test_the_report_says_all_of_it(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", changed(play_ms=with_value(-1, 3)))
    console = Console(width=150, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(log.report())
    text = console.export_text()
    assert "log.csv: 79 of 80 rows used, 8 users, 16 videos" in text
    assert "is below 0" in text
    assert "Not in the log: follow" in text
    console.file.close()


# ---- refused


def without(*names: str) -> Columns:
    return {name: values for name, values in columns().items() if name not in names}


def renamed(**names: str) -> Columns:
    return {names.get(name, name): values for name, values in columns().items()}


PARQUET = parquet(columns())
REFUSED: dict[str, tuple[bytes | Columns, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b"\xef\xbb\xbf\r\n \n", "is empty"),
    "header only": (csv_text({name: [] for name in columns()}).encode(), "no row of data"),
    "empty Parquet": (parquet({name: pa.array([], pa.int64()) for name in columns()}), "no row of data"),
    "no header": (csv_text(columns()).split("\n", 1)[1].encode(), "no column user"),
    "garbage": (bytes(range(256)) * 40, "is binary"),
    "garbage text": (b"\xfe\xed\xfa\xce" * 100, "not UTF-8"),
    "latin-1 ids": (csv_text(changed(user=with_value("Zoë", 3))).encode("latin-1"), "UTF-8"),
    "latin-1 ragged": (csv_text(columns()).replace("\n", ",Zoë\n", 9).encode("latin-1"), "not UTF-8 text here"),
    "UTF-16": (csv_text(columns()).encode("utf-16"), "is binary"),
    "zip": (b"PK\x03\x04" + bytes(200), "is binary"),
    "truncated gzip": (gzip.compress(csv_text(columns()).encode())[:-20], "cannot be unpacked"),
    "truncated Parquet": (PARQUET[:-40], "not a readable Parquet"),
    "Parquet head": (PARQUET[:6], "not a readable Parquet"),
    "damaged Parquet": (PARQUET[:-300] + b"\xff" * 200 + PARQUET[-100:], "not a readable Parquet"),
    "JSON": (b'{"user": 1, "video": 2}', "no column user"),
    "no play time": (without("play_ms"), "no column play_ms or play_s"),
    "play misspelt": (renamed(play_ms="playms"), r"did you mean playms\?"),
    "no time": (without("time_ms"), "no column time or time_ms or time_s"),
    "two times": (columns() | {"time_s": columns()["time_ms"]}, "columns time_ms and time_s, the same thing"),
    "two users": (csv_text(columns()).replace("like", "user", 1).encode(), "2 columns named user"),
    "durations in seconds": (changed(duration_ms=times(1e-3)), "duration_ms: the median is .* likely seconds"),
    "all in seconds": (changed(duration_ms=times(1e-3), play_ms=times(1e-3)), "duration_ms: .* likely seconds"),
    "durations finer": (changed(duration_ms=times(1e3)), "duration_ms: .* likely milliseconds"),
    "play in seconds": (changed(play_ms=times(1e-3)), "play_ms: 99% are below"),
    "play as a share": (changed(play_ms=[(k % 11) / 10 for k in range(N)]), "play_ms: 99% are below"),
    "play finer": (changed(play_ms=times(1e3)), "play_ms: the median is .* units differ"),
    "play never": (changed(play_ms=[0] * N), "play_ms: no play time is above 0"),
    "play constant": (changed(play_ms=[5_000] * N), "play_ms: is the same in every row"),
    "play is the duration": (changed(play_ms=columns()["duration_ms"]), "play_ms: is the duration"),
    "time in s": (changed(time_ms=times(1e-3)), "time_ms: .* seconds"),
    "time in us": (changed(time_ms=times(1e3)), "time_ms: .* microseconds"),
    "time in ns": (changed(time_ms=times(10**6)), "time_ms: .* nanoseconds"),
    "ms as time_s": (renamed(time_ms="time_s"), "time_s: .* given as"),
    "time constant": (changed(time_ms=[T0] * N), "time_ms: is the same in every row"),
    "time of no unit": (renamed(time_ms="time"), "column time holds plain numbers"),
    "time of words": (renamed(time_ms="time") | {"time": ["noon"] * N}, "time is missing .* ISO 8601"),
    "time 1980": (changed(time_ms=[320_000_000_000 + k for k in range(N)]), "time_ms is below 0, or 10 years"),
    "no durations": (changed(duration_ms=[0] * N), "no duration is above 0"),
    "text for numbers": (changed(play_ms=with_value("n.a.", *range(20))), "play_ms is missing .* in 20 of 80 rows"),
    "dates for play": (changed(play_ms=["2022-04-25"] * N), "play_ms is missing"),
    "users missing": (changed(user=with_value("", *range(20))), "user is missing in 20 of 80 rows"),
    "likes of counts": (changed(like=[k % 4 for k in range(N)]), "like is neither 0 nor 1 in 40 of 80 rows"),
    "likes missing": (changed(like=with_value("", *range(40, 80))), "like is missing .* 0 where it did not happen"),
    "likes always": (changed(like=[1] * N), "like: is 1 in every row"),
    "negative plays": (changed(play_ms=with_value(-1, *range(12))), "play_ms is below 0 in 12 of 80 rows"),
    "ragged": ((csv_text(columns()) + "1,2\n" * 20).encode(), "another number of fields .* in 20 of 100 rows"),
    "one user": (changed(user=["me"] * N), "user: is one user"),
    "one row": ({name: values[1:2] for name, values in columns().items()}, "user: is one user"),
    "rows of events": (
        {name: values * 2 for name, values in columns().items()} | {"like": [0] * N + [1] * N},
        "row has the user, video and time of another",
    ),
    "too many tags": (
        {name: values * 500 for name, values in columns().items()}
        | {"time_ms": [T0 + 61 * k for k in range(500 * N)], "tag": [*range(500 * N)]},
        "tag: has 40,000 different values",
    ),
    "no main feed": (kuairand([0] * N), "no row of tab 1"),
    "nested Parquet": (parquet(changed(play_ms=[[1]] * N)), "column play_ms is of type list"),
    "ids of fractions": (parquet(changed(user=[k + 0.5 for k in range(N)])), "column user is no id"),
    "huge ids as floats": (parquet(changed(user=[1e30] * N)), "column user is no id"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_mislead_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    (tmp_path / "log.csv").write_bytes(content if isinstance(content, bytes) else csv_text(content).encode())
    with pytest.raises(UserLogError, match=rf"log.csv(:\d+)?: .*{message}") as error:
        read_user_log(tmp_path / "log.csv")
    assert "\n" not in str(error.value)
    assert "; " in str(error.value)  # what to do
    assert len(str(error.value)) < 800


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is not a file"),
        (tmp_path / "pipe", "is not a file"),
        (tmp_path / "missing.csv", "No such file"),
        (tmp_path / "log\0.csv", "cannot be opened"),
        (tmp_path / ("x" * 300), "cannot be opened"),
    ):
        with pytest.raises(UserLogError, match=message):
            read_user_log(path)


def test_the_first_bad_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserLogError, match=r"log.csv:7: play_ms is below 0 in 20 of 80 rows"):
        read(tmp_path / "log.csv", changed(play_ms=with_value(-1, *range(5, 25))))


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    read(path, columns())
    with pytest.raises(UserLogError, match="format='tsv' must be kuairand or generic"):
        read_user_log(path, format="tsv")  # type: ignore[arg-type]
    with pytest.raises(UserLogError, match="has no column user_id"):
        read_user_log(path, format="kuairand")
    with pytest.raises(UserLogError, match=r"is generic, and .* is for KuaiRand's"):
        read_user_log(path, videos=tmp_path / "videos.csv")
    path.write_text(csv_text(kuairand([1] * N)))
    with pytest.raises(UserLogError, match=r"videos.csv: cannot be opened"):
        read_user_log(path, videos=tmp_path / "videos.csv")
    (tmp_path / "videos.csv").write_text("video_id,tags\n1,2\n")
    with pytest.raises(UserLogError, match=r"has no column tag; did you mean tags\?"):
        read_user_log(path, videos=tmp_path / "videos.csv")


def test_the_example_in_the_documentation_is_a_log(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "docs" / "example_log.csv"
    log = read_user_log(example)
    assert len(log.user) == log.rows_read == 200
    assert list(log.feedback) == list(FEEDBACK)
    assert {f.action for f in log.findings} == {"warned"}
