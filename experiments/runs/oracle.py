"""References, not policies: they know what no phone knows, and are written against a driver's `decide`.

The oracle sees true interests: how much could choosing among these candidates bring at most, one choice at a time? The
cloud's filter ranks as the cloud would if it saw at once what the phone has seen: what there is to gain by knowing
sooner, all else equal.
"""

import numpy as np

from nextone.sim.cloud.belief import fade, learn_outcomes
from nextone.sim.cloud.page import score_held
from nextone.sim.engine.kernel import entry
from nextone.sim.interest import live_on, settle
from nextone.sim.state import DEAD, Array, World, person_of
from nextone.sim.watching import stay_logit


@entry
def true_scores(w: World, rows: Array, scores: Array) -> None:
    """Each live candidate's true log-odds of being stayed with now, into scores (n, P)."""
    p = w.params[0]
    for k in range(len(rows)):
        i = rows[k]
        one, feels = w.users[i : i + 1].copy(), w.mind[i : i + 1].copy()
        user, mind = one[0], feels[0]
        live_on(p, w.key[i], user, mind, user.now_us)  # as when a video is shown, but in copies
        settle(p, user, mind, user.now_us)
        for j in range(w.pool.shape[1]):
            slot = w.pool[i, j]
            if slot.rank != DEAD:
                scores[k, j] = stay_logit(
                    p, w.key[i], user, mind, slot.video, w.videos[slot.video], w.content[slot.video]
                )


@entry
def scores_of_the_cloud(w: World, scores: Array) -> None:
    """What the cloud would make of each live candidate of everybody, had it seen all by now, into scores (N, P). It
    learns in w's own rows."""
    p = w.params[0]
    for i in range(len(w.users)):
        person = person_of(w, i)
        learn_outcomes(p, w.key[i], person, w.indexed, person.user.now_us)
        fade(p, person.belief, person.user.now_us)
        score_held(p, person, w.indexed, scores[i])


def oracle_greedy(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: the candidate this person would most likely stay with comes first."""
    scores = np.zeros((len(rows), world.pool.shape[1]), np.float32)
    true_scores(world, rows, scores)
    return scores


LEARNS = ("key", "users", "screen", "pool", "waiting", "history", "behaviours", "mind", "belief", "stored", "seen")


def cloud_filter(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: the cloud's own order, by what the phone has seen until now. What it learns for that, the
    cloud does not know."""
    copies = {name: getattr(world, name)[rows] for name in LEARNS}
    scores = np.zeros((len(rows), world.pool.shape[1]), np.float32)
    scores_of_the_cloud(world._replace(**copies), scores)
    return scores
