"""Parts of the model, many times over in one compiled call each, for `parts.py` to time.

A file of its own: the code of every file that holds a compiled function decides whether kernels are compiled again.
"""

import numpy as np

from nextone.sim.cloud import predict_rates, rank_page, what_is_known
from nextone.sim.engine.chance import uniform
from nextone.sim.engine.kernel import entry
from nextone.sim.interest import settle
from nextone.sim.state import Array, World
from nextone.sim.watching import draw_watch_us, stay_logit


@entry
def rank_pages(w: World, n: int) -> None:
    """Retrieve and rank n pages."""
    estimates = np.empty(w.waiting.shape[1], np.float32)
    for k in range(n):
        i = k % len(w.users)
        rank_page(w.params[0], w.key[i], w.users[i], w.waiting[i], w.taste[i], w.listed, w.tag_start, estimates)


@entry
def predict_all_rates(w: World, n: int) -> None:
    """Predict the rates of n candidates."""
    known = what_is_known(w.params[0], w.users[0])
    for k in range(n):
        i, video = k % len(w.users), k * 7919 % len(w.videos)
        slot = w.pool[i, k % w.pool.shape[1]]
        predict_rates(w.params[0], w.users[i], video, w.videos[video], np.float32(0.1), known, slot.pxtr)


@entry
def watch(w: World, n: int) -> int:
    """Draw n watch times, us; their sum."""
    total = 0
    for k in range(n):
        i, video = k % len(w.users), k * 7919 % len(w.videos)
        logit = stay_logit(w.params[0], w.key[i], w.users[i], w.taste[i], video, w.videos[video])
        total += draw_watch_us(w.params[0], w.key[i], w.users[i], video, w.videos[video].duration_us, 0, logit)
    return total


@entry
def settle_all(w: World, n: int) -> None:
    """Let n people's interests settle for 20 s."""
    for k in range(n):
        i = k % len(w.users)
        settle(w.params[0], w.users[i], w.taste[i], w.users[i].settled_us + 20_000_000)


@entry
def draws(key: Array, n: int) -> float:
    """The sum of n keyed draws."""
    total = 0.0
    for k in range(n):
        total += uniform(key, 6, k, 1, 2)
    return total
