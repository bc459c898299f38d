"""Play times as a function of the parameters, and the parameters under which their facts agree with a log's.

What people are like (their lasting effect, mood, a video's quality, interest) is taken from a simulated fortnight;
given those, play times are drawn again and again under other parameters, with the same luck, until the facts agree: the
method of simulated moments. Plays drawn again do not know stalls and slow starts, which end some plays early: by how
much that moves a fact is taken from the fortnight itself. Called by `experiments/fitting/people/calibrate.py`.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtri

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.catalogue import REAL_VIDEOS, make_catalogue, quality_of_tags
from nextone.sim.config import FEEDBACK, Scenario, rules_of
from nextone.sim.engine.kernel import entry
from nextone.sim.state import Array
from nextone.sim.watching import LONG_US, VALID_US, length_logit, watch_time_us

from .facts import CLASS_PLAY_S, CLASS_RATIO, CLASSES, HAZARD_S, MEAN_PLAY, PLAY_S, facts, sum_up
from .lags import OTHER_LESS_LASTING, lag_facts, sum_lags


class Parameter(NamedTuple):
    """A number that a log of plays can identify. latent: which column of `Fortnight.latent` it stretches, or -1."""

    name: str
    scale: str  # "", "log" or "logit": the scale on which it is fitted, and its interval is symmetric
    latent: int = -1
    known: float = 0.5  # Assumed: how well it is known before, as a standard deviation about the scenario's value
    step: float = 0.1  # to either side for a slope: so wide that luck at a threshold is none


HELD = 0.005  # Assumed: plays of videos that were shown tell nothing of what length does to staying, for the cloud that
# chose them knows it: see docs/validation.md
OF_A_LENGTH = 0.15  # how closely plays of one length are to be met: less than those of all, for the two slopes are held
PLAY = (
    Parameter("watching.stay", "", known=1.0),
    Parameter("watching.stay_shorter", "", known=HELD),
    Parameter("watching.stay_longer", "", known=HELD),
    Parameter("watching.dead_time_s", "log"),
    Parameter("watching.dead_time_log_sd", "log"),
    Parameter("watching.skip_log_mean", ""),
    Parameter("watching.skip_log_sd", "log"),
    Parameter("watching.skip_log_slope", "", known=0.1, step=0.02),
    Parameter("watching.watch_log_mean", ""),
    Parameter("watching.watch_log_sd", "log"),
    Parameter("watching.watch_log_slope", "", known=0.1, step=0.02),
    Parameter("watching.loop", "logit"),
    Parameter("watching.loop_log_mean", ""),
    Parameter("watching.react_log_mean", ""),
    Parameter("population.person_sd", "log", 0),
    Parameter("interests.mood_sd", "log", 1),
    Parameter("catalogue.quality_sd", "log", 2),
)
"""The parameters of play time that any log can identify."""
MATCH = Parameter("population.match_sd", "log", 4)
"""One more, identified only by how much less people stay with videos shown at random."""
RANDOM = ("random: valid play", "random: long view")
LEVEL, LEVEL_STEP = "valid play", 0.2  # the fact that the last step is for; logit, for its slope, and at most
TOLERANCE = 1e-3  # of a relative change of the cost, or of the parameters, at which a fit ends


class Moments(NamedTuple):
    """The facts fitted to, and how closely each is to be met: its sampling error and the scoreboard's tolerance."""

    names: tuple[str, ...]
    value: Array
    error: Array


def fitted_facts() -> dict[str, float]:
    """Every fact that play times are fitted to, with how closely it should be met, about the scoreboard's tolerance."""
    chosen = {f"P(play < {t} s)": 0.015 for t in PLAY_S} | {f"hazard in second {t}": 0.012 for t in HAZARD_S}
    chosen |= {"valid play": 0.005, "long view": 0.0035, "complete": 0.0018, "skip < 2 s": 0.0024, MEAN_PLAY: 0.25}
    for name in CLASSES:
        chosen |= {f"{name}: P(play < {t:g} s)": OF_A_LENGTH for t in CLASS_PLAY_S}
        chosen |= {f"{name}: P(ratio < {r:g})": OF_A_LENGTH for r in CLASS_RATIO}
    chosen |= {f"spread between users: {name}": 0.006 for name in ("long view", "skip < 2 s", "valid play")}
    chosen |= {"spread between videos: long view": 0.02}
    chosen |= dict.fromkeys(RANDOM, 0.015)
    return chosen | dict.fromkeys(OTHER_LESS_LASTING, 0.01)


def moments_of(
    told: dict[str, float], resampled: list[dict[str, float]], chosen: dict[str, float] | None = None
) -> tuple[Moments, list[str]]:
    """The facts to fit to, from those of the log; and in words, which facts the log lacks. chosen: facts, and how
    closely each is to be met; None: those of play times. A fit of other settings, which simulates lives again, takes
    `lags.SECOND_STAGE`."""
    chosen = fitted_facts() if chosen is None else chosen
    names, value, error = [], [], []
    for name, tolerance in chosen.items():
        spread = float(np.std([one.get(name, np.nan) for one in resampled]))
        if np.isfinite(told.get(name, np.nan)) and np.isfinite(spread):
            names.append(name)
            value.append(told[name])
            error.append(math.hypot(spread, tolerance / 3))
    wanted, found = ({name.split(":")[0].split(",")[0] for name in some} for some in (chosen, names))
    missing = [f"the log does not tell: {x}" for x in sorted(wanted - found)]
    return Moments(tuple(names), np.array(value), np.array(error)), missing


def of_plays(log: UserLog) -> dict[str, float]:
    """All facts of a log that may be fitted to."""
    return facts(sum_up(log, by_person=False)) | lag_facts(sum_lags(log))


@entry
def play_times_ms(params, latent, stretch, duration_us, draws, out):
    """Play times of impressions whose circumstances are known. draws: (n, 5) a uniform, three normals (see
    `watch_time_us`); stretch: (6,) factors of the latent columns."""
    p = params[0]
    for k in range(len(out)):
        logit = p.stay + length_logit(p, duration_us[k])
        for j in range(latent.shape[1]):
            logit += stretch[j] * latent[k, j]
        person, d = stretch[0] * latent[k, 0], draws[k]
        out[k] = watch_time_us(p, logit, person, duration_us[k], d[0], d[1], d[2], d[3], d[4]) // 1000


def to_scale(value: float, scale: str) -> float:
    """A parameter on the scale on which it is fitted."""
    if scale == "log":
        return math.log(max(value, 1e-6))
    return math.log(value / (1.0 - value)) if scale == "logit" else value


def from_scale(x: float, scale: str) -> float:
    """A parameter back from the scale on which it is fitted."""
    if scale == "log":
        return math.exp(x)
    return 1.0 / (1.0 + math.exp(-x)) if scale == "logit" else x


def get(scenario: Scenario, name: str) -> float:
    """The value of `section.field`, or of `section.field.like`, one entry of a list by kind of feedback."""
    section, field, *kind = name.split(".")
    value = getattr(getattr(scenario, section), field)
    return float(value[FEEDBACK.index(kind[0])] if kind else value)


class PlayModel:
    """Facts of play times as a function of the parameters, everything else as in one simulated fortnight."""

    def __init__(
        self, scenario: Scenario, log: UserLog, latent: Array, parameters: tuple[Parameter, ...] = PLAY, seed: int = 0
    ):
        self.scenario, self.parameters = scenario, parameters
        self._log, self._duration_us = replace(log, feedback={}), log.duration_ms * 1000  # plays only
        self._latent = latent.copy()
        params = scenario.params()
        self._latent[:, 2] -= _lengths(params, self._duration_us)  # quality without the effect of length
        rng = np.random.Generator(np.random.Philox(key=[seed, 0x706C6179]))
        draws = rng.random((len(log.user), 5))
        draws[:, [1, 2, 4]] = ndtri(draws[:, [1, 2, 4]])
        self._draws = draws
        self._random_latent, self._random_us = self._random_videos(rng)
        lived, again = (of_plays(each) for each in (self._log, self.again(self.start())))
        self._impatience = {name: lived[name] - again[name] for name in lived}

    def _random_videos(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """The same people in the same moods, each row with a random video of the catalogue."""
        p, n = self.scenario.population, len(self._log.user)
        videos = make_catalogue(self.scenario).videos
        which = rng.integers(0, min(len(videos), REAL_VIDEOS), n)
        video = videos[which]
        latent = self._latent.copy()
        latent[:, 5] = quality_of_tags(self.scenario.catalogue)[which]
        latent[:, 2] = video["quality"] - _lengths(self.scenario.params(), video["duration_us"]) - latent[:, 5]
        latent[:, 3] = math.hypot(p.taste_sd, self.scenario.interests.intent_sd) * rng.standard_normal(n)
        latent[:, 4] = p.match_sd * rng.standard_normal(n)
        return latent, video["duration_us"].copy()

    def start(self) -> Array:
        """The scenario's own values, on their scales."""
        return np.array([to_scale(get(self.scenario, p.name), p.scale) for p in self.parameters])

    def settings(self, x: Array) -> dict[str, float]:
        """The parameters at x by name."""
        return {p.name: from_scale(float(v), p.scale) for p, v in zip(self.parameters, x, strict=True)}

    def facts(self, x: Array) -> dict[str, float]:
        """The facts under the parameters at x."""
        found = of_plays(self.again(x))
        found = {name: value + self._impatience[name] for name, value in found.items()}
        if MATCH.name in [p.name for p in self.parameters]:
            random_ms = self._plays_ms(x, self._random_latent, self._random_us)
            enough = [np.minimum(us, self._random_us) // 1000 for us in (VALID_US, LONG_US)]
            found |= {name: float(np.mean(random_ms >= ms)) for name, ms in zip(RANDOM, enough, strict=True)}
        return found

    def again(self, x: Array) -> UserLog:
        """The log with play times drawn again under the parameters at x."""
        return replace(self._log, play_ms=self._plays_ms(x, self._latent, self._duration_us))

    def _plays_ms(self, x: Array, latent: Array, duration_us: Array) -> Array:
        params, stretch = self.scenario.params(), np.ones(self._latent.shape[1])
        for p, value in zip(self.parameters, self.settings(x).values(), strict=True):
            if p.latent >= 0:
                stretch[p.latent] = value / get(self.scenario, p.name)
            elif p.name.endswith("_s"):
                params[p.name.split(".")[1].removesuffix("_s") + "_us"] = round(value * 1e6)
            else:
                params[p.name.split(".")[1]] = value
        out = np.empty(len(latent), np.int64)
        play_times_ms(params, latent, stretch, duration_us, self._draws, out)
        return out


@entry
def _each_length(params, duration_us, out):
    for k in range(len(out)):
        out[k] = length_logit(params[0], duration_us[k])


def _lengths(params: Array, duration_us: Array) -> Array:
    out = np.empty(len(duration_us))
    _each_length(params, duration_us, out)
    return out


def also_simulated(moments: Moments, model: PlayModel) -> Moments:
    """The moments that the simulation has too: in a few days nobody meets a video a week later."""
    found = model.facts(model.start())
    shown = np.array([math.isfinite(found[name]) for name in moments.names])
    names = tuple(name for name, there in zip(moments.names, shown, strict=True) if there)
    return Moments(names, moments.value[shown], moments.error[shown])


class Fit(NamedTuple):
    """The end of a fit of play times."""

    x: Array  # parameters on their scales
    simulated: Array  # the moments there
    jacobian: Array  # (moments, parameters), of the moments


def fit_plays(model: PlayModel, moments: Moments, start: Array, before: Array, evaluations: int = 16) -> Fit:
    """Weighted least squares from `start`. Parameters stay within the scenario's bounds, and at `before` where the
    moments say nothing."""

    def simulated(x: Array) -> Array:
        found = model.facts(x)
        return np.array([found[name] for name in moments.names])

    def jacobian(x: Array) -> Array:
        columns = []
        for j in range(len(x)):
            up, down = x.copy(), x.copy()
            step = model.parameters[j].step
            up[j], down[j] = min(x[j] + step, high[j]), max(x[j] - step, low[j])
            columns.append((simulated(up) - simulated(down)) / (up[j] - down[j]))
        return np.stack(columns, axis=1)

    low, high = limits(model.parameters)
    known = spread_before(model.parameters)

    def residuals(x: Array) -> Array:
        told = (simulated(x) - moments.value) / moments.error
        return np.concatenate([told, (x - before) / known])

    def slopes(x: Array) -> Array:
        told = jacobian(x) / moments.error[:, None]
        return np.concatenate([told, np.diag(1 / known)])

    first = np.clip(start, low + 1e-6, high - 1e-6)
    found = least_squares(
        residuals, first, jac=slopes, bounds=(low, high), x_scale=known, max_nfev=evaluations,
        ftol=TOLERANCE, xtol=TOLERANCE,
    )  # fmt: skip
    n = len(moments.value)
    return Fit(
        found.x, found.fun[:n] * moments.error + moments.value, np.asarray(found.jac)[:n] * moments.error[:, None]
    )


def spread_before(parameters: tuple[Parameter, ...]) -> Array:
    """What is known of each parameter before the fit, (P,), as standard deviations on their scales."""
    return np.array([p.known for p in parameters])


def at_the_level(model: PlayModel, told: dict[str, float]) -> Array:
    """The model's own parameters after one last step of `watching.stay`. When people live under fitted parameters, more
    or fewer plays are valid than in the log, because what the cloud shows reacts to each step of a fit."""
    x, move = model.start(), np.zeros(len(model.parameters))
    move[[p.name for p in model.parameters].index("watching.stay")] = LEVEL_STEP
    lived, slope = model.facts(x)[LEVEL], model.facts(x + move)[LEVEL] - model.facts(x - move)[LEVEL]
    return np.asarray(x + move * np.clip(2 * (told[LEVEL] - lived) / slope, -1, 1) if slope > 0 else x)


def limits(parameters: tuple[Parameter, ...]) -> tuple[Array, Array]:
    """Lowest and highest values on the parameters' scales."""
    low, high = zip(*(bounds(p) for p in parameters), strict=True)
    return np.array(low), np.array(high)


def bounds(parameter: Parameter) -> tuple[float, float]:
    """The bounds of a scenario's field, on the parameter's scale."""
    section, field = parameter.name.split(".")
    part = Scenario.model_fields[section].annotation
    assert part is not None
    rules = rules_of(part.model_fields[field])
    if parameter.scale == "logit":
        return -15.0, 15.0
    low, high = rules.get("ge", rules.get("gt", -1e9)), rules.get("le", rules.get("lt", 1e9))
    return to_scale(low, parameter.scale), to_scale(high, parameter.scale)
