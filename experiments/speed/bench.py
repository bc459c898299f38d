"""Speed and size on this machine: `nextone bench`. Numbers to read, never a timed test.

Rates are the best of several runs, since other work on the machine can only slow one down; building the world is not in
them. `cloud_only` unless stated. What the parts cost is measured by timing them alone, on the state a run has left.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numba
import numpy as np

from nextone.experiments.runs.cluster import processor
from nextone.sim import event_run
from nextone.sim.batch_run import run_batch
from nextone.sim.population import person_rows
from nextone.sim.state import World
from nextone.sim.world import build_world
from nextone.version import __version__

from .edge_cost import engine_ms, samples_per_s
from .edge_decisions import edge_speed
from .env_steps import env_speed, numba_threads
from .parts import MINUTE_US, draw_ns, of_people, parts_ns, simpy_cycle_us


class Sizes(NamedTuple):
    """How much to measure."""

    event: tuple[int, float] = (2_000, 60)  # people, minutes
    event_many: tuple[int, float] = (100_000, 5)
    batch: tuple[int, float] = (5_000, 60)
    memory: tuple[int, float] = (1_000_000, 2)
    event_growth: tuple[int, ...] = (1_000, 10_000)  # people, in event_many's window
    batch_growth: tuple[int, ...] = (1_000, 10_000, 100_000)  # people, in memory's window
    env: tuple[int, int] = (1024, 100)  # people, steps
    edge: tuple[int, int, float, int] = (10_000, 4_096, 1, 2)  # people of either driver, share of minutes, repeats
    repeats: int = 3
    samples: int = 200  # people
    training: int = 512  # people at a time
    calls: int = 200_000  # of a small kernel timed alone
    compile: bool = True
    compare: bool = False


ASKED: dict[str, tuple[str, float, str]] = {
    "event_impressions_per_s": (">=", 40_000, "event driver, 2,000 people, one core"),
    "event_impressions_per_s_100k": (">=", 20_000, "event driver, 100,000 people, one core"),
    "batch_impressions_per_s": (">=", 300_000, "batch driver, one core, logs off"),
    "bytes_per_user": ("<=", 6_000, "bytes of a person at 20 candidates and history 20"),
    "batch_1m_gb": ("<=", 7, "GB, peak of a batch run of 1,000,000 people"),
    "compile_s": ("<=", 60, "s, first start: all kernels compiled"),
    "startup_s": ("<=", 3, "s, later starts: a tiny run of both drivers"),
    "help_s": ("<=", 0.7, "s, nextone --help"),
    "draw_ns": ("<=", 5, "ns a keyed draw, of a thousand"),
    "env_steps_per_s": (">=", 200_000, "native vector environment, 1,024 people, random masked actions, one core"),
    "env_single_steps_per_s": (">=", 20_000, "one environment, resets included, one core"),
    "sb3_ppo_fps": (">=", 6_000, "decisions a second that PPO learns from, default configuration, two threads"),
    "sb3_ppo_env_share": ("<=", 0.15, "share of that time spent in the environment"),
    "kir_decisions_per_s": (">=", 3_000, "decisions of KIR, event driver, 10,000 people, 20 candidates, all cores"),
    "edgerec_reranks_per_s": (">=", 2_500, "reranks of EdgeRec, the same; one impression in ten has one"),
    "kir_decisions_per_cycle": (">=", 0.075, "decisions of KIR in the time of a bare SimPy request, the same"),
    "edgerec_reranks_per_cycle": (">=", 0.03, "reranks of EdgeRec in that time, the same"),
    "edgerec_reranks_per_s_100": (">=", 600, "the same with 100 candidates"),
    "compare_default_s": ("<=", 60, "s, nextone compare with its defaults, all cores"),
}
"""Targets for a machine with 2 cores, set before the code was written: at least or at most how much, and of what."""

_ALSO = {
    "batch_impressions_per_s_logged": "batch driver, one core, logs on",
    "batch_impressions_per_s_2_threads": "batch driver, two threads, logs off",
    "draw_single_ns": "ns a keyed draw, one by one",
    "simpy_cycle_us": "us a bare SimPy request: a turn at a resource, held for a while, given back",
    "kir_decisions_per_s_impressions": "impressions a second then, under KIR",
    "edgerec_reranks_per_s_impressions": "the same, under EdgeRec",
    "context_aware_decisions_per_s": "decisions of the context-aware search (k = 2), event driver",
    "kir_decisions_per_s_batch": "decisions of KIR, batch driver, 4,096 people",
    "edgerec_reranks_per_s_batch": "reranks of EdgeRec, the same",
    "kir_decisions_per_s_million_day_h": "h, a day of a million people under KIR, event driver",
    "edgerec_reranks_per_s_million_day_h": "h, the same under EdgeRec",
    "collected_samples_per_s": "training samples collected",
    "training_samples_per_s": "samples that EdgeRec learns from, one thread",
    "kir_torch_ms": "ms, KIR for one person, eager torch",
    "kir_onnx_ms": "ms, the same by ONNX Runtime",
    "kir_mnn_ms": "ms, the same by MNN",
    "kir_tflite_ms": "ms, the same by TensorFlow Lite",
    "edgerec_torch_ms": "ms, a rerank of EdgeRec for one person, eager torch",
    "edgerec_onnx_ms": "ms, the same by ONNX Runtime",
    "edgerec_mnn_ms": "ms, the same by MNN",
    "edgerec_tflite_ms": "ms, the same by TensorFlow Lite",
}


class _Timed(NamedTuple):
    impressions: int
    seconds: float
    world: World

    @property
    def per_s(self) -> float:
        return self.impressions / self.seconds


def run_bench(sizes: Sizes | None = None) -> dict[str, Any]:
    """Every number of `ASKED` (None where not measured), further rates, what the parts cost, and growth with people."""
    sizes = sizes or Sizes()
    many_min, memory_min = sizes.event_many[1], sizes.memory[1]
    with numba_threads(1):
        _batch(10, 1), _event(10, 1)  # kernels are compiled or loaded
        event = _best(sizes.repeats, lambda: _event(*sizes.event))
        life = _life_share(*sizes.event)
        many = _best(sizes.repeats, lambda: _event(*sizes.event_many))
        batch = _best(sizes.repeats, lambda: _batch(*sizes.batch))
        logged = _best(sizes.repeats, lambda: _batch(*sizes.batch, log_rows=1 << 14))
        parts = parts_ns(batch.world, batch.impressions, _ns(batch), sizes.calls, sizes.repeats)
        growth = {
            "event_ns": {n: _ns(_best(sizes.repeats, partial(_event, n, many_min))) for n in sizes.event_growth},
            "batch_ns": {n: _ns(_best(sizes.repeats, partial(_batch, n, memory_min))) for n in sizes.batch_growth},
        }
        draws = draw_ns(sizes.calls, sizes.repeats)
    two = min(2, numba.get_num_threads())
    with numba_threads(two):
        parallel = _best(sizes.repeats, lambda: _batch(*sizes.batch, threads=two))
    cycle_us, edge = simpy_cycle_us(sizes.calls // 10, sizes.repeats), edge_speed(*sizes.edge)
    speed = _in_process(_TRAINING.format(sizes.training))
    memory = _in_process(_MEMORY.format(*sizes.memory))
    growth["event_ns"][sizes.event_many[0]] = _ns(many)
    growth["batch_ns"][sizes.memory[0]] = memory["seconds"] / memory["impressions"] * 1e9
    return {
        "event_impressions_per_s": event.per_s,
        "event_impressions_per_s_100k": many.per_s,
        "batch_impressions_per_s": batch.per_s,
        "batch_impressions_per_s_logged": logged.per_s,
        "batch_impressions_per_s_2_threads": parallel.per_s,
        "bytes_per_user": _bytes_per_user(),
        "batch_1m_gb": memory["peak_bytes"] / 1e9,
        **env_speed(*sizes.env, sizes.repeats),
        **edge,
        "kir_decisions_per_cycle": edge["kir_decisions_per_s"] * cycle_us * 1e-6,
        "edgerec_reranks_per_cycle": edge["edgerec_reranks_per_s"] * cycle_us * 1e-6,
        **samples_per_s(sizes.samples),
        **engine_ms(),
        "sb3_ppo_fps": speed["fps"],
        "sb3_ppo_env_share": speed["env_share"],
        **_starts(sizes),
        **draws,
        "simpy_cycle_us": cycle_us,
        "compare_default_s": _seconds_of("-m", "nextone.cli", "compare", "--json") if sizes.compare else None,
        "parts_ns": parts,
        "event_life_share": life,
        "growth": growth,
        "machine": _machine(),
    }


def bench_tables(result: dict[str, Any]) -> Iterator[object]:
    """The measured numbers beside the targets, and where the time goes."""
    from rich.table import Table

    machine = result["machine"]
    table = Table(title=f"nextone {machine['nextone']} on {machine['cores']} cores, load {machine['load']:.1f}")
    for name in ("measured", "asked", "what"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=name != "what")
    for key, (sign, limit, what) in ASKED.items():
        value = result[key]
        if value is not None:
            good = value >= limit if sign == ">=" else value <= limit
            table.add_row(_short(value), f"{sign} {_short(limit)}", what, style="" if good else "red")
    for key, what in _ALSO.items():
        if result.get(key) is not None:
            table.add_row(_short(result[key]), "", what)
    yield table
    parts = result["parts_ns"]
    table = Table(title="Where an impression's time goes: batch driver, one core")
    for name in ("part", "ns an impression", "share", "ns a call", "calls an impression"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for name, part in parts.items():
        share = "" if part["share"] is None else f"{part['share']:.0%}"
        table.add_row(name, _short(part["per_impression"]), share, _short(part["call"]), f"{part['calls']:.2f}")
    yield table
    life = result["event_life_share"]
    yield f"Event driver: {life:.0%} of the time in compiled life, the rest SimPy, Python and logs."
    table = Table(title="Growth: ns an impression")
    table.add_column("people", justify="right")
    people = sorted(set(result["growth"]["event_ns"]) | set(result["growth"]["batch_ns"]), key=int)
    for driver in ("event_ns", "batch_ns"):
        table.add_column(driver.replace("_ns", ""), justify="right")
    for n in people:
        cells = [result["growth"][driver].get(n) for driver in ("event_ns", "batch_ns")]
        table.add_row(f"{int(n):,}", *("" if cell is None else _short(cell) for cell in cells))
    yield table


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _batch(people: int, minutes: float, *, threads: int = 1, log_rows: int = 0) -> _Timed:
    end_us = round(minutes * MINUTE_US)
    world = build_world(
        of_people(people), edge=False, seed=0, window_us=end_us, log_rows=log_rows, parts=threads,
        queue_waits=np.zeros(1, np.int64),
    )  # fmt: skip
    start = perf_counter()
    run_batch(world, None, end_us=end_us)
    return _Timed(int(world.users["shown"].sum()), perf_counter() - start, world)


def _event(people: int, minutes: float) -> _Timed:
    scenario, end_us = of_people(people).with_workers(minutes, None), round(minutes * MINUTE_US)
    world = build_world(scenario, edge=False, seed=0, window_us=end_us)
    server = scenario.server
    start = perf_counter()
    event_run.run_events(world, None, workers=server.workers, queue_limit=server.queue_limit, end_us=end_us)
    return _Timed(int(world.users["shown"].sum()), perf_counter() - start, world)


def _best(repeats: int, run: Callable[[], _Timed]) -> _Timed:
    """The fastest of some runs."""
    return max((run() for _ in range(repeats)), key=lambda timed: timed.per_s)


def _ns(timed: _Timed) -> float:
    return 1e9 / timed.per_s


def _life_share(people: int, minutes: float) -> float:
    """Share of an event run spent in `advance_rows`: the compiled life, a call's overhead included."""
    inside, names = 0.0, vars(event_run)
    advance_rows = names["advance_rows"]

    def timed(*args: Any) -> None:
        nonlocal inside
        start = perf_counter()
        advance_rows(*args)
        inside += perf_counter() - start

    names["advance_rows"] = timed
    try:
        whole = _event(people, minutes)
    finally:
        names["advance_rows"] = advance_rows
    return inside / whole.seconds


def _bytes_per_user() -> float:
    """All arrays that have a row per person, for a policy on the phone; a policy's own memory apart."""
    people = 100
    world = build_world(of_people(people), edge=True, seed=0, window_us=MINUTE_US)
    rows = person_rows(world)
    assert world.pool.shape[1] == 20 and world.history.shape[1] == 20 and all(len(a) == people for a in rows)
    return sum(array.nbytes for array in rows) / people


_MEMORY = """
import json, resource
import numba
from nextone.experiments.speed.bench import _batch
numba.set_num_threads(1)
_batch(10, 1)  # kernels are loaded
run = _batch({}, {})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(impressions=run.impressions, seconds=run.seconds, peak_bytes=peak)))
"""

# Seen once, cause not found: this process aborted as it was ending, its numbers printed. So it ends at once.
_TRAINING = """
import json, os
import numba
from nextone.experiments.speed.training import ppo_speed
numba.set_num_threads(min(2, numba.get_num_threads()))
print(json.dumps(ppo_speed(envs={})._asdict()), flush=True)
os._exit(0)
"""

_TINY = """
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import Population, Scenario
world = Scenario(population=Population(users=10))
for engine in ("event", "batch"):
    for policy in ("cloud_only", "tag_momentum"):
        run_arm(world, policy, seed=0, replication=0, minutes=2, engine=engine)
"""


def _starts(sizes: Sizes) -> dict[str, float | None]:
    """How long a process takes: the first ever, later ones, and `--help`."""
    help_s = min(_seconds_of("-m", "nextone.cli", "--help") for _ in range(sizes.repeats))
    with tempfile.TemporaryDirectory(prefix="nextone-bench-") as empty:
        cache = {"NUMBA_CACHE_DIR": empty} if sizes.compile else {}
        first = _seconds_of("-c", _TINY, **cache) if sizes.compile else None
        later = min(_seconds_of("-c", _TINY, **cache) for _ in range(sizes.repeats))
    return {"compile_s": first, "startup_s": later, "help_s": help_s}


def _seconds_of(*arguments: str, **environment: str) -> float:
    start = perf_counter()
    _python(*arguments, **environment)
    return perf_counter() - start


def _in_process(script: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_python("-c", script))
    return found


def _python(*arguments: str, **environment: str) -> str:
    """Run this Python in a process of its own; what it printed."""
    done = subprocess.run(  # noqa: S603 (our own scripts)
        [sys.executable, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a measured process failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _machine() -> dict[str, Any]:
    return {
        "nextone": __version__,
        "cpu": processor(),
        "cores": os.cpu_count() or 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "python": platform.python_version(),
        "numba": numba.__version__,
    }
