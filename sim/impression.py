"""The journey: one person's life from event to event, split where a policy decides and a server answers.

`advance` moves one person on their own clock until the world must intervene: a decision is wanted, a request reached
the server, or the person is gone. In between nothing else can touch the person, so both drivers call it as they like:
`sim/event_run.py` answers requests with its queue, `sim/batch_run.py` moves everybody in parallel.

One turn of its loop is one event:

 1. choose whom the link works for now (`player.choose_fetch`)
 2. find the next event: a transfer done, a response, a ranking finished, an expiry, the end of what the person does
 3. let time and bytes pass until then, in whole microseconds and bytes
 4. let it happen: open, ask for a page, page lands, video starts, stalls, is left; feedback; interests drift; stay or
    leave; swipe; ask NextOne
"""

from nextone.sim.engine.kernel import kernel

from .clock import next_event, note_moment, pass_time
from .events import (
    ASKS,
    DECIDES,
    ENDS,
    LIFTS,
    MAY_WANT,
    NOTHING,
    REPLANS,
    SHOWS,
    WANTS,
    happens,
    lift_finger,
    show_next,
)
from .next_one import ask_policy, is_due, take_scores
from .player import choose_fetch
from .pool import may_rank
from .records import log_has_room
from .request import answer, ask_for_page, wants_page
from .session import end_session
from .state import CLOSED, GONE, person_of

# Why `advance` came back.
DONE, DECIDE, ASK, PAUSED = range(4)
"""Person is gone / a decision is wanted at `now_us` / a request reaches the server at `arrived_us` / budget used up."""


@kernel
def advance(w, i, scores, answered, end_us, comes_back, budget, part):
    """Move person i until the world must intervene; the reason (DONE, DECIDE, ASK, PAUSED).

    scores: (P,) or (P + 1,) for the decision last asked for, (0,) otherwise. answered: whether `users[i].queue_us` was
    set for the request last asked for. end_us: end of the run. comes_back: whether people open the app again.
    budget: pause after so many impressions, and where arms change after each session. part: of the logs to write to.
    """
    person = person_of(w, i)
    user, screen, pool = person.user, person.screen, person.pool
    if user.phase == CLOSED:  # the app reads its settings as it opens, and keeps them until it is closed
        user.arm = w.arms[i, min(user.phase_end_us // w.params[0].period_us, w.arms.shape[1] - 1)]
    p, key = w.params[user.arm], w.key[i]
    videos, knots, rtt = w.videos, w.knots, w.rtt
    if len(scores) > 0:
        take_scores(p, key, user, screen, pool, scores)
    if answered:
        answer(p, key, user, rtt)
    stop_at = user.impression + budget
    follows = REPLANS | MAY_WANT
    while user.phase != GONE:
        if follows & (MAY_WANT | WANTS) == MAY_WANT and (
            user.impression >= stop_at or not log_has_room(w.impressions, w.requests, w.sessions, w.logged, part)
        ):
            return PAUSED
        wanted = follows & WANTS != 0
        if (wanted or (follows & MAY_WANT != 0 and wants_page(p, user, pool))) and (
            ask_for_page(p, key, person, rtt, w.queue_waits, wanted)
        ):
            return ASK

        # 1, 2 and 3: whom the link works for, what comes next, and time until then
        replan = choose_fetch(p, key, person, videos, knots, rtt, follows & REPLANS != 0)
        when, event = next_event(p, person, videos, knots, end_us)
        if w.traced[0] == user.user:
            note_moment(person, w.moments, w.traced, when)
        pass_time(p, person, videos, knots, when, event)

        # 4: what happens, and what follows
        follows = REPLANS if replan else NOTHING
        follows |= happens(p, key, person, w, part, event)
        if follows & SHOWS:
            follows |= show_next(p, key, person, w)
        if follows & LIFTS:
            follows |= lift_finger(p, key, person, w, part)
        if follows & ENDS:
            end_session(p, key, person, w.activity, w.requests, w.sessions, w.logged, part, follows, comes_back)
            if user.phase == CLOSED and w.arms.shape[1] > 1:  # the next session may be of another arm
                return PAUSED
        if follows & ASKS:
            return ASK
        if follows & DECIDES and is_due(p, user) and may_rank(p, user, pool):
            ask_policy(user, screen)
            return DECIDE
    return DONE
