"""The second stage of the fit of people: what passes in them, their tastes, and how the cloud uses both.

Play times alone do not contain these. Pairs of rows do, by the time between them (`lags.py`), and so do the tags that
people are shown. What people see depends on all of these through the cloud, so the log is simulated again under each
setting, with the same people and luck. Wide slopes to either side are computed once, and a few steps of weighted least
squares follow. Settings on which the facts do not bear stay at their values before the fit. Called by `calibrate.py`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .facts import LogSums, Sequences, facts, sequence_facts, sequences, sum_up, tags_of
from .lags import REACTION, REPEAT, SECOND_STAGE, TOO_NEAR, LagSums, lag_facts, sum_lags
from .play_fit import Moments, Parameter, from_scale, get, limits, spread_before, to_scale
from .thinning import Fortnight, simulate_fortnight, thin

INTERESTS = (
    Parameter("interests.mood_sd", "log", known=0.7, step=0.4),
    Parameter("interests.mood_hours", "log", known=0.7, step=0.6),
    Parameter("interests.intent_sd", "", known=0.8, step=0.5),
    Parameter("interests.intent_half_life_min", "log", known=0.5, step=0.6),
    Parameter("catalogue.tag_share", "logit", known=0.7, step=0.5),
    Parameter("server.filter_use", "logit", known=1.0, step=1.0),
    Parameter("population.taste_sd", "log", known=0.5, step=0.3),
    Parameter("catalogue.tag_quality", "log", known=0.5, step=0.3),
)
"""What pairs of rows tell. known: how well before, Assumed: an intent of 0 is 1.5 standard deviations off."""
NAMES = [p.name for p in INTERESTS]
TIED = {
    "interests.intent_sd": "server.assumed_intent_sd",
    "interests.intent_half_life_min": "server.assumed_half_life_min",
}
"""The cloud knows people: what it takes intents to be follows what they are."""
BY_TAG = "spread of long view by tag"
FACTS = SECOND_STAGE | {"tag entropy per user": 0.15, BY_TAG: 0.015}
"""What is to be met, and how closely (a third is the error). How much everybody is shown of some tags, and what people
like for good, are told by how many tags each is shown and by how far tags differ in what was shown. How often the next
item has the same tag is left out: in KuaiRand it is twice as far above chance as one ten items later, which intents
would have to make alone that no outcome shows (fitted to it they come out at 2 logits)."""
DAYS, MORE = 2.0, 3  # days are few and people so many times as many as for play times: a few of them make most pairs
SPREAD = 4  # the log's pool is so many times as large here: more pairs from the same lives
ROWS = 9.0  # of a person, when rows that follow each other are looked at; Source: KuaiRand-Pure, 7.3
STEPS, NARROWER = 3, 0.5  # steps of the fit; how much shorter the next try is when one did not help
SIMULATIONS = 2 * len(INTERESTS) + STEPS + 2
MOST = 2.0  # a step goes no farther than so many widths of a slope
SURE = 3.84 * 1.35**2  # by how much squared errors must rise without intents to exclude that there are none: 95 %,
# the facts of a fit lying 1.35 times as far off as they should (`calibrate.WIDENED`)
NOT_EXCLUDED = "not excluded: 0"  # as `said_of` says it, and a fit on disk
MIN_PAIRS = 5_000  # pairs of rows of one person within the hour. Source: KuaiRand-Pure has 29,000, which tell little
WITHIN_THE_HOUR = slice(len(TOO_NEAR), len(TOO_NEAR) + 4)


class Shown(NamedTuple):
    """The tags that people were shown, one after the other, rows sorted by user and time; -1 is unknown."""

    user: Array
    tag: Array
    users: int
    most: int | None = None  # rows of a user, if the list keeps the last ones only


class Lives(NamedTuple):
    """Sums of simulated people, and which person each row of them is of."""

    lags: LagSums  # of all rows
    copies: LagSums  # of rows as few as in a log
    copy_of: Array
    plays: LogSums  # of all rows
    tags: Sequences
    tags_of: Array
    people: int

    def facts(self, weight: Array) -> dict[str, float]:
        """The facts of these people. weight: (people,) how often each counts."""
        found = lag_facts(self.lags, weight) | sequence_facts(self.tags, weight[self.tags_of])
        few = lag_facts(self.copies, weight[self.copy_of])
        return found | {name: few[name] for name in REACTION} | {BY_TAG: facts(self.plays, weight)[BY_TAG]}


class InterestFit(NamedTuple):
    """Where the second stage ended."""

    x: Array  # parameters on their scales
    simulated: Array  # the facts there
    precision: Array  # (parameters, parameters): what the facts tell and what was known before
    gain: Array  # (parameters, facts): how the fit moves with the facts
    halves: list[dict[str, float]]  # the facts of random halves of the simulated people
    without: float  # by how much squared errors rise if there are no intents, and the cloud takes them to be there


def too_little_for_interests(log: UserLog) -> str:
    """Why a log cannot identify what passes; empty if it can."""
    if log.tag is None or not (log.tag >= 0).any():
        return "needs the videos' tags"
    pairs = int(sum_lags(log).pairs[:, WITHIN_THE_HOUR, :REPEAT, 1].sum())
    if pairs < MIN_PAIRS:
        return f"needs {MIN_PAIRS:,} pairs of a person's rows within an hour; this log has {pairs:,}"
    return ""


def live(scenario: Scenario, tags: Shown, pool: int, people: int, seed: int) -> Lives:
    """Simulate people and sum up what they saw."""
    pool = min(SPREAD * pool, scenario.catalogue.videos)
    lived = simulate_fortnight(scenario, MORE * people, seed, DAYS, pool)
    every, row = thin(lived, np.inf, seed)
    copies, of = thin(lived, ROWS, seed, times=int(len(row) / every.users / ROWS) + 1)
    shown, seen = thin(lived, len(tags.user) / tags.users, seed, most=tags.most)
    return Lives(
        sum_lags(every), sum_lags(copies), _who(lived, copies, of), sum_up(every),
        sequences(shown.user, tags_of(shown), shown.users), _who(lived, shown, seen), every.users,
    )  # fmt: skip


def _who(lived: Fortnight, log: UserLog, row: Array) -> Array:
    """The number of each user of a log among the people who saw anything, (U,)."""
    person = lived.person[row[np.unique(log.user, return_index=True)[1]]]
    return np.searchsorted(np.unique(lived.person), person)


def settings_at(scenario: Scenario, x: Array) -> dict[str, float]:
    """The parameters at x by name, with those that are tied to them."""
    found = {p.name: from_scale(float(v), p.scale) for p, v in zip(INTERESTS, x, strict=True)}
    found["catalogue.tag_share"] = min(found["catalogue.tag_share"], 1.0 - scenario.catalogue.author_share)
    return found | {tied: found[name] for name, tied in TIED.items()}


def start_of_interests(scenario: Scenario) -> Array:
    """The scenario's own values, on their scales."""
    return np.array([to_scale(get(scenario, p.name), p.scale) for p in INTERESTS])


def told_by_tags(tags: Shown, weights: list[Array]) -> tuple[dict[str, float], list[dict[str, float]]]:
    """(the facts of the sequences of tags, the same for each of these weights of people)."""
    found = sequences(tags.user, tags.tag, tags.users)
    return sequence_facts(found), [sequence_facts(found, weight) for weight in weights]


def fit_interests(
    scenario: Scenario, moments: Moments, before: Array, lived_under: Callable[[Scenario], Lives],
    halves_of: Callable[[int], Iterable[Array]], progress: Callable[[], None],
) -> InterestFit:  # fmt: skip
    """A few steps of weighted least squares from the scenario's own values. before: what was known, on the scales;
    lived_under: simulates people, always with one seed; halves_of: random halves of so many people."""

    def lived_at(x: Array) -> Lives:
        lives = lived_under(with_settings(scenario, settings_at(scenario, x)))
        progress()
        return lives

    def of_names(found: dict[str, float]) -> Array:
        return np.array([found[name] for name in moments.names])

    def facts_at(x: Array) -> Array:
        lives = lived_at(x)
        return of_names(lives.facts(np.ones(lives.people)))

    def cost(x: Array, found: Array) -> float:
        told = np.nan_to_num(found - moments.value) / error
        return float(told @ told + np.sum(((x - before) / known) ** 2))

    low, high = limits(INTERESTS)
    low, high = low + 1e-6, high - 1e-6
    share = NAMES.index("catalogue.tag_share")
    high[share] = to_scale(1.0 - scenario.catalogue.author_share - 1e-6, "logit")
    known = spread_before(INTERESTS)
    x = np.clip(start_of_interests(scenario), low, high)
    lives = lived_at(x)
    here = of_names(lives.facts(np.ones(lives.people)))
    halves = [lives.facts(half) for half in halves_of(lives.people)]
    error = np.hypot(moments.error, np.nan_to_num(np.nanstd([of_names(half) for half in halves], axis=0)))
    slopes = []
    for j, parameter in enumerate(INTERESTS):
        up, down = x.copy(), x.copy()
        up[j], down[j] = min(x[j] + parameter.step, high[j]), max(x[j] - parameter.step, low[j])
        slopes.append((facts_at(up) - facts_at(down)) / (up[j] - down[j]))
    weighted = np.nan_to_num(np.stack(slopes, axis=1)) / error[:, None]
    precision = weighted.T @ weighted + np.diag(known**-2)
    gain = np.linalg.solve(precision, weighted.T) / error
    farthest = MOST * np.array([p.step for p in INTERESTS])
    shorter = 1.0
    for _ in range(STEPS):
        wish = gain @ np.nan_to_num(moments.value - here) + np.linalg.solve(precision, (before - x) / known**2)
        there = np.clip(x + shorter * np.clip(wish, -farthest, farthest), low, high)
        found = facts_at(there)
        if cost(there, found) < cost(x, here):
            x, here, shorter = there, found, 1.0
        else:
            shorter *= NARROWER
    nothing = lived_under(with_settings(scenario, settings_at(scenario, x) | {"interests.intent_sd": 0.0}))
    progress()
    off = (moments.value - of_names(nothing.facts(np.ones(nothing.people)))) / error
    others = [k for k, name in enumerate(NAMES) if name != "interests.intent_sd"]
    rest = np.concatenate([weighted[:, others], np.diag(1 / known[others])])  # the others may make up for it
    off = np.concatenate([np.nan_to_num(off), ((before - x) / known)[others]])
    off -= rest @ np.linalg.lstsq(rest, off)[0]
    told = np.nan_to_num(moments.value - here) / error
    without = float(off @ off - told @ told - np.sum(((before - x) / known)[others] ** 2))
    return InterestFit(x, here, precision, gain, halves, without)


def spread_of_interests(
    fit: InterestFit, scenario: Scenario, moments: Moments, of_log: list[dict[str, float]], wider: float,
    rng: np.random.Generator,
) -> list[dict[str, float]]:  # fmt: skip
    """Parameter sets as the fit would give them for other people, of the log and of the simulation, made as
    `calibrate.spread_of_fit` makes those of play times."""
    log_moves, simulation_moves = (
        np.array([[one.get(name, np.nan) for name in moments.names] for one in many]) for many in (of_log, fit.halves)
    )
    moves = (log_moves - np.nanmean(log_moves, axis=0)) - (simulation_moves - np.nanmean(simulation_moves, axis=0))
    untold = np.linalg.inv(fit.precision) / spread_before(INTERESTS)
    low, high = limits(INTERESTS)
    sets = []
    for moved in moves:
        step = fit.gain @ np.nan_to_num(moved) + untold @ rng.standard_normal(len(fit.x))
        sets.append(settings_at(scenario, np.clip(fit.x + wider * step, low + 1e-6, high - 1e-6)))
    return sets


def said_of(fit: InterestFit, draws: list[dict[str, float]], weak: float) -> list[str]:
    """Notes for the reader: whether there may be no intents, and which parameters the log hardly identifies.

    A cloud that assumes intents reacts the same whether there are any or not. So the interval, in which the cloud knows
    them, cannot say whether there are any."""
    name = "interests.intent_sd"
    most = float(np.quantile([draw[name] for draw in draws], 0.975))
    found = []
    if fit.without < SURE:
        found.append(f"{name}: {NOT_EXCLUDED} (squared errors {fit.without:+.1f}); at most {most:.2g}")
    sd = np.sqrt(np.diag(np.linalg.inv(fit.precision))) / spread_before(INTERESTS)
    untold = [p.name for p, x in zip(INTERESTS, sd, strict=True) if x > weak]
    if untold:
        found.append(f"only bounded by this log, held near what was assumed: {', '.join(untold)}")
    return found
