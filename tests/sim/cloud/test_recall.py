"""Retrieval: what is stored for a session, in which order it is served, and what comes back when."""

import numpy as np
import pytest
from cloud_by_hand import MINUTE_US, page_of, show, tell, world_of

from nextone.sim.state import ID, SHOWN, TOLD


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
