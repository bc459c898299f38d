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

from nextone.sim.engine.chance import LIFE, uniform
from nextone.sim.engine.kernel import inlined, kernel

from .clock import (
    ENOUGH_HELD,
    EXPIRES,
    GIVES_UP,
    OUTAGE_TURNS,
    PHASE_ENDS,
    RANKING_DONE,
    RESPONSE_HERE,
    RETRIES,
    RUNS_DRY,
    TRANSFER_DONE,
    WINDOW_ENDS,
    next_event,
    note_moment,
    pass_time,
)
from .cloud import learn_outcomes, report_outcome
from .config import NEVER_US
from .feedback import HATE, draw_feedback
from .interest import learn_taste, settle
from .network import draw_outage, saturated
from .next_one import ask_policy, is_due, note_quiet, take_scores
from .player import (
    break_off,
    bytes_for,
    choose_bitrate,
    choose_fetch,
    held_us,
    measure,
)
from .pool import (
    apply_ranking,
    empty_slot,
    empty_waiting,
    forget_rankings,
    live_slots,
    may_rank,
    next_slots,
    past_ttl,
)
from .records import clear_screen, log_has_room, log_impression, log_request
from .request import (
    REFUSED_QUEUE_US,
    answer,
    expire_slots,
    page_lands,
    response_arrives,
    send_request,
    use_page_if_due,
    wants_page,
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
    AWAY,
    BROWSING,
    CLOSED,
    CURRENT,
    CUT,
    DEAD,
    DECODING,
    GONE,
    IDLE,
    LAST,
    LEFT,
    LOST,
    MODEL,
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

STAYS, LEFT_APP, LEFT_DRY, CUT_OFF = range(4)

# Why `advance` came back.
DONE, DECIDE, ASK, PAUSED = range(4)
"""Person is gone / a decision is wanted at `now_us` / a request reaches the server at `arrived_us` / budget used up."""


@inlined
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
    for head in range(len(row.pxtr)):
        past.pxtr[head] = row.pxtr[head]
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


@inlined
def start_playing(user, screen):
    """Frames run until the person has had enough, unless the buffer runs dry first."""
    user.phase = PLAYING
    user.phase_end_us = user.now_us + screen.target_us - screen.play_us


@inlined
def stop_watching(p, key, user, screen, videos):
    """Play is over: feedback is given, comments may be read. Whether nothing is left to do with the video."""
    video = videos[screen.video]
    user.encoded_us = user.now_us
    if p.edge and p.perception_us > 0:
        user.encoded_us += np.int64(p.perception_us * uniform(key, LIFE, user.user, user.impression, 6))
    browse_us = 0
    if screen.play_us > 0:
        outcome = outcome_of(screen.play_us, video.duration_us)
        suits = screen.stay_logit - (p.stay + user.person + user.mood + video.quality)
        bits, browse_us = draw_feedback(
            p, key, user, screen.video, video, screen.meeting, suits, screen.play_us, outcome
        )
        screen.feedback = np.uint8(bits)
    user.phase = BROWSING
    user.phase_end_us = user.now_us + browse_us
    return browse_us == 0


@inlined
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
    if p.quiet > 0:
        note_quiet(user, screen)
    turn_us = user.arrived_us + user.queue_us if user.request_state == TURNED else user.now_us
    learn_outcomes(p, user, behaviours, taste, min(turn_us, user.now_us) - p.feature_lag_us)
    report_outcome(user, behaviours, video, past.pxtr[0], screen.outcome, user.now_us)
    settle(p, user, taste, user.now_us)
    learn_taste(p, key, user, taste, video, screen.outcome, screen.feedback & 1)
    screen.startup_us += screen.pick_us
    feel(p, user, screen.outcome, screen.feedback, 1 << HATE, screen.stall_us + screen.startup_us)


@kernel
def end_session(p, key, user, pool, waiting, activity, requests, sessions, logged, part, how, comes_back):
    """The app closes: what was not seen is thrown away (at the window's end it counts as still buffered).

    how: LEFT_APP, LEFT_DRY (no page came) or CUT_OFF (by the window)."""
    cut = how == CUT_OFF
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
        row.cut, row.dry, row.satisfaction, row.mood = cut, how == LEFT_DRY, user.satisfaction, user.mood
        row.open_us, row.close_us = user.opened_us, user.now_us
        logged[part, 2] += 1
    user.impressions_before = user.impression
    user.cut = cut
    close_session(p, key, user, activity, comes_back and not cut)


@inlined
def show_next(p, key, user, knots, screen, pool, waiting, history, taste, videos):
    """The next video takes the screen, and what that does to page and pool."""
    start_impression(p, key, user, screen, pool, history, taste, videos)
    if p.ttl_impressions < NEVER_US:
        expire_slots(p, key, user, knots, screen, pool, waiting, videos)
    use_page_if_due(p, key, user, knots, screen, pool, waiting, videos)


@kernel
def advance(w, i, scores, answered, end_us, comes_back, budget, part):
    """Move person i until the world must intervene; the reason (DONE, DECIDE, ASK, PAUSED).

    scores: (P,) or (P + 1,) for the decision last asked for, (0,) otherwise. answered: whether `users[i].queue_us` was
    set for the request last asked for. end_us: end of the window. comes_back: whether people open the app again.
    budget: pause after so many impressions. part: which part of the logs to write to.
    """
    p, key = w.params[0], w.key[i]
    user, screen = w.users[i], w.screen[i]
    pool, waiting, history, behaviours, taste = w.pool[i], w.waiting[i], w.history[i], w.behaviours[i], w.taste[i]
    videos, knots, rtt = w.videos, w.knots, w.rtt
    if len(scores) > 0:
        take_scores(p, key, user, screen, pool, scores)
    if answered:
        answer(p, key, user, rtt)
    stop_at = user.impression + budget
    page_check, page_asked, replan = True, False, True
    while True:
        if user.phase == GONE:
            return DONE
        if page_check and not page_asked and (
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

        # 1, 2 and 3: whom the link works for, what comes next, and time until then
        replan = choose_fetch(p, key, rtt, user, screen, pool, waiting, videos, knots, replan)
        when, event = next_event(p, user, screen, pool, waiting, videos, knots, end_us)
        if w.traced[0] == user.user:
            note_moment(user, screen, pool, waiting, w.moments, w.traced, when)
        pass_time(p, user, screen, pool, waiting, videos, knots, when, event)

        # 4: what happens
        shows, asks, lifts, browsed, closing = False, False, False, False, STAYS
        if event == TRANSFER_DONE:
            measure(p, user)
            if user.fetching == PAYLOAD:
                user.fetching = NOBODY
                page_check, replan = True, True
                log_request(user, w.requests, w.logged, part, SERVED)
                shows = page_lands(p, key, user, knots, screen, pool, waiting, videos)
            elif user.fetching == MODEL:
                user.fetching = NOBODY
                user.model_held = CURRENT
            elif user.fetching != SCREEN:
                user.fetching = NOBODY
                replan = True
        elif event == RESPONSE_HERE:
            page_check = True
            if user.queue_us == REFUSED_QUEUE_US:
                log_request(user, w.requests, w.logged, part, REFUSED)
                backs_off(p, user, user.now_us)
            else:
                response_arrives(p, key, user, taste, behaviours, w.listed, videos, w.tag_start, waiting)
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
                delay_us = p.software_start_us if user.software_decoder else p.hardware_start_us
                user.phase_end_us = user.now_us + delay_us
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
                browsed = stop_watching(p, key, user, screen, videos)
            elif user.phase == BROWSING:
                browsed = True
            elif user.phase == AWAY:
                user.checked_us += screen.away_us
                lifts = True
            elif user.phase == WAITING:
                page_check = True
                closing = LEFT_DRY
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
            closing = CUT_OFF

        if browsed:
            user.phase = AWAY
            user.phase_end_us = user.now_us + away_time_us(p, key, user)
            lifts = user.phase_end_us == user.now_us
        if shows and user.phase == WAITING and is_due(p, user) and may_rank(p, user, pool):
            # after a wait the pick waits for its inference
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
                closing = LEFT_APP
            else:
                user.phase = SWIPING
                user.phase_end_us = user.now_us + p.swipe_us
                asks = p.decide_at_start == 0
        if closing != STAYS:
            end_session(
                p, key, user, pool, waiting, w.activity, w.requests, w.sessions, w.logged, part, closing, comes_back
            )
        if asks and is_due(p, user) and may_rank(p, user, pool):
            ask_policy(user, screen)
            return DECIDE
