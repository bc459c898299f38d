"""The candidate pool by hand: who comes next, what a page does to it, what expires; random orders against sorting."""

import numpy as np
import pytest
from worlds import scenario

from nextone.sim.config import NEVER_US
from nextone.sim.pool import (
    apply_ranking,
    empty_slot,
    empty_waiting,
    expire,
    forget_rankings,
    live_slots,
    may_rank,
    next_expiry,
    next_slots,
    past_ttl,
    rank_pool,
    rankable,
    take_over,
)
from nextone.sim.state import (
    BEHAVIOUR,
    BELIEF,
    CURRENT,
    DEAD,
    IMPRESSION,
    MIND,
    MISSING,
    PAST,
    PXTR,
    SHOWN,
    SLOT,
    STORED,
    UNRANKED,
    USER,
    WAITING_VIDEO,
    Person,
)

S = 1_000_000


@pytest.fixture
def user():
    row = np.zeros(1, USER)
    row["request"], row["impression"] = 5, 40
    return row


def pool_of(ranks, requests=5, **fields):
    pool = np.zeros(len(ranks), SLOT)
    pool["rank"], pool["request"], pool["order"], pool["next_order"] = ranks, requests, UNRANKED, UNRANKED
    pool["arrived_at"], pool["video"] = 40, np.arange(len(ranks))
    for name, values in fields.items():
        pool[name] = values
    return pool


def order_of(user, pool):
    """Slots in the order in which they would be shown."""
    slots, last = [], -1
    while True:
        slot, last = next_slots(user[0], pool, last)
        if slot < 0:
            return slots
        slots.append(int(slot))


def params(**fields):
    p = scenario().params()
    for name, value in fields.items():
        p[name] = value
    return p


def test_without_a_ranking_the_page_then_the_rank_decides(user):
    """Requests 4 and 5: the older page first; empty slots never."""
    pool = pool_of([2, 0, DEAD, 1, 0], requests=[4, 5, 4, 4, 4])
    assert order_of(user, pool) == [4, 3, 0, 1]
    assert live_slots(pool) == 4
    assert order_of(user, pool_of([DEAD, DEAD])) == []
    assert order_of(user, pool_of([0, 200], requests=[5, 4])) == [1, 0]  # however long the older page


def test_page_numbers_wrap_without_confusion(user):
    """Requests are kept modulo 65,536: 65,535 came before 65,536 (0) and 65,537 (1)."""
    user["request"] = 65_537
    pool = pool_of([0, 0, 0], requests=[1, 65_535, 0])
    assert order_of(user, pool) == [1, 2, 0]


def test_a_ranking_counts_once_it_is_finished(user):
    pool = pool_of([0, 1, 2, DEAD])
    rank_pool(user[0], pool, np.array([0.1, 0.9, 0.5, 7.0], np.float32))
    assert order_of(user, pool) == [0, 1, 2]
    apply_ranking(pool)
    assert order_of(user, pool) == [1, 2, 0]
    forget_rankings(pool)
    assert order_of(user, pool) == [0, 1, 2]


def test_ties_go_by_page_then_by_server_rank(user):
    pool = pool_of([1, 0, 0, 1], requests=[5, 5, 4, 4])
    rank_pool(user[0], pool, np.zeros(4, np.float32))
    apply_ranking(pool)
    assert order_of(user, pool) == [2, 3, 1, 0]


def test_slots_that_no_ranking_has_seen_come_last(user):
    pool = pool_of([0, 1, DEAD, DEAD])
    rank_pool(user[0], pool, np.array([1, 2, 0, 0], np.float32))
    pool["rank"][2:], pool["request"][2:] = [0, 1], 6  # joins while the decision is computed
    user["request"] = 6
    apply_ranking(pool)
    assert order_of(user, pool) == [1, 0, 2, 3]


def test_any_ranking_is_a_stable_sort(user):
    """Property: 500 random pools with ties, by score downwards, then page, then rank."""
    rng = np.random.default_rng(1)
    for _ in range(500):
        n = int(rng.integers(1, 30))
        live = rng.random(n) < 0.7
        pages = rng.integers(3, 6, n)
        ranks = np.array([np.sum(pages[:k] == pages[k]) for k in range(n)])
        pool = pool_of(np.where(live, ranks, DEAD), requests=pages)
        scores = rng.integers(0, 4, n + 1).astype(np.float32)  # the extra column must not matter
        rank_pool(user[0], pool, scores)
        apply_ranking(pool)
        expected = sorted(np.flatnonzero(live), key=lambda k: (-scores[k], pages[k], ranks[k]))
        assert order_of(user, pool) == expected


def test_a_phone_ranks_with_a_model_what_came_since_it_has_it(user):
    """The version that ranks is that of request 65,530; page numbers are kept modulo 65,536."""
    user["request"], user["model_since"] = 65_540, 65_530
    pool = pool_of([0, 0, 0, 0, DEAD], requests=[4, 65_535, 65_530, 65_529, 4])
    assert [bool(rankable(user[0], slot)) for slot in pool] == [True, True, True, False, False]
    old = pool_of([0, DEAD, 0], requests=[65_529, 4, 65_528])
    for edge, model, some, may in ((1, CURRENT, pool, True), (1, CURRENT, pool[2:], True), (1, CURRENT, old, False),
                                   (0, CURRENT, pool, False), (1, MISSING, pool, False)):  # fmt: skip
        user["model"] = model
        assert may_rank(params(edge=edge)[0], user[0], some) == may


def test_what_leaves_unshown_is_wasted(user):
    pool, waiting = pool_of([0, 1], buffered=[300, 50]), np.zeros(4, WAITING_VIDEO)
    empty_slot(user[0], pool[0])
    assert user["wasted"] == 300 and pool["buffered"][0] == 0 and pool["rank"][0] == DEAD
    waiting["buffered"], user["waiting"] = [10, 20, 0, 999], 3  # the fourth is not in use
    assert empty_waiting(user[0], waiting) == 3 and waiting["buffered"].tolist() == [0, 0, 0, 999]
    assert user["wasted"] == 330 and user["waiting"] == 0


# -- a page takes over -------------------------------------------------------------------------------------------------

RATES = np.arange(3 * len(PXTR), dtype=np.int16).reshape(3, len(PXTR)) - 10


def page_of(n, **fields):
    waiting = np.zeros(n, WAITING_VIDEO)
    waiting["video"], waiting["bitrate"] = 100 + np.arange(n), -1
    for name, values in fields.items():
        waiting[name] = values
    return waiting


def land(user, pool, waiting, shown=(), **settings):
    """A page takes over on a phone that ranks. shown: places in the cloud's set, 100, 101, ..., of what was shown."""
    stored = np.zeros(4, STORED)
    stored["video"], user["stored"] = 100 + np.arange(4), 4
    stored["video"][list(shown)] |= SHOWN
    waiting["place"], user["waiting"] = waiting["video"] - 100, len(waiting)
    rows = [np.zeros(1, dtype)[0] for dtype in (IMPRESSION, MIND, BELIEF)]
    rings = [np.zeros(2, dtype) for dtype in (PAST, BEHAVIOUR)]
    person = Person(user[0], rows[0], pool, waiting, *rings, *rows[1:], stored, np.zeros((2, 0), np.uint8))
    take_over(params(**{"edge": 1} | settings)[0], person)


def test_replace_drops_what_was_unseen_and_takes_the_bytes_along(user):
    pool = pool_of([0, 1, DEAD, 3], buffered=[10, 20, 0, 30])
    waiting = page_of(3, buffered=[7, 0, 0], pxtr=RATES, bitrate=[2, -1, -1])
    user["left"], user["response_us"], user["request"] = 1, 9 * S, 6
    land(user, pool, waiting, page_size=2)
    assert (user["dropped"][0], user["wasted"][0], user["left"][0], user["waiting"][0]) == (3, 60, 2, 0)
    assert live_slots(pool) == 3 and order_of(user, pool) == [0, 1, 2]
    assert pool["video"][:3].tolist() == [100, 101, 102] and pool["buffered"][:3].tolist() == [7, 0, 0]
    assert (pool["arrived_us"][:3] == 9 * S).all() and (pool["request"][:3] == 6).all()
    assert pool["bitrate"][:3].tolist() == [2, -1, -1] and not waiting["buffered"].any()
    assert user["ttl_at_us"] == 9 * S + 600 * S
    assert (pool["pxtr"][:3] == RATES).all()  # as they were shipped


def test_merge_joins_and_each_slot_keeps_its_age(user):
    pool = pool_of([0, 1, DEAD, DEAD, DEAD], arrived_us=3 * S)
    user["left"], user["response_us"], user["request"] = 1, 9 * S, 6
    land(user, pool, page_of(2), page_size=2, merge=1)
    assert user["left"] == 3 and user["dropped"] == 0
    assert order_of(user, pool) == [0, 1, 2, 3]
    assert user["ttl_at_us"] == 603 * S


def test_merge_without_room_drops_the_lowest_server_score(user):
    pool = pool_of([0, 1, 2], buffered=[1, 2, 4], score=[0.3, -0.9, 0.02])
    user["request"] = 6
    land(user, pool, page_of(1), merge=1)
    assert user["dropped"] == 1 and user["wasted"] == 2
    assert pool["video"].tolist() == [0, 100, 2]


def test_of_equal_server_scores_the_first_slot_makes_way(user):
    """Scores .3, -.9, -.9 and two that join with -.9: slot 1 goes first, then slot 1 again, its new video the first
    of three equals; slot 2 stays. A pool full of the highest score there is still gives way, at slot 0."""
    pool = pool_of([0, 1, 2], score=[0.3, -0.9, -0.9])
    user["request"] = 6
    land(user, pool, page_of(2, score=-0.9), merge=1)
    assert pool["video"].tolist() == [0, 101, 2] and user["dropped"] == 2
    pool["score"], user["request"] = 1.0, 7
    land(user, pool, page_of(1), merge=1)
    assert pool["video"].tolist() == [100, 101, 2]


def test_a_page_the_policy_asked_for_replaces_even_when_merging(user):
    pool = pool_of([0, 1, DEAD])
    user["refresh"], user["left"] = 1, 5
    land(user, pool, page_of(2), merge=1, page_size=2)
    assert user["dropped"] == 2 and live_slots(pool) == 2 and user["left"] == 2 and user["refresh"] == 0


def test_what_was_shown_while_the_page_was_on_its_way_is_dropped(user):
    """The second of three was shown; the third takes its place. Without that, there is no room for the third."""
    for shown, kept in (((1,), [100, 102]), ((), [100, 101])):
        pool, waiting = pool_of([DEAD] * 3), page_of(3, buffered=[1, 2, 4])
        before = int(user["wasted"][0])
        land(user, pool, waiting, shown, edge=0, page_size=2)
        assert pool["video"][pool["rank"] != DEAD].tolist() == kept
        assert user["wasted"][0] - before == (2 if shown else 4) and not waiting["buffered"].any()
    assert user["dropped"] == 2


@pytest.mark.parametrize("merge", [0, 1])
def test_a_video_that_is_there_already_keeps_what_is_fetched_of_it(user, merge):
    pool = pool_of([0, 1, DEAD, DEAD], video=[7, 101, 0, 0], buffered=[5, 30, 0, 0], bitrate=[0, 2, 0, 0])
    user["request"] = 6
    land(user, pool, page_of(2), page_size=2, merge=merge)
    again = pool[(pool["video"] == 101) & (pool["rank"] != DEAD)]
    assert len(again) == 1 and again["request"] == 6 and again["buffered"] == 30 and again["bitrate"] == 2
    assert user["wasted"] == (0 if merge else 5) and user["dropped"] == (1 if merge else 2)


def test_what_joins_is_what_was_shipped_and_not_ranked_yet(user):
    """Numbers are kept modulo 65,536; slots were ranked before."""
    user["impression"], user["request"] = 2 * 65_536 + 43, 65_543
    pool = pool_of([DEAD, DEAD], order=1, next_order=0)
    land(user, pool, page_of(2, meeting=[5, 6], score=[0.5, 0.25]))
    assert pool["meeting"].tolist() == [5, 6] and pool["place"].tolist() == [0, 1]
    assert pool["score"].tolist() == [0.5, 0.25] and pool["rank"].tolist() == [0, 1]
    assert (pool["arrived_at"] == 43).all() and (pool["request"] == 7).all()
    assert (pool["order"] == UNRANKED).all() and (pool["next_order"] == UNRANKED).all()


def test_a_new_version_ranks_from_the_first_page_with_embeddings_for_it(user):
    for model, since in ((MISSING, 6), (CURRENT, 2)):
        user["model"], user["model_since"], user["model_sent"], user["request"] = model, 2, CURRENT, 6
        land(user, pool_of([DEAD, DEAD]), page_of(2))
        assert (user["model"][0], user["model_since"][0]) == (CURRENT, since)


def test_only_what_there_is_room_for_leaves_its_place_for_the_page(user):
    """Room for two: of four, the first was shown; the next two join, the third with what was fetched of it; the last is
    dropped, and stays where it was. Slot 2 held the second once."""
    pool = pool_of([0, 1, DEAD, DEAD, DEAD], video=[101, 103, 102, 0, 0], buffered=[30, 50, 0, 0, 0])
    pool["bitrate"][0] = 2
    user["request"], user["dropped"] = 6, 4
    land(user, pool, page_of(4, video=[100, 102, 101, 103]), shown=[0], edge=0, page_size=2, merge=1)
    live = pool["rank"] != DEAD
    held = sorted(zip(pool["video"][live].tolist(), pool["buffered"][live].tolist(), strict=True))
    assert held == [(101, 30), (102, 0), (103, 50)] and user["wasted"] == 0 and user["dropped"] == 4 + 3
    assert pool["bitrate"][pool["video"] == 101].tolist() == [2]


# -- expiry ------------------------------------------------------------------------------------------------------------


def test_a_candidate_leaves_at_its_ttl_not_a_microsecond_before(user):
    p = params(ttl_us=5 * S)
    pool = pool_of([0, 1], arrived_us=[10 * S, 12 * S], buffered=[100, 200])
    next_expiry(p[0], user[0], pool)
    assert user["ttl_at_us"] == 15 * S
    user["now_us"] = 15 * S - 1
    assert not past_ttl(p[0], user[0], pool[0]) and not expire(p[0], user[0], pool)
    user["now_us"] = 15 * S
    assert expire(p[0], user[0], pool)
    assert user["expired"] == 1 and user["wasted"] == 100 and live_slots(pool) == 1 and user["ttl_at_us"] == 17 * S
    user["now_us"] = 17 * S
    assert expire(p[0], user[0], pool) and live_slots(pool) == 0 and user["ttl_at_us"] == NEVER_US


def test_a_ttl_in_impressions_counts_from_arrival(user):
    """Arrived at impression 40: with a TTL of 3 it is good for 41 and 42."""
    p, pool = params(ttl_impressions=3), pool_of([0])
    for impression, gone in ((40, False), (42, False), (43, True)):
        user["impression"] = impression
        assert past_ttl(p[0], user[0], pool[0]) == gone
    user["impression"], pool["arrived_at"] = 65_538, 65_535  # kept modulo 65,536
    assert past_ttl(p[0], user[0], pool[0])
    user["impression"], pool["arrived_at"] = 1, 65_535  # the first page came at impression -1
    assert not past_ttl(p[0], user[0], pool[0])


def test_never_is_never(user):
    p, pool = params(ttl_us=NEVER_US), pool_of([0], arrived_us=10**15)
    user["now_us"] = 2 * 10**15
    next_expiry(p[0], user[0], pool)
    assert user["ttl_at_us"] == NEVER_US and not expire(p[0], user[0], pool)
