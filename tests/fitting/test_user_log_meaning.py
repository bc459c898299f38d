"""A user's own log is understood or refused, never misread: units, clocks, rows that are events, ids, other formats."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from logs_by_hand import T0, Columns, N, as_kuairand, assert_same, changed, columns, csv_text, found, parquet, read

from nextone.experiments.fitting.logs.checks import Finding
from nextone.experiments.fitting.logs.user_log import UserLog, UserLogError, read_user_log
from nextone.experiments.fitting.people.missing import NO_HOURS, what_is_needed
from nextone.experiments.fitting.people.play_distances import Distances


def refused(path: Path, data: Columns | str, **options: Any) -> str:
    """The one line with which a log is refused."""
    path.write_text(data if isinstance(data, str) else csv_text(data))
    with pytest.raises(UserLogError) as error:
        read_user_log(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def renamed(data: Columns, **names: str) -> Columns:
    return {names.get(name, name): values for name, values in data.items()}


def problems(log: UserLog) -> list[Finding]:
    return [f for f in log.findings if "fewer than" not in f.problem and "only 8" not in f.problem]


# ---- units of play times


PARTS = [1 + 37 * k % 140 for k in range(N)]  # of the duration, in percent, at every length alike


@pytest.mark.parametrize("name", ["play_s", "play_ms"])
@pytest.mark.parametrize(("unit", "divide"), [("percent", 1), ("share", 100)])
def test_a_part_of_the_duration_is_no_time(tmp_path: Path, name: str, unit: str, divide: int) -> None:
    """It does not grow with the duration, whatever it is called. Said to be what it is, it is read."""
    data = renamed(changed(play_ms=[part / divide for part in PARTS]), play_ms=name)
    message = refused(tmp_path / "log.csv", data)
    assert f"log.csv: {name}: " in message and f"--columns play={name}:{unit}" in message
    log = read_user_log(tmp_path / "log.csv", columns=f"{name}={name}:{unit}")
    expected = np.array(PARTS) / 100 * np.array(columns()["duration_ms"])
    np.testing.assert_allclose(log.play_ms, expected, atol=0.51)
    assert_same(log, read(tmp_path / "headed.csv", renamed(data, **{name: f"play_{unit}"})))


def test_a_capped_percentage_is_told_by_those_that_end_at_100(tmp_path: Path) -> None:
    """Of long videos, too, where as seconds nobody would loop."""
    data = changed(duration_ms=lambda old: [10 * d for d in old], play_ms=[min(part, 100) for part in PARTS])
    assert "reads as percent" in refused(tmp_path / "log.csv", renamed(data, play_ms="play_s"))


def test_the_wrong_part_is_refused_with_the_right_one(tmp_path: Path) -> None:
    assert ":percent" in refused(tmp_path / "log.csv", changed(play_ms=PARTS), columns="play=play_ms:share")
    shares = changed(play_ms=[part / 100 for part in PARTS])
    assert ":share" in refused(tmp_path / "log.csv", shares, columns="play=play_ms:percent")


@pytest.mark.parametrize(("unit", "ms"), [("s", 1e3), ("min", 6e4), ("us", 1e-3)])
def test_the_unit_that_fits_is_named_and_can_be_said(tmp_path: Path, unit: str, ms: float) -> None:
    data = changed(play_ms=lambda old: [x / ms for x in old])
    assert f":{unit}" in refused(tmp_path / "log.csv", data)
    log = read_user_log(tmp_path / "log.csv", columns=f"play_ms=play_ms:{unit}")
    assert_same(log, read(tmp_path / "ms.csv", columns()))


def test_a_play_time_that_falls_with_the_duration_is_told(tmp_path: Path) -> None:
    durations = columns()["duration_ms"]
    data = changed(play_ms=lambda old: [200_000_000 // d + x // 9 for x, d in zip(old, durations, strict=True)])
    assert "falls with the duration" in problems(read(tmp_path / "log.csv", data))[0].problem


def test_whole_seconds_make_short_plays_0(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", changed(play_ms=lambda old: [x // 1_000 * 1_000 for x in old]))
    assert [(f.column, f.problem) for f in problems(log)] == [
        ("play_ms", f"holds whole seconds: {int((log.play_ms == 0).sum())} rows are 0, which reads as never started")
    ]


# ---- times


def moment(k: int) -> datetime:
    return datetime.fromtimestamp((T0 + 61_000 * k) / 1e3, UTC)


def timed(name: str, value: Callable[[int], object]) -> Columns:
    return renamed(changed(time_ms=[value(k) for k in range(N)]), time_ms=name)


DATES: dict[str, tuple[Columns, str]] = {
    "whole number": (timed("time_s", lambda k: 20220401 + k % 28), "looks like a date without a time of day, 20220401"),
    "under ms": (timed("time_ms", lambda k: 20220401 + k % 28), "looks like a date without a time of day"),
    "without a unit": (timed("time", lambda k: 20220401 + k % 28), "looks like a date without a time of day"),
    "with seconds": (timed("time_ms", lambda k: f"{moment(k):%Y%m%d%H%M%S}"), "a date and time in one number"),
    "day first": (timed("time_ms", lambda k: f"{moment(k):%d/%m/%Y %H:%M}"), "no time, such as '15/04/2022 05:20'"),
    "ISO dates": (timed("time", lambda k: f"2022-04-{1 + k % 28:02d}"), "dates without a time of day"),
    "whole days": (timed("time_ms", lambda k: 86_400_000 * (T0 // 86_400_000 + k % 9)), "holds whole days"),
    "Excel": (timed("time", lambda k: 44_666.222 + 61 * k / 86_400), "days as spreadsheets count them"),
    "Excel under s": (timed("time_s", lambda k: 44_666.222 + 61 * k / 86_400), "days, as spreadsheets count them"),
    "rounded": (timed("time_ms", lambda _: "1.6500E+12"), "is rounded in 80 of 80 rows, such as 1.6500E\\+12"),
    "ms of no unit": (timed("time", lambda k: T0 + 61_000 * k), "fit unix ms: name it time_ms"),
    "own origin": (timed("time_ms", lambda k: 61 * k), "people play .* times as long as passes .* reads as seconds"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATES)
def test_what_is_no_time_is_refused_by_name(tmp_path: Path, case: str) -> None:
    data, message = DATES[case]
    with pytest.raises(UserLogError, match=message):
        read(tmp_path / "log.csv", data)


def test_32_bits_are_too_coarse_for_a_time(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(parquet(changed(time_ms=np.array(columns()["time_ms"], np.float32))))
    with pytest.raises(UserLogError, match="time_ms is float, too coarse"):
        read_user_log(tmp_path / "log.parquet")


def test_whole_hours_are_told(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", timed("time_ms", lambda k: 3_600_000 * (T0 // 3_600_000 + k)))
    assert ["whole hours" in f.problem for f in problems(log)] == [True]


INDIA = timezone(timedelta(hours=5.5))
CLOCKS: dict[str, tuple[Columns, float, str]] = {
    "told by nothing": (columns(), 8.0, "ASSUMED"),
    "an offset in the text": (timed("time", lambda k: moment(k).astimezone(INDIA).isoformat()), 5.5, "offset in time"),
    "ISO under another name": (timed("time_ms", lambda k: moment(k).astimezone(INDIA).isoformat()), 5.5, "the offset"),
    "UTC tells nothing": (timed("time", lambda k: moment(k).isoformat()), 8.0, "ASSUMED"),
    "slashes": (timed("time", lambda k: f"{moment(k):%Y/%m/%d %H:%M:%S}"), 8.0, "ASSUMED"),
    "a clock beside the time": (
        columns() | {"time": [f"{moment(k).astimezone(INDIA):%Y-%m-%d %H:%M:%S}" for k in range(N)]}, 5.5, "ahead of",
    ),
    "KuaiRand": (as_kuairand(columns()), 8.0, "China's: KuaiRand"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOCKS)
def test_what_tells_the_hour_is_said(tmp_path: Path, case: str) -> None:
    """T0 is 05:20 in UTC."""
    data, ahead, why = CLOCKS[case]
    log = read(tmp_path / "log.csv", data)
    assert (log.utc_offset_h, log.time_ms[0]) == (ahead, T0)
    assert log.hour[0] == pytest.approx((5 + 1 / 3 + ahead) % 24)
    assert why in log.clock and log.read_as is not None and why in log.read_as.clock
    given = read_user_log(tmp_path / "log.csv", utc_offset_h=-3.0)
    assert given.utc_offset_h == -3 and "--utc-offset" in given.clock


def test_a_zone_of_parquet_tells_the_hour(tmp_path: Path) -> None:
    there = pa.array(np.array(columns()["time_ms"], "M8[ms]"), pa.timestamp("us", "America/Sao_Paulo"))
    (tmp_path / "log.parquet").write_bytes(parquet(changed(time_ms=there)))
    log = read_user_log(tmp_path / "log.parquet")
    assert (log.utc_offset_h, log.time_ms[0]) == (-3.0, T0) and "Sao_Paulo" in log.clock


def test_an_own_origin_tells_no_hour(tmp_path: Path) -> None:
    """No rows by hour are made, and that is said."""
    own = read(tmp_path / "own.csv", changed(time_ms=lambda old: [t - T0 for t in old]))
    unix = read(tmp_path / "unix.csv", columns())
    name = "segments by length and hour that fit"
    assert not own.has_hours and unix.has_hours
    assert "nothing tells the hour" in own.clock and own.as_json()["utc_offset_h"] is None
    assert what_is_needed(name, own) == NO_HOURS != what_is_needed(name, unix)
    assert np.isnan(Distances(own, own, 8.0).simulated()[name])


# ---- rows that are something else


def split(rows: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Columns:
    """Each impression as several rows."""
    base = columns()
    each = [row for k in range(N) for row in rows({name: values[k] for name, values in base.items()})]
    return {name: [row[name] for row in each] for name in each[0]}


def heartbeats(row: dict[str, Any], so_far: bool) -> list[dict[str, Any]]:
    """A row every five seconds of play."""
    ends = [*range(5_000, row["play_ms"], 5_000), row["play_ms"]]
    starts = [0, *ends[:-1]]
    return [row | {"time_ms": row["time_ms"] + s, "play_ms": e if so_far else e - s}
            for s, e in zip(starts, ends, strict=True)]  # fmt: skip


def liked_apart(row: dict[str, Any], after_ms: int = 800, **of_like: int) -> list[dict[str, Any]]:
    """A like as a row of its own."""
    like = row | {"time_ms": row["time_ms"] + after_ms} | of_like
    return [row | {"like": 0}, like] if row["like"] else [row]


EVENTS: dict[str, tuple[Columns, str]] = {
    "play so far": (split(lambda row: heartbeats(row, True)), "heartbeats with the play so far.* keep the last row"),
    "play since the last": (split(lambda row: heartbeats(row, False)), "heartbeats with the play since.* add them up"),
    "starts and stops": (
        split(lambda row: [row | {"play_ms": 0}, row | {"time_ms": row["time_ms"] + row["play_ms"]}]),
        "starts and stops",
    ),
    "likes": (split(lambda row: liked_apart(row, play_ms=0)), "9 of 89 rows follow .* feedback as a row of its own"),
    "likes with the play": (split(liked_apart), "9 of 89 rows follow .* feedback as a row of its own"),
    "likes at once": (split(lambda row: liked_apart(row, 0, play_ms=0)), "9 rows have .* feedback as a row of its own"),
    "likes elsewhere": (
        changed(play_ms=lambda old: [0 if like else x for like, x in zip(columns()["like"], old, strict=True)]),
        "like is 1 in 9 rows, and in 9 of them nothing was played",
    ),
    "a column of kinds": (columns() | {"action": ["video_start", "video_end"] * (N // 2)}, "video_end, video_start"),
}  # fmt: skip


@pytest.mark.parametrize("case", EVENTS)
def test_events_are_no_impressions(tmp_path: Path, case: str) -> None:
    data, message = EVENTS[case]
    with pytest.raises(UserLogError, match=message):
        read(tmp_path / "log.csv", data)


def test_a_column_of_one_kind_of_event_is_read(tmp_path: Path) -> None:
    assert found(read(tmp_path / "log.csv", columns() | {"event": ["impression"] * N})) == []


LIKES = columns()["like"]
FEEDBACK: dict[str, tuple[Callable[[int, int], object], list[str]]] = {
    "yes and no": (lambda k, like: "Yes" if like else "no", []),
    "its time": (lambda k, like: T0 + k if like else 0, ["holds the time"]),
    "its time in s": (lambda k, like: (T0 + k) // 1_000 if like else "", ["holds the time", "absent"]),
    "its time as text": (lambda k, like: "2022-04-15 05:20:00" if like else "", ["holds the time", "absent"]),
    "counts": (lambda k, like: like * (1 + k % 2), ["is a count"]),
    "itself": (lambda k, like: "like" if like else "", ["is 'like'", "absent"]),
    "only where it happened": (lambda k, like: 1 if like else "", ["absent"]),
    "liked or none": (lambda k, like: "liked" if like else "none", ["is 'liked'"]),
}


@pytest.mark.parametrize("case", FEEDBACK)
def test_feedback_happened_however_it_is_written(tmp_path: Path, case: str) -> None:
    value, told = FEEDBACK[case]
    log = read(tmp_path / "log.csv", changed(like=[value(k, like) for k, like in enumerate(LIKES)]))
    assert log.feedback["like"].astype(int).tolist() == LIKES
    assert {f.action for f in problems(log)} <= {"kept"}
    assert all(part in f.problem for part, f in zip(told, problems(log), strict=True))


def test_minus_one_has_two_readings(tmp_path: Path) -> None:
    data = changed(like=[k % 3 - 1 for k in range(N)])
    assert "is -1 in 27 rows: unknown, or the opposite" in refused(tmp_path / "log.csv", data)


# ---- ids and tags


def test_rounded_ids_are_refused(tmp_path: Path) -> None:
    for data in (
        changed(video=lambda old: [f"7.1000{v % 10}E+18" for v in old]),
        changed(video=lambda old: [7_123_456_789_012_340_000 + 10_000 * v for v in old]),  # 15 digits are left
        changed(user=lambda old: [7_123_456_789_012_345_000 + 1_000 * u for u in old]),
        changed(video=lambda old: [7_100_000_000_000_000_000 + v // 5 * 10**13 for v in old]),  # 16 videos became 4
    ):
        assert "is rounded in 80 of 80 rows" in refused(tmp_path / "log.csv", data)
    floats = changed(video=[7.1e18 + 2_000.0 * k for k in range(N)])
    (tmp_path / "log.parquet").write_bytes(parquet(floats))
    with pytest.raises(UserLogError, match=r"video has ids up to .* as double, in which"):
        read_user_log(tmp_path / "log.parquet")


@pytest.mark.parametrize("spelling", ["{}.0", "0{}", "+{}", " {} "])
def test_one_number_is_one_id(tmp_path: Path, spelling: str) -> None:
    data = changed(user=lambda old: [spelling.format(u) if k % 2 else u for k, u in enumerate(old)])
    log = read(tmp_path / "log.csv", data)
    assert_same(log, read(tmp_path / "plain.csv", columns()))
    if spelling.strip() != "{}":
        assert [(f.column, f.rows, f.action) for f in problems(log)] == [("user", N // 2, "kept")]
        assert "has 8 numbers in two spellings" in problems(log)[0].problem


PEOPLE: dict[str, tuple[Callable[[int, int], object], str, int]] = {
    "capitals": (lambda k, u: f"U{u}" if k % 2 else f"u{u}", "16 names that differ by capitals only", N),
    "nobody": (lambda k, u: "unknown" if k % 10 == 0 else u, "'unknown' reads as nobody's id", 8),
    "guests": (lambda k, u: 99 if k % 3 == 0 else u, "99 has 34% of all rows", 27),
    "guests called -1": (lambda k, u: -1 if k % 3 == 0 else u, "'-1' reads as nobody's id", 27),
    "guests called 0": (lambda k, u: 0 if k % 3 == 0 else 10 + u, "'0' reads as nobody's id", 27),
}


@pytest.mark.parametrize("case", PEOPLE)
def test_ids_that_may_be_no_person_s_are_told(tmp_path: Path, case: str) -> None:
    user, message, rows = PEOPLE[case]
    log = read(tmp_path / "log.csv", changed(user=lambda old: [user(k, u) for k, u in enumerate(old)]))
    told = [f for f in problems(log) if message in f.problem]
    assert [(f.column, f.rows, f.action) for f in told] == [("user", rows, "warned")]


@pytest.mark.parametrize("column", ["video", "tag"])
def test_capitals_are_told_of_videos_and_tags_too(tmp_path: Path, column: str) -> None:
    data = columns() | {column: [f"{'A' if k % 2 else 'a'}{k % 16 // 2}" for k in range(N)]}
    told = [f for f in problems(read(tmp_path / "log.csv", data)) if "by capitals only" in f.problem]
    assert [(f.column, f.rows, f.action) for f in told] == [(column, N, "warned")]


@pytest.mark.parametrize("tag", ["[{0}, 9]", "[{0}]", "{0}|9", "{0};9", "['{0}', 'x']", "{{{0},9}}", "{0}.0"])
def test_of_a_list_of_tags_the_first_counts(tmp_path: Path, tag: str) -> None:
    data = columns() | {"tag": ['"' + tag.format(k % 5) + '"' for k in range(N)]}
    log = read(tmp_path / "log.csv", data)
    assert log.tag is not None and log.tag.tolist() == [k % 5 for k in range(N)]
    (tmp_path / "log.parquet").write_bytes(parquet(columns() | {"tag": [[k % 5, 9] for k in range(N)]}))
    assert_same(log, read_user_log(tmp_path / "log.parquet"))


# ---- videos


def test_a_video_has_one_length(tmp_path: Path) -> None:
    one = read(tmp_path / "log.csv", changed(duration_ms=lambda old: [*old[:-1], old[-1] + 5_000]))
    assert [(f.column, f.rows, f.action) for f in problems(one)] == [("duration_ms", 5, "warned")]
    many = changed(duration_ms=lambda old: [d + 1_500 * (k % 4) for k, d in enumerate(old)][::1])
    many["video"] = [k % 15 for k in range(N)]
    assert "differs between rows of 15 of 15 videos" in refused(tmp_path / "log.csv", many)
    mixed = changed(duration_ms=lambda old: [d / 1_000 if k % 7 == 0 else d for k, d in enumerate(old)])
    assert "1000 times: two units in one column" in refused(tmp_path / "log.csv", mixed)


def test_durations_may_come_from_the_table_of_videos_alone(tmp_path: Path) -> None:
    lacking = {name: values for name, values in columns().items() if name != "duration_ms"}
    assert "no column duration_ms or duration_s; " in refused(tmp_path / "log.csv", lacking)
    assert "--videos FILE" in refused(tmp_path / "log.csv", lacking)
    (tmp_path / "videos.csv").write_text("video,duration_s\n" + "".join(f"{v},{4 + 4 * v}\n" for v in range(16)))
    log = read_user_log(tmp_path / "log.csv", videos=tmp_path / "videos.csv")
    assert_same(log, read(tmp_path / "whole.csv", columns()))
    unknown = read(tmp_path / "log.csv", changed(duration_ms=lambda old: [0, *old[1:]]))
    assert "--videos FILE" in problems(unknown)[0].problem
    assert "--videos" not in problems(read_user_log(tmp_path / "log.csv", videos=tmp_path / "videos.csv"))[0].problem
