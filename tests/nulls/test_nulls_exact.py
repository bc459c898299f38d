"""Null worlds that hold exactly: the same bits of what people lived, on both drivers.

That pages of other bytes change no bit of the link estimate, and that they never make people watch more, is shown in
`tests/sim/test_network.py` (`test_pages_change_no_bit_of_the_estimate`) and `tests/sim/test_monotone.py`
(`test_larger_pages_never_make_people_watch_more_or_better`).
"""

import math
from itertools import product

import numpy as np
import pytest
from free_transport import EVERYTHING_KNOWN, FREE, NOTHING, lived, same_lives, small, within_session
from worlds import AMPLE, replace, same_run

from nextone.experiments.runs.metrics import Run
from nextone.policies.rules import server_score
from nextone.sim.state import ASKED

ENGINES = ("batch", "event")
SEEDS = (1, 2)


def one_set_each(run: Run) -> bool:
    """Whether every session was served from one set, and nobody waited for a page."""
    return run.world.users["recalls"].max() == 1 and run.records.impressions["wait_us"].sum() == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_to_perceive_and_free_transport(seed, engine):
    """The cloud's score on the phone is the cloud. Nothing is shown from a surplus, since nobody ever waits."""
    world_of = small(FREE, NOTHING)
    cloud, phone = (lived(world_of, policy, engine, seed=seed) for policy in ("cloud_only", "server_score"))
    assert same_lives(cloud, phone) == ""
    assert one_set_each(cloud) and one_set_each(phone)
    assert len(cloud.records.impressions) > 1_000
    assert ((phone.records.impressions["outcome"] & ASKED) != 0).mean() > 0.9  # the phone did rank


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_to_perceive_while_videos_arrive(engine):
    """The same where videos come up all the time, far more than are shown: both ask for a page at the same moment."""
    world_of = small(FREE, NOTHING, {"server__recall": 400, "server__kept": 160, "server__arrivals_per_min": 40.0})
    cloud, phone = (lived(world_of, policy, engine) for policy in ("cloud_only", "server_score"))
    assert same_lives(cloud, phone) == ""
    assert one_set_each(cloud) and np.median(cloud.world.users["arrived"]) > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_when_a_session_uses_up_several_sets(engine):
    """A new set is looked for at the same impression, though the phone is shipped three times as many."""
    world_of = small(FREE, NOTHING, {"server__kept": 40, "server__recall": 200})
    cloud, phone = (lived(world_of, policy, engine) for policy in ("cloud_only", "server_score"))
    assert same_lives(cloud, phone) == ""
    assert cloud.world.users["recalls"].max() >= 3


def test_page_sizes_that_divide_the_set_use_it_up_alike():
    """All is known at once: pages of 1, 6, 20 and 30 show every video of a set of 60 before another is looked for. Of a
    set that they do not divide, larger pages leave more unshown."""
    for kept, alike in ((60, True), (62, False)):
        world_of = small(
            FREE, EVERYTHING_KNOWN, {"server__kept": kept, "server__recall": 300, "client__ttl_s": math.inf}
        )
        worlds = [replace(world_of, server__page_size=page, server__candidates=page) for page in (1, 6, 20, 30)]
        arms = [lived(each, "cloud_only") for each in worlds]
        assert all((same_lives(arms[0], arm) == "") == alike for arm in arms[1:])
        assert arms[0].world.users["recalls"].max() >= 3


def test_the_comparison_can_fail():
    """By another rule, at a price, or with something to perceive, lives part."""
    free = small(FREE, NOTHING)
    cloud = lived(free, "cloud_only")
    assert same_lives(cloud, lived(free, "tag_momentum"))
    slow = small(FREE, NOTHING, {"server__service_ms": 600.0, "server__service_per_candidate_ms": 50.0})
    assert same_lives(lived(slow, "cloud_only"), lived(slow, "server_score"))
    intents = small(FREE, EVERYTHING_KNOWN, {"interests__intent_sd": 1.2, "server__assumed_intent_sd": 1.2})
    larger = replace(intents, server__page_size=20)
    assert same_lives(lived(intents, "cloud_only"), lived(larger, "cloud_only"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", SEEDS)
def test_pages_of_any_size_and_age(seed, engine):
    """All is known at once: pages of 1, 6, 20 and 50, all that is shipped, thrown away after 15 s or never: the same
    videos in the same order, with the same stay logits, at the same microseconds. Compared for every impression."""
    world_of, ages = small(FREE, EVERYTHING_KNOWN), (15.0, 60.0, 600.0, math.inf) if seed == 1 else (15.0, math.inf)
    worlds = [
        replace(world_of, server__page_size=page, server__candidates=page, client__ttl_s=ttl)
        for page, ttl in product((1, 6, 20, 50), ages)
    ]
    arms = [lived(each, "cloud_only", engine, seed=seed) for each in worlds]
    assert {same_lives(arms[0], arm) for arm in arms} == {""}
    assert all(map(one_set_each, arms)) and len(arms[0].records.impressions) > 900
    requests = [len(arm.records.requests) for arm in arms]
    assert max(requests) > 20 * min(requests)


AT_EVERY_SWIPE = {"server__page_size": 1, "client__refill_at": 0, "client__ask_at": "swipe"}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_clouds_filter_on_the_phone_when_the_cloud_is_asked_at_every_swipe(engine):
    """Passing interests, one video a page, 20 candidates: nothing is left to know sooner.

    The cloud's answer comes before the phone's ranking counts, so it is the page's own order that is shown: this holds
    for `server_score` too. What the filter makes of candidates is shown by the next test."""
    world_of = small(FREE, AT_EVERY_SWIPE)
    cloud, phone = (lived(world_of, policy, engine) for policy in ("cloud_only", "cloud_filter"))
    assert same_lives(cloud, phone) == ""
    assert one_set_each(cloud) and one_set_each(phone) and np.ptp(cloud.records.impressions["intent"]) > 4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_clouds_filter_on_a_phone_that_holds_the_whole_set(seed, engine):
    """Passing interests: a phone that holds all that is stored for the session and ranks it anew by the cloud's filter
    at every swipe shows what the cloud shows that is asked at every swipe.

    Compared are the first 100 impressions of each session, the page that the phone has; after it retrieval differs. Two
    videos whose scores agree to the last bits of a float32 may be taken the other way round, since both add up the same
    numbers in another order: so nine tenths of the people have to see the same videos, not all of them."""
    whole = {"server__kept": 150, "client__refill_at": 0, "client__ttl_s": math.inf}
    cloud = lived(small(FREE, whole, AT_EVERY_SWIPE), "cloud_only", engine, seed=seed)
    held = small(FREE, whole, {"server__candidates": 150, "server__page_size": 100})
    assert share_alike(cloud, lived(held, "cloud_filter", engine, seed=seed), first=100) >= 0.9
    assert len(cloud.records.impressions) > 500
    assert share_alike(cloud, lived(held, "server_score", engine, seed=seed), first=100) < 0.5  # which learns nothing


def share_alike(a: Run, b: Run, first: int) -> float:
    """The share of people who see the same videos, in the first so many impressions of each session."""
    lives = []
    for run in (a, b):
        shown = run.records.impressions
        shown = shown[within_session(shown) < first]
        lives.append([shown["video"][shown["user"] == user].tolist() for user in range(len(run.world.users))])
    return float(np.mean([one == other for one, other in zip(*lives, strict=True)]))


def by_rank(observation):
    """The cloud's score as its rank among a person's candidates: strictly increasing in it."""
    scores = server_score(observation)
    return np.stack([np.unique(row, return_inverse=True)[1] for row in scores]).astype(np.float32)


def quadrupled(observation):
    """Exact in floating point, so strictly increasing too."""
    return np.float32(4.0) * server_score(observation)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("policy", [by_rank, quadrupled])
def test_policies_that_order_every_pool_alike(policy, engine):
    """At usual prices, with passing interests: the same bits of everything, requests and books included."""
    world_of = small({"server__workers": AMPLE})
    a, b = (lived(world_of, arm, engine) for arm in (server_score, policy))
    assert same_run(a, b) == ""
    assert len(a.records.impressions) > 1_000 and a.world.users["inferences"].min() > 0
