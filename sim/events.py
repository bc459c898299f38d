"""Events: what happens at each moment of a person's life. Part 4 of a turn; called by `sim/impression.py`.

There is one function for each event, in the order of the constants of `sim/clock.py`. Each returns, as bits, what
follows from the event. The functions are pasted into the source of the loop (`pasted`), because separately compiled
they would be compiled twice.
"""

import numpy as np

from nextone.sim.engine.kernel import fetch_ahead, pasted

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
)
from .cloud.recall import tell_shown
from .config import NEVER_US
from .network import draw_outage, saturated
from .next_one import is_due
from .player import break_off
from .pool import apply_ranking, forget_rankings, live_slots, may_rank
from .records import clear_screen, log_impression, log_request
from .request import (
    REFUSED_QUEUE_US,
    expire_slots,
    page_lands,
    response_arrives,
    send_request,
    use_page_if_due,
)
from .screen import finish_impression, start_impression, start_playing, stop_watching
from .session import (
    CUT_OFF,
    LEFT_APP,
    LEFT_DRY,
    away_time_us,
    backs_off,
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
    DECODING,
    GONE,
    IDLE,
    LAST,
    MODEL,
    NOBODY,
    PAYLOAD,
    PICKING,
    PLAYING,
    REFUSED,
    SCREEN,
    SERVED,
    STALLED,
    STARTING,
    SWIPING,
    TIMED_OUT,
    WAITING,
)

# What follows, any of them.
NOTHING = 0
REPLANS = 1 << 0  # the order of the candidates or the bytes held changed: what to preload is looked up anew
MAY_WANT = 1 << 1  # the phone may want a page now
WANTS = 1 << 2  # the policy wants a page
SHOWS = 1 << 3  # the next video takes the screen
LIFTS = 1 << 4  # nothing is left to do with the video on screen
DECIDES = 1 << 5  # a moment at which the policy may be asked
ASKS = 1 << 6  # a request is under way that the driver must answer
ENDS = LEFT_APP | LEFT_DRY | CUT_OFF  # the session ends


@pasted
def happens(p, key, person, w, part, event):
    """An event happens now; what follows. part: of the logs."""
    user, screen, pool = person.user, person.screen, person.pool
    videos, knots, rtt = w.videos, w.knots, w.rtt
    if event == OUTAGE_TURNS:
        return outage_turns(p, key, person, videos, knots)
    if event == TRANSFER_DONE:
        return transfer_done(p, person, videos, knots, w.requests, w.logged, part)
    if event == RESPONSE_HERE:
        return response_here(p, key, person, w, part)
    if event == GIVES_UP:
        return gives_up(p, user, w.requests, w.logged, part)
    if event == RETRIES:
        return retries(p, key, person, rtt, w.queue_waits)
    if event == RANKING_DONE:
        return ranking_done(p, key, user, pool)
    if event == EXPIRES:
        return expires(p, person, videos, knots)
    if event == ENOUGH_HELD:
        return enough_held(p, user, screen)
    if event == RUNS_DRY:
        return runs_dry(p, key, user, screen)
    if event == PHASE_ENDS:
        return phase_ends(p, key, person, w)
    if event == WINDOW_ENDS:
        return window_ends(p, key, person, w, part)
    return NOTHING  # GETS_HUNGRY: the link is given to the video on screen, or to the files of a network


@pasted
def outage_turns(p, key, person, videos, knots):
    """The network is gone, or back."""
    user = person.user
    user.fetching = NOBODY
    if user.now_us < user.outage_end_us:
        return NOTHING
    user.outage += 1
    draw_outage(p, key, user, user.now_us)
    if not p.serve_expired:
        return NOTHING
    return expires(p, person, videos, knots)


@pasted
def transfer_done(p, person, videos, knots, requests, logged, part):
    """The link has fetched what it was fetching: a page, the model, what a video was to hold."""
    user = person.user
    fetched = user.fetching
    if fetched == SCREEN:
        return NOTHING
    user.fetching = NOBODY
    if fetched == MODEL:
        user.model_held = CURRENT
        user.cold = p.cold_start > 1.0
        return NOTHING
    if fetched != PAYLOAD:
        return REPLANS
    log_request(user, requests, logged, part, np.int64(SERVED))
    waited = page_lands(p, person, videos, knots)
    return REPLANS | MAY_WANT | (SHOWS if waited else NOTHING)


@pasted
def response_here(p, key, person, w, part):
    """The first byte of the server's answer: a page, or that its queue is full."""
    user = person.user
    if user.queue_us == REFUSED_QUEUE_US:
        log_request(user, w.requests, w.logged, part, np.int64(REFUSED))
        backs_off(p, user, user.now_us)
    else:
        response_arrives(p, key, person, w.indexed)
        user.request_state = ARRIVING
        for k in range(user.waiting):  # what preloading and watching will look at
            fetch_ahead(w.videos, person.waiting[k].video)
            fetch_ahead(w.content, person.waiting[k].video)
    return MAY_WANT


@pasted
def gives_up(p, user, requests, logged, part):
    """The phone has waited for an answer long enough."""
    log_request(user, requests, logged, part, np.int64(TIMED_OUT))
    backs_off(p, user, user.now_us)
    return MAY_WANT


@pasted
def retries(p, key, person, rtt, queue_waits):
    """A request that failed is sent again."""
    user = person.user
    user.attempt += 1
    tell_shown(user, person.stored)
    reaches_server = send_request(p, key, user, rtt, queue_waits)
    return MAY_WANT | (ASKS if reaches_server else NOTHING)


@pasted
def ranking_done(p, key, user, pool):
    """The phone has ranked: its order counts from now on, unless it would rather have a new page."""
    user.ranking = 0
    apply_ranking(pool)
    follows = REPLANS
    if user.page_wanted:
        forget_rankings(pool)
        if user.request_state == IDLE:
            follows |= WANTS
    if user.phase == PICKING:
        if live_slots(pool) > 0:
            follows |= SHOWS
        else:
            start_waiting(p, key, user)
            follows |= MAY_WANT
    return follows


@pasted
def expires(p, person, videos, knots):
    """The TTL of a candidate ends."""
    expire_slots(p, person, videos, knots)
    return REPLANS | MAY_WANT


@pasted
def enough_held(p, user, screen):
    """Enough of the video on screen is held to start, or to go on after a stall."""
    if user.phase == STARTING:
        user.phase = DECODING
        delay_us = p.software_start_us if user.software_decoder else p.hardware_start_us
        if user.ranking:  # decoder and network share the phone's cores
            delay_us += np.int64(p.contention[user.tier] * (user.ready_us - user.now_us))
        user.phase_end_us = user.now_us + delay_us
    else:
        start_playing(user, screen)
    return NOTHING


@pasted
def runs_dry(p, key, user, screen):
    """Play has caught up with what is held: a stall."""
    user.phase = STALLED
    screen.stalls += 1
    user.phase_end_us = saturated(user.now_us, stall_patience_us(p, key, user, np.int64(screen.stalls)))
    return NOTHING


@pasted
def phase_ends(p, key, person, w):
    """What the person does comes to its end: see `state.PHASES`."""
    user, screen, pool, mind = person.user, person.screen, person.pool, person.mind
    phase = user.phase
    if phase == SWIPING:
        if live_slots(pool) > 0:
            return SHOWS
        user.ranking = 0
        start_waiting(p, key, user)
        return MAY_WANT
    if phase == DECODING:
        start_playing(user, screen)
        return DECIDES if p.decide_at_start else NOTHING
    if phase == PLAYING or phase == STARTING or phase == STALLED or phase == BROWSING:
        if phase != BROWSING and not stop_watching(p, key, user, screen, w.videos):
            return NOTHING
        user.phase = AWAY
        user.phase_end_us = user.now_us + away_time_us(p, key, user)
        return LIFTS if user.phase_end_us == user.now_us else NOTHING
    if phase == AWAY:
        user.checked_us += screen.away_us
        return LIFTS
    if phase == WAITING:
        return MAY_WANT | LEFT_DRY
    clear_screen(screen)  # CLOSED: the app opens
    open_session(p, key, user, mind, w.knots, w.trace_first, w.trace_mean_bps, w.link_traces, w.link_levels, w.rtt)
    return REPLANS | MAY_WANT


@pasted
def window_ends(p, key, person, w, part):
    """The run ends: whoever is in the app is cut off."""
    user, screen = person.user, person.screen
    if user.phase == CLOSED:
        user.phase = GONE
        return NOTHING
    if screen.video >= 0:
        screen.outcome |= CUT
        finish_impression(p, key, person, w.videos, w.content, w.indexed)
        log_impression(screen, w.impressions, w.logged, part)
    return CUT_OFF


@pasted
def show_next(p, key, person, w):
    """The next video takes the screen, and what that does to page and pool. After a wait, the policy picks it first."""
    user, pool, videos, knots = person.user, person.pool, w.videos, w.knots
    if user.phase == WAITING and is_due(p, user) and may_rank(p, user, pool):
        user.phase, user.phase_end_us = PICKING, NEVER_US
        return DECIDES
    start_impression(p, key, person, videos, w.content)
    if p.ttl_impressions < NEVER_US:
        expire_slots(p, person, videos, knots)
    use_page_if_due(p, person, videos, knots)
    starts = p.decide_at_start != 0 and user.phase == PLAYING
    return REPLANS | MAY_WANT | (DECIDES if starts else NOTHING)


@pasted
def lift_finger(p, key, person, w, part):
    """The impression is over: the person swipes on, or leaves the app."""
    user, screen = person.user, person.screen
    if user.fetching == SCREEN:
        break_off(p, user, w.knots, user.goal - screen.bytes)
    finish_impression(p, key, person, w.videos, w.content, w.indexed)
    leaving = leaves(p, user)
    if leaving:
        screen.outcome |= LAST
    log_impression(screen, w.impressions, w.logged, part)
    if leaving:
        return MAY_WANT | LEFT_APP
    user.phase = SWIPING
    user.phase_end_us = user.now_us + p.swipe_us
    return MAY_WANT | (NOTHING if p.decide_at_start else DECIDES)
