"""What a policy may see: one table of observed features. `observing.py` fills it in.

KIR's five groups (person, video, real-time feedback, server predictions, device and network) over three arrays:
candidates (P, Fc), history (H, Fh) and context (Fx). Everything is what the phone itself knows when it is asked. Left
out is whatever a real phone could not know: lasting person effect, mood, interests that last or pass, true quality, how
long the person is going to watch, the cloud's beliefs, capacity to come, outages to come, how a request will end.

Policies import column names only. A new feature is one line in the table and one line in `observing.py`.
"""

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.sim.config import DIMS, FEEDBACK, TIERS
from nextone.sim.state import PREDICTED as OUTCOMES
from nextone.sim.state import PXTR

# KIR's groups of features.
PERSON, VIDEO, REAL_TIME, PREDICTIONS, DEVICE = (
    "person", "video", "real-time feedback", "server predictions", "device and network",
)  # fmt: skip
GROUPS = (PERSON, VIDEO, REAL_TIME, PREDICTIONS, DEVICE)


class Feature(NamedTuple):
    """One column: float32 in [low, high], `scale` saying how it is made from a value in `unit`."""

    name: str
    group: str
    unit: str
    scale: str
    meaning: str
    low: float = 0.0
    high: float = 1.0


# -- scales -----------------------------------------------------------------------------------------------------------

LOGIT_SCALE = 10.0
TAG_SCALE = 128.0  # a power of two above every number of tags: float32 holds tag / 128 exactly
MOST_PAGES = 8.0
MOST_BUFFERED_S = 20.0
MOST_RATIO = 2.0
MOST_EMBEDDING = 4.0  # of a coordinate, which has a variance of about one
COUNTS = 250  # slots, ranks, positions
NEVER = 1 << 30  # of a tag: not among the past impressions


def _log_scale(most: float) -> float:
    """Factor that brings log(1 + x) to [0, 1] for x up to `most`."""
    return float(1.0 / np.log1p(most))


MOST_S, MOST_MIN, MOST_IMPRESSIONS, MOST_POPULARITY, MOST_PAST, MOST_MBPS = 3600, 240, 1000, 10_000, 1e8, 1000
PER_S, PER_MIN, PER_IMPRESSION = _log_scale(MOST_S), _log_scale(MOST_MIN), _log_scale(MOST_IMPRESSIONS)
PER_LOGIT, PER_TAG, MOST_LOGIT = 1e-3 / LOGIT_SCALE, 1.0 / TAG_SCALE, int(1e3 * LOGIT_SCALE)
PER_PAST, PER_MBPS, PER_POPULARITY = _log_scale(MOST_PAST), _log_scale(MOST_MBPS), _log_scale(MOST_POPULARITY)
TAGS = np.float32(TAG_SCALE)
LOG_COUNT = (np.log1p(np.arange(COUNTS + 1)) / np.log1p(COUNTS)).astype(np.float32)
LN_2 = float(np.log(2.0))


def _log(most: float) -> str:
    return f"log(1 + x) / log(1 + {most:.0f}), at most 1"


FLAG, TAG, COUNT, LOGIT = "0 or 1", f"/ {TAG_SCALE:.0f}", _log(COUNTS), f"/ {LOGIT_SCALE:.0f}, clipped to [-1, 1]"

RATES = ("effective view", *(name.replace("_", " ") for name in OUTCOMES[1:]))
PREDICTED = tuple(
    Feature(name, PREDICTIONS, "logit", LOGIT, f"server's predicted rate: {rate}", -1.0)
    for name, rate in zip(PXTR, RATES, strict=True)
)
KIND_OF_VIDEO = (
    Feature("duration", VIDEO, "s", _log(MOST_S), "length of the video"),
    Feature("tag", VIDEO, "index", TAG, "its tag; `tag_index` gives the number back"),
    Feature("tag2", VIDEO, "index", TAG, "its second tag, or the first again"),
)

EMBEDDING = tuple(
    Feature(f"embedding_{d}", VIDEO, "", f"/ {MOST_EMBEDDING:.0f}, clipped to [-1, 1]", "the server's embedding", -1.0)
    for d in range(DIMS)
)

# -- the table --------------------------------------------------------------------------------------------------------

CANDIDATE = (
    *PREDICTED,
    *KIND_OF_VIDEO,
    Feature("popularity", VIDEO, "impressions", _log(MOST_POPULARITY), "how often it was shown in the log"),
    Feature("rank", PREDICTIONS, "rank", COUNT, "the server's rank in its page"),
    Feature("score", PREDICTIONS, "share", "of the most a video could be worth", "what the server ranked by", -1.0),
    *EMBEDDING,
    Feature("page_age", PREDICTIONS, "requests", f"/ {MOST_PAGES:.0f}, at most 1", "requests sent since its own"),
    Feature("age", VIDEO, "s", _log(MOST_S), "since it entered the pool"),
    Feature("impressions_since", VIDEO, "impressions", COUNT, "shown since it entered the pool"),
    Feature("preloaded", DEVICE, "ratio", "at most 1", "preload progress: bytes held / bytes to preload"),
    Feature("buffered_s", DEVICE, "s", f"/ {MOST_BUFFERED_S:.0f}, at most 1", "content held of it"),
    *(Feature(f"diff_{name}", REAL_TIME, "logit", "difference of columns / 2", f"{name} above its counterpart's", -1.0)
      for name in PXTR),
    Feature("diff_time", REAL_TIME, "s", _log(MOST_S), "since its counterpart took the screen"),
    Feature("diff_position", REAL_TIME, "impressions", COUNT, "since its counterpart: 1 for the newest"),
    Feature("same_tag", REAL_TIME, "", FLAG, "its counterpart has a tag of its own"),
)  # fmt: skip
"""Columns of a candidate; a slot that is empty, or not for the phone's version of the model, is all zero.

Its counterpart is the newest past impression with a tag of its own, or the newest if there is none; without a past,
columns about it are zero. Source: CIKM 2022, crossing features of watched and candidate (one pair for each candidate).
"""

HISTORY = (
    Feature("present", REAL_TIME, "", FLAG, "there is such an impression; otherwise the row is zero"),
    Feature("watch_ratio", REAL_TIME, "ratio", f"/ {MOST_RATIO:.0f}, at most 1", "play time / duration"),
    Feature("play_time", REAL_TIME, "s", _log(MOST_S), "play time"),
    Feature("valid_play", REAL_TIME, "", FLAG, "played 7 s or to the end"),
    Feature("long_view", REAL_TIME, "", FLAG, "played 18 s or to the end"),
    Feature("completion", REAL_TIME, "", FLAG, "played .95 of it"),
    Feature("skip", REAL_TIME, "", FLAG, "left within 2 s"),
    *(Feature(kind, REAL_TIME, "", FLAG, f"feedback: {kind}") for kind in FEEDBACK),
    Feature("since", REAL_TIME, "s", _log(MOST_S), "since it took the screen"),
    Feature("encoded", REAL_TIME, "", FLAG, "perceived: a model's encoder has taken it in"),
    Feature("position", REAL_TIME, "impressions", COUNT, "its position in the page"),
    *KIND_OF_VIDEO,
    *PREDICTED,
    *EMBEDDING,
)  # fmt: skip
"""Columns of a past impression; rows run from the newest. What is on screen now is not among them."""

CONTEXT = (
    Feature("past_impressions", PERSON, "impressions", _log(MOST_PAST), "seen before the simulation"),
    *(Feature(f"past_{kind}", PERSON, "count", _log(MOST_PAST), f"{kind} before the simulation") for kind in FEEDBACK),
    *(Feature(f"past_{kind}_rate", PERSON, "ratio", "root, at most 1", f"{kind} per past one") for kind in FEEDBACK),
    Feature("hour_sin", PERSON, "h", "sin(2 pi h / 24)", "hour of day", -1.0),
    Feature("hour_cos", PERSON, "h", "cos(2 pi h / 24)", "hour of day", -1.0),
    Feature("session_impressions", REAL_TIME, "impressions", _log(MOST_IMPRESSIONS), "in this session so far"),
    Feature("session_minutes", REAL_TIME, "min", _log(MOST_MIN), "since the app was opened"),
    Feature("left", DEVICE, "impressions", COUNT, "of the page still to come"),
    Feature("live", DEVICE, "slots", COUNT, "candidates to choose from"),
    Feature("cellular", DEVICE, "", FLAG, "on a cellular link; otherwise WiFi"),
    Feature("throughput", DEVICE, "Mbit/s", _log(MOST_MBPS), "measured, running mean; 0: unknown"),
    Feature("offline", DEVICE, "", FLAG, "in a spell without network"),
    Feature("requested", DEVICE, "", FLAG, "a request for a page is under way, or is to be retried"),
    Feature("page_waits", DEVICE, "", FLAG, "a page waits beside the pool"),
    Feature("may_ask", DEVICE, "", FLAG, "a page may be asked for"),
    Feature("old_model", DEVICE, "", FLAG, "ranks with the model's version before the current one"),
    Feature("software_decoder", DEVICE, "", FLAG, "no hardware decoder"),
    *(Feature(f"tier_{tier}", DEVICE, "", FLAG, f"phone: {tier.replace('_', ' ')}") for tier in TIERS),
)  # fmt: skip
"""Columns of a person and phone."""


def _columns(name: str, features: tuple[Feature, ...]) -> Any:
    """Column numbers by feature name: `C.duration`. A tuple of integers, so that the kernel compiles them in."""
    columns: Any = namedtuple(name, [f.name for f in features])  # type: ignore[misc]  # names are data
    return columns(*range(len(features)))


C: Any = _columns("C", CANDIDATE)
"""Columns of `Observation.candidates` by name."""
H: Any = _columns("H", HISTORY)
"""Columns of `Observation.history` by name."""
X: Any = _columns("X", CONTEXT)
"""Columns of `Observation.context` by name."""
LASTING = int(C.page_age)
"""Columns of a candidate before this one never change while it is in the pool."""


class Observation(NamedTuple):
    """What N people's phones know when asked."""

    candidates: NDArray[np.float32]  # (N, P, Fc)
    history: NDArray[np.float32]  # (N, H, Fh), newest first
    context: NDArray[np.float32]  # (N, Fx)
    mask: NDArray[np.bool_]  # (N, P): slots that hold a video, with embeddings for the phone's version of the model


def empty_observation(n: int, p: int, h: int) -> Observation:
    """Room for n people, p pool slots and h history rows, all zero."""
    return Observation(
        np.zeros((n, p, len(CANDIDATE)), np.float32),
        np.zeros((n, h, len(HISTORY)), np.float32),
        np.zeros((n, len(CONTEXT)), np.float32),
        np.zeros((n, p), np.bool_),
    )


def tag_index(column: NDArray[np.float32]) -> NDArray[np.int64]:
    """The numbers of the tags in a `tag` or `tag2` column."""
    index: NDArray[np.int64] = np.rint(column * np.float32(TAG_SCALE)).astype(np.int64)
    return index


def unscaled(column: NDArray[np.float32], most: float) -> NDArray[np.float64]:
    """x of a column that holds log(1 + x) / log(1 + most)."""
    x: NDArray[np.float64] = np.expm1(column.astype(np.float64) * np.log1p(most))
    return x


def feature_table_markdown() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| array | column | name | group | unit | scale | range | meaning |", "|---|---|---|---|---|---|---|---|"]
    for array, features in (("candidates", CANDIDATE), ("history", HISTORY), ("context", CONTEXT)):
        for column, f in enumerate(features):
            cells = (array, column, f"`{f.name}`", f.group, f.unit, f.scale, f"{f.low:g} to {f.high:g}", f.meaning)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"
