"""The link against arithmetic in Python's own integers and fractions: theory and property, exact to the microsecond.

`delivered_bytes` is the reference curve rounded down, additive over any split; `finish_us` is its first passage; the
player's `underrun_us` is the first microsecond at which a brute-force player would have nothing to play. And the
throughput that the player measures, by hand.
"""

from fractions import Fraction

import numpy as np
import pytest
from laws import KEY
from numba import njit
from worlds import run, scenario

from nextone.sim.clock import underrun_us
from nextone.sim.config import NEVER_US, Scenario
from nextone.sim.inputs.traces import constant_trace
from nextone.sim.network import SCALE_ONE, delivered_bytes, finish_us, link_bytes, wind_on
from nextone.sim.player import break_off, choose_fetch, measure, receive
from nextone.sim.population import person_rows
from nextone.sim.state import (
    ARRIVING,
    AWAY,
    IDLE,
    IMPRESSION,
    KNOT,
    NOBODY,
    PLAYING,
    SCREEN,
    USER,
    VIDEO,
    Person,
)
from nextone.sim.world import build_world

CASES = 10_000


def link(t_us, cum_bytes, scale=SCALE_ONE, loop_us=0):
    """A person on a trace of their own; knots and the row."""
    knots = np.zeros(len(t_us), KNOT)
    knots["t_us"], knots["bytes"] = t_us, cum_bytes
    user = np.zeros(1, USER)
    user["last_knot"], user["scale"], user["loop_us"] = len(t_us) - 1, scale, loop_us
    return user, knots


def random_link(rng, segments=None):
    """A piecewise constant trace with zero stretches, at a random scale and place."""
    n = segments or int(rng.integers(1, 9))
    t_us = np.append(0, np.cumsum(rng.integers(1, 3_000_000, n)))
    amount = np.where(rng.random(n) < 0.25, 0, rng.integers(0, 4_000_000, n))
    amount[rng.integers(n)] += 1
    scale = SCALE_ONE if rng.random() < 0.5 else int(2 ** rng.uniform(8, 22))
    return link(t_us, np.append(0, np.cumsum(amount)), scale, -int(rng.integers(0, t_us[-1])))


def curve(user, knots, t_us):
    """Bytes since loop_us by the definition: whole bytes of the trace, then whole bytes of the scaled trace."""
    t, cum, scale = knots["t_us"].tolist(), knots["bytes"].tolist(), int(user["scale"][0])
    loops, offset = divmod(t_us - int(user["loop_us"][0]), t[-1])
    k = max(k for k in range(len(t) - 1) if t[k] <= offset)
    raw = cum[k] + (offset - t[k]) * (cum[k + 1] - cum[k]) // (t[k + 1] - t[k])
    return loops * (cum[-1] * scale // 65536) + raw * scale // 65536


@njit
def passages(users, knots, first, starts, sizes, done, at, before):
    """finish_us of many transfers, and what has been delivered by then and a microsecond earlier."""
    for n in range(len(users)):
        user = users[n]
        mine = knots[first[n] : first[n + 1]]
        done[n] = finish_us(user, mine, starts[n], sizes[n])
        at[n] = delivered_bytes(user, mine, starts[n], done[n])
        before[n] = delivered_bytes(user, mine, starts[n], done[n] - 1)


@njit
def splits(users, knots, first, a, b, c, whole, left, right):
    """Bytes of [a, c) and of its parts [a, b) and [b, c)."""
    for n in range(len(users)):
        user = users[n]
        mine = knots[first[n] : first[n + 1]]
        whole[n] = delivered_bytes(user, mine, a[n], c[n])
        left[n] = delivered_bytes(user, mine, a[n], b[n])
        right[n] = delivered_bytes(user, mine, b[n], c[n])


def many_links(rng, n=CASES):
    made = [random_link(rng) for _ in range(n)]
    users = np.concatenate([user for user, _ in made])
    first = np.cumsum([0] + [len(knots) for _, knots in made])
    return users, np.concatenate([knots for _, knots in made]), first, made


def test_a_constant_link_takes_size_over_rate():
    """Closed form, 10,000 cases from .1 Mbit/s to 5 Gbit/s: within one tick of size / rate."""
    rng = np.random.default_rng(1)
    for mbps in 10 ** rng.uniform(-1, 3.7, 100):
        trace = constant_trace(mbps)
        user, knots = link(trace.t_us, trace.cum_bytes, loop_us=-int(rng.integers(0, 10_000_000)))
        rate = Fraction(int(trace.cum_bytes[-1]), int(trace.t_us[-1]))  # bytes per us
        for size in rng.integers(1, 50_000_000, 100).tolist():
            start = int(rng.integers(0, 10**10))
            took = finish_us(user[0], knots, start, size) - start
            # one byte may be on its way already when the transfer starts
            assert Fraction(size - 1) / rate - 1 < took <= Fraction(size) / rate + 1, (mbps, size, start)


def test_a_piecewise_constant_link_takes_the_inverse_of_its_curve():
    """First passage, 10,000 random links: everything is there at finish, and was not a microsecond before."""
    rng = np.random.default_rng(2)
    users, knots, first, made = many_links(rng)
    per_loop = np.array([k["bytes"][-1] * int(u["scale"][0]) // 65536 for u, k in made])
    keep = np.flatnonzero(per_loop > 0)
    assert len(keep) > 0.9 * CASES
    starts = rng.integers(0, 10**11, CASES)
    sizes = np.maximum(1, (per_loop * 10 ** rng.uniform(-4, 1.5, CASES)).astype(np.int64))
    users["link_ready_us"] = np.where(rng.random(CASES) < 0.5, 0, starts + rng.integers(0, 2_000_000, CASES))
    sizes[per_loop == 0], starts[per_loop == 0] = 0, 0
    done, at, before = (np.zeros(CASES, np.int64) for _ in range(3))
    passages(users, knots, first, starts, sizes, done, at, before)
    assert (at >= sizes)[keep].all() and (before < sizes)[keep].all()
    for n in keep[:1000]:
        user, mine = made[n]
        begin = max(starts[n], users["link_ready_us"][n])
        assert curve(user, mine, int(done[n])) - curve(user, mine, int(begin)) == at[n]


def test_splitting_an_interval_changes_no_byte():
    """Exact additivity, 10,000 random links and splits, over loops of the trace, before and after the first byte."""
    rng = np.random.default_rng(3)
    users, knots, first, _ = many_links(rng)
    a = rng.integers(0, 10**9, CASES)
    b = a + rng.integers(0, 10 ** rng.integers(1, 9, CASES))
    c = b + rng.integers(0, 10 ** rng.integers(1, 9, CASES))
    users["link_ready_us"] = a + rng.integers(-1_000_000, 1_000_000, CASES)
    whole, left, right = (np.zeros(CASES, np.int64) for _ in range(3))
    splits(users, knots, first, a, b, c, whole, left, right)
    assert (left + right == whole).all() and (left >= 0).all() and (right >= 0).all() and (whole > 0).any()


def test_hints_and_winding_on_change_no_byte():
    """`knot` is a hint and `loop_us` may be any earlier beginning: results are the same from every hint."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        user, knots = random_link(rng)
        t = int(rng.integers(0, 10**9))
        size = int(rng.integers(0, knots["bytes"][-1] * int(user["scale"][0]) // 65536 + 1))
        expected = curve(user, knots, t), finish_us(user[0], knots, t, size)
        for hint in range(len(knots) - 1):
            user["knot"] = hint
            assert link_bytes(user[0], knots, t) == expected[0]
            user["knot"] = hint
            assert finish_us(user[0], knots, t, size) == expected[1]
        user["now_us"], loop_us = t, int(user["loop_us"][0])
        span = delivered_bytes(user[0], knots, t, t + 5_000_000)
        wind_on(user[0], knots)
        period = int(knots["t_us"][-1])
        assert 0 <= t - user["loop_us"][0] < period and (user["loop_us"][0] - loop_us) % period == 0
        assert delivered_bytes(user[0], knots, t, t + 5_000_000) == span
        assert finish_us(user[0], knots, t, size) == expected[1]


def test_a_scaled_trace_carries_the_scaled_bytes():
    """By hand: 8 Mbit/s at scale 1/2 is 500 bytes a ms; a trace of 1 s loops without losing a byte."""
    user, knots = link([0, 1_000_000], [0, 1_000_000], SCALE_ONE // 2)
    assert delivered_bytes(user[0], knots, 0, 1_000) == 500
    assert delivered_bytes(user[0], knots, 0, 3_600_000_000) == 500_000 * 3600
    assert finish_us(user[0], knots, 0, 500) == 1_000
    assert finish_us(user[0], knots, 999_000, 1_000) == 1_001_000
    user, knots = link([0, 1_000_000], [0, 1_000_000], SCALE_ONE * 10)
    assert delivered_bytes(user[0], knots, 0, 1_000) == 10_000
    assert finish_us(user[0], knots, 0, 10) == 1


def test_a_link_that_rests_delivers_nothing_meanwhile():
    """By hand: 1,000 bytes in the first ms, then nothing for 9 ms, for ever."""
    user, knots = link([0, 1_000, 10_000], [0, 1_000, 1_000])
    assert delivered_bytes(user[0], knots, 1_000, 10_000) == 0
    assert finish_us(user[0], knots, 5_000, 1) == 10_001
    assert finish_us(user[0], knots, 0, 1_000) == 1_000
    assert finish_us(user[0], knots, 0, 1_001) == 10_001
    assert finish_us(user[0], knots, 0, 0) == 0
    user["link_ready_us"] = 700
    assert delivered_bytes(user[0], knots, 0, 700) == 0
    assert finish_us(user[0], knots, 0, 300) == 1_000
    assert finish_us(user[0], knots, 0, 0) == 700


def test_the_fastest_and_the_slowest_link_do_not_overflow():
    for mbps in (0.01, np.inf):
        trace = constant_trace(mbps)
        user, knots = link(trace.t_us, trace.cum_bytes)
        for start in (0, 10**13):  # four months
            user["now_us"] = start
            wind_on(user[0], knots)  # as every new transfer does
            done = finish_us(user[0], knots, start, 2_000_000_000)
            assert 0 < delivered_bytes(user[0], knots, start, start + 10**9) < 2**62
            if mbps == np.inf:
                assert done == start
                continue
            assert delivered_bytes(user[0], knots, start, done) >= 2_000_000_000
            assert delivered_bytes(user[0], knots, start, done - 1) < 2_000_000_000


def test_an_endless_link_takes_no_time_and_any_other_does():
    """A byte over the fastest link that is not endless takes a microsecond; over an endless one only the round trip."""
    trace = constant_trace(7.9e6)
    user, knots = link(trace.t_us, trace.cum_bytes)
    assert finish_us(user[0], knots, 5_000, 1) == 5_001
    trace = constant_trace(np.inf)
    user, knots = link(trace.t_us, trace.cum_bytes)
    assert finish_us(user[0], knots, 5_000, 1) == 5_000
    user["link_ready_us"] = 7_000
    assert finish_us(user[0], knots, 5_000, 10**9) == 7_000


# -- running dry -------------------------------------------------------------------------------------------------------


@njit
def brute_force_us(user, knots, have, total, bitrate_bps, play_us, now_us, until_us, slack_us):
    """First microsecond t such that by t + 1 more would have been played than is held, by more than so much content."""
    for t in range(now_us, until_us):
        size = min(have + delivered_bytes(user, knots, now_us, t + 1), total)
        if size * 8_000_000 // bitrate_bps + slack_us < play_us + (t + 1 - now_us):
            return t
    return NEVER_US


def dry(user, knots, *, have, total, bitrate_bps, play_us=0, until_us):
    """(what underrun_us finds, the earliest and the latest of a brute-force player: a byte is some us of content)."""
    until_us = int(min(until_us, finish_us(user[0], knots, 0, total - have)))  # as next_event asks
    screen, video = np.zeros(1, IMPRESSION), np.zeros(1, VIDEO)
    screen["bytes"], screen["total_bytes"], screen["bitrate_bps"], screen["play_us"] = have, total, bitrate_bps, play_us
    video["duration_us"], user["fetching"] = total * 8_000_000 // bitrate_bps, SCREEN
    found = underrun_us(user[0], screen[0], video[0], knots, until_us)
    player = (user[0], knots, have, total, bitrate_bps, play_us, 0, until_us)
    return found, brute_force_us(*player, 0), brute_force_us(*player, 8_000_000 // bitrate_bps + 1)


def test_play_runs_dry_when_a_brute_force_player_does():
    """800 random links, buffers and first bytes, within 300 ms each (so that brute force is cheap)."""
    rng, ran_dry = np.random.default_rng(5), 0
    for case in range(800):
        n = int(rng.integers(1, 6))
        t_us = np.append(0, np.cumsum(rng.integers(1_000, 200_000, n)))
        bitrate = int(rng.integers(100_000, 3_000_000))
        mbps = rng.choice([0.0, 0.3, 1.0, 3.0, 30.0], n) * rng.random(n)
        amount = (np.diff(t_us) * mbps / 8).astype(np.int64)
        amount[rng.integers(n)] += 1
        user, knots = link(t_us, np.append(0, np.cumsum(amount)), loop_us=-int(rng.integers(0, t_us[-1])))
        user["link_ready_us"] = rng.choice([0, int(rng.integers(0, 150_000))])
        total = int(rng.integers(10_000, 300_000))
        play_us = int(rng.integers(0, 50_000))
        have = -(-(play_us + int(rng.integers(0, 100_000))) * bitrate // 8_000_000)
        if have >= total:
            continue
        found, earliest, latest = dry(user, knots, have=have, total=total, bitrate_bps=bitrate, play_us=play_us,
                                      until_us=300_000)  # fmt: skip
        assert earliest <= found <= latest, case
        ran_dry += found < NEVER_US
    assert 120 < ran_dry < 760


def test_play_runs_dry_before_the_end_of_a_video_that_loops():
    """By hand: a video of 4 s, .8 Mbit/s over .4 Mbit/s, half of it there at 0 s played: the other half takes 4 s,
    play catches up after 4 s and would then go on into the next round, so it must not be missed: dry at 4 s."""
    user, knots = link([0, 10_000_000], [0, 500_000])
    found, earliest, latest = dry(user, knots, have=200_000, total=400_010, bitrate_bps=800_000, until_us=10_000_000)
    assert earliest <= found <= latest and abs(found - 4_000_000) <= 20


@pytest.mark.parametrize(("ready_us", "expected"), [(0, NEVER_US), (499_000, NEVER_US), (600_000, 500_000)])
def test_play_runs_dry_before_a_late_first_byte(ready_us, expected):
    """By hand: .5 s held, 10 Mbit/s for a video of .8: dry exactly if the first byte takes longer than .5 s."""
    user, knots = link([0, 10_000_000], [0, 12_500_000])
    user["link_ready_us"] = ready_us
    found, earliest, _ = dry(user, knots, have=50_000, total=1_000_000, bitrate_bps=800_000, until_us=3_000_000)
    assert found == expected == earliest


def test_downloads_of_a_run_take_the_closed_form():
    """One video at a time on 8 Mbit/s (1 byte a us), no round trips: startup is content / rate, to the microsecond."""
    outcome = run(scenario(
        network__constant_mbps=8.0, network__rtt_scale=0.0, network__outages_per_hour=0.0, player__preload_videos=0,
        player__bitrates_mbps=(2.0, 2.0, 2.0), phone__software_decoder=0.0, sessions__stall_patience_s=1e6,
        client__refill_at=0,
    ))  # fmt: skip
    log = outcome.records.impressions
    whole = log["outcome"] & 128 == 0
    # .5 s of 2 Mbit/s is 125,000 bytes: 125 ms, then 60 ms for the decoder; later if a page's payload comes between
    quick = log["startup_us"][whole]
    need = np.minimum(log["total_bytes"][whole], 125_000)
    assert np.mean(np.abs(quick - need - 60_000) <= 1) > 0.7
    assert (quick - need - 60_000 >= -1).all() and not log["stall_us"].any()


# -- the measured throughput -------------------------------------------------------------------------------------------

DEFAULT = Scenario().params()


@njit
def replay(p, key, person, videos, knots, rtt, sizes, took_us, pages, rates):
    """Videos on screen fetched one after the other, each in its given time since the first byte, pages (bytes, of 0:
    none) between them; the estimate after each, and after all."""
    user, screen = person.user, person.screen
    for n in range(len(sizes)):
        if pages[n] > 0:
            user.request_state, user.payload_left, user.phase = ARRIVING, pages[n], AWAY
            choose_fetch(p, key, person, videos, knots, rtt, np.bool_(False))
            user.now_us += 1_000 * (n + 1)
            receive(person, pages[n])
            user.request_state, user.fetching = IDLE, NOBODY
        user.phase, user.goal = PLAYING, sizes[n]
        screen.bytes, screen.total_bytes = 0, sizes[n]
        choose_fetch(p, key, person, videos, knots, rtt, np.bool_(False))
        user.now_us = user.link_ready_us + took_us[n]
        receive(person, sizes[n])
        user.phase = AWAY
        choose_fetch(p, key, person, videos, knots, rtt, np.bool_(False))
        rates[n] = user.rate_bps


def measured(sizes, took_us, pages, rate_bps=5_000_000):
    """The estimates of `replay`."""
    world = build_world(scenario(), edge=False, seed=1, window_us=1, drawn=False)
    rows = person_rows(world)
    person = Person(*(array[0] for array in rows))
    person.user["rate_bps"], person.user["outage_start_us"], person.user["fetching"] = rate_bps, NEVER_US, NOBODY
    person.user["last_knot"], person.user["rtt_level_us"] = world.trace_first[1] - 1, 50_000
    rates = np.zeros(len(sizes), np.int64)
    replay(DEFAULT[0], KEY, person, world.videos, world.knots, world.rtt, np.array(sizes), np.array(took_us),
           np.array(pages), rates)  # fmt: skip
    return rates


def test_pages_change_no_bit_of_the_estimate():
    """A recorded list of video transfers, .3 kB to 3 MB at .05 to 300 Mbit/s, and pages of 0, 9 and 43 kB between."""
    rng = np.random.default_rng(6)
    sizes = (10 ** rng.uniform(2.5, 6.5, 400)).astype(np.int64)
    took_us = (sizes * 8 / 10 ** rng.uniform(-1.3, 2.5, 400)).astype(np.int64) + 1
    rates = [measured(sizes, took_us, np.full(400, page)) for page in (0, 9_000, 43_000)]
    assert len(np.unique(rates[0])) > 300
    assert (rates[1] == rates[0]).all() and (rates[2] == rates[0]).all()


def test_the_estimate_by_hand():
    """Memory 950,000 bytes: so many at 16 Mbit/s take an estimate of 8 half way; a quarter of them by 1 - 2**-.25; none
    and those in no time change nothing."""
    assert measured([950_000], [475_000], [0], 8_000_000)[0] == 12_000_000
    assert measured([237_500], [118_750], [0], 8_000_000)[0] == round(16e6 - 8e6 * 2**-0.25)
    assert (measured([1, 1_000], [0, 0], [0, 0]) == 5_000_000).all()
    whole, parts = (measured(*rows, np.zeros(len(rows[0]), int))[-1] for rows in (
        ([600_000], [300_000]), ([1_000, 99_000, 500_000], [500, 49_500, 250_000])))  # fmt: skip
    assert abs(whole - parts) <= 3  # the same bytes at the same speed weigh the same in pieces, but for rounding


def test_a_transfer_broken_off_counts_once():
    """By hand: 400,000 bytes in 1 s of a longer fetch, then the finger lifts; what half a round trip still brings and a
    second look change nothing."""
    user, knots = link([0, 10_000_000], [0, 4_000_000])
    user["rate_bps"], user["outage_start_us"], user["rtt_level_us"] = 1_000_000, NEVER_US, 80_000
    user["fetching"], user["fetched"], user["now_us"], user["link_ready_us"] = SCREEN, 400_000, 1_500_000, 500_000
    break_off(DEFAULT[0], user[0], knots, 700_000)
    past = 2 ** (-400_000 / 950_000)
    expected = round(past * 1e6 + (1 - past) * 3.2e6)
    assert user["rate_bps"][0] == expected and user["cancelled"][0] == 16_000 and user["fetched"][0] == 0
    measure(DEFAULT[0], user[0])
    assert user["rate_bps"][0] == expected


def test_a_link_too_slow_for_any_goal_is_measured():
    """.3 Mbit/s from the mean of another world: nothing but swiped fetches, and yet the estimate is .3 Mbit/s."""
    slow = scenario(network__constant_mbps=0.3, network__outages_per_hour=0.0, network__loss=0.0,
                    player__preload_videos=0, sessions__stall_patience_s=3.0, sessions__leave_per_min=0.0)  # fmt: skip
    users = run(slow, minutes=20.0).world.users
    assert np.abs(users["rate_bps"] / 3e5 - 1).max() < 0.02
