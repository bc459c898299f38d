"""A user's own log: what is dropped is counted, what tells less is warned of, and what would mislead is refused."""

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from logs_by_hand import (
    T0,
    Columns,
    N,
    assert_same,
    changed,
    columns,
    csv_text,
    found,
    kuairand,
    parquet,
    read,
    times,
    with_value,
)
from rich.console import Console

from nextone.experiments.fitting.logs.user_log import UserLogError, read_user_log

# ---- dropped and counted


DROPPED: dict[str, tuple[Columns, str]] = {
    "no user": (changed(user=with_value("", 3)), "user"),
    "no video": (changed(video=with_value("NA", 3)), "video"),
    "no time": (changed(time_ms=with_value("", 3)), "time_ms"),
    "NaN": (changed(play_ms=with_value("nan", 3)), "play_ms"),
    "inf": (changed(play_ms=with_value("inf", 3)), "play_ms"),
    "1e999": (changed(duration_ms=with_value("1e999", 3)), "duration_ms"),
    "text": (changed(duration_ms=with_value("long", 3)), "duration_ms"),
    "null like": (changed(like=with_value("null", 3)), "like"),
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
    "no header": (csv_text(columns()).split("\n", 1)[1].encode(), "no column user, .*line 1 looks like data.* user=1"),
    "garbage": (bytes(range(256)) * 40, "is binary"),
    "garbage text": (b"\xfe\xed\xfa\xce" * 100, "not UTF-8"),
    "latin-1 ids": (csv_text(changed(user=with_value("Zoë", 3))).encode("latin-1"), "UTF-8"),
    "latin-1 ragged": (csv_text(columns()).replace("\n", ",Zoë\n", 9).encode("latin-1"), "not UTF-8 text here"),
    "UTF-16 without a mark": (csv_text(columns()).encode("utf-16-le"), "is binary"),
    "damaged zip": (b"PK\x03\x04" + bytes(200), "cannot be unpacked"),
    "truncated gzip": (gzip.compress(csv_text(columns()).encode())[:-20], "cannot be unpacked"),
    "truncated Parquet": (PARQUET[:-40], "not a readable Parquet"),
    "Parquet head": (PARQUET[:6], "not a readable Parquet"),
    "damaged Parquet": (PARQUET[:-300] + b"\xff" * 200 + PARQUET[-100:], "not a readable Parquet"),
    "JSON": (b'{"user": 1, "video": 2}', "no column user.* reads as JSON; write it as CSV"),
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
    "time of words": (renamed(time_ms="time") | {"time": ["noon"] * N}, "time is missing .*'noon'.* ISO 8601"),
    "time 1980": (changed(time_ms=[320_000_000_000 + k for k in range(N)]), "time_ms is below 0, or 10 years"),
    "no durations": (changed(duration_ms=[0] * N), "no duration is above 0"),
    "text for numbers": (changed(play_ms=with_value("n.a.", *range(20))), "play_ms is missing .* in 20 of 80 rows"),
    "dates for play": (changed(play_ms=["2022-04-25"] * N), "play_ms is missing .* such as '2022-04-25',"),
    "users missing": (changed(user=with_value("", *range(20))), "user is missing in 20 of 80 rows"),
    "likes of shares": (changed(like=[k / 100 for k in range(N)]), "like is neither 0 nor 1 in 79 of 80 rows"),
    "likes missing": (changed(like=with_value("", *range(40, 80))), "like is missing .* 0 where it did not happen"),
    "likes always": (changed(like=[1] * N), "like: is 1 in every row"),
    "negative plays": (changed(play_ms=with_value(-1, *range(12))), "play_ms is below 0 in 12 of 80 rows"),
    "ragged": ((csv_text(columns()) + "1,2\n" * 20).encode(), "another number of fields .* in 20 of 100 rows"),
    "one user": (changed(user=["me"] * N), "user: is one user"),
    "one row": ({name: values[1:2] for name, values in columns().items()}, "user: is one user"),
    "rows of events": (
        {name: values * 2 for name, values in columns().items()} | {"like": [0] * N + [1] * N},
        "80 rows have the user, video and time of another, and feedback that it has not",
    ),
    "too many tags": (
        {name: values * 500 for name, values in columns().items()}
        | {"user": [k // 10 for k in range(500 * N)], "tag": [*range(500 * N)]},
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
        (tmp_path, "is a folder without a log in it"),
        (tmp_path / "pipe", "is not a regular file"),
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
    with pytest.raises(UserLogError, match="format='tsv' must be kuairand, kuairec, kuaisar or generic"):
        read_user_log(path, format="tsv")  # type: ignore[arg-type]
    with pytest.raises(UserLogError, match="has no column user_id"):
        read_user_log(path, format="kuairand")
    with pytest.raises(UserLogError, match=r"utc-offset=15 must be >= -12 and <= 14"):
        read_user_log(path, utc_offset_h=15.0)
    path.write_text(csv_text(kuairand([1] * N)))
    with pytest.raises(UserLogError, match=r"videos.csv: cannot be opened"):
        read_user_log(path, videos=tmp_path / "videos.csv")
    (tmp_path / "videos.csv").write_text("video_id,tags\n1,2\n")
    with pytest.raises(UserLogError, match=r"has no column tag, author_id or video_duration; did you mean tags\?"):
        read_user_log(path, videos=tmp_path / "videos.csv")
    (tmp_path / "videos.csv").write_text("tag\n2\n")
    with pytest.raises(UserLogError, match="has no column video_id"):
        read_user_log(path, videos=tmp_path / "videos.csv")
    (tmp_path / "videos.csv").write_text("video_id,tag\nnone,2\n")
    with pytest.raises(UserLogError, match=r"videos.csv: knows no video of the log; give the table that belongs to it"):
        read_user_log(path, videos=tmp_path / "videos.csv")
