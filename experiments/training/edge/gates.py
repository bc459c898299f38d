"""Gates: tests that a trained network must pass to be worth using. `make models` runs them and keeps the answers as
evidence.

Offline it must rank and predict better than the strongest single column of its own input, and better than the cloud's
own score. Both are recalibrated with two parameters on other people first. Differences are paired over test people, and
the interval must be above 0. Online it must reach a share of the gain of the reference filter, which knows how people
work and sees what a phone sees. The share is a ratio of paired differences, with Fieller's interval.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import t as student

from nextone.envs.features import CANDIDATE, C
from nextone.experiments.runs.compare import compare_policies
from nextone.experiments.runs.metrics import METRICS, metric_named
from nextone.experiments.runs.names import REFERENCE_FILTER
from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.names import CLOUD_ONLY
from nextone.policies.networks.loading import load_network
from nextone.sim.config import Scenario

from .lives import LIVED, Lives, lives_of
from .ranking_metrics import Measured, auc_by_line, two_classes, weighted_mean
from .samples import KINDS, Array, Samples, read_samples
from .train import SEES, batches, heads_of, one_of_each_page

READ = (*SEES, *LIVED, "page", "shown", "effective_view", "would_effective_view", "reference")
Z = 1.959964
LEAST_SD = 4.0  # standard errors of the filter's own gain, below which no share of it is told
GOAL, GOAL_LOW = 0.6, 0.4  # of the filter's gain, where intents are strong: the point, and the interval's lower end
OBJECTIVE = "objective"
EQUAL = 0.3  # %: within which a model must be of the cloud where there is nothing to perceive
RATED = ("valid_play", "long_view", *KINDS)  # metrics, in the order of the cloud's objective
COLUMNS = tuple(feature.name for feature in CANDIDATE)


class Better(NamedTuple):
    """By how much a network is better than a rival, a 95 % interval over people around it; above 0 is better."""

    metric: str  # gauc or log_loss
    rival: str
    network: float
    of_rival: float
    difference: float
    half: float

    @property
    def passed(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.difference - self.half > 0


def offline_gate(kind: str, run: Path, data: Path) -> list[Better]:
    """A training's best checkpoint on test people, against the strongest column, the cloud's score and, for comparison,
    the reference filter. What is fitted is fitted on the people of the early stopping. One request of each page counts,
    drawn by key: GAUC over all live candidates with what would have come of them, and log loss of the one shown."""
    fit, every = (read_samples(data, split, READ) for split in ("valid", "test"))
    fit, test = _one_of_each_page(fit), _one_of_each_page(every)
    worth, logits = _network_says(kind, run, test, lives_of(every))
    ours = _gauc(worth, test), _log_loss(logits, test)
    names = strongest_column(fit, lambda x, s: _gauc(x, s).value), strongest_column(fit, _minus_recalibrated_loss)
    found = []
    for name in dict.fromkeys((names[0], "score", "reference")):
        found.append(_better("gauc", name, ours[0], _gauc(column_of(test, name), test), 1.0))
    for name in dict.fromkeys((names[1], "score", "reference")):
        predicted = recalibrated(column_of(fit, name), fit, column_of(test, name))
        found.append(_better("log_loss", name, ours[1], _log_loss(predicted, test), -1.0))
    return found


def _better(metric: str, rival: str, ours: Measured, theirs: Measured, sign: float) -> Better:
    difference = Measured(sign * (ours.value - theirs.value), ours.influence - theirs.influence)
    return Better(metric, rival, ours.value, theirs.value, difference.value, Z * difference.sd)


def strongest_column(samples: Samples, worth: Callable[[Array, Samples], float]) -> str:
    """The name of the candidates' column that is worth most by itself, with either sign."""
    return max(COLUMNS, key=lambda name: max(worth(sign * column_of(samples, name), samples) for sign in (1.0, -1.0)))


def column_of(samples: Samples, name: str) -> Array:
    """A column of the candidates (N, P), or the reference filter's score."""
    columns = samples.columns
    column: Array = columns[name] if name in columns else columns["candidates"][..., getattr(C, name)]
    return column.astype(np.float64)


def recalibrated(column: Array, on: Samples, to: Array) -> Array:
    """Logits of an effective view from a column alone: a + b column, fitted to the shown candidates of `on`."""
    x, y = _shown(column, on), _shown(on.columns["effective_view"], on)
    x, y = x[y >= 0], y[y >= 0]
    scale = x.std() or 1.0

    def loss(ab: Array) -> tuple[float, Array]:
        logit = ab[0] + ab[1] * (x - x.mean()) / scale
        error = expit(logit) - y
        slope = np.array([error.mean(), (error * (x - x.mean())).mean() / scale])
        return float(-(y * log_expit(logit) + (1 - y) * log_expit(-logit)).mean()), slope

    a, b = minimize(loss, np.zeros(2), jac=True).x
    fitted: Array = a + b * (to - x.mean()) / scale
    return fitted


def _minus_recalibrated_loss(column: Array, samples: Samples) -> float:
    return -_log_loss(recalibrated(column, samples, column), samples).value


def _network_says(kind: str, run: Path, samples: Samples, lives: Lives) -> tuple[Array, Array]:
    """What each candidate is worth and the logit of its effective view, (N, P) float64."""
    network = load_network(kind, best_checkpoint(run)).eval()
    worth, logits = [], []
    with torch.inference_mode():
        for rows in batches(np.arange(samples.rows), 512):
            heads = heads_of(network, samples, rows, lives)
            worth.append(network.dense.blend(heads).double().numpy())
            logits.append(heads[..., 0].double().numpy())
    return np.concatenate(worth), np.concatenate(logits)


def _one_of_each_page(samples: Samples) -> Samples:
    rows = np.sort(one_of_each_page(samples, 0, 0))
    return Samples({name: column[rows] for name, column in samples.columns.items()}, samples.about)


def _gauc(scores: Array, samples: Samples) -> Measured:
    """Over all live candidates, with the labels they would have had."""
    labels = np.where(samples.columns["would_effective_view"] < 0, np.nan, samples.columns["would_effective_view"])
    mixed = two_classes(labels)
    people, person = np.unique(samples.columns["person"], return_inverse=True)
    live = (~np.isnan(labels)).sum(1)[mixed].astype(np.float64)
    return weighted_mean(auc_by_line(scores[mixed], labels[mixed]), live, person[mixed], len(people))


def _log_loss(logits: Array, samples: Samples) -> Measured:
    """Of the effective view of what was shown."""
    said, label = _shown(logits, samples), _shown(samples.columns["effective_view"], samples)
    people, person = np.unique(samples.columns["person"], return_inverse=True)
    known = label >= 0
    loss = -np.where(label > 0, log_expit(said), log_expit(-said))[known]
    return weighted_mean(loss, np.ones(len(loss)), person[known], len(people))


def _shown(column: Array, samples: Samples) -> Array:
    """Of the candidate that was shown, (N,)."""
    picked: Array = np.take_along_axis(column, samples.columns["shown"].astype(np.int64)[:, None], 1)[:, 0]
    return picked


class Gain(NamedTuple):
    """The gain of a policy over the cloud, % of the cloud's."""

    mean: float
    half: float  # of its 95 % interval

    @property
    def is_none(self) -> bool:
        """Whether its whole interval is within what counts as equal."""
        return abs(self.mean) + self.half <= EQUAL


class Share(NamedTuple):
    """The share of the reference filter's gain over the cloud that a policy has, in one metric."""

    metric: str
    gain: float  # the policy's, % of the cloud's
    of_filter: float  # the filter's, % of the cloud's
    filter_sd: float  # of its gain: mean over standard error
    share: float
    low: float  # Fieller's 95 % interval of the share; NaN where the filter's gain cannot be told from 0
    high: float

    @property
    def told(self) -> bool:
        """Whether the filter gains enough for a share of it to be known."""
        return self.filter_sd >= LEAST_SD

    @property
    def passed(self) -> bool:
        """Whether the share is known and reaches the goal."""
        return self.told and self.share >= GOAL and self.low >= GOAL_LOW


def online_gate(
    policies: Sequence[str], scenario: Scenario, *, metrics: tuple[str, ...], seed: int, replications: int,
    minutes: float, workers: int = 1,
) -> dict[str, list[Share]]:  # fmt: skip
    """Each policy's shares of the filter's gain in a scenario, with shared luck. The size is fixed beforehand. The
    cloud and the filter are simulated once for all policies."""
    values = _lived((CLOUD_ONLY, REFERENCE_FILTER, *policies), scenario, seed, replications, minutes, workers)

    def share(metric: str, policy: str) -> Share:
        arms = (CLOUD_ONLY, REFERENCE_FILTER, policy)
        return share_of(metric, *(metric_of(metric, values[arm], scenario) for arm in arms))

    return {policy: [share(metric, policy) for metric in metrics] for policy in policies}


def null_gate(
    policies: Sequence[str], scenario: Scenario, *, seed: int, replications: int, minutes: float, workers: int = 1
) -> dict[str, Gain]:
    """Each policy's gain over the cloud in the cloud's objective, where there should be none."""
    values = _lived((CLOUD_ONLY, *policies), scenario, seed, replications, minutes, workers)
    cloud, *others = (metric_of(OBJECTIVE, values[arm], scenario) for arm in (CLOUD_ONLY, *policies))
    return {policy: gain_of(cloud, other) for policy, other in zip(policies, others, strict=True)}


def _lived(
    policies: Sequence[str], scenario: Scenario, seed: int, replications: int, minutes: float, workers: int
) -> dict[str, Array]:
    """Every metric of each policy's replications (R, M), by name; the same for any number of workers."""
    found = compare_policies(
        {name: name for name in policies}, scenario, seed=seed, replications=replications, minutes=minutes,
        engine="batch", workers=workers,
    )  # fmt: skip
    return dict(zip(policies, found.values, strict=True))


def metric_of(name: str, values: Array, scenario: Scenario) -> Array:
    """A metric in each replication (R,), from an arm's (R, M). `objective`: the worth of an impression to the cloud, by
    which it ranks."""
    if name != OBJECTIVE:
        column: Array = values[:, METRICS.index(metric_named(name))]
        return column
    worth: Array = np.array([metric_of(rate, values, scenario) for rate in RATED]).T @ scenario.server.objective
    return worth


def share_of(metric: str, cloud: Array, reference: Array, policy: Array) -> Share:
    """The share, from a metric's values in each replication (R,)."""
    of_filter, gain = reference - cloud, policy - cloud
    low, high = fieller(gain, of_filter)
    sd = float(of_filter.std(ddof=1) / len(cloud) ** 0.5)
    return Share(
        metric, 100 * gain.mean() / cloud.mean(), 100 * of_filter.mean() / cloud.mean(),
        float(of_filter.mean()) / sd if sd > 0 else np.inf, gain.mean() / of_filter.mean(), low, high,
    )  # fmt: skip


def gain_of(cloud: Array, policy: Array) -> Gain:
    """The gain, from a metric's values in each replication (R,)."""
    gain = policy - cloud
    half = float(student.ppf(0.975, len(cloud) - 1) * gain.std(ddof=1) / len(cloud) ** 0.5)
    return Gain(100 * gain.mean() / cloud.mean(), 100 * half / abs(cloud.mean()))


def fieller(a: Array, b: Array) -> tuple[float, float]:
    """95 % interval of mean(a) / mean(b) from pairs (R,). It is (NaN, NaN) if mean(b) cannot be told from 0, because
    then the ratio may be anything. Source: Fieller, Some problems in interval estimation, JRSS B 16, 1954."""
    n = len(a)
    t = float(student.ppf(0.975, n - 1))
    cov = np.cov(a, b) * (t * t / n)
    denominator = b.mean() ** 2 - cov[1, 1]
    if denominator <= 0:
        return float("nan"), float("nan")
    middle = a.mean() * b.mean() - cov[0, 1]
    root = np.sqrt(max(middle**2 - denominator * (a.mean() ** 2 - cov[0, 0]), 0.0))
    return float((middle - root) / denominator), float((middle + root) / denominator)
