"""Feedback: like, follow, comment, forward, hate, profile, and time spent in the comments. Step 8 of the journey.

A chance is the person's own propensity (most never like, a few like a lot), the video's appeal, whether it was watched
long, and whether it suits the person. Called once per impression, after its play time is known.
"""

import numpy as np
from numba import njit

from .chance import FEEDBACK as STREAM
from .chance import normal_quantile, philox, to_unit
from .state import LONG
from .watching import SECOND_DRAW

KINDS = 6
HATE = 4  # index in config.FEEDBACK
LONG_SHARE = 0.353  # Source: KuaiRand-Pure tab 1, P(long view); keeps the rates at their stated means


@njit(cache=True, error_model="numpy")
def feedback_chance(p, kind, propensity, factor, long_view):
    """Chance in [0, 1] of one kind of feedback: the person's propensity, the video's factor, and how it was watched."""
    ratio = p.long_ratio[kind]
    base = propensity / (1.0 - LONG_SHARE + LONG_SHARE * ratio)
    return min(1.0, base * (ratio if long_view else 1.0) * factor)


@njit(cache=True, error_model="numpy")
def draw_feedback(p, key, user, video_id, video, meeting, suits, outcome):
    """(bits of feedback given, microseconds spent in comments or on a profile). suits: interest and match, logit."""
    first = philox(STREAM, user.user, video_id, meeting, key[0], key[1])
    second = philox(STREAM, user.user, video_id, np.int64(meeting) + SECOND_DRAW, key[0], key[1])
    draws = (first.w0, first.w1, first.w2, first.w3, second.w0, second.w1)
    appeal = video.appeal - 0.5 * p.appeal_sd * p.appeal_sd  # its exp has mean one
    suited, unsuited = np.exp(appeal + p.match_slope * suits), np.exp(appeal - p.match_slope * suits)
    bits = 0
    for kind in range(KINDS):
        factor = unsuited if kind == HATE else suited
        chance = feedback_chance(p, kind, user.propensity[kind], factor, outcome & LONG != 0)
        if (np.float64(draws[kind]) + 0.5) / 4294967296.0 < chance:
            bits |= 1 << kind
    browse_us = 0
    opened = (np.float64(second.w2) + 0.5) / 4294967296.0 < p.browse
    if opened or bits & 0b100100:  # a comment or a profile visit takes time too
        z = normal_quantile(to_unit(second.w3, second.w2))
        browse_us = np.int64(min(np.exp(p.browse_log_mean + p.browse_log_sd * z), 3600.0) * 1e6)
    return bits, browse_us
