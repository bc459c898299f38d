"""What edge models cost besides decisions: collecting and training on samples, and engines at batch 1. Part of
`nextone bench`; alone it prints what each part of each network costs on each engine:

    python -m nextone.experiments.speed.edge_cost

A sample is a candidate that was shown, as in EdgeRec's batches.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from nextone.experiments.training.edge.collect import CollectSettings, collect
from nextone.experiments.training.edge.samples import read_samples
from nextone.experiments.training.edge.train import READ, EdgeSettings, begin, one_of_each_page, run_epoch
from nextone.experiments.training.state import torch_threads
from nextone.policies.names import KINDS, SHIPPED, EngineMissing
from nextone.policies.networks.pointer.network import Pointer
from nextone.policies.phone.costs import PartCost
from nextone.policies.phone.engines import ENGINES
from nextone.policies.phone.exporting import parts_cost
from nextone.policies.phone.loading import fresh_policy
from nextone.policies.phone.policies import Part, blank
from nextone.sim.config import Scenario

COLLECTED_MIN = 30.0  # of people who all open the app within


def samples_per_s(people: int) -> dict[str, float]:
    """Samples collected a second, all threads; and learned from by EdgeRec, one thread, its looks at held-out people
    included."""
    settings = EdgeSettings(kind="edgerec")
    with TemporaryDirectory() as folder:
        start = perf_counter()
        collect(CollectSettings(users=people, minutes=COLLECTED_MIN), Path(folder))
        collecting_s = perf_counter() - start
        train, valid = (read_samples(Path(folder), split, READ) for split in ("train", "valid"))
    shown = [(samples.columns["shown_after"] >= 0).sum(1) for samples in (train, valid)]
    rows = one_of_each_page(train, settings.seed, 0)
    with torch_threads(settings.threads):
        training = begin(settings)
        start = perf_counter()
        run_epoch(training, settings, train, valid)
        training_s = perf_counter() - start
    collected = sum(int(np.sum(of)) for of in shown)
    return {
        "collected_samples_per_s": collected / collecting_s,
        "training_samples_per_s": float(shown[0][rows].sum()) / training_s,
    }


def engine_ms() -> dict[str, float | None]:
    """Milliseconds of one person's decision by engine, one thread, 20 candidates, 20 past impressions; EdgeRec's is a
    rerank. None where an engine is not installed."""
    found: dict[str, float | None] = {}
    for kind in SHIPPED:
        calls = fresh_policy(kind).calls
        for engine in ENGINES:
            try:
                parts = parts_measured(kind, engine)
            except EngineMissing:
                found[f"{kind}_{engine}_ms"] = None
            else:
                found[f"{kind}_{engine}_ms"] = sum(parts[name].ms * times for name, times in calls.items())
    return found


def parts_measured(kind: str, engine: str) -> dict[str, PartCost]:
    """Each part of a kind's network on an engine, which a phone ships. Raises EngineMissing."""
    scenario = Scenario()
    with torch_threads(1):
        return parts_cost(parts_of(kind, scenario.pool_slots, scenario.client.history), engine)


def parts_of(kind: str, slots: int, rows: int) -> dict[str, Part]:
    """What a phone runs of a kind's network, untrained, with inputs of one person."""
    if kind == "pointer":
        return {"dense": (Pointer(), blank(slots, rows))}
    return fresh_policy(kind).parts(slots, rows)


if __name__ == "__main__":  # the table of policies/phone/costs.py
    for engine in ENGINES:
        for kind in (*KINDS, "pointer"):
            for name, cost in parts_measured(kind, engine).items():
                sys.stdout.write(f"{engine} {kind} {name}: {tuple(cost)}\n")
