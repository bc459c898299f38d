"""Twin: two drivers, one life. With ample servers the SimPy world and the parallel one log the same bits.

Also: the same bits for any number of threads, any order of rows, any split of batches, any order of replications, and
without the compiler.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from worlds import AMPLE, POLICIES, Outcome, page_asker, policy_id, run, same_bits, same_run, scenario

from nextone.experiments.runs.deciding import is_edge, make_decider
from nextone.sim.batch_run import NO_SCORES, advance_rows
from nextone.sim.impression import DECIDE, DONE, PAUSED
from nextone.sim.records import Logs
from nextone.sim.state import ASKED, SERVED, STALE
from nextone.sim.world import build_world

ODD = {
    "default": {},
    "merge": {"client__on_refill": "merge", "client__refill_at": 3, "server__page_size": 4},
    "start": {"client__decide_at": "start", "phone__inference_ms": (900.0, 300.0, 100.0, 0.0)},
    "short_ttl": {"client__ttl_s": 5.0, "client__ttl_impressions": 4.0, "client__expired_offline": "serve"},
    "small_page": {"server__page_size": 2, "server__candidates": 50, "client__refill_at": 0},
    "rough": {"network__loss": 0.2, "network__outages_per_hour": 120.0, "network__radio_wake_ms": 300.0,
              "network__constant_mbps": 1.5, "server__service_ms": 4500.0, "client__timeout_s": 4.0,
              "network__shares": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0), "server__queue_limit": 0,
              "population__users": 24},
}  # fmt: skip


def twins(world_of, policy, **window):
    return (
        run(world_of, policy, engine="event", workers=AMPLE, **window),
        run(world_of, policy, engine="batch", **window),
    )


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_event_world_and_batch_world_log_the_same_bits(policy, odd):
    event, batch = twins(scenario(**ODD[odd]), policy, minutes=10.0)
    assert same_run(event, batch) == ""
    assert len(batch.records.impressions) >= 30 and (batch.records.requests["outcome"] == SERVED).any()
    assert event.server.waited_us == 0


@pytest.mark.parametrize("policy", ["cloud_only", "tag_momentum", page_asker], ids=policy_id)
def test_event_world_and_batch_world_log_the_same_bits_over_days(policy):
    event, batch = twins(scenario(sessions__gap_hours=1.0, sessions__leave_per_min=0.3), policy, days=0.4)
    assert same_run(event, batch) == ""
    assert batch.records.sessions["session"].max() >= 2


def test_event_world_and_batch_world_agree_on_the_real_catalogue():
    """The default scenario itself, but for its size."""
    world_of = scenario(catalogue__kind="kuairand", catalogue__videos=8_000, population__users=60)
    event, batch = twins(world_of, "server_score", minutes=10.0)
    assert same_run(event, batch) == ""
    assert ((batch.records.impressions["outcome"] & ASKED) != 0).any()
    assert ((batch.records.impressions["outcome"] & STALE) != 0).any()


def test_twins_would_notice():
    """A test that cannot fail is a defect: another seed, another policy and a busy server all differ."""
    event, batch = twins(scenario(), "server_score", minutes=10.0)
    assert same_run(run(scenario(), "server_score", seed=2, minutes=10.0), batch)
    assert same_run(run(scenario(), "random", minutes=10.0), batch)
    assert same_run(run(scenario(), "server_score", engine="event", workers=1, minutes=10.0), event)
    nudged = batch.records.impressions.copy()
    nudged["stay_logit"][3] = np.nextafter(nudged["stay_logit"][3], np.float32(9))
    assert same_bits(nudged, batch.records.impressions).startswith("stay_logit differs in 1 of")


@pytest.mark.parametrize("policy", ["cloud_only", "buffered_first", page_asker], ids=policy_id)
def test_same_bits_for_any_number_of_threads_and_parts(policy):
    one = run(scenario(), policy, minutes=10.0)
    for threads in range(1, min(4, numba.config.NUMBA_NUM_THREADS) + 1):
        for parts in (1, 2, 3, 12, 40):
            other = run(scenario(), policy, minutes=10.0, parts=parts, threads=threads, log_rows=64)
            assert same_run(one, other) == ""


def run_in_any_order(world_of, policy, window_us, rng):
    """A driver that moves a random handful of people, in random order, by a random number of impressions at a time."""
    world = build_world(world_of, edge=is_edge(policy), seed=1, window_us=window_us, log_rows=512,
                        queue_waits=np.zeros(1, np.int64))  # fmt: skip
    decide, logs = make_decider(policy, world), Logs(world)
    reason = np.full(len(world.users), PAUSED, np.int8)
    while (reason != DONE).any():
        kind = rng.choice(np.unique(reason[reason != DONE]))
        rows = rng.permutation(np.flatnonzero(reason == kind))[: rng.integers(1, 6)]
        scores = decide(world, rows) if kind == DECIDE else NO_SCORES
        why = np.zeros(len(rows), np.int8)
        advance_rows(world, rows, scores, np.zeros(len(rows), np.bool_), window_us, False, int(rng.integers(1, 9)),
                     why, 0, len(rows), 0)  # fmt: skip
        logs.collect()
        reason[rows] = why
    return Outcome(world, logs.records(), None)


@pytest.mark.parametrize("policy", ["cloud_only", "random", "tag_momentum", page_asker], ids=policy_id)
@pytest.mark.parametrize("odd", ["default", "merge"])
def test_same_bits_for_any_order_of_people_and_any_batches(policy, odd):
    world_of = scenario(**ODD[odd])
    one = run(world_of, policy, minutes=8.0)
    for seed in range(4):
        assert same_run(one, run_in_any_order(world_of, policy, 8 * 60_000_000, np.random.default_rng(seed))) == ""


def test_replications_do_not_know_of_each_other():
    """Any order, same process: nothing is left behind by an earlier run; different replications differ."""
    first = [run(scenario(), "tag_momentum", replication=r, minutes=6.0) for r in (0, 1, 2)]
    again = [run(scenario(), "tag_momentum", replication=r, minutes=6.0) for r in (2, 0, 1)]
    for r, k in ((0, 1), (1, 2), (2, 0)):
        assert same_run(first[r], again[k]) == ""
    assert same_run(first[0], first[1]) and same_run(first[1], first[2])


def test_more_people_change_nobody():
    """A person's life does not depend on who else lives (ample servers)."""
    few, many = (run(scenario(population__users=n), "random", minutes=6.0) for n in (5, 25))
    for table in ("impressions", "requests", "sessions"):
        left, right = getattr(few.records, table), getattr(many.records, table)
        assert same_bits(left, right[right["user"] < 5]) == ""


def test_one_compiled_signature_serves_pools_of_any_size():
    for page, candidates, merge in ((6, 6, "replace"), (6, 20, "merge"), (50, 100, "replace")):
        world_of = scenario(server__page_size=page, server__candidates=candidates, client__on_refill=merge)
        for policy in ("cloud_only", "random", page_asker):
            twins(world_of, policy, minutes=1.0)
    assert len(advance_rows.signatures) == 1


PLAIN = """
import json, sys
sys.path.insert(0, "tests")
from worlds import run, scenario
world = scenario(population__users=2, catalogue__videos=60, catalogue__tags=3, server__recall=40, server__kept=25)
run(world, "tag_momentum", minutes=0.2, engine="event", check=False)  # the other driver runs, too
outcome = run(world, "tag_momentum", minutes=2.0, check=False)
print(json.dumps({table: {name: getattr(outcome.records, table)[name].tolist() for name in names} for table, names in (
    ("impressions", ("user", "impression", "video", "request", "rank", "outcome", "feedback", "bitrate_bps", "live",
                     "start_us", "play_us", "startup_us", "stall_us", "swipe_us", "wait_us", "bytes", "target_us")),
    ("requests", ("user", "request", "attempt", "outcome", "sent_us", "ended_us")),
    ("sessions", ("user", "session", "open_us", "close_us")))}))
"""


def test_plain_python_lives_the_same_life():
    """NUMBA_DISABLE_JIT=1: what the compiler makes of the kernels is what they say. Times within 2 us (libm may round
    exp and log the other way), bytes within what 100 Mbit/s bring in them, everything discrete identical."""
    root, answers = Path(__file__).parents[2], []
    for disable in ("0", "1"):
        env = os.environ | {"NUMBA_DISABLE_JIT": disable}
        done = subprocess.run([sys.executable, "-c", PLAIN], env=env, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        answers.append(json.loads(done.stdout))
    compiled, plain = answers
    assert len(compiled["impressions"]["user"]) >= 5
    for table, columns in compiled.items():
        for name, values in columns.items():
            other = plain[table][name]
            assert len(values) == len(other), (table, name)
            slack = 2 if name.endswith("_us") else 25 if name == "bytes" else 0
            assert all(abs(a - b) <= slack for a, b in zip(values, other, strict=True)), (table, name, values, other)
