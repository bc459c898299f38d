"""A sweep never mixes two worlds and loses nothing: its files, versions, failures, budget and readers; contract."""

import os
import re
import sqlite3
from pathlib import Path

import pytest
from test_sweep import NOISY, PAGES, bits, here, made_up, stopping

from nextone.experiments.runs import provenance
from nextone.experiments.runs.executor import Failed
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.sweeps import ledger as sweep_ledger
from nextone.experiments.sweeps.answer import answer
from nextone.experiments.sweeps.ledger import NAME
from nextone.experiments.sweeps.plan import Question
from nextone.experiments.sweeps.question_file import read_question
from nextone.experiments.sweeps.result import RESULTS, read_sweep
from nextone.experiments.sweeps.sweep import resume, sweep
from nextone.experiments.sweeps.table import sweep_json, sweep_table
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings
from nextone.version import SEMANTICS

TRACE = "t_s,mbps\n0,1\n1,2\n2,3\n"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """A base scenario with a relative path of traces, seen from tmp_path."""
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "walk.csv").write_text(TRACE)
    (tmp_path / "traces" / "bus.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    return with_settings(Scenario(), ["network.traces=traces"])


def changed(folder):
    (folder / "walk.csv").write_text(TRACE.replace("3", "9"))


def missing(folder):
    (folder / "walk.csv").unlink()


def new(folder):
    (folder / "tram.csv").write_text(TRACE)


@pytest.mark.parametrize(
    ("change", "words"),
    [(changed, "traces: walk.csv has changed"), (missing, "traces: walk.csv is missing"), (new, "tram.csv is new")],
)
def test_a_sweep_does_not_go_on_with_other_files(change, words, traced, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep(PAGES, traced, out="out", execute=stopping(6))
    before = (tmp_path / "out" / NAME).read_bytes()
    change(tmp_path / "traces")
    with pytest.raises(SettingError, match=words):
        resume("out", execute=here)
    assert (tmp_path / "out" / NAME).read_bytes() == before
    for name in ("walk.csv", "bus.csv"):
        (tmp_path / "traces" / name).write_text(TRACE)
    (tmp_path / "traces" / "tram.csv").unlink(missing_ok=True)
    resume("out", execute=here)
    sweep(PAGES, traced, out="whole", execute=here)
    assert bits(tmp_path / "out") == bits(tmp_path / "whole")


def test_no_table_of_files_that_changed_while_it_ran(traced, tmp_path):
    def execute(source, workers):
        yield from here(source, workers)
        changed(tmp_path / "traces")

    with pytest.raises(SettingError, match=r"walk\.csv has changed"):
        sweep(PAGES, traced, out="out", execute=execute)
    assert not (tmp_path / "out" / RESULTS).exists()


def test_two_digests_never_meet_in_a_cell(tmp_path):
    """A file that was another one for a while, and is back before anybody looks."""

    def execute(source, workers):
        for k, (task, outcome) in enumerate(here(source, workers)):
            yield task, outcome._replace(links_sha256="other") if k == 33 else outcome

    with pytest.raises(SettingError, match=r"cell 'server\.page_size=\d'.*met other links"):
        sweep(PAGES, out=tmp_path, execute=execute)
    assert not (tmp_path / RESULTS).exists()


@pytest.mark.parametrize("name", ["numpy", "numba", "python"])
def test_a_sweep_does_not_go_on_with_other_versions(name, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        sweep(PAGES, out=tmp_path, execute=stopping(6))
    now = provenance.made_with(PAGES.policies)["libraries"]
    if name == "python":
        monkeypatch.setattr(provenance.platform, "python_version", lambda: "0.1")
    else:
        monkeypatch.setattr(provenance, "_version", lambda package: "0.1" if package == name else now[package])
    with pytest.raises(SettingError, match=rf"{name}: version {re.escape(now[name])} then, 0\.1 now"):
        resume(tmp_path, execute=here)


def test_it_goes_on_from_any_folder(traced, tmp_path, monkeypatch):
    """Its tasks find the files, whose path was relative to the folder where it was begun."""
    seen = []

    def execute(source, workers):
        for task, outcome in here(source, workers):
            seen.append(task.arm.scenario.network.traces)
            yield task, outcome

    with pytest.raises(KeyboardInterrupt):
        sweep(PAGES, traced, out="out", execute=stopping(6))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume("../out", execute=execute)
    assert set(seen) == {str(tmp_path / "traces")}
    monkeypatch.chdir(tmp_path)
    sweep(PAGES, traced, out="whole", execute=here)
    assert bits(tmp_path / "out") == bits(tmp_path / "whole")


def test_paths_in_a_file_are_relative_to_it(traced, tmp_path, monkeypatch):
    (tmp_path / "rl, mine").mkdir()
    text = """policies = ["cloud_only", "rl:rl, mine", "rl:nowhere"]
[set]
"network.rtt" = "nowhere"
[grid]
network.traces = ["", "traces", "/nowhere"]
"""
    (tmp_path / "it.toml").write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    asked = read_question(Path("..", "it.toml"))
    assert asked.question.grid == ('network.traces="","../traces","/nowhere"',)
    assert asked.question.policies == ("cloud_only", "rl:../rl, mine", "rl:nowhere")
    assert asked.settings == ['network.rtt="nowhere"']


def test_a_swept_file_that_cannot_be_read_is_told_before_anything_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    question = Question(grid=('network.traces="","nowhere"',))
    with pytest.raises(ValueError, match="nowhere"):
        sweep(question, out="out", execute=here)
    assert not (tmp_path / "out" / NAME).exists()


# -- failures are no results ------------------------------------------------------------------------------------------


def failing(source, workers):
    for task, outcome in here(source, workers):
        yield task, Failed("killed") if task.arm.scenario.server.page_size == 4 else outcome


def test_what_failed_is_tried_again(tmp_path):
    first = sweep(PAGES, out=tmp_path / "it", execute=failing)
    assert list(first.failed) == [2] and "1 of 3 cells failed" in first.failures
    assert any("--resume tries them again" in str(part) for part in sweep_table(first))
    assert resume(tmp_path / "it", execute=here).failed == {}
    sweep(PAGES, out=tmp_path / "whole", execute=here)
    assert bits(tmp_path / "it") == bits(tmp_path / "whole")


def test_where_every_cell_failed_it_says_so(tmp_path):
    def execute(source, workers):
        while (task := source()) is not None:
            yield task, Failed("no memory")

    (text,) = answer(sweep(PAGES, out=tmp_path, execute=execute))
    assert "3 of 3 cells failed" in text and "neither more nor less" not in text


def test_a_file_that_is_gone_is_not_a_failure_of_cells(traced, tmp_path):
    def execute(source, workers):
        for k, (task, outcome) in enumerate(here(source, workers)):
            if k == 5:
                missing(tmp_path / "traces")
            yield task, Failed("no such file") if k == 5 else outcome

    with pytest.raises(SettingError, match=r"walk\.csv is missing"):
        sweep(PAGES, traced, out="out", execute=execute)
    with sqlite3.connect(tmp_path / "out" / NAME) as db:
        assert dict(db.execute("select state, count(*) from task group by state")) == {"done": 5, "planned": 55}


def test_nobody_in_the_app_is_told(tmp_path):
    def execute(source, workers):
        while (task := source()) is not None:
            outcome = made_up(task)
            yield task, outcome._replace(metrics=dict.fromkeys(outcome.metrics, 0.0))

    result = sweep(PAGES, out=tmp_path, execute=execute)
    assert "Nobody opened the app in the window of 60 min" in answer(result)[0]
    assert result.interval(result.arms[0], "app_min") is None


# -- readers ----------------------------------------------------------------------------------------------------------


def test_readers_and_the_sweep_do_not_wait_for_each_other(tmp_path):
    path, counts = tmp_path / NAME, []

    def execute(source, workers):
        reader = sqlite3.connect(path, timeout=0)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM task").fetchone()  # holds its view of the ledger until it is closed
        for task, outcome in stopping(40)(source, workers):
            yield task, outcome
            with sqlite3.connect(path, timeout=0) as another:
                counts.append(another.execute("SELECT count(*) FROM task WHERE state = 'done'").fetchone()[0])

    with pytest.raises(KeyboardInterrupt):
        sweep(PAGES, out=tmp_path, execute=execute)
    assert counts == sorted(counts) and counts[-1] > 30
    browser = sqlite3.connect(path, timeout=0)
    browser.execute("BEGIN")
    browser.execute("SELECT * FROM cell").fetchall()
    assert resume(tmp_path, execute=here).best.settled
    browser.close()


def test_another_program_that_writes_is_not_taken_for_a_sweep(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        sweep(PAGES, out=tmp_path, execute=stopping(6))
    monkeypatch.setattr(sweep_ledger, "WAIT_S", 0.05)
    browser = sqlite3.connect(tmp_path / NAME)
    browser.execute("BEGIN IMMEDIATE")
    with pytest.raises(SettingError, match="another program has been writing to it"):
        resume(tmp_path, execute=here)
    browser.rollback()
    assert resume(tmp_path, execute=here).best.settled


# -- the budget -------------------------------------------------------------------------------------------------------


def test_a_raised_budget_says_so_and_its_intervals_allow_for_the_look(tmp_path):
    first = sweep(NOISY, out=tmp_path, execute=here)
    more = resume(tmp_path, max_replications=80, execute=here)
    assert (first.extended, more.extended, more.plan.looks) == (False, True, (40,))
    arm = first.best.arm
    narrow, wide = first.interval(arm, "app_min"), read_sweep(tmp_path).interval(arm, "app_min")
    assert wide.n >= narrow.n and "confidence sequence" in read_sweep(tmp_path).method
    assert (wide.high - wide.low) * wide.n**0.5 > 1.3 * (narrow.high - narrow.low) * narrow.n**0.5
    with pytest.raises(SettingError, match="must be more than the 80"):
        resume(tmp_path, max_replications=80, execute=here)


def test_the_work_to_come_is_told_from_the_start(tmp_path):
    told = []
    sweep(NOISY, out=tmp_path, execute=here, progress=lambda done, total: told.append((done, total)))
    done = len(told)
    assert told[-1] == (done, done) and told[0][1] >= done
    assert all(total > 0.8 * done for _, total in told), "rounds to come are part of it, as far as spreads tell"


def test_json_has_what_it_takes_to_run_it_again(tmp_path):
    found = sweep_json(sweep(PAGES, out=tmp_path, execute=here))
    made = found["provenance"]
    assert (made["seed"], made["minutes"], made["engine"], made["semantics"]) == (0, 60.0, "event", SEMANTICS)
    assert {"python", "numpy", "numba"} <= set(made["libraries"])
    assert len(found["plan"]["cells"]) == 3 and len(found["rows"]) == 3 * 2 * len(METRICS)
    row = next(r for r in found["rows"] if r["policy"] == "random" and r["metric"] == "app_min")
    assert row["vs_policy"]["low"] <= row["vs_policy"]["diff"] <= row["vs_policy"]["high"]
    assert os.fspath(tmp_path) not in str(found)  # no folder of this machine, where no path is relative
