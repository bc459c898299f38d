"""The cloud's kernels called one by one, on small worlds. Not a test module."""

import numpy as np
from numba import njit
from worlds import scenario

from nextone.sim.cloud.page import make_page, score_stored
from nextone.sim.cloud.rates import what_is_known
from nextone.sim.cloud.recall import mark_shown, tell_shown
from nextone.sim.state import person_of
from nextone.sim.world import build_world

MINUTE_US = 60_000_000


def world_of(days=False, **settings):
    return build_world(
        scenario(**settings), edge=True, seed=3, window_us=MINUTE_US, days=days, queue_waits=np.zeros(1, np.int64)
    )


@njit
def serve(w, i, wanted, turn_us):
    return make_page(w.params[0], w.key[i], person_of(w, i), w.indexed, wanted, turn_us)


@njit
def show(w, i, video, place):
    mark_shown(w.params[0], person_of(w, i), video, place)


@njit
def tell(w, i):
    tell_shown(w.users[i], w.stored[i])


@njit
def scored(w, i, out):
    known = what_is_known(w.params[0], w.users[i], w.belief[i])
    score_stored(w.params[0], person_of(w, i), w.indexed, known, out)


def page_of(world, who, wanted, turn_us=0):
    """The next page of a person, videos best first."""
    count = serve(world, who, wanted, turn_us)
    return world.waiting[who][:count].copy()
