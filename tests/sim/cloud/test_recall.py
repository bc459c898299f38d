"""Retrieval: what is stored for a session, in which order it is served, and what comes back when."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from cloud_by_hand import MINUTE_US, page_of, show, tell, world_of
from numba import njit
from worlds import scenario

from nextone.sim.cloud.recall import STRIDES, mark_shown, note_seen, shown_meanwhile, was_seen
from nextone.sim.state import ID, SHOWN, STORED, TOLD, USER, WAITING_VIDEO

DAY_US = 86_400_000_000


def sets_of(world, who, count):
    """The videos of a person's next sets."""
    found = []
    for _ in range(count):
        world.users["stored"][who] = 0
        page_of(world, who, 1)
        found.append(world.stored[who]["video"][: world.users["stored"][who]] & ID)
    return found


@pytest.mark.parametrize("videos", [3000, 2998])
def test_nobody_is_brought_a_video_again_before_the_catalogue_is_used_up(videos):
    """A walk of the person's own meets every video once before any comes twice; people walk differently."""
    world = world_of(catalogue__videos=videos, server__recall=100, server__kept=100)
    for who in range(3):
        met = np.concatenate(sets_of(world, who, videos // 100))
        assert len(np.unique(met)) == len(met)
    assert not np.array_equal(sets_of(world, 0, 1)[0], sets_of(world, 1, 1)[0])


def test_what_is_stored_is_the_best_of_what_was_looked_at():
    """The same walk, all of it stored by one world and the best 50 by the other."""
    settings = {"catalogue__videos": 3000, "server__recall": 400}
    every, best = world_of(**settings, server__kept=400), world_of(**settings, server__kept=50)
    for who in range(4):
        page_of(every, who, 1)
        page_of(best, who, 1)
        base = every.stored[who]["lasting"].astype(int)
        top = every.stored[who]["video"][np.argsort(-base, kind="stable")]
        assert len(set(top[:50]) & set(best.stored[who]["video"])) >= 49  # two may share a thousandth of a logit


@pytest.mark.parametrize("page", [1, 6, 20])
def test_pages_of_any_size_serve_the_same_videos_in_the_same_order(page):
    world = world_of(catalogue__videos=3000)
    served = []
    while len(served) < 60:
        for early in page_of(world, 0, page):
            show(world, 0, early["video"], early["place"])
            served.append(int(early["video"]))
        tell(world, 0)
    alone = page_of(world_of(catalogue__videos=3000), 0, 21)["video"].tolist()
    assert served[:21] == alone and len(set(served)) == len(served)


def test_what_was_shown_is_served_until_the_cloud_is_told():
    world = world_of(catalogue__videos=3000)
    first = page_of(world, 0, 5)
    show(world, 0, first["video"][0], first["place"][0])
    assert page_of(world, 0, 5)["video"].tolist() == first["video"].tolist()  # on its way, and the phone drops it
    tell(world, 0)
    again = page_of(world, 0, 5)["video"].tolist()
    assert again[:4] == first["video"][1:].tolist() and again[4] not in first["video"]
    marked = world.stored[0]["video"]
    assert np.count_nonzero(marked & SHOWN) == np.count_nonzero(marked & TOLD) == 1


def test_what_was_shown_does_not_come_back_in_time_and_then_it_does():
    """A catalogue of 300, looked at as a whole each session: 20 shown a day come back after the stated days."""
    world = world_of(days=True, server__repeat_after_days=3.0, server__recall=300)
    shown_on = {}
    for day in range(30):
        world.users["stored"][0] = 0
        world.users["now_us"][0] = day * 86_400_000_000
        for early in page_of(world, 0, 20):
            video = int(early["video"])
            assert day - shown_on.get(video, -99) >= 3, (day, video)
            shown_on[video] = day
            show(world, 0, video, early["place"])
    assert len(shown_on) < 30 * 20  # some did come back


def test_who_has_seen_all_there_is_sees_it_again():
    world = world_of(days=True, catalogue__videos=40, server__recall=40, server__repeat_after_days=1000.0)
    for _ in range(4):
        world.users["stored"][0] = 0
        page = page_of(world, 0, 20)
        assert len(page) == 20
        for early in page:
            show(world, 0, early["video"], early["place"])


def test_arrivals_take_the_place_of_the_worst_and_of_what_was_shown():
    world = world_of(catalogue__videos=5000, server__recall=100, server__kept=60, server__arrivals_per_min=100.0)
    first = page_of(world, 0, 10)
    before = world.stored[0].copy()
    show(world, 0, first["video"][0], first["place"][0])
    tell(world, 0)
    page_of(world, 0, 10, turn_us=3 * MINUTE_US)
    assert world.users["arrived"][0] == 0  # nothing was shown since it last looked
    world.users["impression"][0] += 1
    page_of(world, 0, 10, turn_us=3 * MINUTE_US)
    after = world.stored[0]
    assert world.users["arrived"][0] == 300 and world.users["stream"][0] == 400
    assert not (after["video"] & TOLD).any() and after["lasting"].min() > before["lasting"].min()
    assert np.sort(after["lasting"])[0] >= np.sort(before["lasting"])[0]


def test_arrivals_leave_the_best_of_what_is_there_and_what_comes():
    """Brute force: 100 looked at, the best 60 stored, one of them shown, 300 arrive. A world that stores all 400 of the
    same walk says how good each is."""
    settings = {"catalogue__videos": 5000, "server__arrivals_per_min": 100.0}
    every = world_of(**settings, server__recall=400, server__kept=400)
    few = world_of(**settings, server__recall=100, server__kept=60)
    for who in range(3):
        page_of(every, who, 1)
        worth = dict(zip(every.stored[who]["video"].tolist(), every.stored[who]["lasting"].tolist(), strict=True))
        first = page_of(few, who, 1)[0]
        before = set(few.stored[who]["video"].tolist())
        show(few, who, first["video"], first["place"])
        tell(few, who)
        few.users["impression"][who] += 1
        page_of(few, who, 1, turn_us=3 * MINUTE_US)
        arrived = list(worth)[100:]  # stored in the walk's order
        there = [*(before - {int(first["video"])}), *arrived]
        best = sorted(there, key=lambda video: -worth[video])[:60]
        assert few.users["stored"][who] == 60 and few.users["arrived"][who] == 300
        assert len(set(best) & set(few.stored[who]["video"].tolist())) >= 59  # two may share a thousandth of a logit


def test_arrivals_fill_a_set_that_has_room_and_none_is_stored_twice():
    """A catalogue of 40, of which 25 are looked at and 60 could be stored: the walk comes round."""
    world = world_of(catalogue__videos=40, server__recall=25, server__kept=60, server__arrivals_per_min=100.0)
    page_of(world, 0, 10)
    assert world.users["stored"][0] == 25
    world.users["impression"][0] += 1
    page_of(world, 0, 10, turn_us=MINUTE_US)
    assert sorted(world.stored[0]["video"][: world.users["stored"][0]]) == list(range(40))
    assert world.users["stream"][0] == 25 + 40  # no more than all there are


# -- what was shown, by hand -------------------------------------------------------------------------------------------


def test_every_stride_is_a_prime_above_any_catalogue():
    divisors = np.arange(2, 46_341)  # up to the root of 2**31
    for stride in STRIDES.tolist():
        assert ID < stride < 2**31 and (stride % divisors).all()
    assert len(set(STRIDES.tolist())) == 16


def seen_at(p, user, seen, now_us, video):
    """A video is shown; all of 24 that are then remembered."""
    user["now_us"] = now_us
    note_seen(p, user[0], seen, video)
    return [video for video in range(24) if was_seen(seen, video)]


def test_what_was_shown_is_remembered_as_long_as_stated_and_never_twice_as_long():
    """One day. At its end the newer memory becomes the older one; after two days without anything, nothing is left."""
    p = scenario(server__repeat_after_days=1.0).params()[0]
    user, seen = np.zeros(1, USER), np.zeros((2, 3), np.uint8)
    assert seen_at(p, user, seen, 0, 9) == [9]
    assert seen_at(p, user, seen, DAY_US - 1, 2) == [2, 9]
    assert seen_at(p, user, seen, DAY_US, 17) == [2, 9, 17] and user["generation_us"] == DAY_US
    assert seen_at(p, user, seen, DAY_US + 1, 23) == [2, 9, 17, 23]
    assert seen_at(p, user, seen, 2 * DAY_US + 5, 8) == [8, 17, 23] and user["generation_us"] == 2 * DAY_US + 5
    assert seen_at(p, user, seen, 4 * DAY_US + 4, 0) == [0, 8]  # a microsecond less than two days: kept as the older
    assert seen_at(p, user, seen, 6 * DAY_US + 4, 1) == [1]  # exactly two days: gone


def test_nothing_is_remembered_where_nothing_has_to_be():
    p = scenario(server__repeat_after_days=0.0).params()[0]
    user, seen = np.zeros(1, USER), np.zeros((2, 3), np.uint8)
    assert seen_at(p, user, seen, 5, 9) == [] and not seen.any()
    assert seen_at(p, user, np.zeros((2, 0), np.uint8), 9, 9) == []
    assert user["generation_us"] == 5  # without room for it, no memory changes


class Served(NamedTuple):
    """What of a person says what was shown."""

    user: Any
    seen: Any
    stored: Any


def set_of(videos, count):
    """A person with a set, of whose rows `count` are in use."""
    user, stored = np.zeros(1, USER), np.zeros(len(videos), STORED)
    user["stored"], stored["video"] = count, videos
    return user, stored


@pytest.mark.parametrize(
    ("video", "place", "marked"),
    [(7, 1, [1]), (9, 1, [2]), (5, 3, [0]), (5, 9, [0]), (6, 1, []), (6, 3, []), (4, 1, [])],
)
def test_what_is_shown_is_marked_where_it_stands(video, place, marked):
    """Three of a set, 5, 7, 9; a fourth row, 6, is of a set before. A video may come from another place or set."""
    user, stored = set_of([5, 7, 9, 6], 3)
    mark_shown(scenario().params()[0], Served(user[0], np.zeros((2, 0), np.uint8), stored), video, place)
    assert np.flatnonzero(stored["video"] & SHOWN).tolist() == marked
    assert (stored["video"] & ID).tolist() == [5, 7, 9, 6]


@njit
def shown_on_the_way(served, early):
    return shown_meanwhile(served, early)


def test_a_video_of_a_page_was_shown_meanwhile_if_its_place_says_so():
    user, stored = set_of([5, 7 | SHOWN, 9 | SHOWN, 6 | SHOWN], 3)
    served, early = Served(user[0], np.zeros((2, 0), np.uint8), stored), np.zeros(1, WAITING_VIDEO)
    for video, place, shown in ((5, 0, False), (7, 1, True), (8, 1, False), (9, 2, True), (6, 3, False)):
        early["video"], early["place"] = video, place
        assert shown_on_the_way(served, early[0]) == shown


def test_who_has_too_few_left_for_a_page_is_brought_everything_again():
    """40 videos; a page of 20 and 3 to spare: with 23 unseen the set is of those, with 22 of all."""
    for shown, stored in ((17, 23), (18, 40)):
        world = world_of(days=True, catalogue__videos=40, server__recall=40, server__candidates=20, client__refill_at=3,
                         server__repeat_after_days=1000.0)  # fmt: skip
        for video in range(shown):
            show(world, 0, video, 0)
        page_of(world, 0, 20)
        assert world.users["stored"][0] == stored
        assert world.seen[0].any() == (stored == 23)
