"""What a policy may see: one table of observed features, and the one compiled function that fills it in.

KIR's five groups (person, video, real-time feedback, server predictions, device and network) over three arrays:
candidates (P, Fc), history (H, Fh) and context (Fx). Everything is what the phone itself knows when it is asked. Left
out is whatever a real phone could not know: lasting person effect, mood, interests and their drift, true quality, how
long the person is going to watch, the cloud's beliefs, capacity to come, outages to come, how a request will end.

Called by the environments and by whatever asks a policy (`experiments/runs/deciding.py`); policies import
column names only. A new feature is one line in the table and one line in the kernel.
"""

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.sim.config import FEEDBACK, TIERS
from nextone.sim.engine.kernel import allocating, copy_rows, entry, inlined
from nextone.sim.network import cellular, offline
from nextone.sim.player import content_us, preload_size
from nextone.sim.pool import live_slots, rankable
from nextone.sim.request import candidate_in
from nextone.sim.state import BACKOFF, COMPLETE, IDLE, LONG, PREVIOUS, PXTR, READY, SKIP, VALID
from nextone.sim.state import PREDICTED as OUTCOMES
from nextone.sim.watching import outcome_of

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

# -- the table --------------------------------------------------------------------------------------------------------

CANDIDATE = (
    *PREDICTED,
    *KIND_OF_VIDEO,
    Feature("popularity", VIDEO, "impressions", _log(MOST_POPULARITY), "how often it was shown in the log"),
    Feature("rank", PREDICTIONS, "rank", COUNT, "the server's rank in its page"),
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
    """The tags' numbers behind a `tag` or `tag2` column."""
    index: NDArray[np.int64] = np.rint(column * np.float32(TAG_SCALE)).astype(np.int64)
    return index


def feature_table_markdown() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| array | column | name | group | unit | scale | range | meaning |", "|---|---|---|---|---|---|---|---|"]
    for array, features in (("candidates", CANDIDATE), ("history", HISTORY), ("context", CONTEXT)):
        for column, f in enumerate(features):
            cells = (array, column, f"`{f.name}`", f.group, f.unit, f.scale, f"{f.low:g} to {f.high:g}", f.meaning)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


# -- the kernel -------------------------------------------------------------------------------------------------------


@entry
def observe(w, rows, candidates, history, context, mask):
    """Fill in what the phones of the people in `rows` (n,) know.

    candidates (n, P, Fc), history (n, H, Fh), context (n, Fx): float32; mask (n, P): bool."""
    slots, past = np.empty((w.pool.shape[1], LASTING), np.float32), np.empty(history.shape[1:], np.float32)
    nobody, newest_of = np.empty(len(slots), np.int64), no_tags()
    for k in range(len(rows)):
        nobody[:] = -1
        observe_again(w, rows[k], slots, nobody, past, -1, newest_of, candidates[k], history[k], context[k], mask[k])


@allocating
def no_tags():
    """Room for `observe_crossings`."""
    return np.full(np.int64(TAG_SCALE), NEVER)


@inlined
def observe_again(w, i, slots, slots_as, past, past_to, newest_of, candidates, history, context, mask):
    """`observe` of person i, into the arrays of one; the number of the newest impression. The same bits, sooner, for
    who is observed at every decision: slots, slots_as, past and past_to keep what did not change, see `observe_pool`
    and `observe_history`. newest_of: `no_tags`."""
    p, user = w.params[0], w.users[i]
    observe_pool(p, user, w.pool[i], w.videos, slots, slots_as, candidates, mask)
    observe_context(p, user, w.pool[i], context)
    newest, count = observe_history(user, w.screen[i].video >= 0, w.history[i], w.videos, past, past_to, history)
    observe_crossings(history, count, newest_of, candidates, mask)
    return newest


@inlined
def observe_pool(p, user, pool, videos, known, known_as, candidates, mask):
    """One person's candidates (P, Fc) and mask (P,), but for what they have to do with the past.

    What does not change while a video is in the pool is kept in known (P, LASTING); known_as (P,): of which candidate,
    -1 of none."""
    arrived_us, age = np.int64(-1), np.float32(0.0)
    for k in range(len(pool)):
        slot, row, lasting = pool[k], candidates[k], known[k]
        mask[k] = rankable(user, slot)
        if not mask[k]:
            for column in range(len(CANDIDATE)):
                row[column] = 0.0
            continue
        if known_as[k] != candidate_in(slot):
            known_as[k] = candidate_in(slot)
            observe_kind(videos[slot.video], slot.pxtr, lasting, C.pevtr, C.duration)
            lasting[C.popularity] = log_scaled(videos[slot.video].popularity, PER_POPULARITY)
            lasting[C.rank] = LOG_COUNT[min(slot.rank, COUNTS)]
        copy_rows(row, 0, lasting, 0, LASTING)
        for column in range(LASTING, len(CANDIDATE)):
            row[column] = 0.0
        if slot.arrived_us != arrived_us:  # a page arrives as one: few logarithms
            arrived_us = slot.arrived_us
            age = log_seconds(user.now_us - arrived_us)
        row[C.page_age] = min(((user.request - np.int64(slot.request)) & 0xFFFF) / MOST_PAGES, 1.0)
        row[C.age] = age
        row[C.impressions_since] = LOG_COUNT[min((user.impression - np.int64(slot.arrived_at)) & 0xFFFF, COUNTS)]
        if slot.buffered > 0:
            bitrate_bps = p.bitrates_bps[slot.bitrate]
            goal = preload_size(p, videos[slot.video], bitrate_bps)
            row[C.preloaded] = min(slot.buffered / max(goal, 1), 1.0)
            row[C.buffered_s] = min(content_us(np.int64(slot.buffered), bitrate_bps) * 1e-6 / MOST_BUFFERED_S, 1.0)


@inlined
def observe_history(user, on_screen, ring, videos, known, known_to, history):
    """One person's past impressions (H, Fh), newest first: (the newest one's number, how many there are). What is on
    screen, if anything, is not over: left out.

    What does not change any more is kept in known (H, Fh), a ring like theirs but the other way round, to be copied as
    it lies; known_to: up to which impression (-1).
    """
    last = len(ring) - 1
    newest = np.int64(user.impression) - on_screen
    now_ms = user.now_us // 1000
    count = max(min(newest + 1, len(ring) - on_screen), 0)  # what is on screen has taken the place of the oldest
    for n in range(max(known_to, newest - count) + 1, newest + 1):
        past = ring[n % len(ring)]
        observe_past(past, videos[past.video], known[last - n % len(ring)])
    at = last - newest % len(ring)
    before_end = min(count, len(ring) - at)
    copy_rows(history, 0, known, at, before_end)
    copy_rows(history, before_end, known, 0, count - before_end)
    for k in range(count):
        row = history[k]
        since_ms = (now_ms - np.int64(ring[last - at].start_ms)) & 0xFFFFFFFF
        row[H.since] = log_seconds(since_ms * 1000)
        row[H.encoded] = 1.0
        at = at + 1 if at < last else 0
    if count > 0:
        history[0, H.encoded] = user.now_us >= user.encoded_us
    for k in range(count, len(history)):
        for column in range(len(HISTORY)):
            history[k, column] = 0.0
    return newest, count


@inlined
def observe_crossings(history, count, newest_of, candidates, mask):
    """What candidates (P, Fc) have to do with the `count` past impressions (H, Fh), newest first; from their other
    columns alone.

    newest_of: (TAG_SCALE,) scratch, NEVER before and after."""
    if count == 0:
        return
    for k in range(count - 1, -1, -1):
        newest_of[np.int64(history[k, H.tag] * TAGS)] = k
        newest_of[np.int64(history[k, H.tag2] * TAGS)] = k
    for k in range(len(candidates)):
        if not mask[k]:
            continue
        row = candidates[k]
        alike = min(newest_of[np.int64(row[C.tag] * TAGS)], newest_of[np.int64(row[C.tag2] * TAGS)])
        row[C.same_tag] = alike < NEVER
        alike = alike if alike < NEVER else 0
        past = history[alike]
        for head in range(len(PXTR)):
            row[C.diff_pevtr + head] = np.float32(0.5) * (row[C.pevtr + head] - past[H.pevtr + head])
        row[C.diff_time] = past[H.since]
        row[C.diff_position] = LOG_COUNT[min(alike + 1, COUNTS)]
    for k in range(count):
        newest_of[np.int64(history[k, H.tag] * TAGS)] = NEVER
        newest_of[np.int64(history[k, H.tag2] * TAGS)] = NEVER


@inlined
def observe_past(past, video, row):
    """One past impression (Fh,), but for how long ago it was and whether it is encoded."""
    play_us, duration_us = np.int64(past.play_ms) * 1000, video.duration_us // 1000 * 1000
    outcome = outcome_of(play_us, duration_us)  # both known to the millisecond
    observe_kind(video, past.pxtr, row, H.pevtr, H.duration)
    row[H.present] = 1.0
    row[H.watch_ratio] = min(play_us / (MOST_RATIO * max(duration_us, 1)), 1.0)
    row[H.play_time] = log_seconds(play_us)
    row[H.valid_play] = outcome & VALID != 0
    row[H.long_view] = outcome & LONG != 0
    row[H.completion] = outcome & COMPLETE != 0
    row[H.skip] = outcome & SKIP != 0
    for kind in range(len(FEEDBACK)):
        row[H.like + kind] = (past.feedback >> kind) & 1
    row[H.position] = LOG_COUNT[min(past.position, COUNTS)]


@inlined
def observe_context(p, user, pool, row):
    """One person and phone (Fx,)."""
    row[:] = 0.0
    row[X.past_impressions] = log_scaled(user.past_impressions, PER_PAST)
    for kind in range(len(FEEDBACK)):
        count = user.past[kind]
        if count > 0:
            row[X.past_like + kind] = log_scaled(count, PER_PAST)
            row[X.past_like_rate + kind] = min(np.sqrt(count / max(user.past_impressions, 1)), 1.0)
    angle = (p.start_hour + user.now_us / 3.6e9) * (2.0 * np.pi / 24.0)
    row[X.hour_sin] = np.sin(angle)
    row[X.hour_cos] = np.cos(angle)
    row[X.session_impressions] = log_scaled(user.impression - user.impressions_before, PER_IMPRESSION)
    row[X.session_minutes] = log_scaled((user.now_us - user.opened_us) / 6e7, PER_MIN)
    row[X.left] = LOG_COUNT[min(user.left, COUNTS)]
    row[X.live] = LOG_COUNT[min(live_slots(pool), COUNTS)]
    row[X.cellular] = cellular(user)
    row[X.throughput] = log_scaled(user.rate_bps * 1e-6, PER_MBPS)
    row[X.offline] = offline(user, user.now_us)
    row[X.requested] = IDLE < user.request_state <= BACKOFF  # sent, lost or on its way: the phone cannot tell
    row[X.page_waits] = user.request_state == READY
    row[X.may_ask] = user.request_state == IDLE
    row[X.old_model] = user.model == PREVIOUS
    row[X.software_decoder] = user.software_decoder
    row[X.tier_android_low + user.tier] = 1.0


@inlined
def observe_kind(video, pxtr, row, predicted, kind):
    """What is said of a video alike as a candidate and in the history: `PREDICTED` and `KIND_OF_VIDEO`, from those
    columns on."""
    for head in range(len(pxtr)):
        row[predicted + head] = PER_LOGIT * min(max(pxtr[head], -MOST_LOGIT), MOST_LOGIT)
    row[kind] = log_seconds(video.duration_us)
    row[kind + 1] = PER_TAG * video.tag
    row[kind + 2] = PER_TAG * video.tag2


@inlined
def log_seconds(microseconds):
    """log(1 + s) / log(1 + 3600) in [0, 1]."""
    return log_scaled(microseconds * 1e-6, PER_S)


@inlined
def log_scaled(x, per):
    """log(1 + x) on a scale of its own, in [0, 1]; x below 0 counts as 0. Within 3e-6, in a third of the time.

    The exponent, and a polynomial for log2(1 + t), t in [0, 1), that is exact at both ends."""
    bits = np.float32(1.0 + max(x, 0.0)).view(np.int32)
    t = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32) - np.float32(1.0)
    rest = np.float32(-0.0948147550) + t * np.float32(0.0252855066)
    rest = np.float32(0.4425272644) + t * (np.float32(-0.2753862143) + t * (np.float32(0.1811542064) + t * rest))
    log_2 = np.float32((bits >> 23) - 127) + t * (np.float32(1.0) + (np.float32(1.0) - t) * rest)
    return min(log_2 * np.float32(LN_2 * per), np.float32(1.0))
