"""Gates: rivals get what they are owed, intervals hold their coverage, and a model that knows nothing does not pass."""

import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from test_train_edge import made_up

from nextone.envs.features import C
from nextone.experiments.runs.metrics import METRICS, metric_named
from nextone.experiments.training.edge import gates, ship
from nextone.experiments.training.edge.gates import (
    Better,
    Gain,
    Share,
    fieller,
    null_gate,
    online_gate,
    recalibrated,
    share_of,
    strongest_column,
)
from nextone.experiments.training.edge.samples import KINDS, Samples
from nextone.experiments.training.edge.ship import Step
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError


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


def test_policies_asked_together_get_what_each_gets_alone(monkeypatch):
    """Lives here are a function of the policy's name: the cloud and the filter live once, and gains are by hand."""
    asked = []

    def lives(policies, world, **options):
        asked.append([*policies])
        draws = [np.random.Generator(np.random.Philox(key=len(name))).random((10, len(METRICS))) for name in policies]
        return SimpleNamespace(values=np.stack(draws))

    monkeypatch.setattr(gates, "compare_policies", lives)
    sizes = {"seed": 3, "replications": 10, "minutes": 2.0}
    both = online_gate(["tag_momentum", "random"], Scenario(), metrics=("objective", "valid_play"), **sizes)
    alone = online_gate(["random"], Scenario(), metrics=("objective", "valid_play"), **sizes)
    assert asked[0] == ["cloud_only", "reference_filter", "tag_momentum", "random"]
    assert [*both] == ["tag_momentum", "random"] and [share.metric for share in both["random"]] == [
        "objective", "valid_play"
    ]  # fmt: skip
    assert [share[1:5] for share in both["random"]] == [share[1:5] for share in alone["random"]]
    rates = [METRICS.index(metric_named(name)) for name in ("valid_play", "long_view", *KINDS)]
    values = lives(["cloud_only", "random"], Scenario()).values
    cloud, random = (arm[:, rates] @ Scenario().server.objective for arm in values)
    none = null_gate(["random"], Scenario(), **sizes)["random"]
    assert both["random"][0].gain == none.mean == pytest.approx(100 * random.mean() / cloud.mean() - 100)
    assert none.half == pytest.approx(100 * 2.262157 * (random - cloud).std(ddof=1) / 10**0.5 / cloud.mean())


def test_nothing_is_a_whole_interval_within_what_counts_as_equal():
    assert Gain(-0.1, 0.19).is_none and not Gain(-0.1, 0.21).is_none and not Gain(0.31, 0.0).is_none


def test_what_is_made_is_not_made_again_and_is_told_in_order(tmp_path):
    effort = ship.USUAL._replace(workers=1)
    steps = [Step(name, tmp_path / name, partial(noted, name)) for name in ("b", "a")]
    first = ship.made(steps, effort)
    assert [line.partition(";")[0] for line in first] == ["b: made once", "a: made once"]
    assert re.fullmatch(r"b: made once; \d+\.\d CPU min, \d+\.\d min", first[0])
    assert ship.made(steps, effort) == first and (tmp_path / "a" / "times").read_text() == "a"
    broken = Step("c", tmp_path / "c", broken_off)
    with pytest.raises(SettingError, match="too few"):
        ship.made([broken], effort)
    assert not (tmp_path / "c" / ship.MADE).exists()


def noted(name, folder):
    with (folder / "times").open("a") as file:
        file.write(name)
    return "made once"


def broken_off(folder):
    raise SettingError("too few")


def test_the_evidence_has_a_row_for_every_way_to_ask(monkeypatch, tmp_path):
    """Who plays what in which world: trained there but in the default world, where it is what is shipped."""
    asked = []

    def gate(policies, world, **options):
        asked.append((policies, world.server.page_size, world.interests.intent_sd == 1.52))
        return {policy: [Share("objective", 1.0, 2.0, 9.0, 0.5, 0.45, 0.55)] for policy in policies}

    monkeypatch.setattr(ship, "online_gate", gate)
    rows = [*ship.online_lines(tmp_path, "strong", ship.USUAL), *ship.online_lines(tmp_path, "default", ship.USUAL)]
    mine = f"edgerec:{tmp_path}/edgerec-strong-0"
    assert asked == [
        ([f"kir:{tmp_path}/kir-strong-0", f"context_aware:{tmp_path}/context_aware-strong-0"], 6, True),
        ([mine, f"{mine}@every=5"], 50, True),
        (["kir", "context_aware"], 6, False),
        (["edgerec", "edgerec@every=5"], 50, False),
    ]
    assert [(row.split(" | ")[1], row.split(" | ")[-1]) for row in rows[:4]] == [
        ("kir", "**no** |"), ("context_aware", "**no** |"), ("edgerec", "**no** |"), ("edgerec@every=5", "not asked |")
    ]  # fmt: skip
    assert all(row.endswith("not asked |") for row in rows[4:])
