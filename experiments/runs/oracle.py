"""References, not policies: how far could any policy get? They are written against a driver's `decide`.

The filters rank by the cloud's own estimates and by its own filter (`sim/cloud/belief.py`), fed with all that the phone
has seen until now; they read nothing that is true of people or videos and hidden from the cloud. `cloud_filter` makes
as much use of it as the cloud does, so it says what there is to gain by knowing sooner, all else equal.
`reference_filter` makes full use of it: no policy that knows the model and sees what a phone sees can be expected to do
much better. What both take intents to be is what the cloud takes them to be (`server.assumed_intent_sd`), since the
same people build cloud and phone: in a world without intents they imagine some.

The oracles know what no phone knows. `oracle_intent` ranks like `reference_filter`, but is told the passing interests
of now. `oracle_greedy` knows everything: how likely this person truly stays with each candidate, one choice at a time.
"""

from typing import Any

import numpy as np

from nextone.sim.cloud.belief import fade, learn_outcomes
from nextone.sim.cloud.page import score_held
from nextone.sim.cloud.rates import cell
from nextone.sim.engine.kernel import entry, kernel
from nextone.sim.interest import live_on, settle
from nextone.sim.state import DEAD, INTENT, Array, World, person_of
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


@kernel
def tell_intent(p: Any, key: Any, person: Any) -> None:
    """Put the present intents into the belief, as certain; it is kept in the person's own rows."""
    live_on(p, key, person.user, person.mind, person.user.now_us)
    for d in range(p.content_dims):
        person.belief.expected[INTENT + d] = person.mind.intent[d]
        for b in range(INTENT + d + 1):
            person.belief.cov[cell(INTENT + d, b)] = 0.0


@entry
def filter_scores(w: World, told: np.bool_, scores: Array) -> None:
    """The cloud's score of each live candidate of everybody, as if it had seen everything until now, into scores (N,
    P). It learns in w's own rows. told: whether it also knows the intents."""
    p = w.params[0]
    for i in range(len(w.users)):
        person = person_of(w, i)
        learn_outcomes(p, w.key[i], person, w.indexed, person.user.now_us)
        fade(p, person.belief, person.user.now_us)
        if told:
            tell_intent(p, w.key[i], person)
        score_held(p, person, w.indexed, scores[i])


def oracle_greedy(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: the candidate this person would most likely stay with comes first."""
    scores = np.zeros((len(rows), world.pool.shape[1]), np.float32)
    true_scores(world, rows, scores)
    return scores


LEARNS = ("key", "users", "screen", "pool", "waiting", "history", "behaviours", "mind", "belief", "stored", "seen")


def cloud_filter(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: the cloud's own order, by what the phone has seen until now. The cloud itself does not get
    to know what is learnt here."""
    return _filtered(world, rows)


def reference_filter(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: as `cloud_filter`, but using all that was learnt of passing interests."""
    return _filtered(_used_in_full(world), rows)


def oracle_intent(world: World, rows: Array) -> Array:
    """Scores (n, P) float32: as `reference_filter`, if it also knew the passing interests."""
    return _filtered(_used_in_full(world), rows, told=True)


def _filtered(world: World, rows: Array, *, told: bool = False) -> Array:
    copies = {name: getattr(world, name)[rows] for name in LEARNS}
    scores = np.zeros((len(rows), world.pool.shape[1]), np.float32)
    filter_scores(world._replace(**copies), np.bool_(told), scores)
    return scores


def _used_in_full(world: World) -> World:
    params = world.params.copy()
    params["filter_use"] = 1.0
    return world._replace(params=params)
