"""Fitting people to a log: the scenario under which simulated people show the facts that the log shows.

Play times are fitted on the people of a simulated fortnight (`experiments/play_fit.py`), which is then simulated anew, since
other play times change moods, sessions and pages; feedback follows from rates by how long was watched. Intervals are a
bootstrap over people, of the log and of the simulation. Called by `nextone calibrate`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nextone.sim.catalogue import REAL_VIDEOS
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.feedback import COMPLETE_SHARE, HATE, LONG_SHARE, SHORT_SHARE
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .facts import facts, outcomes, sum_up
from .play_fit import MATCH, PLAY, RANDOM, Fit, Moments, PlayModel, fit_plays, fitted_facts, from_scale, get
from .thinning import BLOCK, Fortnight, simulate_fortnight, thin
from .user_log import UserLog, UserLogError

PEOPLE, ROUNDS, DRAWS = 1_000, 3, 200
CATALOGUES = 4
MIN_USERS, MIN_IMPRESSIONS = 50, 2_000  # fewer cannot tell people from luck
DENSE_ROWS = 80  # of each simulated person: all facts of plays are fitted on many rows of few people
FEWEST = 30  # times a kind of feedback must have been given to say when it is given
KUAIRAND = {
    "random: valid play": 0.205, "random: long view": 0.098, "impressions a session": 78.7, "sessions a day": 4.8,
}  # fmt: skip
"""Source: calibration.md sections 4 and 5, published figures on KuaiRand that its public log does not show."""
PUBLISHED_ERROR = {"random: valid play": 0.003, "random: long view": 0.003}  # Assumed: of full-log tallies


class Estimate(NamedTuple):
    """One fitted parameter with its 95 % interval (bootstrap over people, of the log and of the simulation)."""

    name: str
    value: float
    low: float
    high: float
    before: float


class Calibration(NamedTuple):
    """What a log says about people."""

    scenario: Scenario
    estimates: tuple[Estimate, ...]
    draws: tuple[dict[str, float], ...]  # parameter sets that agree with the log about as well
    missed: tuple[str, ...]  # why a parameter was left at its default, one line each
    cost: float  # half the sum of squared residuals, in errors


def calibrate(
    log: UserLog, scenario: Scenario | None = None, *, published: dict[str, float] | None = None, people: int = PEOPLE,
    rounds: int = ROUNDS, seed: int = 0, progress: Callable[[int, int], None] | None = None,
) -> Calibration:  # fmt: skip
    """Fit the scenario's people to a log. published: facts from elsewhere, by name (see KUAIRAND).

    A pure function of its arguments. Raises UserLogError if the log cannot identify the play times."""
    scenario, known = with_settings(scenario or Scenario(), catalogue_settings(log)), published or {}
    random, log = split_randomised(log)
    known = random | known
    sums = sum_up(log)
    if log.users < 2 * MIN_USERS or len(log.user) < MIN_IMPRESSIONS:
        raise UserLogError(
            f"{log.source}: {len(log.user):,} impressions of {log.users:,} users are too few to fit people to; "
            f"at least {MIN_IMPRESSIONS:,} of {2 * MIN_USERS} are needed"
        )
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x626F6F74]))
    told = facts(sums) | known
    resampled = [facts(sums, weight) | known for weight in resamples(rng, log.users, DRAWS)]
    for name, error in PUBLISHED_ERROR.items():
        if name in known:
            for one, z in zip(resampled, rng.standard_normal(DRAWS), strict=True):
                one[name] += error * z
    parameters = (*PLAY, MATCH) if RANDOM[0] in known else PLAY
    moments, missing = moments_of(told, resampled)
    pool = REAL_VIDEOS if scenario.catalogue.kind == "kuairand" else min(log.videos, scenario.catalogue.videos, 20_000)
    steps = rounds * (people // BLOCK + 1) + 1
    done = 0

    def step(_: int = 0) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, steps), steps)

    for _ in range(rounds):
        lived = simulate_fortnight(scenario, people, seed, catalogues=CATALOGUES, pool=pool, progress=step)
        dense, row = thin(lived, np.full(1, DENSE_ROWS), seed)
        model = PlayModel(scenario, dense, lived.latent[row], parameters, seed)
        fit = fit_plays(model, moments, model.start())
        settings = model.settings(fit.x) | feedback_settings(told, model, fit.x) | session_settings(known, lived, scenario)
        before, scenario = scenario, with_settings(scenario, [setting(*pair) for pair in settings.items()])
        step()
    draws = spread_of_fit(model, fit, moments, told, resampled, rng)
    step()
    estimates = tuple(
        Estimate(name, value, *(float(q) for q in np.quantile([d[name] for d in draws], (0.025, 0.975))), get(Scenario(), name))
        for name, value in settings.items() if name in draws[0]
    )
    cost = 0.5 * float(np.sum(((fit.simulated - moments.value) / moments.error) ** 2))
    return Calibration(scenario, estimates, draws, (*missing, *unidentified(log, known)), cost)


def resamples(rng: np.random.Generator, users: int, draws: int) -> Iterator[Array]:
    """How often each person counts in each bootstrap draw."""
    for _ in range(draws):
        yield np.bincount(rng.integers(0, users, users), minlength=users).astype(float)


def split_randomised(log: UserLog) -> tuple[dict[str, float], UserLog]:
    """(valid plays and long views of videos shown at random, the log without them)."""
    if log.randomised is None or not log.randomised.any():
        return {}, log
    bits = outcomes(log)
    shares = (float(bits[name][log.randomised].mean()) for name in ("valid play", "long view"))
    return dict(zip(RANDOM, shares, strict=True)), log.select(~log.randomised)


def catalogue_settings(log: UserLog) -> list[str]:
    """The catalogue's lengths and tags: ours if the log's videos look like KuaiRand's, else a synthetic one like them."""
    first = np.unique(log.video, return_index=True)[1]
    length_s = log.duration_ms[first] / 1e3
    if log.looks_like_kuairand(length_s):
        return []
    tags = 1 if log.tag is None else int(np.clip(log.tag.max() + 1, 1, 100))
    mean, sd = float(np.mean(np.log(length_s))), float(np.std(np.log(length_s)))
    return [
        "catalogue.kind=synthetic", f"catalogue.tags={tags}", f"catalogue.duration_log_mean={np.clip(mean, 0, 8):.4g}",
        f"catalogue.duration_log_sd={np.clip(sd, 0, 3):.4g}",
    ]  # fmt: skip


def moments_of(told: dict[str, float], resampled: list[dict[str, float]]) -> tuple[Moments, list[str]]:
    """What to fit to, of what the log tells; and what it does not tell, in words."""
    names, value, error = [], [], []
    for name, tolerance in fitted_facts().items():
        spread = float(np.std([one.get(name, np.nan) for one in resampled]))
        if np.isfinite(told.get(name, np.nan)) and np.isfinite(spread):
            names.append(name)
            value.append(told[name])
            error.append(math.hypot(spread, tolerance / 3))
    missing = sorted({name.split(":")[0].split(",")[0] for name in fitted_facts()} - {n.split(":")[0].split(",")[0] for n in names})
    return Moments(tuple(names), np.array(value), np.array(error)), [f"the log does not tell: {x}" for x in missing]


def feedback_settings(told: dict[str, float], model: PlayModel, x: Array) -> dict[str, float]:
    """Rates of feedback, and how they depend on the play time, for the kinds that the log has often enough.

    In the model the chance is the person's propensity, times a level for how long was watched, times how well the video
    suits. The mean of the last, by level, is taken from simulated plays; the levels follow."""
    found: dict[str, float] = {}
    suits = model.suits_by_level(x)
    for k, kind in enumerate(FEEDBACK):
        rates = [told.get(f"{kind} given {what}", np.nan) for what in LEVELS]
        if not np.isfinite(told.get(kind, np.nan)):
            continue
        found[f"feedback.{kind}"] = told[kind]
        if not np.isfinite(rates).all() or told[kind] * told["impressions"] < FEWEST or rates[1] <= 0:
            continue
        short, middling, long, complete = (r / s for r, s in zip(rates, suits[k == HATE], strict=True))
        ratio = {"skip": short / middling, "long": long / middling, "complete": complete / max(long, 1e-9)}
        level = (
            1 - SHORT_SHARE - LONG_SHARE + SHORT_SHARE * ratio["skip"]
            + ratio["long"] * (LONG_SHARE - COMPLETE_SHARE + COMPLETE_SHARE * ratio["complete"])
        )  # fmt: skip
        found[f"feedback.{kind}"] = min(middling * level, 1.0)
        found |= {f"feedback.{what}_ratio.{kind}": value for what, value in ratio.items()}
    return found
