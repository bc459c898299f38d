"""Derive the shipped data from a folder of downloads, its only argument: `python -m nextone.sim.data.derive DIR`.

DIR holds one folder per source, each with the source's licence text and its tables as Parquet, columns named as below:
kuairand_pure/ interactions, videos, user_histories; pam2025_cellular/ throughput, rtt; sabre_3g_4g/ traces;
bts_bandwidth/ tests. The README in each folder of sim/data/ names the source.

Rows are selected, renamed and rounded to whole units; nothing is imputed, and the same input gives the same tables.
Each README also says in words what was done.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

LICENCES = {
    "kuairand": ("kuairand_pure", "LICENSE-CC-BY-SA-4.0.txt"),
    "pam2025": ("pam2025_cellular", "LICENSE-CC0.txt"),
    "sabre": ("sabre_3g_4g", "LICENSE-BSD-2.txt"),
    "bts": ("bts_bandwidth", "LICENSE-Apache-2.0.txt"),
}
PAM_MIN_SAMPLES = 60  # 30 s at 2 Hz: leaves 480 of the 490 traces (241 atnt, 239 verizon)
MAIN_FEED_TAB = 1
LOG_FLAGS = (  # bits of `flags`, from the lowest
    "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter", "is_click", "long_view",
)  # fmt: skip
UTC_PLUS_8_MS = 8 * 3_600_000


def derive(source: Path, target: Path) -> None:
    """Write the four data folders with their licence texts below target."""
    tables = {
        "kuairand/catalogue.parquet": catalogue(source),
        "kuairand/tags.parquet": tags(source),
        "kuairand/authors.parquet": authors(source),
        "kuairand/hours.parquet": hours(source),
        "kuairand/log.parquet": main_feed(source),
        "kuairand/histories.parquet": histories(source),
        "pam2025/throughput.parquet": driving_throughput(source),
        "pam2025/pings.parquet": pings(source),
        "sabre/traces.parquet": sabre(source),
        "bts/tests.parquet": bandwidth_tests(source),
    }
    for folder, (origin, licence) in LICENCES.items():
        (target / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / origin / licence, target / folder / licence)
    for name, frame in tables.items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, target / name, compression="zstd", compression_level=19, write_page_checksum=True)


def tagged_videos(source: Path) -> pd.DataFrame:
    """All videos that have a tag: video_id, duration_ms (missing for some), first and second tag id."""
    videos = pd.read_parquet(source / "kuairand_pure/videos.parquet").dropna(subset=["tag"])
    ids = videos.tag.str.split(",", expand=True)
    first = ids[0].astype(np.int64)
    second = ids[1].astype("Int64").fillna(first).astype(np.int64)
    return pd.DataFrame(
        {"video_id": videos.video_id, "duration_ms": videos.video_duration, "first": first, "second": second}
    )


def tag_ids(source: Path) -> NDArray[np.int64]:
    """(43,) original ids of the tags that come first on at least one video, sorted; an index into it is a tag here."""
    return np.unique(tagged_videos(source)["first"].to_numpy(np.int64))


def catalogue(source: Path) -> pd.DataFrame:
    """The videos that have both a duration and a tag."""
    ids = tag_ids(source)
    videos = tagged_videos(source).dropna(subset=["duration_ms"]).sort_values("video_id")
    shown = pd.read_parquet(source / "kuairand_pure/interactions.parquet", columns=["video_id"]).video_id.value_counts()
    second = videos.second.where(videos.second.isin(ids), videos["first"])
    return pd.DataFrame(
        {
            "video_id": videos.video_id.astype(np.int32),
            "duration_ms": videos.duration_ms.astype(np.int32),
            "tag": np.searchsorted(ids, videos["first"]).astype(np.int8),
            "tag2": np.searchsorted(ids, second).astype(np.int8),
            "popularity": videos.video_id.map(shown).fillna(0).astype(np.int32),  # absent from the log: shown 0 times
        }
    )


def tags(source: Path) -> pd.DataFrame:
    """The tags in use: their number here, their original id, and of how many videos each is the first tag."""
    ids = tag_ids(source)
    videos = np.bincount(catalogue(source).tag, minlength=len(ids))
    return pd.DataFrame(
        {"tag": np.arange(len(ids), dtype=np.int8), "tag_id": ids.astype(np.int16), "videos": videos.astype(np.int32)}
    )


def authors(source: Path) -> pd.DataFrame:
    """The author of every video, numbered from 0 in the order of the original ids."""
    videos = pd.read_parquet(source / "kuairand_pure/videos.parquet", columns=["video_id", "author_id"])
    videos = videos.sort_values("video_id")
    author = np.unique(videos.author_id, return_inverse=True)[1]
    return pd.DataFrame({"video_id": videos.video_id.astype(np.int16), "author": author.astype(np.int16)})


def hours(source: Path) -> pd.DataFrame:
    """Share of the main feed's impressions by hour of day in UTC+8, of videos whose length is known."""
    log = pd.read_parquet(source / "kuairand_pure/interactions.parquet", columns=["tab", "time_ms", "duration_ms"])
    log = log[(log.tab == MAIN_FEED_TAB) & (log.duration_ms > 0)]
    count = np.bincount((log.time_ms + UTC_PLUS_8_MS) // 3_600_000 % 24, minlength=24)
    return pd.DataFrame({"hour": np.arange(24, dtype=np.int8), "share": count / count.sum()})


def main_feed(source: Path) -> pd.DataFrame:
    """The main feed's impressions of videos whose length is known, by user and time of delivery."""
    log = pd.read_parquet(source / "kuairand_pure/interactions.parquet")
    log = log[(log.tab == MAIN_FEED_TAB) & (log.duration_ms > 0)]
    log = log.sort_values(["user_id", "time_ms"], kind="stable")
    return pd.DataFrame(
        {
            "user": np.unique(log.user_id, return_inverse=True)[1].astype(np.int16),
            "video_id": log.video_id.astype(np.int16),
            "tag": first_tags(source).reindex(log.video_id).to_numpy(),
            "time_ms": log.time_ms,
            "duration_ms": log.duration_ms,
            "play_ms": log.play_time_ms,
            "comment_open_ms": log.comment_stay_time,
            "flags": np.packbits(log[list(LOG_FLAGS)], axis=1, bitorder="little")[:, 0],
        }
    )


def histories(source: Path) -> pd.DataFrame:
    """The first tags of the last videos, 50 at most, that each user was shown before the log, in that order."""
    users = pd.read_parquet(source / "kuairand_pure/user_histories.parquet", columns=["user_id", "watch_seq"])
    watched = users.sort_values("user_id").watch_seq
    tag = first_tags(source)
    tags = tag.reindex(np.concatenate(list(watched))).to_numpy()
    return pd.DataFrame({"tags": np.split(tags, np.cumsum(watched.str.len())[:-1])})


def first_tags(source: Path) -> "pd.Series[int]":
    """The index of each video's first tag by video_id; -1 for videos without one."""
    videos = pd.read_parquet(source / "kuairand_pure/videos.parquet", columns=["video_id"])
    tagged = tagged_videos(source).set_index("video_id")
    tag = pd.Series(np.searchsorted(tag_ids(source), tagged["first"]), tagged.index)
    return tag.reindex(videos.video_id, fill_value=-1).astype(np.int8)


def driving_throughput(source: Path) -> pd.DataFrame:
    """Throughput samples of every drive with at least PAM_MIN_SAMPLES of them: milliseconds from its start, kbit/s."""
    log = pd.read_parquet(source / "pam2025_cellular/throughput.parquet").dropna(subset=["mbps"])
    log["t_ms"] = np.rint(log.t_s * 1e3).astype(np.int32)
    log["kbps"] = np.rint(log.mbps * 1e3).astype(np.int32)
    log = log[log.groupby("trace_id").trace_id.transform("size") >= PAM_MIN_SAMPLES]
    log = log.drop_duplicates(["trace_id", "t_ms"], keep="last")  # the earlier of two samples at one time holds for 0 s
    log["t_ms"] -= log.groupby("trace_id").t_ms.transform("min")
    columns = {"trace_id": "trace", "operator": "operator", "tech": "tech", "t_ms": "t_ms", "kbps": "kbps"}
    return log[list(columns)].rename(columns=columns).sort_values(["trace", "t_ms"])


def pings(source: Path) -> pd.DataFrame:
    """The answered pings in the order they were sent: number of the run, number within it, round trip in
    microseconds."""
    log = pd.read_parquet(source / "pam2025_cellular/rtt.parquet").sort_values(["trace_id", "seq"])
    return pd.DataFrame(
        {
            "run": log.trace_id.factorize()[0].astype(np.int16),
            "seq": log.seq.astype(np.int16),
            "rtt_us": np.rint(log.rtt_ms.astype(np.float64) * 1e3).astype(np.int32),
        }
    )


def sabre(source: Path) -> pd.DataFrame:
    """Sabre's 3G and 4G traces: when each row begins and how long it holds, milliseconds, and its kbit/s."""
    log = pd.read_parquet(source / "sabre_3g_4g/traces.parquet").sort_values(["trace_id", "t_s"])
    return pd.DataFrame(
        {
            "trace": log.trace_id,
            "tech": log.tech,
            "mobility": log.mobility,
            "t_ms": np.rint(log.t_s * 1e3).astype(np.int32),
            "duration_ms": log.duration_ms.astype(np.int32),
            "kbps": np.rint(log.mbps * 1e3).astype(np.int32),
        }
    )


def bandwidth_tests(source: Path) -> pd.DataFrame:
    """Technology and result of the tests of 2021, sorted, so that no row is anybody's."""
    tests = pd.read_parquet(source / "bts_bandwidth/tests.parquet", columns=["year", "tech", "bandwidth_mbps"])
    tests = tests[tests.year == 2021].sort_values(["tech", "bandwidth_mbps"])
    return pd.DataFrame({"tech": tests.tech, "mbps": tests.bandwidth_mbps.astype(np.float32)})


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m nextone.sim.data.derive DIR")
    derive(Path(sys.argv[1]), Path(__file__).parent)
