"""Interests: what a person is drawn to, how that drifts, tires and recovers, and what the cloud believes of it.

The lasting interest in a tag is a keyed draw, never stored; the state holds the departure from it. Step 10 of the
journey; called by `sim/screen.py`, `sim/session.py`, `sim/cloud.py` and `sim/population.py`.
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, normal2, quick_normal, uniform
from nextone.sim.engine.kernel import inlined, kernel, pasted
from nextone.sim.engine.luck import LIFE, MATCH, MOOD, NEW_INTEREST, TASTE

from .state import LONG, SKIP


@inlined
def truth_and_belief(key, stream, user, thing, sd, correlation):
    """(truth, the cloud's lasting belief of it), logits. They correlate as stated; the belief is a posterior mean.

    The belief alone is `belief` of the draw's first two words, so that ranking need not know the truth."""
    words = keyed_words(key, stream, user, thing, 0)
    believed = belief(words.w0, words.w1, sd, correlation)
    return believed + sd * np.sqrt(1.0 - correlation * correlation) * quick_normal(words.w2, words.w3), believed


@inlined
def belief(high, low, sd, correlation):
    """What the cloud believes, logit, from two random words."""
    return sd * correlation * quick_normal(high, low)


@pasted
def lasting_interest(key, user, tag, sd, correlation):
    """(lasting interest of a person in a tag, the cloud's prior of it), logits."""
    return truth_and_belief(key, np.uint64(TASTE), user, np.int64(tag), np.float64(sd), correlation)


@inlined
def lasting_match(key, user, video, sd, correlation):
    """(match of a person and a video, the cloud's estimate of it), logits."""
    return truth_and_belief(key, np.uint64(MATCH), user, np.int64(video), np.float64(sd), correlation)


@inlined
def interest_now(p, key, user, taste, tag):
    """Interest of a person in a tag as it is now: lasting, drifted, less fatigue; logit."""
    interest, _ = lasting_interest(key, user.user, tag, user.taste_sd, p.taste_correlation)
    return interest + taste[tag].drift - taste[tag].satiation


@kernel
def affinity(p, key, user, taste, video_id, video):
    """What draws this person to this video now, over and above its quality, logit: interest less fatigue, and match.

    A video with two tags is met with the mean of both."""
    total = interest_now(p, key, user, taste, video.tag)
    if video.tag2 != video.tag:
        total = 0.5 * (total + interest_now(p, key, user, taste, video.tag2))
    match, _ = lasting_match(key, user.user, video_id, p.match_sd, p.match_correlation)
    return total + match


@kernel
def settle(p, user, taste, now_us):
    """Interests go back towards what lasts, and fatigue wears off, from `user.settled_us` to now."""
    hours = (now_us - user.settled_us) / 3.6e9
    keep_drift = np.float32(np.exp(-hours / p.drift_hours))
    keep_fatigue = np.float32(np.exp(-hours * 3.6e9 / p.satiation_us))
    for d in range(len(taste)):
        taste[d].drift *= keep_drift
        taste[d].satiation *= keep_fatigue
    user.settled_us = now_us


@kernel
def learn_taste(p, key, user, taste, video, outcome, liked):
    """After a video: towards its tags if enjoyed, away if skipped at once; a little fatigue; rarely a new interest."""
    step = 0.0
    if outcome & LONG or liked:
        step = p.drift
    elif outcome & SKIP:
        step = -p.drift
    if step > 0.0 and uniform(key, LIFE, user.user, user.impression, NEW_INTEREST) < p.new_interest:
        step += p.new_interest_logit
    for k in range(1 if video.tag == video.tag2 else 2):
        row = taste[video.tag if k == 0 else video.tag2]
        row.drift += np.float32(step)
        row.satiation += np.float32(p.satiation)


@kernel
def fresh_mood(p, key, user, now_us):
    """The mood at an open: what is left of the last one and a new part, logit; stationary with `mood_sd`."""
    z, _ = normal2(key, LIFE, user.user, user.session, MOOD)
    if user.session == 0:
        return p.mood_sd * z
    keep = np.exp(-(now_us - user.closed_us) / 3.6e9 / p.mood_hours)
    return keep * user.mood + np.sqrt(1.0 - keep * keep) * p.mood_sd * z
