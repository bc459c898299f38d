"""The shipped data: facts of each table counted from its source, and its derivation, by hand, from made-up sources."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nextone.sim.data import derive as module
from nextone.sim.data import open_data
from nextone.sim.data.derive import LICENCES, derive

SHIPPED = Path(__file__).parents[2] / "sim" / "data"
DIGESTS = {  # of the values whose facts are checked below
    "kuairand/catalogue.parquet": "e6f4a41147d0d127",
    "kuairand/tags.parquet": "f41d20837910d06b",
    "kuairand/authors.parquet": "3e847f565722e2f4",
    "kuairand/hours.parquet": "baf3fda05074057f",
    "kuairand/log.parquet": "be2838102c7ffeea",
    "kuairand/histories.parquet": "c98aeb52553ed7b4",
    "pam2025/throughput.parquet": "fa6697f8a9969aa2",
    "pam2025/pings.parquet": "59d246f79f4c8342",
    "sabre/traces.parquet": "64cd2ba130a11b3e",
    "bts/tests.parquet": "c056f70246b142f0",
}
TITLES = {
    "LICENSE-CC-BY-SA-4.0.txt": "Attribution-ShareAlike 4.0 International",
    "LICENSE-CC0.txt": "CC0 1.0 Universal",
    "LICENSE-BSD-2.txt": "BSD 2-Clause License",
    "LICENSE-Apache-2.0.txt": "Apache License",
}


def shipped(name: str) -> pd.DataFrame:
    with open_data(name) as file:
        return pq.read_table(file).to_pandas()


def digest(name: str) -> str:
    """Of names, types and values, whatever file they are in."""
    table = pq.read_table(SHIPPED / name)
    found = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    for column in table.columns:
        found.update("\n".join(map(str, column.to_pylist())).encode())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_the_values_are_those_whose_facts_are_checked_below(name: str) -> None:
    assert digest(name) == DIGESTS[name]


@pytest.mark.parametrize(("folder", "licence"), [(folder, name) for folder, (_, name) in LICENCES.items()])
def test_every_folder_carries_licence_and_credit(folder: str, licence: str) -> None:
    readme = (SHIPPED / folder / "README.md").read_text()
    assert licence in readme
    assert "Origin and credit" in readme
    assert TITLES[licence] in (SHIPPED / folder / licence).read_text()[:200]


def test_nothing_else_is_shipped_and_it_is_small() -> None:
    parquet = {str(path.relative_to(SHIPPED)) for path in SHIPPED.rglob("*.parquet")}
    assert parquet == set(DIGESTS)
    assert sum((SHIPPED / name).stat().st_size for name in DIGESTS) < 4_000_000


@pytest.mark.parametrize("name", DIGESTS)
def test_no_value_is_missing(name: str) -> None:
    assert not shipped(name).isna().any(axis=None)


def test_catalogue() -> None:
    videos, tags = shipped("kuairand/catalogue.parquet"), shipped("kuairand/tags.parquet")
    assert len(videos) == 7_248  # of KuaiRand-Pure's 7,583 videos those with both a duration and a tag
    assert videos.video_id.is_unique
    assert videos.video_id.is_monotonic_increasing
    assert videos.duration_ms.min() > 0
    assert videos.popularity.min() == 0
    # of all 7,344 videos with a duration, tagged or not: p25 31.95, p50 81.17, p75 148.23 s
    np.testing.assert_allclose(videos.duration_ms.quantile([0.25, 0.5, 0.75]) / 1e3, [31.95, 81.17, 148.23], rtol=0.02)

    assert len(tags) == 43  # that come first on a video of KuaiRand-Pure
    assert list(tags.tag) == list(range(43))
    assert tags.tag_id.is_monotonic_increasing
    assert videos.tag.between(0, 42).all()
    assert videos.tag2.between(0, 42).all()
    assert list(np.bincount(videos.tag, minlength=43)) == list(tags.videos)
    assert list(tags.tag_id[tags.videos == 0]) == [67]  # only on videos without a duration
    # of all tagged videos: tag 39 on .1919, tag 3 on .0978 of the videos
    share = (tags.videos / len(videos)).set_axis(tags.tag_id)
    assert share.loc[39] == pytest.approx(0.1919, abs=0.01)
    assert share.loc[3] == pytest.approx(0.0978, abs=0.01)


def test_authors() -> None:
    authors = shipped("kuairand/authors.parquet")
    assert len(authors) == 7_583 and authors.video_id.is_monotonic_increasing and authors.video_id.is_unique
    assert authors.author.nunique() == authors.author.max() + 1 == 6_510  # counted from the source
    assert shipped("kuairand/log.parquet").video_id.isin(authors.video_id).all()


def test_hours() -> None:
    share = shipped("kuairand/hours.parquet").share
    # counted from the source, four decimals
    target = (
        "0.036 0.022 0.0147 0.0093 0.0079 0.0094 0.017 0.0259 0.0343 0.0408 0.0469 0.0524 "
        "0.0606 0.0563 0.0519 0.0543 0.0578 0.0616 0.056 0.0533 0.0532 0.0583 0.063 0.0569"
    )
    assert list(share.round(4)) == [float(word) for word in target.split()]
    assert share.sum() == pytest.approx(1)


def test_main_feed_log() -> None:
    log, catalogue = shipped("kuairand/log.parquet"), shipped("kuairand/catalogue.parquet").set_index("video_id")
    assert len(log) == 119_296  # rows of tab 1 whose video has a length
    assert log.user.is_monotonic_increasing
    assert log.user.nunique() == log.user.max() + 1 == 16_308
    assert (log.groupby("user").time_ms.diff().dropna() >= 0).all()
    assert log.duration_ms.min() > 0
    known = log[log.tag >= 0]
    assert len(log) - len(known) == 1_051
    assert (known.tag == catalogue.tag.loc[known.video_id].to_numpy()).all()
    assert (known.duration_ms == catalogue.duration_ms.loc[known.video_id].to_numpy()).all()
    assert (~log.video_id[log.tag < 0].isin(catalogue.index)).all()
    # counted from the source: like, follow, comment, forward, hate, profile, is_click, long_view
    rates = [float((log["flags"].to_numpy() >> k & 1).mean()) for k in range(8)]
    target = [0.01875, 0.00146, 0.00289, 0.00094, 0.00084, 0.02157, 0.49821, 0.35265]
    assert [round(rate, 5) for rate in rates] == target
    assert (log.comment_open_ms > 0).mean() == pytest.approx(0.0492, abs=1e-4)  # counted from the source


def test_histories() -> None:
    tags = shipped("kuairand/histories.parquet").tags
    assert len(tags) == 18_309  # users with a history
    assert tags.str.len().between(1, 50).all()
    every = np.concatenate(list(tags))
    assert every.min() == -1
    assert every.max() <= 42


def test_driving_throughput() -> None:
    log = shipped("pam2025/throughput.parquet")
    traces = log.groupby("trace")
    # traces of at least half a minute
    assert traces.ngroups == 480
    assert traces.operator.first().value_counts().to_dict() == {"atnt": 241, "verizon": 239}
    assert (traces.t_ms.first() == 0).all()
    assert traces.t_ms.diff().min() > 0
    assert traces.size().min() >= 50
    assert log.kbps.min() == 0
    # of all 490 traces at 5, 25, 50, 75, 95 %, Mbit/s; mean 96.99
    target = [0.744, 17.524, 52.304, 122.247, 321.439]
    np.testing.assert_allclose(log.kbps.quantile([0.05, 0.25, 0.5, 0.75, 0.95]) / 1e3, target, rtol=0.03)
    assert log.kbps.mean() / 1e3 == pytest.approx(96.99, rel=0.01)


def test_round_trip_times() -> None:
    pings = shipped("pam2025/pings.parquet")
    rtt_ms, run = pings.rtt_us / 1e3, pings.run
    assert len(pings) == 127_979  # replies
    assert run.is_monotonic_increasing
    assert run.nunique() == 858
    assert (pings.groupby("run").seq.diff().dropna() > 0).all()
    assert pings.seq.between(1, 150).all()
    # counted from the source: trips at 5, 25, 50, 75, 95, 99 %; medians of runs at 10, 50, 90 %; share above 200 ms
    found = rtt_ms.quantile([0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    np.testing.assert_allclose(found, [34.2, 45.4, 54.5, 67.5, 115.0, 259.0], atol=0.1)
    levels = rtt_ms.groupby(run).median()
    np.testing.assert_allclose(levels.quantile([0.1, 0.5, 0.9]), [40.0, 54.1, 77.0], atol=0.1)
    assert (rtt_ms > 200).mean() == pytest.approx(0.0162, abs=1e-4)


def test_sabre_traces() -> None:
    log = shipped("sabre/traces.parquet")
    log["kb"] = log.kbps * log.duration_ms / 1e3
    traces = log.groupby("trace")
    assert traces.tech.first().value_counts().to_dict() == {"3G": 60, "4G": 29}  # that were not held out
    assert (traces.t_ms.first() == 0).all()
    assert (traces.t_ms.shift(-1) - log.t_ms - log.duration_ms).dropna().eq(0).all()  # no gaps, no overlaps
    by_tech = log.groupby("tech")
    mean = by_tech.kb.sum() / by_tech.duration_ms.sum()
    assert mean["4G"] == pytest.approx(31.42, abs=0.01)  # Mbit/s, over time
    assert by_tech.kbps.mean()["3G"] / 1e3 == pytest.approx(1.14, abs=0.01)  # over samples


def test_access_levels() -> None:
    tests = shipped("bts/tests.parquet")
    assert tests.mbps.min() > 0
    # counted from the tests of 2021: p5, p50, p95 and mean, Mbit/s
    target = {
        "4G": (1.1, 27.7, 220.4, 52.3),
        "5G": (10.2, 313.0, 606.4, 303.4),
        "wifi4": (2.0, 42.7, 128.2, 55.5),
        "wifi5": (25.2, 174.9, 556.4, 227.5),
        "wifi6": (32.9, 343.9, 908.3, 376.8),
    }
    assert list(tests.tech.unique()) == list(target)
    for tech, results in tests.groupby("tech").mbps:
        assert results.is_monotonic_increasing
        found = [*results.quantile([0.05, 0.5, 0.95]), results.mean()]
        np.testing.assert_allclose(found, target[tech], atol=0.06)


# ---- the derivation, from sources of a few rows


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What derive makes of made-up sources with each case that it treats."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("derived")
    for folder, licence in LICENCES.values():
        (source / folder).mkdir()
        (source / folder / licence).write_text(f"terms of {folder}")
    kuairand = source / "kuairand_pure"
    # Tag 7 comes first only on video 5, which has no duration; tag 9 is never first; video 4 has no tag.
    pd.DataFrame(
        {
            "video_id": [3, 1, 2, 4, 5],
            "video_duration": [30_000.0, 10_000, 20_000, 40_000, np.nan],
            "tag": ["39", "2,39", "39,9,2", None, "7"],
            "author_id": [70, 50, 70, 60, 50],
        }
    ).to_parquet(kuairand / "videos.parquet")
    # 1651334400000 is midnight in UTC+8 (30 April 2022, 16:00 UTC). Tab 0 and a length of 0 are left out.
    night = 1_651_334_400_000
    zero = [0] * 6
    log = pd.DataFrame(
        {
            "user_id": [9, 9, 4, 4, 4, 9],
            "video_id": [1, 2, 4, 1, 1, 3],
            "time_ms": [night + 3_600_000, night, night + 23 * 3_600_000, night + 5, night, night],
            "tab": [1, 1, 1, 0, 1, 1],
            "duration_ms": [10_000, 20_000, 40_000, 10_000, 10_000, 0],
            "play_time_ms": [11, 12, 13, 14, 15, 16],
            "comment_stay_time": [1, 2, 3, 4, 5, 6],
            "is_like": [1, 0, 0, 0, 0, 0], "is_follow": zero, "is_comment": zero, "is_forward": [0, 1, 0, 0, 0, 0],
            "is_hate": zero, "is_profile_enter": zero, "is_click": zero, "long_view": [1, 0, 0, 0, 0, 0],
        }
    )  # fmt: skip
    log = log.astype({"duration_ms": "int32", "play_time_ms": "int32", "comment_stay_time": "int32"})
    log.to_parquet(kuairand / "interactions.parquet")
    pd.DataFrame({"user_id": [9, 4], "watch_seq": [[4, 1, 5], [2]]}).to_parquet(kuairand / "user_histories.parquet")
    pam = source / "pam2025_cellular"
    # b: two good samples of three, one of them twice at one time; a has one sample and is too short.
    pd.DataFrame(
        {
            "trace_id": ["b", "b", "b", "b", "a"],
            "operator": ["x"] * 5,
            "tech": ["LTE"] * 5,
            "t_s": [3.0, 2.5, 2.5, 3.5, 0.0],
            "mbps": [1.5, 2.0, 2.5, np.nan, 9.0],
        }
    ).to_parquet(pam / "throughput.parquet")
    pd.DataFrame({"trace_id": ["q", "p", "p"], "seq": [1, 3, 1], "rtt_ms": [50.1234, 60.0, 70.0]}).to_parquet(
        pam / "rtt.parquet"
    )
    pd.DataFrame(
        {
            "trace_id": ["t", "t"], "tech": ["4G"] * 2, "mobility": ["bus"] * 2,
            "t_s": [1.0, 0.0], "duration_ms": [900, 1_000], "mbps": [0.5, 2.25],
        }
    ).to_parquet(source / "sabre_3g_4g" / "traces.parquet")  # fmt: skip
    pd.DataFrame(
        {"year": [2021, 2023, 2021, 2021], "tech": ["5G", "4G", "4G", "4G"], "bandwidth_mbps": [9.0, 1.0, 8.0, 7.0]}
    ).to_parquet(source / "bts_bandwidth" / "tests.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAM_MIN_SAMPLES", 3)
        derive(source, target)
    return target


BY_HAND = {
    # by id, with both a duration and a tag; tags 2, 7, 39 are 0, 1, 2; shown on any tab: video 1 three times
    "kuairand/catalogue.parquet": {
        "video_id": [1, 2, 3], "duration_ms": [10_000, 20_000, 30_000], "tag": [0, 2, 2], "tag2": [2, 2, 2],
        "popularity": [3, 1, 1],
    },
    "kuairand/tags.parquet": {"tag": [0, 1, 2], "tag_id": [2, 7, 39], "videos": [1, 0, 2]},
    # authors 50, 60, 70 are 0, 1, 2
    "kuairand/authors.parquet": {"video_id": [1, 2, 3, 4, 5], "author": [0, 2, 2, 1, 0]},
    # four impressions count: two at 0 h, one at 1 h, one at 23 h
    "kuairand/hours.parquet": {"hour": [*range(24)], "share": [0.5, 0.25, *[0.0] * 21, 0.25]},
    # user 4 is 0, user 9 is 1; like is 1, forward 8, long view 128
    "kuairand/log.parquet": {
        "user": [0, 0, 1, 1], "video_id": [1, 4, 2, 1], "tag": [0, -1, 2, 0],
        "time_ms": [1_651_334_400_000, 1_651_417_200_000, 1_651_334_400_000, 1_651_338_000_000],
        "duration_ms": [10_000, 40_000, 20_000, 10_000], "play_ms": [15, 13, 12, 11], "comment_open_ms": [5, 3, 2, 1],
        "flags": [0, 0, 8, 129],
    },
    "kuairand/histories.parquet": {"tags": [[2], [-1, 0, 1]]},
    "pam2025/throughput.parquet": {
        "trace": ["b", "b"], "operator": ["x", "x"], "tech": ["LTE", "LTE"], "t_ms": [0, 500], "kbps": [2_500, 1_500],
    },
    "pam2025/pings.parquet": {"run": [0, 0, 1], "seq": [1, 3, 1], "rtt_us": [70_000, 60_000, 50_123]},
    "sabre/traces.parquet": {
        "trace": ["t", "t"], "tech": ["4G", "4G"], "mobility": ["bus", "bus"], "t_ms": [0, 1_000],
        "duration_ms": [1_000, 900], "kbps": [2_250, 500],
    },
    "bts/tests.parquet": {"tech": ["4G", "4G", "5G"], "mbps": [7.0, 8.0, 9.0]},
}  # fmt: skip


@pytest.mark.parametrize("name", DIGESTS)
def test_the_derivation_by_hand(derived: Path, name: str) -> None:
    assert pq.read_table(derived / name).to_pydict() == BY_HAND[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_derived_tables_have_the_types_of_the_shipped_ones(derived: Path, name: str) -> None:
    def types(folder: Path) -> list[tuple[str, str]]:
        return [(f.name, str(f.type).removeprefix("large_")) for f in pq.read_schema(folder / name)]

    assert types(derived) == types(SHIPPED)


def test_the_licence_of_each_source_is_copied(derived: Path) -> None:
    for folder, (origin, licence) in LICENCES.items():
        assert (derived / folder / licence).read_text() == f"terms of {origin}"
