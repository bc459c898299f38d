"""What the cloud believes about a person, and how it learns: a Kalman filter over the person's level and passing
interests.

The belief is a Gaussian over the error of the lasting estimate of the person, the mood, and the passing interests
(intent). It fades as the model of people says, so the cloud forgets. A behaviour that the cloud sees moves the belief
by how surprising it was. The level is part of the belief, because otherwise a person who skips everything would teach
the filter nonsense about content. Its parameters are those of the scenario, with two exceptions that say what the cloud
assumes about passing interests: `server.assumed_intent_sd` and `server.assumed_half_life_min`.
"""

import numpy as np

from nextone.sim.config import DIMS
from nextone.sim.engine.chance import keyed_words
from nextone.sim.engine.kernel import allocating, fetch_ahead, inlined, kernel
from nextone.sim.engine.luck import MATCH
from nextone.sim.interest import LN_2, along
from nextone.sim.interest import belief as lasting_belief
from nextone.sim.state import BELIEFS, INTENT, LEVEL, MOOD, VALID

from .rates import cell, view_rates, what_is_known

TOUCH = 0.05  # logit to either side, for the slope of a chance
LEAST_NOISE = 1e-6  # of a yes or no that is all but certain


@kernel
def first_belief(p, belief):
    """Before anything was seen of a person, in a zeroed row: as wide as the population."""
    belief.cov[cell(LEVEL, LEVEL)] = p.person_sd**2 * (1.0 - p.person_correlation**2)
    belief.cov[cell(MOOD, MOOD)] = p.mood_sd**2
    for d in range(p.content_dims):
        belief.cov[cell(INTENT + d, INTENT + d)] = p.assumed_intent_sd**2 / p.content_dims


@kernel
def fade(p, belief, now_us):
    """The belief, from the moment it stands for to now: mood and intent pass, and others come."""
    hours = (now_us - belief.at_us) / 3.6e9
    if hours <= 0.0:
        return
    belief.at_us = now_us
    keep_mood = np.exp(-hours / p.mood_hours)
    keep_intent = np.exp(-LN_2 * 60.0 * hours / p.assumed_half_life_min)
    dims = INTENT + p.content_dims
    for a in range(MOOD, dims):
        keep = keep_mood if a == MOOD else keep_intent
        belief.expected[a] *= keep
        for b in range(a):
            belief.cov[cell(a, b)] *= keep * (1.0 if b == LEVEL else keep_mood if b == MOOD else keep_intent)
        belief.cov[cell(a, a)] *= keep * keep
    belief.cov[cell(MOOD, MOOD)] += (1.0 - keep_mood * keep_mood) * p.mood_sd**2
    fresh = (1.0 - keep_intent * keep_intent) * p.assumed_intent_sd**2 / p.content_dims
    for a in range(INTENT, dims):
        belief.cov[cell(a, a)] += fresh


@inlined
def level(belief):
    """What the cloud has learnt of how readily the person stays just now, logit."""
    return np.float64(belief.expected[LEVEL]) + np.float64(belief.expected[MOOD])


@inlined
def drawn_by_intent(belief, embedding):
    """What the cloud has learnt of how much the person's passing interests favour a video, logit."""
    total = 0.0
    for d in range(DIMS):
        total += np.float64(belief.expected[INTENT + d]) * np.float64(embedding[d])
    return total


@inlined
def lasting_estimate(p, user, belief, row, match):
    """The cloud's lasting estimate of the log-odds that the person stays with a video. row: of the index; match: the
    cloud's estimate of it."""
    return p.stay + user.cloud_person + row.quality + along(belief.taste, row.embedding) + match


@inlined
def draw_of(row, a):
    """How much entry `a` of the belief weighs for a video: 1 for level and mood, the video's content for the intent."""
    return 1.0 if a < INTENT else np.float64(row.embedding[a - INTENT])


@inlined
def expected_play(p, key, user, belief, row, video):
    """(chance of a valid play, by how much it rises per logit of staying), as the cloud expects them now. row: of the
    index."""
    words = keyed_words(key, MATCH, user.user, video, 0)
    match = lasting_belief(words.w0, words.w1, p.match_sd, p.match_correlation)
    estimate = lasting_estimate(p, user, belief, row, match)
    estimate += level(belief) + drawn_by_intent(belief, row.embedding)
    known = what_is_known(p, user, belief)
    chance, _ = view_rates(np.float32(estimate), row.skip_long, row.watch_long, known)
    above, _ = view_rates(np.float32(estimate + TOUCH), row.skip_long, row.watch_long, known)
    below, _ = view_rates(np.float32(estimate - TOUCH), row.skip_long, row.watch_long, known)
    slope = (np.float64(above) - np.float64(below)) / (2.0 * TOUCH)
    return chance, slope


@allocating
def learn(p, key, user, belief, row, behaviour):
    """One behaviour moves the belief: a step of the linear minimum-mean-square estimate. row: of the index.

    The noise is the whole variance of a yes or no, and never less than the variance that it consists of. Where the
    slope would make it less, the slope is too steep for such a wide belief, and variances would become negative."""
    chance, slope = expected_play(p, key, user, belief, row, behaviour.video)
    dims = INTENT + p.content_dims
    along_cov = np.zeros(BELIEFS)  # covariance of each with the log-odds
    for a in range(dims):
        of_a = draw_of(row, a)
        for b in range(a):
            of_b = draw_of(row, b)
            both = np.float64(belief.cov[cell(a, b)])
            along_cov[a] += both * of_b
            along_cov[b] += both * of_a
        along_cov[a] += np.float64(belief.cov[cell(a, a)]) * of_a
    unknown = 0.0  # variance of the log-odds for what is believed
    for a in range(dims):
        unknown += along_cov[a] * draw_of(row, a)
    noise = max(np.float64(chance) * (1.0 - np.float64(chance)), unknown * slope * slope, LEAST_NOISE)
    surprise = (1.0 if behaviour.valid else 0.0) - chance
    for a in range(dims):
        gain = along_cov[a] * slope / noise
        belief.expected[a] += np.float32(gain * surprise)
        for b in range(a + 1):
            belief.cov[cell(a, b)] -= np.float32(gain * slope * along_cov[b])


@kernel
def learn_outcomes(p, key, person, index, seen_us):
    """The cloud takes in what ended by `seen_us`, oldest first."""
    user, behaviours, belief = person.user, person.behaviours, person.belief
    for n in range(user.behaviours):  # their rows come while the first are learnt from
        fetch_ahead(index, behaviours[(user.oldest + n) % len(behaviours)].video)
    while user.behaviours > 0 and behaviours[user.oldest].end_us <= seen_us:
        behaviour = behaviours[user.oldest]
        fade(p, belief, behaviour.end_us)
        learn(p, key, user, belief, index[behaviour.video], behaviour)
        user.oldest = (user.oldest + 1) % len(behaviours)
        user.behaviours -= 1


@kernel
def report_outcome(user, behaviours, video, outcome, end_us):
    """The phone logs an impression; the cloud will see it when it is old enough.

    The ring holds one every two seconds over feature_lag and a request's timeout; were it full, the oldest is lost."""
    if user.behaviours == len(behaviours):
        user.oldest = (user.oldest + 1) % len(behaviours)
        user.behaviours -= 1
    row = behaviours[(user.oldest + user.behaviours) % len(behaviours)]
    row.end_us, row.video, row.valid = end_us, video, outcome & VALID != 0
    user.behaviours += 1
