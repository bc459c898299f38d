"""One person's clock: which event comes next, and how much time and how many bytes pass until then.

These are parts 2 and 3 of a turn. `sim/impression.py` calls them once an event.
"""

from nextone.sim.engine.kernel import inlined

from .config import NEVER_US
from .network import delivered_bytes, finish_us, offline, segment
from .player import bytes_for, content_us, held_us, receive, still_to_fetch
from .pool import live_slots
from .state import (
    AWAY,
    BACKOFF,
    BROWSING,
    CLOSED,
    DECODING,
    FROM_WAITING,
    LOST,
    NOBODY,
    PICKING,
    PLAYING,
    SCREEN,
    STALLED,
    STARTING,
    SWIPING,
    TURNED,
    WAITING,
)

# Events, in the order in which they happen when they fall on the same microsecond.
(
    OUTAGE_TURNS,
    TRANSFER_DONE,
    RESPONSE_HERE,
    GIVES_UP,
    RETRIES,
    RANKING_DONE,
    EXPIRES,
    ENOUGH_HELD,
    RUNS_DRY,
    GETS_HUNGRY,
    PHASE_ENDS,
    WINDOW_ENDS,
) = range(12)


@inlined
def next_event(p, person, videos, knots, end_us):
    """(when, which) comes next for this person. Ties: the order of the constants above."""
    user, screen = person.user, person.screen
    now = user.now_us
    when, which = NEVER_US, WINDOW_ENDS
    turn = user.outage_end_us if offline(user, now) else user.outage_start_us
    if turn < when:
        when, which = turn, OUTAGE_TURNS
    if user.fetching != NOBODY:
        remaining = still_to_fetch(p, person, videos)
        done = max(now, finish_us(user, knots, now, remaining))
        if done < when:
            when, which = done, TRANSFER_DONE
    if user.request_state == TURNED and user.response_us < when:
        when, which = user.response_us, RESPONSE_HERE
    if (user.request_state == LOST or user.request_state == TURNED) and user.give_up_us < when:
        when, which = user.give_up_us, GIVES_UP
    if user.request_state == BACKOFF and user.retry_us < when:
        when, which = user.retry_us, RETRIES
    if user.ranking and user.ready_us < when:
        when, which = user.ready_us, RANKING_DONE
    if user.model_left > 0 and now < user.model_at_us < when:
        when, which = user.model_at_us, GETS_HUNGRY
    if user.ttl_at_us < when:
        expiry = user.ttl_at_us
        if p.serve_expired and user.outage_start_us <= expiry < user.outage_end_us:
            expiry = user.outage_end_us
        if expiry < when:
            when, which = expiry, EXPIRES
    if user.phase == STARTING or user.phase == STALLED:
        video = videos[screen.video]
        need = min(screen.total_bytes, bytes_for(content_needed_us(p, screen, video), screen.bitrate_bps))
        enough = NEVER_US
        if screen.bytes >= need:
            enough = now
        elif user.fetching == SCREEN:
            enough = max(now, finish_us(user, knots, now, need - screen.bytes))
        if enough < when:
            when, which = enough, ENOUGH_HELD
    elif user.phase == PLAYING and screen.bytes < screen.total_bytes:
        video = videos[screen.video]
        ahead = held_us(screen, video) - screen.play_us
        if user.fetching == SCREEN:
            dry = underrun_us(user, screen, video, knots, min(when, user.phase_end_us))
            if dry < when:
                when, which = dry, RUNS_DRY
        else:
            if now + ahead < min(when, user.phase_end_us):
                when, which = now + ahead, RUNS_DRY
            low = now + max(ahead - p.refetch_us + 1, 1)
            if low < when and ahead >= p.refetch_us:
                when, which = low, GETS_HUNGRY
    if user.phase_end_us < when:
        when, which = user.phase_end_us, PHASE_ENDS
    if end_us < when or when == NEVER_US:
        when, which = end_us, WINDOW_ENDS
    return max(when, now), which


@inlined
def underrun_us(user, screen, video, knots, until_us):
    """When the playhead catches up with what is fetched, the link working for the screen; NEVER_US if not by `until`.

    Content held grows with the link, play at one second per second; both are checked knot by knot, then to the
    microsecond."""
    ahead = held_us(screen, video) - screen.play_us
    if ahead >= until_us - user.now_us:
        return NEVER_US
    start = user.now_us
    low = start
    while low < until_us:
        high = min(until_us, user.link_ready_us if low < user.link_ready_us else next_knot_us(user, knots, low))
        if runs_dry_by(user, screen, video, knots, start, high):
            while high - low > 1:
                middle = (low + high) // 2
                if runs_dry_by(user, screen, video, knots, start, middle):
                    high = middle
                else:
                    low = middle
            return low
        low = high
    return NEVER_US


@inlined
def runs_dry_by(user, screen, video, knots, start, at_us):
    """Whether play would catch up by `at_us` with what is fetched by then."""
    size = min(screen.bytes + delivered_bytes(user, knots, start, at_us), screen.total_bytes)
    if size >= screen.total_bytes:  # the last byte comes at the end of the search: was the end of the video reached?
        return screen.play_us + (at_us - start) > video.duration_us
    return content_us(size, screen.bitrate_bps) < screen.play_us + (at_us - start)


@inlined
def next_knot_us(user, knots, t_us):
    """The first time after t at which the link's capacity may change."""
    offset_us = (t_us - user.loop_us) % knots[user.last_knot].t_us
    return t_us + knots[segment(user, knots, offset_us) + 1].t_us - offset_us


@inlined
def content_needed_us(p, screen, video):
    """Content that must be held to start (or go on after a stall)."""
    more = p.startup_us if screen.stalls == 0 else p.rebuffer_us
    return min(video.duration_us, screen.play_us + more)


@inlined
def pass_time(p, person, videos, knots, until_us, event):
    """Let time and bytes pass until the next event."""
    user, screen = person.user, person.screen
    took = until_us - user.now_us
    if user.fetching != NOBODY:
        size = still_to_fetch(p, person, videos)
        if event != TRANSFER_DONE:
            size = min(size, delivered_bytes(user, knots, user.now_us, until_us))
        receive(person, size)
        user.link_used_us = until_us
    phase = user.phase
    if phase == PLAYING:
        screen.play_us += took
    elif phase == STARTING or phase == DECODING:
        screen.startup_us += took
        phase = STARTING
    elif phase == PICKING:
        screen.pick_us += took
        phase = STARTING
    elif phase == SWIPING:
        screen.swipe_us += took
    elif phase == WAITING:
        screen.wait_us += took
    elif phase == STALLED:
        screen.stall_us += took
    elif phase == BROWSING:
        screen.browse_us += took
    elif phase == AWAY:
        screen.away_us += took
    if phase < PICKING:
        user.ledger_us[phase] += took
    user.now_us = until_us


@inlined
def note_moment(person, moments, traced, until_us):
    """A line of the traced person's timeline: what was going on from now until the next event."""
    user, screen, pool, waiting = person.user, person.screen, person.pool, person.waiting
    if until_us == user.now_us or traced[1] >= len(moments) or user.phase >= CLOSED:
        return
    row = moments[traced[1]]
    row.start_us, row.end_us = user.now_us, until_us
    row.phase, row.fetching, row.screen = user.phase, user.fetching, screen.video
    row.live, row.ranking, row.request_state = live_slots(pool), user.ranking, user.request_state
    row.video, row.bytes, row.delivered = -1, screen.bytes, user.delivered
    if user.fetching == SCREEN:
        row.video = screen.video
    elif user.fetching >= FROM_WAITING:
        row.video = waiting[user.fetching - FROM_WAITING].video
    elif user.fetching >= 0:
        row.video = pool[user.fetching].video
    traced[1] += 1
