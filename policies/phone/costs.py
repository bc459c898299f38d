"""What networks cost a phone: the time of a decision and the bytes of the files, for each part and each engine.

`python -m nextone.experiments.speed.edge_cost` measures and prints this table. On another machine all times change by
about the same factor, and only ratios to the context-aware network's time are used. Called by `policies.py` and
`policies/rl.py`.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from nextone.sim.config import Cost

DEPLOYED = "mnn"
"""The engine on phones, unless a policy names another."""


class PartCost(NamedTuple):
    """One exported part of a network."""

    ms: float  # of one inference of one person, one thread
    bytes: int  # of its file


MEASURED: dict[str, dict[str, dict[str, PartCost]]] = {
    "onnx": {
        "edgerec": {"exposure": PartCost(0.039, 154_185), "page_view": PartCost(0.039, 154_185),
                    "rerank": PartCost(0.124, 148_901)},
        "kir": {"dense": PartCost(0.163, 254_547)},
        "context_aware": {"watched": PartCost(0.085, 46_962), "placed": PartCost(0.045, 35_247),
                          "towers": PartCost(0.051, 91_876)},
        "dnn": {"dense": PartCost(0.019, 15_047)},
        "dlcm": {"dense": PartCost(0.061, 101_434)},
        "pointer": {"dense": PartCost(0.050, 19_418)},
    },
    "mnn": {
        "edgerec": {"exposure": PartCost(0.019, 158_776), "page_view": PartCost(0.019, 158_776),
                    "rerank": PartCost(0.123, 170_368)},
        "kir": {"dense": PartCost(0.128, 282_028)},
        "context_aware": {"watched": PartCost(0.049, 67_756), "placed": PartCost(0.036, 47_972),
                          "towers": PartCost(0.057, 106_520)},
        "dnn": {"dense": PartCost(0.015, 19_352)},
        "dlcm": {"dense": PartCost(0.069, 109_720)},
        "pointer": {"dense": PartCost(0.025, 41_984)},
    },
    "tflite": {
        "edgerec": {"exposure": PartCost(0.014, 182_600), "page_view": PartCost(0.014, 182_600),
                    "rerank": PartCost(0.080, 359_700)},
        "kir": {"dense": PartCost(0.081, 299_172)},
        "context_aware": {"watched": PartCost(0.034, 49_468), "placed": PartCost(0.027, 37_324),
                          "towers": PartCost(0.022, 86_888)},
    },
}  # fmt: skip
"""By engine, network and part: 20 candidates, 20 past impressions. `pointer` is what `nextone train rl` trains. What is
not in it takes what it takes on the engine that is deployed."""


def cost_of(kind: str, calls: Mapping[str, float], engine: str = DEPLOYED) -> Cost:
    """The cost of a decision of a network that calls its parts so many times; a part that runs only after behaviours
    has 0."""
    parts = MEASURED[engine].get(kind) or MEASURED[DEPLOYED][kind]
    ms = sum(parts[name].ms * times for name, times in calls.items())
    reference = MEASURED[DEPLOYED]["context_aware"]
    whole = sum(reference[name].ms * times for name, times in search_calls(2).items())
    return Cost(ms / whole, sum(parts[name].bytes for name in calls))


def search_calls(beams: int) -> dict[str, float]:
    """Calls of the context-aware network's parts in a decision. Each step after the first extends every beam.

    Measured: a search over 20 candidates with 2, 3, 5 and 8 beams takes .4, .6, 1.1 and 1.3 steps after the first."""
    extended = beams * 0.43 * math.log2(beams)
    return {"watched": 1.0, "placed": extended, "towers": 1.0 + extended}
