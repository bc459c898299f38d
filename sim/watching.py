"""Watching: how long a person stays with a video, and what that counts as. Step 8 of the journey.

Nobody decides within the first half second. Then most leave early, with a hazard that falls like 1/t, and the others
stay, some to the end and beyond. Hazards run on content time; stalls act through patience (`sim/session.py`).
"""

import numpy as np
from numba import njit

from .chance import WATCH, normal_quantile, uniform2
from .interest import affinity
from .state import COMPLETE, LONG, SKIP, VALID

VALID_US = 7_000_000  # Source: KuaiRand is_click, played 7 s or to the end (calibration.md section 3)
LONG_US = 18_000_000  # Source: KuaiRand long_view, played 18 s or to the end
SKIP_US = 2_000_000  # Source: calibration.md, skip below 2 s
COMPLETE_RATIO = 0.95  # Source: calibration.md, share of the duration played
LOOP_MEAN = 0.4  # Assumed: mean part of a further round; P(ratio > 1.5 | looped) .29, KuaiRand-Pure .26
SECOND_DRAW = 1 << 16  # added to the meeting in a key: a second pair of draws


@njit(cache=True, error_model="numpy")
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


@njit(cache=True, error_model="numpy")
def stay_logit(p, key, user, taste, video_id, video):
    """Log-odds that this person stays with this video now: person, mood, quality, interest, match."""
    return p.stay + user.person + user.mood + video.quality + affinity(p, key, user, taste, video_id, video)


@njit(cache=True, error_model="numpy")
def watch_time_us(p, logit, duration_us, u_stay, u_time, u_loop, u_rest):
    """How long a person plays a video before swiping on, if nothing stalls: microseconds of content, >= the dead time.

    Non-decreasing in `logit` for given draws, each in (0, 1). Source: two lognormals with a dead time fitted to
    KuaiRand-Pure (calibration.md section 3); see experiments/calibrate for the fit of a later version.
    """
    time_us = attention_us(p, logit, u_stay, u_time)
    return time_us if time_us < duration_us else end_us(p, duration_us, u_loop, u_rest)


@njit(cache=True, error_model="numpy")
def attention_us(p, logit, u_stay, u_time):
    """How long the person would watch a video without end."""
    z = normal_quantile(u_time)
    if u_stay < sigmoid(logit):
        seconds = np.exp(p.watch_log_mean + p.watch_log_slope * logit + p.watch_log_sd * z)
        seconds = max(seconds, np.exp(p.skip_log_mean + p.skip_log_sd * z))
    else:
        seconds = np.exp(p.skip_log_mean + p.skip_log_sd * z)
    return p.dead_time_us + np.int64(min(seconds, 1e6) * 1e6)


@njit(cache=True, error_model="numpy")
def end_us(p, duration_us, u_loop, u_rest):
    """How long it plays for who reached its end: to the end, or into another round."""
    if u_loop >= p.loop:
        return max(duration_us, p.dead_time_us)
    return max(duration_us + np.int64(duration_us * min(-np.log(u_rest) * LOOP_MEAN, 20.0)), p.dead_time_us)


@njit(cache=True, error_model="numpy")
def draw_watch_us(p, key, user, video_id, duration_us, meeting, logit):
    """`watch_time_us` of this person's nth meeting with this video."""
    u_stay, u_time = uniform2(key, WATCH, user.user, video_id, meeting)
    time_us = attention_us(p, logit, u_stay, u_time)
    if time_us < duration_us:  # most leave before the end: the second pair is not drawn
        return time_us
    u_loop, u_rest = uniform2(key, WATCH, user.user, video_id, np.int64(meeting) + SECOND_DRAW)
    return end_us(p, duration_us, u_loop, u_rest)


@njit(cache=True, error_model="numpy")
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
