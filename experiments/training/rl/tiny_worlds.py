"""Tiny worlds: one kind of person, two to four videos, at most four steps; what the best policy earns is known exactly.

Nobody differs, nothing drifts, the link is infinite and the server instant, so that what the phone sees (which videos
are left, what was watched and how) is the whole state. `solve` computes expectations with the model's own functions of
watching and feedback by quadrature, and goes backwards from the last step; it draws nothing. `simulate` plays the
solution in the native vector environment. Called by tests, and by whoever trains a policy against a known optimum.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import C, H
from nextone.envs.reward import PRESETS, RewardWeights, reward_weights
from nextone.envs.vector import NextOneVectorEnv
from nextone.sim.catalogue import make_catalogue
from nextone.sim.config import HATE, Scenario, Sessions
from nextone.sim.engine.chance import normal_quantile
from nextone.sim.engine.kernel import entry
from nextone.sim.feedback import feedback_chance
from nextone.sim.scenario import with_settings
from nextone.sim.state import COMPLETE, LONG, VALID
from nextone.sim.watching import attention_us, end_us, outcome_of, sigmoid

Array = NDArray[Any]

STILL: dict[str, object] = {
    "catalogue.kind": "synthetic", "catalogue.tags": 1, "catalogue.quality_sd": 1.5, "catalogue.appeal_sd": 1.5,
    "catalogue.duration_log_mean": 2.6, "catalogue.duration_log_sd": 1.0,
    "population.person_sd": 0.0, "population.taste_sd": 0.0, "population.match_sd": 0.0,
    "interests.mood_sd": 0.0, "interests.intent_sd": 0.0, "interests.reinforcement": 0.0, "interests.satiation": 0.0,
    "server.repeat_after_days": 0.0,
    "feedback.like": 1.0, "feedback.follow": 0.0, "feedback.comment": 0.0, "feedback.forward": 0.0,
    "feedback.hate": 0.0, "feedback.profile": 0.0, "feedback.browse": 0.0,
    "feedback.skip_ratio": 0.5, "feedback.long_ratio": 1.5, "feedback.complete_ratio": 2.0, "feedback.match_slope": 0.1,
    "watching.stay": -1.0, "watching.stay_shorter": 0.3, "watching.stay_longer": -0.5,
    "watching.dead_time_s": 0.5, "watching.dead_time_log_sd": 0.3,
    "watching.skip_log_mean": 0.5, "watching.skip_log_sd": 1.1, "watching.skip_log_slope": 0.3,
    "watching.watch_log_mean": 3.0, "watching.watch_log_sd": 1.4, "watching.watch_log_slope": 0.4,
    "watching.loop": 0.3, "watching.loop_log_mean": 2.0, "watching.loop_log_sd": 1.0,
    "watching.react_log_mean": 0.0, "watching.react_log_sd": 0.7,
    "sessions.away": 0.0, "network.constant_mbps": math.inf, "network.rtt_scale": 0.0, "network.loss": 0.0,
    "network.outages_per_hour": 0.0, "client.refill_at": 0, "phone.software_decoder": 0.0,
    "phone.hardware_start_ms": 0.0, "server.service_ms": 0.0, "server.service_per_candidate_ms": 0.0,
    "server.service_cv": 0.0, "server.chain_ms": 0.0, "server.item_bytes": 0, "server.embedding_bytes": 0,
}  # fmt: skip
"""Everybody is alike, nothing changes but satisfaction, nothing has to be waited for. Rates of 0 and 1 do not differ
between people; a like of 1 still depends on the video and on how it was watched. How people watch is said in full, so
that the worlds stay what they are when the defaults are fitted anew."""

POINTS, DEAD_POINTS, END_POINTS, GROUPS = 10_000, 5, 64, 512  # values within .01 % of a finer grid's
CODES = 16  # of an impression: bits valid play, completion, like, hate


class TinyWorld(NamedTuple):
    """A scenario, its reward, and how many steps an episode has at most."""

    scenario: Scenario
    reward: RewardWeights
    max_steps: int

    @property
    def videos(self) -> int:
        """How many videos there are."""
        return self.scenario.catalogue.videos


State = tuple[int, int, float]  # steps made, videos left of the page (bits), satisfaction


class Choice(NamedTuple):
    """Showing a video in some state: what is earned from there on, what is earned at once, and which video."""

    value: float
    reward: float
    video: int


class Law(NamedTuple):
    """The distribution of what happens when a video is shown, for each code of impression."""

    reward: float  # expected, all codes together, but for leaving
    codes: list[int]  # those that can happen
    weight: list[Array]  # per code: probabilities of groups of play times
    minutes: list[Array]  # and their means


class Solution(NamedTuple):
    """The best policy as tables over numbered states (0: the start), and what it earns an episode."""

    value: float
    greedy: float  # what the policy earns that takes the best next reward
    video: Array  # (S,) what to show
    after: Array  # (S, CODES) the next state


IMPATIENT = {"sessions.leave_per_min": 2.0, "sessions.leave_satisfaction": 2.0}
MOODY = {"sessions.leave_per_min": 1.0, "sessions.leave_satisfaction": 5.0, "sessions.satisfaction_memory": 0.5}
FORGETFUL = {"sessions.leave_per_min": 3.0, "sessions.leave_satisfaction": 3.0, "sessions.satisfaction_memory": 0.0}
HASTY = {"sessions.leave_per_min": 10.0, "sessions.leave_satisfaction": 1.0, "catalogue.duration_log_sd": 1.5}
CALM = {"sessions.leave_per_min": 0.2}
HATED = {"feedback.hate": 1.0, "catalogue.appeal_sd": 2.5}
SLOW = {"player.swipe_ms": 5000.0}

VALID_ONLY = {"valid_play": 1.0}
STAY_ON = {"valid_play": 1.0, "leaving": -1.0}
LEAVING_COSTS = asdict(PRESETS["plays"]) | {"leaving": -10.0}
WORLDS: tuple[tuple[int, int, int, str | dict[str, float], dict[str, float], int], ...] = (
    # videos, page, steps, reward, people, catalogue_seed
    (2, 2, 2, "plays", IMPATIENT, 39),
    (2, 2, 4, "watch", MOODY, 24),
    (2, 2, 4, VALID_ONLY, HASTY, 6),
    (3, 3, 3, "plays", MOODY, 4),
    (3, 3, 3, VALID_ONLY, FORGETFUL, 23),
    (3, 3, 4, "plays", FORGETFUL, 24),
    (3, 3, 3, "watch", MOODY, 5),
    (3, 3, 2, LEAVING_COSTS, IMPATIENT, 23),
    (3, 3, 4, "plays", HASTY, 53),
    (3, 3, 4, {"watch_s": 0.1, "like": 1.0}, IMPATIENT | SLOW, 23),
    (3, 3, 4, {"valid_play": 1.0, "hate": -0.3}, IMPATIENT | HATED, 14),
    (4, 4, 2, "plays", IMPATIENT, 23),
    (4, 4, 3, "plays", HASTY, 23),
    (4, 4, 4, VALID_ONLY, HASTY, 31),
    (4, 4, 4, VALID_ONLY, HASTY, 56),
    (4, 4, 4, "watch", MOODY, 24),
    (4, 4, 4, "watch", FORGETFUL, 1),
    (4, 4, 4, STAY_ON, IMPATIENT, 22),
    (4, 4, 4, "plays", FORGETFUL, 24),
    (4, 4, 4, "plays", MOODY, 4),
    (4, 4, 4, STAY_ON, MOODY | SLOW, 7),
    (4, 4, 4, {"long_view": 1.0, "hate": -0.5}, FORGETFUL | HATED, 7),
    (4, 4, 3, {"watch_s": 0.1, "hate": -1.0}, MOODY | HATED, 15),
    (4, 4, 4, "watch", CALM, 5),
)
"""Seeds were chosen so that in most of the worlds the best next reward is not the best policy."""


def tiny_worlds() -> tuple[TinyWorld, ...]:
    """The worlds whose optimum is known exactly: they test the simulator and what training learns."""
    return tuple(tiny_world(*row) for row in WORLDS)


def tiny_world(
    videos: int, page: int, steps: int, reward: str | dict[str, float], people: dict[str, float], seed: int
) -> TinyWorld:
    """`videos` to choose from, all of them on each page, and a new page after `page` impressions."""
    assert page <= videos <= 4 and steps <= 4
    given = {
        "catalogue.videos": videos, "catalogue.catalogue_seed": seed, "server.candidates": videos,
        "server.page_size": page, "client.history": steps,
    }  # fmt: skip
    return TinyWorld(with_settings(Scenario(), STILL | given | people), reward_weights(reward), steps)


# -- what showing a video brings --------------------------------------------------------------------------------------


@entry
def play_times(params, logit, duration_us, z, z_dead, w_dead, z_end, w_end, play_us, weight):
    """Write the play times of a video and their probabilities to `play_us` and `weight`; returns how many there are.

    z: (n,) equally likely normal quantiles. z_dead, z_end with weights: Gauss-Hermite nodes."""
    p = params[0]
    count, reached = 0, 0.0
    for u_stay, share in ((0.0, sigmoid(logit)), (1.0, 1.0 - sigmoid(logit))):
        for k in range(len(z)):
            for j in range(len(z_dead)):
                part = share * w_dead[j] / len(z)
                time_us = attention_us(p, logit, 0.0, u_stay, z[k], z_dead[j])
                if time_us < duration_us:
                    play_us[count], weight[count] = time_us, part
                    count += 1
                else:
                    reached += part
    for u_loop, share in ((0.0, p.loop), (1.0, 1.0 - p.loop)):
        for k in range(len(z_end)):
            play_us[count], weight[count] = end_us(p, duration_us, u_loop, z_end[k]), reached * share * w_end[k]
            count += 1
    return count


@entry
def reactions(params, duration_us, appeal, play_us, outcome, like, hate):
    """Write what play times count as, and the chances of like and hate after each, to the last three arguments."""
    p = params[0]
    mean, less = appeal - 0.5 * p.appeal_sd * p.appeal_sd, p.match_slope * p.usual_match  # interest and match are 0
    for k in range(len(play_us)):
        outcome[k] = outcome_of(play_us[k], duration_us)
        like[k] = feedback_chance(p, 0, p.like, np.exp(mean - less), play_us[k], outcome[k])
        hate[k] = feedback_chance(p, HATE, p.hate, np.exp(mean + less), play_us[k], outcome[k])


def law_of(world: TinyWorld, video: Array) -> Law:
    """The law of one video, given as a row of the catalogue."""
    params = world.scenario.params()
    z = np.array([normal_quantile((k + 0.5) / POINTS) for k in range(POINTS)])
    (z_dead, w_dead), (z_end, w_end) = normal_nodes(DEAD_POINTS), normal_nodes(END_POINTS)
    room = 2 * (POINTS * DEAD_POINTS + END_POINTS)
    play_us, weight = np.empty(room, np.int64), np.empty(room)
    logit, duration_us = float(params["stay"][0] + video["quality"]), int(video["duration_us"])
    count = play_times(params, logit, duration_us, z, z_dead, w_dead, z_end, w_end, play_us, weight)
    play_us, weight = play_us[:count], weight[:count]
    outcome, like, hate = np.empty(count, np.int64), np.empty(count), np.empty(count)
    reactions(params, duration_us, float(video["appeal"]), play_us, outcome, like, hate)
    valid, complete = outcome & VALID != 0, outcome & COMPLETE != 0
    r = world.reward
    each = r.valid_play * valid + r.long_view * (outcome & LONG != 0) + r.watch_s * play_us / 1e6
    each += r.like * like + r.hate * hate
    law = Law(float(weight @ each), [], [], [])
    for code in range(CODES):
        here = (valid == bool(code & 1)) & (complete == bool(code & 2))
        chance = weight * here * (like if code & 4 else 1.0 - like) * (hate if code & 8 else 1.0 - hate)
        if chance.sum() > 0.0:
            grouped = groups(chance[here], play_us[here] / 6e7)
            law.codes.append(code)
            law.weight.append(grouped[0])
            law.minutes.append(grouped[1])
    return law


def normal_nodes(n: int) -> tuple[Array, Array]:
    """Gauss-Hermite nodes and weights for a standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def groups(weight: Array, value: Array) -> tuple[Array, Array]:
    """At most GROUPS groups of neighbouring values: (their weights, their means)."""
    order = np.argsort(value)
    weight, value = weight[order], value[order]
    which = np.minimum((np.cumsum(weight) / weight.sum() * GROUPS).astype(int), GROUPS - 1)
    total, weighed = np.bincount(which, weight), np.bincount(which, weight * value)
    return total[total > 0], weighed[total > 0] / total[total > 0]


# -- going backwards --------------------------------------------------------------------------------------------------


def worth(s: Sessions, code: int) -> float:
    """What an impression adds to satisfaction, by its code (`sim.session.feel`, nothing stalls)."""
    value = (1.0 if code & 1 else 0.0) - s.usual_valid_play + (s.completion_joy if code & 2 else 0.0)
    return max(value + (s.like_joy if code & 4 else 0.0) - (s.hate_pain if code & 8 else 0.0), -s.most_pain)


def solve(world: TinyWorld) -> Solution:
    """The best policy by backward induction over (step, videos left of the page, satisfaction)."""
    laws = [law_of(world, video) for video in make_catalogue(world.scenario).videos]
    value, video, after = backwards(world, laws, lambda choice: choice.value)
    greedy, _, _ = backwards(world, laws, lambda choice: choice.reward)
    return Solution(value, greedy, video, after)


def backwards(world: TinyWorld, laws: list[Law], prefer: Callable[[Choice], float]) -> tuple[float, Array, Array]:
    """(value of the start, what to show, next states) for the policy that shows the choice for which `prefer` is
    largest; see `Solution`."""
    s, page = world.scenario.sessions, world.scenario.server.page_size
    swipe_min = world.scenario.player.swipe_ms / 6e4
    keep, everything = s.satisfaction_memory, (1 << world.videos) - 1
    known: dict[State, float] = {}
    number: dict[State, int] = {}
    video: list[int] = []
    after: list[list[int]] = []

    def value_of(step: int, left: int, satisfaction: float) -> float:
        """What is still earned when `step` steps were made, `left` (bits) may be shown."""
        if step == world.max_steps:
            return 0.0
        state = (step, left, round(satisfaction, 9))
        if state in known:
            return known[state]
        number[state] = len(number)
        video.append(-1)
        after.append([-1] * CODES)
        best = max((shown(step, left, satisfaction, v) for v in range(world.videos) if left >> v & 1), key=prefer)
        known[state], video[number[state]] = best.value, best.video
        for code in laws[best.video].codes:
            step_then, left_then, then = following(step, left, satisfaction, best.video, code)
            after[number[state]][code] = number.get((step_then, left_then, round(then, 9)), -1)
        return best.value

    def following(step: int, left: int, satisfaction: float, v: int, code: int) -> tuple[int, int, float]:
        rest = left & ~(1 << v)
        if world.videos - rest.bit_count() == page:
            rest = everything
        return step + 1, rest, keep * satisfaction + (1.0 - keep) * worth(s, code)

    def shown(step: int, left: int, satisfaction: float, v: int) -> Choice:
        law, leaving, total = laws[v], 0.0, 0.0
        for code, weight, minutes in zip(law.codes, law.weight, law.minutes, strict=True):
            then = following(step, left, satisfaction, v, code)
            hazard = s.leave_per_min * math.exp(-s.leave_satisfaction * then[2])
            stays = float(weight @ np.exp(-hazard * (minutes + (swipe_min if step else 0.0))))
            leaving += float(weight.sum()) - stays
            total += stays * value_of(*then)
        reward = law.reward + world.reward.leaving * leaving
        return Choice(reward + total, reward, v)

    value = value_of(0, everything, 0.0)
    return value, np.array(video), np.array(after)


# -- the same in the environment --------------------------------------------------------------------------------------


def simulate(
    world: TinyWorld, solution: Solution, *, episodes: int, seed: int = 0, at_once: int = 4096
) -> tuple[float, float]:
    """(mean, standard error) of what the solution earns in at least so many episodes, acting on observations only."""
    env = NextOneVectorEnv(at_once, scenario=world.scenario, reward=world.reward, max_steps=world.max_steps)
    seen, _ = env.reset(seed=seed)
    lengths = np.unique(seen["candidates"][:, :, C.duration])  # videos are told apart by their length
    assert len(lengths) == world.videos
    length = lengths[np.argsort(np.argsort(make_catalogue(world.scenario).videos["duration_us"]))]
    earned = []
    for _ in range(-(-episodes // at_once)):
        state, total, live = np.zeros(at_once, np.int64), np.zeros(at_once), np.ones(at_once, bool)
        for _ in range(world.max_steps):
            wanted = seen["candidates"][:, :, C.duration] == length[solution.video[state], None]
            there = wanted & (seen["mask"] == 1)
            assert there.any(axis=1)[live].all()
            seen, reward, terminated, truncated, _ = env.step(np.argmax(there, axis=1))
            total += np.where(live, reward, 0.0)
            live &= ~(terminated | truncated)
            newest = seen["history"][:, 0]
            flags = (newest[:, k] > 0 for k in (H.valid_play, H.completion, H.like, H.hate))
            code = sum(flag.astype(np.int64) << bit for bit, flag in enumerate(flags))
            state = np.where(live, solution.after[state, code], 0)
            assert (state >= 0).all(), "what cannot happen did"
        assert not live.any()
        earned.append(total)
        seen, _ = env.reset()
    env.close()
    result = np.concatenate(earned)
    return float(result.mean()), float(result.std(ddof=1) / math.sqrt(len(result)))
