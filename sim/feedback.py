"""Feedback: like, follow, comment, forward, hate, profile, and time spent in the comments. Step 8 of the journey.

The chance of a kind of feedback depends on the person's own propensity (most people never like, a few like a lot), on
the video's appeal, on how long it was watched, and on whether it suits the person. Called once for each impression,
after its play time is known.
"""

import numpy as np

from nextone.sim.engine.chance import keyed_words, normal_quantile, to_unit
from nextone.sim.engine.kernel import inlined, kernel
from nextone.sim.engine.luck import FEEDBACK, FEEDBACK_MORE

from .config import COMMENT, HATE, PROFILE
from .config import FEEDBACK as KINDS
from .state import COMPLETE, LONG

TAKES_TIME = 1 << COMMENT | 1 << PROFILE  # bits of feedback
SHORT_US = 5_000_000  # Source: KuaiRand-Pure tab 1, likes on .008 of the plays below 5 s, on .033 of the long views
# Source: KuaiRand-Pure tab 1, shares of plays below 5 s, of long views and of completed ones; they keep the rates at
# their stated means.
SHORT_SHARE, LONG_SHARE, COMPLETE_SHARE = 0.451, 0.353, 0.184


@inlined
def mean_level(p, kind, short, long, complete):
    """Mean factor of feedback over all plays, where a play of middling length has 1. short, long, complete: shares of
    plays; completed plays are long views too."""
    return (
        max(1.0 - short - long, 0.0)
        + short * p.skip_ratio[kind]
        + p.long_ratio[kind] * (long - complete + complete * p.complete_ratio[kind])
    )


@inlined
def feedback_chance(p, kind, propensity, factor, play_us, outcome):
    """Chance in [0, 1] of one kind of feedback: the person's propensity, the video's factor, and how it was watched."""
    long, complete = outcome & LONG != 0, outcome & COMPLETE != 0
    short = play_us < SHORT_US and not (long or complete)
    level = mean_level(p, kind, np.float64(short), np.float64(long or complete), np.float64(complete))
    return min(1.0, propensity * level / mean_level(p, kind, SHORT_SHARE, LONG_SHARE, COMPLETE_SHARE) * factor)


@kernel
def draw_feedback(p, key, user, video_id, video, meeting, suits, play_us, outcome):
    """(bits of feedback given, microseconds spent in comments or on a profile). suits: interest and match, logit."""
    first = keyed_words(key, FEEDBACK, user.user, video_id, meeting)
    second = keyed_words(key, FEEDBACK, user.user, video_id, np.int64(meeting) + FEEDBACK_MORE)
    draws = (first.w0, first.w1, first.w2, first.w3, second.w0, second.w1)
    appeal = video.appeal - 0.5 * p.appeal_sd * p.appeal_sd  # its exp has mean one
    more = p.match_slope * (suits - p.usual_match)
    suited, unsuited = np.exp(appeal + more), np.exp(appeal - more)
    bits = 0
    for kind in range(len(KINDS)):
        factor = unsuited if kind == HATE else suited
        chance = feedback_chance(p, kind, user.propensity[kind], factor, play_us, outcome)
        if (np.float64(draws[kind]) + 0.5) / 4294967296.0 < chance:
            bits |= 1 << kind
    browse_us = 0
    opened = (np.float64(second.w2) + 0.5) / 4294967296.0 < p.browse
    if opened or bits & TAKES_TIME:
        z = normal_quantile(to_unit(second.w3, second.w2))
        browse_us = np.int64(min(np.exp(p.browse_log_mean + p.browse_log_sd * z), 3600.0) * 1e6)
    return bits, browse_us
