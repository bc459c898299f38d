"""Rates of feedback from a log, and how they depend on how long was watched.

They follow directly from the rates in the log and the distribution of people's plays, without a search. Called by
`calibrate.py`.
"""

import numpy as np

from nextone.sim.config import FEEDBACK, HATE, Scenario
from nextone.sim.feedback import COMPLETE_SHARE, LONG_SHARE, SHORT_SHARE, SHORT_US
from nextone.sim.population import propensity_table
from nextone.sim.state import Array

from .facts import outcomes
from .thinning import Fortnight, dense_rows

LEVELS = ("skip < 5 s", "a middling play", "a long view, not completed", "completion")
FACTORS, ITERATIONS = 64, 12  # quantiles of how well videos suit; steps of a fixed point
ENOUGH = 100  # Assumed: people who give feedback, of whom half of what they say is believed
FEWEST = 30  # times a kind of feedback must have been given to say when it is given


def feedback_settings(told: dict[str, float], needed: Array) -> dict[str, float]:
    """Rates of feedback, and how they depend on the play time, for the kinds that the log has often enough.

    In the model the chance is the person's propensity, times a level for how long was watched, times how well the video
    suits and appeals, at most 1. needed: what rates by level have to be asked for, as multiples, see `needed_rates`."""
    found: dict[str, float] = {}
    for k, kind in enumerate(FEEDBACK):
        rates = [told.get(f"{kind} given {what}", np.nan) for what in LEVELS]
        if not np.isfinite(told.get(kind, np.nan)):
            continue
        found[f"feedback.{kind}"] = told[kind]
        if not np.isfinite(rates).all() or told[kind] * told["impressions"] < FEWEST or rates[1] <= 0:
            continue
        asked = np.array(rates) * needed[k]
        ratio, found[f"feedback.{kind}"] = by_level(asked)
        found |= {f"feedback.{what}_ratio.{kind}": value for what, value in ratio.items()}
    return found


def by_level(asked: Array) -> tuple[dict[str, float], float]:
    """(the scenario's ratios, its rate) of one kind of feedback, from propensity times level by level, (4,)."""
    short, middling, long, complete = (float(x) for x in np.maximum(asked, 1e-12))
    ratio = {"skip": short / middling, "long": long / middling, "complete": complete / long}
    shares = (SHORT_SHARE, 1 - SHORT_SHARE - LONG_SHARE, LONG_SHARE - COMPLETE_SHARE, COMPLETE_SHARE)
    return ratio, min(float(np.dot(shares, np.maximum(asked, 1e-12))), 1.0)


def needed_rates(told: dict[str, float], lived: Fortnight, scenario: Scenario) -> Array:
    """What to ask for, as a multiple of a rate by kind and level, (6, 4), so that it comes out under these plays.

    Videos that are shown suit and appeal more or less than average, more so to those who give much feedback (the cloud
    knows them, and counts predicted likes), and nobody gives feedback more than always."""
    every, row = dense_rows(lived, 0)
    bits = outcomes(every)
    level = np.where(every.play_ms * 1000 < SHORT_US, 0, 1)
    level[bits["long view"] | bits["complete"]] = 2
    level[bits["complete"]] = 3
    slope = scenario.feedback.match_slope * (lived.latent[row, 3:5].sum(axis=1) - scenario.feedback.usual_match)
    appeal = lived.appeal[row] - 0.5 * scenario.catalogue.appeal_sd**2
    even = (np.arange(FACTORS) + 0.5) / FACTORS
    multiple = np.ones((len(FEEDBACK), len(LEVELS)))
    for k, kind in enumerate(FEEDBACK):
        rates = np.array([told.get(f"{kind} given {what}", np.nan) for what in LEVELS])
        if not np.isfinite(rates).all() or not rates.all() or not np.bincount(level, minlength=4).all():
            continue
        factor = np.exp(appeal + (-slope if k == HATE else slope))
        spread = np.stack([np.quantile(factor[level == c], even) for c in range(len(LEVELS))])
        known = known_to_like(lived.propensity[:, k], lived.person[row], factor, level)
        for _ in range(ITERATIONS):
            rate = by_level(rates * multiple[k])[1]
            people = propensity_table(rate, scenario.feedback.user_icc)
            for c in range(len(LEVELS)):
                chance = np.minimum(1.0, people[:, None] * (rates[c] * multiple[k, c] / rate) * spread[c])
                given = np.trapezoid(chance.mean(axis=1), dx=1 / (len(people) - 1)) * known[c]
                multiple[k, c] *= rates[c] / given
    return multiple


def known_to_like(propensity: Array, person: Array, factor: Array, level: Array) -> Array:
    """By how much more feedback people give at each level of plays, (4,), because those who give much are shown what
    suits and appeals more. Few people give most of the feedback, so what these few say is drawn towards no effect.

    propensity: of each person; person, factor, level: of each row."""
    more = np.ones(len(LEVELS))
    if propensity.any():
        many = propensity.sum() ** 2 / np.sum(propensity**2)  # people who would give as much, if all gave alike
        gives = propensity[person] / propensity[person].mean()
        for c in range(len(LEVELS)):
            ratio = np.mean((gives * factor)[level == c]) / np.mean(factor[level == c])
            more[c] += (ratio - 1) * many / (many + ENOUGH)
    return more
