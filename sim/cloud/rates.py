"""Predicted rates: from the cloud's estimate of a person and a video to chances. Steps 3 and 4 of the journey.

The cloud ranks by one objective over these rates and ships the rates by which it ranked. Called by `page.py`,
`recall.py` and `belief.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from nextone.sim.config import DIMS
from nextone.sim.engine.chance import quick_sigmoid
from nextone.sim.engine.kernel import inlined, kernel, pasted
from nextone.sim.feedback import COMPLETE_SHARE, LONG_SHARE, SHORT_SHARE, mean_level
from nextone.sim.state import FIRST_OF_FEEDBACK, INTENT, KIND_OF_RATE, LEVEL, MISSING, MOOD, PEVTR, PLVTR
from nextone.sim.watching import VALID_US, sigmoid

CLOCK_LOG = np.log(1e6)  # log seconds to log microseconds
TAIL_SLOPE = 1.702  # of the logistic nearest to a normal
MOST = 0.9  # no rate of feedback is predicted higher
VALID_SHARE = 0.485  # Source: KuaiRand-Pure tab 1, P(played 7 s or to the end)
SEEN_AS_NOISE = 2.9  # (16 sqrt(3) / (15 pi))**-2: mean of sigmoid(normal), MacKay's approximation


class Known(NamedTuple):
    """What is the same for all videos of a page, float32. It holds: how much flatter chances become by what is unknown;
    how much longer people stay who like a video more; at the threshold of a valid play, the chance that somebody who
    leaves early reaches it, and its logit for those who stay, at neutral odds; and what the objective pays for a valid
    play and for a long view, as a share of the most that a video could be worth."""

    flatter: Any
    longer: Any
    skip_valid: Any
    watch_valid: Any
    worth_valid: Any
    worth_long: Any


@pasted
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
    return known_within(p, user, of_person, of_intent, np.float64(belief.expected[LEVEL]))


@inlined
def what_is_known_for_good(p, user):
    """`Known`, before anything is learnt from behaviour."""
    of_person = p.person_sd**2 * (1.0 - p.person_correlation**2) + p.mood_sd**2
    return known_within(p, user, of_person, p.assumed_intent_sd**2, 0.0)


@inlined
def known_within(p, user, of_person, of_intent, level):
    """`Known`, from the variances of what is not known of the person's level, and of the intent over videos, and from
    the level that the cloud assumes; logit. People who stay more often also leave later, which counts at 7 s."""
    seen = p.embedding_correlation**2
    unknown = p.quality_sd**2 * (1.0 - p.quality_correlation**2) + p.match_sd**2 * (1.0 - p.match_correlation**2)
    unknown += np.float64(user.taste_sd) ** 2 * (1.0 - p.taste_correlation**2 * seen)
    unknown += p.assumed_intent_sd**2 * (1.0 - seen) + of_intent * seen + of_person
    slower = TAIL_SLOPE * p.skip_log_slope * (np.float64(user.cloud_person) + level) / p.skip_log_sd
    valid_us = np.int64(VALID_US)
    skip = sigmoid(tail_logit(valid_us, p.dead_time_us, p.skip_log_mean, p.skip_log_sd) + slower)
    watch = tail_logit(valid_us, p.dead_time_us, p.watch_log_mean, p.watch_log_sd)
    return Known(
        flatter=np.float32(1.0 / np.sqrt(1.0 + max(unknown, 0.0) / SEEN_AS_NOISE)),
        longer=np.float32(TAIL_SLOPE * p.watch_log_slope / p.watch_log_sd),
        skip_valid=np.float32(skip),
        watch_valid=np.float32(watch),
        worth_valid=np.float32(p.objective[PEVTR] / most_worth(p)),
        worth_long=np.float32(p.objective[PLVTR] / most_worth(p)),
    )


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
def chance_to_last(stays, longer, skip, watch):
    """Chance that a play reaches a threshold: of those who stay with the video, perhaps longer, and of those who leave
    early."""
    return skip + stays * max(quick_sigmoid(watch + longer) - skip, np.float32(0.0))


@inlined
def view_rates(estimate, skip_long, watch_long, known):
    """(chance of a valid play, of a long view) of a video, float32, from the cloud's estimate of the odds of staying.

    estimate: float32. A video that ends before the threshold of a valid play has both at its end."""
    stays, longer = quick_sigmoid(known.flatter * estimate), known.longer * estimate
    skip, watch = max(known.skip_valid, skip_long), max(known.watch_valid, watch_long)
    return chance_to_last(stays, longer, skip, watch), chance_to_last(stays, longer, skip_long, watch_long)


@inlined
def shifted(chance, shift):
    """A chance whose logit is moved."""
    if shift == 0.0:
        return chance
    odds = chance / (1.0 - chance) * np.exp(shift)
    return odds / (1.0 + odds)


@inlined
def logit_milli(chance):
    """logit(chance) in 1/1000, an int16."""
    chance = min(max(np.float64(chance), 1e-6), 1.0 - 1e-6)
    return np.int16(np.rint(1000.0 * np.log(chance / (1.0 - chance))))


@kernel
def population_rate(p, kind):
    """The population's rate of a kind of feedback (config.FEEDBACK's order)."""
    return (p.like, p.follow, p.comment, p.forward, p.hate, p.profile)[kind]


@kernel
def person_chances(p, user, out):
    """The person's chance of each predicted rate of feedback, into out (5, 3): at a middling play; and by how much more
    for every chance of a short play, and of a long view.

    From past counts, shrunk to the population's rate."""
    weight = 1.0 / p.user_icc - 1.0  # beta-binomial: prior worth so many impressions
    completed = COMPLETE_SHARE / LONG_SHARE
    for k in range(len(out)):
        kind = KIND_OF_RATE[FIRST_OF_FEEDBACK + k]
        chance = (user.past[kind] + weight * population_rate(p, kind)) / (user.past_impressions + weight)
        chance /= mean_level(p, kind, SHORT_SHARE, LONG_SHARE, COMPLETE_SHARE)
        out[k, 0] = chance
        out[k, 1] = chance * (p.skip_ratio[kind] - 1.0)
        out[k, 2] = chance * (p.long_ratio[kind] * (1.0 + completed * (p.complete_ratio[kind] - 1.0)) - 1.0)


@inlined
def feedback_chances(p, row, chances, estimate, known, out):
    """The predicted chances of feedback into out (5,): the person's own, the video's appeal, and how long it is likely
    to be watched. row: of the index; chances: `person_chances`; estimate: the lasting one of staying and known:
    `what_is_known_for_good`, so that these hold for a session. All share a bias."""
    valid, long = view_rates(estimate, row.skip_long, row.watch_long, known)
    short = (1.0 - np.float64(max(valid, long))) * SHORT_SHARE / (1.0 - VALID_SHARE)
    for k in range(len(out)):
        chance = max(chances[k, 0] + chances[k, 1] * short + chances[k, 2] * np.float64(long), 0.0)
        out[k] = shifted(min(chance * row.appeal[k], MOST), p.pxtr_bias)


@inlined
def worth_of_feedback(p, chances):
    """What the objective pays for predicted chances of feedback (5,)."""
    worth = 0.0
    for k in range(len(chances)):
        worth += p.objective[FIRST_OF_FEEDBACK + k] * chances[k]
    return worth


@inlined
def most_worth(p):
    """The most that a video can be worth, up or down: scores are shares of it."""
    total = 0.0
    for head in range(len(p.objective)):
        total += abs(p.objective[head])
    return total


@kernel
def phone_ranks(p, user):
    """Whether the phone that sent the last request can rank its page: it had the model then, or needs none, and the
    server found the embeddings."""
    return p.edge != 0 and user.model_sent < MISSING
