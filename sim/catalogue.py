"""The catalogue: which videos there are, and what the cloud knows about them. Made once for a scenario.

The first 7,248 videos are the real ones of KuaiRand-Pure. Further ones take their durations and tags, together, from
random real ones. Authors, content, quality and appeal are drawn with the catalogue's own seed, so people and luck can
change while videos stay the same. The content of a video is a vector with three parts: one that it shares with its
tags, one that it shares with its author, and one of its own. The vectors are centred and made white over the catalogue,
so that the seed cannot decide how much there is to like.
"""

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np
import pyarrow.parquet as pq

from nextone.sim.engine.chance import keyed_words, normal2, quick_normal, uniform
from nextone.sim.engine.kernel import LINE, entry, inlined, kernel
from nextone.sim.engine.luck import (
    APPEAL,
    AUTHOR,
    AUTHOR_QUALITY,
    CONTENT,
    DURATION,
    OF_AUTHOR,
    OF_EMBEDDING,
    OF_TAG,
    OF_VIDEO,
    QUALITY,
    RATE_ERRORS,
    REAL_ROW,
    RESAMPLE,
    TAG,
    TAG_QUALITY,
    VIDEO,
)

from .cloud.rates import tails
from .config import DIMS, PARAMS_DTYPE, Catalogue, Scenario
from .data import open_data
from .state import INDEXED, Array, blank
from .state import VIDEO as VIDEO_ROW
from .watching import LONG_US, length_logit

MOST_TAGS = 128  # beyond any number of tags
ERRORS_KEY = (7, 11)  # of the errors of predicted rates: the same in every catalogue
REAL_VIDEOS = 7_248  # Source: KuaiRand-Pure, videos with a tag and a duration


class Videos(NamedTuple):
    """The catalogue as the model reads it."""

    videos: Array  # (V,) state.VIDEO
    content: Array  # (V, DIMS) float32
    indexed: Array  # (V,) state.INDEXED
    earlier: Array  # (V, DIMS) float32: embeddings of the model's version before, or (0, DIMS): the same


KNOWN_BY = (
    "quality_sd", "appeal_sd", "quality_correlation", "embedding_correlation", "embedding_impressions",
    "version_gap", "pxtr_noise", "stay_shorter",
    "stay_longer", "dead_time_us", "skip_log_mean", "skip_log_sd", "watch_log_mean", "watch_log_sd",
)  # fmt: skip
"""The scenario's numbers outside `Catalogue` on which videos and what the cloud knows of them depend."""


def make_catalogue(scenario: Scenario) -> Videos:
    """The videos of a scenario; the arrays are shared and read-only."""
    params = scenario.params()[0]
    return _make(scenario.catalogue, tuple(float(params[name]) for name in KNOWN_BY))


@lru_cache(maxsize=4)
def _make(catalogue: Catalogue, numbers: tuple[float, ...]) -> Videos:
    key, record = _key(catalogue), blank(1, PARAMS_DTYPE)
    for name, number in zip(KNOWN_BY, numbers, strict=True):
        record[name] = number
    plain, content = _plain(catalogue)
    videos, index = blank(len(plain), VIDEO_ROW), in_lines(len(plain))
    videos[:] = plain  # a copy would leave what lies between the fields to chance
    _give_quality(record, key, videos, index, quality_of_tags(catalogue), catalogue.author_quality)
    earlier = np.zeros((len(plain) if record["embedding_impressions"][0] > 0 else 0, DIMS), np.float32)
    _index(record, key, videos, content[:, : catalogue.content_dims], index, earlier)
    for array in (videos, index, earlier):
        array.setflags(write=False)
    return Videos(videos, content, index, earlier)


def in_lines(size: int) -> Array:
    """Zeroed rows of the index, each in one line of memory."""
    assert INDEXED.itemsize == LINE
    spare = np.zeros(size * LINE + LINE, np.uint8)
    first = -spare.ctypes.data % LINE
    rows: Array = spare[first : first + size * LINE].view(INDEXED)
    return rows.view(np.recarray) if numba.config.DISABLE_JIT else rows  # type: ignore[attr-defined]


def _key(catalogue: Catalogue) -> Array:
    return np.array([catalogue.catalogue_seed, 0x766964], dtype=np.uint32)


@lru_cache(maxsize=4)
def _plain(catalogue: Catalogue) -> tuple[Array, Array]:
    """(videos without quality and appeal, their content)."""
    key, videos = _key(catalogue), blank(catalogue.videos, VIDEO_ROW)
    if catalogue.kind == "kuairand":
        with open_data("kuairand/catalogue.parquet") as file:
            real = pq.read_table(file)
        row = np.arange(catalogue.videos)
        copies = row >= real.num_rows
        row[copies] = _resampled_rows(key, np.flatnonzero(copies), real.num_rows)
        videos["duration_us"] = real["duration_ms"].to_numpy()[row].astype(np.int64) * 1000
        for name in ("tag", "tag2", "popularity"):
            videos[name] = real[name].to_numpy()[row]
        authors = _real_authors(real["video_id"].to_numpy())
        videos["author"] = authors[row]
        videos["author"][copies] = authors.max() + 1 + _authors(key, np.flatnonzero(copies), catalogue)
    else:
        videos["author"] = _authors(key, np.arange(catalogue.videos), catalogue)
        _synthesize(key, videos, catalogue.tags, catalogue.duration_log_mean, catalogue.duration_log_sd)
    content = np.zeros((len(videos), DIMS), np.float32)
    _mix_content(key, videos, content[:, : catalogue.content_dims], catalogue.tag_share, catalogue.author_share)
    whiten(content[:, : catalogue.content_dims])
    content.setflags(write=False)
    return videos, content


@lru_cache(maxsize=4)
def quality_of_tags(catalogue: Catalogue) -> Array:
    """The part of each video's quality that it shares with all of its tags, (V,) logit: of mean 0 and standard
    deviation `catalogue.tag_quality`, for there are few tags, and no seed decides how much there is to like."""
    videos = _plain(catalogue)[0]
    found = np.empty((len(videos), 1), np.float32)
    _tag_parts(_key(catalogue), videos, found)
    whiten(found)
    return np.float32(catalogue.tag_quality) * found[:, 0]


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


def _real_authors(video_id: Array) -> Array:
    """Who made the real videos, by number."""
    with open_data("kuairand/authors.parquet") as file:
        known = pq.read_table(file)
    author = np.zeros(int(known["video_id"].to_numpy().max()) + 1, np.int32)
    author[known["video_id"].to_numpy()] = known["author"].to_numpy()
    return np.asarray(author[video_id])


def _authors(key: Array, which: Array, catalogue: Catalogue) -> Array:
    """Who made each of some videos: an author of rank r makes so many as r to the power of -author_zipf."""
    return np.asarray(_draw_authors(key, which, catalogue.authors, 1.0 / (1.0 - catalogue.author_zipf)))


@entry
def _draw_authors(key, which, authors, power):
    """By inverting the integral of the shares."""
    drawn = np.empty(len(which), np.int32)
    for k in range(len(which)):
        drawn[k] = min(np.int64(authors * uniform(key, RESAMPLE, which[k], AUTHOR, 0) ** power), authors - 1)
    return drawn


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
        draw_content(key, np.int64(t), np.int64(OF_TAG), tags[t])
    for v in range(len(content)):
        row = videos[v]
        draw_content(key, np.int64(row.author), np.int64(OF_AUTHOR), author)
        draw_content(key, np.int64(v), np.int64(OF_VIDEO), own)
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
            mean += np.float64(content[v, d])
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
def _give_quality(params, key, videos, index, of_tags, author_share):
    """True and believed quality and appeal of each video: the belief is a posterior mean of stated correlation. Quality
    includes what its tags, (V,), and its length do to staying, which the cloud knows."""
    p = params[0]
    known, rest = p.quality_correlation, np.sqrt(1.0 - p.quality_correlation**2)
    of_author, of_own = np.sqrt(author_share), np.sqrt(1.0 - author_share)
    for v in range(len(videos)):
        usual = length_logit(p, videos[v].duration_us) + np.float64(of_tags[v])
        seen_own, unseen_own = normal2(key, VIDEO, v, 0, QUALITY)
        seen_author, unseen_author = normal2(key, VIDEO, np.int64(videos[v].author), 0, AUTHOR_QUALITY)
        seen = of_own * seen_own + of_author * seen_author
        unseen = of_own * unseen_own + of_author * unseen_author
        index[v].quality = p.quality_sd * known * seen + usual
        videos[v].quality = p.quality_sd * (known * seen + rest * unseen) + usual
        seen, unseen = normal2(key, VIDEO, v, 0, APPEAL)
        believed = np.exp(p.appeal_sd * known * seen - 0.5 * (p.appeal_sd * known) ** 2)
        for k in range(len(index[v].appeal)):
            index[v].appeal[k] = believed
        videos[v].appeal = p.appeal_sd * (known * seen + rest * unseen)


@entry
def _tag_parts(key, videos, out):
    """What a video's tags make of it, (V, 1), before it is scaled. Of two tags, each counts half."""
    of_tag = np.empty(MOST_TAGS)
    for t in range(MOST_TAGS):
        of_tag[t], _ = normal2(key, VIDEO, np.int64(t), 0, TAG_QUALITY)
    for v in range(len(videos)):
        row = videos[v]
        both = np.sqrt(0.5) * (of_tag[row.tag] + of_tag[row.tag2])
        out[v, 0] = np.float32(of_tag[row.tag] if row.tag2 == row.tag else both)


@inlined
def embed(p, impressions, content, error, out):
    """A video's embedding, as a posterior mean, into out (DIMS,): the more impressions, the more it says of the content
    (K,); error (K,): what it gets wrong."""
    share = impressions / (impressions + p.embedding_impressions) if p.embedding_impressions > 0.0 else 1.0
    known = p.embedding_correlation * np.sqrt(share)
    rest = np.sqrt(1.0 - known**2)
    for d in range(len(error)):
        out[d] = np.float32(known * (known * content[d] + rest * error[d]))


@entry
def _index(params, key, videos, content, index, earlier):
    """What else the cloud knows of a video: an embedding that correlates with its content as stated, a posterior mean;
    lasting errors of its rates of feedback; and what its length does to the chance of a long view."""
    p, error, told = params[0], np.empty(content.shape[1]), np.empty(content.shape[1], np.float32)
    for v in range(len(videos)):
        row = index[v]
        draw_content(key, np.int64(v), np.int64(OF_EMBEDDING), error)
        embed(p, np.float64(videos[v].popularity), content[v], error, told)
        for d in range(len(told)):
            row.embedding[d] = told[d]
        if len(earlier) > 0:
            embed(p, videos[v].popularity * (1.0 - p.version_gap), content[v], error, told)
            for d in range(len(told)):
                earlier[v, d] = told[d]
        noise = keyed_words(ERRORS_KEY, VIDEO, v, RATE_ERRORS, 0)
        words = (noise.w0, noise.w1, noise.w2)
        for k in range(len(row.appeal)):
            word = words[k // 2]
            half = (word >> np.uint64(16)) if k % 2 else (word & np.uint64(0xFFFF))
            wrong = quick_normal((half << np.uint64(16)) | np.uint64(0x8000), np.uint64(0))
            row.appeal[k] *= np.float32(np.exp(p.pxtr_noise * wrong))
        row.skip_long, row.watch_long = tails(p, min(np.int64(LONG_US), videos[v].duration_us))
