"""One replication of one arm: build the world, run it, check its ledgers, measure it.

A pure function of scenario, policy, seed, replication and window. Called by `experiments/compare.py`, in processes of
its own when there are several workers.
"""


import numpy as np

from nextone.policies.base import PolicyLike
from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.config import Scenario
from nextone.sim.event_run import run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.world import build_world

from .deciding import is_downloaded, is_edge, make_decider
from .metrics import Run, measure, whole_impressions

HOUR_US = 3_600_000_000


def window_of(minutes: float | None, days: float | None) -> int:
    """Microseconds of the window; 60 minutes if neither is given."""
    if days is not None:
        return round(days * 24 * HOUR_US)
    return round((60.0 if minutes is None else minutes) * 60e6)


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
) -> Run:
    """Run one arm once. engine: "event" (SimPy, with its server) or "batch" (ample servers, in parallel)."""
    window_us = window_of(minutes, days)
    scenario = scenario.with_workers(minutes, days)
    batch = engine == "batch"
    world = build_world(
        scenario,
        edge=is_edge(policy),
        downloads=is_downloaded(policy),
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
        records = run_batch(world, decide, end_us=window_us, days=days is not None)
    else:
        records, server = run_events(
            world,
            decide,
            workers=scenario.server.workers,
            queue_limit=scenario.server.queue_limit,
            end_us=window_us,
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
) -> dict[str, float]:
    """Every metric of one replication of one arm; NaN where undefined."""
    return measure(
        run_arm(scenario, policy, seed=seed, replication=replication, minutes=minutes, days=days, engine=engine)
    )
