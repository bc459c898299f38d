"""Property: time, bytes and videos are conserved exactly, whatever the scenario, policy, links and engine.

`check_ledgers` compares the running sums that the kernels keep. The checks here rebuild the same numbers from the logs
and from one person's moments, so that a sum kept wrongly twice would not pass.
"""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import AMPLE, POLICIES, page_asker, policies, run, scenario, scenarios

from nextone.sim.ledger import LedgerError, check_ledgers, still_buffered
from nextone.sim.state import CUT, DECODING, LAST, PICKING, PLAYING, SERVED, STALLED, STARTING

FUZZ = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SCREEN_PHASES = ("startup_us", "play_us", "stall_us", "browse_us", "away_us")


def by_user(log, values, n):
    total = np.zeros(n, np.int64)
    np.add.at(total, log["user"], values)
    return total


def number(log, name):
    """(user, its nth thing) as one number."""
    return log["user"].astype(np.int64) * 2**34 + log[name]


def content_held(log, videos):
    """Content of each impression that could be played with the bytes fetched of it, us."""
    duration = videos["duration_us"][log["video"]]
    held = np.minimum(log["bytes"] * 8_000_000 // log["bitrate_bps"], duration)
    return np.where(log["bytes"] >= log["total_bytes"], duration, held)


def check_time(outcome):
    """Every microsecond of every session is in exactly one impression's line, in the order it happened."""
    log, sessions = outcome.records.impressions, outcome.records.sessions
    ends = log["start_us"] - log["pick_us"] + sum(log[name] for name in SCREEN_PHASES)  # startup holds the pick
    before = log["wait_us"] + log["pick_us"] + log["swipe_us"]
    for name in (*SCREEN_PHASES, "wait_us", "pick_us", "swipe_us"):
        assert (log[name] >= 0).all(), name
    follows = (log["user"][1:] == log["user"][:-1]) & (log["session"][1:] == log["session"][:-1])
    assert (log["impression"][1:][follows] == log["impression"][:-1][follows] + 1).all()
    assert (log["start_us"][1:][follows] == (ends[:-1] + before[1:])[follows]).all()
    of = np.searchsorted(number(sessions, "session"), number(log, "session"))  # sessions are sorted
    assert np.unique(number(sessions, "session")).size == len(sessions)
    first, last = np.append(True, ~follows)[: len(log)], np.append(~follows, True)[: len(log)]
    assert ((log["start_us"] - before)[first] == sessions["open_us"][of][first]).all()
    ended_here = (log["outcome"] & (LAST | CUT)) != 0
    closes = sessions["close_us"][of]
    assert (ends == closes)[last & ended_here].all() and (ends <= closes)[last].all()
    assert (ended_here | (sessions["dry"] | sessions["cut"])[of].astype(bool))[last].all()
    assert not (ended_here & ~last).any()
    assert np.unique(number(log, "impression")).size == len(log)
    assert (np.bincount(of, minlength=len(sessions)) == sessions["impressions"]).all()
    same = sessions["user"][1:] == sessions["user"][:-1]
    assert (sessions["open_us"][1:] > sessions["close_us"][:-1])[same].all()


def check_bytes(outcome, world_of):
    """Bytes of each impression, of each person; what was played had been fetched, and no more than the cap ahead."""
    world, log = outcome.world, outcome.records.impressions
    users, n = world.users, len(world.users)
    duration = world.videos["duration_us"][log["video"]]
    played = np.minimum(log["play_us"], duration)
    watched = np.minimum(log["bytes"], -(-(played * log["bitrate_bps"]) // 8_000_000))
    assert (users["watched"] == by_user(log, watched, n)).all()
    on_screen, held = by_user(log, log["bytes"], n), still_buffered(world)
    never_shown = users["wasted"] - (on_screen - by_user(log, watched, n))
    assert (never_shown >= 0).all() and (users["cancelled"] >= 0).all() and (held >= 0).all()
    assert (users["delivered"] - users["cancelled"] == on_screen + never_shown + held).all()
    assert (log["buffered"] <= log["bytes"]).all() and (log["bytes"] <= log["total_bytes"]).all()
    assert (log["total_bytes"] == -(-(duration * log["bitrate_bps"]) // 8_000_000)).all()
    assert (played <= content_held(log, world.videos)).all(), "played what was not there"
    player = world_of.player
    cap_us = played + np.int64(1e6 * max(player.buffer_s, player.preload_s))
    assert (log["bytes"] <= -(-(cap_us * log["bitrate_bps"]) // 8_000_000)).all(), "held more than the cap"
    assert (log["play_us"] <= np.maximum(log["target_us"], 0)).all()


def check_videos(outcome, world_of, policy):
    """Every video shown came with a served page, once, before its TTL; pages are as large as asked for."""
    world, (log, requests, _) = outcome.world, outcome.records
    users, n, server = world.users, len(world.users), world_of.server
    served = requests[requests["outcome"] == SERVED]
    assert np.unique(number(served, "request")).size == len(served), "a request was served twice"
    of = np.searchsorted(number(served, "request"), number(log, "request"))
    assert (number(served, "request")[of] == number(log, "request")).all(), "shown from a page that never came"
    assert np.unique(number(log, "request") * 256 + log["rank"]).size == len(log), "shown twice from one slot"
    age_us = log["start_us"] - served["ended_us"][of]
    assert (age_us >= 0).all() and (age_us < world.params["ttl_us"][0])[log["late"] == 0].all()
    assert (log["live"] >= 1).all() and (log["live"] <= world.pool.shape[1]).all()
    if world_of.client.expired_offline == "drop":
        assert not users["overdue"].any() and not log["late"].any()
    assert (users["overdue"] == by_user(log, log["late"], n)).all()
    shipped = world.waiting.shape[1]
    ranked = server.candidates if world.params["edge"][0] else server.page_size
    assert shipped == ranked + world_of.client.refill_at, "as many more as may be shown while a page is on its way"
    pages = np.bincount(served["user"], minlength=n)
    assert (users["served"] <= pages * shipped).all()
    if world.params["ttl_us"][0] >= 2**61 and world_of.client.ttl_impressions == np.inf:
        assert not users["expired"].any()


def check_requests(outcome):
    """Attempts of a request follow one another; times of an attempt are in order."""
    requests = outcome.records.requests
    key = requests["user"].astype(np.int64) * 2**40 + requests["request"].astype(np.int64) * 2**16 + requests["attempt"]
    assert np.unique(key).size == len(requests)
    assert (requests["sent_us"] <= requests["arrived_us"]).all()
    assert (requests["sent_us"] <= requests["ended_us"]).all()
    served = requests[requests["outcome"] == SERVED]
    turn_us = served["arrived_us"] + served["queue_us"]
    assert (served["queue_us"] >= 0).all()
    assert (turn_us + served["service_us"] <= served["response_us"]).all()
    assert (served["response_us"] <= served["ended_us"]).all()
    order = np.lexsort((requests["attempt"], requests["request"], requests["user"]))
    same = requests["user"][order][1:] == requests["user"][order][:-1]
    assert (requests["sent_us"][order][1:] >= requests["ended_us"][order][:-1])[same].all(), "two at a time"


def check_moments(outcome, world_of, who):
    """One person's moments: they tile the sessions, rebuild the ledger, and hold in [0, cap] ahead of the playhead."""
    world = outcome.world
    moments = world.moments[: world.traced[1]]
    assert len(moments) < len(world.moments)
    took = moments["end_us"] - moments["start_us"]
    assert (took > 0).all()
    phase = np.where(np.isin(moments["phase"], (PICKING, DECODING)), STARTING, moments["phase"])
    ledger = np.bincount(phase, weights=took, minlength=7).astype(np.int64)
    assert (ledger == world.users["ledger_us"][who]).all()
    sessions = outcome.records.sessions[outcome.records.sessions["user"] == who]
    gaps = np.flatnonzero(moments["end_us"][:-1] != moments["start_us"][1:])
    closes = {int(s["close_us"]) for s in sessions}
    assert all(int(moments["end_us"][k]) in closes for k in gaps)
    assert (moments["live"] <= world.pool.shape[1]).all()
    log = outcome.records.impressions
    player = world_of.player
    for row in log[log["user"] == who]:
        start = row["start_us"]
        end = start - row["pick_us"] + sum(int(row[name]) for name in SCREEN_PHASES)
        within = (moments["start_us"] >= start) & (moments["end_us"] <= end)
        mine = moments[within & (moments["screen"] == row["video"])]
        plays = mine["phase"] == PLAYING
        played = np.cumsum(np.where(plays, mine["end_us"] - mine["start_us"], 0))
        assert played[-1] == row["play_us"] if len(mine) else row["play_us"] == 0
        duration = world.videos["duration_us"][row["video"]]
        at_start = np.append(0, played[:-1])[: len(mine)]  # `bytes` of a moment are those at its start
        held = np.minimum(mine["bytes"].astype(np.int64) * 8_000_000 // row["bitrate_bps"], duration)
        held = np.where(mine["bytes"] >= row["total_bytes"], duration, held)
        ahead = held - np.minimum(at_start, duration)
        assert (ahead >= 0).all(), "the playhead is beyond what was fetched"
        assert (ahead <= 1e6 * max(player.buffer_s, player.preload_s) + 8e6 / row["bitrate_bps"]).all()
        stalls = np.count_nonzero((mine["phase"][1:] == STALLED) & (mine["phase"][:-1] != STALLED))
        assert stalls <= row["stalls"]


def check_everything(outcome, world_of, policy, who):
    check_time(outcome)
    check_bytes(outcome, world_of)
    check_videos(outcome, world_of, policy)
    check_requests(outcome)
    check_moments(outcome, world_of, who)


@FUZZ
@given(scenarios, policies, st.integers(0, 2**32), st.sampled_from([0.5, 3.0, 12.0, 20.0]))
def test_ledgers_balance_in_the_batch_world(world_of, policy, seed, minutes):
    who = seed % world_of.population.users
    waits = ((0,), (0, 0, 2_000_000, 2**62))[seed % 2]
    outcome = run(world_of, policy, seed=seed, minutes=minutes, traced=who, queue_waits=waits)
    check_everything(outcome, world_of, policy, who)


@FUZZ
@given(scenarios, policies, st.integers(0, 2**32), st.sampled_from([0.5, 3.0, 12.0]))
def test_ledgers_balance_in_the_event_world(world_of, policy, seed, minutes):
    who = seed % world_of.population.users
    outcome = run(world_of, policy, seed=seed, minutes=minutes, traced=who, engine="event")
    check_everything(outcome, world_of, policy, who)
    server, requests = outcome.server, outcome.records.requests
    assert server.arrived == server.turned + server.refused + server.reneged
    assert server.waited_us == server.waiting_area_us  # Little's law on the path, exact
    turned = requests["queue_us"][(requests["queue_us"] >= 0) & (requests["queue_us"] < 2**61)]
    assert turned.sum() <= server.waited_us


@settings(FUZZ, max_examples=30)
@given(scenarios, policies, st.integers(0, 2**32), st.sampled_from(["batch", "event"]))
def test_ledgers_balance_over_days(world_of, policy, seed, engine):
    who = seed % world_of.population.users
    outcome = run(world_of, policy, seed=seed, days=0.15, traced=who, engine=engine)
    check_everything(outcome, world_of, policy, who)


HASTY = scenario(
    population__users=3_000, sessions__leave_per_min=6.0, sessions__gap_hours=0.51, sessions__gap_log_sd=0.2,
    sessions__activity_log_sd=0.0, network__outages_per_hour=20.0, network__loss=0.02,
    client__ttl_s=20.0, catalogue__videos=2_000,
)  # fmt: skip
"""Many short lives at once: 37 sessions a person and day, of 1.5 impressions each."""


def check_hasty(policy, replication):
    """How many sessions balanced."""
    outcome = run(HASTY, policy, replication=replication, days=1.0, log_rows=1 << 16)
    check_time(outcome)
    check_bytes(outcome, HASTY)
    check_videos(outcome, HASTY, policy)
    check_requests(outcome)
    return len(outcome.records.sessions)


@pytest.mark.parametrize("policy", ["cloud_only", page_asker])
def test_a_hundred_thousand_sessions(policy):
    """What a fuzzed run of 30 people would meet once in a thousand."""
    assert check_hasty(policy, 0) > 100_000


@pytest.mark.long
def test_ten_million_sessions():
    """The same over ten million sessions, hours long."""
    policy, sessions, replication = itertools.cycle(POLICIES), 0, 1
    while sessions < 10_000_000:
        sessions += check_hasty(next(policy), replication)
        replication += 1


@pytest.mark.long
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(scenarios, policies, st.integers(0, 2**32), st.sampled_from([3.0, 20.0]), st.sampled_from(["batch", "event"]))
def test_ledgers_balance_in_fresh_worlds(world_of, policy, seed, minutes, engine):
    """Other examples each time; hypothesis prints the one that fails and how to repeat it."""
    who = seed % world_of.population.users
    outcome = run(world_of, policy, seed=seed, minutes=minutes, traced=who, engine=engine)
    check_everything(outcome, world_of, policy, who)


def test_a_broken_ledger_is_found():
    """A test that cannot fail is a defect: one microsecond, byte or video is enough."""
    for name, where in (("ledger_us", 2), ("delivered", None), ("expired", None)):
        outcome = run(scenario(), "server_score", minutes=3.0)
        field = outcome.world.users[name]
        (field if where is None else field[:, where])[5] += 1
        with pytest.raises(LedgerError, match="person 5"):
            check_ledgers(outcome.world, outcome.records)
    outcome = run(scenario(), "server_score", minutes=3.0)
    outcome.records.impressions["play_us"][7] += 1
    with pytest.raises(LedgerError, match="play_us"):
        check_ledgers(outcome.world, outcome.records)


def test_the_event_world_with_one_worker_has_a_queue():
    """By hand: otherwise the tests above would prove nothing about waiting."""
    outcome = run(scenario(population__users=30), "cloud_only", engine="event", workers=1)
    assert outcome.server.waited_us > 0 and outcome.server.turned > 50
    assert run(scenario(population__users=30), "cloud_only", engine="event", workers=AMPLE).server.waited_us == 0
