"""What the parts of an impression cost: each timed alone, on the state that a run has left. Part of `nextone bench`."""

from collections.abc import Callable, Generator
from time import perf_counter

import numpy as np
import simpy

from nextone.envs.features import empty_observation
from nextone.envs.observing import observe
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import Scenario
from nextone.sim.engine.chance import many_words
from nextone.sim.scenario import with_settings
from nextone.sim.state import DEAD, World
from nextone.sim.world import build_world

from .part_kernels import draws, learn_all, rank_pages, settle_all, watch

MINUTE_US = 60_000_000


def of_people(people: int) -> Scenario:
    """The default scenario with so many people."""
    return with_settings(Scenario(), [f"population.users={people}"])


def parts_ns(
    world: World, impressions: int, total: float, calls_of_one: int, repeats: int
) -> dict[str, dict[str, float | None]]:
    """Where an impression's time goes: parts timed alone, and the rest; and `observe`, where a policy ranks.

    world: as a batch run of so many impressions left it; total: ns that an impression took."""
    pages = float(world.users["request"].sum()) / impressions  # nearly all are served
    sets = float(world.users["recalls"].sum()) / impressions
    minutes = float(world.users["wall_us"].sum()) / MINUTE_US / impressions
    timed: tuple[tuple[str, float, int, Callable[[int], object]], ...] = (
        ("look at a session's videos", sets, calls_of_one // 500, lambda n: rank_pages(world, n, True)),
        ("rank a page", pages, calls_of_one // 50, lambda n: rank_pages(world, n, False)),
        ("learn from a behaviour", 1.0, calls_of_one, lambda n: learn_all(world, n)),
        ("draw the watch time", 1.0, calls_of_one, lambda n: watch(world, n)),
        ("live through a minute", minutes, calls_of_one, lambda n: settle_all(world, n)),
    )
    parts = {name: _part(_call_ns(count, repeats, run), calls, total) for name, calls, count, run in timed}
    rest, events = total - sum(part["per_impression"] or 0.0 for part in parts.values()), _events_an_impression()
    parts["the rest, by event"] = _part(rest / events, events, total)
    looks = _observe_ns(len(world.users), calls_of_one, repeats)
    parts["observe, where a policy ranks"] = {"call": looks, "calls": 1.0, "per_impression": looks, "share": None}
    return parts


def _part(call_ns: float, calls: float, total_ns: float) -> dict[str, float | None]:
    return {"call": call_ns, "calls": calls, "per_impression": call_ns * calls, "share": call_ns * calls / total_ns}


def _observe_ns(people: int, calls: int, repeats: int) -> float:
    """Of one decision, asked in batches of up to 256 with full pools."""
    world = build_world(of_people(people), edge=True, seed=0, window_us=MINUTE_US)
    slots, past = world.pool.shape[1], world.history.shape[1]
    world.pool["rank"] = np.arange(slots) % DEAD
    rows = np.arange(min(people, 256))
    seen, rounds = empty_observation(len(rows), slots, past), max(calls // 20 // len(rows), 1)

    def observe_all(n: int) -> None:
        for _ in range(n // len(rows)):
            observe(world, rows, *seen)

    return _call_ns(rounds * len(rows), repeats, observe_all)


def _events_an_impression(people: int = 20, minutes: float = 30) -> float:
    """Moments of a timeline per impression, by following one person after another."""
    moments = impressions = 0
    for user in range(people):
        run = run_arm(
            of_people(people), "cloud_only", seed=0, replication=0, minutes=minutes, engine="batch", traced=user
        )
        moments += int(run.world.traced[1])
        impressions += int(run.world.users["shown"][user])
    return moments / impressions


def draw_ns(calls: int, repeats: int) -> dict[str, float]:
    """A keyed draw among many, as ranking makes them, and one by one."""
    key, ids = np.array([1, 2], np.uint32), np.arange(1000)
    high, low = np.empty(1000, np.uint64), np.empty(1000, np.uint64)

    def many(n: int) -> None:
        for _ in range(n // 1000):
            many_words(key, 6, 1, ids, high, low)

    calls = max(5 * calls // 1000, 1) * 1000
    single = _call_ns(calls, repeats, lambda n: draws(key, n))
    return {"draw_ns": _call_ns(calls, repeats, many), "draw_single_ns": single}


def simpy_cycle_us(requests: int, repeats: int) -> float:
    """A request to a server in SimPy and nothing else, us: a process waits for its turn, holds a worker, gives it back.
    What the event driver cannot do without; its speed is to be read as a ratio to this."""

    def request(env: simpy.Environment, workers: simpy.Resource) -> Generator[simpy.Event, object, None]:
        for _ in range(10):
            with workers.request() as turn:
                yield turn
                yield env.timeout(1)

    def run(n: int) -> None:
        env = simpy.Environment()
        workers = simpy.Resource(env, 8)
        for _ in range(n // 10):
            env.process(request(env, workers))
        env.run()

    return _call_ns(requests, repeats, run) / 1e3


def _call_ns(calls: int, repeats: int, run: Callable[[int], object]) -> float:
    run(calls)  # compiled, and the caches are warm
    best = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        run(calls)
        best = min(best, perf_counter() - start)
    return best / calls * 1e9
