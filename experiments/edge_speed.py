"""How fast edge models decide, on this machine. Part of `nextone bench`; alone:

    python -m nextone.experiments.edge_speed

Networks of the shipped sizes with random weights: speed does not depend on weights. Rates count what phones computed
(inferences) per second of a whole run, world, features and all; beside them the policy alone.
"""

import json
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numba
import numpy as np

from nextone.policies.edge import fresh_policy
from nextone.sim.batch_run import run_batch
from nextone.sim.config import Scenario
from nextone.sim.event_run import run_events
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array, World
from nextone.sim.world import build_world

from .deciding import make_decide

MINUTE_US = 60_000_000
DAY_DECISIONS = 277  # Source: KuaiRand-27K, impressions of a person in a day
DRIVERS = {"event": 10_000, "batch": 4_096}
"""Driver: people."""


class Rate(NamedTuple):
    """A run's speed."""

    decisions: int
    impressions: int
    seconds: float
    deciding_s: float  # in observe and policy

    @property
    def per_s(self) -> float:
        """Decisions of phones per second of the whole run."""
        return self.decisions / self.seconds


def rate(kind: str, driver: str, people: int, minutes: float, settings: list[str]) -> Rate:
    """Run people for so many minutes under a network of that kind."""
    scenario = with_settings(Scenario(), [f"population.users={people}", *settings]).with_workers(minutes, None)
    world = build_world(
        scenario, edge=True, downloads=True, seed=0, window_us=round(minutes * MINUTE_US),
        parts=numba.get_num_threads() if driver == "batch" else 1,
        queue_waits=np.zeros(1, np.int64) if driver == "batch" else None,
    )  # fmt: skip
    decide, spent = _timed(make_decide(fresh_policy(kind), world))
    start = perf_counter()
    if driver == "batch":
        run_batch(world, decide, end_us=round(minutes * MINUTE_US))
    else:
        run_events(
            world, decide, workers=scenario.server.workers, queue_limit=scenario.server.queue_limit,
            end_us=round(minutes * MINUTE_US),
        )  # fmt: skip
    took = perf_counter() - start
    return Rate(int(world.users["inferences"].sum()), int(world.users["shown"].sum()), took, sum(spent))


def _timed(decide: Callable[[World, Array], Array]) -> tuple[Callable[[World, Array], Array], list[float]]:
    spent: list[float] = []

    def timed(world: World, rows: Array) -> Array:
        start = perf_counter()
        scores = decide(world, rows)
        spent.append(perf_counter() - start)
        return scores

    return timed, spent


def edge_speed(
    minutes: float = 1.0, people: dict[str, int] | None = None, repeats: int = 2, threads: int | None = None
) -> dict[str, Any]:
    """Rates by driver, the best of `repeats`; `a_million_people_a_day_h`: hours for a day of a million phones."""
    before = numba.get_num_threads()
    numba.set_num_threads(threads or before)
    found: dict[str, Any] = {}
    try:
        for driver, n in (people or DRIVERS).items():
            for name, kind, candidates in (
                ("kir_decisions_per_s", "kir", 20),
                ("edgerec_reranks_per_s", "edgerec", 20),
                ("edgerec_reranks_per_s_100", "edgerec", 100),
                ("context_aware_decisions_per_s", "context_aware", 20),
            ):
                settings = [f"server.candidates={candidates}"]
                rate(kind, driver, 64, 1.0, settings)  # compiled, and torch warm
                best = max((rate(kind, driver, n, minutes, settings) for _ in range(repeats)), key=lambda r: r.per_s)
                found[f"{name}_{driver}"] = {
                    "per_s": best.per_s,
                    "per_s_of_policy": best.decisions / best.deciding_s,
                    "impressions_per_s": best.impressions / best.seconds,
                    "policy_share": best.deciding_s / best.seconds,
                    "a_million_people_a_day_h": 1e6 * DAY_DECISIONS / (best.impressions / best.seconds) / 3600,
                }
    finally:
        numba.set_num_threads(before)
    return found


if __name__ == "__main__":
    print(json.dumps(edge_speed(), indent=1))  # noqa: T201
