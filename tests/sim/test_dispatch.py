"""The model on the phone: downloaded over its own link, one version per page, decisions that stand, behaviours that are
perceived late. Worked out by hand on links of 1 byte a microsecond, or a property of whole runs.
"""

import numpy as np
import pytest
from worlds import AMPLE, INF, replace, run, same_bits, same_run, scenario

from nextone.envs.features import C, H, X
from nextone.sim.config import FREE, Cost
from nextone.sim.pool import rank_pool
from nextone.sim.state import (
    ASKED,
    BUILT_IN,
    CURRENT,
    DEAD,
    MISSED,
    MISSING,
    MODEL,
    PREVIOUS,
    SERVED,
    SLOT,
    STALE,
    UNRANKED,
    USER,
)
from nextone.sim.world import run_params

CLEAN = {
    "network__constant_mbps": 8.0, "network__rtt_scale": 0.0, "network__loss": 0.0, "network__outages_per_hour": 0.0,
}  # fmt: skip
ALL_NEW = {"phone__no_model": 1.0, "phone__old_model": 0.0}
ALL_CURRENT = {"phone__no_model": 0.0, "phone__old_model": 0.0}
ALL_OLD = {"phone__no_model": 0.0, "phone__old_model": 1.0}


class Backwards:
    """The server's order reversed, as a model that phones download; notes what it is shown."""

    downloaded = True

    def __init__(self):
        self.seen = []

    def start(self, n):
        return None

    def __call__(self, observation, memory):
        self.seen.append((observation.context.copy(), observation.history.copy(), observation.mask.copy()))
        return observation.candidates[..., C.rank], None


class NeverDecides:
    """Lets the server's order stand at every swipe."""

    def start(self, n):
        return None

    def __call__(self, observation, memory):
        return np.full(observation.mask.shape, -np.inf, np.float32), None


# -- dispatch ----------------------------------------------------------------------------------------------------------


def test_by_hand_the_model_comes_while_the_first_page_is_awaited():
    """400,000 bytes at a byte a microsecond, while the page takes .4 s and a worker's time: done .4 s after opening."""
    world_of = scenario(**CLEAN, **ALL_NEW, client__model_bytes=400_000, population__users=3)
    world = run(world_of, Backwards(), traced=1).world
    moments = world.moments[: world.traced[1]]
    loading = moments[moments["fetching"] == MODEL]
    opened_us = moments["start_us"][0]
    assert loading["start_us"].min() == opened_us and loading["end_us"].max() == opened_us + 400_000
    assert world.users["model_left"][1] == 0 and world.users["model_held"][1] == CURRENT


def test_pages_and_videos_go_first_and_the_rest_is_not_fetched_again():
    """2 MB at 8 Mbit/s need 2 s of a busy link: in pieces, never beside a transfer for the screen, 2,000,000 bytes in
    all. Pages weigh nothing here, so that `data_bytes` is the model alone."""
    weightless = {"server__item_bytes": 0, "server__embedding_bytes": 0}
    world = run(scenario(**CLEAN, **ALL_NEW, **weightless, client__model_bytes=2_000_000), Backwards(), traced=2).world
    moments = world.moments[: world.traced[1]]
    loading = moments["fetching"] == MODEL
    assert loading[0] and np.count_nonzero(np.diff(loading.astype(int)) == 1) >= 1
    assert (moments["end_us"] - moments["start_us"])[loading].sum() >= 2_000_000
    got = world.users["data_bytes"]
    assert (got == 2_000_000 - world.users["model_left"]).all() and (got > 0).all()


def test_it_is_downloaded_once_per_version():
    """Two days and several sessions each: whoever had none or the old one fetches 300 kB once, the others nothing."""
    weightless = {"server__item_bytes": 0, "server__embedding_bytes": 0, "client__model_bytes": 300_000}
    outcome = run(scenario(**weightless, phone__no_model=0.3, phone__old_model=0.3, population__users=60), Backwards(),
                  days=2.0)  # fmt: skip
    users = outcome.world.users
    done = users["data_bytes"][users["model_left"] == 0]
    assert np.bincount(outcome.records.sessions["user"]).mean() > 3
    assert set(np.unique(done).tolist()) == {0, 300_000} and 0.4 < np.mean(done > 0) < 0.8


def test_without_a_model_a_page_comes_as_under_cloud_only():
    """Six videos without embeddings, in server order, no decision; later pages have 20."""
    outcome = run(scenario(**ALL_NEW, **CLEAN, server__item_bytes=1000, server__embedding_bytes=100, client__ttl_s=INF,
                           client__refill_at=0), Backwards(), minutes=15.0)  # fmt: skip
    log, asked = outcome.records.impressions, outcome.records.requests
    version = np.full((len(outcome.world.users), 200), -1)
    version[asked["user"], asked["request"]] = asked["model"]
    of_page = version[log["user"], log["request"]]
    assert set(np.unique(of_page)) == {CURRENT, MISSING}
    early, late = log[of_page == MISSING], log[of_page == CURRENT]
    assert (early["rank"] == early["position"]).all() and not (early["outcome"] & ASKED).any()
    assert early["live"].max() == 6 and late["live"].max() == 20 and (late["outcome"] & ASKED).any()
    served = asked[asked["outcome"] == SERVED]
    per_page = np.where(served["model"] == CURRENT, 20 * 1100, 6 * 1000)
    pages = np.bincount(served["user"], per_page, minlength=len(outcome.world.users))
    model = 3_000_000 - outcome.world.users["model_left"]
    landed_later = asked[(asked["outcome"] != SERVED)]["user"]  # a page cut off by the session's end came in part
    whole = ~np.isin(np.arange(len(pages)), landed_later)
    assert whole.any() and (outcome.world.users["data_bytes"] == pages + model)[whole].all()


@pytest.mark.parametrize("engine", ["batch", "event"])
def test_nothing_of_it_without_a_choice_or_on_the_cloud(engine):
    lone = scenario(server__candidates=1, server__page_size=1, client__refill_at=0)
    base = run(lone, "cloud_only", engine=engine, minutes=4.0)
    assert same_run(base, run(lone, Backwards(), engine=engine, minutes=4.0)) == ""
    cloud = run(scenario(**ALL_NEW), "cloud_only", engine=engine, minutes=4.0).world.users
    assert not cloud["model_left"].any() and (cloud["model"] == BUILT_IN).all()


def test_of_no_bytes_it_comes_with_the_app():
    class Rule(Backwards):
        downloaded = False

    free = scenario(client__model_bytes=0, **ALL_NEW)
    at_once = replace(free, phone__inference_ms=(0.0,) * 4)
    assert same_run(run(at_once, Backwards()), run(at_once, Rule())) == ""
    assert same_run(run(scenario(**ALL_NEW), Rule()), run(free, Rule())) == ""


def test_both_drivers_agree():
    world_of = scenario(phone__no_model=0.4, phone__old_model=0.4, population__users=20)
    batch = run(world_of, Backwards())
    event = run(world_of, Backwards(), engine="event", workers=AMPLE)
    for a, b in zip(batch.records, event.records, strict=True):
        assert same_bits(a, b) == ""


# -- versions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", ["replace", "merge"])
def test_a_new_version_ranks_from_the_next_page_on(merge):
    """Everybody starts with the old one; requests never go back to it; in the same session both rank. The cloud has a
    new set of videos for every page, or merging would bring all of them again."""
    policy = Backwards()
    outcome = run(scenario(**ALL_OLD, **CLEAN, client__on_refill=merge, client__model_bytes=1_000_000,
                           server__recall=40, server__kept=21, population__users=40), policy, minutes=15.0)  # fmt: skip
    asked = outcome.records.requests
    same = asked["user"][1:] == asked["user"][:-1]
    old = (asked["model"] == PREVIOUS).astype(int)
    assert set(np.unique(asked["model"])) == {CURRENT, PREVIOUS} and (np.diff(old)[same] <= 0).all()
    assert (old[np.concatenate([[True], ~same])] == 1).all()
    ranks_old = np.concatenate([context[:, X.old_model] for context, _, _ in policy.seen])
    assert set(np.unique(ranks_old)) == {0.0, 1.0}
    if merge == "merge":  # old candidates in a pool that the new version ranks are not shown to it
        held = np.concatenate([mask.sum(1) for _, _, mask in policy.seen])
        live = np.concatenate([np.rint(np.exp(said[:, X.live] * np.log(251)) - 1) for said, _, _ in policy.seen])
        assert (held <= live).all() and (held < live).any()


def test_embeddings_of_another_version_are_never_ranked():
    """Slots of requests 8 7 9 6 with scores 0 9 5 7; request 8 was the first to tell the version that ranks: slot 2
    before 0, the others not ranked. Slots keep the last 16 bits of 65544, 65543, ..."""
    user, pool = np.zeros(1, USER), np.zeros(4, SLOT)
    user["model"], user["request"], user["model_since"] = CURRENT, 65545, 65544
    pool["request"], pool["rank"] = [8, 7, 9, 6], [0, 1, 2, 3]
    pool["next_order"] = UNRANKED
    rank_pool(user[0], pool, np.array([0, 9, 5, 7], np.float32))
    assert pool["next_order"].tolist() == [1, UNRANKED, 0, UNRANKED]
    pool["rank"][2] = DEAD
    rank_pool(user[0], pool, np.array([0, 9, 5, 7], np.float32))
    assert pool["next_order"][0] == 0


# -- decisions that stand ----------------------------------------------------------------------------------------------


def test_who_never_decides_shows_the_servers_order_without_inference():
    """The same impressions as the server's order ranked in no time, though inference would take a second."""
    slow = {"phone__inference_ms": (1000.0,) * 4, "phone__inference_log_sd": 0.0}
    stood = run(scenario(**slow), NeverDecides())
    ranked = run(scenario(phone__inference_ms=(0.0,) * 4), Order())
    assert not stood.world.users["inferences"].any() and ranked.world.users["inferences"].any()
    assert not (stood.records.impressions["outcome"] & ASKED).any()
    assert same_bits(stood.records.impressions, ranked.records.impressions, ("outcome",)) == ""


class Order:
    """The server's order."""

    def start(self, n):
        return None

    def __call__(self, observation, memory):
        return -observation.candidates[..., C.rank], None


def test_a_ranking_under_way_is_not_lost_when_the_next_decision_stands():
    """Everything takes 30 s. Decided once a person, then never again: the reversed order still comes to be shown."""

    class Once:
        def start(self, n):
            return np.zeros(n, np.bool_)

        def __call__(self, observation, memory):
            scores = np.where(memory[:, None], -np.inf, observation.candidates[..., C.rank])
            return scores.astype(np.float32), np.ones_like(memory)

    settings = {"phone__inference_ms": (30_000.0,) * 4, "phone__inference_log_sd": 0.0, "server__page_size": 12,
                "sessions__leave_per_min": 0.0}  # fmt: skip
    outcome = run(scenario(**settings), Once(), minutes=3.0)
    log = outcome.records.impressions
    assert (outcome.world.users["inferences"] <= 1).all()
    first = log[(log["request"] == 1) & (log["wait_us"] == 0)]
    assert (np.diff(first["rank"].astype(int))[np.diff(first["user"]) == 0] < 0).any()


# -- what a decision costs, and what is shipped ------------------------------------------------------------------------


class Costly(Backwards):
    """The reversed order by a network that costs so much; it comes with the app."""

    def __init__(self, time, size=0):
        super().__init__()
        self.cost = Cost(time, size)


def charged(cost, **settings):
    """(us of a decision by tier, its floor, bytes, cold start, contention of the slowest) of a policy of that cost."""
    p = run_params(scenario(**settings), True, cost, False)[0]
    fields = ("inference_min_us", "model_bytes", "cold_start")
    return p["inference_us"].tolist(), *(p[name] for name in fields), p["contention"][0]


def test_by_hand_what_a_network_a_rule_and_a_setting_take():
    """Half of the reference network's 190, 115, 59.3 and 49.4 ms, and of the floor of 20; rules nothing, unless one
    says so; what a policy ships, unless one says so."""
    assert charged(Cost(0.5, 70)) == ([95_000, 57_500, 29_650, 24_700], 10_000, 70, 3.0, 0.2)
    assert charged(FREE) == ([0] * 4, 0, 0, 1.0, 0.0)
    given = {"phone__inference_ms": (900.0, -1.0, -1.0, 0.0), "client__model_bytes": 9}
    assert charged(Cost(0.5, 70), **given) == ([900_000, 57_500, 29_650, 0], 10_000, 9, 3.0, 0.2)
    assert charged(FREE, **given)[:3] == ([900_000, 0, 0, 0], 0, 0)
    assert charged(Cost(0.5, 70), client__model_bytes=0)[2] == 0


def test_a_slower_network_is_late_more_often():
    """The same people and orders; the slower, the more, and never at no time."""
    late = [stale_share(Costly(time)) for time in (0.0, 1.0, 2.0, 4.0)]
    assert late[0] == 0.0 and (np.diff(late) > 0.01).all(), late


def stale_share(policy, **settings):
    """Of the picks asked for."""
    log = run(scenario(population__users=40, **settings), policy).records.impressions
    return (log["outcome"][log["outcome"] & ASKED != 0] & STALE != 0).mean()


def test_the_first_decision_of_a_session_takes_longer_by_the_cold_start():
    """It is waited for, as no page is there yet: the same draw, four times; a rule loads nothing."""
    warm, cold = (first_picks(Costly(1.0), phone__cold_start=factor) for factor in (1.0, 4.0))
    assert len(warm) >= 10 and np.abs(cold - 4 * warm).max() <= 4 and warm.min() >= 20_000
    assert not first_picks(Order(), phone__cold_start=4.0).any()


def first_picks(policy, **settings):
    log = run(scenario(**settings), policy, minutes=4.0).records.impressions
    return log["pick_us"][log["impression"] == 0]


def test_beside_play_both_take_longer():
    """Asked as a video starts, a decision takes half as long again; one that is late holds up the next video's start by
    half of what is left of it. On another tier nothing changes."""
    slow = {"phone__reference_ms": (2000.0,) * 4, "phone__inference_log_sd": 0.0, "player__preload_videos": 0,
            "client__decide_at": "start", "sessions__leave_per_min": 0.0, "phone__cold_start": 1.0}  # fmt: skip
    mine, other = (0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 0.5, 0.5)
    low = {"phone__shares": (1.0, 0.0, 0.0, 0.0)}
    alone, beside = (stale_share(Costly(1.0), **slow, **low, phone__contention=c) for c in (other, mine))
    assert alone < beside
    late = {**slow, **low, "client__decide_at": "swipe", "phone__reference_ms": (3000.0,) * 4}
    starts = [run(scenario(**late, phone__contention=c), Costly(1.0)).records.impressions for c in (other, mine)]
    stale = [log["startup_us"][log["outcome"] & STALE != 0].mean() for log in starts]
    assert stale[1] > stale[0] + 300_000


@pytest.mark.parametrize("engine", ["batch", "event"])
def test_a_page_without_embeddings_comes_in_server_order(engine):
    """All missed: no decision, no embeddings; one in three missed: those pages alone, and others are ranked."""
    in_time = ALL_CURRENT | {"client__refill_at": 0, "client__ttl_s": INF}  # nothing is shown before a page lands
    none = run(scenario(**in_time, server__lookup_misses=1.0), Backwards(), engine=engine)
    log = none.records.impressions
    assert not none.world.users["inferences"].any() and (log["rank"] == log["position"]).all() and len(log) > 100
    some = run(scenario(**in_time, server__lookup_misses=0.3, population__users=40), Backwards(), engine=engine)
    served = some.records.requests[some.records.requests["outcome"] == SERVED]
    assert set(np.unique(served["model"])) == {CURRENT, MISSED} and 0.2 < np.mean(served["model"] == MISSED) < 0.4
    version = np.full((40, 200), -1)
    version[served["user"], served["request"]] = served["model"]
    log = some.records.impressions
    missed = version[log["user"], log["request"]] == MISSED
    assert not (log["outcome"][missed & (log["position"] > 0)] & ASKED).any() and (log["outcome"] & ASKED).any()


def test_a_look_up_takes_its_time_of_phones_that_rank():
    quick, slow = (
        run(scenario(**CLEAN, server__lookup_ms=ms, sessions__wait_patience_s=1e6), Order()).records.requests
        for ms in (0.0, 250.0)
    )
    first = [log["response_us"][(log["request"] == 1) & (log["attempt"] == 0)] for log in (quick, slow)]
    assert (first[1] - first[0] == 250_000).all() and len(first[0]) == 12


@pytest.mark.parametrize(("hits", "after_us"), [(1.0, 70_000), (0.0, 570_000)])
def test_by_hand_the_cdn_answers_after_a_while(hits, after_us):
    """70 ms after the app opens, or 500 more from the origin: the files' first byte, when nothing else is wanted."""
    world_of = scenario(**CLEAN, **ALL_NEW, client__model_bytes=10_000, client__cdn_ms=70.0, client__origin_ms=500.0,
                        client__cdn_hits=hits, server__chain_ms=4000.0, population__users=3)  # fmt: skip
    world = run(world_of, Backwards(), traced=1).world
    moments = world.moments[: world.traced[1]]
    loading = moments[moments["fetching"] == MODEL]
    assert loading["start_us"].min() == moments["start_us"][0] + after_us
    assert loading["end_us"].max() == moments["start_us"][0] + after_us + 10_000


# -- perception --------------------------------------------------------------------------------------------------------


def encoded_of(**settings):
    """(newest, older) `encoded` flags at all decisions of a run."""
    policy = Backwards()
    run(scenario(**settings, client__model_bytes=0), policy)
    past = np.concatenate([history for _, history, _ in policy.seen])
    present = past[..., H.present] > 0
    return past[:, 0, H.encoded][present[:, 0]], past[:, 1:, H.encoded][present[:, 1:]]


def test_the_newest_behaviour_is_perceived_late_but_for_who_stays_in_the_comments():
    """Asked as the finger lifts: the play ended just now, unless comments were read, for seconds. Older ones are in."""
    newest, older = encoded_of()
    assert 0.0 < newest.mean() < 0.2 and older.all()
    newest, _ = encoded_of(feedback__browse=0.0, feedback__profile=0.0, feedback__comment=0.0, sessions__away=0.0,
                           server__page_size=20)  # fmt: skip
    assert newest.mean() < 0.05


def test_at_once_with_no_delay_and_in_time_for_who_asks_as_the_next_video_starts():
    """Delays are below the .3 s of the swipe."""
    newest, older = encoded_of(phone__perception_ms=0.0)
    assert newest.all() and older.all()
    newest, _ = encoded_of(client__decide_at="start")
    assert newest.all()
