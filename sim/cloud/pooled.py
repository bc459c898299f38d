"""What the cloud learns from everybody: how good each video is, from plays of all people (`server.pool_min`).

The catalogue says what the cloud knew of videos before. A video that is played more often, or less often, than the
cloud expected of these people moves its estimate of the quality, by a step of the same kind as in `belief.learn`. The
event driver calls it at barriers. By then every phone has lived up to there, but for those that wait for a page; they
wait for `client.timeout_s` at most. So what ended that long before is complete, and the order in which phones are moved
does not matter.

Assumed: embeddings and appeal stay what they are, and how unsure the cloud is of a video counts here only, not in how
flat it takes chances to be.
"""

import numpy as np

from nextone.sim.config import NEVER_US
from nextone.sim.engine.kernel import entry
from nextone.sim.records import ORDER, Logs, samples_arrive_us
from nextone.sim.state import VALID, Array, World

from .belief import LEAST_NOISE, expected_play


class Pooled:
    """The plays of everybody, and how unsure the cloud is of each video."""

    def __init__(self, world: World) -> None:
        p = world.params[0]
        self._world = world
        self._index = world.indexed.view()
        self._index.setflags(write=True)  # of a world that learns, `build_world` made a copy
        self._unsure = np.full(len(self._index), p["quality_sd"] ** 2 * (1.0 - p["quality_correlation"] ** 2))
        self._waits_us = int(world.params["timeout_us"].max())
        self._taken = 0
        self._to_come = world.impressions[0, :0].copy()

    def learn(self, logs: Logs, now_us: int) -> None:
        """At a barrier: learn from the samples that had arrived by then and are complete."""
        fresh, self._taken = logs.impressions_since(self._taken)
        rows = np.concatenate([self._to_come, fresh])
        arrive_us = samples_arrive_us(self._world, rows)
        here = arrive_us <= now_us - self._waits_us
        self._to_come = rows[~here & (arrive_us < NEVER_US)]
        self.learn_from(rows[here])

    def learn_from(self, impressions: Array) -> None:
        """Move the estimate of each of their videos."""
        rows = impressions[np.lexsort([impressions[name] for name in reversed(ORDER[0])])]
        who, video, valid = rows["user"], rows["video"], (rows["outcome"] & VALID) != 0
        surprise, told = np.zeros((2, len(self._unsure)))
        w = self._world
        _add_up(w.params, w.key, w.users, w.belief, w.indexed, who.copy(), video.copy(), valid, surprise, told)
        self._unsure /= 1.0 + self._unsure * told
        self._index["quality"] += (self._unsure * surprise).astype(np.float32)


@entry
def _add_up(params, key, users, beliefs, index, who, video, valid, surprise, told):
    """Of impressions (n,): add how much oftener each video was played than expected to surprise (V,), and what that
    tells of its quality to told (V,), both by what a logit of quality would do to the chance of a valid play."""
    for k in range(len(who)):
        i = who[k]
        user = users[i]
        chance, slope = expected_play(params[user.arm], key[i], user, beliefs[i], index[video[k]], video[k])
        noise = max(np.float64(chance) * (1.0 - np.float64(chance)), LEAST_NOISE)
        surprise[video[k]] += slope * ((1.0 if valid[k] else 0.0) - chance) / noise
        told[video[k]] += slope * slope / noise
