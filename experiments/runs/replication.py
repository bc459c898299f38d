"""One replication of one arm: build the world, run it, check its ledgers, measure it.

A pure function of scenario, policy, seed, replication and window. Called by `experiments/runs/executor.py`, in
processes of its own when there are several workers.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from nextone.policies.contract import PolicyLike
from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.config import MINUTES, Scenario
from nextone.sim.event_run import run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.state import Array, World
from nextone.sim.world import build_world

from .deciding import is_edge, make_decider, phone_cost
from .metrics import Run, by_position, measure, whole_impressions

HOUR_US = 3_600_000_000
FOLLOWED_US = 24 * HOUR_US
"""After a window of minutes, people who opened the app in it are followed for so long at most; then they are cut."""


class Replication(NamedTuple):
    """What is kept of one replication of one arm."""

    metrics: dict[str, float]  # NaN where undefined
    positions: Array  # (P, 2) int64, see `metrics.by_position`
    links_sha256: str
    catalogue_sha256: str


def window_of(minutes: float | None, days: float | None) -> int:
    """Microseconds of the window; 60 minutes if neither is given."""
    if days is not None:
        return round(days * 24 * HOUR_US)
    return round((MINUTES if minutes is None else minutes) * 60e6)


def end_of(window_us: int, days: bool) -> int:
    """When a run ends, us. Over whole days people come and go until the window's end. In a window of minutes they open
    once and are followed until they leave, so that no session is cut because it began late."""
    return window_us if days else window_us + FOLLOWED_US


def run_arm(
    scenario: Scenario,
    policy: str | PolicyLike,
    *,
    seed: int,
    replication: int,
    minutes: float | None = None,
    days: float | None = None,
    engine: str = "event",
    traced: int = -1,
    alone: bool = False,
) -> Run:
    """Run one arm once. engine: "event" (SimPy, with its server) or "batch" (ample servers, in parallel).

    traced: a person whose every moment is noted (-1: nobody). alone: with "batch", nobody but that person lives, the
    same life as among the others."""
    window_us = window_of(minutes, days)
    end_us = end_of(window_us, days is not None)
    scenario = scenario.with_workers(minutes, days, is_edge(policy))
    batch = engine == "batch"
    world = build_world(
        scenario,
        edge=is_edge(policy),
        cost=phone_cost(policy),
        seed=seed,
        replication=replication,
        window_us=window_us,
        days=days is not None,
        parts=log_parts() if batch else 1,
        queue_waits=np.zeros(1, np.int64) if batch else None,
        traced=traced,
    )
    decide = make_decider(policy, world)
    server = None
    if batch:
        records = run_batch(world, decide, end_us=end_us, days=days is not None, only=traced if alone else None)
    else:
        records, server = run_events(
            world,
            decide,
            workers=scenario.server.workers,
            queue_limit=scenario.server.queue_limit,
            end_us=end_us,
            days=days is not None,
        )
    check_ledgers(world, records)
    return Run(scenario, world, records, whole_impressions(records), server, scenario.server.workers, window_us)


def run_replication(
    scenario: Scenario,
    policy: str | PolicyLike,
    *,
    seed: int,
    replication: int,
    minutes: float | None,
    days: float | None,
    engine: str,
) -> Replication:
    """Every metric of one replication of one arm, and what it met."""
    run = run_arm(scenario, policy, seed=seed, replication=replication, minutes=minutes, days=days, engine=engine)
    return Replication(measure(run), by_position(run), links_sha256(run.world), catalogue_sha256(run.world))


def links_sha256(world: World) -> str:
    """Of the traces, levels and round trips that a world's phones have."""
    return _once(world.knots, world.trace_first, world.link_traces, world.link_levels, world.rtt)


def catalogue_sha256(world: World) -> str:
    """Of its videos."""
    return _once(world.videos)


_digests: list[tuple[Array, str]] = []


def _once(*arrays: Array) -> str:
    """Digest of arrays; worlds of one process share theirs, so that it is known for those met lately."""
    for first, known in _digests:
        if first is arrays[0]:
            return known
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    _digests[8:] = []
    _digests.insert(0, (arrays[0], digest.hexdigest()))
    return digest.hexdigest()
