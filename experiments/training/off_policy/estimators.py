"""Off-policy estimators: what a target policy would bring, by the log of a logging policy that left choices to chance.

IPS, SNIPS and DR are about **one decision**, taken by the target in states that the logging policy led to. Step-wise
IPS is about a **whole session** under the target, which leads to states of its own. Every estimate is a sum over a sum,
both taken person by person, and its interval is over people: the decisions of one person are not independent.

Called by `answer.py`. D decisions, in the order of people and their lives; weights are the target's chance of what was
picked over the logging policy's.
"""

from typing import NamedTuple

import numpy as np

from nextone.experiments.runs.statistics import Interval, mean_interval
from nextone.sim.state import Array


class Estimate(NamedTuple):
    """A value as a sum over a sum, term by term."""

    above: Array  # (D,) float64
    below: Array  # (D,) float64, more than 0 in all

    @property
    def value(self) -> float:
        """The value: one sum over the other."""
        return float(self.above.sum() / self.below.sum())


def logged(reward: Array) -> Estimate:
    """What the logging policy itself brought."""
    return Estimate(reward, np.ones(len(reward)))


def ips(reward: Array, weight: Array) -> Estimate:
    """Inverse propensity scoring: unbiased where the logging policy may pick all that the target picks.

    Source: Horvitz and Thompson, A generalization of sampling without replacement from a finite universe, JASA 1952."""
    return Estimate(weight * reward, np.ones(len(reward)))


def snips(reward: Array, weight: Array) -> Estimate:
    """Self-normalised IPS: divided by the sum of weights, which is D only on average. It is slightly biased, and has
    less variance.

    Source: Swaminathan and Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015."""
    return Estimate(weight * reward, weight)


def dr(reward: Array, weight: Array, predicted: Array, predicted_of_target: Array) -> Estimate:
    """Doubly robust: a model's answer for the target, corrected by the weighted errors that it makes about the log.

    predicted (D,): the model's reward of what was picked. predicted_of_target (D,): its mean over what the target
    picks. It is unbiased with right chances whatever the model is, as long as the model was fitted to other people; the
    better the model, the narrower the interval. Source: Dudik, Langford and Li, Doubly robust policy evaluation and
    learning, ICML 2011."""
    return Estimate(predicted_of_target + weight * (reward - predicted), np.ones(len(reward)))


def stepwise_ips(reward: Array, weight: Array, session: Array) -> Estimate:
    """A session's return: each reward times the product of its session's weights so far. It is unbiased, and of no use
    for long sessions: products of many weights are nearly all 0, and a few are enormous.

    session (D,): its number, the same from its first decision to its last. Source: Precup, Sutton and Singh,
    Eligibility traces for off-policy policy evaluation, ICML 2000 (per-decision importance sampling)."""
    return Estimate(products(weight, session) * reward, first_of(session).astype(np.float64))


def products(weight: Array, session: Array) -> Array:
    """Each decision's weight times those before it in its session, (D,)."""
    parts = np.split(weight, np.flatnonzero(first_of(session))[1:])
    return np.concatenate([np.cumprod(part) for part in parts])


def first_of(session: Array) -> Array:
    """Whether a decision is the first of its session, (D,)."""
    return np.append(True, session[1:] != session[:-1])


def clipped(weight: Array, most: float) -> Array:
    """Weights, at most `most`: they have less variance, and are biased towards what the logging policy does."""
    return np.minimum(weight, most)


def effective(weight: Array) -> float:
    """Kish's effective sample size: how many equally weighed decisions say as much."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def over_people(estimate: Estimate, person: Array, people: int) -> Interval | None:
    """The estimate with its 95 % interval over people; person (D,): 0 .. people - 1."""
    return _about(estimate.value, errors_of(estimate, person, people))


def apart(one: Estimate, of_one: Array, other: Estimate, of_other: Array, people: int) -> Interval | None:
    """By how much one estimate is above another one about the same people, in percent of the other, with its 95 %
    interval over people, in which luck that both share cancels. of_one and of_other (D,): the person of each
    decision."""
    if not other.value:
        return None
    ratio = one.value / other.value
    errors = errors_of(one, of_one, people) - ratio * errors_of(other, of_other, people)
    return _about(100 * (ratio - 1), 100 * errors / other.value)


def _about(value: float, errors: Array) -> Interval | None:
    found = mean_interval(errors)
    return found and Interval(value, value + found.low, value + found.high, found.n)


def errors_of(estimate: Estimate, person: Array, people: int) -> Array:
    """How much each person's value differs from the estimate's, (people,), to first order (delta method); their mean is
    0."""
    above, below = (np.bincount(person, terms, people) for terms in estimate)
    errors: Array = (above - estimate.value * below) / below.mean()
    return errors


def cross_fitted(features: Array, of_target: Array, reward: Array, person: Array) -> tuple[Array, Array]:
    """(predicted, predicted_of_target) for `dr`: ridge regression on features (D, K) of what was picked, fitted to one
    half of the people and asked about the other. of_target (D, K): their mean over what the target picks, which of a
    linear model is all that counts."""
    predicted, predicted_of_target = np.empty(len(reward)), np.empty(len(reward))
    for half in (0, 1):
        fits, asked = person % 2 == half, person % 2 != half
        gram = features[fits].T @ features[fits] + RIDGE * np.eye(features.shape[1])
        weights = np.linalg.solve(gram, features[fits].T @ reward[fits])
        predicted[asked], predicted_of_target[asked] = features[asked] @ weights, of_target[asked] @ weights
    return predicted, predicted_of_target


def linear_fqe(features: Array, of_target: Array, reward: Array, session: Array) -> Estimate:
    """Fitted Q evaluation with a linear model, at its fixed point (LSTD-Q): a session's return under the target.

    The model predicts the rewards to come: those of a decision, plus what the model says of the target's choice at the
    next one of the session. It has no weights, so none of their variance, and is as wrong as the model is. features,
    of_target: as for `cross_fitted`. The errors of people include how much each moves the model. Source: Lagoudakis and
    Parr, Least-squares policy iteration, JMLR 2003; Le, Voloshin and Yue, Batch policy learning under constraints, ICML
    2019."""
    first = first_of(session)
    follows = np.append(~first[1:], False)
    to_come = np.where(follows[:, None], np.roll(of_target, -1, 0), 0.0)
    gram = features.T @ (features - to_come) + RIDGE * np.eye(features.shape[1])
    model = np.linalg.solve(gram, features.T @ reward)
    moves = features @ np.linalg.solve(gram.T, of_target[first].sum(0))  # the value, by a decision's surprise
    surprise = reward - (features - to_come) @ model
    return Estimate(of_target @ model * first + moves * surprise, first.astype(np.float64))


RIDGE = 1.0  # Assumed: a decision's worth of doubt about each feature, which lie in [-1, 1]
