"""How fast edge models decide, on this machine. Part of `nextone bench`; alone:

    python -m nextone.experiments.speed.edge_decisions
    python -m nextone.experiments.speed.edge_decisions --cpu  # one thread, per second of CPU: on a busy machine

Networks of the shipped sizes with random weights: speed does not depend on weights. Rates count what phones computed
(inferences) per second of a whole run, world, features and all; beside them the policy alone.
"""

import json
import sys
from collections.abc import Callable
from time import perf_counter, process_time
from typing import NamedTuple

import numba
import numpy as np

from nextone.experiments.runs.deciding import make_decide, phone_cost
from nextone.policies.phone.loading import fresh_policy
from nextone.sim.batch_run import run_batch
from nextone.sim.config import Scenario
from nextone.sim.event_run import run_events
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array, World
from nextone.sim.world import build_world

MINUTE_US = 60_000_000
HOUR_MIN = 60.0
DAY_IMPRESSIONS = 277  # Source: KuaiRand-27K, impressions of a person in a day


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


def rate(
    kind: str, driver: str, people: int, minutes: float, settings: list[str], clock: Callable[[], float] = perf_counter
) -> Rate:
    """Run people under such a network for the first minutes of an hour in which all of them open the app."""
    scenario = with_settings(Scenario(), [f"population.users={people}", *settings])
    scenario = scenario.with_workers(HOUR_MIN, None, ranks=True)
    policy = fresh_policy(kind)
    world = build_world(
        scenario, edge=True, cost=phone_cost(policy), seed=0, window_us=round(HOUR_MIN * MINUTE_US),
        parts=numba.get_num_threads() if driver == "batch" else 1,
        queue_waits=np.zeros(1, np.int64) if driver == "batch" else None,
    )  # fmt: skip
    decide, spent = _timed(make_decide(policy, world), clock)
    start = clock()
    if driver == "batch":
        run_batch(world, decide, end_us=round(minutes * MINUTE_US))
    else:
        run_events(
            world, decide, workers=scenario.server.workers, queue_limit=scenario.server.queue_limit,
            end_us=round(minutes * MINUTE_US),
        )  # fmt: skip
    took = clock() - start
    return Rate(int(world.users["inferences"].sum()), int(world.users["shown"].sum()), took, sum(spent))


def _timed(
    decide: Callable[[World, Array], Array], clock: Callable[[], float]
) -> tuple[Callable[[World, Array], Array], list[float]]:
    spent: list[float] = []

    def timed(world: World, rows: Array) -> Array:
        start = clock()
        scores = decide(world, rows)
        spent.append(clock() - start)
        return scores

    return timed, spent


class Asked(NamedTuple):
    """A rate to be measured: kind of network, candidates, and minutes of the hour, so that each measurement takes some
    seconds."""

    kind: str
    candidates: int
    minutes: float


ASKED_RATES = {
    "kir_decisions_per_s": Asked("kir", 20, 8.0),
    "edgerec_reranks_per_s": Asked("edgerec", 20, 15.0),
    "edgerec_reranks_per_s_100": Asked("edgerec", 100, 12.0),
    "context_aware_decisions_per_s": Asked("context_aware", 20, 8.0),
}
"""By name; of the event driver; with `_batch` of the batch driver."""


def edge_speed(
    event: int = 10_000, batch: int = 4_096, share: float = 1.0, repeats: int = 2,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, float]:
    """Rates with so many people in either driver, with all threads; the best of `repeats`, over this share of the
    minutes.

    Besides each rate: `..._impressions`, of the same run, per second; `..._policy`, decisions per second of observing
    and deciding alone; `..._million_day_h`, hours that a day of a million people (277 impressions each) would take."""
    found: dict[str, float] = {}
    for driver, people in (("event", event), ("batch", batch)):
        for name, asked in ASKED_RATES.items():
            settings = [f"server.candidates={asked.candidates}"]
            minutes = asked.minutes * share
            rate(asked.kind, driver, min(people, 64), 1.0, settings)  # compiled
            runs = (rate(asked.kind, driver, people, minutes, settings, clock) for _ in range(repeats))
            best = max(runs, key=lambda run: run.per_s)
            key = name if driver == "event" else f"{name}_batch"
            impressions_per_s = best.impressions / best.seconds
            found[key] = best.per_s
            found[f"{key}_impressions"] = impressions_per_s
            found[f"{key}_policy"] = best.decisions / best.deciding_s
            found[f"{key}_million_day_h"] = 1e6 * DAY_IMPRESSIONS / impressions_per_s / 3600
    return found


if __name__ == "__main__":
    by_cpu = "--cpu" in sys.argv[1:]
    if by_cpu:
        numba.set_num_threads(1)
    print(json.dumps(edge_speed(clock=process_time if by_cpu else perf_counter, repeats=1), indent=1))  # noqa: T201
