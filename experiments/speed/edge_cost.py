"""What edge models cost besides decisions: collecting and training on samples, and engines at batch 1. Part of
`nextone bench`; alone it prints what each part of each network costs on each engine that can be exported to here:

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
from nextone.policies.names import ENGINES, KINDS, EngineMissing, shipped
from nextone.policies.networks.pointer.network import Pointer
from nextone.policies.phone.exporting import milliseconds, parts_cost
from nextone.policies.phone.loading import fresh_policy, load_version
from nextone.policies.phone.policies import OnEngine, Part, blank
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import UserError

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
    """Milliseconds of one person's inference by engine, one thread, 20 candidates, 20 past impressions; EdgeRec's is a
    rerank. None where an engine is not installed, or has no file and no converter."""
    sizes = Scenario().pool_slots, Scenario().client.history
    found: dict[str, float | None] = {}
    for kind in ("kir", "edgerec"):
        policy = load_version(kind, shipped(kind), kind)
        assert not isinstance(policy, OnEngine)
        name, (part, example) = list(policy.parts(*sizes).items())[-1]
        found[f"{kind}_torch_ms"] = milliseconds(part.eval(), example)
        for engine in ENGINES:
            try:
                deployed = load_version(kind, shipped(kind), kind, engine)
                assert isinstance(deployed, OnEngine)
                found[f"{kind}_{engine}_ms"] = milliseconds(deployed.part(name, *sizes), example)
            except EngineMissing:
                found[f"{kind}_{engine}_ms"] = None
    return found


def parts_of(kind: str) -> dict[str, Part]:
    """The parts that a phone runs of a kind's network, untrained, with inputs of one person in the default scenario."""
    slots, rows = Scenario().pool_slots, Scenario().client.history
    return {"dense": (Pointer(), blank(slots, rows))} if kind == "pointer" else fresh_policy(kind).parts(slots, rows)


if __name__ == "__main__":  # the table of policies/phone/costs.py
    with torch_threads(1):
        for engine in ENGINES:
            for kind in (*KINDS, "pointer"):
                try:
                    for name, cost in parts_cost(parts_of(kind), engine).items():
                        sys.stdout.write(f"{engine} {kind} {name}: {tuple(cost)}\n")
                except UserError as error:
                    sys.stdout.write(f"{engine} {kind}: {error}\n")
