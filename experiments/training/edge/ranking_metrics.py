"""Metrics of rankings by groups: GAUC, AUC, NDCG, each with what every person adds to its error.

A person's requests are alike, so people are the units of chance: a metric's influence is summed by person, and the
variance is that of these sums (linearised ratios; DeLong's placements for AUC). Ranks are scipy's, ties in the middle.
Called by `experiments/training/edge/offline_table.py`.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from .samples import Array


class Measured(NamedTuple):
    """A metric, and what each of U people contributes to its error: these sum to 0, and their squares sum to the
    variance."""

    value: float
    influence: Array  # (U,)

    @property
    def sd(self) -> float:
        """Standard error."""
        return float(np.sqrt((self.influence**2).sum()))


def two_classes(labels: Array) -> Array:
    """Which lines of labels (G, L) have both classes; NaN is no label."""
    mixed: Array = (np.nansum(labels, 1) > 0) & (np.nansum(1 - labels, 1) > 0)
    return mixed


def auc_by_line(scores: Array, labels: Array) -> Array:
    """Chance that a positive is above a negative in each line (G, L) with both classes; ties count half."""
    ranks = rankdata(np.where(np.isnan(labels), np.inf, scores), axis=1)
    positives, negatives = np.nansum(labels, 1), np.nansum(1 - labels, 1)
    above = np.where(labels == 1, ranks, 0).sum(1) - positives * (positives + 1) / 2
    auc: Array = above / (positives * negatives)
    return auc


def ndcg_by_line(scores: Array, labels: Array, most: int) -> Array:
    """NDCG@most with gain 1 for a positive, of lines (G, L) with a positive; equal scores keep their order."""
    order = np.argsort(np.where(np.isnan(labels), np.inf, -scores), 1, kind="stable")[:, :most]
    discount = 1 / np.log2(np.arange(order.shape[1]) + 2)
    gain = np.nan_to_num(np.take_along_axis(labels, order, 1)) @ discount
    ideal = np.cumsum(discount)[np.minimum(np.nansum(labels, 1), order.shape[1]).astype(int) - 1]
    ndcg: Array = gain / ideal
    return ndcg


def weighted_mean(values: Array, weights: Array, people: Array, everybody: int) -> Measured:
    """Mean over lines (G,), weighted by impressions. people (G,): whose line it is, below `everybody`."""
    mean = float((weights * values).sum() / weights.sum())
    return Measured(mean, np.bincount(people, weights * (values - mean), everybody) / weights.sum())


def auc_of_all(scores: Array, labels: Array, people: Array, everybody: int) -> Measured:
    """AUC over all rows (N,) of everybody together."""
    positive = labels == 1
    n1, n0 = positive.sum(), (~positive).sum()
    ranks = rankdata(scores)
    placed = np.empty(len(scores))  # share of the other class that stands where it should
    placed[positive] = (ranks[positive] - rankdata(scores[positive])) / n0
    placed[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / n1
    auc = float(placed[positive].mean())
    return Measured(auc, np.bincount(people, (placed - auc) / np.where(positive, n1, n0), everybody))


def mean_over_seeds(measured: list[Measured]) -> tuple[Measured, float]:
    """The mean of several trainings, and the standard error from the luck of training."""
    values = np.array([each.value for each in measured])
    of_seeds = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return Measured(float(values.mean()), np.mean([each.influence for each in measured], 0)), of_seeds
