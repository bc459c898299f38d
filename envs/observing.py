"""Observing: the one compiled function that fills in what a policy may see, column by column as `features.py` lists it.

Called by the environments and by whatever asks a policy (`experiments/runs/deciding.py`).
"""

import numpy as np

from nextone.sim.config import FEEDBACK
from nextone.sim.engine.kernel import allocating, copy_rows, entry, fetch_ahead, inlined
from nextone.sim.network import cellular, offline
from nextone.sim.player import content_us, preload_size
from nextone.sim.pool import live_slots, rankable
from nextone.sim.request import candidate_in
from nextone.sim.state import BACKOFF, COMPLETE, IDLE, LONG, PREVIOUS, PXTR, READY, SKIP, VALID
from nextone.sim.watching import outcome_of

from .features import (
    CANDIDATE,
    COUNTS,
    HISTORY,
    LASTING,
    LN_2,
    LOG_COUNT,
    MOST_BUFFERED_S,
    MOST_EMBEDDING,
    MOST_LOGIT,
    MOST_PAGES,
    MOST_RATIO,
    NEVER,
    PER_IMPRESSION,
    PER_LOGIT,
    PER_MBPS,
    PER_MIN,
    PER_PAST,
    PER_POPULARITY,
    PER_S,
    PER_TAG,
    TAG_SCALE,
    TAGS,
    C,
    H,
    X,
)


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
    """A fresh scratch array for `observe_crossings`."""
    return np.full(np.int64(TAG_SCALE), NEVER)


@inlined
def observe_again(w, i, slots, slots_as, past, past_to, newest_of, candidates, history, context, mask):
    """`observe` for person i, into the arrays of one person; returns the number of the newest impression.

    It gives the same bits, faster, for somebody who is observed at every decision: slots, slots_as, past and past_to
    keep what did not change, see `observe_pool` and `observe_history`. newest_of: `no_tags`."""
    p, user = w.params[0], w.users[i]
    observe_pool(p, user, w.pool[i], w.videos, w.indexed, slots, slots_as, candidates, mask)
    observe_context(p, user, w.pool[i], context)
    newest, count = observe_history(
        user, w.screen[i].video >= 0, w.history[i], w.videos, w.indexed, past, past_to, history
    )
    if user.model == PREVIOUS and len(w.earlier) > 0:
        observe_earlier(w.earlier, w.pool[i], w.history[i], newest, count, candidates, history, mask)
    observe_crossings(history, count, newest_of, candidates, mask)
    return newest


@inlined
def observe_earlier(earlier, pool, ring, newest, count, candidates, history, mask):
    """Put the embeddings of the model's previous version, (V, DIMS), in place of the current ones."""
    for k in range(len(pool)):
        if mask[k]:
            observe_embedding(earlier[pool[k].video], candidates[k], C.embedding_0)
    for k in range(count):
        observe_embedding(earlier[ring[(newest - k) % len(ring)].video], history[k], H.embedding_0)


@inlined
def observe_pool(p, user, pool, videos, index, known, known_as, candidates, mask):
    """One person's candidates (P, Fc) and mask (P,), except for the columns that depend on past impressions.

    What does not change while a video is in the pool is kept in known (P, LASTING). known_as (P,) says of which
    candidate it is, -1 for none."""
    for k in range(len(pool)):  # what is said of a new one comes while others are filled in
        if known_as[k] != candidate_in(pool[k]) and rankable(user, pool[k]):
            fetch_ahead(videos, pool[k].video)
            fetch_ahead(index, pool[k].video)
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
            lasting[C.score] = slot.score
            observe_embedding(index[slot.video].embedding, lasting, C.embedding_0)
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
def observe_history(user, on_screen, ring, videos, index, known, known_to, history):
    """One person's past impressions (H, Fh), newest first: (the newest one's number, how many there are). A video that
    is on the screen is not over, and is left out.

    What does not change any more is kept in known (H, Fh), a ring like the person's own in opposite order, so that it
    can be copied as it lies. known_to: up to which impression it is filled (-1: empty)."""
    last = len(ring) - 1
    newest = np.int64(user.impression) - on_screen
    now_ms = user.now_us // 1000
    count = max(min(newest + 1, len(ring) - on_screen), 0)  # what is on screen has taken the place of the oldest
    for n in range(max(known_to, newest - count) + 1, newest + 1):
        past = ring[n % len(ring)]
        observe_past(past, videos[past.video], known[last - n % len(ring)])
        observe_embedding(index[past.video].embedding, known[last - n % len(ring)], H.embedding_0)
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
    """The columns of candidates (P, Fc) that depend on the `count` past impressions (H, Fh), newest first. They follow
    from the other columns alone.

    newest_of: (TAG_SCALE,) scratch, all NEVER before and after."""
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
    """One past impression (Fh,), except for how long ago it was and whether it is encoded."""
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
    """The context of one person and phone, (Fx,)."""
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
    """The columns that candidates and past impressions share, `PREDICTED` and `KIND_OF_VIDEO`, from these columns
    on."""
    for head in range(len(pxtr)):
        row[predicted + head] = PER_LOGIT * min(max(pxtr[head], -MOST_LOGIT), MOST_LOGIT)
    row[kind] = log_seconds(video.duration_us)
    row[kind + 1] = PER_TAG * video.tag
    row[kind + 2] = PER_TAG * video.tag2


@inlined
def observe_embedding(embedding, out, first):
    """The server's embedding of a video, (DIMS,), from column `first` on."""
    for d in range(len(embedding)):
        scaled = embedding[d] * np.float32(1.0 / MOST_EMBEDDING)
        out[first + d] = min(max(scaled, np.float32(-1.0)), np.float32(1.0))


@inlined
def log_seconds(microseconds):
    """log(1 + s) / log(1 + 3600) in [0, 1]."""
    return log_scaled(microseconds * 1e-6, PER_S)


@inlined
def log_scaled(x, per):
    """log(1 + x), scaled to [0, 1]; x below 0 counts as 0. Within 3e-6, in a third of the time.

    It takes the exponent, and a polynomial for log2(1 + t), t in [0, 1), that is exact at both ends."""
    bits = np.float32(1.0 + max(x, 0.0)).view(np.int32)
    t = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32) - np.float32(1.0)
    rest = np.float32(-0.0948147550) + t * np.float32(0.0252855066)
    rest = np.float32(0.4425272644) + t * (np.float32(-0.2753862143) + t * (np.float32(0.1811542064) + t * rest))
    log_2 = np.float32((bits >> 23) - 127) + t * (np.float32(1.0) + (np.float32(1.0) - t) * rest)
    return min(log_2 * np.float32(LN_2 * per), np.float32(1.0))
