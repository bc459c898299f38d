"""NextOne: a policy is asked, and its ranking is ready after the phone's inference time. Step 6 of the journey."""

import numpy as np

from nextone.sim.engine.chance import normal_quantile, uniform
from nextone.sim.engine.kernel import inlined
from nextone.sim.engine.luck import INFERENCE, LIFE

from .pool import rank_pool, rankable
from .state import ASKED, IDLE, PLAYING


@inlined
def inference_us(p, key, user):
    """How long this decision takes on this phone, microseconds: lognormal by tier, with a floor."""
    mean = p.inference_us[user.tier]
    if mean == 0:
        return 0
    z = normal_quantile(uniform(key, LIFE, user.user, user.impression + 1, INFERENCE + np.int64(user.phase)))
    sd = p.inference_log_sd
    return max(min(p.inference_min_us, mean), np.int64(mean * np.exp(sd * z - 0.5 * sd * sd)))


@inlined
def slower(p, user):
    """By which factor a decision takes longer than usual: after the network was just loaded, and while a video
    plays."""
    loaded = p.cold_start if user.cold else 1.0
    return loaded * (1.0 + p.contention[user.tier] if user.phase == PLAYING else 1.0)


@inlined
def stands(user, pool, scores):
    """Whether the policy left the last order unchanged: it computed nothing, and answered -inf for every candidate."""
    scored = 0
    for k in range(len(pool)):
        scored += rankable(user, pool[k]) and scores[k] != -np.inf
    return scored == 0


@inlined
def take_scores(p, key, user, screen, pool, scores):
    """Take the policy's answer: its ranking is ready after the inference. A last column that exceeds all others asks
    for a page.

    If the policy lets the last order stand, there is no inference. A ranking that is still being computed is then
    awaited; otherwise the last column asks for a page if it is above -inf."""
    pending = user.ranking > 1
    user.ranking = 1
    if stands(user, pool, scores):
        screen.outcome &= np.uint8(255 - ASKED)
        if not pending:
            user.ready_us = user.now_us
            user.page_wanted = len(scores) > len(pool) and scores[len(pool)] > -np.inf and user.request_state == IDLE
            for k in range(len(pool)):
                pool[k].next_order = pool[k].order
        return
    rank_pool(user, pool, scores)
    user.page_wanted = 0
    if len(scores) > len(pool) and user.request_state == IDLE:
        user.page_wanted = 1
        for k in range(len(pool)):
            if rankable(user, pool[k]) and scores[k] >= scores[len(pool)]:
                user.page_wanted = 0
    user.inferences += 1
    user.ready_us = user.now_us + np.int64(slower(p, user) * inference_us(p, key, user))
    user.cold = 0


@inlined
def note_quiet(user, screen):
    """Note at an impression's end whether it brought feedback: see `is_due`."""
    if screen.feedback != 0 or user.quiet < 0:
        user.quiet = -1
    else:
        user.quiet = np.int16(min(user.quiet + 1, 32_000))


@inlined
def is_due(p, user):
    """Whether the policy wants to be asked now: always, or only after feedback or `p.quiet` impressions without any."""
    return p.quiet == 0 or user.quiet < 0 or user.quiet >= p.quiet


@inlined
def ask_policy(user, screen):
    """A decision is wanted now; `advance` comes back and is called again with scores."""
    user.quiet = 0
    user.ranking += 1
    screen.outcome |= ASKED
