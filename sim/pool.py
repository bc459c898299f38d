"""The candidate pool: a page lands, waits, takes over, is ranked, expires. Steps 2, 5 and 6 of the journey.

A slot is empty when its rank is DEAD. The order of candidates is: the last finished ranking; then, for slots that no
ranking has seen, the page, then the server's rank.
"""

import numpy as np

from nextone.sim.engine.kernel import allocating, inlined, kernel

from .cloud.rates import phone_ranks
from .cloud.recall import shown_meanwhile
from .config import NEVER_US
from .state import DEAD, MISSING, UNRANKED

LAST_PLACE = 1 << 30  # after every `server_place`


@inlined
def live_slots(pool):
    """How many candidates there are to choose from."""
    count = 0
    for k in range(len(pool)):
        count += pool[k].rank != DEAD
    return count


@inlined
def rankable(user, slot):
    """Whether the model that ranks now may score a slot: there is a video, with embeddings of that version."""
    if slot.rank == DEAD:
        return False
    return (user.request - np.int64(slot.request)) & 0xFFFF <= np.int64(user.request) - user.model_since


@inlined
def may_rank(p, user, pool):
    """Whether the phone has a model, or needs none, and something to rank."""
    count = 0
    for k in range(len(pool)):
        count += rankable(user, pool[k])
    return p.edge != 0 and user.model < MISSING and count > 0


@inlined
def place(user, slot):
    """Sort key of a live slot, lowest first: the last finished ranking, then the server's order."""
    return (np.int64(slot.order) << 32) | server_place(user, slot)


@inlined
def server_place(user, slot):
    """Sort key of a live slot in the server's order: page (oldest first), then rank."""
    age = (user.request - np.int64(slot.request)) & 0xFFFF
    return ((0xFFFF - age) << 8) | np.int64(slot.rank)


@inlined
def next_slots(user, pool, last):
    """(slot, key) of the live slot that comes next after sort key `last`; (-1, last) if none does."""
    best, best_key = -1, np.int64(2**62)
    for k in range(len(pool)):
        if pool[k].rank != DEAD:
            key = place(user, pool[k])
            if last < key < best_key:
                best, best_key = k, key
    return best, (best_key if best >= 0 else last)


@inlined
def empty_slot(user, slot):
    """A candidate leaves the pool unshown: its bytes are wasted."""
    user.wasted += slot.buffered
    slot.buffered = 0
    slot.rank = DEAD


@kernel
def empty_waiting(user, waiting):
    """The waiting page is thrown away; how many videos it had."""
    count = user.waiting
    for k in range(count):
        user.wasted += waiting[k].buffered
        waiting[k].buffered = 0
    user.waiting = 0
    return count


@kernel
def slot_of(pool, video):
    """The live slot that holds a video, -1 if none does."""
    for k in range(len(pool)):
        if pool[k].rank != DEAD and pool[k].video == video:
            return k
    return -1


@kernel
def take_over(p, person):
    """The waiting page becomes the pool (`replace`), or joins it (`merge`); TTL starts at its arrival.

    What was shown while it was on its way is dropped, and what the pool has no room for. A video that was in the pool
    already keeps what is fetched of it."""
    user, pool, waiting = person.user, person.pool, person.waiting
    most = p.candidates if phone_ranks(p, user) else p.page_size
    room = most
    for k in range(user.waiting):
        if room == 0 or shown_meanwhile(person, waiting[k]):
            continue
        room -= 1
        slot = slot_of(pool, np.int64(waiting[k].video))
        if slot >= 0:
            user.wasted += waiting[k].buffered  # nothing, for what the pool holds is not fetched again
            waiting[k].buffered, waiting[k].bitrate = pool[slot].buffered, pool[slot].bitrate
            pool[slot].buffered = 0
            user.dropped += 1
            empty_slot(user, pool[slot])
    if not p.merge or user.refresh:
        for k in range(len(pool)):
            if pool[k].rank != DEAD:
                user.dropped += 1
                empty_slot(user, pool[k])
        user.left = 0
    if user.model != user.model_sent:  # a new version ranks from the first page with embeddings for it
        user.model, user.model_since = user.model_sent, user.request
    room = most
    for k in range(user.waiting):
        if room == 0 or shown_meanwhile(person, waiting[k]):
            user.dropped += 1
            user.wasted += waiting[k].buffered
            waiting[k].buffered = 0
        else:
            join(user, pool, waiting[k], k)
            room -= 1
    user.waiting = 0
    user.left += p.page_size
    user.refresh = 0
    next_expiry(p, user, pool)


@inlined
def join(user, pool, early, rank):
    """One video enters the pool; if there is no room, the one with the lowest server score makes way, of equal ones the
    first slot's."""
    target = -1
    for k in range(len(pool)):
        if pool[k].rank == DEAD:
            target = k
            break
        if target < 0 or pool[k].score < pool[target].score:
            target = k
    slot = pool[target]
    if slot.rank != DEAD:
        user.dropped += 1
        empty_slot(user, slot)
    slot.arrived_us = user.response_us
    slot.arrived_at = np.uint16(user.impression & 0xFFFF)
    slot.request = np.uint16(user.request & 0xFFFF)
    slot.video = early.video
    slot.meeting = early.meeting
    slot.place = early.place
    slot.score = early.score
    slot.buffered = early.buffered
    early.buffered = 0
    slot.bitrate = early.bitrate
    slot.rank = np.uint8(rank)
    slot.order = UNRANKED
    slot.next_order = UNRANKED
    for head in range(len(slot.pxtr)):
        slot.pxtr[head] = early.pxtr[head]


@kernel
def next_expiry(p, user, pool):
    """When the oldest candidate's TTL ends."""
    user.ttl_at_us = NEVER_US
    for k in range(len(pool)):
        if pool[k].rank != DEAD:
            user.ttl_at_us = min(user.ttl_at_us, pool[k].arrived_us + p.ttl_us)


@kernel
def expire(p, user, pool):
    """Candidates past their TTL, in time or in impressions, leave; whether any did. `replace`: the whole pool goes."""
    any_expired = False
    for k in range(len(pool)):
        if pool[k].rank != DEAD and past_ttl(p, user, pool[k]):
            any_expired = True
            user.expired += 1
            empty_slot(user, pool[k])
    next_expiry(p, user, pool)
    return any_expired


@inlined
def past_ttl(p, user, slot):
    """Whether a candidate is past its TTL now."""
    seen = (user.impression - np.int64(slot.arrived_at)) & 0xFFFF
    return user.now_us - slot.arrived_us >= p.ttl_us or seen >= p.ttl_impressions


@allocating
def rank_pool(user, pool, scores):
    """A ranking is asked for: place every slot it may score into `next_order`; ties by page, then server rank."""
    places = np.empty(len(pool), np.int32)  # the server's; what is not to be ranked comes last, and is scored so
    scored = scores[: len(pool)].copy()
    for k in range(len(pool)):
        if rankable(user, pool[k]):
            places[k] = server_place(user, pool[k])
        else:
            places[k], scored[k] = LAST_PLACE, -np.inf
    for k in range(len(pool)):
        if places[k] == LAST_PLACE:
            continue
        above = np.int32(0)
        for j in range(len(pool)):  # without branches, on vectors
            before = (scored[j] > scored[k]) | ((scored[j] == scored[k]) & (places[j] < places[k]))
            above += np.int32(before)
        pool[k].next_order = np.uint8(above)


@inlined
def apply_ranking(pool):
    """A ranking is finished: it orders the slots it has seen."""
    for k in range(len(pool)):
        pool[k].order = pool[k].next_order
        pool[k].next_order = UNRANKED


@inlined
def forget_rankings(pool):
    """The server's order again."""
    for k in range(len(pool)):
        pool[k].order = UNRANKED
        pool[k].next_order = UNRANKED
