"""A page: the videos stored for the session, ranked by what the cloud knows now. Steps 2 to 4 of the journey.

The cloud never reads true interests or mood. Everything that a page contains is computed here, once; nothing that the
cloud learns later changes it. `score_held` ranks the candidates on a phone as the cloud would rank them if it had seen
what the phone has seen.
"""

import numpy as np

from nextone.sim.engine.kernel import allocating, fetch_ahead, inlined, kernel
from nextone.sim.state import DEAD, FIRST_OF_FEEDBACK, ID, PEVTR, PLVTR, TOLD

from .belief import drawn_by_intent, fade, level
from .rates import (
    feedback_chances,
    logit_milli,
    person_chances,
    phone_ranks,
    shifted,
    view_rates,
    what_is_known,
    what_is_known_for_good,
)
from .recall import FEEDBACK_RATES, arrive, keep_best, left_to_serve, recall


@allocating
def make_page(p, key, person, index, wanted, turn_us):
    """Make the page that is shipped, into `waiting`: the best `wanted` of the session's videos, best first, each with
    score and predicted rates. Returns how many there are. Videos that the cloud knows to be shown are left out.

    A new set of videos is looked for when no full page is left, whoever ranks. If it were looked for when no candidates
    are left, a phone that is shipped more candidates would get better videos."""
    user, stored, waiting = person.user, person.stored, person.waiting
    if left_to_serve(user, stored) < p.page_size + p.refill_at:
        recall(p, key, person, index)
    if p.arrivals_per_min > 0.0:
        arrive(p, key, person, index, turn_us)
    fade(p, person.belief, turn_us)
    known = what_is_known(p, user, person.belief)
    score, which = np.empty(user.stored, np.float32), np.empty(user.stored, np.int64)
    score_stored(p, person, index, known, score)
    count = keep_best(score, wanted, which)
    for k in range(count):
        row, early = stored[which[k]], waiting[k]
        early.video, early.place, early.score = row.video & ID, np.uint16(which[k]), score[which[k]]
        early.meeting = np.uint16(user.recalls & 0xFFFF)
        early.buffered, early.bitrate = 0, -1
    ship_rates(p, person, index, known, count)
    return count


@allocating
def ship_rates(p, person, index, known, count):
    """The predicted rates of a page's first videos, as they were ranked by, into `waiting`, int16 in 1/1000 logit. A
    phone that does not rank is sent the first alone. known: `what_is_known` now."""
    user, ranks, for_good = person.user, phone_ranks(p, person.user), known
    chances, feedback = np.empty((FEEDBACK_RATES, 3)), np.empty(FEEDBACK_RATES)
    if ranks:
        for_good = what_is_known_for_good(p, user)
        person_chances(p, user, chances)
    for k in range(count):
        early = person.waiting[k]
        row, of_video = person.stored[early.place], index[early.video]
        estimate = np.float32(estimate_now(p, person.belief, row, of_video))
        valid, long = view_rates(estimate, of_video.skip_long, of_video.watch_long, known)
        early.pxtr[PEVTR] = logit_milli(shifted(np.float64(valid), p.pxtr_bias))
        if ranks:
            early.pxtr[PLVTR] = logit_milli(shifted(np.float64(long), p.pxtr_bias))
            feedback_chances(p, of_video, chances, np.float32(row.lasting / 1000.0), for_good, feedback)
            for head in range(len(feedback)):
                early.pxtr[FIRST_OF_FEEDBACK + head] = logit_milli(feedback[head])


@inlined
def estimate_now(p, belief, row, of_video):
    """The cloud's estimate of the log-odds of staying, from what it stored and what it has learnt since. row: of the
    set; of_video: of the index."""
    return row.lasting / 1000.0 + level(belief) + p.filter_use * drawn_by_intent(belief, of_video.embedding)


@inlined
def score_of(p, estimate, of_video, rest, known):
    """A video's score by the objective, as a share of the most that any video could be worth. rest: feedback's part of
    it."""
    valid, long = view_rates(estimate, of_video.skip_long, of_video.watch_long, known)
    return worth_of(biased(p, valid), biased(p, long), rest, known)


@inlined
def biased(p, chance):
    """A chance as the cloud predicts it, float32."""
    return np.float32(shifted(np.float64(chance), p.pxtr_bias))


@inlined
def worth_of(valid, long, rest, known):
    """The score of a video, from its chances of views and the stored worth of its feedback."""
    return known.worth_valid * valid + known.worth_long * long + np.float32(rest) * np.float32(1.0 / 32767.0)


@allocating
def score_stored(p, person, index, known, score):
    """Score every stored video into score (R,), -inf where the cloud knows that it was shown. known: `what_is_known`
    now.

    Values that lie far apart in memory are gathered first, so that the rest runs on vectors."""
    stored, belief, size = person.stored, person.belief, len(score)
    estimate, rest = np.empty(size, np.float32), np.empty(size, np.float32)
    skip, watch = np.empty(size, np.float32), np.empty(size, np.float32)
    for k in range(size):
        fetch_ahead(index, stored[k].video & ID)
    for k in range(size):
        of_video = index[stored[k].video & ID]
        estimate[k] = estimate_now(p, belief, stored[k], of_video)
        skip[k], watch[k], rest[k] = of_video.skip_long, of_video.watch_long, stored[k].rest
    if p.pxtr_bias == 0.0:
        for k in range(size):
            valid, long = view_rates(estimate[k], skip[k], watch[k], known)
            score[k] = worth_of(valid, long, rest[k], known)
    else:
        for k in range(size):
            score[k] = score_of(p, estimate[k], index[stored[k].video & ID], rest[k], known)
    for k in range(size):
        score[k] = -np.inf if stored[k].video & TOLD else score[k]


@kernel
def score_held(p, person, index, scores):
    """The score now of every candidate that a phone holds and that is still stored, into scores (P,)."""
    user, pool, stored, belief = person.user, person.pool, person.stored, person.belief
    known = what_is_known(p, user, belief)
    for k in range(len(pool)):
        slot = pool[k]
        if slot.rank != DEAD and slot.place < user.stored and stored[slot.place].video & ID == slot.video:
            row, of_video = stored[slot.place], index[slot.video]
            estimate = np.float32(estimate_now(p, belief, row, of_video))
            scores[k] = score_of(p, estimate, of_video, row.rest, known)
        elif slot.rank != DEAD:
            scores[k] = slot.score
