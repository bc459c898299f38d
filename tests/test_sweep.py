"""Sweeps over made-up replications whose numbers are known: what is asked, run, kept and resumed; contract, by hand."""

import hashlib
import math

import numpy as np
import pytest

from nextone.experiments.metrics import METRICS
from nextone.experiments.replication import Replication
from nextone.experiments.sweep import sweep
from nextone.experiments.sweep_plan import Question
from nextone.experiments.sweep_result import POSITIONS, RESULTS, SweepArm, read_sweep

PAGES = Question(grid=("server.page_size=2,4",), policies=("cloud_only", "random"), half_width="5%")


def made_up(task):
    """watch_s is 100 + 10 for pages of 4 + 5 for random + luck shared by all arms; every other metric is 1."""
    luck = np.random.default_rng([task.seed, task.replication]).normal()
    page = task.arm.scenario.server.page_size
    row = dict.fromkeys((m.name for m in METRICS), 1.0)
    row["watch_s"] = 100 + 10 * (page == 4) + 5 * (task.arm.policy == "random") + luck
    row["hate"] = math.nan
    return Replication(row, np.array([[10, 5]] * page), "links", "catalogue")


def here(tasks, workers):
    del workers
    for task in tasks:
        yield task, made_up(task)


def bits(folder):
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (RESULTS, POSITIONS)]


def test_what_is_found_by_hand(tmp_path):
    result = sweep(PAGES, out=tmp_path, execute=here)
    assert [cell.values for cell in result.cells] == [{"server.page_size": n} for n in (6, 2, 4)]
    assert [(cell.default, cell.asked) for cell in result.cells] == [(True, False), (False, True), (False, True)]
    small, large = (SweepArm(cell, "random") for cell in result.cells[1:])
    assert result.replications(small.cell) == 10
    assert result.interval(small, "watch_s").mean == pytest.approx(105, abs=1.5)
    assert result.against_baseline(large, "watch_s").diff == pytest.approx(5)
    assert result.against_default(large, "watch_s").diff == pytest.approx(10)
    assert result.against_default(SweepArm(result.cells[0], "random"), "watch_s") is None
    assert result.against_baseline(SweepArm(result.cells[1], "cloud_only"), "watch_s") is None
    assert result.interval(small, "hate") is None
    best = result.best
    assert (best.arm, best.settled, best.probability) == (large, True, 0.95)
    assert best.fresh.n == 10
    assert best.fresh.mean != result.interval(large, "watch_s").mean
    assert best.fresh_against_default.diff == pytest.approx(10)
    assert best.fresh_against_baseline.diff == pytest.approx(5)
    assert result.pareto == (large,)
    assert [x.mean for x in result.valid_play_by_position(small)[:2]] == [0.5, 0.5]
    assert result.valid_play_by_position(small)[2] is None
    assert read_sweep(tmp_path).best == best
