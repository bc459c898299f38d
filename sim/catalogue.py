"""The catalogue: what videos there are, and what the cloud knows of them. Made once for a scenario.

The first 7,248 are the real ones of KuaiRand-Pure; further ones resample the durations and tags of real rows jointly.
Authors, content, quality and appeal are keyed by the catalogue's own seed, so that people and luck can change while
videos stay. The content of a video is a vector: a part that it shares with its tags, one with its author, and one of its
own. It is centred and made white over the catalogue, so that no seed decides how much there is to like.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from nextone.sim.engine.chance import normal2, uniform
from nextone.sim.engine.kernel import entry, kernel
from nextone.sim.engine.luck import (
    APPEAL,
    AUTHOR,
    CONTENT,
    DURATION,
    OF_AUTHOR,
    OF_EMBEDDING,
    OF_TAG,
    OF_VIDEO,
    QUALITY,
    REAL_ROW,
    RESAMPLE,
    TAG,
    VIDEO,
)

from .config import DIMS, PARAMS_DTYPE, Catalogue, Scenario
from .data import open_data
from .state import INDEXED, Array, blank
from .state import VIDEO as VIDEO_ROW
from .watching import length_logit

MOST_TAGS = 128  # beyond any number of tags
REAL_VIDEOS = 7_248  # Source: KuaiRand-Pure, videos with a tag and a duration


class Videos(NamedTuple):
    """The catalogue as the model reads it."""

    videos: Array  # (V,) state.VIDEO
    content: Array  # (V, DIMS) float32
    index: Array  # (V,) state.INDEXED


def make_catalogue(scenario: Scenario) -> Videos:
    """The videos of a scenario; the arrays are shared and read-only."""
    w, server = scenario.watching, scenario.server
    return _make(
        scenario.catalogue, server.quality_correlation, server.embedding_correlation, w.stay_shorter, w.stay_longer
    )


@lru_cache(maxsize=4)
def _make(catalogue: Catalogue, known: float, embedded: float, shorter: float, longer: float) -> Videos:
    """known: correlation of estimate and truth, of quality and appeal; embedded: of embedding and content."""
    key = np.array([catalogue.catalogue_seed, 0x766964], dtype=np.uint32)
    videos, index = blank(catalogue.videos, VIDEO_ROW), blank(catalogue.videos, INDEXED)
    if catalogue.kind == "kuairand":
        with open_data("kuairand/catalogue.parquet") as file:
            real = pq.read_table(file)
        row = np.arange(catalogue.videos)
        copies = row >= real.num_rows
        row[copies] = _resampled_rows(key, np.flatnonzero(copies), real.num_rows)
        videos["duration_us"] = real["duration_ms"].to_numpy()[row].astype(np.int64) * 1000
        for name in ("tag", "tag2", "popularity"):
            videos[name] = real[name].to_numpy()[row]
    else:
        _synthesize(key, videos, catalogue.tags, catalogue.duration_log_mean, catalogue.duration_log_sd)
    _give_authors(key, videos, catalogue.authors)
    content = np.zeros((len(videos), DIMS), np.float32)
    _mix_content(key, videos, content[:, : catalogue.content_dims], catalogue.tag_share, catalogue.author_share)
    whiten(content[:, : catalogue.content_dims])
    _embed(key, content[:, : catalogue.content_dims], index, embedded)
    _give_quality(key, videos, index, catalogue.quality_sd, catalogue.appeal_sd, known)
    effect = blank(1, PARAMS_DTYPE)
    effect["stay_shorter"], effect["stay_longer"] = shorter, longer
    _add_length(effect, videos, index)
    for array in (videos, content, index):
        array.setflags(write=False)
    return Videos(videos, content, index)


@entry
def _add_length(params, videos, index):
    """Quality includes what length does to staying, which the cloud knows as well."""
    for v in range(len(videos)):
        effect = np.float32(length_logit(params[0], videos[v].duration_us))
        videos[v].quality += effect
        index[v].quality += effect
        index[v].duration_us = videos[v].duration_us


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
def _give_authors(key, videos, authors):
    """Who made a video: Zipf's law, by inverting the integral of 1 / rank."""
    for v in range(len(videos)):
        u = uniform(key, RESAMPLE, v, AUTHOR, 0)
        videos[v].author = min(np.int64(np.exp(u * np.log(authors + 1.0))), authors) - 1


@kernel
def draw_content(key, what, kind, out):
    """What a tag, an author or a video adds to content, or gets wrong of it: standard normals into out (K,)."""
    for d in range(0, len(out), 2):
        first, second = normal2(key, CONTENT, what, d, kind)
        out[d] = first
        if d + 1 < len(out):
            out[d + 1] = second


@entry
def _mix_content(key, videos, content, tag_share, author_share):
    """Content before it is made white: parts of the stated shares of variance. Of two tags, each counts half."""
    dims = content.shape[1]
    of_own = np.sqrt(max(1.0 - tag_share - author_share, 0.0))
    of_tag, of_author = np.sqrt(tag_share), np.sqrt(author_share)
    tags, author, own = np.empty((MOST_TAGS, dims)), np.empty(dims), np.empty(dims)
    for t in range(len(tags)):
        draw_content(key, np.int64(t), OF_TAG, tags[t])
    for v in range(len(content)):
        row = videos[v]
        draw_content(key, np.int64(row.author), OF_AUTHOR, author)
        draw_content(key, np.int64(v), OF_VIDEO, own)
        for d in range(dims):
            tag = tags[row.tag, d]
            if row.tag2 != row.tag:
                tag = np.sqrt(0.5) * (tag + tags[row.tag2, d])
            content[v, d] = np.float32(of_tag * tag + of_author * author[d] + of_own * own[d])


@entry
def whiten(content):
    """Centre the rows (V, K) and make their covariance the identity, in place, by its Cholesky factor.

    A dimension in which they do not differ, beyond those before it, becomes zero. Sums run row by row, so that every
    machine gets the same bits."""
    rows, dims = content.shape
    for d in range(dims):
        mean = 0.0
        for v in range(rows):
            mean += content[v, d]
        mean /= rows
        for v in range(rows):
            content[v, d] = np.float32(content[v, d] - mean)
    factor = np.zeros((dims, dims))
    for v in range(rows):
        for a in range(dims):
            for b in range(a + 1):
                factor[a, b] += np.float64(content[v, a]) * np.float64(content[v, b]) / rows
    for a in range(dims):
        whole = factor[a, a]
        for b in range(a + 1):
            left = factor[a, b]
            for c in range(b):
                left -= factor[a, c] * factor[b, c]
            if a == b:
                factor[a, a] = np.sqrt(left) if left > 1e-6 * whole else 0.0
            else:
                factor[a, b] = left / factor[b, b] if factor[b, b] > 0.0 else 0.0
    for v in range(rows):
        for a in range(dims):
            x = np.float64(content[v, a])
            for b in range(a):
                x -= factor[a, b] * np.float64(content[v, b])
            content[v, a] = np.float32(x / factor[a, a]) if factor[a, a] > 0.0 else np.float32(0.0)


@entry
def _embed(key, content, index, correlation):
    """The cloud's embedding of a video: what to expect of its content, which correlates with it as stated."""
    rest, error = np.sqrt(1.0 - correlation * correlation), np.empty(content.shape[1])
    for v in range(len(content)):
        draw_content(key, np.int64(v), OF_EMBEDDING, error)
        for d in range(len(error)):
            index[v].embedding[d] = np.float32(correlation * (correlation * content[v, d] + rest * error[d]))


@entry
def _give_quality(key, videos, index, quality_sd, appeal_sd, correlation):
    """True and believed quality and appeal of each video: the belief is a posterior mean of stated correlation."""
    rest = np.sqrt(1.0 - correlation * correlation)
    for v in range(len(videos)):
        seen, unseen = normal2(key, VIDEO, v, 0, QUALITY)
        index[v].quality = quality_sd * correlation * seen
        videos[v].quality = quality_sd * (correlation * seen + rest * unseen)
        seen, unseen = normal2(key, VIDEO, v, 0, APPEAL)
        index[v].appeal = appeal_sd * correlation * seen
        videos[v].appeal = appeal_sd * (correlation * seen + rest * unseen)
