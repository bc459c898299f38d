"""Small worlds for the tests: scenarios in one line, runs in one call, random scenarios, logs compared bit by bit.

Not a test module. `scenario()` is small on purpose (12 people, 300 synthetic videos): a run takes milliseconds.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from hypothesis import strategies as st

from nextone.experiments.runs.deciding import decider_names, is_edge, make_decider, phone_cost
from nextone.policies.rules import at_random, hash_columns
from nextone.sim.batch_run import run_batch
from nextone.sim.config import Scenario
from nextone.sim.event_run import ServerLedger, run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.records import Records
from nextone.sim.world import World, build_world

AMPLE = 10_000  # workers: more than there are people in any test
SECOND_US, MINUTE_US, HOUR_US = 1_000_000, 60_000_000, 3_600_000_000

SMALL = {
    "population__users": 12,
    "catalogue__kind": "synthetic",
    "catalogue__videos": 300,
    "catalogue__tags": 7,
    "server__workers": 3,
}


def replace(base: Scenario, **settings) -> Scenario:
    """A scenario with some fields replaced: replace(base, client__ttl_s=3.0)."""
    sections = {name: dict(getattr(base, name)) for name in type(base).model_fields}
    for name, value in settings.items():
        section, field = name.split("__")
        sections[section][field] = value
    return Scenario.model_validate(sections)


def scenario(**settings) -> Scenario:
    """A small world: scenario(server__page_size=2, ...)."""
    return replace(Scenario(), **(SMALL | settings))


class Outcome(NamedTuple):
    """A finished run."""

    world: World
    records: Records
    server: ServerLedger | None


def run(
    world_of: Scenario,
    policy="cloud_only",
    *,
    seed=1,
    replication=0,
    minutes=8.0,
    days=None,
    engine="batch",
    parts=1,
    threads=1,
    workers=None,
    queue_waits=(0,),
    traced=-1,
    log_rows=1 << 12,
    check=True,
) -> Outcome:
    """Run a scenario. engine: "batch" (waits in the queue are given) or "event" (workers: the scenario's, or these)."""
    batch = engine == "batch"
    window_us = round(days * 24 * HOUR_US) if days is not None else round(minutes * MINUTE_US)
    world = build_world(
        world_of,
        edge=is_edge(policy),
        cost=phone_cost(policy),
        seed=seed,
        replication=replication,
        window_us=window_us,
        days=days is not None,
        parts=parts if batch else 1,
        queue_waits=np.array(queue_waits, np.int64) if batch else None,
        traced=traced,
        log_rows=log_rows,
    )
    decide = make_decider(policy, world)
    server = None
    if batch:
        numba.set_num_threads(threads)  # one: threads that wait for each other are slow while other tests run
        records = run_batch(world, decide, end_us=window_us, days=days is not None)
    else:
        records, server = run_events(
            world,
            decide,
            workers=workers or world_of.server.workers,
            queue_limit=world_of.server.queue_limit,
            end_us=window_us,
            days=days is not None,
        )
    if check:
        check_ledgers(world, records)
    return Outcome(world, records, server)


def same_bits(a: np.ndarray, b: np.ndarray, without: tuple[str, ...] = ()) -> str:
    """"" if two structured arrays hold the same bits in every field (padding apart), else where they first differ."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"shapes or types differ: {a.shape} {b.shape}"
    for name in a.dtype.names:
        if name in without:
            continue
        left, right = (np.ascontiguousarray(x[name]).view(np.uint8).reshape(len(x), -1) for x in (a, b))
        wrong = np.flatnonzero((left != right).any(axis=1))
        if len(wrong):
            k = wrong[0]
            who = "".join(f" {key}={a[key][k]}" for key in ("user", "session", "impression") if key in a.dtype.names)
            return f"{name} differs in {len(wrong)} of {len(a)} rows, first{who}: {a[name][k]} != {b[name][k]}"
    return ""


SCRATCH = ("knot", "loop_us", "behaviours", "oldest")
"""Fields of a user that are hints or positions, never a result."""


def same_run(a: Outcome, b: Outcome, without: tuple[str, ...] = ()) -> str:
    """"" if two runs logged the same impressions, requests and sessions and left people alike, else the difference."""
    tables = [(name, getattr(a.records, name), getattr(b.records, name)) for name in Records._fields]
    for name, left, right in [*tables, ("users", a.world.users, b.world.users)]:
        difference = same_bits(left, right, without + (SCRATCH if name == "users" else ()))
        if difference:
            return f"{name}: {difference}"
    return ""


# -- policies that only tests need -------------------------------------------------------------------------------------


def page_asker(observation):
    """Any candidate; at about every fourth decision it would rather have a new page (the extra column)."""
    scores = at_random(observation)
    asks = np.where(hash_columns(observation.context) & np.uint64(3) == 0, 2.0, -1.0)
    return np.concatenate([scores, asks[:, None].astype(np.float32)], axis=1)


def indifferent(observation):
    """The same score for everything: the server's order among what is live."""
    return np.zeros(observation.mask.shape, np.float32)


def policy_id(policy):
    """A policy's name: the same in every process that collects the tests."""
    return policy if isinstance(policy, str) else policy.__name__


POLICIES = (*decider_names(), page_asker)
policies = st.sampled_from(POLICIES)


# -- random scenarios --------------------------------------------------------------------------------------------------

INF = math.inf
CHOICES = {
    "catalogue__videos": [1, 2, 30, 300],
    "catalogue__tags": [1, 3, 7, 43],
    "catalogue__authors": [1, 3],
    "catalogue__content_dims": [1, 2, 3],
    "catalogue__tag_share": [0.0, 1.0],
    "catalogue__author_share": [0.0, 1.0],
    "catalogue__duration_log_mean": [0.0, 1.0, 6.0],
    "catalogue__kind": ["kuairand"],
    "population__users": [1, 3, 30],
    "population__taste_sd": [0.0, 2.0],
    "population__match_sd": [0.0, 2.0],
    "population__past_impressions": [0],
    "interests__mood_sd": [0.0, 5.0],
    "interests__intent_sd": [0.0, 5.0],
    "interests__intent_half_life_min": [0.01, 100_000.0],
    "interests__reinforcement": [0.3, 5.0],
    "interests__satiation": [0.0, 2.0],
    "watching__stay": [-20.0, 3.0, 20.0],
    "watching__dead_time_s": [0.0, 5.0],
    "watching__skip_log_mean": [-1.0, 3.0],
    "watching__loop": [0.0, 0.95],
    "watching__most_rounds": [0],
    "feedback__browse": [0.0, 1.0],
    "feedback__like": [0.0, 1.0],
    "feedback__hate": [0.0, 0.5],
    "sessions__leave_per_min": [0.0, 2.0, 60.0],
    "sessions__stall_felt_s": [0.0, 1000.0],
    "sessions__most_pain": [0.0, 100.0],
    "sessions__stall_patience_s": [0.01, 1e6],
    "sessions__wait_patience_s": [0.01, 3.0, 1e6],
    "sessions__away": [0.3, 1.0],
    "sessions__away_s": [0.0, 5.0],
    "sessions__leave_pace": [0.0, 3.0],
    "sessions__gap_hours": [0.51],
    "sessions__activity_log_sd": [0.0, 2.0],
    "network__constant_mbps": [0.1, 0.7, 2.0, 30.0, INF],
    "network__synthetic_traces": [3],
    "network__synthetic_mbps": [0.5, 3.0],
    "network__rtt_scale": [0.0, 10.0, 100.0],
    "network__spell_share": [0.0, 0.5],
    "network__spells_s": [(0.001, 3600.0)],
    "network__loss": [0.0, 0.3, 1.0],
    "network__outages_per_hour": [0.0, 60.0, 3600.0],
    "network__outage_s": [0.5, 60.0],
    "network__radio_wake_ms": [300.0],
    "network__radio_idle_s": [0.0, 1.0],
    "network__shares": [(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)],
    "player__swipe_ms": [0.0, 3000.0],
    "player__startup_s": [0.0, 2.0],
    "player__rebuffer_s": [0.05, 2.0],
    "player__buffer_s": [2.0, 120.0],
    "player__preload_videos": [0, 1, 100],
    "player__preload_s": [0.0, 0.3, 30.0],
    "player__bitrates_mbps": [(0.1, 0.1, 0.1), (2.0, 8.0, 40.0)],
    "player__rate_memory_bytes": [1, 10**9],
    "player__recalled_videos": [0, 1],
    "player__recalled_every_s": [0.0, 3600.0],
    "player__refetch_share": [0.01, 0.9],
    "client__ttl_s": [0.2, 2.0, 15.0, INF],
    "client__ttl_impressions": [1.0, 2.0, 5.0],
    "client__refill_at": [0, 2, 30],
    "client__on_refill": ["merge"],
    "client__decide_at": ["start"],
    "client__ask_at": ["swipe"],
    "client__expired_offline": ["serve"],
    "client__timeout_s": [0.2, 1.0, 60.0],
    "client__backoff_s": [0.01, 0.1],
    "client__backoff_doublings": [0, 20],
    "client__history": [1, 3],
    "server__page_size": [1, 2, 19],
    "server__candidates": [1, 6, 50],
    "server__workers": [1],
    "server__queue_limit": [0, 2],
    "server__service_ms": [0.0, 5000.0],
    "server__service_cv": [0.0, 2.0],
    "server__chain_ms": [0.0, 3000.0],
    "server__feature_lag_s": [0.0, 1.0, 600.0],
    "server__recall": [1, 10, 100_000],
    "server__kept": [1, 30, 5000],
    "server__arrivals_per_min": [3.0, 1000.0],
    "server__repeat_after_days": [0.0, 0.001, 1000.0],
    "server__objective": [(0.0,) * 6 + (-1.0,), (1000.0,) * 7, (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)],
    "server__filter_use": [0.0, 1.0],
    "server__assumed_intent_sd": [0.0, 5.0],
    "server__assumed_half_life_min": [0.01, 100_000.0],
    "server__person_correlation": [0.0, 1.0],
    "server__embedding_correlation": [0.0, 1.0],
    "server__pxtr_bias": [-5.0, 5.0],
    "server__item_bytes": [0, 100_000],
    "server__embedding_bytes": [0, 50_000],
    "phone__inference_ms": [(0.0,) * 4, (5000.0,) * 4, (0.0, 1.0, 300.0, 2000.0)],
    "phone__software_decoder": [0.0, 1.0],
    "phone__hardware_start_ms": [0.0],
}


def _valid(chosen: dict) -> Scenario:
    """The scenario of such settings, nudged to what fits together."""
    page = chosen.get("server__page_size", 6)
    candidates = max(page, chosen.get("server__candidates", 20))
    if "server__candidates" in chosen and chosen["server__candidates"] < page:
        candidates = page = chosen["server__candidates"]
    chosen = chosen | {"server__page_size": page, "server__candidates": candidates}
    buffer_s = chosen.get("player__buffer_s", 20.0)
    for name, usual in (("player__startup_s", 0.5), ("player__rebuffer_s", 1.0)):
        chosen = chosen | {name: min(buffer_s, chosen.get(name, usual))}
    usual = Scenario().catalogue
    by_author = 1.0 - chosen.get("catalogue__tag_share", usual.tag_share)  # at most
    author_share = min(by_author, chosen.get("catalogue__author_share", usual.author_share))
    chosen = chosen | {"catalogue__author_share": author_share}
    page_and_spare = candidates + chosen.get("client__refill_at", 1)
    chosen = chosen | {"server__kept": max(page_and_spare, chosen.get("server__kept", 300))}
    return scenario(**chosen)


scenarios = st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in CHOICES.items()}).map(_valid)
"""Random scenarios: any subset of the fields of every section at unusual values, extremes included."""
