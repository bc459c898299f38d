"""Retrieval: what is stored for a session, in which order it is served, and what comes back when."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from cloud_by_hand import MINUTE_US, page_of, show, tell, world_of
from numba import njit
from worlds import scenario

from nextone.sim.cloud.recall import STRIDES, mark_shown, next_videos, note_seen, shown_meanwhile, take_in, was_seen
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


def test_a_catalogue_smaller_than_a_page_is_looked_at_once():
    world = world_of(catalogue__videos=15, server__recall=40)
    assert len(page_of(world, 0, 20)) == 15
    assert world.users["stored"][0] == world.users["stream"][0] == 15


# -- the walk and what it brings, by hand ------------------------------------------------------------------------------


@njit
def walk(user, videos, ids):
    next_videos(np.array([7, 9], np.uint32), user, videos, ids)


@pytest.mark.parametrize("videos", [1, 2, 7, 64, 301])
def test_a_walk_in_pieces_is_the_same_walk_and_each_pass_meets_everything(videos):
    for who in range(5):
        whole, pieces = np.zeros(3 * videos, np.int64), []
        user, other = (np.zeros(1, USER) for _ in range(2))
        user["user"] = other["user"] = who
        walk(user[0], videos, whole)
        for size in (0, 1, 5, 2, 11, 3 * videos):
            piece = np.zeros(min(size, 3 * videos - len(pieces)), np.int64)
            walk(other[0], videos, piece)
            pieces += piece.tolist()
        assert pieces == whole.tolist() and user["stream"] == other["stream"] == 3 * videos
        for k in range(3):
            assert sorted(pieces[k * videos : (k + 1) * videos]) == list(range(videos))


def taken_in(rows, count, comers, seen_before, comes_round):
    """By hand: rows (video, lasting, told) of which `count` are in use; comers (video, estimate). The first free place,
    else the first of those that were told, else the first of the worst; who comes must be better than what is there.
    Returns (rows in use, whether any came in)."""
    rows, taken = list(rows), False
    for video, estimate in comers:
        standing = [(0, 0) if k >= count else (1, 0) if told else (2, lasting)
                    for k, (_, lasting, told) in enumerate(rows)]  # fmt: skip
        place = standing.index(min(standing))
        stored = video in [row[0] for row in rows[:count]]
        if video in seen_before or (comes_round and stored) or (2, 1000 * estimate) <= standing[place]:
            continue
        rows[place], count = (video, int(np.rint(1000 * np.clip(estimate, -32, 32))), False), max(count, place + 1)
        taken = True
    return rows[:count], taken


def test_what_comes_takes_the_place_of_the_least():
    """400 random sets of up to six with few different estimates, so that equals are frequent; also beyond what can be
    stored. A walk that has come round may bring what is there already, which is not stored twice."""
    rng, levels, outcomes = np.random.default_rng(6), np.array([-33.0, -1.5, -0.25, 0.0, 0.25, 1.5, 33.0]), set()
    for _ in range(400):
        size = int(rng.integers(1, 7))
        count, videos = int(rng.integers(0, size + 1)), rng.permutation(16)[:size]
        user, stored = set_of(videos, count)
        told = rng.random(size) < 0.3
        stored["lasting"] = np.rint(1000 * np.clip(levels[rng.integers(0, 7, size)], -32, 32))
        stored["video"] |= np.where(told, SHOWN | TOLD, SHOWN)
        comers = [(int(v), float(x)) for v, x in zip(rng.permutation(16)[:5], rng.choice(levels, 5), strict=True)]
        seen, comes_round = np.zeros((2, 2), np.uint8), bool(rng.random() < 0.5)
        seen[0, 0], seen[1, 1] = 1 << 3, 1 << 2  # videos 3 and 10
        user["stream"] = 17 if comes_round else 16
        rows = list(zip(videos.tolist(), stored["lasting"].tolist(), told.tolist(), strict=True))
        expected, any_taken = taken_in(rows, count, comers, (3, 10), comes_round)
        ids, estimate = np.array([v for v, _ in comers]), np.array([x for _, x in comers], np.float32)
        took = take_in(Served(user[0], seen, stored), 16, ids, estimate, np.zeros(size, np.int64))
        found = zip((stored["video"] & ID).tolist(), stored["lasting"].tolist(), (stored["video"] & TOLD != 0).tolist(),
                    strict=True)  # fmt: skip
        assert list(found)[: len(expected)] == expected and user["stored"] == len(expected)
        assert took == any_taken
        outcomes.add(any_taken)
    assert outcomes == {False, True}


def test_the_least_of_a_large_set_is_found_where_it_stands():
    user, stored = set_of(np.arange(40_001), 40_001)
    stored["lasting"], stored["lasting"][40_000] = 5, 4
    person = Served(user[0], np.zeros((2, 0), np.uint8), stored)
    standing, estimate = np.zeros(40_001, np.int64), np.array([0.0004, 0.0044, 0.0056, 0.0056], np.float32)
    assert take_in(person, 10**6, np.array([50_000, 50_001, 50_002, 50_003]), estimate, standing)
    changed = np.flatnonzero(stored["video"] != np.arange(40_001))
    assert changed.tolist() == [0, 40_000] and stored["video"][changed].tolist() == [50_003, 50_002]
    assert stored["lasting"][changed].tolist() == [6, 6] and (stored["rest"][changed] == -32768).all()


def test_arrivals_are_looked_for_every_so_many_impressions():
    """One a second, looked for at every third impression after a set was stored; no more than there are videos."""
    world = world_of(catalogue__videos=60, server__recall=30, server__kept=25, server__arrivals_per_min=60.0,
                     server__arrivals_every=3)  # fmt: skip
    user = world.users[0]
    user["impression"], user["opened_us"] = 7, 1_000_000
    page_of(world, 0, 5, turn_us=1_000_000)
    assert (user["recalls"], user["joined"], user["stream"], user["stored"]) == (1, 7, 30, 25)
    for impression, turn_s, arrived, joined, stream in (
        (9, 5, 0, 7, 30),
        (10, 5, 4, 10, 34),
        (12, 9, 4, 10, 34),
        (13, 5, 4, 13, 34),  # nothing has come up since
        (20, 6, 5, 20, 35),
        (30, 1000, 999, 30, 95),
    ):
        user["impression"] = impression
        page_of(world, 0, 5, turn_us=turn_s * 1_000_000)
        assert (user["arrived"], user["joined"], user["stream"]) == (arrived, joined, stream), impression
        assert (world.stored[0]["rest"][: user["stored"]] != -32768).all()  # what came has its price
