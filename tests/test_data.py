"""The shipped data: facts about it, and that it is what derive.py makes of ../shared/data where that folder exists."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from nextone.sim.data import open_data
from nextone.sim.data.derive import LICENCES, derive

SHIPPED = Path(__file__).parents[1] / "sim" / "data"
SOURCE = Path(__file__).parents[2] / "shared" / "data"
TABLES = (
    "kuairand/catalogue.parquet",
    "kuairand/tags.parquet",
    "kuairand/hours.parquet",
    "kuairand/log.parquet",
    "kuairand/histories.parquet",
    "pam2025/throughput.parquet",
    "pam2025/pings.parquet",
    "sabre/traces.parquet",
    "bts/tests.parquet",
)


def shipped(name: str) -> pd.DataFrame:
    with open_data(name) as file:
        return pq.read_table(file).to_pandas()


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data derived anew; without its source, the shipped data itself."""
    if not SOURCE.is_dir():
        return SHIPPED
    target = tmp_path_factory.mktemp("derived")
    derive(SOURCE, target)
    return target


@pytest.mark.parametrize("name", TABLES)
def test_shipped_tables_are_what_the_script_derives(derived: Path, name: str) -> None:
    again, table = pq.read_table(derived / name), pq.read_table(SHIPPED / name)
    assert again.schema == table.schema
    for column in table.column_names:
        if np.issubdtype(table[column].type.to_pandas_dtype(), np.floating):  # the last bit may be a processor's
            np.testing.assert_allclose(again[column].to_numpy(), table[column].to_numpy(), rtol=1e-6)
        else:
            assert again[column].equals(table[column])


@pytest.mark.parametrize(("folder", "licence"), [(folder, name) for folder, (_, name) in LICENCES.items()])
def test_every_folder_carries_licence_and_credit(derived: Path, folder: str, licence: str) -> None:
    readme = (SHIPPED / folder / "README.md").read_text()
    assert licence in readme
    assert "Origin and credit" in readme
    assert (derived / folder / licence).read_bytes() == (SHIPPED / folder / licence).read_bytes()


def test_nothing_else_is_shipped_and_it_is_small() -> None:
    parquet = {str(path.relative_to(SHIPPED)) for path in SHIPPED.rglob("*.parquet")}
    assert parquet == set(TABLES)
    assert sum((SHIPPED / name).stat().st_size for name in TABLES) < 4_000_000


@pytest.mark.parametrize("name", TABLES)
def test_no_value_is_missing(name: str) -> None:
    assert not shipped(name).isna().any(axis=None)


def test_catalogue() -> None:
    videos, tags = shipped("kuairand/catalogue.parquet"), shipped("kuairand/tags.parquet")
    assert len(videos) == 7_248  # the issue: videos with both a duration and a tag
    assert videos.video_id.is_unique
    assert videos.video_id.is_monotonic_increasing
    assert videos.duration_ms.min() > 0
    assert videos.popularity.min() == 0
    # targets.json duration.catalogue.q, of all 7,344 with a duration: p25 31.95, p50 81.17, p75 148.23 s
    np.testing.assert_allclose(videos.duration_ms.quantile([0.25, 0.5, 0.75]) / 1e3, [31.95, 81.17, 148.23], rtol=0.02)

    assert len(tags) == 43  # calibration.md section 4
    assert list(tags.tag) == list(range(43))
    assert tags.tag_id.is_monotonic_increasing
    assert videos.tag.between(0, 42).all()
    assert videos.tag2.between(0, 42).all()
    assert list(np.bincount(videos.tag, minlength=43)) == list(tags.videos)
    assert list(tags.tag_id[tags.videos == 0]) == [67]  # only on videos without a duration
    # targets.json tags.catalog_top10: tag 39 on .1919, tag 3 on .0978 of the videos
    share = (tags.videos / len(videos)).set_axis(tags.tag_id)
    assert share.loc[39] == pytest.approx(0.1919, abs=0.01)
    assert share.loc[3] == pytest.approx(0.0978, abs=0.01)


def test_hours() -> None:
    share = shipped("kuairand/hours.parquet").share
    # targets.json kuairand_pure.hour_share_CST, four decimals
    target = (
        "0.036 0.022 0.0147 0.0093 0.0079 0.0094 0.017 0.0259 0.0343 0.0408 0.0469 0.0524 "
        "0.0606 0.0563 0.0519 0.0543 0.0578 0.0616 0.056 0.0533 0.0532 0.0583 0.063 0.0569"
    )
    assert list(share.round(4)) == [float(word) for word in target.split()]
    assert share.sum() == pytest.approx(1)


def test_main_feed_log() -> None:
    log, catalogue = shipped("kuairand/log.parquet"), shipped("kuairand/catalogue.parquet").set_index("video_id")
    assert len(log) == 119_296  # targets.json n_tab1
    assert log.user.is_monotonic_increasing
    assert log.user.nunique() == log.user.max() + 1 == 16_308
    assert (log.groupby("user").time_ms.diff().dropna() >= 0).all()
    assert log.duration_ms.min() > 0
    known = log[log.tag >= 0]
    assert len(log) - len(known) == 1_051
    assert (known.tag == catalogue.tag.loc[known.video_id].to_numpy()).all()
    assert (known.duration_ms == catalogue.duration_ms.loc[known.video_id].to_numpy()).all()
    assert (~log.video_id[log.tag < 0].isin(catalogue.index)).all()
    # targets.json action_rates_tab1.all: like, follow, comment, forward, hate, profile, is_click, long_view
    rates = [float((log["flags"].to_numpy() >> k & 1).mean()) for k in range(8)]
    target = [0.01875, 0.00146, 0.00289, 0.00094, 0.00084, 0.02157, 0.49821, 0.35265]
    assert [round(rate, 5) for rate in rates] == target
    assert (log.comment_open_ms > 0).mean() == pytest.approx(0.0492, abs=1e-4)  # targets.json comment_stay_s.P_pos


def test_histories() -> None:
    tags = shipped("kuairand/histories.parquet").tags
    assert len(tags) == 18_309  # calibration.md section 1
    assert tags.str.len().between(1, 50).all()
    every = np.concatenate(list(tags))
    assert every.min() == -1
    assert every.max() <= 42


def test_driving_throughput() -> None:
    log = shipped("pam2025/throughput.parquet")
    traces = log.groupby("trace")
    # targets.json pam_throughput: 480 traces, 241 atnt and 239 verizon
    assert traces.ngroups == 480
    assert traces.operator.first().value_counts().to_dict() == {"atnt": 241, "verizon": 239}
    assert (traces.t_ms.first() == 0).all()
    assert traces.t_ms.diff().min() > 0
    assert traces.size().min() >= 50
    assert log.kbps.min() == 0
    # targets.json pam_throughput.all.q_05_25_50_75_95, of all 490 traces (Mbit/s); mean 96.99
    target = [0.744, 17.524, 52.304, 122.247, 321.439]
    np.testing.assert_allclose(log.kbps.quantile([0.05, 0.25, 0.5, 0.75, 0.95]) / 1e3, target, rtol=0.03)
    assert log.kbps.mean() / 1e3 == pytest.approx(96.99, rel=0.01)


def test_round_trip_times() -> None:
    pings = shipped("pam2025/pings.parquet")
    rtt_ms, run = pings.rtt_us / 1e3, pings.run
    assert len(pings) == 127_979  # targets.json pam_rtt.all
    assert run.is_monotonic_increasing
    assert run.nunique() == 858
    assert (pings.groupby("run").seq.diff().dropna() > 0).all()
    assert pings.seq.between(1, 150).all()
    # targets.json pam_rtt.all: rtt_q at 5, 25, 50, 75, 95, 99 %; trace_median_q at 10, 50, 90 %; P(> 200 ms) .0162
    found = rtt_ms.quantile([0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    np.testing.assert_allclose(found, [34.2, 45.4, 54.5, 67.5, 115.0, 259.0], atol=0.1)
    levels = rtt_ms.groupby(run).median()
    np.testing.assert_allclose(levels.quantile([0.1, 0.5, 0.9]), [40.0, 54.1, 77.0], atol=0.1)
    assert (rtt_ms > 200).mean() == pytest.approx(0.0162, abs=1e-4)


def test_sabre_traces() -> None:
    log = shipped("sabre/traces.parquet")
    log["kb"] = log.kbps * log.duration_ms / 1e3
    traces = log.groupby("trace")
    assert traces.tech.first().value_counts().to_dict() == {"3G": 60, "4G": 29}  # targets.json sabre
    assert (traces.t_ms.first() == 0).all()
    assert (traces.t_ms.shift(-1) - log.t_ms - log.duration_ms).dropna().eq(0).all()  # no gaps, no overlaps
    by_tech = log.groupby("tech")
    mean = by_tech.kb.sum() / by_tech.duration_ms.sum()
    assert mean["4G"] == pytest.approx(31.42, abs=0.01)  # targets.json sabre 4G/all
    assert by_tech.kbps.mean()["3G"] / 1e3 == pytest.approx(1.14, abs=0.01)  # over samples, as targets.json counts


def test_access_levels() -> None:
    tests = shipped("bts/tests.parquet")
    assert tests.mbps.min() > 0
    # targets.json bts 2021: p5, p50, p95 and mean, Mbit/s
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
