"""Logs of other formats, of several files and packed: read as the same log, or refused with what to do."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs_by_hand import T0, Columns, N, as_kuairand, assert_same, changed, columns, csv_text, read

from nextone.cli import main as cli
from nextone.experiments.fitting.logs.user_log import UserLog, UserLogError, read_user_log


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> UserLog:
    return read(tmp_path_factory.mktemp("plain") / "log.csv", columns())


def refused(path: Path, text: str, **options: Any) -> str:
    path.write_text(text)
    with pytest.raises(UserLogError) as error:
        read_user_log(path, **options)
    return str(error.value)


def without_feedback() -> Columns:
    return {name: values for name, values in columns().items() if name != "like"}


def kuairec(*names: str) -> Columns:
    """KuaiRec's columns, those that are named; the clock is China's."""
    c = columns()
    stamp = [t / 1e3 for t in c["time_ms"]]
    clock = ["2022-04-15 13:20:00" if t == T0 else f"2022-04-15 {13 + s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}"
             for t in c["time_ms"] for s in [1_200 + (t - T0) // 1_000]]  # fmt: skip
    every = {
        "user_id": c["user"], "video_id": c["video"], "play_duration": c["play_ms"], "video_duration": c["duration_ms"],
        "time": clock, "date": [20220415] * N, "timestamp": stamp,
        "watch_ratio": [p / d for p, d in zip(c["play_ms"], c["duration_ms"], strict=True)],
    }  # fmt: skip
    return {name: values for name, values in every.items() if not names or name in names}


IDS = ("user_id", "video_id", "video_duration")


@pytest.mark.parametrize(
    "names", [(), (*IDS, "play_duration", "time"), (*IDS, "play_duration", "timestamp"), (*IDS, "watch_ratio", "time")]
)
def test_kuairec(tmp_path: Path, plain: UserLog, names: tuple[str, ...]) -> None:
    log = read(tmp_path / "small_matrix.csv", kuairec(*names))
    assert_same(log, plain, but=("feedback",))
    assert log.utc_offset_h == 8 and log.hour[0] == pytest.approx(13 + 1 / 3)
    assert log.read_as is not None and log.read_as.format == "kuairec"
    categories = "".join(f'{v},"[{v % 5}, 9]"\n' for v in range(16))
    (tmp_path / "item_categories.csv").write_text(f"video_id,feat\n{categories}")
    tags = read_user_log(tmp_path / "small_matrix.csv").tag
    assert tags is not None and tags.tolist() == [k % 16 % 5 for k in range(N)]


def test_kuaisar(tmp_path: Path, plain: UserLog) -> None:
    c = columns()
    data = {"user_id": c["user"], "item_id": c["video"], "playing_time": c["play_ms"], "duration_ms": c["duration_ms"],
            "timestamp": c["time_ms"], "click": [1] * N, "like": c["like"]}  # fmt: skip
    log = read(tmp_path / "rec_inter.csv", data)
    assert_same(log, plain)
    assert log.read_as is not None and log.read_as.format == "kuaisar"


def test_recbole(tmp_path: Path, plain: UserLog) -> None:
    c = columns()
    seconds, tags = [t / 1e3 for t in c["time_ms"]], [f"{k % 5} 9" for k in range(N)]
    generic = {"user_id:token": c["user"], "item_id:token": c["video"], "timestamp:float": seconds,
               "duration_ms:float": c["duration_ms"], "play_ms:float": c["play_ms"], "like:float": c["like"],
               "tag:token_seq": tags}  # fmt: skip
    kuairand = dict(zip([f"{name}:token" for name in as_kuairand(c)], c.values(), strict=True))
    for data in (generic, kuairand):
        (tmp_path / "log.inter").write_text(csv_text(data, "\t"))
        log = read_user_log(tmp_path / "log.inter")
        assert_same(log, plain, but=("tag",))
    found = read(tmp_path / "tags.csv", generic).tag
    assert found is not None and found.tolist() == [k % 5 for k in range(N)]


def test_names_of_two_formats(tmp_path: Path, plain: UserLog) -> None:
    data = as_kuairand(columns())
    data = {"time_s" if name == "time_ms" else name: values for name, values in data.items()}
    data["time_s"] = [t / 1e3 for t in data["time_s"]]
    assert_same(read(tmp_path / "log.csv", data), plain)


def test_a_format_without_play_times_says_so_in_one_line(tmp_path: Path) -> None:
    tenrec = "user_id,item_id,click,follow,like,share,video_category,watching_times\n1,2,1,0,0,0,3,1\n"
    message = refused(tmp_path / "log.csv", tenrec)
    assert "no column play_ms or play_s: Tenrec's columns do not tell how long a video played" in message


def test_all_that_is_missing_is_said_at_once(tmp_path: Path, plain: UserLog) -> None:
    names = ("uid", "item", "ts", "length", "watch_time", "like")
    text = csv_text(dict(zip(names, columns().values(), strict=True)))
    message = refused(tmp_path / "log.csv", text)
    for guess in ("uid for user", "item for video", "ts for time", "length for duration_ms", "watch_time for play_ms"):
        assert guess in message
    said = "user=uid, video=item, time=ts:ms, duration=length:ms, play=watch_time:ms"
    assert_same(read_user_log(tmp_path / "log.csv", columns=said), plain)


@pytest.mark.parametrize(
    ("column", "hint"),
    [("share", "did you mean forward?"), ("rate", ""), ("likes", "did you mean like?"), ("date", "")],
)
def test_a_hint_is_right_or_absent(tmp_path: Path, column: str, hint: str) -> None:
    data = without_feedback() | {column: columns()["like"]}
    log = read(tmp_path / "log.csv", data)
    assert [f.problem for f in log.findings if f.column == column] == ([f"column not used; {hint}"] if hint else [])


def test_without_a_header_columns_go_by_position(tmp_path: Path, plain: UserLog) -> None:
    text = csv_text(columns()).split("\n", 1)[1]
    assert "line 1 looks like data, not a header" in refused(tmp_path / "log.csv", text)
    said = "user=1,video=2,time_ms=3,duration_ms=4,play_ms=5,like=6"
    assert_same(read_user_log(tmp_path / "log.csv", columns=said), plain)
    for wrong, message in (
        ("person=1", "known: "), (said + ",play=4:s", "gives 5 and 4 for play; leave one"),
        (said.replace("play_ms", "play"), "play=5 lacks a unit; write play=5:UNIT, one of ns, us, ms, s"),
    ):  # fmt: skip
        assert message in refused(tmp_path / "log.csv", text, columns=wrong)


# ---- packed, and of spreadsheets


def test_packed_logs_are_unpacked(tmp_path: Path, plain: UserLog) -> None:
    text = csv_text(columns())
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("part/log.csv", text)
    for name in ("log.csv.gz", "log.zip"):
        assert_same(read_user_log(tmp_path / name), plain)


def test_csv_of_spreadsheets(tmp_path: Path, plain: UserLog) -> None:
    (tmp_path / "log.csv").write_bytes(("sep=;\n" + csv_text(columns(), ";")).encode("utf-16"))
    assert_same(read_user_log(tmp_path / "log.csv"), plain)
    c = columns()
    comma = {"user": c["user"], "video": c["video"], "time_ms": c["time_ms"], "like": c["like"]}
    comma |= {f"{n}_s": [f"{x / 1e3:.3f}0".replace(".", ",") for x in c[f"{n}_ms"]] for n in ("duration", "play")}
    (tmp_path / "log.csv").write_text(csv_text(comma, ";"))
    assert_same(read_user_log(tmp_path / "log.csv"), plain)
    grouped = c | {name: [f"{x:,}".replace(",", " ") for x in c[name]] for name in ("duration_ms", "play_ms")}
    (tmp_path / "log.csv").write_text(csv_text(grouped, ";"))
    assert_same(read_user_log(tmp_path / "log.csv"), plain)


# ---- several files


def test_ids_that_databases_store(tmp_path: Path, plain: UserLog) -> None:
    data: dict[str, Any] = dict(columns())
    data["user"] = pa.array(data["user"]).cast(pa.decimal128(20, 0))
    data["video"] = pa.array([str(v).encode() for v in data["video"]])
    pq.write_table(pa.table(data), tmp_path / "log.parquet")
    assert_same(read_user_log(tmp_path / "log.parquet"), plain)


def parts(folder: Path, kinds: tuple[str, ...]) -> list[Path]:
    """The rows in turn in so many files, so that each person is in all of them."""
    folder.mkdir()
    paths = []
    for k, name in enumerate(kinds):
        data = {column: values[k :: len(kinds)] for column, values in columns().items()}
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table(data), path)
        else:
            path.write_text(csv_text(data))
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    "kinds", [("a.csv", "b.csv", "c.csv"), ("day=1/0.parquet", "day=2/0.parquet"), ("part-0", "part-1")]
)
def test_a_person_split_over_files_is_one_person(tmp_path: Path, plain: UserLog, kinds: tuple[str, ...]) -> None:
    paths = parts(tmp_path / "log", kinds)
    assert_same(read_user_log(paths), plain)
    whole = read_user_log(tmp_path / "log")
    assert_same(whole, plain)
    assert whole.rows_read == N and whole.read_as is not None and len(whole.read_as.files) == len(kinds)


def test_what_is_passed_over_in_a_folder_is_named(tmp_path: Path, plain: UserLog) -> None:
    parts(tmp_path / "log", ("a.csv", "b.csv"))
    (tmp_path / "log" / "README.md").write_text("# A log")
    (tmp_path / "log" / "users.csv").write_text("user,age\n1,30\n")
    (tmp_path / "log" / "old").mkdir()
    (tmp_path / "log" / "_SUCCESS").write_text("")
    log = read_user_log(tmp_path / "log")
    assert_same(log, plain)
    assert log.read_as is not None
    assert [name.split()[0] for name in log.read_as.passed_over] == ["README.md", "old", "users.csv"]
    assert "Passed over: README.md" in str(log.report().caption)


def test_a_row_is_named_with_its_file(tmp_path: Path) -> None:
    first, second = parts(tmp_path / "log", ("a.csv", "b.csv"))
    lines = second.read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 2)[0] + ",-1,0"
    second.write_text("\n".join(lines))
    log = read_user_log([first, second])
    dropped = [(f.file, f.row) for f in log.findings if f.action == "dropped"]
    assert dropped == [("b.csv", 4)]
    second.write_text("\n".join([lines[0], *(line.rsplit(",", 2)[0] + ",-1,0" for line in lines[1:])]))
    with pytest.raises(UserLogError, match=r"b.csv:2: play_ms is below 0 in 40 of 80 rows"):
        read_user_log([first, second])


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    paths = parts(tmp_path / "log", ("a.csv", "b.csv"))
    paths[1].write_text(csv_text(without_feedback()))
    with pytest.raises(UserLogError, match=r"b.csv: has other columns than a.csv: like in one only"):
        read_user_log(paths)
    paths[1].write_text("user,age\n1,30\n")
    with pytest.raises(UserLogError, match=r"b.csv:1: has no column video"):
        read_user_log(paths)


# ---- what the commands say


def test_the_commands_take_what_a_log_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All three refuse the same log in the same line: the log is too short to fit, so nothing is fitted here."""
    parts(tmp_path / "log", ("a.csv", "b.csv"))
    folder, small = str(tmp_path / "log"), ["--users", "500"]
    options = ["--columns", "play=play_ms:share", "--utc-offset", "1"]
    for command in (["calibrate", folder], ["validate", "--log", folder], ["held-out", folder]):
        assert cli.main([*command, *small, *options]) == 2
        assert "--columns play=play_ms:percent" in capsys.readouterr().err
    for command in ("calibrate", "validate", "held-out"):
        assert cli.main([command, "--utc-offset", "1"]) == 2
        assert "about a LOG of yours; give one" in capsys.readouterr().err


def test_how_a_log_was_read_is_told_as_json(tmp_path: Path) -> None:
    log = read(tmp_path / "log.csv", changed(play_ms=lambda old: [-1, *old[1:]]))
    told = json.loads(json.dumps(log.as_json(), allow_nan=False))
    assert (told["rows_read"], told["rows_used"], told["utc_offset_h"]) == (N, N - 1, 8)
    assert told["read_as"]["columns"]["play"] == "play_ms in ms"
    assert told["read_as"]["clock"].startswith("ASSUMED")
    assert [f["problem"] for f in told["findings"] if f["action"] == "dropped"] == ["is below 0"]
