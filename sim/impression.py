"""The journey, told once: one person's life from event to event, split where a policy decides and a server answers.

`advance` moves one person on their own clock until the world must intervene: a decision is wanted, a request reached
the server, or the person is gone. In between nothing else can touch the person, so both drivers call it as they like:
`sim/event_run.py` answers requests with its queue, `sim/batch_run.py` moves everybody in parallel.

One turn of its loop is one event:

 1. choose whom the link works for now (`player.choose_fetch`)
 2. find the next event: a transfer done, a response, a ranking finished, an expiry, the end of what the person does
 3. let time and bytes pass until then, in whole microseconds and bytes
 4. let it happen: open, ask for a page, page lands, video starts, stalls, is left; feedback; interests drift; stay or
    leave; swipe; ask NextOne
"""

import numpy as np
from numba import njit

from .chance import LIFE, normal_quantile, uniform, uniform2
from .chance import REQUEST as REQUEST_STREAM
from .cloud import learn_outcomes, rank_page, report_outcome
from .config import NEVER_US
from .feedback import HATE, draw_feedback
from .interest import affinity, learn_taste, settle
from .network import delivered_bytes, draw_outage, finish_us, offline, rtt_us, saturated, segment
from .player import (
    REFETCH_BELOW,
    break_off,
    bytes_for,
    choose_bitrate,
    choose_fetch,
    content_us,
    held_us,
    measure,
    plan_preload,
    receive,
    still_to_fetch,
)
from .pool import (
    apply_ranking,
    empty_slot,
    empty_waiting,
    expire,
    forget_rankings,
    live_slots,
    next_slots,
    past_ttl,
    rank_pool,
    take_over,
)
from .session import (
    away_time_us,
    backs_off,
    close_session,
    feel,
    leaves,
    open_session,
    stall_patience_us,
    start_waiting,
)
from .state import (
    ARRIVING,
    ASKED,
    AWAY,
    BACKOFF,
    BROWSING,
    CLOSED,
    CUT,
    DEAD,
    DECODING,
    FROM_WAITING,
    GONE,
    IDLE,
    LAST,
    LEFT,
    LOST,
    NOBODY,
    PAYLOAD,
    PICKING,
    PLAYING,
    READY,
    REFUSED,
    SCREEN,
    SENT,
    SERVED,
    STALE,
    STALLED,
    STARTING,
    SWIPING,
    TIMED_OUT,
    TURNED,
    WAITING,
)
from .watching import draw_watch_us, outcome_of, stay_logit

# Why `advance` came back.
DONE, DECIDE, ASK, PAUSED = range(4)
"""Person is gone / a decision is wanted at `now_us` / a request reaches the server at `arrived_us` / budget used up."""

REFUSED_QUEUE_US = -1  # what a driver puts in `queue_us` for a full queue; NEVER_US: no turn before the phone gave up

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


# -- 2. the next event ------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def underrun_us(user, knots, screen, video, until_us):
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
        if runs_dry_by(user, knots, screen, video, start, high):
            while high - low > 1:
                middle = (low + high) // 2
                if runs_dry_by(user, knots, screen, video, start, middle):
                    high = middle
                else:
                    low = middle
            return low
        low = high
    return NEVER_US


@njit(cache=True, error_model="numpy")
def runs_dry_by(user, knots, screen, video, start, at_us):
    """Whether the content fetched by `at_us` is less than what would have been played."""
    size = min(screen.bytes + delivered_bytes(user, knots, start, at_us), screen.total_bytes)
    if size >= screen.total_bytes:
        return False
    return content_us(size, screen.bitrate_bps) < screen.play_us + (at_us - start)


@njit(cache=True, error_model="numpy")
def next_knot_us(user, knots, t_us):
    """The first time after t at which the link's capacity may change."""
    offset_us = (t_us - user.loop_us) % knots[user.last_knot].t_us
    return t_us + knots[segment(user, knots, offset_us) + 1].t_us - offset_us


@njit(cache=True, error_model="numpy")
def content_needed_us(p, screen, video):
    """Content that must be held to start (or go on after a stall)."""
    more = p.startup_us if screen.stalls == 0 else p.rebuffer_us
    return min(video.duration_us, screen.play_us + more)


@njit(cache=True, error_model="numpy")
def next_event(p, user, screen, pool, waiting, videos, knots, end_us):
    """(when, which) comes next for this person. Ties: the order of the constants above."""
    now = user.now_us
    when, which = NEVER_US, WINDOW_ENDS
    turn = user.outage_end_us if offline(user, now) else user.outage_start_us
    if turn < when:
        when, which = turn, OUTAGE_TURNS
    if user.fetching != NOBODY:
        remaining = still_to_fetch(p, user, screen, pool, waiting, videos)
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
            dry = underrun_us(user, knots, screen, video, min(when, user.phase_end_us))
            if dry < when:
                when, which = dry, RUNS_DRY
        else:
            if now + ahead < min(when, user.phase_end_us):
                when, which = now + ahead, RUNS_DRY
            low = now + max(ahead - p.buffer_us // REFETCH_BELOW + 1, 1)
            if low < when and ahead >= p.buffer_us // REFETCH_BELOW:
                when, which = low, GETS_HUNGRY
    if user.phase_end_us < when:
        when, which = user.phase_end_us, PHASE_ENDS
    if end_us < when or when == NEVER_US:
        when, which = end_us, WINDOW_ENDS
    return max(when, now), which


# -- 3. time passes ---------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def pass_time(p, user, screen, pool, waiting, videos, knots, until_us, event):
    """Let time and bytes pass until the next event."""
    took = until_us - user.now_us
    if user.fetching != NOBODY:
        size = still_to_fetch(p, user, screen, pool, waiting, videos)
        if event != TRANSFER_DONE:
            size = min(size, delivered_bytes(user, knots, user.now_us, until_us))
        receive(user, screen, pool, waiting, size)
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


# -- 4. what happens --------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def wants_page(p, user, pool):
    """Whether a request should go out now."""
    if user.request_state != IDLE or user.phase >= CLOSED:
        return False
    return user.left <= p.refill_at or live_slots(pool) == 0


@njit(cache=True, error_model="numpy")
def send_request(p, key, user, rtt, queue_waits):
    """A request for a page leaves the phone (first attempt or a retry). Draws what it will meet on the way.

    Returns whether it will reach the server and must be answered by the driver."""
    if offline(user, user.now_us):
        user.request_state = BACKOFF
        user.retry_us = user.outage_end_us
        return False
    wake = 0
    if p.radio_wake_us > 0 and user.link >= 3 and user.now_us - user.link_used_us > p.radio_idle_us:
        wake = p.radio_wake_us
        user.link_used_us = user.now_us
    user.sent_us = user.now_us
    user.give_up_us = user.now_us + p.timeout_us
    there_us = wake + rtt_us(p, key, rtt, user, user.request, (1 << 20) + 2 * user.attempt) // 2
    user.arrived_us = user.now_us + there_us
    user.queue_us = NEVER_US
    user.response_us = NEVER_US
    u_lost, u_service = uniform2(key, REQUEST_STREAM, user.user, user.request, user.attempt)
    shipped = p.candidates if p.edge else p.page_size
    mean_us = p.service_us + p.service_per_candidate_us * shipped
    variance = np.log(1.0 + p.service_cv * p.service_cv)
    user.service_us = np.int64(mean_us * np.exp(np.sqrt(variance) * normal_quantile(u_service) - 0.5 * variance))
    if u_lost < p.loss or user.arrived_us >= user.give_up_us:
        user.request_state = LOST
        return False
    user.request_state = SENT
    if len(queue_waits) == 0:
        return True
    u = uniform(key, REQUEST_STREAM, user.user, user.request, user.attempt + (1 << 16))
    user.queue_us = queue_waits[min(np.int64(u * len(queue_waits)), len(queue_waits) - 1)]
    answer(p, key, user, rtt)
    return False


@njit(cache=True, error_model="numpy")
def answer(p, key, user, rtt):
    """The server's side is known (`queue_us` is set by the driver): when the response's first byte is back."""
    back_us = rtt_us(p, key, rtt, user, user.request, (1 << 20) + 2 * user.attempt + 1) // 2
    user.request_state = TURNED
    if user.queue_us == REFUSED_QUEUE_US:
        user.response_us = user.arrived_us + back_us
        return
    if user.queue_us == NEVER_US:
        user.response_us = NEVER_US
        return
    user.response_us = user.arrived_us + user.queue_us + user.service_us + p.chain_us + back_us


@njit(cache=True, error_model="numpy")
def log_request(user, requests, logged, part, outcome):
    """One line of the request log: an attempt ended."""
    if requests.shape[1] == 0:
        return
    row = requests[part, logged[part, 1]]
    row.user, row.session, row.request, row.attempt = user.user, user.session, user.request, user.attempt
    row.outcome, row.refresh = outcome, user.refresh
    row.sent_us, row.arrived_us, row.queue_us = user.sent_us, user.arrived_us, user.queue_us
    row.service_us, row.response_us, row.ended_us = user.service_us, user.response_us, user.now_us
    logged[part, 1] += 1


@njit(cache=True, error_model="numpy")
def response_arrives(p, key, user, taste, behaviours, listed, tag_start, waiting):
    """First byte of the response: the cloud had ranked a page at its turn, from what it could see then."""
    turn_us = user.arrived_us + user.queue_us
    learn_outcomes(p, user, behaviours, taste, turn_us - p.feature_lag_us)
    shipped = p.candidates if p.edge else p.page_size
    user.waiting = rank_page(p, key, user, taste, listed, tag_start, waiting, shipped)
    per_video = p.item_bytes + (p.embedding_bytes if p.edge else 0)
    user.payload_left = np.int32(min(per_video * user.waiting, 2_000_000_000))


@njit(cache=True, error_model="numpy")
def start_impression(p, key, user, screen, pool, history, taste, videos):
    """A video takes the screen: the best live slot in the present order. It starts at once if enough is preloaded."""
    stale = user.ranking != 0
    slot, _ = next_slots(user, pool, -1)
    row = pool[slot]
    video = videos[row.video]
    screen.late = 1 if past_ttl(p, user, row) else 0
    user.impression += 1
    screen.user, screen.session, screen.impression = user.user, user.session, user.impression
    screen.video, screen.request, screen.meeting, screen.rank = row.video, row.request, row.meeting, row.rank
    screen.live = np.uint8(live_slots(pool))
    screen.position = np.uint8(min(max(p.page_size - user.left, 0), p.page_size - 1))
    if stale:
        screen.outcome |= STALE
    screen.buffered = row.buffered
    screen.bytes = row.buffered
    bitrate = row.bitrate if row.bitrate >= 0 else choose_bitrate(p, user)
    screen.bitrate_bps = p.bitrates_bps[bitrate]
    screen.total_bytes = bytes_for(video.duration_us, screen.bitrate_bps)
    screen.start_us = user.now_us
    user.shown += 1
    user.overdue += screen.late
    for k in range(len(pool)):  # meeting a video again is another meeting
        if k != slot and pool[k].rank != DEAD and pool[k].video == row.video:
            pool[k].meeting += np.uint16(1)
    if user.fetching == slot:
        user.fetching = SCREEN  # goes on without a new round trip
    past = history[user.impression % len(history)]
    past.video, past.position, past.play_ms, past.feedback = row.video, screen.position, 0, 0
    past.start_ms = np.uint32(user.now_us // 1000)
    past.pxtr[:] = row.pxtr
    row.buffered = 0
    row.rank = DEAD
    user.left = max(user.left - 1, 0)
    logit = stay_logit(p, key, user, taste, screen.video, video)
    screen.stay_logit = np.float32(logit)
    screen.target_us = draw_watch_us(p, key, user, screen.video, video.duration_us, screen.meeting, logit)
    user.goal = min(screen.total_bytes, bytes_for(p.buffer_us, screen.bitrate_bps))
    if held_us(screen, video) >= min(p.startup_us, video.duration_us):
        start_playing(user, screen)
    else:
        user.phase = STARTING
        user.phase_end_us = saturated(user.now_us, stall_patience_us(p, key, user, 0))


@njit(cache=True, error_model="numpy")
def start_playing(user, screen):
    """Frames run until the person has had enough, unless the buffer runs dry first."""
    user.phase = PLAYING
    user.phase_end_us = user.now_us + screen.target_us - screen.play_us


@njit(cache=True, error_model="numpy")
def stop_watching(p, key, user, screen, taste, videos):
    """Play is over: feedback is given, comments may be read. Whether nothing is left to do with the video."""
    video = videos[screen.video]
    browse_us = 0
    if screen.play_us > 0:
        outcome = outcome_of(screen.play_us, video.duration_us)
        suits = affinity(p, key, user, taste, screen.video, video)
        bits, browse_us = draw_feedback(p, key, user, screen.video, video, screen.meeting, suits, outcome)
        screen.feedback = np.uint8(bits)
    user.phase = BROWSING
    user.phase_end_us = user.now_us + browse_us
    return browse_us == 0


@njit(cache=True, error_model="numpy")
def finish_impression(p, key, user, screen, history, behaviours, taste, videos):
    """The finger lifts (or the session ends): bytes, history, what the person feels, what the cloud will hear."""
    video = videos[screen.video]
    watched = min(screen.bytes, bytes_for(min(screen.play_us, video.duration_us), screen.bitrate_bps))
    user.watched += watched
    user.wasted += screen.bytes - watched
    screen.outcome |= np.uint8(outcome_of(screen.play_us, video.duration_us))
    past = history[user.impression % len(history)]
    past.play_ms = np.uint32(screen.play_us // 1000)
    past.feedback = screen.feedback
    turn_us = user.arrived_us + user.queue_us if user.request_state == TURNED else user.now_us
    learn_outcomes(p, user, behaviours, taste, min(turn_us, user.now_us) - p.feature_lag_us)
    report_outcome(user, behaviours, video, past.pxtr[0], screen.outcome, user.now_us)
    settle(p, user, taste, user.now_us)
    learn_taste(p, key, user, taste, video, screen.outcome, screen.feedback & 1)
    screen.startup_us += screen.pick_us
    feel(p, user, screen.outcome, screen.feedback, 1 << HATE, screen.stall_us + screen.startup_us)


@njit(cache=True, error_model="numpy")
def log_impression(screen, impressions, logged, part):
    """One line of the impression log; then nothing is on screen, and what is counted from here on is the next one's."""
    if impressions.shape[1] > 0:
        impressions[part, logged[part, 0]] = screen
        logged[part, 0] += 1
    clear_screen(screen)


@njit(cache=True, error_model="numpy")
def clear_screen(screen):
    """Nothing on screen; what is counted from here on belongs to the next impression."""
    screen.video = -1
    screen.outcome = 0
    screen.feedback = 0
    screen.stalls = 0
    screen.wait_us = screen.pick_us = screen.swipe_us = screen.startup_us = 0
    screen.play_us = screen.stall_us = screen.browse_us = screen.away_us = 0
    screen.bytes = screen.total_bytes = 0


@njit(cache=True, error_model="numpy")
def end_session(p, key, user, pool, waiting, activity, requests, sessions, logged, part, cut, dry, comes_back):
    """The app closes: what was not seen is thrown away (at the window's end it counts as still buffered)."""
    if user.request_state in (LOST, TURNED, ARRIVING, SENT):
        log_request(user, requests, logged, part, LEFT)
    if user.request_state == READY:
        user.unseen += user.waiting
    for k in range(len(pool)):
        if pool[k].rank != DEAD:
            user.unseen += 1
            if not cut:
                empty_slot(user, pool[k])
    if not cut:
        empty_waiting(user, waiting)
    if sessions.shape[1] > 0:
        row = sessions[part, logged[part, 2]]
        row.user, row.session, row.impressions = user.user, user.session, user.impression - user.impressions_before
        row.cut, row.dry, row.satisfaction = cut, dry, user.satisfaction
        row.open_us, row.close_us = user.opened_us, user.now_us
        logged[part, 2] += 1
    user.impressions_before = user.impression
    user.cut = cut
    close_session(p, key, user, activity, comes_back)


@njit(cache=True, error_model="numpy")
def in_flight(p, user, screen, pool, waiting, videos):
    """Before the pool changes: (bytes still to come for the slot the link works for, which candidate that is)."""
    if user.fetching < 0 or user.fetching >= FROM_WAITING:
        return np.int64(0), np.int64(-1)
    return np.int64(still_to_fetch(p, user, screen, pool, waiting, videos)), candidate_in(pool[user.fetching])


@njit(cache=True, error_model="numpy")
def candidate_in(slot):
    """Which candidate a slot holds, -1 if none."""
    if slot.rank == DEAD:
        return np.int64(-1)
    return (np.int64(slot.request) << 40) | (np.int64(slot.video) << 8) | np.int64(slot.rank)


@njit(cache=True, error_model="numpy")
def break_off_if_gone(user, knots, pool, owed, what):
    """After the pool changed: a transfer for a candidate that left it is broken off."""
    if 0 <= user.fetching < FROM_WAITING and candidate_in(pool[user.fetching]) != what:
        break_off(user, knots, owed)


@njit(cache=True, error_model="numpy")
def inference_us(p, key, user):
    """How long this decision takes on this phone: lognormal by tier, with a floor."""
    mean = p.inference_us[user.tier]
    if mean == 0:
        return 0
    z = normal_quantile(uniform(key, LIFE, user.user, user.impression, 6 + user.phase))
    sd = p.inference_log_sd
    return max(min(p.inference_min_us, mean), np.int64(mean * np.exp(sd * z - 0.5 * sd * sd)))


@njit(cache=True, error_model="numpy")
def take_scores(p, key, user, pool, scores):
    """The policy has answered: its ranking will be ready after the inference. A last column above all asks for a page."""
    rank_pool(pool, scores)
    user.page_wanted = 0
    if len(scores) > len(pool) and user.request_state == IDLE:
        user.page_wanted = 1
        for k in range(len(pool)):
            if pool[k].rank != DEAD and scores[k] >= scores[len(pool)]:
                user.page_wanted = 0
    user.inferences += 1
    user.ready_us = user.now_us + inference_us(p, key, user)


@njit(cache=True, error_model="numpy")
def ask_policy(user, screen):
    """A decision is wanted now; `advance` comes back and is called again with scores."""
    user.ranking = 1
    user.ready_us = NEVER_US
    screen.outcome |= ASKED


@njit(cache=True, error_model="numpy")
def page_lands(p, key, user, knots, screen, pool, waiting, videos):
    """The whole response is here: it waits beside the pool, or takes over, or joins. Whether the person waited for it."""
    user.response_us = user.now_us
    user.served += user.waiting
    user.request_state = READY
    if p.merge or user.refresh:
        use_page(p, key, user, knots, screen, pool, waiting, videos)
    else:
        use_page_if_due(p, key, user, knots, screen, pool, waiting, videos)
    return user.phase == WAITING and live_slots(pool) > 0


@njit(cache=True, error_model="numpy")
def use_page(p, key, user, knots, screen, pool, waiting, videos):
    """The waiting page takes over the pool or joins it."""
    owed, what = in_flight(p, user, screen, pool, waiting, videos)
    take_over(p, key, user, pool, waiting, videos)
    user.request_state = IDLE
    if user.fetching >= FROM_WAITING:
        user.fetching = NOBODY  # its bytes moved to a slot; who comes first is looked up anew
    break_off_if_gone(user, knots, pool, owed, what)


@njit(cache=True, error_model="numpy")
def use_page_if_due(p, key, user, knots, screen, pool, waiting, videos):
    """A page that waits takes over once the present one is used up or the pool is dry."""
    if user.request_state == READY and (user.left == 0 or live_slots(pool) == 0):
        use_page(p, key, user, knots, screen, pool, waiting, videos)


@njit(cache=True, error_model="numpy")
def expire_slots(p, key, user, knots, screen, pool, waiting, videos):
    """The TTL fires: what is past it leaves; if that empties the pool, the page is over."""
    if p.serve_expired and offline(user, user.now_us):
        return
    owed, what = in_flight(p, user, screen, pool, waiting, videos)
    if expire(p, user, pool):
        break_off_if_gone(user, knots, pool, owed, what)
        if live_slots(pool) == 0:
            user.left = 0
    use_page_if_due(p, key, user, knots, screen, pool, waiting, videos)


@njit(cache=True, error_model="numpy")
def show_next(p, key, user, knots, screen, pool, waiting, history, taste, videos):
    """The next video takes the screen, and what that does to page and pool."""
    start_impression(p, key, user, screen, pool, history, taste, videos)
    if p.ttl_impressions < NEVER_US:
        expire_slots(p, key, user, knots, screen, pool, waiting, videos)
    use_page_if_due(p, key, user, knots, screen, pool, waiting, videos)


@njit(cache=True, error_model="numpy")
def log_has_room(impressions, requests, sessions, logged, part):
    """Whether an event's lines fit into each log (a log of no rows is off)."""
    return (
        (impressions.shape[1] == 0 or logged[part, 0] + 2 <= impressions.shape[1])
        and (requests.shape[1] == 0 or logged[part, 1] + 3 <= requests.shape[1])
        and (sessions.shape[1] == 0 or logged[part, 2] + 2 <= sessions.shape[1])
    )


@njit(cache=True, error_model="numpy")
def note_moment(user, screen, pool, waiting, moments, traced, until_us):
    """A line of the traced person's timeline: what was going on from now until the next event."""
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


@njit(cache=True, error_model="numpy")
def advance(w, i, scores, answered, end_us, comes_back, budget, part):
    """Move person i until the world must intervene; the reason (DONE, DECIDE, ASK, PAUSED).

    scores: (P,) or (P + 1,) for the decision last asked for, (0,) otherwise. answered: whether `users[i].queue_us` was
    set for the request last asked for. end_us: end of the window. comes_back: whether people open the app again.
    budget: pause after so many impressions. part: which part of the logs to write to.
    """
    p, key = w.params[0], w.key
    user, screen = w.users[i], w.screen[i]
    pool, waiting, history, behaviours, taste = w.pool[i], w.waiting[i], w.history[i], w.behaviours[i], w.taste[i]
    videos, knots, rtt = w.videos, w.knots, w.rtt
    if len(scores) > 0:
        take_scores(p, key, user, pool, scores)
    if answered:
        answer(p, key, user, rtt)
    stop_at = user.impression + budget
    page_check, page_asked, replan = True, False, True
    while True:
        if user.phase == GONE:
            return DONE
        if page_check and (
            user.impression >= stop_at or not log_has_room(w.impressions, w.requests, w.sessions, w.logged, part)
        ):
            return PAUSED
        if page_asked or (page_check and wants_page(p, user, pool)):
            user.refresh = 1 if page_asked else 0
            user.request += 1
            user.attempt = 0
            page_asked = False
            if send_request(p, key, user, rtt, w.queue_waits):
                return ASK
        page_check = False
        if replan:
            plan_preload(p, user, pool, waiting, videos)
        replan = False

        # 1, 2 and 3: whom the link works for, what comes next, and time until then
        choose_fetch(p, key, rtt, user, screen, pool, waiting, videos, knots)
        when, event = next_event(p, user, screen, pool, waiting, videos, knots, end_us)
        if w.traced[0] == user.user:
            note_moment(user, screen, pool, waiting, w.moments, w.traced, when)
        pass_time(p, user, screen, pool, waiting, videos, knots, when, event)

        # 4: what happens
        shows, asks, lifts, browsed = False, False, False, False
        if event == TRANSFER_DONE:
            measure(p, user)
            if user.fetching == PAYLOAD:
                user.fetching = NOBODY
                page_check, replan = True, True
                log_request(user, w.requests, w.logged, part, SERVED)
                shows = page_lands(p, key, user, knots, screen, pool, waiting, videos)
            elif user.fetching != SCREEN:
                user.fetching = NOBODY
                replan = True
        elif event == RESPONSE_HERE:
            page_check = True
            if user.queue_us == REFUSED_QUEUE_US:
                log_request(user, w.requests, w.logged, part, REFUSED)
                backs_off(p, user, user.now_us)
            else:
                response_arrives(p, key, user, taste, behaviours, w.listed, w.tag_start, waiting)
                user.request_state = ARRIVING
        elif event == GIVES_UP:
            page_check = True
            log_request(user, w.requests, w.logged, part, TIMED_OUT)
            backs_off(p, user, user.now_us)
        elif event == RETRIES:
            page_check = True
            user.attempt += 1
            if send_request(p, key, user, rtt, w.queue_waits):
                return ASK
        elif event == OUTAGE_TURNS:
            user.fetching = NOBODY
            if user.now_us >= user.outage_end_us:
                user.outage += 1
                draw_outage(p, key, user, user.now_us)
                if p.serve_expired:
                    expire_slots(p, key, user, knots, screen, pool, waiting, videos)
                    page_check, replan = True, True
        elif event == RANKING_DONE:
            user.ranking = 0
            replan = True
            apply_ranking(pool)
            if user.page_wanted:
                forget_rankings(pool)
                page_asked = user.request_state == IDLE
            if user.phase == PICKING:
                if live_slots(pool) > 0:
                    shows = True
                else:
                    start_waiting(p, key, user)
        elif event == EXPIRES:
            expire_slots(p, key, user, knots, screen, pool, waiting, videos)
            page_check, replan = True, True
        elif event == ENOUGH_HELD:
            if user.phase == STARTING:
                user.phase = DECODING
                user.phase_end_us = user.now_us + (p.software_start_us if user.software_decoder else p.hardware_start_us)
            else:
                start_playing(user, screen)
        elif event == RUNS_DRY:
            user.phase = STALLED
            screen.stalls += 1
            user.phase_end_us = saturated(user.now_us, stall_patience_us(p, key, user, screen.stalls))
        elif event == PHASE_ENDS:
            if user.phase == SWIPING:
                if live_slots(pool) > 0:
                    shows = True
                else:
                    user.ranking = 0
                    page_check = True
                    start_waiting(p, key, user)
            elif user.phase == DECODING:
                start_playing(user, screen)
                asks = p.decide_at_start != 0
            elif user.phase == PLAYING or user.phase == STARTING or user.phase == STALLED:
                browsed = stop_watching(p, key, user, screen, taste, videos)
            elif user.phase == BROWSING:
                browsed = True
            elif user.phase == AWAY:
                user.checked_us += screen.away_us
                lifts = True
            elif user.phase == WAITING:
                page_check = True
                end_session(p, key, user, pool, waiting, w.activity, w.requests, w.sessions, w.logged, part, 0, 1, comes_back)
            else:  # CLOSED: the app opens
                clear_screen(screen)
                open_session(
                    p, key, user, taste, knots, w.trace_first, w.trace_mean_bps, w.link_traces, w.link_levels, rtt
                )
                page_check, replan = True, True
        elif event == WINDOW_ENDS:
            if user.phase == CLOSED:
                user.phase = GONE
                continue
            if screen.video >= 0:
                screen.outcome |= CUT
                finish_impression(p, key, user, screen, history, behaviours, taste, videos)
                log_impression(screen, w.impressions, w.logged, part)
            end_session(p, key, user, pool, waiting, w.activity, w.requests, w.sessions, w.logged, part, 1, 0, False)

        if browsed:
            user.phase = AWAY
            user.phase_end_us = user.now_us + away_time_us(p, key, user)
            lifts = user.phase_end_us == user.now_us
        if shows and user.phase == WAITING and p.edge:  # after a wait the pick waits for its inference
            user.phase, user.phase_end_us = PICKING, NEVER_US
            asks, shows = True, False
        if shows:
            show_next(p, key, user, knots, screen, pool, waiting, history, taste, videos)
            page_check, replan = True, True
            asks = p.decide_at_start != 0 and user.phase == PLAYING
        if lifts:
            page_check = True
            if user.fetching == SCREEN:
                break_off(user, knots, user.goal - screen.bytes)
            finish_impression(p, key, user, screen, history, behaviours, taste, videos)
            leaving = leaves(p, user)
            if leaving:
                screen.outcome |= LAST
            log_impression(screen, w.impressions, w.logged, part)
            if leaving:
                end_session(p, key, user, pool, waiting, w.activity, w.requests, w.sessions, w.logged, part, 0, 0, comes_back)
                continue
            user.phase = SWIPING
            user.phase_end_us = user.now_us + p.swipe_us
            asks = p.decide_at_start == 0
        if asks and p.edge and live_slots(pool) > 0:
            ask_policy(user, screen)
            return DECIDE
