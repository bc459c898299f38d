"""Requests and pages: when a page is asked for, what the request meets on the way, and what the page does when it
arrives. Steps 2 to 5 of the journey.

A driver decides only the wait in the server's queue: it puts it into `users.queue_us`.
"""

import numpy as np

from nextone.sim.engine.chance import normal_quantile, uniform, uniform2
from nextone.sim.engine.kernel import inlined, kernel
from nextone.sim.engine.luck import LOOKUP, QUEUE_WAIT, REQUEST, ROUND_TRIP_BACK, ROUND_TRIP_THERE

from .cloud.belief import learn_outcomes
from .cloud.page import make_page
from .cloud.rates import phone_ranks
from .cloud.recall import tell_shown
from .config import NEVER_US
from .network import offline, rtt_us, sleeps
from .player import break_off, still_to_fetch
from .pool import expire, live_slots, slot_of, take_over
from .state import (
    BACKOFF,
    CLOSED,
    DEAD,
    FROM_WAITING,
    IDLE,
    LOST,
    MISSED,
    MISSING,
    NOBODY,
    READY,
    SENT,
    SWIPING,
    TURNED,
    WAITING,
)

REFUSED_QUEUE_US = -1  # what a driver puts in `queue_us` for a full queue; NEVER_US: no turn before the phone gave up


@inlined
def wants_page(p, user, pool):
    """Whether a request should go out now; `client.ask_at` says when it may."""
    if user.request_state != IDLE or user.phase >= CLOSED:
        return False
    if p.ask_at_swipe and user.phase != SWIPING and user.phase != WAITING:
        return False
    return user.left <= p.refill_at or live_slots(pool) == 0


@inlined
def ask_for_page(p, key, person, rtt, queue_waits, refresh):
    """Send a new request. refresh: the policy asked for it. Returns whether it will reach the server and must be
    answered by the driver."""
    user = person.user
    tell_shown(user, person.stored)
    user.refresh = 1 if refresh else 0
    user.request += 1
    user.attempt = 0
    return send_request(p, key, user, rtt, queue_waits)


@kernel
def send_request(p, key, user, rtt, queue_waits):
    """A request for a page leaves the phone (first attempt or a retry). Draws what it will meet on the way.

    It tells the version of the phone's model: the response's embeddings are of that version.

    Returns whether it will reach the server and must be answered by the driver."""
    if offline(user, user.now_us):
        user.request_state = BACKOFF
        user.retry_us = user.outage_end_us
        return False
    wake = 0
    if sleeps(p, user):
        wake = p.radio_wake_us
        user.link_used_us = user.now_us
    user.sent_us = user.now_us
    user.give_up_us = user.now_us + p.timeout_us
    there_us = rtt_us(p, key, user, rtt, user.sent_us, np.int64(user.request), ROUND_TRIP_THERE + 2 * user.attempt) // 2
    user.arrived_us = user.now_us + wake + there_us
    user.queue_us = NEVER_US
    user.response_us = NEVER_US
    user.model_sent = user.model_held
    if p.edge and p.lookup_misses > 0.0 and user.model_held < MISSING:
        u = uniform(key, REQUEST, user.user, user.request, user.attempt + LOOKUP)
        user.model_sent = MISSED if u < p.lookup_misses else user.model_held
    u_lost, u_service = uniform2(key, REQUEST, user.user, user.request, user.attempt)
    mean_us = p.service_us + p.service_per_candidate_us * videos_shipped(p, user)
    variance = np.log(1.0 + p.service_cv * p.service_cv)
    user.service_us = np.int64(mean_us * np.exp(np.sqrt(variance) * normal_quantile(u_service) - 0.5 * variance))
    if u_lost < p.loss or user.arrived_us >= user.give_up_us:
        user.request_state = LOST
        return False
    user.request_state = SENT
    if len(queue_waits) == 0:
        return True
    u = uniform(key, REQUEST, user.user, user.request, user.attempt + QUEUE_WAIT)
    user.queue_us = queue_waits[min(np.int64(u * len(queue_waits)), len(queue_waits) - 1)]
    answer(p, key, user, rtt)
    return False


@kernel
def answer(p, key, user, rtt):
    """The server's side is known (`queue_us` is set by the driver): when the response's first byte is back."""
    back_us = rtt_us(p, key, user, rtt, user.sent_us, np.int64(user.request), ROUND_TRIP_BACK + 2 * user.attempt) // 2
    user.request_state = TURNED
    if user.queue_us == REFUSED_QUEUE_US:
        user.response_us = user.arrived_us + back_us
        return
    if user.queue_us == NEVER_US:
        user.response_us = NEVER_US
        return
    lookup_us = p.lookup_us if p.edge and user.model_sent != MISSING else 0
    user.response_us = user.arrived_us + user.queue_us + user.service_us + p.chain_us + lookup_us + back_us


@inlined
def videos_shipped(p, user):
    """Videos in a response: as many as the phone has room for, and as many more as it may show while they are on their
    way; it then drops those that it has shown."""
    return (p.candidates if phone_ranks(p, user) else p.page_size) + p.refill_at


@kernel
def response_arrives(p, key, person, index):
    """The first byte of the response arrives: the page that the cloud made when the request got its worker, from what
    it saw then.

    The page is computed only now, which spares pages that never arrive. Until now the cloud has learnt nothing that it
    could not see at the turn (`screen.finish_impression`)."""
    user = person.user
    turn_us = user.arrived_us + user.queue_us
    learn_outcomes(p, key, person, index, turn_us - p.feature_lag_us)
    user.waiting = make_page(p, key, person, index, videos_shipped(p, user), turn_us)
    per_video = p.item_bytes + (p.embedding_bytes if phone_ranks(p, user) else 0)
    user.payload_left = np.int32(min(per_video * user.waiting, 2_000_000_000))


@kernel
def page_lands(p, person, videos, knots):
    """The whole response has arrived: the page waits beside the pool, takes over, or joins it. Returns whether the
    person waited for it."""
    user, pool = person.user, person.pool
    user.response_us = user.now_us
    user.served += user.waiting
    user.request_state = READY
    if p.merge or user.refresh:
        use_page(p, person, videos, knots)
    else:
        use_page_if_due(p, person, videos, knots)
    return user.phase == WAITING and live_slots(pool) > 0


@kernel
def use_page(p, person, videos, knots):
    """The waiting page takes over the pool or joins it."""
    user, pool = person.user, person.pool
    owed, what = in_flight(p, person, videos)
    take_over(p, person)
    user.request_state = IDLE
    if user.fetching >= FROM_WAITING:
        user.fetching = NOBODY  # its bytes moved to a slot; who comes first is looked up anew
    break_off_if_gone(p, user, knots, pool, owed, what)


@kernel
def use_page_if_due(p, person, videos, knots):
    """A page that waits takes over once the present one is used up or the pool is dry."""
    user, pool = person.user, person.pool
    if user.request_state == READY and (user.left == 0 or live_slots(pool) == 0):
        use_page(p, person, videos, knots)


@kernel
def expire_slots(p, person, videos, knots):
    """The TTL fires: what is past it leaves; if that empties the pool, the page is over."""
    user, pool = person.user, person.pool
    if p.serve_expired and offline(user, user.now_us):
        return
    owed, what = in_flight(p, person, videos)
    if expire(p, user, pool):
        break_off_if_gone(p, user, knots, pool, owed, what)
        if live_slots(pool) == 0:
            user.left = 0
    use_page_if_due(p, person, videos, knots)


@kernel
def in_flight(p, person, videos):
    """Before the pool changes: (bytes still to come for the slot the link works for, its video or -1)."""
    user, pool = person.user, person.pool
    if user.fetching < 0 or user.fetching >= FROM_WAITING:
        return np.int64(0), np.int64(-1)
    return np.int64(still_to_fetch(p, person, videos)), np.int64(pool[user.fetching].video)


@inlined
def candidate_in(slot):
    """Which candidate a slot holds, -1 if none."""
    if slot.rank == DEAD:
        return np.int64(-1)
    return (np.int64(slot.request) << 40) | (np.int64(slot.video) << 8) | np.int64(slot.rank)


@kernel
def break_off_if_gone(p, user, knots, pool, owed, what):
    """After the pool changed: a transfer goes on for the slot that holds its video; without one it is broken off."""
    if not 0 <= user.fetching < FROM_WAITING:
        return
    slot = slot_of(pool, what)
    if slot >= 0:
        user.fetching = slot
    else:
        break_off(p, user, knots, owed)
