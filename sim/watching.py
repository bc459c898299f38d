"""Watching: how long a person stays with a video, and what that counts as. Step 8 of the journey.

Nobody decides during a dead time of most of a second. Then most people leave early, with a hazard that falls like 1/t.
The others stay, some to the end. At the end most need a second or two to swipe on, and some let the video play again.
Hazards run on content time; stalls act through patience (`sim/session.py`).
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, normal_quantile, quick_normal, to_unit, uniform2
from nextone.sim.engine.kernel import compiled, inlined, kernel
from nextone.sim.engine.luck import WATCH, WATCH_TO_END

from .interest import affinity
from .state import COMPLETE, LONG, SKIP, VALID

VALID_US = 7_000_000  # Source: KuaiRand is_click, played 7 s or to the end
LONG_US = 18_000_000  # Source: KuaiRand long_view, played 18 s or to the end
SKIP_US = 2_000_000  # Assumed: the usual threshold of a skip; .238 of the plays of KuaiRand-Pure tab 1 are shorter
COMPLETE_RATIO = 0.95  # share of the duration played; Source: KuaiRand-Pure, many plays end within 5 % of the end
PEAK_US = 80e6  # Source: KuaiRand-Pure, long views by length are most frequent at 60 to 120 s


@compiled(forceinline=True)  # of arrays too
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


@inlined
def stay_logit(p, key, user, mind, video_id, video, content):
    """Log-odds that this person stays with this video now: person, mood, quality (with length), interests, match."""
    return p.stay + user.person + user.mood + video.quality + affinity(p, key, user, mind, video_id, content)


@kernel
def stayed(key, user, video_id, meeting, logit):
    """Whether the person decides to stay with a video, by the same draw as in `draw_watch_us`."""
    words = keyed_words(key, WATCH, user.user, video_id, meeting)
    return (np.float64(words.w0) + 0.5) / 4294967296.0 < sigmoid(logit)


@inlined
def length_logit(p, duration_us):
    """The effect of a video's length on the log-odds of staying: people stay most with videos of about 80 s."""
    x = np.log(duration_us / PEAK_US)
    return p.stay_shorter * min(x, 0.0) + p.stay_longer * max(x, 0.0)


@kernel
def watch_time_us(p, logit, person, duration_us, u_stay, z_time, z_dead, u_loop, z_end):
    """How long a person plays a video before swiping on, if nothing stalls: microseconds of content.

    Non-decreasing in `logit` and in `person`, the lasting part of it, for given draws, u uniform and z standard normal.
    Source: the form was chosen on KuaiRand-Pure's play times by length of the video; `nextone calibrate` fits it.
    """
    time_us = attention_us(p, logit, person, u_stay, z_time, z_dead)
    return time_us if time_us < duration_us else end_us(p, duration_us, u_loop, z_end)


@inlined
def attention_us(p, logit, person, u_stay, z, z_dead):
    """How long the person would watch a video without an end: the dead time, then an early leave or a stay.

    People who stay more often also leave later. When an early leave comes depends on the person, and hardly on the
    video."""
    seconds = np.exp(p.skip_log_mean + p.skip_log_slope * person + p.skip_log_sd * z)
    if u_stay < sigmoid(logit):
        seconds = max(seconds, np.exp(p.watch_log_mean + p.watch_log_slope * logit + p.watch_log_sd * z))
    return np.int64(p.dead_time_us * np.exp(p.dead_time_log_sd * z_dead) + min(seconds, 1e6) * 1e6)


@kernel
def end_us(p, duration_us, u_loop, z):
    """How long the video plays for somebody who reached its end: until the finger has moved, or on into further
    rounds."""
    if u_loop < p.loop:
        seconds = np.exp(p.loop_log_mean + p.loop_log_sd * z)
    else:
        seconds = np.exp(p.react_log_mean + p.react_log_sd * z)
    return duration_us + min(np.int64(min(seconds, 1e6) * 1e6), p.most_rounds * duration_us)


@kernel
def draw_watch_us(p, key, user, video_id, duration_us, meeting, logit):
    """`watch_time_us` of this person's nth meeting with this video."""
    words = keyed_words(key, WATCH, user.user, video_id, meeting)
    u_stay, z_time = (np.float64(words.w0) + 0.5) / 4294967296.0, normal_quantile(to_unit(words.w1, words.w2))
    time_us = attention_us(p, logit, np.float64(user.person), u_stay, z_time, quick_normal(words.w3, words.w0))
    if time_us < duration_us:  # most leave before the end: the second pair is not drawn
        return time_us
    u_loop, u_end = uniform2(key, WATCH, user.user, video_id, np.int64(meeting) + WATCH_TO_END)
    return end_us(p, duration_us, u_loop, normal_quantile(u_end))


@inlined
def outcome_of(play_us, duration_us):
    """Bits VALID, LONG, COMPLETE, SKIP of a play time: the KuaiRand thresholds."""
    bits = 0
    if play_us >= min(VALID_US, duration_us):
        bits |= VALID
    if play_us >= min(LONG_US, duration_us):
        bits |= LONG
    if play_us >= COMPLETE_RATIO * duration_us:
        bits |= COMPLETE
    if play_us < SKIP_US:
        bits |= SKIP
    return bits
