"""A reference, not a policy: it sees true interests, which no phone and no server does.

How much could choosing among these candidates bring at most, one choice at a time? Written against a driver's `decide`
because policies never see hidden state.
"""

import numpy as np

from nextone.sim.engine.kernel import entry
from nextone.sim.state import DEAD, Array, World
from nextone.sim.watching import stay_logit


@entry
def true_scores(w: World, rows: Array, scores: Array) -> None:
    """Each live candidate's true log-odds of being stayed with now, into scores (n, P)."""
    p = w.params[0]
    for k in range(len(rows)):
        i = rows[k]
        for j in range(w.pool.shape[1]):
            slot = w.pool[i, j]
            if slot.rank != DEAD:
                scores[k, j] = stay_logit(
                    p, w.key[i], w.users[i], w.mind[i], slot.video, w.videos[slot.video], w.content[slot.video]
                )


def oracle_greedy(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: the candidate this person would most likely stay with comes first."""
    scores = np.zeros((len(rows), world.pool.shape[1]), np.float32)
    true_scores(world, rows, scores)
    return scores
