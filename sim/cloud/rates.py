"""Predicted rates: what the cloud's estimate of a person and a video means in chances. Steps 3 and 4 of the journey.

It ranks by one objective over these rates and ships them as it ranked by them. Called by `page.py`, `recall.py` and
`belief.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from nextone.sim.config import DIMS
from nextone.sim.engine.chance import keyed_words, quick_normal
from nextone.sim.engine.kernel import inlined, kernel
from nextone.sim.engine.luck import RATE_ERRORS, VIDEO
from nextone.sim.feedback import COMPLETE_SHARE, LONG_SHARE, SHORT_SHARE, mean_level
from nextone.sim.state import FIRST_OF_FEEDBACK, INTENT, KIND_OF_RATE, LEVEL, MISSING, MOOD, PEVTR, PLVTR
from nextone.sim.watching import LONG_US, VALID_US, sigmoid

CLOCK_LOG = np.log(1e6)  # log seconds to log microseconds
TAIL_SLOPE = 1.702  # of the logistic nearest to a normal
MOST = 0.9  # no rate of feedback is predicted higher
VALID_SHARE = 0.485  # Source: KuaiRand-Pure tab 1, P(played 7 s or to the end)
SEEN_AS_NOISE = 2.9  # (16 sqrt(3) / (15 pi))**-2: mean of sigmoid(normal), MacKay's approximation


class Known(NamedTuple):
    """What is the same for all videos of a page: how much flatter chances are for what is unknown; and of both
    thresholds, P(play >= threshold) of those who leave early, and its logit of those who stay."""

    flatter: Any
    skip_valid: Any
    watch_valid: Any
    skip_long: Any
    watch_long: Any


@inlined
def cell(a, b):
    """Where the covariance of rows a >= b of a belief lies."""
    return a * (a + 1) // 2 + b


@inlined
def what_is_known(p, user, belief):
    """`Known`, from how sure the cloud is of the person now."""
    of_person = np.float64(belief.cov[cell(LEVEL, LEVEL)]) + np.float64(belief.cov[cell(MOOD, MOOD)])
    of_person += 2.0 * np.float64(belief.cov[cell(MOOD, LEVEL)])
    of_intent = 0.0
    for d in range(DIMS):
        of_intent += np.float64(belief.cov[cell(INTENT + d, INTENT + d)])
    return known_within(p, user, of_person, of_intent)


@inlined
def what_is_known_for_good(p, user):
    """`Known`, before anything is learnt from behaviour."""
    of_person = p.person_sd**2 * (1.0 - p.person_correlation**2) + p.mood_sd**2
    return known_within(p, user, of_person, p.assumed_intent_sd**2)


@inlined
def known_within(p, user, of_person, of_intent):
    """`Known`, from the variances of what is not known of the person's level, and of the intent over videos; logit."""
    seen = p.embedding_correlation**2
    unknown = p.quality_sd**2 * (1.0 - p.quality_correlation**2) + p.match_sd**2 * (1.0 - p.match_correlation**2)
    unknown += np.float64(user.taste_sd) ** 2 * (1.0 - p.taste_correlation**2 * seen)
    unknown += p.assumed_intent_sd**2 * (1.0 - seen) + of_intent * seen + of_person
    skip_valid, watch_valid = tails(p, np.int64(VALID_US))
    skip_long, watch_long = tails(p, np.int64(LONG_US))
    return Known(np.sqrt(1.0 + max(unknown, 0.0) / SEEN_AS_NOISE), skip_valid, watch_valid, skip_long, watch_long)


@inlined
def tail_logit(threshold_us, dead_us, log_mean, log_sd):
    """About the logit of P(dead time + lognormal >= threshold): the logistic approximation of the normal tail."""
    beyond = threshold_us - dead_us
    if beyond <= 0:
        return 30.0
    return -TAIL_SLOPE * (np.log(beyond) - CLOCK_LOG - log_mean) / log_sd


@kernel
def tails(p, threshold_us):
    """P(play >= threshold) of those who leave early; and its logit of those who stay, at neutral odds of staying."""
    skip = sigmoid(tail_logit(threshold_us, p.dead_time_us, p.skip_log_mean, p.skip_log_sd))
    return skip, tail_logit(threshold_us, p.dead_time_us, p.watch_log_mean, p.watch_log_sd)


@inlined
def view_rates(p, duration_us, estimate, known):
    """(chance of a valid play, of a long view) of a video, from the cloud's estimate of its log-odds of staying."""
    stays = sigmoid(estimate / known.flatter)
    skip_valid, watch_valid = known.skip_valid, known.watch_valid
    if duration_us < VALID_US:
        skip_valid, watch_valid = tails(p, duration_us)
    skip_long, watch_long = known.skip_long, known.watch_long
    if duration_us < LONG_US:
        skip_long, watch_long = tails(p, duration_us)
    longer = TAIL_SLOPE * p.watch_log_slope / p.watch_log_sd * estimate  # who likes it more also stays longer
    valid = stays * max(sigmoid(watch_valid + longer), skip_valid) + (1.0 - stays) * skip_valid
    long = stays * max(sigmoid(watch_long + longer), skip_long) + (1.0 - stays) * skip_long
    return valid, long


@inlined
def shifted(chance, shift):
    """A chance whose logit is moved."""
    if shift == 0.0:
        return chance
    odds = chance / (1.0 - chance) * np.exp(shift)
    return odds / (1.0 + odds)


@inlined
def logit_milli(chance, shift):
    """logit(chance) + shift in 1/1000, an int16."""
    chance = min(max(chance, 1e-6), 1.0 - 1e-6)
    return np.int16(np.rint(1000.0 * min(max(np.log(chance / (1.0 - chance)) + shift, -30.0), 30.0)))


@kernel
def population_rate(p, kind):
    """The population's rate of a kind of feedback (config.FEEDBACK's order)."""
    return (p.like, p.follow, p.comment, p.forward, p.hate, p.profile)[kind]


@kernel
def person_chance(p, user, kind):
    """The person's chance of a kind of feedback at a middling play: past counts, shrunk to the population's rate."""
    weight = 1.0 / p.user_icc - 1.0  # beta-binomial: prior worth so many impressions
    rate = (user.past[kind] + weight * population_rate(p, kind)) / (user.past_impressions + weight)
    return rate / mean_level(p, kind, SHORT_SHARE, LONG_SHARE, COMPLETE_SHARE)


@inlined
def predict_feedback(p, user, video_id, row, estimate, pxtr):
    """The predicted rates of feedback into `pxtr` (7,), int16 in 1/1000 logit. row: of the index; estimate: the lasting
    one of staying, so that these rates hold for a session.

    Each carries a lasting error per video and rate; all share a bias."""
    valid, long = view_rates(p, row.duration_us, estimate, what_is_known_for_good(p, user))
    noise = keyed_words((7, 11), VIDEO, video_id, RATE_ERRORS, 0)
    words = (noise.w0, noise.w1, noise.w2, noise.w3)
    factor = np.exp(row.appeal - 0.5 * (p.appeal_sd * p.quality_correlation) ** 2)
    short = (1.0 - max(valid, long)) * SHORT_SHARE / (1.0 - VALID_SHARE)
    for head in range(FIRST_OF_FEEDBACK, len(KIND_OF_RATE)):
        word = words[head // 2]
        half = (word >> np.uint64(16)) if head % 2 else (word & np.uint64(0xFFFF))
        error = p.pxtr_noise * quick_normal((half << np.uint64(16)) | np.uint64(0x8000), np.uint64(0))
        kind = KIND_OF_RATE[head]
        chance = person_chance(p, user, kind) * mean_level(p, kind, short, long, long * COMPLETE_SHARE / LONG_SHARE)
        pxtr[head] = logit_milli(min(chance * factor, MOST), error + p.pxtr_bias)


@inlined
def worth_of_views(p, valid, long):
    """What the objective makes of the chances of views, as the cloud ships them."""
    return p.objective[PEVTR] * shifted(valid, p.pxtr_bias) + p.objective[PLVTR] * shifted(long, p.pxtr_bias)


@inlined
def worth_of_feedback(p, pxtr):
    """What the objective makes of predicted rates of feedback (7,), int16 in 1/1000 logit."""
    worth = 0.0
    for head in range(FIRST_OF_FEEDBACK, len(pxtr)):
        worth += p.objective[head] * sigmoid(pxtr[head] / 1000.0)
    return worth


@inlined
def most_worth(p):
    """No video is worth more, or less than minus that: scores are a share of it."""
    total = 0.0
    for head in range(len(p.objective)):
        total += abs(p.objective[head])
    return total


@kernel
def phone_ranks(p, user):
    """Whether the phone that sent the last request ranks: it had the model then, or needs none."""
    return p.edge != 0 and user.model_sent != MISSING
