"""Which samples the cloud trains on: those that phones sent up and that arrived in time. Called by `collect.py`."""

import numpy as np

from nextone.sim.records import samples_arrive_us
from nextone.sim.state import World

from .samples import SPLITS, Array


def arrived(columns: dict[str, Array], world: World, impressions: Array, cut_us: int) -> dict[str, Array]:
    """The rows whose sample reached the cloud by the cut in time. Of test people all rows are kept: they judge what was
    trained, and nothing is learnt from them. columns: of this world's people."""
    shown = impressions[find_impressions(impressions, columns["person"], columns["impression"])]
    in_time = samples_arrive_us(world, shown) <= cut_us
    kept = in_time | (columns["split"] == SPLITS.index("test"))
    return {name: column[kept] for name, column in columns.items()}


def find_impressions(impressions: Array, person: Array, impression: Array) -> Array:
    """Row of each (person, impression) in the log sorted by them, -1 if it is not there, (N,)."""
    wide = np.int64(1) << 32
    known = impressions["user"] * wide + impressions["impression"]
    wanted = person * wide + impression
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, -1)
