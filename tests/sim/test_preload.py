"""Which of the next videos the link preloads, by hand: 5 s of each, at 1 or 2 Mbit/s (625,000 or 1,250,000 bytes)."""

import numpy as np
import pytest
from worlds import scenario

from nextone.sim.player import choose_bitrate, hungry, plan_preload
from nextone.sim.state import (
    BEHAVIOUR,
    BELIEF,
    DEAD,
    FROM_WAITING,
    IDLE,
    IMPRESSION,
    MIND,
    NOBODY,
    PAST,
    READY,
    SHOWN,
    SLOT,
    STORED,
    UNRANKED,
    USER,
    VIDEO,
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
    rows = [np.zeros(1, dtype)[0] for dtype in (IMPRESSION, MIND, BELIEF)]
    rings = [np.zeros(2, dtype) for dtype in (PAST, BEHAVIOUR)]
    person = Person(user[0], rows[0], pool, page, *rings, *rows[1:], stored, np.zeros((2, 0), np.uint8))
    plan_preload(params[0], person, videos)
    return int(user["preload"][0])


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
