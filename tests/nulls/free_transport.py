"""Null worlds: free transport, worlds in which there is nothing to perceive, and the comparison of two arms' lives.

Not a test module. In a null world two arms must agree, whatever the sizes: what is left of a difference is plumbing.
"""

import math

import numba
import numpy as np
from worlds import AMPLE, SMALL, replace, same_bits

from nextone.experiments.runs.metrics import Run
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.scenario import NOTHING_TO_PERCEIVE
from nextone.sim.state import ASKED, LONG, PREDICTED, STALE, VALID

FREE = {
    "network__constant_mbps": math.inf, "network__rtt_scale": 0.0, "network__loss": 0.0,
    "network__outages_per_hour": 0.0, "server__workers": AMPLE, "server__service_ms": 0.0,
    "server__service_per_candidate_ms": 0.0, "server__chain_ms": 0.0, "server__feature_lag_s": 0.0,
    "phone__inference_ms": 0.0, "phone__inference_min_ms": 0.0, "phone__perception_ms": 0.0,
    "phone__hardware_start_ms": 0.0, "phone__software_start_ms": 0.0,
    "client__model_bytes": 0, "phone__no_model": 0.0, "phone__old_model": 0.0,
}  # fmt: skip
"""F: whatever a phone asks for is there at once, and costs nothing."""

NOTHING = {
    name.replace(".", "__"): float(value) for name, value in (text.split("=") for text in NOTHING_TO_PERCEIVE)
}
"""Nothing to perceive, as keyword arguments."""

EVERYTHING_KNOWN = NOTHING | {
    "server__quality_correlation": 1.0, "server__match_correlation": 1.0, "server__embedding_correlation": 1.0,
    "server__pxtr_noise": 0.0,
}  # fmt: skip

ONE_SET = {
    "catalogue__videos": 2_500, "server__recall": 1_500, "server__kept": 1_000, "server__arrivals_per_min": 0.0,
    "sessions__leave_per_min": 0.1,
}  # fmt: skip
"""Sessions of some 30 impressions, and one set of videos that lasts for each. A set of the usual 160 is followed by
another when what is left cannot fill a page, the earlier the larger the page; and what arrived a moment ago is on no
page that is older: that is retrieval, not transport."""

OF_THE_PAGE = ("request", "rank", "position", "live", "buffered", "outcome")
"""What an impression says of the page it came from. `outcome` is compared without ASKED and STALE. `buffered` is what
was preloaded when a video took the screen: a phone that picks a session's first has begun with it, in no time."""


def small(*settings: dict[str, object]) -> Scenario:
    """30 people, a synthetic catalogue, one set for each session."""
    chosen = SMALL | ONE_SET | {"population__users": 30}
    for more in settings:
        chosen |= more
    return replace(Scenario(), **chosen)


def lived(world_of: Scenario, policy, engine="batch", *, seed=1, replication=0, minutes=10.0) -> Run:
    """One arm, sessions lived to their end."""
    numba.set_num_threads(1)
    return run_arm(world_of, policy, seed=seed, replication=replication, minutes=minutes, engine=engine)


def within_session(shown: np.ndarray) -> np.ndarray:
    """Number of each impression in its session, from 0."""
    starts = np.flatnonzero(np.diff(shown["session"], prepend=-1) | np.diff(shown["user"], prepend=-1))
    lengths = np.diff(np.append(starts, len(shown)))
    return np.arange(len(shown)) - np.repeat(starts, lengths)


def same_lives(a: Run, b: Run, first: int | None = None) -> str:
    """Where two arms' lives first part; "" if people saw the same videos with the same bits of all that happened.

    Compared are every field of every impression but `OF_THE_PAGE`, and every field of every session. first: only so
    many impressions of each session, and then of sessions only that there are as many and when they opened."""
    tables = []
    for run in (a, b):
        shown = run.records.impressions
        tables.append(shown if first is None else shown[within_session(shown) < first])
    difference = same_bits(*tables, OF_THE_PAGE)
    if difference:
        return f"impressions: {difference}"
    left, right = (table["outcome"] & ~np.uint8(ASKED | STALE) for table in tables)
    if (left != right).any():
        return f"impressions: outcome differs in {np.count_nonzero(left != right)} rows"
    ends = () if first is None else ("impressions", "cut", "dry", "satisfaction", "mood", "close_us")
    difference = same_bits(a.records.sessions, b.records.sessions, ends)
    return difference and f"sessions: {difference}"


def worth(world_of: Scenario, shown: np.ndarray) -> np.ndarray:
    """What `server.objective` makes of what people did, effective views for each impression."""
    total = np.zeros(len(shown))
    for weight, name in zip(world_of.server.objective, PREDICTED, strict=True):
        if name in FEEDBACK:
            did = shown["feedback"] & (1 << FEEDBACK.index(name))
        else:
            did = shown["outcome"] & {"valid_play": VALID, "long_view": LONG}[name]
        total += weight * (did != 0)
    return total


def early_worth(run: Run, first: int = 20) -> float:
    """Mean worth of an impression, over the first so many of each session."""
    return float(worth(run.scenario, run.whole[within_session(run.whole) < first]).mean())
