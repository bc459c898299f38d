"""Interests: what draws a person to a video beyond its quality, lastingly and for a while. Step 10 of the journey.

A video's content is a vector x. A person has a lasting taste u for content, and a passing interest (intent) w, which
fades within tens of minutes and is renewed all the time. It is renewed, like the mood, by draws of the person and the
minute of the session, so it is the same under every policy. Two more things count: a lasting match of this person and
this very video, and fatigue with content like that just seen. Called by `sim/screen.py`, `sim/session.py`, `sim/cloud/`
and `sim/population.py`.
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, quick_normal
from nextone.sim.engine.kernel import inlined, kernel, pasted
from nextone.sim.engine.luck import INTENT, MATCH, MINUTE, MOOD, PASSING, TASTE

MINUTE_US = 60_000_000
LN_2 = np.log(2.0)


@inlined
def truth_and_belief(key, stream, user, thing, sd, correlation):
    """(truth, the cloud's lasting belief of it), logits. They correlate as stated; the belief is a posterior mean.

    The belief alone is `belief` of the draw's first two words, so that ranking need not know the truth."""
    words = keyed_words(key, stream, user, thing, 0)
    believed = belief(words.w0, words.w1, sd, correlation)
    return believed + sd * np.sqrt(1.0 - correlation * correlation) * quick_normal(words.w2, words.w3), believed


@inlined
def belief(high, low, sd, correlation):
    """The cloud's belief, logit, from two random words; `truth_and_belief` draws the same one."""
    return sd * correlation * quick_normal(high, low)


@inlined
def lasting_match(key, user, video, sd, correlation):
    """(match of a person and a video, the cloud's estimate of it), logits."""
    return truth_and_belief(key, np.uint64(MATCH), user, np.int64(video), np.float64(sd), correlation)


@kernel
def draw_taste(p, key, user, taste, known):
    """A person's lasting taste, and the cloud's estimate of it, (DIMS,): as wide as `user.taste_sd` over videos."""
    sd = np.float64(user.taste_sd) / np.sqrt(p.content_dims)
    for d in range(p.content_dims):
        truth, believed = truth_and_belief(key, np.uint64(TASTE), user.user, d, sd, p.taste_correlation)
        taste[d], known[d] = np.float32(truth), np.float32(believed)


@pasted
def along(vector, content):
    """How far a vector reaches along a video's content: their inner product."""
    total = 0.0
    for d in range(len(content)):
        total += np.float64(vector[d]) * np.float64(content[d])
    return total


@inlined
def fatigue(p, mind, content):
    """Logit lost to content like what was just seen; unlike content gains nothing."""
    return p.satiation * max(along(mind.satiety, content), 0.0) / p.content_dims


@kernel
def affinity(p, key, user, mind, video_id, content):
    """What draws this person to this video now, over and above its quality, logit: taste, intent, match, no fatigue."""
    match, _ = lasting_match(key, user.user, video_id, p.match_sd, p.match_correlation)
    return along(mind.taste, content) + along(mind.intent, content) + match - fatigue(p, mind, content)


@kernel
def settle(p, user, mind, now_us):
    """Let fatigue wear off from `user.settled_us` to now."""
    keep = np.float32(np.exp((user.settled_us - now_us) / p.satiation_us))
    for d in range(len(mind.satiety)):
        mind.satiety[d] *= keep
    user.settled_us = now_us


@kernel
def tire(mind, content):
    """After a video: content like it tires."""
    for d in range(len(content)):
        mind.satiety[d] += content[d]


@kernel
def reinforce(p, mind, content, stayed, chance):
    """After a video: the intent moves towards its content if the person stayed, away if not, in proportion to the
    surprise. stayed: 0 or 1; chance: the person's own of it, so that nobody drifts by being who they are."""
    step = np.float32(p.reinforcement * (stayed - chance) / np.sqrt(p.content_dims))
    for d in range(len(content)):
        mind.intent[d] += step * content[d]


@kernel
def pass_time_in(p, key, user, mind, hours, minute):
    """Mood and intent fade over so many hours, and are renewed by the draws of this minute of this session: both keep
    their spread."""
    keep = np.exp(-hours / p.mood_hours)
    words = keyed_words(key, PASSING, user.user, user.session, MINUTE * minute + MOOD)
    fresh = np.sqrt(1.0 - keep * keep) * p.mood_sd * quick_normal(words.w0, words.w1)
    user.mood = np.float32(keep * user.mood + fresh)
    keep = np.exp(-LN_2 * 60.0 * hours / p.intent_half_life_min)
    fresh_sd = np.sqrt((1.0 - keep * keep) / p.content_dims) * p.intent_sd
    for d in range(0, p.content_dims, 2):
        words = keyed_words(key, PASSING, user.user, user.session, MINUTE * minute + INTENT + d // 2)
        mind.intent[d] = np.float32(keep * mind.intent[d] + fresh_sd * quick_normal(words.w0, words.w1))
        if d + 1 < p.content_dims:
            mind.intent[d + 1] = np.float32(keep * mind.intent[d + 1] + fresh_sd * quick_normal(words.w2, words.w3))


@kernel
def open_mind(p, key, user, mind, now_us):
    """Mood and intent when the app is opened: what is left of the last session's, and a new part. In a person's first
    session both are new."""
    hours = np.inf if user.session == 0 else (now_us - user.closed_us) / 3.6e9
    user.minute = 0
    pass_time_in(p, key, user, mind, hours, np.int64(0))


@kernel
def live_on(p, key, user, mind, now_us):
    """Mood and intent live through the minutes of the session that have passed by now."""
    minutes = (now_us - user.opened_us) // MINUTE_US
    while user.minute < minutes:
        user.minute += 1
        pass_time_in(p, key, user, mind, 1.0 / 60.0, np.int64(user.minute))
