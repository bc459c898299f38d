"""The cloud: which videos it retrieves, how it ranks them, what it predicts, what it has learnt. Steps 2 to 4.

It never reads true interests or mood. It knows a lasting prior of stated correlation with the truth, and outcomes of
impressions that ended `feature_lag` before service. Its errors last: keyed (user, tag), (video), (user, video).
All that a page says is worked out here, once, by `make_page`; nothing that the cloud learns later changes it.
Retrieval never scans the catalogue: each person walks through each tag's videos in an order of their own, a pure
function of how many videos were retrieved for them before.
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, many_words, quick_normal
from nextone.sim.engine.kernel import allocating, fetch_ahead, inlined, kernel
from nextone.sim.engine.luck import MATCH, RATE_ERRORS, TASTE, VIDEO, WALK

from .feedback import COMPLETE_SHARE, LONG_SHARE, SHORT_SHARE, mean_level
from .interest import belief
from .state import FIRST_OF_FEEDBACK, KIND_OF_RATE, MISSING, PEVTR, PLVTR, VALID
from .watching import LONG_US, VALID_US, length_logit, sigmoid

STRIDES = np.array(
    [2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543, 2147483497,
     2147483489, 2147483477, 2147483423, 2147483399, 2147483353, 2147483323, 2147483269, 2147483249]
)  # fmt: skip
"""Primes above any list: modulo its length, each walks through the whole list."""

CLOCK_LOG = np.log(1e6)  # log seconds to log microseconds
CHANCE = 3  # known[CHANCE + head] in `what_is_known`, for the rates of feedback
TAIL_SLOPE = 1.702  # of the logistic nearest to a normal
MOST = 0.9  # no rate of feedback is predicted higher
VALID_SHARE = 0.485  # Source: KuaiRand-Pure tab 1, P(played 7 s or to the end)
SEEN_AS_NOISE = 2.9  # (16 sqrt(3) / (15 pi))**-2: mean of sigmoid(normal), MacKay's approximation


@kernel
def learn_outcomes(p, user, behaviours, taste, seen_us):
    """The cloud takes in what ended by `seen_us`: its estimates move towards outcomes, oldest first."""
    while user.behaviours > 0:
        row = behaviours[user.oldest]
        if np.int64(row.end_ms) * 1000 > seen_us:
            return
        step = np.float32(p.learning * row.surprise / 32767.0)
        taste[row.tag].believed += step
        if row.tag2 != row.tag:
            taste[row.tag2].believed += step
        user.cloud_person += np.float32(0.5) * step
        user.oldest = (user.oldest + 1) % len(behaviours)
        user.behaviours -= 1


@kernel
def report_outcome(user, behaviours, video, predicted_milli, outcome, end_us):
    """The phone logs an impression; the cloud will see it when it is old enough.

    The ring holds one every two seconds over feature_lag and a request's timeout; were it full, the oldest is lost."""
    if user.behaviours == len(behaviours):
        user.oldest = (user.oldest + 1) % len(behaviours)
        user.behaviours -= 1
    row = behaviours[(user.oldest + user.behaviours) % len(behaviours)]
    row.end_ms = np.uint32(-(-end_us // 1000))  # rounded up: never seen too early
    happened = 1.0 if outcome & VALID else 0.0
    row.surprise = np.int16((happened - sigmoid(predicted_milli / 1000.0)) * 32767.0)
    row.tag = video.tag
    row.tag2 = video.tag2
    user.behaviours += 1


@allocating
def retrieve(p, key, user, listed, tag_start, found, meeting, ids, high, low):
    """The person's next videos: rows of `listed` into `found`, nth meetings into `meeting`; how many. The last three
    arguments are scratch.

    The next retrieved_per_impression x page_size of the person's stream, give or take the rounding of each tag's share.
    A tag's share is fixed by the lasting prior, so the stream is a pure function of the person: before n videos the
    walk through a tag has taken floor(share n + phase) steps, and none comes twice before the list is used up.
    """
    tags = len(tag_start) - 1
    weight = np.empty(tags)
    for tag in range(tags):
        ids[tag] = tag
    many_words(key, np.uint64(TASTE), user.user, ids[:tags], high, low)
    total = 0.0
    for tag in range(tags):
        prior = belief(high[tag], low[tag], np.float64(user.taste_sd), p.taste_correlation)
        weight[tag] = (tag_start[tag + 1] - tag_start[tag]) * np.exp(p.retrieval_focus * prior)
        total += weight[tag]
    many_words(key, np.uint64(WALK), user.user, ids[:tags], high, low)
    before = user.stream
    after = before + p.retrieved_per_impression * p.page_size
    count = 0
    for tag in range(tags):
        length = tag_start[tag + 1] - tag_start[tag]
        if length == 0:
            continue
        phase = np.float64(low[tag] >> np.uint64(8)) / 16777216.0
        share = weight[tag] / total
        step, stop = np.int64(share * before + phase), np.int64(share * after + phase)
        if stop == step:
            continue
        prime = STRIDES[np.int64(low[tag]) & 15]
        nth, within = (step // length, step % length) if step >= length else (0, step)  # divisions take their time
        at = (np.int64(high[tag]) + prime * within) % length
        stride = prime % length
        crowded = stop - step > length  # the same video comes twice in one page: which meeting it is, showing decides
        for _ in range(min(stop - step, len(found) - count)):
            found[count] = tag_start[tag] + at
            fetch_ahead(listed, found[count])
            meeting[count] = nth
            count += 1
            at += stride
            if at >= length:
                at -= length
            within += 1
            if within == length:
                within = 0
                nth += 0 if crowded else 1
    user.stream = after
    return count


@allocating
def make_page(p, key, user, waiting, taste, videos, listed, tag_start, wanted):
    """The page that is shipped, into `waiting`: the person's next videos, the best `wanted` of them first to last, each
    with the server's predicted rates; how many there are."""
    estimates = np.empty(wanted, np.float32)
    count = rank_page(p, key, user, waiting, taste, listed, tag_start, estimates)
    for k in range(count):
        fetch_ahead(videos, waiting[k].video)
    known = what_is_known(p, user)
    for k in range(count):
        early = waiting[k]
        predict_rates(p, user, early.video, videos[early.video], estimates[k], known, early.pxtr)
    return count


@allocating
def rank_page(p, key, user, waiting, taste, listed, tag_start, estimates):
    """Retrieve the person's next videos and keep the best in `waiting`, best first; how many there are.

    estimates: (wanted,) float32, filled with what the server thinks of each, logit: so many are kept at most.
    Selection per impression hardly depends on the page size: what is retrieved grows with it. Equal estimates keep the
    order of retrieval.
    """
    room = p.retrieved_per_impression * p.page_size + len(tag_start)
    found, meeting, videos = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    high, low = np.empty(room, np.uint64), np.empty(room, np.uint64)
    count = retrieve(p, key, user, listed, tag_start, found, meeting, videos, high, low)
    believed = np.empty(count)
    for n in range(count):
        row = listed[found[n]]
        videos[n] = row.video
        believed[n] = row.cloud_quality + 0.5 * (taste[row.tag].believed + taste[row.tag2].believed)
    many_words(key, np.uint64(MATCH), user.user, videos[:count], high, low)
    estimate = np.empty(count, np.float32)
    for n in range(count):
        estimate[n] = np.float32(believed[n] + belief(high[n], low[n], p.match_sd, p.match_correlation))
    kept = keep_best(estimate, len(estimates), found)
    for k in range(kept):
        n = found[k]
        estimates[k] = estimate[n]
        waiting[k].video = videos[n]
        waiting[k].meeting = np.uint16(meeting[n] & 0xFFFF)
        waiting[k].buffered = 0
        waiting[k].bitrate = -1
    return kept


@inlined
def keep_best(values, wanted, which):
    """Indices of the best `wanted` of the values (n,), best first, into `which`, room for n; how many. Of equals the
    first comes first.

    A threshold that few more pass is found by halving, on vectors; only those are sorted."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for n in range(len(values)):
        low, high = min(low, values[n]), max(high, values[n])
    passed = len(values)
    for _ in range(12):
        if passed <= wanted + 4:
            break
        middle, above = np.float32(0.5) * (low + high), 0
        for n in range(len(values)):
            above += values[n] >= middle
        low, high, passed = (middle, high, above) if above >= wanted else (low, middle, passed)
    passed = 0
    for n in range(len(values)):
        which[passed] = n
        passed += values[n] >= low
    for k in range(1, passed):
        n, at = which[k], k
        while at > 0 and values[which[at - 1]] < values[n]:
            which[at] = which[at - 1]
            at -= 1
        which[at] = n
    return min(passed, wanted)


@inlined
def tail_logit(threshold_us, dead_us, log_mean, log_sd):
    """About the logit of P(dead time + lognormal >= threshold): the logistic approximation of the normal tail."""
    beyond = threshold_us - dead_us
    if beyond <= 0:
        return 30.0
    return -TAIL_SLOPE * (np.log(beyond) - CLOCK_LOG - log_mean) / log_sd


@inlined
def logit_milli(chance, shift):
    """logit(chance) + shift in 1/1000, an int16."""
    chance = min(max(chance, 1e-6), 1.0 - 1e-6)
    return np.int16(np.rint(1000.0 * min(max(np.log(chance / (1.0 - chance)) + shift, -30.0), 30.0)))


@allocating
def what_is_known(p, user):
    """What `predict_rates` needs whatever the video, once a page, (10,): the spread of what is unknown; `tails` at both
    thresholds, which most videos outlast; and the person's chance at a middling play, of each rate of feedback."""
    unknown = p.person_sd**2 * (1 - p.quality_correlation**2) + p.quality_sd**2 * (1 - p.quality_correlation**2)
    unknown += p.mood_sd**2 + p.match_sd**2 * (1 - p.match_correlation**2)
    unknown += 0.5 * user.taste_sd**2 * (1 - p.taste_correlation**2)
    known = np.empty(CHANCE + len(KIND_OF_RATE))
    known[0] = np.sqrt(1.0 + unknown / SEEN_AS_NOISE)
    known[1], known[2] = tails(p, np.int64(VALID_US))
    known[3], known[4] = tails(p, np.int64(LONG_US))
    weight = 1.0 / p.user_icc - 1.0  # beta-binomial: prior worth so many impressions
    for head in range(FIRST_OF_FEEDBACK, len(KIND_OF_RATE)):
        kind = KIND_OF_RATE[head]
        known[CHANCE + head] = (user.past[kind] + weight * population_rate(p, kind)) / (user.past_impressions + weight)
        known[CHANCE + head] /= mean_level(p, kind, SHORT_SHARE, LONG_SHARE, COMPLETE_SHARE)
    return known


@kernel
def tails(p, threshold_us):
    """P(play >= threshold) of those who leave early; and its logit of those who stay, at neutral odds of staying."""
    skip = sigmoid(tail_logit(threshold_us, p.dead_time_us, p.skip_log_mean, p.skip_log_sd))
    return skip, tail_logit(threshold_us, p.dead_time_us, p.watch_log_mean, p.watch_log_sd)


@kernel
def phone_ranks(p, user):
    """Whether the phone that sent the last request ranks: it had the model then, or needs none."""
    return p.edge != 0 and user.model_sent != MISSING


@inlined
def predict_rates(p, user, video_id, video, estimate, known, pxtr):
    """The server's predicted rates of a video for a person into `pxtr` (7,), int16 in 1/1000 logit.

    Effective and long view are what its estimate means in rates. Rates of feedback use the person's past counts, shrunk
    to the population's rate, and carry a lasting error per video and rate; all share a bias. A phone that does not rank
    is sent the first alone (the cloud needs it back, to learn from what happens). known: `what_is_known`.
    """
    believed = p.stay + length_logit(p, video.duration_us) + user.cloud_person + estimate
    stays = sigmoid(believed / known[0])
    skip_valid, watch_valid = (known[1], known[2]) if video.duration_us >= VALID_US else tails(p, video.duration_us)
    skip_long, watch_long = (known[3], known[4]) if video.duration_us >= LONG_US else tails(p, video.duration_us)
    longer = TAIL_SLOPE * p.watch_log_slope / p.watch_log_sd * believed  # who likes it more also stays longer
    valid = stays * max(sigmoid(watch_valid + longer), skip_valid) + (1 - stays) * skip_valid
    long = stays * max(sigmoid(watch_long + longer), skip_long) + (1 - stays) * skip_long
    pxtr[PEVTR] = logit_milli(valid, p.pxtr_bias)
    if not phone_ranks(p, user):
        return
    pxtr[PLVTR] = logit_milli(long, p.pxtr_bias)
    noise = keyed_words((7, 11), VIDEO, video_id, RATE_ERRORS, 0)
    words = (noise.w0, noise.w1, noise.w2, noise.w3)
    appeal = np.exp(video.cloud_appeal - 0.5 * (p.appeal_sd * p.quality_correlation) ** 2)
    for head in range(FIRST_OF_FEEDBACK, len(pxtr)):
        word = words[head // 2]
        half = (word >> np.uint64(16)) if head % 2 else (word & np.uint64(0xFFFF))
        error = p.pxtr_noise * quick_normal((half << np.uint64(16)) | np.uint64(0x8000), np.uint64(0))
        short = (1.0 - max(valid, long)) * SHORT_SHARE / (1.0 - VALID_SHARE)
        kind = KIND_OF_RATE[head]
        chance = known[CHANCE + head] * mean_level(p, kind, short, long, long * COMPLETE_SHARE / LONG_SHARE)
        pxtr[head] = logit_milli(min(chance * appeal, MOST), error + p.pxtr_bias)


@kernel
def population_rate(p, kind):
    """The population's rate of a kind of feedback (config.FEEDBACK's order)."""
    return (p.like, p.follow, p.comment, p.forward, p.hate, p.profile)[kind]
