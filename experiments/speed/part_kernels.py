"""Parts of the model, many times over in one compiled call each, for `parts.py` to time.

A file of its own: the code of every file that holds a compiled function decides whether kernels are compiled again.
"""

from nextone.sim.cloud.belief import learn_outcomes, report_outcome
from nextone.sim.cloud.page import make_page
from nextone.sim.engine.chance import uniform
from nextone.sim.engine.kernel import entry
from nextone.sim.interest import MINUTE_US, live_on, settle
from nextone.sim.state import Array, World, person_of
from nextone.sim.watching import draw_watch_us, stay_logit


@entry
def rank_pages(w: World, n: int, anew: bool) -> None:
    """Rank n pages from what is stored for a session, and predict their rates. anew: look at a session's videos and
    store the best of them before each page."""
    for k in range(n):
        i = k % len(w.users)
        if anew:
            w.users[i].stored = 0
        make_page(w.params[0], w.key[i], person_of(w, i), w.indexed, w.waiting.shape[1], w.users[i].now_us)


@entry
def learn_all(w: World, n: int) -> None:
    """Let the cloud learn from n behaviours."""
    for k in range(n):
        i, video = k % len(w.users), k * 7919 % len(w.videos)
        report_outcome(w.users[i], w.behaviours[i], video, k & 1, w.belief[i].at_us)
        learn_outcomes(w.params[0], w.key[i], person_of(w, i), w.indexed, w.belief[i].at_us)


@entry
def watch(w: World, n: int) -> int:
    """Draw n watch times, us; their sum."""
    total = 0
    for k in range(n):
        i, video = k % len(w.users), k * 7919 % len(w.videos)
        logit = stay_logit(
            w.params[0], w.key[i], w.users[i], w.mind[i], video, w.videos[video], w.content[video]
        )
        total += draw_watch_us(w.params[0], w.key[i], w.users[i], video, w.videos[video].duration_us, 0, logit)
    return total


@entry
def settle_all(w: World, n: int) -> None:
    """Let n people's mood, intents and fatigue live through a minute."""
    for k in range(n):
        i = k % len(w.users)
        user = w.users[i]
        live_on(w.params[0], w.key[i], user, w.mind[i], user.opened_us + (user.minute + 1) * MINUTE_US)
        settle(w.params[0], user, w.mind[i], user.settled_us + MINUTE_US)


@entry
def draws(key: Array, n: int) -> float:
    """The sum of n keyed draws."""
    total = 0.0
    for k in range(n):
        total += uniform(key, 6, k, 1, 2)
    return total
