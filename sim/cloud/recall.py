"""Retrieval: which videos a session is served from. Step 2 of the journey.

When a session needs videos, the cloud looks at the next `server.recall` videos of the catalogue, in an order that is
the person's own. It stores the best `server.kept` of them by its lasting estimate. Every page is ranked from these, so
larger pages and discarded pages bring no better videos. A video that the person has seen is marked. It does not come
back in this session, nor in later ones within `server.repeat_after_days`.
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, many_words
from nextone.sim.engine.kernel import allocating, fetch_ahead, inlined, kernel
from nextone.sim.engine.luck import MATCH, WALK
from nextone.sim.interest import MINUTE_US
from nextone.sim.interest import belief as lasting_belief
from nextone.sim.state import FIRST_OF_FEEDBACK, ID, PREDICTED, SHOWN, TOLD

from .belief import lasting_estimate
from .rates import feedback_chances, most_worth, person_chances, what_is_known_for_good, worth_of_feedback

STRIDES = np.array(
    [2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543, 2147483497,
     2147483489, 2147483477, 2147483423, 2147483399, 2147483353, 2147483323, 2147483269, 2147483249]
)  # fmt: skip
"""Primes above any catalogue: modulo its size, each walks through the whole."""
HALVINGS = 24  # beyond float32's precision
FEEDBACK_RATES = len(PREDICTED) - FIRST_OF_FEEDBACK
MOST_LOGIT = 32.0  # of what is stored
NOTHING = np.int64(-(1 << 20))  # less than any estimate that is stored
UNPRICED = np.int16(-32768)  # below what any feedback is worth
PLACE_BITS = 16  # room for a place in the set
PLACE = (1 << PLACE_BITS) - 1


@inlined
def next_videos(key, user, videos, ids):
    """The next of a person's walk through the catalogue, into ids (n,): each pass meets every video once."""
    words = keyed_words(key, WALK, user.user, 0, 0)
    stride = STRIDES[np.int64(words.w1 & np.uint64(15))] % videos
    at = (np.int64(words.w0) + np.int64(user.stream) % videos * stride) % videos
    for n in range(len(ids)):
        ids[n] = at
        at += stride
        at = at - videos if at >= videos else at
    user.stream += len(ids)


@kernel
def was_seen(seen, video):
    """Whether a person was shown a video lately, as far as it has to be remembered."""
    if seen.shape[1] == 0:
        return False
    bit = np.uint8(1 << (video & 7))
    return (seen[0, video >> 3] | seen[1, video >> 3]) & bit != 0


@kernel
def note_seen(p, user, seen, video):
    """Remember that a video is shown. There are two memories. When the newer one is as old as videos have to be
    remembered, it becomes the older one. So everything is kept at least that long, and nothing twice as long."""
    if seen.shape[1] == 0:
        return
    keep_us = np.int64(p.repeat_after_days * 86_400e6)
    if user.now_us - user.generation_us >= keep_us:
        for k in range(seen.shape[1]):
            seen[1, k] = seen[0, k] if user.now_us - user.generation_us < 2 * keep_us else 0
            seen[0, k] = 0
        user.generation_us = user.now_us
    if keep_us > 0:
        seen[0, video >> 3] |= np.uint8(1 << (video & 7))


@kernel
def mark_shown(p, person, video, place):
    """A video takes the screen: it is not served again. place: where it stood in the set it came from."""
    user, stored = person.user, person.stored
    note_seen(p, user, person.seen, video)
    if place < user.stored and stored[place].video & ID == video:
        stored[place].video |= SHOWN
        return
    for k in range(user.stored):  # it came from a set before the present one
        if stored[k].video & ID == video:
            stored[k].video |= SHOWN


@inlined
def shown_meanwhile(person, early):
    """Whether a video of a page was shown while the page was on its way."""
    return early.place < person.user.stored and person.stored[early.place].video & (ID | SHOWN) == early.video | SHOWN


@kernel
def tell_shown(user, stored):
    """A request tells what was shown until now."""
    for k in range(user.stored):
        if stored[k].video & SHOWN:
            stored[k].video |= TOLD


@kernel
def left_to_serve(user, stored):
    """How many videos of the set the cloud may still serve."""
    count = 0
    for k in range(user.stored):
        count += stored[k].video & TOLD == 0
    return count


@allocating
def recall(p, key, person, index):
    """A new set for the session: the best of the next `server.recall` videos, what was seen lately left out. Where that
    leaves too few for a page, the person has seen all there is, and it may come back."""
    user, seen = person.user, person.seen
    looked_at = np.int64(min(p.recall, len(index)))
    ids, estimate = np.empty(looked_at, np.int64), np.empty(looked_at, np.float32)
    for _ in range(2):
        next_videos(key, user, np.int64(len(index)), ids)
        estimate_all(p, key, person, index, ids, estimate)
        left = 0
        for n in range(looked_at):
            if was_seen(seen, ids[n]):
                estimate[n] = -np.inf
            left += estimate[n] > -np.inf
        if left >= min(p.candidates + p.refill_at, looked_at):
            break
        seen[:, :] = 0
    which = np.empty(looked_at, np.int64)
    user.recalls += 1
    user.joined = user.impression
    user.stored = choose_best(estimate, len(person.stored), which)
    for k in range(user.stored):
        store(person.stored[k], ids[which[k]], estimate[which[k]])
    price_feedback(p, person, index)


@allocating
def estimate_all(p, key, person, index, ids, estimate):
    """The cloud's lasting estimates of videos ids (n,) into estimate (n,), logit."""
    user, belief = person.user, person.belief
    high, low = np.empty(len(ids), np.uint64), np.empty(len(ids), np.uint64)
    for n in range(len(ids)):  # their rows come while the draws are made
        fetch_ahead(index, ids[n])
    many_words(key, np.uint64(MATCH), user.user, ids, high, low)
    for n in range(len(ids)):
        match = lasting_belief(high[n], low[n], p.match_sd, p.match_correlation)
        estimate[n] = lasting_estimate(p, user, belief, index[ids[n]], match)


@inlined
def store(row, video, estimate):
    """A row of the set: a video and the lasting estimate of it."""
    row.video = video
    row.lasting = np.int16(np.rint(1000.0 * min(max(estimate, -MOST_LOGIT), MOST_LOGIT)))
    row.rest = UNPRICED


@allocating
def price_feedback(p, person, index):
    """What the predicted feedback of newly stored videos is worth."""
    user, stored = person.user, person.stored
    known, chances = what_is_known_for_good(p, user), np.empty((FEEDBACK_RATES, 3))
    person_chances(p, user, chances)
    feedback, most = np.empty(FEEDBACK_RATES), most_worth(p)
    for k in range(user.stored):
        row = stored[k]
        if row.rest == UNPRICED:
            feedback_chances(p, index[row.video & ID], chances, np.float32(row.lasting / 1000.0), known, feedback)
            row.rest = np.int16(np.rint(32767.0 * worth_of_feedback(p, feedback) / most))


@allocating
def arrive(p, key, person, index, turn_us):
    """Videos that came up since the cloud last looked, `server.arrivals_every` impressions ago or more: each takes the
    place of one that was shown, or of the worst."""
    user, stored = person.user, person.stored
    if user.impression - user.joined < p.arrivals_every:
        return
    wanted = np.int64(p.arrivals_per_min * (turn_us - user.opened_us) / MINUTE_US)
    count = np.int64(min(wanted - user.arrived, len(index)))
    user.arrived, user.joined = wanted, user.impression
    if count <= 0:
        return
    ids, estimate, standing = np.empty(count, np.int64), np.empty(count, np.float32), np.empty(len(stored), np.int64)
    next_videos(key, user, np.int64(len(index)), ids)
    estimate_all(p, key, person, index, ids, estimate)
    if take_in(person, len(index), ids, estimate, standing):
        price_feedback(p, person, index)


@kernel
def take_in(person, videos, ids, estimate, standing):
    """Take those of the videos ids (n,) that are allowed into the set; returns whether any was taken. videos: how many
    the catalogue has; standing: room for the `standing_of` of every place."""
    user, stored, seen = person.user, person.stored, person.seen
    comes_round = user.stream > videos  # only then may a video come up that is stored already
    for k in range(len(stored)):
        standing[k] = standing_of(user, stored, k)
    lowest, taken = least_of(standing), False
    for n in range(len(ids)):
        if 1000.0 * estimate[n] <= lowest >> PLACE_BITS or was_seen(seen, ids[n]):
            continue
        if comes_round and is_stored(user, stored, ids[n]):
            continue
        place = lowest & PLACE
        store(stored[place], ids[n], estimate[n])
        user.stored = max(user.stored, place + 1)
        standing[place] = standing_of(user, stored, place)
        lowest, taken = least_of(standing), True
    return taken


@inlined
def standing_of(user, stored, place):
    """The estimate that a further video must exceed to take a place, 1/1000 logit, and the place itself in the last
    bits. The lowest goes first: what is free, then what was shown, then the worst; of equals the first."""
    if place >= user.stored:
        return ((NOTHING - 1) << PLACE_BITS) | place
    value = NOTHING if stored[place].video & TOLD else np.int64(stored[place].lasting)
    return (value << PLACE_BITS) | place


@inlined
def least_of(values):
    """The least of integers (n,), on vectors."""
    least = values[0]
    for k in range(1, len(values)):
        least = min(least, values[k])
    return least


@inlined
def is_stored(user, stored, video):
    """Whether the set has a video already: the walk through a small catalogue comes round."""
    found = False
    for k in range(user.stored):
        found |= stored[k].video & ID == video
    return found


@inlined
def threshold_of(values, wanted):
    """(a threshold that at least `wanted` of the values pass, and few more; how many do), by halving, on vectors."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for n in range(len(values)):
        if values[n] > -np.inf:
            low, high = min(low, values[n]), max(high, values[n])
    passed = len(values)
    for _ in range(HALVINGS):
        if passed <= wanted + 4:
            break
        middle, above = np.float32(0.5) * (low + high), 0
        for n in range(len(values)):
            above += values[n] >= middle
        low, high, passed = (middle, high, above) if above >= wanted else (low, middle, passed)
    return low, passed


@inlined
def choose_best(values, wanted, which):
    """Indices of the best `wanted` of the values (n,) into `which`, room for n, in their order; how many. Of equals the
    first comes first; -inf is never chosen."""
    low, _ = threshold_of(values, wanted)
    passed = 0
    for n in range(len(values)):
        which[passed] = n
        passed += values[n] >= low
    while passed > wanted:
        worst = 0
        for k in range(passed):
            worst = k if values[which[k]] <= values[which[worst]] else worst
        for k in range(worst, passed - 1):
            which[k] = which[k + 1]
        passed -= 1
    return passed


@inlined
def keep_best(values, wanted, which):
    """As `choose_best`, best first."""
    passed = choose_best(values, wanted, which)
    for k in range(1, passed):
        n, at = which[k], k
        while at > 0 and values[which[at - 1]] < values[n]:
            which[at] = which[at - 1]
            at -= 1
        which[at] = n
    return passed
