"""Policies made by hand: no training, no memory, a few lines each. Plain functions of the observation.

All of them give slots that hold the same video the same score (`buffered_first` if they are equally preloaded), so that
the server's rank decides between them; and none looks at the order of slots, or at other people.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import LOGIT_SCALE, MOST_BUFFERED_S, C, H, Observation, X, tag_index
from nextone.sim.state import PXTR

from .contract import Scores

Array = NDArray[Any]

# Assumed: what an outcome is worth in effective views. Kuaishou adds effective views and likes with weights it does not
# publish (CIKM 2022, section 5).
_WORTH = {"pevtr": 1.0, "plvtr": 0.5, "pltr": 1.0, "pwtr": 2.0, "pcmtr": 1.0, "pftr": 1.0, "phtr": -2.0}
WORTH = np.array([_WORTH[rate] for rate in PXTR], np.float32)

FADE = 0.95  # Assumed: weight of the impression before against the one after
TYPICAL = 3.0  # Assumed: impressions after which a person's recent luck is believed half
BELIEF = 12.0  # Assumed: impressions of a tag after which its surprise is believed half

NEAR = 0.05  # Assumed: in effective views; candidates that close are equally good
PAUSE_S = 5.0  # Assumed: what an impression takes besides its video
STARTS_S = 1.0  # Assumed: content held for a start without waiting; the usual player needs half of it
NOT_OFFLINE = 100.0  # beyond any difference of worth


def rates(rows: Array, first: int) -> Array:
    """The probabilities in the 7 predicted-rate columns from `first` on, (..., 7)."""
    chance: Array = 1.0 / (1.0 + np.exp(-LOGIT_SCALE * rows[..., first : first + len(WORTH)]))
    return chance


def worth(outcomes: Array) -> Array:
    """What outcomes or their probabilities (..., 7) are worth, in effective views. Summed one by one: matrix products
    round differently from one batch size to another."""
    total: Array = outcomes[..., 0] * WORTH[0]
    for head in range(1, len(WORTH)):
        total = total + outcomes[..., head] * WORTH[head]
    return total


def server_score(observation: Observation) -> Scores:
    """The server's own score, by which it ranked (`server.objective`); the phone adds nothing."""
    return np.asarray(observation.candidates[..., C.score], np.float32)


def blend(observation: Observation) -> Array:
    """A fixed blend of the server's predicted rates, in effective views."""
    return worth(rates(observation.candidates, C.pevtr))


def tag_momentum(observation: Observation) -> Scores:
    """The server's score, corrected per tag by what this person just enjoyed or skipped.

    A past impression's surprise is what it brought, minus what the server had predicted, in effective views, minus the
    person's recent average. A tag's correction is the mean surprise of its impressions, where later ones count more;
    the more there are, the more it is believed. Of two tags, each gets half, and a candidate takes the mean of its
    own."""
    history, candidates = observation.history, observation.candidates
    n, rows = history.shape[:2]
    outcomes = history[..., [H.valid_play, H.long_view, H.like, H.follow, H.comment, H.forward, H.hate]]
    surprise = worth(outcomes) - worth(rates(history, H.pevtr))  # (N, H)
    weight = history[..., H.present] * np.float32(FADE) ** np.arange(rows, dtype=np.float32)
    usual = np.cumsum(weight * surprise, 1)[:, -1] / (np.cumsum(weight, 1)[:, -1] + np.float32(TYPICAL))
    surprise = surprise - usual[:, None]
    person = np.arange(n)[:, None] << 7  # tags are below 128
    cells = np.concatenate([person + tag_index(history[..., H.tag]), person + tag_index(history[..., H.tag2])], 1)
    half = 0.5 * np.concatenate([weight, weight], 1)
    both = np.concatenate([surprise, surprise], 1)
    total = np.bincount(cells.ravel(), (half * both).ravel(), n << 7)  # adds in the order of rows, person by person
    seen = np.bincount(cells.ravel(), half.ravel(), n << 7)
    correction = total / (seen + BELIEF)
    tag, tag2 = tag_index(candidates[..., C.tag]), tag_index(candidates[..., C.tag2])
    shift = 0.5 * (correction[person + tag] + correction[person + tag2])
    return np.asarray(blend(observation) + shift, np.float32)


def buffered_first(observation: Observation) -> Scores:
    """The server's score, but nothing that would keep the person waiting while something nearly as good is preloaded.

    Compare GRF (arXiv 2410.05863), which gates candidates on the phone by predicted playback trouble. Without network,
    only what is preloaded.
    """
    candidates = observation.candidates
    cost = np.where(observation.context[:, X.offline] > 0, NOT_OFFLINE, NEAR)[:, None]
    return np.asarray(blend(observation) - cost * ~starts_at_once(candidates), np.float32)


def starts_at_once(candidates: Array) -> NDArray[np.bool_]:
    """Which candidates (..., P, Fc) are on the phone far enough to start without waiting."""
    held: NDArray[np.bool_] = (candidates[..., C.preloaded] >= 1) | (
        candidates[..., C.buffered_s] * MOST_BUFFERED_S >= STARTS_S
    )
    return held


def longest_first(observation: Observation) -> Scores:
    """A canary: a reward that pays for watch time alone gets this. It must not win."""
    return np.asarray(observation.candidates[..., C.duration], np.float32)


def at_random(observation: Observation, seed: int = 0) -> Scores:
    """Any candidate, all equally likely: a hash of seed, person, moment and video. There is no generator, so the order
    of calls does not matter."""
    who_and_when = hash_columns(observation.context[:, : X.session_impressions + 1])  # past counts, hour, impressions
    video = hash_columns(observation.candidates[..., : C.rank])  # what identifies it, not where it stands
    drawn = mixed(video ^ mixed(who_and_when + np.full(1, seed, np.uint64))[:, None])
    return np.asarray((drawn >> np.uint64(40)).astype(np.float32) / np.float32(2**24))


def hash_columns(values: Array) -> NDArray[np.uint64]:
    """64 bits from the last axis's float32 bits: a sum with random odd factors, then mixed."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return mixed((bits * FACTORS[: values.shape[-1]]).sum(-1))


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): every bit of x moves every bit of the result."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


FACTORS = mixed(np.arange(64, dtype=np.uint64)) | np.uint64(1)
