"""A page: what is stored for the session, ranked anew by what the cloud knows now. Steps 2 to 4 of the journey.

The cloud never reads true interests or mood. All that a page says is worked out here, once; nothing that the cloud learns
later changes it. `score_held` ranks what a phone holds as the cloud would, had it seen what the phone has seen.
"""

import numpy as np

from nextone.sim.engine.kernel import allocating, fetch_ahead, inlined, kernel
from nextone.sim.state import DEAD, ID, PEVTR, PLVTR, TOLD

from .belief import drawn_by_intent, fade, level
from .rates import (
    logit_milli,
    most_worth,
    phone_ranks,
    predict_feedback,
    view_rates,
    what_is_known,
    worth_of_views,
)
from .recall import AHEAD, arrive, keep_best, left_to_serve, recall


@allocating
def make_page(p, key, person, index, wanted, turn_us):
    """The page that is shipped, into `waiting`: the best `wanted` of the session's videos that the cloud does not know
    to be shown, first to last, each with score and predicted rates; how many there are."""
    user, stored, waiting = person.user, person.stored, person.waiting
    if user.stored == 0 or left_to_serve(user, stored) < wanted:
        recall(p, key, person, index)
    if p.arrivals_per_min > 0.0:
        arrive(p, key, person, index, turn_us)
    fade(p, person.belief, turn_us)
    score, which = np.empty(user.stored, np.float32), np.empty(user.stored, np.int64)
    score_stored(p, person, index, score)
    count = keep_best(score, wanted, which)
    ranks, known = phone_ranks(p, user), what_is_known(p, user, person.belief)
    for k in range(count):
        place = which[k]
        if score[place] == -np.inf:
            return k
        row, early = stored[place], waiting[k]
        video = row.video & ID
        early.video, early.place, early.score = video, np.uint16(place), score[place]
        early.meeting = np.uint16(user.recalls & 0xFFFF)
        early.buffered, early.bitrate = 0, -1
        valid, long = view_rates(p, index[video].duration_us, estimate_now(p, person.belief, row, index[video]), known)
        early.pxtr[PEVTR] = logit_milli(valid, p.pxtr_bias)
        if ranks:  # a phone that does not rank is sent the first alone
            early.pxtr[PLVTR] = logit_milli(long, p.pxtr_bias)
            predict_feedback(p, user, video, index[video], row.base / 1000.0, early.pxtr)
    return count


@inlined
def estimate_now(p, belief, row, of_video):
    """The cloud's estimate of the log-odds of staying, from what it stored and what it has learnt since. row: of the
    set; of_video: of the index."""
    return row.base / 1000.0 + level(belief) + p.filter_use * drawn_by_intent(belief, of_video.embedding)


@inlined
def score_now(p, belief, row, of_video, known):
    """What the objective makes of a stored video now, as a share of the most that any could be worth."""
    valid, long = view_rates(p, of_video.duration_us, estimate_now(p, belief, row, of_video), known)
    return np.float32(worth_of_views(p, valid, long) / most_worth(p) + row.rest / 32767.0)


@allocating
def score_stored(p, person, index, score):
    """`score_now` of every stored video into score (R,); -inf where the cloud knows that it was shown."""
    user, stored, belief = person.user, person.stored, person.belief
    known = what_is_known(p, user, belief)
    for k in range(min(AHEAD, len(score))):
        fetch_ahead(index, stored[k].video & ID)
    for k in range(len(score)):
        if k + AHEAD < len(score):
            fetch_ahead(index, stored[k + AHEAD].video & ID)
        row = stored[k]
        score[k] = -np.inf if row.video & TOLD else score_now(p, belief, row, index[row.video & ID], known)


@kernel
def score_held(p, person, index, scores):
    """`score_now` of every candidate that a phone holds and that is still stored, into scores (P,)."""
    user, pool, stored, belief = person.user, person.pool, person.stored, person.belief
    known = what_is_known(p, user, belief)
    for k in range(len(pool)):
        slot = pool[k]
        if slot.rank != DEAD and slot.place < user.stored and stored[slot.place].video & ID == slot.video:
            scores[k] = score_now(p, belief, stored[slot.place], index[slot.video], known)
        elif slot.rank != DEAD:
            scores[k] = slot.score
