"""Episodes: one session of a fresh person in each row of a world, or some days of sessions, paused at each decision.

No dynamics of its own.

An episode is a function of (seed, number, person) alone. `move_rows` passes each row's action on as scores,
lets `sim.impression.advance` live until the next decision, counts what happened from the world's own ledgers and logs,
and observes. Called by `envs/vector.py`.
"""

from typing import NamedTuple

import numpy as np

from nextone.sim.engine.chance import mix_key
from nextone.sim.engine.kernel import compiled, fetch_ahead, inlined, kernel, pasted
from nextone.sim.impression import DECIDE, DONE, PAUSED, advance
from nextone.sim.population import replace_person
from nextone.sim.request import candidate_in
from nextone.sim.session import come_back, first_will_to_stay
from nextone.sim.state import CLOSED, IDLE, LONG, PLAYING, STALLED, VALID, WAITING, Array

from .features import CANDIDATE, CONTEXT, HISTORY
from .observing import no_tags, observe_again
from .reward import COMPONENTS, UNITS

DAY_US = 24 * 3_600_000_000
WINDOW_US = DAY_US  # people open the app within a day
END_US = 2 * DAY_US  # and are cut off at the end of the next one
LOG_ROWS = 16  # of each part between two looks; a step writes one or two lines
MANY_IMPRESSIONS = 64  # a step is one or two of them


class Views(NamedTuple):
    """What every row sees, and what of that need not be worked out anew at the next decision."""

    seen: Array  # (N, D) float32: where observations go, each row candidates (P, Fc), context (Fx,), history (H, Fh)
    mask: Array  # (N, A) bool
    slots: Array  # (N, P, LASTING) float32: kept for `features.observe_pool`, and (N, P) int64 of which candidates
    slots_as: Array
    past: Array  # (N, H, Fh) float32: kept for `features.observe_history`


UNBORN, AT_DECISION, GONE_EARLY, OVER = range(4)
"""To begin / a decision is wanted / the person left before the first decision, which the next step tells / ended."""

EPISODE = np.dtype(
    [
        ("seed", "u8"),
        ("number", "i8"),  # of this row's episodes, from 0 at the last reset with a seed
        ("counts", "i8", (len(COMPONENTS),)),  # happened and not yet paid out, in the order of reward.COMPONENTS
        ("hazard", "f8"),  # of leaving, borne and not yet told
        ("person", "i4"),
        ("steps", "i4"),
        ("asks", "i4"),  # pages the policy asked for
        ("seen_to", "i4"),  # newest impression in Views.past
        ("link", "i1"),  # index into config.LINK_CLASSES, -1: as drawn
        ("state", "i1"),
    ],
    align=True,
)

assert tuple(COMPONENTS)[3:8] == ("like", "follow", "comment", "forward", "hate")
_VALID, _LONG, _WATCH, _LIKE = range(4)
_STALL, _WAIT, _WASTED, _REQUESTS, _LEAVING, _APP, _RETURNS = range(8, 15)


@kernel
def begin(w, row_bytes, episode, i, views):
    """A fresh person is about to open the app in row i."""
    mix_key(episode.seed, episode.number, w.key[i])
    replace_person(w, row_bytes, i, episode.person, np.int64(WINDOW_US))
    if episode.link >= 0:
        w.users[i].link = episode.link
    episode.steps = 0
    episode.asks = 0
    episode.seen_to = -1
    views.slots_as[i, :] = -1
    episode.counts[:] = 0
    episode.hazard = 0.0


@pasted
def live(w, episode, i, scores, candidates, end_us, days, part):
    """On to the next decision, counting: (whether there is one, slot of the first impression since).

    end_us: of the episode; days: whether the person comes back until then. candidates: (P,) `candidate_in` of each slot
    at the last decision; the slot is -1 if none of them was shown."""
    NOT = np.bool_(False)  # no literals: the drivers' compiled life serves here too
    user, screen, counts = w.users[i], w.screen[i], episode.counts
    first, shown = user.impression + 1, -1
    passed_us = user.ledger_us[PLAYING], user.ledger_us[STALLED], user.ledger_us[WAITING]
    in_app_us = user.ledger_us.sum()
    wasted, requests = user.wasted, user.request
    will, away, opened_us = np.float64(user.will_to_stay), user.phase == CLOSED, np.int64(-1)
    reason = PAUSED
    while reason == PAUSED:
        reason = advance(w, i, scores, NOT, end_us, NOT, np.int64(MANY_IMPRESSIONS), part)
        scores = scores[:0]
        for n in range(w.logged[part, 0]):
            line = w.impressions[part, n]
            if line.impression == first:
                shown = slot_of(line, candidates)
            counts[_VALID] += line.outcome & VALID != 0
            counts[_LONG] += line.outcome & LONG != 0
            for kind in range(5):
                counts[_LIKE + kind] += (line.feedback >> kind) & 1
        for n in range(w.logged[part, 2]):
            counts[_LEAVING] += w.sessions[part, n].cut == 0
        w.logged[part, :] = 0
        if away and user.opened_us > opened_us:
            counts[_RETURNS] += user.session > 0
            will, away = np.float64(first_will_to_stay(w.key[i], user)), False
        if not away:
            episode.hazard += will - user.will_to_stay
            will = np.float64(user.will_to_stay)
            if reason == DONE and days and not user.cut:
                come_back(w.params[0], w.key[i], user, w.activity)
                away, opened_us, reason = True, user.opened_us, PAUSED
    if screen.video >= 0 and screen.impression == first:
        shown = slot_of(screen, candidates)
    counts[_WATCH] += user.ledger_us[PLAYING] - passed_us[0]
    counts[_STALL] += user.ledger_us[STALLED] - passed_us[1]
    counts[_WAIT] += user.ledger_us[WAITING] - passed_us[2]
    counts[_APP] += user.ledger_us.sum() - in_app_us
    counts[_WASTED] += user.wasted - wasted
    counts[_REQUESTS] += user.request - requests
    return reason == DECIDE, shown


@inlined
def slot_of(line, candidates):
    """Which of the candidates an impression was, -1 if none: (request, video, rank) as in `request.candidate_in`."""
    what = (np.int64(line.request) << 40) | (np.int64(line.video) << 8) | np.int64(line.rank)
    for k in range(len(candidates)):
        if candidates[k] == what:
            return k
    return -1


@inlined
def nearest_live(mask, action):
    """The action itself if the mask (A,) allows it, else the nearest that it does; the lower of two."""
    for far in range(len(mask)):
        if action - far >= 0 and mask[action - far]:
            return action - far
        if action + far < len(mask) and mask[action + far]:
            return action + far
    return 0


@pasted
def look(w, i, episode, budget, views, newest_of):
    """What the phone of row i knows. The mask has a column more if pages may be asked for. newest_of: `no_tags`.

    With nobody left to decide for, slot 0 is allowed: every mask has a 1."""
    mask, slots, seen = views.mask[i], w.pool.shape[1], views.seen[i]
    pool, past = slots * len(CANDIDATE), views.past.shape[1]
    here = pool + len(CONTEXT)
    episode.seen_to = observe_again(
        w, i, views.slots[i], views.slots_as[i], views.past[i], episode.seen_to, newest_of,
        seen[:pool].reshape((slots, len(CANDIDATE))), seen[here:].reshape((past, len(HISTORY))), seen[pool:here], mask,
    )  # fmt: skip
    if len(mask) > slots:
        asks = episode.state == AT_DECISION and w.users[i].request_state == IDLE
        mask[slots] = asks and (budget < 0 or episode.asks < budget)
    if not mask.any():
        mask[0] = True


@pasted
def act(w, episode, i, action, ranked, allowed, scores, candidates):
    """Row i's action as scores (A,); and which candidates (P,) it chose from. ranked: the scores themselves (A,), or
    (0,) where the action is a slot. allowed: (A,)."""
    slots = w.pool.shape[1]
    if len(ranked) > 0:
        highest = -np.inf  # of the slots
        for k in range(len(scores)):
            scores[k] = ranked[k] if k < slots or allowed[k] else -np.inf
            highest = max(highest, scores[k]) if k < slots else highest
        episode.asks += scores[len(scores) - 1] > highest  # never of a slot
    else:
        scores[:] = 0.0
        scores[action] = 1.0
        episode.asks += action == slots
    fetch_ahead(w.knots, w.users[i].knot)
    for k in range(slots):
        candidates[k] = candidate_in(w.pool[i, k])
        if w.pool[i, k].buffered > 0 or k == action:
            fetch_ahead(w.videos, w.pool[i, k].video)
        if k == action:
            fetch_ahead(w.content, w.pool[i, k].video)


@compiled(nogil=True)
def move_rows(
    w, row_bytes, episodes, which, part, actions, ranked, weights, max_steps, budget, end_us, days, views,
    components, reward, terminated, truncated, shown, hazard,
):  # fmt: skip
    """One step of the rows `which` (n,), one after another; what is to begin begins instead. part: of the logs.
    actions: (N,) slots, or ranked: (N, A) scores; (N, 0) where actions are slots.

    Several threads may do so at once, each with rows and a part of its own. One kernel for reset and step: most of its
    compilation is the life inside."""
    scores, was = np.empty(views.mask.shape[1], np.float32), np.empty(w.pool.shape[1], np.int64)
    newest_of, none, nobody = no_tags(), scores[:0], was[:0]
    for k in range(len(which)):
        i, episode = which[k], episodes[which[k]]
        if k + 1 < len(which):
            fetch_row_ahead(row_bytes, views, which[k + 1])
        begins, goes_on = episode.state == UNBORN or episode.state == OVER, episode.state == AT_DECISION
        if begins:
            begin(w, row_bytes, episode, i, views)
        elif goes_on:
            action = nearest_live(views.mask[i], actions[i])
            act(w, episode, i, action, ranked[i], views.mask[i], scores, was)
        decides, shown[i] = False, -1
        if begins or goes_on:
            its_scores, its_slots = scores if goes_on else none, was if goes_on else nobody
            decides, shown[i] = live(w, episode, i, its_scores, its_slots, end_us, days, part)
        if begins:
            episode.state = AT_DECISION if decides else GONE_EARLY
            components[i] = 0.0
            reward[i] = hazard[i] = 0.0
            terminated[i] = truncated[i] = False
        else:
            reward[i] = pay(episode, weights, components[i])
            hazard[i], episode.hazard = episode.hazard, 0.0
            cut = days or w.users[i].cut != 0  # who comes back never ends, but for the end of the days
            terminated[i] = not decides and not cut
            truncated[i] = (cut and not decides) or (decides and 0 < max_steps <= episode.steps)
            if terminated[i] or truncated[i]:
                episode.state = OVER
        look(w, i, episode, budget, views, newest_of)


@kernel
def fetch_row_ahead(row_bytes, views, i):
    """Row i is the next to be moved and looked at."""
    for rows in row_bytes:
        fetch_ahead(rows, i)
    fetch_ahead(views.seen, i)
    fetch_ahead(views.slots, i)
    fetch_ahead(views.past, i)
    fetch_ahead(views.slots_as, i)


@inlined
def pay(episode, weights, components):
    """A step is over: what happened since the last one into components (K,); the reward."""
    reward = 0.0
    for k in range(len(UNITS)):
        components[k] = episode.counts[k] / UNITS[k]
        reward += weights[k] * components[k]
    episode.counts[:] = 0
    episode.steps += 1
    return reward


@compiled()
def look_rows(w, episodes, which, budget, views):
    """What the phones of the rows `which` know."""
    newest_of = no_tags()
    for i in which:
        look(w, i, episodes[i], budget, views, newest_of)
