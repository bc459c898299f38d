"""Sessions: opening the app, patience, satisfaction, leaving, and coming back. Steps 1 and 11 of the journey."""

import numpy as np

from nextone.sim.engine.chance import normal2, uniform, uniform2
from nextone.sim.engine.kernel import inlined, kernel
from nextone.sim.engine.luck import CDN, LIFE, OPENING, SESSION, STALL_PATIENCE, TIME_AWAY, WAIT_PATIENCE, WILL_TO_STAY

from .config import HATE, LIKE, NEVER_US
from .interest import open_mind, settle
from .network import join_link, saturated
from .player import recall_rate
from .pool import empty_slot, empty_waiting
from .records import log_request
from .state import (
    ARRIVING,
    BACKOFF,
    CLOSED,
    COMPLETE,
    DEAD,
    GONE,
    IDLE,
    LEFT,
    LOST,
    NOBODY,
    READY,
    SENT,
    TURNED,
    VALID,
    WAITING,
)

HOUR_US = 3_600_000_000
LEFT_APP, LEFT_DRY, CUT_OFF = 1 << 7, 1 << 8, 1 << 9  # why a session ends: bits among those of `sim/events.py`
SESSION_GAP_US = HOUR_US // 2  # Source: KuaiRand-27K counts, a session ends after 30 min without a request


@kernel
def activity_at(p, activity, hours):
    """Share of days' opens from the shape's midnight to so many hours, in days."""
    day = np.floor(hours / 24.0)
    hour = hours - 24.0 * day
    k = min(np.int64(hour), 23)
    return day + activity[k] + (activity[k + 1] - activity[k]) * (hour - k)


@kernel
def hours_at(p, activity, share):
    """The inverse of `activity_at`."""
    day = np.floor(share)
    rest = share - day
    k = 0
    while k < 23 and activity[k + 1] <= rest:
        k += 1
    width = activity[k + 1] - activity[k]
    return 24.0 * day + k + (rest - activity[k]) / width


@kernel
def first_open_us(p, key, user, activity, window_us):
    """When a person opens the app for the first time: once within the window, by the hour's shape."""
    start = activity_at(p, activity, p.start_hour)
    end = activity_at(p, activity, p.start_hour + window_us / HOUR_US)
    u = uniform(key, SESSION, user.user, 0, OPENING)
    hours = hours_at(p, activity, start + u * (end - start)) - p.start_hour
    return min(max(np.int64(hours * HOUR_US), 0), window_us - 1)


@kernel
def next_open_us(p, key, user, activity):
    """When a person comes back: so many active hours after the last open, so that nights are long, and at the earliest
    when a log would call it a new session. Counted from the open, since how often people open the app hardly depends on
    how they watch: from the close, who stays long would open it less often."""
    z, _ = normal2(key, SESSION, user.user, user.session + 1, OPENING)
    hours = p.gap_hours / user.frequency * np.exp(p.gap_log_sd * z - p.gap_satisfaction * user.satisfaction)
    opened = p.start_hour + user.opened_us / HOUR_US
    share = activity_at(p, activity, opened) + hours / 24.0
    opens = np.int64((hours_at(p, activity, share) - p.start_hour) * HOUR_US)
    return max(opens, user.now_us + SESSION_GAP_US)


@kernel
def open_session(p, key, user, mind, knots, trace_first, trace_mean_bps, link_traces, link_levels, rtt):
    """The app comes to the foreground: mood, link, no page yet."""
    settle(p, user, mind, user.now_us)
    open_mind(p, key, user, mind, user.now_us)
    user.satisfaction = np.float32(0.0)
    user.will_to_stay = first_will_to_stay(key, user)
    user.opened_us = user.now_us
    user.checked_us = user.now_us
    user.left = 0
    user.stored = 0
    user.arrived = 0
    user.fetching = NOBODY
    user.preload = NOBODY
    user.ttl_at_us = NEVER_US
    user.cold = p.cold_start > 1.0
    if user.model_left > 0:
        found = uniform(key, SESSION, user.user, user.session, CDN) < p.cdn_hits
        user.model_at_us = user.now_us + p.cdn_us + (0 if found else p.origin_us)
    user.request_state = IDLE
    if user.session == 0:
        recall_rate(p, key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, user.now_us)
    join_link(p, key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, rtt, user.now_us)
    start_waiting(p, key, user)


@inlined
def first_will_to_stay(key, user):
    """How much hazard of leaving this session bears until the person leaves: exponential, with mean one."""
    return np.float32(-np.log(uniform(key, SESSION, user.user, user.session, WILL_TO_STAY)))


@inlined
def start_waiting(p, key, user):
    """There is no page to show: the person waits, with exponential patience.

    The session is part of the key of the draw. Otherwise a person who once left before the first page would do so at
    every open from then on."""
    user.phase = WAITING
    wait = (np.int64(user.session) << 32) + np.int64(user.impression) + 1
    u = uniform(key, LIFE, user.user, wait, WAIT_PATIENCE)
    user.phase_end_us = saturated(user.now_us, p.dead_time_us + np.int64(-np.log(u) * p.wait_patience_us))


@inlined
def stall_patience_us(p, key, user, number):
    """How long a start-up (number 0) or the nth stall of an impression is borne before swiping on."""
    u = uniform(key, LIFE, user.user, user.impression, STALL_PATIENCE + number)
    return p.dead_time_us + np.int64(-np.log(u) * p.stall_patience_us)


@inlined
def feel(p, user, outcome, feedback, stalled_us):
    """Satisfaction after an impression: a running mean of what it was worth (a valid play above the usual is good)."""
    worth = (1.0 if outcome & VALID else 0.0) - p.usual_valid_play
    worth += p.completion_joy if outcome & COMPLETE else 0.0
    worth += p.like_joy if feedback & (1 << LIKE) else 0.0
    worth -= p.hate_pain if feedback & (1 << HATE) else 0.0
    worth -= p.stall_pain * min(stalled_us, p.stall_felt_us) / 1e6
    keep = p.satisfaction_memory
    user.satisfaction = np.float32(keep * user.satisfaction + (1.0 - keep) * max(worth, -p.most_pain))


@inlined
def leaves(p, user):
    """Whether the person leaves now: a hazard per time since it was last considered, lower for satisfied people, and
    higher for people who are quick with every video (`population.pace_table`).

    The hazard uses up the will to stay that the session got at its open (exponential, with mean one), so that all arms
    share a session's luck."""
    minutes = (user.now_us - user.checked_us) / 6e7
    user.checked_us = user.now_us
    rate = p.leave_per_min * user.pace * np.exp(-p.leave_satisfaction * user.satisfaction)
    user.will_to_stay -= np.float32(rate * minutes)
    return user.will_to_stay <= 0.0


@inlined
def away_time_us(p, key, user):
    """Time in the background after this impression; mostly zero."""
    u, v = uniform2(key, LIFE, user.user, user.impression, TIME_AWAY)
    return np.int64(-np.log(v) * p.away_us) if u < p.away else 0


@kernel
def end_session(p, key, person, activity, requests, sessions, logged, part, how, comes_back):
    """The app closes: what was not seen is thrown away (at the run's end it counts as still buffered).

    how: holds LEFT_APP, LEFT_DRY (no page came) or CUT_OFF (by the run's end)."""
    user, pool, waiting = person.user, person.pool, person.waiting
    cut = how & CUT_OFF != 0
    if user.request_state in (LOST, TURNED, ARRIVING, SENT):
        log_request(user, requests, logged, part, np.int64(LEFT))
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
        row.cut, row.dry, row.satisfaction, row.mood = cut, how & LEFT_DRY != 0, user.satisfaction, user.mood
        row.open_us, row.close_us = user.opened_us, user.now_us
        logged[part, 2] += 1
    user.impressions_before = user.impression
    user.cut = cut
    close_session(p, key, user, activity, comes_back and not cut)


@kernel
def close_session(p, key, user, activity, comes_back):
    """The app leaves the foreground; when it comes back, if it does."""
    user.closed_us = user.now_us
    user.wall_us += user.now_us - user.opened_us
    user.request_state = IDLE
    user.fetching = NOBODY
    user.payload_left = 0
    user.ranking = 0
    user.refresh = 0
    user.phase = GONE
    user.phase_end_us = NEVER_US
    if comes_back:
        come_back(p, key, user, activity)


@kernel
def come_back(p, key, user, activity):
    """Plan when the person, who has left, will open the app again."""
    user.phase = CLOSED
    user.phase_end_us = next_open_us(p, key, user, activity)
    user.session += 1


@kernel
def backs_off(p, user, from_us):
    """A failed request is retried after a pause that doubles, a few times."""
    user.request_state = BACKOFF
    user.retry_us = from_us + p.backoff_us * (1 << min(user.attempt, p.backoff_doublings))
