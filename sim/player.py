"""Playing and preloading: sizes, bitrates, and whom the link works for. Steps 7 and 9.

The video on screen comes first, then the first seconds of the next ones in the order the present ranking expects; the
model is downloaded when nothing else is wanted, and goes on where it was interrupted. What was fetched and is never
watched is wasted; what was still in flight when a transfer is broken off is cancelled.
"""

import numpy as np

from nextone.sim.engine.kernel import inlined, kernel, pasted
from nextone.sim.engine.luck import SESSION_BEFORE, THE_MODEL

from .cloud.recall import shown_meanwhile
from .network import delivered_bytes, draw_capacity, finish_us, offline, rtt_us, scaled, sleeps, wind_on
from .pool import place, slot_of
from .state import (
    ARRIVING,
    AWAY,
    CLOSED,
    DEAD,
    DECODING,
    FROM_WAITING,
    MODEL,
    NOBODY,
    PAYLOAD,
    PLAYING,
    READY,
    SCREEN,
    STALLED,
    STARTING,
)


@pasted
def bytes_for(content_us, bitrate_bps):
    """Bytes of so much content, rounded up."""
    return -(-(content_us * bitrate_bps) // 8_000_000)


@pasted
def content_us(size, bitrate_bps):
    """Content in so many bytes, rounded down."""
    return size * 8_000_000 // bitrate_bps


@kernel
def choose_bitrate(p, user):
    """Index of the highest bitrate within a safe share of the measured throughput, the lowest if none is."""
    best = 0
    for k in range(3):
        if p.bitrates_bps[k] <= p.rate_safety * user.rate_bps:
            best = k
    return best


@inlined
def held_us(screen, video):
    """Content of the video on screen that could be played from its start."""
    if screen.bytes >= screen.total_bytes:
        return video.duration_us
    return min(content_us(screen.bytes, screen.bitrate_bps), video.duration_us)


@inlined
def preload_size(p, video, bitrate_bps):
    """Bytes to preload of a video."""
    return bytes_for(min(p.preload_us, video.duration_us), bitrate_bps)


@inlined
def plan_preload(p, person, videos):
    """Which of the next videos to preload now: a slot, FROM_WAITING + k, or NOBODY."""
    user, pool, waiting = person.user, person.pool, person.waiting
    user.preload = NOBODY
    if p.preload_videos == 0 or p.preload_us == 0:
        return
    first, first_place, held = NOBODY, np.int64(2**62), 0  # the first in order that still wants bytes
    for k in range(len(pool)):  # most have none; without branches
        row = pool[k]
        key = place(user, row)
        live = row.rank != DEAD
        held += live & (row.buffered > 0)
        better = live & (row.buffered == 0) & (key < first_place)
        first, first_place = (k, key) if better else (first, first_place)
    for k in range(len(pool) if held > 0 else 0):
        row = pool[k]
        if row.buffered > 0 and row.rank != DEAD and place(user, row) < first_place and (
            row.buffered < preload_size(p, videos[row.video], p.bitrates_bps[row.bitrate])
        ):
            first, first_place = k, place(user, row)
    ahead = 0  # of it: all hold something
    for k in range(len(pool) if held > 0 else 0):
        if pool[k].buffered > 0 and pool[k].rank != DEAD:
            ahead += place(user, pool[k]) < first_place
    if first >= 0:
        user.preload = first if ahead < p.preload_videos else NOBODY
        return
    left = p.preload_videos - ahead
    for k in range(user.waiting if user.request_state == READY else 0):
        early = waiting[k]
        if left == 0:
            return
        if slot_of(pool, np.int64(early.video)) >= 0 or shown_meanwhile(person, early):
            continue
        left -= 1
        bitrate = early.bitrate if early.bitrate >= 0 else choose_bitrate(p, user)
        if early.buffered < preload_size(p, videos[early.video], p.bitrates_bps[bitrate]):
            user.preload = FROM_WAITING + k
            return


@inlined
def choose_fetch(p, key, person, videos, knots, rtt, replan):
    """Let the link work for whatever comes first now. The first byte of a new transfer takes a round trip.

    replan: whether the order or bytes have changed since preloads were planned. Returns whether they still have to be
    planned: that is done only where it matters."""
    user, screen, pool, waiting = person.user, person.screen, person.pool, person.waiting
    wanted = NOBODY
    if not offline(user, user.now_us):
        if user.request_state == ARRIVING:
            wanted = PAYLOAD
        elif user.phase in (STARTING, DECODING, PLAYING, STALLED) and hungry(p, user, screen, videos):
            wanted = SCREEN
        elif user.phase != AWAY and user.phase != CLOSED:
            if replan:
                plan_preload(p, person, videos)
                replan = False
            wanted = user.preload
            if wanted == NOBODY and user.model_left > 0 and user.now_us >= user.model_at_us:
                wanted = MODEL
    if wanted == user.fetching and wanted != NOBODY:
        return replan
    measure(p, user)
    if wanted == user.fetching:
        return replan
    user.fetching = wanted
    wind_on(user, knots)
    if wanted == NOBODY:
        return replan
    if wanted == PAYLOAD:  # its request is long under way: no further round trip
        user.link_ready_us = max(user.link_ready_us, user.now_us)
        return replan
    if wanted == SCREEN:
        video = screen.video
    elif wanted == MODEL:
        video = THE_MODEL
    elif wanted >= FROM_WAITING:
        early = waiting[wanted - FROM_WAITING]
        video = early.video
        if early.bitrate < 0:
            early.bitrate = choose_bitrate(p, user)
    else:
        video = pool[wanted].video
        if pool[wanted].bitrate < 0:
            pool[wanted].bitrate = choose_bitrate(p, user)
    delay_us = rtt_us(p, key, user, rtt, user.now_us, np.int64(video), np.int64(user.session))
    if sleeps(p, user):
        delay_us += p.radio_wake_us
    user.link_ready_us = max(user.link_ready_us, user.now_us + delay_us)
    return replan


@inlined
def hungry(p, user, screen, videos):
    """Whether the video on screen wants bytes: always until its goal is held, and again when little of that is left."""
    if screen.bytes >= screen.total_bytes:
        return False
    if screen.bytes < user.goal:
        return True
    video = videos[screen.video]
    at_us = min(screen.play_us, video.duration_us)
    if held_us(screen, video) - at_us >= p.refetch_us:
        return False
    user.goal = min(screen.total_bytes, bytes_for(at_us + p.buffer_us, screen.bitrate_bps))
    return screen.bytes < user.goal


@inlined
def still_to_fetch(p, person, videos):
    """Bytes until the present transfer's goal."""
    user, screen, pool, waiting = person.user, person.screen, person.pool, person.waiting
    if user.fetching == PAYLOAD:
        return user.payload_left
    if user.fetching == MODEL:
        return user.model_left
    if user.fetching == SCREEN:
        return user.goal - screen.bytes
    if user.fetching >= FROM_WAITING:
        early = waiting[user.fetching - FROM_WAITING]
        return preload_size(p, videos[early.video], p.bitrates_bps[early.bitrate]) - early.buffered
    row = pool[user.fetching]
    return preload_size(p, videos[row.video], p.bitrates_bps[row.bitrate]) - row.buffered


@inlined
def receive(person, size):
    """Give `size` bytes that arrived to the video, page or model that the link works for."""
    user, screen, pool, waiting = person.user, person.screen, person.pool, person.waiting
    if user.fetching == PAYLOAD:
        user.payload_left -= size
        user.data_bytes += size
        return
    if user.fetching == MODEL:
        user.model_left -= size
        user.data_bytes += size
        return
    user.fetched += size
    user.delivered += size
    if user.fetching == SCREEN:
        screen.bytes += size
    elif user.fetching >= FROM_WAITING:
        waiting[user.fetching - FROM_WAITING].buffered += size
    else:
        pool[user.fetching].buffered += size


@inlined
def measure(p, user):
    """A transfer has ended, at its goal or before: its video bytes enter the measured throughput, once."""
    learn_rate(p, user, user.fetched, user.now_us - user.link_ready_us)
    user.fetched = 0


@inlined
def learn_rate(p, user, size, took_us):
    """So many bytes came in so long a time after the first one. The more bytes, the less earlier transfers count."""
    if size > 0 and took_us > 0:
        past = 2.0 ** (-size / p.rate_memory_bytes)
        user.rate_bps = np.int64(np.rint(past * user.rate_bps + (1.0 - past) * (size * 8_000_000 // took_us)))


@kernel
def recall_rate(p, key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, now_us):
    """The measured throughput with which a person's first session starts: as if they had been here before.

    A session before is lived through on a link of its own luck: from its mean on, videos are fetched up to the usual
    buffer, and each is swiped away when the next one starts."""
    draw_capacity(
        key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, np.int64(SESSION_BEFORE), now_us
    )
    end = knots[user.last_knot]
    user.rate_bps = np.int64(8e6 * scaled(end.bytes, user.scale) / end.t_us)
    user.link_ready_us = now_us
    start_us = now_us
    for _ in range(p.recalled_videos):
        size = bytes_for(p.buffer_us, p.bitrates_bps[choose_bitrate(p, user)])
        stop_us = min(finish_us(user, knots, start_us, size), start_us + p.recalled_every_us)
        learn_rate(p, user, min(size, delivered_bytes(user, knots, start_us, stop_us)), stop_us - start_us)
        start_us += p.recalled_every_us


@kernel
def break_off(p, user, knots, remaining):
    """Break off the transfer in progress, which is no longer wanted: what arrives during half a round trip is cancelled
    bytes."""
    measure(p, user)
    until_us = user.now_us + user.rtt_level_us // 2
    if user.link_ready_us >= until_us or offline(user, user.now_us):
        extra = 0
    else:
        extra = min(delivered_bytes(user, knots, user.now_us, until_us), remaining)
    user.delivered += extra
    user.cancelled += extra
    user.link_ready_us = until_us if extra > 0 else user.now_us
    user.fetching = NOBODY
