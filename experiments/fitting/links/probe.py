"""Asks the compiled link what it would deliver: capacity second by second and round trips, session by session.

The functions asked are those that transfers use. Outages are left out: they come on top of any trace. Called by
experiments/fitting/links/facts.py.
"""


from nextone.sim.engine.kernel import entry
from nextone.sim.network import delivered_bytes, join_link, rtt_us

SECOND_US = 1_000_000


@entry
def open_link(w, i):
    """Open the app for person i for the first time; sets the link of that session."""
    user = w.users[i]
    user.now_us = user.phase_end_us
    join_link(
        w.params[0], w.key[i], user, w.knots, w.trace_first, w.trace_mean_bps, w.link_traces, w.link_levels, w.rtt,
        user.now_us,
    )  # fmt: skip
    return user


@entry
def trace_seconds(w, seconds):
    """Write how many whole seconds the trace of each person's first session has into `seconds`, int64 (N,)."""
    for i in range(len(seconds)):
        seconds[i] = w.knots[open_link(w, i).last_knot].t_us // SECOND_US


@entry
def capacity_mbps(w, first, step_s, mbps):
    """Write the mean capacity of each `step_s` seconds of person i's session into mbps[first[i]:first[i + 1]].

    They begin at the open, at whole seconds of the trace's clock; otherwise the steps of the trace would be smoothed
    once more."""
    for i in range(len(first) - 1):
        user = open_link(w, i)
        start_us = user.loop_us + -(-(user.now_us - user.loop_us) // SECOND_US) * SECOND_US
        for k in range(first[i], first[i + 1]):
            size = delivered_bytes(user, w.knots, start_us, start_us + step_s * SECOND_US)
            mbps[k] = 8 * size / (step_s * SECOND_US)
            start_us += step_s * SECOND_US


@entry
def round_trips_us(w, first, t_us, rtt):
    """Write the round trips of person i's session, t_us after its open, into rtt, as the transfer of a video would draw
    them."""
    for i in range(len(first) - 1):
        user = open_link(w, i)
        for k in range(first[i], first[i + 1]):
            rtt[k] = rtt_us(w.params[0], w.key[i], user, w.rtt, user.now_us + t_us[k], k - first[i], user.session)
