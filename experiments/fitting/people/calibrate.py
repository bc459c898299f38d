"""Fitting people to a log: the scenario under which simulated people show the facts that the log shows.

Play times are fitted on the people of a simulated fortnight (`play_fit.py`). The fortnight is then simulated again,
since other play times change moods, sessions and pages. Feedback follows from its rates by how long was watched. If
asked for, the passing interests, tastes and the cloud's filter are fitted next (`interests_fit.py`), and then play
times once more. Intervals are a bootstrap over people, of the log and of the simulation. Called by `nextone calibrate`.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from nextone.experiments.fitting.logs.user_log import UserLog, UserLogError
from nextone.sim.catalogue import REAL_VIDEOS, make_catalogue
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .facts import facts, outcomes, sum_up, tags_of
from .feedback_fit import FEWEST, feedback_settings, needed_rates
from .groups import activity_facts, people_sums
from .interests_fit import (
    FACTS,
    INTERESTS,
    SIMULATIONS,
    Shown,
    fit_interests,
    live,
    said_of,
    settings_at,
    spread_of_interests,
    start_of_interests,
    told_by_tags,
    too_little_for_interests,
)
from .lags import lag_facts, sum_lags
from .play_fit import (
    MATCH,
    PLAY,
    RANDOM,
    Fit,
    Moments,
    Parameter,
    PlayModel,
    also_simulated,
    at_the_level,
    fit_plays,
    fitted_facts,
    get,
    limits,
    moments_of,
    spread_before,
)
from .thinning import (
    BLOCK,
    DAYS,
    dense_rows,
    pool_of,
    session_facts,
    session_settings,
    simulate_fortnight,
)

PEOPLE, ROUNDS, DRAWS = 1_000, 3, 200
EVALUATIONS, AGAIN = 16, 6  # of the first fit of play times, at most; and of those that go on from it
DAMPED = 0.5  # of a step, after the first: what the cloud shows answers, and full steps go to and fro
MIN_USERS, MIN_IMPRESSIONS = 50, 2_000  # fewer cannot tell people from luck
SAME_LENGTHS = 0.08  # Assumed: KS distance of video lengths within which they are taken for KuaiRand's
WIDENED = 1.35  # Source: coverage.py, seeds 100 to 120 and 200 to 210: planted parameters lay 1.3 times as
# far off as the linear approximation says, which leaves out that facts curve and the fortnight is lived anew
WEAK = 0.5  # what a log must leave of a parameter's prior standard deviation, at most, to be said to tell it
KUAIRAND = {
    "random: valid play": 0.205, "random: long view": 0.098, "impressions a session": 78.7, "sessions a day": 4.8,
}  # fmt: skip
"""Figures on KuaiRand that its public log does not show. Random exposure: on all surfaces 17.6 % of random and 45.1 %
of recommended plays are valid, 8.5 and 31.8 % long (github.com/Aylayan/KuaiRand_Pure); these odds ratios, applied to
the main feed's rates of .498 and .353. Sessions: counts of KuaiRand-27K (github.com/limings02/kuairand), where half
an hour without a request ends a session."""
PUBLISHED_ERROR = {"random: valid play": 0.003, "random: long view": 0.003}  # Assumed: of full-log tallies


class Estimate(NamedTuple):
    """One fitted parameter with its 95 % interval (bootstrap over people, of the log and of the simulation)."""

    name: str
    value: float
    low: float
    high: float
    before: float


class Calibration(NamedTuple):
    """The result of a fit: what a log says about people."""

    scenario: Scenario
    estimates: tuple[Estimate, ...]
    draws: tuple[dict[str, float], ...]  # parameter sets that agree with the log about as well
    missed: tuple[str, ...]  # why a parameter was left at its default, one line each
    cost: float  # half the sum of squared residuals, in errors


def calibrate(
    log: UserLog, scenario: Scenario | None = None, *, published: dict[str, float] | None = None, people: int = PEOPLE,
    rounds: int = ROUNDS, days: float = DAYS, seed: int = 0, progress: Callable[[int, int], None] | None = None,
    vague: float = 1.0, interests: bool = False, tags: Shown | None = None,
) -> Calibration:  # fmt: skip
    """Fit the scenario's people to a log.

    published: facts from elsewhere, by name (see KUAIRAND). people, days: how many simulated people live for how long.
    rounds: how often the fit is repeated on a new fortnight. vague: how widely parameters may lie about the scenario's,
    as a multiple of `play_fit.PLAY`'s. interests: also fit the second stage. tags: what people were shown before, if
    that is known better than from the log.

    A pure function of its arguments. Raises UserLogError if the log cannot identify the play times."""
    random, log = split_randomised(log)
    if log.users < 2 * MIN_USERS or len(log.user) < MIN_IMPRESSIONS:
        raise UserLogError(
            f"{log.source}: {len(log.user):,} impressions of {log.users:,} users are too few to fit people to; "
            f"give at least {MIN_IMPRESSIONS:,} of {2 * MIN_USERS}, of more days or people"
        )
    scenario, known = with_settings(scenario or Scenario(), catalogue_settings(log)), published or {}
    known = random | session_facts(log) | activity_facts(people_sums(log)) | known
    of_people = facts_of_people(log)
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x626F6F74]))
    told = of_people(np.ones(log.users)) | known | {"impressions": float(len(log.user))}
    resampled = [told | of_people(weight) | known for weight in resamples(rng, log.users, DRAWS)]
    for name, error in PUBLISHED_ERROR.items():
        if name in known:
            for one, z in zip(resampled, rng.standard_normal(DRAWS), strict=True):
                one[name] += error * z
    named: tuple[Parameter, ...] = (*PLAY, MATCH) if RANDOM[0] in known else PLAY
    chosen = fitted_facts()
    too_little = too_little_for_interests(log) if interests else ""
    interests = interests and not too_little
    if interests:  # tells the mood, too
        named = tuple(p for p in named if p.name not in [q.name for q in INTERESTS])
        chosen = {name: tolerance for name, tolerance in chosen.items() if name not in FACTS}
    parameters = tuple(p._replace(known=vague * p.known) for p in named)
    moments, missing = moments_of(told, resampled, chosen)
    pool = pool_of(scenario, log)
    before: Array | None = None
    stages = ["plays"] * rounds + interests * ["interests", *["plays"] * rounds]
    steps = (len(stages) + 1) * (people // BLOCK + 1) + interests * SIMULATIONS
    done = 0
    of_interests: list[dict[str, float]] = []
    before_interests = start_of_interests(scenario)

    def step(_: int = 0) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, steps), steps)

    for stage in stages:
        if stage == "interests":
            tags = tags or Shown(log.user, tags_of(log), log.users)
            scenario, of_interests, said = second_stage(
                scenario, told, resampled, tags, pool, people, seed, before_interests, step
            )
            missing += said
            continue
        lived = simulate_fortnight(scenario, people, seed, days, pool, progress=step)
        dense, row = dense_rows(lived, seed)  # all facts of plays are fitted on many rows of few people
        model = PlayModel(scenario, dense, lived.latent[row], parameters, seed)
        first = before is None
        before = model.start() if before is None else before
        moments = also_simulated(moments, model)
        fit = fit_plays(model, moments, model.start(), before, EVALUATIONS if first else AGAIN)
        fit = fit._replace(x=model.start() + (1.0 if first else DAMPED) * (fit.x - model.start()))
        found = model.settings(fit.x) | person_settings(told) | session_settings(known, lived, scenario)
        scenario = with_settings(scenario, settings_of(scenario, found))
        step()
    lived = simulate_fortnight(scenario, people, seed, days, pool, progress=step)  # feedback follows from plays
    last, row = dense_rows(lived, seed)
    fit = fit._replace(x=at_the_level(PlayModel(scenario, last, lived.latent[row], parameters, seed), told))
    needed, rest = needed_rates(told, lived, scenario), session_settings(known, lived, scenario)
    passing = {name: get(scenario, name) for name in of_interests[0]} if of_interests else {}
    settings = model.settings(fit.x) | passing | person_settings(told) | feedback_settings(told, needed) | rest
    scenario = with_settings(scenario, settings_of(scenario, settings))
    again = facts_of_people(model.again(fit.x))
    simulated = [again(weight) for weight in resamples(rng, dense.users, DRAWS)]
    draws = spread_of_fit(model, fit, moments, resampled, simulated, needed, settings, rng)
    if of_interests:
        draws = tuple(one | other for one, other in zip(draws, of_interests, strict=True))
    step()
    ends = {name: np.quantile([d[name] for d in draws], (0.025, 0.975)) for name in settings}
    estimates = tuple(
        Estimate(name, value, float(ends[name][0]), float(ends[name][1]), get(Scenario(), name))
        for name, value in settings.items()
    )
    cost = 0.5 * float(np.sum(((fit.simulated - moments.value) / moments.error) ** 2))
    missed = (*missing, *weakly_told(model, fit, moments), *unidentified(log, known, interests, too_little))
    return Calibration(scenario, estimates, draws, missed, cost)


def second_stage(
    scenario: Scenario, told: dict[str, float], resampled: list[dict[str, float]], tags: Shown, pool: int, people: int,
    seed: int, before: Array, step: Callable[[], None],
) -> tuple[Scenario, list[dict[str, float]], list[str]]:  # fmt: skip
    """(the scenario with fitted interests, parameter sets that agree about as well, notes for the reader). before: what
    was known of the parameters, on their scales."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x70617373]))
    of_tags, each = told_by_tags(tags, list(resamples(rng, tags.users, len(resampled))))
    of_log = [one | other for one, other in zip(resampled, each, strict=True)]
    moments, missing = moments_of(told | of_tags, of_log, FACTS)
    found = fit_interests(
        scenario, moments, before, lambda world: live(world, tags, pool, people, seed),
        lambda some: resamples(rng, some, len(resampled)), step,
    )  # fmt: skip
    draws = spread_of_interests(found, scenario, moments, of_log, WIDENED, rng)
    scenario = with_settings(scenario, settings_of(scenario, settings_at(scenario, found.x)))
    return scenario, draws, [*missing, *said_of(found, draws, WEAK)]


def facts_of_people(log: UserLog) -> Callable[[Array], dict[str, float]]:
    """The facts of a log as a function of how often each person counts, (U,)."""
    sums, lags = sum_up(log), sum_lags(log)
    return lambda weight: facts(sums, weight) | lag_facts(lags, weight)


def resamples(rng: np.random.Generator, users: int, draws: int) -> Iterator[Array]:
    """Which people count in each draw: a random half, as weights.

    A half varies about the whole as a bootstrap sample does, but nobody is drawn twice, which would inflate facts about
    pairs."""
    for _ in range(draws):
        yield (rng.permutation(users) < users / 2).astype(float)


def split_randomised(log: UserLog) -> tuple[dict[str, float], UserLog]:
    """(the shares of valid plays and long views among videos shown at random, the log without these)."""
    if log.randomised is None or not log.randomised.any():
        return {}, log
    bits = outcomes(log)
    shares = (float(bits[name][log.randomised].mean()) for name in ("valid play", "long view"))
    return dict(zip(RANDOM, shares, strict=True)), log.select(~log.randomised)


def settings_of(scenario: Scenario, values: dict[str, float]) -> list[str]:
    """`section.field=value` texts for parameters by name; `feedback.long_ratio.like` is one entry of a list."""
    lists: dict[str, list[float]] = {}
    for name, value in values.items():
        section, field, *kind = name.split(".")
        if kind:
            whole = lists.setdefault(f"{section}.{field}", list(getattr(getattr(scenario, section), field)))
            whole[FEEDBACK.index(kind[0])] = value
    flat = {name: value for name, value in values.items() if name.count(".") == 1}
    text = {name: repr(float(f"{value:.6g}")) for name, value in flat.items()}
    text |= {name: str([float(f"{x:.6g}") for x in values]) for name, values in lists.items()}
    return [f"{name}={value}" for name, value in text.items()]


def catalogue_settings(log: UserLog) -> list[str]:
    """Settings of lengths and tags of the catalogue: the shipped ones if the log's videos look like KuaiRand's, else
    those of a synthetic catalogue like the log's."""
    first = np.unique(log.video, return_index=True)[1]
    length_s = log.duration_ms[first] / 1e3
    real_s = make_catalogue(Scenario()).videos["duration_us"][:REAL_VIDEOS] / 1e6
    if ks_2samp(length_s, real_s).statistic < SAME_LENGTHS:
        return []
    tags = 1 if log.tag is None else int(np.clip(log.tag.max() + 1, 1, 100))
    mean, sd = float(np.mean(np.log(length_s))), float(np.std(np.log(length_s)))
    return [
        "catalogue.kind=synthetic", f"catalogue.tags={tags}", f"catalogue.duration_log_mean={np.clip(mean, 0, 8):.4g}",
        f"catalogue.duration_log_sd={np.clip(sd, 0, 3):.4g}",
    ]  # fmt: skip


def person_settings(told: dict[str, float]) -> dict[str, float]:
    """Spread of feedback between people and videos, in closed form: both are small against the mean's own variance."""
    found = {}
    names = ("like", "spread between users: like", "spread between videos: like")
    rate, users, videos = (told.get(name, np.nan) for name in names)
    if np.isfinite(users):
        found["feedback.user_icc"] = float(np.clip(users, 0.002, 0.99))
    if np.isfinite(videos) and rate > 0:
        found["catalogue.appeal_sd"] = math.sqrt(math.log1p(max(videos, 0.0) * (1 - rate) / rate))
    return found


def precision(model: PlayModel, fit: Fit, moments: Moments) -> Array:
    """The precision matrix of the parameters on their scales, (P, P): from the moments and from what was known
    before."""
    weighted = fit.jacobian / moments.error[:, None]
    return np.asarray(weighted.T @ weighted + np.diag(spread_before(model.parameters) ** -2))


def weakly_told(model: PlayModel, fit: Fit, moments: Moments) -> list[str]:
    """Names of the parameters about which the log says little: their intervals are about as wide as before."""
    sd = np.sqrt(np.diag(np.linalg.inv(precision(model, fit, moments)))) / spread_before(model.parameters)
    weak = [p.name for p, x in zip(model.parameters, sd, strict=True) if x > WEAK]
    return [f"hardly told by this log, held near their defaults: {', '.join(weak)}"] if weak else []


def spread_of_fit(
    model: PlayModel, fit: Fit, moments: Moments, resampled: list[dict[str, float]],
    simulated: list[dict[str, float]], needed: Array, settings: dict[str, float], rng: np.random.Generator,
) -> tuple[dict[str, float], ...]:  # fmt: skip
    """Parameter sets as the fit would give them for other people.

    They come from its linear approximation at the solution: from moments of resampled people of the log, minus those of
    resampled people of the simulation. What was known before varies, too, so that a direction about which the moments
    say nothing spreads as widely as its prior. The result is widened by WIDENED."""
    weighted = fit.jacobian / moments.error[:, None]
    normal = precision(model, fit, moments)
    gain = np.linalg.solve(normal, weighted.T) / moments.error
    untold = np.linalg.inv(normal) / spread_before(model.parameters)
    low, high = limits(model.parameters)
    log_moves, simulation_moves = (
        np.array([[one.get(name, 0.0) for name in moments.names] for one in many]) for many in (resampled, simulated)
    )
    moves = (log_moves - log_moves.mean(axis=0)) - (simulation_moves - simulation_moves.mean(axis=0))
    draws = []
    for of_log, moved in zip(resampled, moves, strict=True):
        step = gain @ np.nan_to_num(moved) + untold @ rng.standard_normal(len(fit.x))
        x = np.clip(fit.x + WIDENED * step, low + 1e-6, high - 1e-6)
        draws.append(settings | model.settings(x) | feedback_settings(of_log, needed) | person_settings(of_log))
    return tuple(draws)


def unidentified(log: UserLog, known: dict[str, float], interests: bool, too_little: str) -> list[str]:
    """What the log cannot identify, one line each; these settings stay at their defaults. interests: whether they were
    fitted; too_little: why they could not be."""
    lines = ["network, player, client, the rest of server, phone: a log shows what was watched, not how it arrived"]
    if not interests:
        why = too_little or "not asked for (--interests)"
        lines.append(f"{', '.join(p.name for p in INTERESTS if p.name not in [q.name for q in PLAY])}: {why}")
    lines.append("interests.reinforcement, satiation; population.taste_spread: what was shown was chosen")
    lines.append("feedback.match_slope; sessions: satisfaction, patience, time away: never observed")
    if RANDOM[0] not in known:
        lines.append("population.match_sd: needs videos shown at random (a column `randomised`)")
    if "impressions a session" not in known:
        lines.append("sessions.leave_per_min, gap_hours: needs whole sessions (a column `session`)")
    for kind in FEEDBACK:
        if kind not in log.feedback:
            lines.append(f"feedback.{kind}: no such column")
        elif log.feedback[kind].sum() < FEWEST:
            lines.append(f"feedback ratios of {kind}: given fewer than {FEWEST} times")
    return lines
