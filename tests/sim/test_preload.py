"""Whom the link works for, by hand: which of the next videos it preloads, 5 s of each, at 1 or 2 Mbit/s (625,000 or
1,250,000 bytes); who comes before whom, what a new transfer waits for, what becomes of one that is broken off.
"""

from bisect import bisect_left

import numpy as np
import pytest
from worlds import scenario

from nextone.sim.config import CELLULAR, NEVER_US
from nextone.sim.engine.luck import THE_MODEL
from nextone.sim.network import SCALE_ONE, rtt_us
from nextone.sim.player import (
    break_off,
    choose_bitrate,
    choose_fetch,
    held_us,
    hungry,
    learn_rate,
    measure,
    plan_preload,
    recall_rate,
    receive,
    still_to_fetch,
)
from nextone.sim.state import (
    ARRIVING,
    AWAY,
    BEHAVIOUR,
    BELIEF,
    BROWSING,
    CLOSED,
    DEAD,
    DECODING,
    FROM_WAITING,
    IDLE,
    IMPRESSION,
    KNOT,
    MIND,
    MODEL,
    NOBODY,
    PAST,
    PAYLOAD,
    PLAYING,
    READY,
    SCREEN,
    SENT,
    SHOWN,
    SLOT,
    STALLED,
    STARTING,
    STORED,
    SWIPING,
    UNRANKED,
    USER,
    VIDEO,
    WAITING,
    WAITING_VIDEO,
    Person,
)

FULL, FULL_OF_FINE = 625_000, 1_250_000


def planned(held, waiting=(), *, ranks=(0, 1, 2, 3), bitrates=0, shown=(), state=READY, at=20, **settings):
    """What is preloaded of four candidates, videos 0 to 3 with `held` bytes, and of a waiting page, (video, bytes,
    bitrate) each, of which those at `shown` were shown meanwhile. Videos last 20 s; the link brings 20 Mbit/s."""
    params, user, pool = scenario().params(), np.zeros(1, USER), np.zeros(len(held), SLOT)
    for name, value in ({"preload_videos": 3, "preload_us": 5_000_000} | settings).items():
        params[name] = value
    params["bitrates_bps"] = [1_000_000, 2_000_000, 2_000_000]
    pool["rank"], pool["buffered"], pool["bitrate"], pool["order"] = ranks, held, bitrates, UNRANKED
    pool["video"] = np.arange(len(held))
    page, stored, videos = np.zeros(max(len(waiting), 1), WAITING_VIDEO), np.zeros(9, STORED), np.zeros(40, VIDEO)
    for k, (video, size, bitrate) in enumerate(waiting):
        page["video"][k], page["buffered"][k], page["bitrate"][k], page["place"][k] = video, size, bitrate, k
        stored["video"][k] = video | (SHOWN if k in shown else 0)
    videos["duration_us"] = at * 1_000_000
    user["waiting"], user["request_state"], user["stored"] = len(waiting), state, len(waiting)
    user["rate_bps"] = 20_000_000
    plan_preload(params[0], person_of_rows(user, np.zeros(1, IMPRESSION), pool, page, stored), videos)
    return int(user["preload"][0])


def person_of_rows(user, screen, pool, page, stored):
    mind, belief = np.zeros(1, MIND), np.zeros(1, BELIEF)
    rings = [np.zeros(2, dtype) for dtype in (PAST, BEHAVIOUR)]
    return Person(user[0], screen[0], pool, page, *rings, mind[0], belief[0], stored, np.zeros((2, 0), np.uint8))


def test_the_first_that_wants_bytes_comes_first():
    assert planned([0, 0, 0, 0]) == 0
    assert planned([0, 0, 0, 0], ranks=[3, 2, 0, 1]) == 2
    assert planned([0, 0, 0, 0], ranks=[DEAD, 2, DEAD, 1]) == 3
    assert planned([FULL, 0, 0, 0]) == 1
    assert planned([FULL, 1, 0, 0]) == 1  # begun: it goes on
    assert planned([FULL, FULL - 1, 0, 0]) == 1
    assert planned([0, 0, 1, 0]) == 0
    assert planned([FULL, FULL, FULL, FULL]) == NOBODY
    assert planned([FULL, FULL, 0, 0], bitrates=[0, 1, 0, 0]) == 1  # at 2 Mbit/s it is half
    assert planned([FULL, FULL_OF_FINE, 0, 0], bitrates=[0, 1, 0, 0]) == 2


def test_a_short_video_is_preloaded_to_its_end():
    assert planned([250_000, 0, 0, 0], at=2) == 1
    assert planned([249_999, 0, 0, 0], at=2) == 0


def test_so_many_videos_are_preloaded_and_no_more():
    assert planned([FULL, FULL, 0, 0]) == 2
    assert planned([FULL, FULL, FULL, 0]) == NOBODY
    assert planned([FULL, 1, FULL, 0], ranks=[0, 3, 1, 2]) == 3  # two before it, what is begun comes after
    assert planned([FULL, FULL, FULL, 0], preload_videos=4) == 3
    assert planned([1, 1, 1, 0], preload_videos=1) == 0
    assert planned([FULL, 0, 0, 0], preload_videos=1) == NOBODY
    assert planned([1, 1, 1, 0], preload_us=1) == NOBODY  # a microsecond is a byte, rounded up
    assert planned([0, 0, 0, 0], preload_videos=0) == planned([0, 0, 0, 0], preload_us=0) == NOBODY
    assert planned([0, 0, 0, 0], preload_us=1) == 0


@pytest.mark.parametrize("bitrate", [-1, 0, 1])
def test_the_waiting_page_comes_after_the_pool(bitrate):
    two = dict(ranks=[0, 1, DEAD, DEAD])
    page = [(10, 0, bitrate), (11, 0, bitrate)]
    assert planned([FULL, 0, 0, 0], page, **two) == 1
    assert planned([FULL, FULL, 0, 0], page, **two) == FROM_WAITING
    assert planned([FULL, FULL, 0, 0], page, **two, state=IDLE) == NOBODY
    assert planned([FULL, FULL, 0, 0], page, **two, preload_videos=2) == NOBODY


def test_a_waiting_video_counts_once_it_is_held_at_its_own_bitrate():
    """Not begun, it would come at 2 Mbit/s: the highest that a link of 20 Mbit/s bears."""
    two = dict(ranks=[0, 1, DEAD, DEAD])
    for first, bitrate, expected in ((FULL, 0, 1), (FULL - 1, 0, 0), (FULL, 1, 0), (FULL_OF_FINE, 1, 1), (FULL, -1, 0)):
        page = [(10, first, bitrate), (11, 0, -1)]
        assert planned([FULL, FULL, 0, 0], page, **two, preload_videos=4) == FROM_WAITING + expected
    assert planned([FULL, FULL, 0, 0], [(10, FULL, 0), (11, 0, -1)], **two) == NOBODY  # it was the third


def test_what_the_pool_holds_or_was_shown_meanwhile_is_passed_over():
    two = dict(ranks=[0, 1, DEAD, DEAD])
    page = [(1, 0, -1), (10, 0, -1), (11, 0, -1)]
    assert planned([FULL, FULL, 0, 0], page, **two) == FROM_WAITING + 1
    assert planned([FULL, FULL, 0, 0], page, **two, shown=[1]) == FROM_WAITING + 2
    assert planned([FULL, FULL, 0, 0], [(0, 0, -1), (10, 0, -1)], **two) == FROM_WAITING + 1


def test_the_bitrate_is_the_highest_within_a_safe_share_of_the_throughput():
    params, user = scenario().params(), np.zeros(1, USER)
    params["bitrates_bps"], params["rate_safety"] = [1_000_000, 2_000_000, 4_000_000], 0.5
    for rate_bps, index in ((0, 0), (2_000_000, 0), (3_999_998, 0), (4_000_000, 1), (7_999_998, 1), (8_000_000, 2)):
        user["rate_bps"] = rate_bps
        assert choose_bitrate(params[0], user[0]) == index


def test_the_video_on_screen_wants_bytes_until_its_goal_and_again_when_little_is_left():
    """At 1 Mbit/s a second is 125,000 bytes: of 20 s, 8 s are held; 3 s or less ahead, the goal is 10 s beyond."""
    params, user = scenario().params(), np.zeros(1, USER)
    screen, videos = np.zeros(1, IMPRESSION), np.zeros(1, VIDEO)
    params["refetch_us"], params["buffer_us"], videos["duration_us"] = 3_000_000, 10_000_000, 20_000_000
    screen["bitrate_bps"], screen["total_bytes"] = 1_000_000, 2_500_000
    for held, goal, play_us, wants, then in (
        (1_000_000, 1_000_001, 0, True, 1_000_001),
        (1_000_000, 1_000_000, 5_000_000, False, 1_000_000),
        (1_000_000, 1_000_000, 5_000_001, True, 1_875_001),  # 15.000001 s
        (2_000_000, 2_000_000, 14_000_000, True, 2_500_000),  # no more than there is
        (2_500_000, 2_500_000, 19_000_000, False, 2_500_000),
        (2_500_000, 2_600_000, 0, False, 2_600_000),
    ):
        screen["bytes"], user["goal"], screen["play_us"] = held, goal, play_us
        assert hungry(params[0], user[0], screen[0], videos) == wants
        assert user["goal"] == then


# -- whom the link works for -------------------------------------------------------------------------------------------

S = 1_000_000
KEY = np.array([7, 9], np.uint32)
STEADY = np.ones((2, 2, 3))  # every round trip is its level, 100,001 us
UNSTEADY = np.linspace(1.0, 3.0, 12).reshape(2, 2, 3)
TRIP_US, HALF_US = 100_001, 50_000


def filled(rows, fields):
    for name, value in fields.items():
        rows[name] = value
    return rows


KNOTS = filled(np.zeros(2, KNOT), {"t_us": [0, 10**9], "bytes": [0, 10**9]})  # a byte a microsecond
VIDEOS = filled(np.zeros(40, VIDEO), {"duration_us": 20 * S})


def settings(**fields):
    usual = {"preload_videos": 3, "preload_us": 5 * S, "bitrates_bps": [1 * S, 2 * S, 2 * S], "rate_safety": 0.5,
             "radio_wake_us": 0, "spell_share": 0.0, "rate_memory_bytes": 1 * S}  # fmt: skip
    return filled(scenario().params(), usual | fields)[0]


def watching(**fields):
    """Somebody five seconds into video 30, of which 1,000 of 2,500,000 bytes are held, with candidates 0 and 1 and a
    page of 10 and 11 that has not landed."""
    usual = {"now_us": 5 * S, "phase": PLAYING, "rtt_level_us": TRIP_US, "outage_start_us": NEVER_US, "last_knot": 1,
             "outage_end_us": NEVER_US, "scale": SCALE_ONE, "fetching": NOBODY, "preload": NOBODY, "goal": 2_000,
             "rate_bps": 4 * S, "waiting": 2, "session": 6}  # fmt: skip
    user, screen = filled(np.zeros(1, USER), usual | fields), np.zeros(1, IMPRESSION)
    filled(screen, {"video": 30, "bytes": 1_000, "total_bytes": 2_500_000, "bitrate_bps": 1 * S})
    pool, page = np.zeros(2, SLOT), np.zeros(2, WAITING_VIDEO)
    filled(pool, {"rank": [0, 1], "video": [0, 1], "bitrate": -1, "order": UNRANKED})
    filled(page, {"video": [10, 11], "bitrate": -1})
    return person_of_rows(user, screen, pool, page, np.zeros(4, STORED))


def works_for(person, p=None, rtt=STEADY, replan=True):
    """(for whom the link works now, whether preloads are still to be planned)."""
    again = choose_fetch(settings() if p is None else p, KEY, person, VIDEOS, KNOTS, rtt, replan)
    return int(person.user["fetching"]), bool(again)


def test_a_page_comes_first_then_the_screen_then_the_next_videos_then_the_model():
    for fields, wanted in (
        ({"request_state": ARRIVING}, PAYLOAD),
        ({"request_state": SENT}, SCREEN),
        ({"phase": STARTING}, SCREEN),
        ({"phase": DECODING}, SCREEN),
        ({"phase": STALLED}, SCREEN),
        ({"goal": 1_000, "model_left": 9}, 0),
        ({"phase": SWIPING, "model_left": 9}, 0),
        ({"phase": WAITING}, 0),
        ({"phase": BROWSING}, 0),
        ({"phase": AWAY, "model_left": 9}, NOBODY),
        ({"phase": CLOSED, "model_left": 9}, NOBODY),
        ({"phase": AWAY, "request_state": ARRIVING}, PAYLOAD),
    ):
        assert works_for(watching(**fields), settings(refetch_us=0))[0] == wanted, fields
    for left, wanted in ((1, MODEL), (0, NOBODY)):
        assert works_for(watching(phase=SWIPING, model_left=left), settings(preload_videos=0))[0] == wanted


@pytest.mark.parametrize("fields", [{"request_state": ARRIVING}, {}, {"phase": SWIPING, "model_left": 9}])
def test_without_network_the_link_works_for_nobody(fields):
    for start_us, end_us, works in ((4 * S, 6 * S, False), (5 * S, 6 * S, False), (4 * S, 5 * S, True)):
        person = watching(**fields, outage_start_us=start_us, outage_end_us=end_us)
        assert (works_for(person)[0] != NOBODY) == works


def test_preloads_are_planned_again_only_when_it_matters():
    """What was planned before, slot 1, stands if nothing has changed since; else slot 0 comes first."""
    assert works_for(watching(phase=SWIPING, preload=1), replan=False) == (1, False)
    assert works_for(watching(phase=SWIPING, preload=1), replan=True) == (0, False)
    for replan in (False, True):
        for fields in ({}, {"request_state": ARRIVING}, {"outage_start_us": 0}, {"phase": AWAY}, {"fetching": SCREEN}):
            assert works_for(watching(preload=1, **fields), replan=replan)[1] == replan


def test_a_transfer_that_goes_on_is_left_alone_and_any_other_is_measured_first():
    """A million bytes in the last second: half of the measured 4 Mbit/s gives way to 8."""
    for fields, fetched, rate_bps in (({"fetching": SCREEN}, 1 * S, 4 * S), ({"fetching": 1}, 0, 6 * S),
                                      ({"fetching": NOBODY, "phase": AWAY}, 0, 6 * S)):  # fmt: skip
        person = watching(fetched=1 * S, link_ready_us=4 * S, **fields)
        works_for(person)
        assert (person.user["fetched"], person.user["rate_bps"]) == (fetched, rate_bps)
        assert (person.user["link_ready_us"] == 4 * S) == (fields["fetching"] in (SCREEN, NOBODY))
    person = watching(fetching=SCREEN, phase=AWAY, link_ready_us=4 * S)  # nobody wants the link any more
    assert works_for(person)[0] == NOBODY
    assert person.user["link_ready_us"] == 4 * S and (person.pool["bitrate"] == -1).all()


def test_a_new_transfer_takes_a_round_trip_of_its_own_but_a_page_none():
    p = settings(preload_videos=0)
    for fields, what in (({}, 30), ({"phase": SWIPING, "model_left": 9}, THE_MODEL)):
        trip_us = rtt_us(p, KEY, watching().user, UNSTEADY, 5 * S, what, 6)
        for ready_us, then_us in ((0, 5 * S + trip_us), (9 * S, 9 * S)):  # what is broken off may still be coming
            person = watching(link_ready_us=ready_us, **fields)
            works_for(person, p, UNSTEADY)
            assert person.user["link_ready_us"] == then_us
    for ready_us, then_us in ((4 * S, 5 * S), (9 * S, 9 * S)):
        page = watching(link_ready_us=ready_us, request_state=ARRIVING)
        assert works_for(page)[0] == PAYLOAD and page.user["link_ready_us"] == then_us


def test_the_radio_wakes_up_before_a_new_transfer():
    p = settings(radio_wake_us=300_000, radio_idle_us=S)
    for used_us, wake_us in ((3 * S, 300_000), (4 * S, 0)):
        person = watching(link=CELLULAR, link_used_us=used_us)
        works_for(person, p)
        assert person.user["link_ready_us"] == 5 * S + TRIP_US + wake_us


def test_the_bitrate_of_a_preload_is_chosen_when_its_first_byte_is_asked_for():
    """At 4 Mbit/s the second of three is safe; what has a bitrate keeps it. Each has a round trip of its own."""
    p = settings()
    for slot, bitrate, then in ((0, -1, 2), (1, 0, 0), (FROM_WAITING, -1, 2), (FROM_WAITING + 1, 0, 0)):
        person = watching(phase=SWIPING, preload=slot)
        rows, k = (person.waiting, slot - FROM_WAITING) if slot >= FROM_WAITING else (person.pool, slot)
        rows["bitrate"][k] = bitrate
        assert works_for(person, p, UNSTEADY, replan=False)[0] == slot
        assert rows["bitrate"].tolist() == [then if j == k else -1 for j in range(2)]
        trip_us = rtt_us(p, KEY, person.user, UNSTEADY, 5 * S, int(rows["video"][k]), 6)
        assert person.user["link_ready_us"] == 5 * S + trip_us


def test_what_is_to_come_and_what_has_come_is_of_whoever_the_link_works_for():
    """Preloads are of 5 s: 625,000 bytes at the first bitrate, 1,250,000 at the second."""
    for fetching, left, pages, rest in (
        (PAYLOAD, 70, 10, {"payload_left": 60}),
        (MODEL, 80, 10, {"model_left": 70}),
        (SCREEN, 1_000, 0, {}),
        (0, 625_000 - 300, 0, {}),
        (1, 1_250_000 - 400, 0, {}),
        (FROM_WAITING, 625_000 - 500, 0, {}),
        (FROM_WAITING + 1, 1_250_000 - 600, 0, {}),
    ):
        person = watching(fetching=fetching, payload_left=70, model_left=80, delivered=5, fetched=3, data_bytes=4)
        user, pool, page = person.user, person.pool, person.waiting
        pool["bitrate"], pool["buffered"], page["bitrate"], page["buffered"] = [0, 1], [300, 400], [0, 1], [500, 600]
        assert still_to_fetch(settings(), person, VIDEOS) == left
        receive(person, 10)
        assert user["data_bytes"] == 4 + pages
        assert (user["delivered"], user["fetched"]) == ((5, 3) if pages else (15, 13))
        held = [int(person.screen["bytes"]), *pool["buffered"].tolist(), *page["buffered"].tolist()]
        got = [new - old for new, old in zip(held, (1_000, 300, 400, 500, 600), strict=True)]
        assert got == [10 * (fetching == who) for who in (SCREEN, 0, 1, FROM_WAITING, FROM_WAITING + 1)]
        for name, before in (("payload_left", 70), ("model_left", 80)):
            assert user[name] == rest.get(name, before)


def test_the_more_bytes_a_transfer_had_the_less_the_past_counts():
    """Memory: a million bytes. So many in so many microseconds turn 4 Mbit/s into so much."""
    for size, took_us, rate_bps in ((S, S, 6 * S), (2 * S, S, 13 * S), (S, 2 * S, 4 * S), (0, S, 4 * S), (S, 0, 4 * S),
                                    (S, -1, 4 * S), (S, 1, 4_000_002_000_000), (1, 1, 4_000_003)):  # fmt: skip
        user = filled(np.zeros(1, USER), {"rate_bps": 4 * S})
        learn_rate(settings(), user[0], size, took_us)
        assert user["rate_bps"] == rate_bps
    user = filled(np.zeros(1, USER), {"rate_bps": 4 * S, "fetched": S, "now_us": 9 * S, "link_ready_us": 8 * S})
    measure(settings(), user[0])
    assert user["rate_bps"] == 6 * S and user["fetched"] == 0


def test_what_half_a_round_trip_still_brings_of_a_broken_transfer_is_cancelled():
    """50,000 bytes at most; less if the first byte was still on its way, none without network or if none was owed."""
    for ready_us, owed, fields, cancelled in (
        (4 * S, 10**6, {}, HALF_US),
        (4 * S, 700, {}, 700),
        (4 * S, 0, {}, 0),
        (5 * S + HALF_US - 1, 10**6, {}, 1),
        (5 * S + HALF_US, 10**6, {}, 0),
        (9 * S, 10**6, {}, 0),
        (4 * S, 10**6, {"outage_start_us": 5 * S}, 0),
    ):
        person = watching(fetching=SCREEN, link_ready_us=ready_us, fetched=S, delivered=5, cancelled=6, **fields)
        user = person.user
        break_off(settings(), user, KNOTS, owed)
        assert (user["delivered"], user["cancelled"], user["fetching"]) == (5 + cancelled, 6 + cancelled, NOBODY)
        assert user["link_ready_us"] == 5 * S + (HALF_US if cancelled else 0)
        assert user["fetched"] == 0 and user["rate_bps"] == (6 * S if ready_us == 4 * S else 4 * S)


def test_what_is_held_is_the_content_of_its_bytes_and_all_of_it_at_its_end():
    """At 1 Mbit/s a byte is 8 us; sizes are rounded up, so that the last byte may stand for more than there is."""
    screen, video = np.zeros(1, IMPRESSION), filled(np.zeros(1, VIDEO), {"duration_us": 20 * S})
    for size, total, held in ((0, 2_500_000, 0), (1_000, 2_500_000, 8_000), (2_500_000, 2_500_000, 20 * S),
                              (900, 900, 20 * S), (2_600_000, 2_700_000, 20 * S)):  # fmt: skip
        filled(screen, {"bytes": size, "total_bytes": total, "bitrate_bps": 1 * S})
        assert held_us(screen[0], video[0]) == held


def test_the_first_measured_throughput_is_that_of_a_session_before():
    """Five videos, 4 s apart, 10 s of each, over a link of .1 and 2 bytes a microsecond in turn, 10 s each: written
    out in whole numbers, from wherever the trace began."""
    p, rates = settings(buffer_us=10 * S, recalled_videos=5, recalled_every_us=4 * S), [1 * S, 2 * S, 4 * S]
    p["bitrates_bps"] = rates
    knots = filled(np.zeros(3, KNOT), {"t_us": [0, 10 * S, 20 * S], "bytes": [0, 1 * S, 21 * S]})
    link = np.array([0, 3]), np.ones(1), np.tile([0, 1], (8, 1)), np.zeros((8, 3))
    starts = set()
    for who in range(12):
        user = filled(np.zeros(1, USER), {"user": who, "link_ready_us": 10**12, "rate_bps": 7})[0]
        recall_rate(p, KEY, user, knots, *link, 50 * S)
        loop_us, rate, start = int(user["loop_us"]), 8_400_000, 50 * S

        def carried(t, loop_us=loop_us):
            loops, t = divmod(t - loop_us, 20 * S)
            return 21 * S * loops + (t // 10 if t < 10 * S else S + 2 * (t - 10 * S))

        for _ in range(5):
            size = 10 * max([x for x in rates if x <= rate / 2], default=rates[0]) // 8
            done = bisect_left(range(start, start + 4 * S), size, key=lambda t: carried(t) - carried(start))
            took = min(done, 4 * S)
            got = min(size, carried(start + took) - carried(start))
            past = 2.0 ** (-got / S)
            rate, start = round(past * rate + (1 - past) * (got * 8 * S // took)), start + 4 * S
        assert abs(user["rate_bps"] - rate) <= 2
        starts.add(rate)
    assert len(starts) > 6
