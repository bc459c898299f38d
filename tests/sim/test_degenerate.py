"""Degenerate worlds, whose answer is known without a model: nothing to choose, nothing to wait for, nobody to serve.

Kind: property, exact. Each is a corner where a wrong formula shows as a number that is not 0, or a bit that differs.
"""

import math

import numpy as np
import pytest
from worlds import AMPLE, POLICIES, indifferent, page_asker, run, same_run, scenario

from nextone.experiments.runs.deciding import decider_names
from nextone.sim.state import (
    ASKED,
    COMPLETE,
    INTENT,
    LAST,
    LEVEL,
    LONG,
    LOST,
    SERVED,
    SKIP,
    STALE,
    TIMED_OUT,
    VALID,
)

INF = math.inf
SEEDS = range(5)
EDGE = [policy for policy in POLICIES if policy != "cloud_only"]

INSTANT = {
    "network__constant_mbps": INF, "network__rtt_scale": 0.0, "network__loss": 0.0, "network__outages_per_hour": 0.0,
}  # fmt: skip
STEADY = {"interests__intent_sd": 0.0, "interests__reinforcement": 0.0, "interests__satiation": 0.0}


def log_of(*args, **kwargs):
    return run(*args, **kwargs).records.impressions


# -- nothing to choose -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["batch", "event"])
@pytest.mark.parametrize("merge", ["replace", "merge"])
def test_one_candidate_and_no_refill_leave_nothing_to_choose(engine, merge):
    """Identical bits, requests included: no inference, no embeddings shipped, no ranking."""
    assert len(EDGE) >= 6
    for seed in SEEDS:
        world_of = scenario(
            server__candidates=1, server__page_size=1, client__refill_at=0, client__on_refill=merge, client__ttl_s=20.0,
        )  # fmt: skip
        base = run(world_of, "cloud_only", seed=seed, minutes=4.0, engine=engine)
        assert len(base.records.impressions) > 20
        for policy in EDGE:
            assert same_run(base, run(world_of, policy, seed=seed, minutes=4.0, engine=engine)) == "", policy
        assert not base.world.users["inferences"].any()
        assert (base.records.impressions["outcome"] & (ASKED | STALE) == 0).all()


@pytest.mark.parametrize("settings", [
    {}, {"client__on_refill": "merge", "server__feature_lag_s": 3600.0}, {"client__decide_at": "start"},
    {"network__constant_mbps": 1.0},
    {"server__page_size": 4, "server__candidates": 4, "client__ttl_s": 9.0}, {"client__refill_at": 0},
])  # fmt: skip
def test_a_catalogue_of_one_video_leaves_nothing_to_choose(settings):
    """All candidates are the same video, as dear as without embeddings, ranked in no time, none preloaded: only the
    note that a policy was asked differs. (Merged pages may differ in what the server has learnt in between.)"""
    world_of = scenario(**{
        "catalogue__videos": 1, "catalogue__tags": 1, "server__candidates": 6, "server__item_bytes": 0,
        "server__embedding_bytes": 0, "server__service_per_candidate_ms": 0.0, "phone__inference_ms": (0.0,) * 4,
        "player__preload_videos": 0,
    } | settings)  # fmt: skip
    for seed in SEEDS:
        base = run(world_of, "cloud_only", seed=seed)
        assert len(base.records.impressions) > 20 and len(np.unique(base.records.impressions["video"])) == 1
        for policy in decider_names()[1:]:
            other = run(world_of, policy, seed=seed)
            assert other.world.users["inferences"].any()
            other.records.impressions["outcome"] &= 255 - ASKED
            # encoded_us: when a model on the phone has taken in what was watched; under cloud_only there is none
            assert same_run(base, other, ("inferences", "next_order", "ready_us", "encoded_us")) == "", (policy, seed)


def test_a_policy_that_does_not_care_shows_the_servers_order():
    """Every page is shown by rising server rank, whatever the delay of the decision. None is left out, from 0 on, but
    what was shown before the page took over: nothing where it is asked for at the last moment and comes at once."""
    at_once = {"server__service_ms": 0.0, "server__service_per_candidate_ms": 0.0, "server__chain_ms": 0.0}
    for settings, complete in (({"network__outages_per_hour": 0.0}, False),
                               (INSTANT | at_once | {"client__refill_at": 0}, True)):  # fmt: skip
        log = log_of(scenario(**settings), indifferent, minutes=10.0)
        same_page = (log["user"][1:] == log["user"][:-1]) & (log["request"][1:] == log["request"][:-1])
        step = np.where(same_page, np.diff(log["rank"].astype(int)), log["rank"][1:] + 1)
        assert (step >= 1).all() and (step == 1).all() == complete


# -- nothing to wait for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["cloud_only", "random", page_asker])
@pytest.mark.parametrize("settings", [
    {}, {"player__preload_videos": 0}, {"player__startup_s": 5.0, "player__preload_s": 1.0},
    {"player__buffer_s": 1.0}, {"player__bitrates_mbps": (2.0, 8.0, 40.0)},
])  # fmt: skip
def test_a_link_without_limits_never_stalls(policy, settings):
    """Infinite bandwidth and no round trip: no stall; the first frame takes the decoder, and at most a few
    microseconds of transfer (the clock's tick) before it."""
    world_of = scenario(**INSTANT, **settings, phone__inference_ms=(0.0,) * 4)
    outcome = run(world_of, policy, minutes=15.0)
    log, p = outcome.records.impressions, outcome.world.params[0]
    assert len(log) > 200 and not log["stall_us"].any() and not log["stalls"].any()
    decoder = np.where(outcome.world.users["software_decoder"][log["user"]] == 1, p["software_start_us"],
                       p["hardware_start_us"])  # fmt: skip
    transfer_us = np.ceil(log["total_bytes"] / 1e6) + 1  # inf is 10**12 bytes/s
    assert (log["startup_us"] <= decoder + transfer_us).all()


def test_no_service_time_and_no_distance_mean_no_wait_for_a_page():
    """The page is there in the microseconds that its bytes take."""
    outcome = run(scenario(**INSTANT, server__service_ms=0.0, server__service_per_candidate_ms=0.0,
                           server__chain_ms=0.0), "cloud_only", engine="event", workers=AMPLE)  # fmt: skip
    requests = outcome.records.requests
    assert (requests["outcome"] == SERVED).all() and (requests["ended_us"] - requests["sent_us"] <= 1).all()
    assert outcome.world.users["ledger_us"][:, 4].max() <= 2 * requests["user"].size
    assert outcome.records.impressions["wait_us"].max() <= 1


@pytest.mark.parametrize("policy", ["cloud_only", "tag_momentum"])
def test_ample_workers_mean_no_queue(policy):
    outcome = run(scenario(population__users=30), policy, engine="event", workers=AMPLE)
    assert outcome.server.waited_us == outcome.server.refused == outcome.server.reneged == 0
    answered = outcome.records.requests[outcome.records.requests["outcome"] == SERVED]
    assert not answered["queue_us"].any() and len(answered)


def test_no_inference_time_means_no_stale_pick_and_no_pick_wait():
    outcome = run(scenario(phone__inference_ms=(0.0,) * 4), "server_score")
    log = outcome.records.impressions
    assert not (log["outcome"] & STALE).any() and not log["pick_us"].any() and (log["outcome"] & ASKED).any()


def test_inference_longer_than_the_swipe_is_always_stale():
    """No floor, no spread: 1 s for a decision, .3 s for the swipe: whoever lifts the finger gets the last ranking."""
    log = log_of(scenario(phone__inference_ms=(1000.0,) * 4, phone__inference_log_sd=0.0), "server_score")
    swiped = (log["swipe_us"] > 0) & (log["wait_us"] == 0) & (log["live"] > 1)
    assert swiped.any() and ((log["outcome"] & STALE) != 0)[swiped].all()
    assert set(np.unique(log["pick_us"])) <= {0, 1_000_000}


# -- nothing expires, nothing changes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["cloud_only", "random", page_asker])
@pytest.mark.parametrize("merge", ["replace", "merge"])
def test_without_ttl_nothing_expires(policy, merge):
    users = run(scenario(client__ttl_s=INF, client__on_refill=merge), policy, minutes=20.0).world.users
    assert not users["expired"].any() and not users["overdue"].any()


@pytest.mark.parametrize("settings", [{}, {"client__ttl_s": 4.0}, {"client__ttl_impressions": 2.0}])
def test_nothing_is_shown_after_expiry_unless_told_to(settings):
    users = run(scenario(**settings), "random", minutes=20.0).world.users
    assert not users["overdue"].any()
    assert users["expired"].any() == bool(settings)


def test_expired_candidates_serve_a_spell_without_network():
    """Offline for good after a few seconds, TTL 5 s: "drop" dries up, "serve" goes on from the pool, and counts it."""
    settings = {
        "network__shares": (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), "network__outages_per_hour": 360.0,
        "network__outage_s": 100.0, "client__ttl_s": 5.0, "network__constant_mbps": 50.0, "player__preload_videos": 20,
    }  # fmt: skip
    drop, serve = (run(scenario(**settings, client__expired_offline=k), "server_score") for k in ("drop", "serve"))
    assert not drop.world.users["overdue"].any()
    assert serve.world.users["overdue"].any()
    assert len(serve.records.impressions) > len(drop.records.impressions)


def test_without_intents_only_lasting_taste_draws():
    """Exactly 0 departure from lasting interests; with intents, or with reinforcement alone, there is some."""
    world = run(scenario(**STEADY), "random").world
    assert not world.mind["intent"].any() and world.mind["taste"].any()
    assert not run(scenario(**STEADY), "random").records.impressions["intent"].any()
    assert run(scenario(), "random").records.impressions["intent"].all()
    assert run(scenario(**STEADY | {"interests__reinforcement": 0.5}), "random").world.mind["intent"].any()


def test_satiety_that_costs_nothing_changes_nothing():
    """Fatigue of weight 0 is no fatigue, however long it lasts."""
    one, other = (run(scenario(**STEADY, interests__satiation_s=s), "random") for s in (1.0, 1e6))
    assert same_run(one, other) == ""


def test_a_cloud_that_takes_people_to_be_steady_learns_no_intent():
    """With an assumed spread of 0 no intent is believed; the lasting estimates never move."""
    steady = scenario(server__assumed_intent_sd=0.0)
    world, fresh = run(steady, "random").world, run(steady, "random", minutes=1 / 60e6).world
    assert not world.belief["expected"][:, INTENT:].any() and world.belief["expected"][:, LEVEL].any()
    assert run(scenario(), "random").world.belief["expected"][:, INTENT:].any()
    assert (world.belief["taste"] == fresh.belief["taste"]).all()
    assert (world.users["cloud_person"] == fresh.users["cloud_person"]).all()


def test_a_mood_that_never_varies_is_zero():
    assert not run(scenario(interests__mood_sd=0.0), "random").world.users["mood"].any()


# -- nobody is served --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["batch", "event"])
@pytest.mark.parametrize("policy", ["cloud_only", page_asker])
def test_when_every_request_is_lost_nobody_sees_a_video_and_everything_ends(engine, policy):
    outcome = run(scenario(network__loss=1.0), policy, engine=engine, minutes=20.0)
    users = outcome.world.users
    assert not len(outcome.records.impressions) and not users["delivered"].any() and not users["served"].any()
    assert (users["ledger_us"].sum(axis=1) == users["ledger_us"][:, 4]).all()  # all of it waiting
    assert len(outcome.records.sessions) == len(users) and not outcome.records.sessions["impressions"].any()
    assert np.isin(outcome.records.requests["outcome"], (TIMED_OUT, LOST + 1)).all()


def test_a_server_without_room_refuses_everybody_who_would_wait():
    """One worker held for 10 minutes, no queue: one page in the whole window for each time it is free."""
    outcome = run(scenario(server__service_ms=600_000.0, server__service_cv=0.0, server__queue_limit=0,
                           client__timeout_s=3.0), engine="event", workers=1, minutes=9.0)  # fmt: skip
    assert outcome.server.turned == 1 and outcome.server.refused > 0 and outcome.server.waited_us == 0
    assert not len(outcome.records.impressions)


def test_offline_nobody_gets_a_page_and_everybody_ends():
    """An outage within seconds, for longer than the window, and responses that take a minute."""
    outcome = run(scenario(network__shares=(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), network__outages_per_hour=3600.0,
                           network__outage_s=1e6, server__chain_ms=60_000.0, client__timeout_s=300.0))  # fmt: skip
    sessions = outcome.records.sessions
    assert not len(outcome.records.impressions) and not outcome.world.users["delivered"].any()
    assert len(sessions) == 12 and (sessions["dry"] | sessions["cut"]).all()


def test_outages_spare_wifi():
    wifi = {"network__shares": (0.3, 0.4, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0)}
    calm, rough = (run(scenario(**wifi, network__outages_per_hour=x)) for x in (0.0, 3600.0))
    assert same_run(calm, rough) == ""


# -- people without freedom --------------------------------------------------------------------------------------------


def test_whoever_never_leaves_stays_to_the_end():
    """Hazard 0 and endless patience: every session is cut by the window, none ends by itself."""
    sessions = run(scenario(sessions__leave_per_min=0.0, sessions__wait_patience_s=1e6)).records.sessions
    assert sessions["cut"].all() and (sessions["close_us"] == 8 * 60_000_000).all()


def test_who_left_before_a_page_waits_anew_next_time():
    """Patience of a tenth of what a page takes: most sessions end without a video, each after a wait of its own."""
    sessions = run(scenario(sessions__wait_patience_s=0.1, sessions__gap_hours=0.51), days=1).records.sessions
    empty = sessions[(sessions["impressions"] == 0) & (sessions["dry"] != 0)]
    waits = empty["close_us"] - empty["open_us"]
    again = empty["user"][1:] == empty["user"][:-1]
    assert again.sum() > 20
    assert (waits[1:] != waits[:-1])[again].mean() > 0.99


def test_nobody_stays_or_everybody_stays():
    """stay = -20: two lognormals are one; nothing loops at loop = 0, so no play is longer than its video by more than
    the time to swipe on: exp(-5) s, 6.7 ms, in everybody."""
    settings = {"watching__loop": 0.0, "watching__react_log_mean": -5.0, "watching__react_log_sd": 0.0,
                "network__constant_mbps": INF, "network__rtt_scale": 0.0}  # fmt: skip
    for stay in (-20.0, 20.0):
        outcome = run(scenario(**settings, watching__stay=stay))
        log = outcome.records.impressions
        beyond_us = log["play_us"] - outcome.world.videos["duration_us"][log["video"]]
        assert set(np.unique(beyond_us[beyond_us > 0]).tolist()) == {6_737}
        assert np.mean(log["outcome"] & VALID != 0) < 0.4 if stay < 0 else np.mean(log["outcome"] & VALID != 0) > 0.8


def test_nobody_decides_within_the_dead_time():
    """5 s, the same for everything: every play lasts as long, or to the end of a shorter video."""
    outcome = run(scenario(**INSTANT, watching__dead_time_s=5.0, watching__dead_time_log_sd=0.0), "random")
    log = outcome.records.impressions
    log = log[log["outcome"] & 128 == 0]
    duration_us = outcome.world.videos["duration_us"][log["video"]]
    assert (log["play_us"] >= np.minimum(5_000_000, duration_us)).all() and (duration_us < 5_000_000).any()
    assert not (log["outcome"][duration_us >= 2_000_000] & SKIP).any()


def test_feedback_of_certain_people():
    """A chance of 0 gives none, whatever the appeal; comments are never opened at browse 0."""
    none = {f"feedback__{kind}": 0.0 for kind in ("like", "follow", "comment", "forward", "hate", "profile", "browse")}
    log = log_of(scenario(**none))
    assert not log["feedback"].any() and not log["browse_us"].any()
    log = log_of(scenario(**none | {"feedback__browse": 1.0}))
    played = (log["play_us"] > 0) & (log["outcome"] & 128 == 0)
    assert (log["browse_us"][played] > 0).all()


def test_nobody_puts_the_app_away_unless_told_to():
    assert not log_of(scenario(sessions__away=0.0))["away_us"].any()
    log = log_of(scenario(sessions__away=1.0))
    assert (log["away_us"][log["outcome"] & 128 == 0] > 0).all()


def test_no_preload_starts_from_nothing_and_wastes_no_unseen_video():
    outcome = run(scenario(player__preload_videos=0, network__constant_mbps=5.0), "random")
    log, users = outcome.records.impressions, outcome.world.users
    assert not log["buffered"].any() and not outcome.world.pool["buffered"].any()
    assert (log["startup_us"] > 0)[log["outcome"] & 128 == 0].all()
    on_screen = np.zeros(len(users), np.int64)
    np.add.at(on_screen, log["user"], log["bytes"])
    assert (users["delivered"] - users["cancelled"] == on_screen).all()


def test_videos_of_one_second_are_over_at_once():
    """Shorter than any threshold: whoever plays to the end has a valid play, a long view and a completion, in 1 s."""
    outcome = run(scenario(**INSTANT, catalogue__duration_log_mean=0.0, catalogue__duration_log_sd=0.0))
    log = outcome.records.impressions
    ended = log["play_us"] >= 1_000_000
    assert ended.any() and (log["outcome"][ended] & (VALID | LONG | COMPLETE) == VALID | LONG | COMPLETE).all()
    assert (outcome.world.videos["duration_us"] == 1_000_000).all()


def test_the_measured_rate_of_a_constant_link_is_its_rate():
    """10 Mbit/s, no outages: whatever was measured is 10 Mbit/s, but for the tick and whole bytes."""
    for policy in ("cloud_only", "random", page_asker):
        world = run(scenario(network__constant_mbps=10.0, network__outages_per_hour=0.0), policy, minutes=20.0).world
        users = world.users
        rate = users["rate_bps"][users["rate_bps"] > 0]
        assert len(rate) and np.abs(rate / 1e7 - 1).max() < 1e-3, policy


def test_an_empty_window_is_no_life():
    """A window of a microsecond: people open the app and are cut in the same microsecond; nothing is lost."""
    outcome = run(scenario(), "random", minutes=1 / 60e6)
    assert not len(outcome.records.impressions) and not outcome.world.users["delivered"].any()
    assert outcome.world.users["wall_us"].max() <= 1
    assert LAST


# -- when a page is asked for ------------------------------------------------------------------------------------------

ONE_BY_ONE = {
    "server__page_size": 1, "client__refill_at": 0, "client__ttl_s": INF, "client__timeout_s": 60.0,
    "network__loss": 0.0, "network__outages_per_hour": 0.0,
}  # fmt: skip


def lifted_us(log):
    """When the finger lifted from each impression; what was picked before it took the screen counts as startup."""
    return sum((log[f"{name}_us"] for name in ("startup", "play", "stall", "browse", "away")),
               log["start_us"] - log["pick_us"])  # fmt: skip


@pytest.mark.parametrize("engine", ["batch", "event"])
@pytest.mark.parametrize("ask_at", ["start", "swipe"])
def test_the_next_page_of_one_is_asked_for_at_the_start_or_at_the_lift(ask_at, engine):
    """The video on screen calls for it, before its reaction exists or after; the first request of a session apart."""
    records = run(scenario(**ONE_BY_ONE, client__ask_at=ask_at), engine=engine, workers=AMPLE).records
    compared = 0
    for session in records.sessions:
        asked, shown = (
            rows[(rows["user"] == session["user"]) & (rows["session"] == session["session"])]
            for rows in (records.requests, records.impressions)
        )
        assert asked["sent_us"][0] == session["open_us"] and not asked["attempt"].any()
        called_us = (shown["start_us"] if ask_at == "start" else lifted_us(shown))[: len(asked) - 1]
        assert (asked["sent_us"][1:] == called_us).all()
        compared += len(called_us)
    assert compared > 100


@pytest.mark.parametrize("policy", ["cloud_only", "tag_momentum"])
def test_who_asks_at_the_lift_never_asks_during_a_video(policy):
    """Not even when the TTL empties the pool in the midst of one; but while waiting."""
    settings = {"client__ask_at": "swipe", "client__ttl_s": 4.0, "network__outages_per_hour": 60.0}
    found = run(scenario(population__users=40, **settings), policy, minutes=20.0)
    log, requests = found.records.impressions, found.records.requests
    first = requests[requests["attempt"] == 0]
    for user, at_us in first[["user", "sent_us"]]:
        assert not ((log["user"] == user) & (log["start_us"] <= at_us) & (at_us < lifted_us(log))).any()
    assert len(first) > 500 and found.world.users["expired"].sum() > 1_000
