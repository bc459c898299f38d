"""What people would do with a random video instead of the recommended one: how much they care which one comes.

KuaiRand replaced a few recommended videos by random ones. Here, whenever a person of a small world is about to get the
next video, the product's own functions compute how the person, as they are at that moment, would react to a random
video of the log's pool. This changes nothing in the simulation. Called by `experiments/fitting/people/validate.py`.
"""

from typing import NamedTuple

import numpy as np

from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.catalogue import REAL_VIDEOS
from nextone.sim.config import Scenario
from nextone.sim.engine.chance import uniform
from nextone.sim.engine.kernel import entry
from nextone.sim.engine.luck import EXPOSURE
from nextone.sim.scenario import with_settings
from nextone.sim.state import CUT, LONG, VALID, Array, World
from nextone.sim.watching import draw_watch_us, outcome_of, stay_logit
from nextone.sim.world import build_world

DAYS = 2.0  # 400 people: about 300,000 tries
SERVER_ORDER = (  # the phone asks and keeps the server's order, at no cost: the world of cloud_only
    "phone.inference_ms=0", "phone.inference_min_ms=0", "server.embedding_bytes=0",
)  # fmt: skip


class Exposure(NamedTuple):
    """Shares of plays in a world, of random and of recommended videos."""

    random_valid: float
    random_long: float
    valid: float
    long: float


def random_exposure(scenario: Scenario, seed: int, people: int, days: float = DAYS) -> Exposure:
    """Let `people` live that many days, and try a random video on them at each decision; returns the shares of
    plays."""
    size = scenario.server.page_size
    settings = [*SERVER_ORDER, f"population.users={people}", f"server.candidates={max(size, 2)}"]
    window_us = round(days * 86_400e6)
    world = build_world(
        with_settings(scenario, settings), edge=True, seed=seed, window_us=window_us, days=True, parts=log_parts(),
        queue_waits=np.zeros(1, np.int64),
    )  # fmt: skip
    found = np.zeros(3)

    def decide(w: World, rows: Array) -> Array:
        try_random(w, rows, min(REAL_VIDEOS, len(w.videos)), found)
        return -w.pool["rank"][rows].astype(np.float32)

    shown = run_batch(world, decide, end_us=window_us, days=True).impressions
    outcome = shown["outcome"][shown["outcome"] & CUT == 0]
    tries, valid, long = found.tolist()
    recommended = (float(np.mean(outcome & bit != 0)) for bit in (VALID, LONG))
    return Exposure(valid / tries, long / tries, *recommended)


@entry
def try_random(w, rows, pool, found):
    """Add to `found`: tries, valid plays and long views of a random one of the first `pool` videos by each person."""
    p, key = w.params[0], w.key
    for i in rows:
        user = w.users[i]
        video_id = np.int64(uniform(key[i], EXPOSURE, user.user, user.impression, 0) * pool)
        video = w.videos[video_id]
        logit = stay_logit(p, key[i], user, w.mind[i], video_id, video, w.content[video_id])
        outcome = outcome_of(draw_watch_us(p, key[i], user, video_id, video.duration_us, 0, logit), video.duration_us)
        found[0] += 1
        found[1] += outcome & VALID != 0
        found[2] += outcome & LONG != 0


def at_level(share: float, recommended: float, level: float) -> float:
    """A share of random plays at another level of recommended ones: with the same ratio of odds."""
    odds = share / (1 - share) * (1 - recommended) / recommended * level / (1 - level)
    return odds / (1 + odds)
