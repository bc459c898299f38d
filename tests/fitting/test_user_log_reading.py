"""A user's own log: every spelling reads alike, and what is written is read again."""

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
from logs_by_hand import (
    T0,
    Columns,
    N,
    as_kuairand,
    assert_same,
    changed,
    columns,
    csv_text,
    found,
    kuairand,
    parquet,
    read,
    with_value,
)
from worlds import run, scenario

from nextone.experiments.fitting.logs.user_log import (
    UserLog,
    read_user_log,
    shipped_log,
    simulated_log,
    write_generic,
)
from nextone.experiments.runs.metrics import whole_impressions
from nextone.sim.config import FEEDBACK
from nextone.sim.data import open_data
from nextone.sim.data.derive import LOG_FLAGS

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
                          "author", "session", "request", "stall_ms", "network"]  # fmt: skip
    with pytest.raises(AttributeError):
        log.users = 3  # type: ignore[misc]


def in_seconds(c: Columns) -> Columns:
    return {k.replace("_ms", "_s"): [x / 1e3 for x in v] if "_ms" in k else v for k, v in c.items()}


def iso(c: Columns, offset: str = "Z", ahead_ms: int = 0) -> Columns:
    words = [f"{np.datetime64(t + ahead_ms, 'ms')}{offset}" for t in c["time_ms"]]
    return {"time": words} | {k: v for k, v in c.items() if k != "time_ms"}


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
    assert log.absent == ["follow", "comment", "forward", "hate", "profile", "author"]


# ---- KuaiRand


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


def test_a_table_of_videos_gives_tags_and_authors_to_a_generic_log(tmp_path: Path) -> None:
    """What the log has itself it keeps."""
    (tmp_path / "videos.csv").write_text("video,tag,author\n0,x,me\n1,y,you\n2,,me\n")
    (tmp_path / "log.csv").write_text(csv_text(columns()))
    log = read_user_log(tmp_path / "log.csv", videos=tmp_path / "videos.csv")
    assert log.tag is not None and log.author is not None
    assert log.tag[:4].tolist() == [0, 1, -1, -1] and log.author[:4].tolist() == [0, 1, 0, -1]
    assert ("author", 15, "kept") in found(log)
    own = changed() | {"tag": ["mine"] * N}
    (tmp_path / "log.csv").write_text(csv_text(own))
    log = read_user_log(tmp_path / "log.csv", videos=tmp_path / "videos.csv")
    assert log.tag is not None and not log.tag.any() and log.author is not None


def test_the_hour_is_that_of_the_users(tmp_path: Path) -> None:
    """T0 is 05:20 in UTC."""
    (tmp_path / "log.csv").write_text(csv_text(columns()))
    assert read_user_log(tmp_path / "log.csv").hour[0] == pytest.approx(13 + 1 / 3)
    assert read_user_log(tmp_path / "log.csv", utc_offset_h=-6.5).hour[0] == pytest.approx(22 + 5 / 6)


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
    assert_same(log, shipped_log(), but=("tag", "author"))  # these are in another table
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
    assert simulated.absent == ["randomised", "comment_open_ms", "author"]
    full = replace(
        simulated,
        comment_open_ms=simulated.play_ms // 2,
        randomised=simulated.play_ms % 2 == 0,
        tag=np.where(simulated.video % 7 == 0, -1, simulated.tag).astype(np.int16),
        author=np.unique(simulated.video % 5, return_inverse=True)[1].astype(np.int32),
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


def test_the_example_in_the_documentation_is_a_log(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "docs" / "example_log.csv"
    log = read_user_log(example)
    assert len(log.user) == log.rows_read == 200
    assert list(log.feedback) == list(FEEDBACK)
    assert {f.action for f in log.findings} == {"warned"}
