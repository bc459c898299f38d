"""The link: capacity traces that are integrated exactly, round trips, and outages. Steps 3, 7 and 9 of the journey.

A trace is a cumulative byte curve, piecewise linear between integer knots. It is repeated for ever and scaled to the
person's access network. So the bytes of an interval are a difference of whole numbers, and every way to split the
interval gives the same total. The link serves one transfer at a time; requests and preloads share it.
"""

import numpy as np

from nextone.sim.engine.chance import even_quantile, tailed_quantile, uniform, uniform2
from nextone.sim.engine.kernel import called, inlined, kernel
from nextone.sim.engine.luck import LINK_LEVEL, LINK_TRACE, NETWORK, OUTAGE, SPELL

from .config import CELLULAR, ENDLESS, NEVER_US

SCALE_ONE = 65536


@inlined
def saturated(t_us, delta_us):
    """t + delta, or NEVER_US if either is."""
    return min(t_us + delta_us, NEVER_US)


@inlined
def cellular(user):
    """Whether the phone is on a mobile network, not on WiFi."""
    return user.link >= CELLULAR


@inlined
def scaled(raw, scale):
    """A trace's bytes to the person's, in whole bytes."""
    return raw if scale == SCALE_ONE else (raw * scale) >> 16


@inlined
def segment(user, knots, offset_us):
    """The segment [k, k + 1) of the person's trace that holds an offset in [0, period): near the last one, mostly."""
    low, high, stride = user.first_knot, user.last_knot, 1
    if knots[user.knot].t_us <= offset_us:
        low = user.knot
        while low + stride < high and knots[low + stride].t_us <= offset_us:
            low += stride
            stride *= 2
        high = min(low + stride, high)
    else:
        high = user.knot
        while high - stride > low and knots[high - stride].t_us > offset_us:
            high -= stride
            stride *= 2
        low = max(high - stride, low)
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle].t_us <= offset_us:
            low = middle
        else:
            high = middle
    user.knot = low
    return low


@called
def link_bytes(user, knots, t_us):
    """Bytes that the link could have carried since its trace last began again (`loop_us`), up to t, without outages."""
    offset_us = t_us - user.loop_us
    period_us = knots[user.last_knot].t_us
    before = 0
    if offset_us >= period_us:
        loops = offset_us // period_us
        before = loops * scaled(knots[user.last_knot].bytes, user.scale)
        offset_us -= loops * period_us
    k = segment(user, knots, offset_us)
    here = knots[k]
    gain = knots[k + 1].bytes - here.bytes
    raw = here.bytes + (offset_us - here.t_us) * gain // (knots[k + 1].t_us - here.t_us)
    return before + scaled(raw, user.scale)


@inlined
def wind_on(user, knots):
    """Set `loop_us` to the last time before now at which the trace began again. This changes no result."""
    period_us = knots[user.last_knot].t_us
    if user.now_us - user.loop_us >= period_us:
        user.loop_us += (user.now_us - user.loop_us) // period_us * period_us


@inlined
def delivered_bytes(user, knots, start_us, end_us):
    """Bytes carried from start to end, no outage between; none before `link_ready_us`."""
    start_us = max(start_us, user.link_ready_us)
    if end_us <= start_us:
        return 0
    before = link_bytes(user, knots, start_us)
    return link_bytes(user, knots, end_us) - before


@inlined
def endless(user, knots):
    """Whether the link is `network.constant_mbps = inf`; no trace is as fast."""
    last = knots[user.last_knot]
    return last.bytes >= ENDLESS * last.t_us


@kernel
def finish_us(user, knots, start_us, size):
    """The first microsecond by which `size` (>= 0) bytes have been carried, if no outage comes.

    Over an endless link that is the start, or pages of different size would part by microseconds."""
    start_us = max(start_us, user.link_ready_us)
    if size <= 0 or endless(user, knots):
        return start_us
    goal = link_bytes(user, knots, start_us) + size
    total = scaled(knots[user.last_knot].bytes, user.scale)
    since_us = user.loop_us
    if goal > total:
        loops = (goal - 1) // total
        goal -= loops * total  # in [1, total]
        since_us += loops * knots[user.last_knot].t_us
    low, high = user.first_knot, user.last_knot
    if scaled(knots[user.knot].bytes, user.scale) < goal:  # most transfers end soon after they start: stride by stride
        low, stride = user.knot, 1
        while low + stride < high and scaled(knots[low + stride].bytes, user.scale) < goal:
            low += stride
            stride *= 2
        high = min(low + stride, high)
    while high - low > 1:  # the last knot below the goal
        middle = (low + high) // 2
        if scaled(knots[middle].bytes, user.scale) < goal:
            low = middle
        else:
            high = middle
    raw = goal if user.scale == SCALE_ONE else -(-(goal << 16) // user.scale)  # least raw that scales to the goal
    here = knots[low]
    gain = knots[low + 1].bytes - here.bytes
    span_us = knots[low + 1].t_us - here.t_us
    return since_us + here.t_us + -(-((raw - here.bytes) * span_us) // gain)


@kernel
def rtt_us(p, key, user, rtt, t_us, a, b):
    """A round trip from t on, microseconds: the session's level times heavy-tailed jitter, keyed (user, a, b).

    Some jitter is not the trip's own but the link's at that time, shared by all trips of the same spell."""
    u, v = uniform2(key, NETWORK, user.user, a, b)
    if v < 2 * p.spell_share:
        spell = np.int64(v < p.spell_share)
        u = uniform(key, NETWORK, user.user, t_us // p.spells_us[spell], SPELL + spell)
    return np.int64(np.rint(user.rtt_level_us * tailed_quantile(u, rtt[1])))


@called
def draw_outage(p, key, user, after_us):
    """The session's next spell without network starts an exponential time after `after_us`; NEVER on WiFi."""
    if p.outages_per_hour <= 0.0 or not cellular(user):
        user.outage_start_us = NEVER_US
        user.outage_end_us = NEVER_US
        return
    u, v = uniform2(key, OUTAGE, user.user, user.session, user.outage)
    user.outage_start_us = after_us + np.int64(-np.log(u) * 3.6e9 / p.outages_per_hour)
    user.outage_end_us = user.outage_start_us + 1 + np.int64(-np.log(v) * p.outage_us)


@inlined
def sleeps(p, user):
    """Whether the mobile network's radio has gone to sleep and must wake up first."""
    return p.radio_wake_us > 0 and cellular(user) and user.now_us - user.link_used_us > p.radio_idle_us


@inlined
def offline(user, t_us):
    """Whether the phone is in a spell without network."""
    return user.outage_start_us <= t_us < user.outage_end_us


@called
def join_link(p, key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, rtt, now_us):
    """A session's link: its capacity, and the round trip's level."""
    u_rtt = draw_capacity(
        key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, np.int64(user.session), now_us
    )
    wifi = 1.0 if cellular(user) else p.wifi_rtt_scale
    user.rtt_level_us = np.int64(np.rint(tailed_quantile(u_rtt, rtt[0]) * wifi * p.rtt_scale))
    user.link_ready_us = now_us
    user.link_used_us = now_us
    user.outage = 0
    draw_outage(p, key, user, now_us)


@kernel
def draw_capacity(key, user, knots, trace_first, trace_mean_bps, link_traces, link_levels, session, now_us):
    """A trace of the person's class from a random place on, and its level; a uniform for the round trips."""
    u_trace, u_offset = uniform2(key, NETWORK, user.user, session, LINK_TRACE)
    u_level, u_rtt = uniform2(key, NETWORK, user.user, session, LINK_LEVEL)
    first, after = link_traces[user.link, 0], link_traces[user.link, 1]
    trace = min(first + np.int64(u_trace * (after - first)), after - 1)
    user.first_knot = trace_first[trace]
    user.last_knot = trace_first[trace + 1] - 1
    user.knot = user.first_knot
    user.loop_us = now_us - np.int64(u_offset * knots[user.last_knot].t_us)
    levels = link_levels[user.link]
    user.scale = SCALE_ONE
    if levels[0] > 0.0:
        level_bps = even_quantile(levels, u_level)
        user.scale = max(1, np.int64(level_bps / trace_mean_bps[trace] * SCALE_ONE))
    return u_rtt
