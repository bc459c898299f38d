"""The catalogue: what videos there are, and what the cloud believes of their quality. Made once for a scenario.

The first 7,248 are the real ones of KuaiRand-Pure; further ones resample the durations and tags of real rows jointly.
Quality and appeal are keyed by the catalogue's own seed, so that people and luck can change while videos stay.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from nextone.sim.engine.chance import normal2, uniform
from nextone.sim.engine.kernel import entry
from nextone.sim.engine.luck import APPEAL, DURATION, QUALITY, REAL_ROW, RESAMPLE, TAG, VIDEO

from .config import PARAMS_DTYPE, Catalogue, Scenario
from .data import open_data
from .state import LISTED, Array, blank
from .state import VIDEO as VIDEO_ROW
from .watching import length_logit

REAL_VIDEOS = 7_248  # Source: KuaiRand-Pure, videos with a tag and a duration


class Videos(NamedTuple):
    """The catalogue as the model reads it."""

    videos: Array  # (V,) state.VIDEO
    listed: Array  # (V,) state.LISTED, by tag
    tag_start: Array  # (D + 1,) int64


def make_catalogue(scenario: Scenario) -> Videos:
    """The videos of a scenario; the arrays are shared and read-only."""
    w = scenario.watching
    return _make(scenario.catalogue, scenario.server.quality_correlation, w.stay_shorter, w.stay_longer)


@lru_cache(maxsize=4)
def _make(catalogue: Catalogue, correlation: float, shorter: float, longer: float) -> Videos:
    key = np.array([catalogue.catalogue_seed, 0x766964], dtype=np.uint32)
    videos = blank(catalogue.videos, VIDEO_ROW)
    if catalogue.kind == "kuairand":
        with open_data("kuairand/catalogue.parquet") as file:
            real = pq.read_table(file)
        tags = 43  # Source: KuaiRand-Pure; one of them has no video with a known duration
        row = np.arange(catalogue.videos)
        copies = row >= real.num_rows
        row[copies] = _resampled_rows(key, np.flatnonzero(copies), real.num_rows)
        videos["duration_us"] = real["duration_ms"].to_numpy()[row].astype(np.int64) * 1000
        for name in ("tag", "tag2", "popularity"):
            videos[name] = real[name].to_numpy()[row]
    else:
        tags = catalogue.tags
        _synthesize(key, videos, tags, catalogue.duration_log_mean, catalogue.duration_log_sd)
    _give_quality(key, videos, catalogue.quality_sd, catalogue.appeal_sd, correlation)
    effect = blank(1, PARAMS_DTYPE)
    effect["stay_shorter"], effect["stay_longer"] = shorter, longer
    _add_length(effect, videos)
    order = np.argsort(videos["tag"], kind="stable")
    listed = blank(len(videos), LISTED)
    listed["video"] = order
    listed["cloud_quality"] = videos["cloud_quality"][order]
    listed["tag"], listed["tag2"] = videos["tag"][order], videos["tag2"][order]
    tag_start = np.searchsorted(videos["tag"][order], np.arange(tags + 1)).astype(np.int64)
    for array in (videos, listed, tag_start):
        array.setflags(write=False)
    return Videos(videos, listed, tag_start)


@entry
def _add_length(params, videos):
    """Quality includes what length does to staying; the cloud ranks within lengths (D2Q, KDD 2022), so its estimate
    does not."""
    for v in range(len(videos)):
        videos[v].quality += np.float32(length_logit(params[0], videos[v].duration_us))


@entry
def _resampled_rows(key, which, real):
    """Which real row each further video copies."""
    rows = np.empty(len(which), np.int64)
    for k in range(len(which)):
        rows[k] = min(np.int64(uniform(key, RESAMPLE, which[k], REAL_ROW, 0) * real), real - 1)
    return rows


@entry
def _synthesize(key, videos, tags, log_mean, log_sd):
    """Lognormal durations of 1 s to 1 h; tags by Zipf's law; no second tags; popularity by rank."""
    weight = np.cumsum(1.0 / np.arange(1, tags + 1))
    for v in range(len(videos)):
        z, _ = normal2(key, RESAMPLE, v, DURATION, 0)
        videos[v].duration_us = np.int64(min(max(np.exp(log_mean + log_sd * z), 1.0), 3600.0) * 1e6)
        tag = np.searchsorted(weight, uniform(key, RESAMPLE, v, TAG, 0) * weight[-1])
        videos[v].tag = min(tag, tags - 1)
        videos[v].tag2 = videos[v].tag
        videos[v].popularity = np.int32(1000.0 / (v + 1.0))


@entry
def _give_quality(key, videos, quality_sd, appeal_sd, correlation):
    """True and believed quality and appeal of each video: the belief is a posterior mean of stated correlation."""
    rest = np.sqrt(1.0 - correlation * correlation)
    for v in range(len(videos)):
        seen, unseen = normal2(key, VIDEO, v, 0, QUALITY)
        videos[v].cloud_quality = quality_sd * correlation * seen
        videos[v].quality = quality_sd * (correlation * seen + rest * unseen)
        seen, unseen = normal2(key, VIDEO, v, 0, APPEAL)
        videos[v].cloud_appeal = appeal_sd * correlation * seen
        videos[v].appeal = appeal_sd * (correlation * seen + rest * unseen)
