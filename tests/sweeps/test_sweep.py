"""Sweeps over made-up replications whose numbers are known: what is asked, run, kept and resumed; contract, by hand."""

import hashlib
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from nextone.experiments.runs.arms import FRESH
from nextone.experiments.runs.executor import Failed
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.replication import Replication
from nextone.experiments.sweeps.answer import answer
from nextone.experiments.sweeps.ledger import NAME
from nextone.experiments.sweeps.plan import MAX_CELLS, HalfWidth, Plan, Question, plan_of
from nextone.experiments.sweeps.result import POSITIONS, RESULTS, SweepArm, read_sweep
from nextone.experiments.sweeps.sweep import resume, sweep
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError

PAGES = Question(grid=("server.page_size=2,4",), policies=("cloud_only", "random"), half_width="5%")


def made_up(task):
    """app_min is 100 + 10 for pages of 4 + 5 for random + luck, most of it shared; every other metric is 1."""
    page, ttl = task.arm.scenario.server.page_size, task.arm.scenario.client.ttl_s
    luck = np.random.default_rng([task.seed, task.replication]).normal(0, 2)
    if ttl == 30:  # some luck of its own
        luck += np.random.default_rng([task.seed, task.replication, page]).normal()
    row = dict.fromkeys((m.name for m in METRICS), 1.0)
    row["app_min"] = 100 + 10 * (page == 4) + 5 * (task.arm.policy == "random") + luck
    row["hate"] = math.nan
    return Replication(row, np.array([[10, 5]] * page), "links", "catalogue")


def here(source, workers):
    del workers
    while (task := source()) is not None:
        yield task, made_up(task)


def bits(folder):
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (RESULTS, POSITIONS)]


def test_what_is_found_by_hand(tmp_path):
    result = sweep(PAGES, out=tmp_path, execute=here)
    assert [cell.values for cell in result.cells] == [{"server.page_size": n} for n in (6, 2, 4)]
    assert [(cell.default, cell.asked) for cell in result.cells] == [(True, False), (False, True), (False, True)]
    small, large = (SweepArm(cell, "random") for cell in result.cells[1:])
    assert result.replications(small.cell) == 10
    assert result.interval(small, "app_min").mean == pytest.approx(105, abs=1.5)
    assert result.against_baseline(large, "app_min").diff == pytest.approx(5)
    assert result.against_default(large, "app_min").diff == pytest.approx(10)
    assert result.against_default(SweepArm(result.cells[0], "random"), "app_min") is None
    assert result.against_baseline(SweepArm(result.cells[1], "cloud_only"), "app_min") is None
    assert result.interval(small, "hate") is None
    best = result.best
    assert (best.arm, best.settled, best.probability) == (large, True, 0.95)
    assert best.fresh.n == 10
    assert best.fresh.mean != result.interval(large, "app_min").mean
    assert best.fresh_against_default.diff == pytest.approx(10)
    assert best.fresh_against_baseline.diff == pytest.approx(5)
    assert result.pareto == (large,)
    assert [x.mean for x in result.valid_play_by_position(small)[:2]] == [0.5, 0.5]
    assert result.valid_play_by_position(small)[2] is None
    assert read_sweep(tmp_path).best == best


def test_arms_that_others_surely_beat_leave_the_race_and_equal_ones_are_named_together(tmp_path):
    """Pages of 2 and 4 are alike to the bit; the usual 6 is worse, by more than luck, but too little for the race."""

    def execute(source, workers):
        while (task := source()) is not None:
            outcome, usual = made_up(task), task.arm.scenario.server.page_size == 6
            luck = np.random.default_rng([task.seed, task.replication]).normal()
            own = np.random.default_rng([task.seed, task.replication, usual]).normal()
            row = {"app_min": 100 + luck + 0.1 * own - 0.3 * usual, "utilisation": 0.5, "timeout_rate": 0.0}
            yield task, outcome._replace(metrics=outcome.metrics | row)

    close = replace(PAGES, policies=("cloud_only",), half_width="0.01%", max_replications=20)
    result = sweep(close, out=tmp_path, execute=execute)
    best = result.best
    assert not best.settled and [arm.cell.values["server.page_size"] for arm in best.contenders] == [2]
    assert best.probability == pytest.approx(0.9)
    first, *_ = answer(result)
    assert "Not settled: 1 of 3 arms left in the race, with probability ≥ 90% one of them is within" in first
    assert first.endswith("cloud_only at page_size 2 = cloud_only at page_size 4.")


def test_what_more_and_less_costs_is_told_by_its_sign(tmp_path):
    def execute(source, workers):
        while (task := source()) is not None:
            outcome, large = made_up(task), task.arm.scenario.server.page_size == 4
            row = {"requests": 10.0 - 2 * large, "wasted_mb": 100.0 + 30 * large}
            yield task, outcome._replace(metrics=outcome.metrics | row)

    *_, price = answer(sweep(replace(PAGES, policies=("cloud_only",)), out=tmp_path, execute=execute))
    costs, saves = price.split(" It saves: ")
    assert "It costs: bytes delivered and never watched +30" in costs and "requests −20" in saves


# -- the same bits whatever happens ------------------------------------------------------------------------------------


def shuffled(source, workers):
    while tasks := list(iter(source, None)):
        for task in random.Random(workers).sample(tasks, len(tasks)):
            yield task, made_up(task)


def stopping(after):
    """Ends like Ctrl-C after so many tasks."""

    def execute(source, workers):
        for done, pair in enumerate(here(source, workers)):
            if done == after:
                raise KeyboardInterrupt
            yield pair

    return execute


NOISY = Question(
    grid=("server.page_size=2,4,6", "client.ttl_s=30,inf"), policies=("cloud_only", "random"), half_width="0.3%",
    max_replications=40,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted sweep of several rounds."""
    folder = tmp_path_factory.mktemp("whole")
    result = sweep(NOISY, out=folder, execute=here)
    counts = {result.replications(cell) for cell in result.cells}
    assert max(counts) > 10, "it should take more than one round"
    return folder


def test_any_order_and_any_number_of_interruptions_give_the_same_bits(whole, tmp_path):
    for k, execute in enumerate((shuffled, here)):
        sweep(NOISY, out=tmp_path / str(k), workers=k + 1, execute=execute)
        assert bits(tmp_path / str(k)) == bits(whole)
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        sweep(NOISY, out=folder, execute=stopping(7))
    for after in (0, 1, 30, 100):
        with pytest.raises(KeyboardInterrupt):
            resume(folder, execute=stopping(after))
        with pytest.raises(SettingError, match="holds no finished sweep"):
            read_sweep(folder)
    resume(folder, execute=here)
    assert bits(folder) == bits(whole)


def test_nothing_is_done_twice(tmp_path):
    ran = []

    def counting(stop):
        def execute(source, workers):
            for pair in stopping(stop)(source, workers):
                ran.append((pair[0].arm.label, pair[0].replication))  # acknowledged
                yield pair

        return execute

    with pytest.raises(KeyboardInterrupt):
        sweep(NOISY, out=tmp_path, execute=counting(50))
    resume(tmp_path, execute=counting(10**9))
    assert len(ran) == len(set(ran)) > 60
    before = len(ran)
    resume(tmp_path, execute=counting(10**9))  # finished: nothing is left to do
    assert len(ran) == before


def test_a_failing_cell_is_marked_and_the_others_finish(tmp_path):
    def execute(source, workers):
        for task, outcome in here(source, workers):
            bad = task.arm.scenario.server.page_size == 2 and task.replication in (3, 5)
            yield task, Failed(f"{task}: no luck") if bad else outcome

    result = sweep(PAGES, out=tmp_path, execute=execute)
    assert [cell.settings for cell in result.cells] == [("server.page_size=6",), ("server.page_size=4",)]
    assert result.failed == {1: "arm 'server.page_size=2 cloud_only', replication 3, seed 0: no luck"}
    assert read_sweep(tmp_path).failed == result.failed
    assert {arm.cell.number for arm in result.arms} == {0, 2}


def test_all_cells_failing_is_still_an_answer(tmp_path):
    def execute(source, workers):
        while (task := source()) is not None:
            yield task, Failed("no")

    result = sweep(PAGES, out=tmp_path, execute=execute)
    assert (result.cells, result.best, result.pareto, len(result.failed)) == ((), None, (), 3)


# -- what cannot be used is told ---------------------------------------------------------------------------------------

WRONG = {
    "nothing": (Question(), "give one of --grid, --cell and --sobol"),
    "two kinds": (Question(grid=("server.page_size=2",), cells=("server.page_size=2",)), "given: grid, cells"),
    "unknown field": (Question(grid=("server.page_siz=2",)), "did you mean server.page_size?"),
    "bad value": (Question(grid=("server.page_size=2,x",)), "server.page_size=x"),
    "does not fit": (
        Question(grid=("server.page_size=2,50",)), "cell server.page_size=50: server.page_size=50 must be <="
    ),
    "no values": (Question(grid=("server.page_size=",)), "must read section.field=value,value"),
    "no name": (Question(grid=("2,4",)), "must read section.field=value,value"),
    "twice": (Question(grid=("server.page_size=2", "server.page_size=4")), "given twice"),
    "policy": (Question(grid=("server.page_size=2",), policies=("randon",)), "did you mean random?"),
    "policy twice": (Question(grid=("server.page_size=2",), policies=("random", "random")), "given twice"),
    "metric": (Question(grid=("server.page_size=2",), metric="watch"), "did you mean watch_s?"),
    "half-width": (Question(grid=("server.page_size=2",), half_width="-1%"), "half-width='-1%' must be > 0"),
    "half-width nan": (Question(grid=("server.page_size=2",), half_width="nan"), "must be > 0"),
    "few": (Question(grid=("server.page_size=2",), max_replications=9), "must be >= 10"),
    "many": (Question(grid=("server.page_size=2",), max_replications=10**9), "must be <="),
    "seed": (Question(grid=("server.page_size=2",), seed=-1), "seed=-1"),
    "window": (Question(grid=("server.page_size=2",), minutes=1, days=1), "both given"),
    "sobol": (Question(sobol=("client.ttl_s=10",)), "must read section.field=lowest..highest"),
    "sobol order": (Question(sobol=("client.ttl_s=10..5",)), "must read section.field=lowest..highest"),
    "sobol field": (Question(sobol=("client.ttls=1..5",)), "did you mean client.ttl_s?"),
    "sobol of words": (Question(sobol=("client.on_refill=1..5",)), "only numbers can be sampled"),
    "samples": (Question(sobol=("client.ttl_s=10..60",), samples=5), "power of two"),
    "many samples": (Question(sobol=("client.ttl_s=10..60",), samples=2 * MAX_CELLS), f"2 to {MAX_CELLS:,};"),
    "too many": (Question(grid=("client.ttl_s=" + ",".join(map(str, range(1, 10_003))),)), "more than 2,048 cells"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_questions_that_cannot_be_asked(case, tmp_path):
    question, words = WRONG[case]
    with pytest.raises(ValueError) as caught:
        sweep(question, out=tmp_path / "out", execute=None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_or_with_a_sweep(tmp_path):
    with pytest.raises(SettingError, match="holds no sweep"):
        resume(tmp_path, execute=here)
    with pytest.raises(SettingError, match="holds no sweep"):
        resume(tmp_path / "nowhere", execute=here)
    sweep(PAGES, out=tmp_path, execute=here)
    with pytest.raises(SettingError, match="holds a sweep already; give --resume"):
        sweep(PAGES, out=tmp_path, execute=here)


# -- plans -------------------------------------------------------------------------------------------------------------


def test_the_default_cell_is_added_once_and_marked():
    cells = plan_of(Question(grid=("server.page_size=2,6",)), Scenario()).cells
    assert [(c.settings, c.default, c.asked) for c in cells] == [
        (("server.page_size=2",), False, True), (("server.page_size=6",), True, True),
    ]  # fmt: skip
    listed = ("server.page_size=2 client.ttl_s=30", "server.page_size=2", "server.page_size=2")
    alike = plan_of(Question(cells=listed), Scenario())
    assert [c.settings for c in alike.cells] == [
        ("server.page_size=6", "client.ttl_s=600.0"), ("server.page_size=2", "client.ttl_s=30.0"),
        ("server.page_size=2", "client.ttl_s=600.0"),
    ]  # fmt: skip


def test_plans_come_back_equal_from_their_text():
    questions = [
        PAGES, NOISY,
        Question(sobol=("client.ttl_s=10..600", "server.page_size=2..12"), samples=8, days=2.0, servers="same"),
        Question(grid=("phone.shares=[1,0,0,0],[0,0,0,1]", "client.on_refill=replace,merge"), half_width="2.5", seed=3),
    ]  # fmt: skip
    for question in questions:
        plan = plan_of(question, Scenario())
        assert Plan.from_record(json.loads(json.dumps(plan.record()))) == plan


def test_a_whole_number_of_minutes_is_the_same_question():
    one, other = (plan_of(Question(grid=("server.page_size=2",), minutes=m), Scenario()) for m in (3, 3.0))
    assert json.dumps(one.record()) == json.dumps(other.record())


def test_sobol_points_are_spread_evenly_and_repeat():
    question = Question(sobol=("client.ttl_s=100..200", "server.page_size=2..9"), samples=16, seed=5)
    plan = plan_of(question, Scenario())
    ttl = [cell.values["client.ttl_s"] for cell in plan.cells if cell.asked]
    assert np.histogram(ttl, 16, (100, 200))[0].tolist() == [1] * 16  # one in each sixteenth
    assert all(2 <= cell.values["server.page_size"] <= 9 for cell in plan.cells)
    assert plan_of(question, Scenario()) == plan


def test_servers_are_the_same_everywhere_unless_sized_for_each_cell():
    grid = ("server.service_ms=100,600,3000",)
    same = plan_of(Question(grid=grid, servers="same"), Scenario()).cells
    assert {cell.scenario.server.workers for cell in same} == {Scenario().with_workers(60, None).server.workers}
    own = plan_of(Question(grid=grid), Scenario()).cells
    assert {cell.scenario.server.workers for cell in own} == {0}  # run_arm sees to it


def test_half_width_by_hand():
    assert HalfWidth.parse("0.5%").of(-200) == 1
    assert HalfWidth.parse("3").of(-200) == 3
    assert str(HalfWidth.parse(" 2 % ")) == "2%"


def test_replications_stop_at_the_budget_and_fresh_ones_are_others(whole):
    result = read_sweep(whole)
    assert max(result.replications(cell) for cell in result.cells) <= 40
    assert FRESH > 10_000


# -- damage ------------------------------------------------------------------------------------------------------------


def damaged(data, k):
    """The k-th way to damage a file: cut off, or one bit the other way."""
    lot = random.Random(k)
    if k % 2:
        return data[: lot.randrange(len(data))]
    place = lot.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << lot.randrange(8)]) + data[place + 1 :]


@pytest.mark.parametrize("name", [RESULTS, POSITIONS])
@pytest.mark.parametrize("times", [120, pytest.param(2000, marks=pytest.mark.long)])
def test_damaged_results_are_told(name, times, tmp_path):
    expected = sweep(PAGES, out=tmp_path, execute=here)
    data = (tmp_path / name).read_bytes()
    for k in range(times):
        (tmp_path / name).write_bytes(damaged(data, k))
        try:
            found = read_sweep(tmp_path)
        except SettingError:
            continue
        assert same(found, expected), f"case {k}: silently wrong"


@pytest.mark.parametrize("times", [50, pytest.param(2000, marks=pytest.mark.long)])
def test_a_damaged_ledger_is_told_or_harmless(times, tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        sweep(NOISY, out=tmp_path / "a", execute=stopping(100))
    data = (tmp_path / "a" / NAME).read_bytes()
    told = 0
    for k in range(times):
        folder = tmp_path / f"b{k}"
        folder.mkdir()
        (folder / NAME).write_bytes(damaged(data, k))
        try:
            resume(folder, execute=here)
        except SettingError:
            told += 1
        else:
            assert bits(folder) == bits(whole), f"case {k}: silently wrong"
    assert told > times / 4


def test_damage_that_sqlite_cannot_quote_is_told(tmp_path):
    """Case 1944 of the 2,000 above: the message of SQLite is no UTF-8 then."""
    with pytest.raises(KeyboardInterrupt):
        sweep(NOISY, out=tmp_path, execute=stopping(1))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE T\xd4BLE"))
    with pytest.raises(SettingError, match="damaged"):
        resume(tmp_path, execute=here)


def same(a, b):
    return (a.plan, dict(a.failed)) == (b.plan, dict(b.failed)) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k], equal_nan=True) for k in x)
        for x, y in ((a.values, b.values), (a.fresh, b.fresh), (a.positions, b.positions))
    )
