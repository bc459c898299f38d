"""Gates: rivals get what they are owed, intervals hold their coverage, and a model that knows nothing does not pass."""

import numpy as np
import pytest
from test_train_edge import made_up

from nextone.envs.features import C
from nextone.experiments.training.edge import gates
from nextone.experiments.training.edge.gates import Better, Share, fieller, recalibrated, share_of, strongest_column
from nextone.experiments.training.edge.samples import Samples


def samples(rows=600, seed=0):
    return Samples(made_up(rows, seed), {})


def test_the_strongest_column_is_found_whichever_way_it_counts():
    """In these rows all labels are one column's; turned round it is as strong."""
    told = samples()
    column = told.columns["candidates"][..., C.popularity]
    told.columns["would_effective_view"] = np.where(told.columns["live"] == 1, column > np.median(column), -1)
    assert strongest_column(told, lambda x, s: gates._gauc(x, s).value) == "popularity"
    told.columns["candidates"][..., C.popularity] *= -1
    assert strongest_column(told, lambda x, s: gates._gauc(x, s).value) == "popularity"


def test_a_recalibrated_column_is_the_best_line_in_logits():
    """Labels drawn from a known line in a column: its two numbers are found, and no other line has a lower loss."""
    told, draw = samples(3_000), np.random.Generator(np.random.Philox(4))
    column = told.columns["candidates"][..., C.pevtr].astype(np.float64)
    chance = 1 / (1 + np.exp(-(0.4 + 3.0 * column)))
    told.columns["effective_view"] = np.where(told.columns["shown_after"] >= 0, draw.random(chance.shape) < chance, -1)
    fitted = recalibrated(column, told, column)
    slope = (fitted.max() - fitted.min()) / (column.max() - column.min())
    assert slope == pytest.approx(3.0, abs=0.6)
    least = gates._log_loss(fitted, told).value
    for a, b in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.2), (0.0, -0.2)):
        assert gates._log_loss(fitted + a + b * column, told).value > least


def test_better_needs_its_whole_interval_above_zero():
    assert Better("gauc", "x", 0.6, 0.5, 0.02, 0.019).passed
    assert not Better("gauc", "x", 0.6, 0.5, 0.02, 0.021).passed


def test_fiellers_interval_covers_the_ratio_as_often_as_it_says():
    """Theory: 95 % of intervals hold the true ratio, .4 / .5, within four standard errors of the count."""
    held = 0
    for k in range(2_000):
        draw = np.random.Generator(np.random.Philox(key=[11, k]))
        b = 0.5 + 0.4 * draw.normal(size=20)
        low, high = fieller(0.8 * b + 0.2 * draw.normal(size=20), b)
        held += low <= 0.8 <= high
    assert abs(held / 2_000 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2_000)


def test_no_share_is_told_of_a_gain_that_is_not_there():
    draw = np.random.Generator(np.random.Philox(5))
    cloud, nothing = 1 + 0.01 * draw.normal(size=20), 0.01 * draw.normal(size=20)
    low, high = fieller(nothing, nothing - nothing.mean())
    assert np.isnan(low) and np.isnan(high)
    share = share_of("valid_play", cloud, cloud + nothing - nothing.mean(), cloud + 0.1)
    assert not share.told and not share.passed


def test_a_share_by_hand():
    cloud = np.full(10, 2.0)
    reference = cloud + 0.1 + 0.01 * np.tile([-1, 1], 5)
    share = share_of("valid_play", cloud, reference, cloud + 0.7 * (reference - cloud))
    assert (share.gain, share.of_filter, share.share) == pytest.approx((3.5, 5.0, 0.7))
    assert share.low == pytest.approx(0.7) and share.high == pytest.approx(0.7) and share.told and share.passed
    assert not share._replace(share=0.59).passed and not share._replace(low=0.39).passed
    assert isinstance(share, Share)
