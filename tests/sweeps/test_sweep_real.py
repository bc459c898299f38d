"""`nextone sweep` as its user meets it, and sweeps of the real world: the same bits from any number of processes, after
kills, and when rows are run again from what they say."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_cli import children, nextone_process, refused
from test_sweep import bits

from nextone.cli import main as cli
from nextone.experiments.runs.arms import Arm, Task
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.executor import DIED, Failed, in_processes, in_this_process
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.parquet import read_record, write_record
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.experiments.sweeps.question_file import read_question
from nextone.experiments.sweeps.replay import replay_rows
from nextone.experiments.sweeps.result import RESULTS, SweepArm, read_sweep
from nextone.experiments.sweeps.sweep import resume, sweep
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

HASTE = "sessions.leave_per_min=0.7"  # sessions are lived to their end: these soon have one
SETTINGS = ["population.users=15", "catalogue.kind=synthetic", "catalogue.videos=500", HASTE]
TINY = with_settings(Scenario(), SETTINGS)
QUESTION = Question(
    grid=("server.page_size=2,6", "client.ttl_s=5,600"), policies=("cloud_only", "tag_momentum"), minutes=3,
    half_width="8%", max_replications=20, seed=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    sweep(QUESTION, TINY, out=folder, execute=in_this_process)
    return folder


@pytest.mark.parametrize("workers", [2, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 4, 8))])
def test_the_same_bits_from_any_number_of_processes(workers, real, tmp_path):
    sweep(QUESTION, TINY, out=tmp_path, workers=workers)
    assert bits(tmp_path) == bits(real)


def test_a_sweep_says_what_compare_says(real):
    result = read_sweep(real)
    cell = result.cells[1]
    n = result.replications(cell)
    again = compare(
        [Arm(p, p, cell.scenario) for p in QUESTION.policies], seed=4, replications=n, minutes=3
    )
    for a, policy in enumerate(QUESTION.policies):
        np.testing.assert_array_equal(result.values[cell.number, policy], again.values[a])
    assert result.valid_play_by_position(SweepArm(cell, "tag_momentum"))[:2] == again.valid_play_by_position[1][:2]


@pytest.mark.parametrize("rows", [8, pytest.param(100, marks=pytest.mark.long)])
def test_rows_are_replayed_from_their_own_record(rows, real):
    found = replay_rows(real / RESULTS, rows)
    assert found.differences == ()
    assert found.rows == rows


def test_a_row_that_says_something_else_is_found(real, tmp_path):
    table, record = read_record(real / RESULTS)
    values = table["watch_s"].to_numpy().copy()
    values[0] = np.nextafter(values[0], 1e9)
    where = table.column_names.index("watch_s")
    write_record(table.set_column(where, "watch_s", [values]), record, tmp_path / RESULTS)
    assert "watch_s" in replay_rows(tmp_path / RESULTS, 2).differences[0]


def test_the_file_says_what_its_rows_are(real):
    schema = pq.read_schema(real / RESULTS)
    record = json.loads(schema.metadata[b"nextone"])
    assert set(record["meanings"]) == {m.name for m in METRICS}
    assert record["plan"]["seed"] == 4
    needed = {"cell", "policy", "replication", "fresh", "default", "server.page_size", "client.ttl_s", "seed"}
    needed |= {"version", "semantics", "code_sha256", "scenario_sha256", "links_sha256", "catalogue_sha256"}
    needed |= {"generator"}
    assert needed | set(record["meanings"]) == set(schema.names)


# -- processes that die -----------------------------------------------------------------------------------------------


def dies(observation):
    """A policy that takes its process with it, as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return observation.mask


def greedy(observation):
    """A policy that asks for more memory than there is."""
    return np.empty(2**46)


def test_a_process_that_dies_takes_only_its_own_task_with_it():
    policies = {"a": "cloud_only", "dies": dies, "greedy": greedy, "b": "random"}
    arms = [Arm(label, policy, TINY) for label, policy in policies.items()]
    tasks = [Task(arm, 0, r, 2, None, "event") for r in range(2) for arm in arms]
    outcomes = dict(in_processes(partial(next, iter(tasks), None), 2))
    assert list(map(str, sorted(outcomes, key=str))) == list(map(str, sorted(tasks, key=str)))
    for task, outcome in outcomes.items():
        if task.arm.label == "dies":
            assert outcome == Failed(f"{task}: {DIED}")
        elif task.arm.label == "greedy":
            assert "MemoryError" in outcome.reason
        else:
            assert outcome.metrics["watch_s"] > 0


# -- the command ------------------------------------------------------------------------------------------------------

GRID = ["--grid", "server.page_size=2,6"]
REFUSED = {
    "nothing": ([], "give one of --grid, --cell and --sobol"),
    "field": (["--grid", "server.pagesize=2"], "did you mean server.page_size?"),
    "cell": (["--grid", "server.page_size=2,50"], "cell server.page_size=50"),
    "policy": ([*GRID, "--policies", "randon"], "did you mean random?"),
    "checkpoint": ([*GRID, "--policies", "rl:/nowhere"], "no such folder"),
    "metric": ([*GRID, "--metric", "watchs"], "did you mean watch_s?"),
    "width": ([*GRID, "--half-width", "narrow"], "half-width='narrow' must be > 0"),
    "few": ([*GRID, "--max-replications", "5"], "must be >= 10"),
    "workers": ([*GRID, "--workers", "0"], "workers=0 must be >= 1"),
    "minutes": ([*GRID, "--minutes", "-1"], "minutes=-1 must be > 0"),
    "users": ([*GRID, "--users", "0"], "population.users=0 must be >= 1"),
    "servers": ([*GRID, "--servers", "many"], "many"),
    "file": (["/nowhere.toml"], "No such file"),
    "resume nothing": (["--resume", "/nowhere"], "holds no sweep"),
    "resume a folder without": (["--resume", "/etc"], "holds no sweep (ledger.sqlite is missing)"),
    "resume and more": (["--resume", "/etc", "--users", "5"], "give nothing else but --workers"),
    "out": ([*GRID, "--out", "/etc/passwd/x"], "--out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(case, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments, words = REFUSED[case]
    assert words in refused(capsys, "sweep", *arguments)
    assert not list(tmp_path.rglob("ledger.sqlite"))


BAD_FILES = {
    "polices = ['random']": "unknown entry 'polices'; did you mean policies?",
    "policies = 'random'\n[grid]\n'server.page_size' = [2]": "policies='random' must be an array",
    "seed = true\n[grid]\n'server.page_size' = [2]": "seed='True' must be a whole number",
    "[grid]\n'server.page_size' = 2": "must be an array of values",
    "grid = 3": "grid='3' must be a section",
    "engine = 'warp'\n[grid]\n'server.page_size' = [2]": "engine='warp' must be event or batch",
    "servers = 'many'\n[grid]\n'server.page_size' = [2]": "servers='many' must be own or same",
    "policies = [3]": "policies must be an array of names",
    "[grid.server.page_size]\nx = 2": "must be an array of values",
    "[sobol]\n'client.ttl_s' = [1]": "must be [lowest, highest]",
    "cell = [3]": "cell must be tables",
    "[grid\n": "1: not TOML",
    "[grid]\n'server.page_size' = [true]": "server.page_size=true must be a whole number",
    "[set]\n'server.page_siz' = 2\n[grid]\n'client.ttl_s' = [5]": "did you mean server.page_size?",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_bad_files_are_one_line(text, capsys, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    assert BAD_FILES[text] in refused(capsys, "sweep", str(path), "--out", str(tmp_path / "out"))


def test_a_file_and_options_that_go_before_it(tmp_path, monkeypatch):
    path = tmp_path / "sweep.toml"
    path.write_text(
        "question = 'Does the page matter?'\npolicies = ['cloud_only', 'random']\nusers = 50\nminutes = 9\n"
        "half_width = '2%'\n[set]\n'server.candidates' = 30\nclient.refill_at = 0\n"
        "[grid]\nserver.page_size = [2, 30]\n'client.ttl_s' = [30, inf]\n"
    )
    plans = []
    finish = "nextone.experiments.sweeps.sweep.finish"
    monkeypatch.setattr(finish, lambda ledger, **_: plans.append(ledger.plan) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["sweep", str(path), "--out", str(tmp_path / "a")])
    with pytest.raises(ZeroDivisionError):
        cli.main(["sweep", str(path), "--out", str(tmp_path / "b"), "--users", "7", "--days", "2", "--seed", "3",
                  "--set", "client.refill_at=2", "--policies", "random"])  # fmt: skip
    one, other = plans
    assert (one.question, one.policies, one.minutes) == ("Does the page matter?", ("cloud_only", "random"), 9)
    assert (one.base.population.users, one.base.server.candidates, one.base.client.refill_at) == (50, 30, 0)
    assert len(one.cells) == len(other.cells) == 5  # 2 x 2 and the default
    assert str(one.half_width) == "2%"
    assert (other.base.population.users, other.base.client.refill_at, other.days, other.minutes) == (7, 2, 2.0, None)
    assert (other.seed, other.policies) == (3, ("random",))


def test_the_example_in_the_documentation_reads():
    file = Path(__file__).parents[2] / "docs" / "example_sweep.toml"
    asked = read_question(file)
    plan = plan_of(asked.question, with_settings(Scenario(), asked.settings))
    assert len(plan.cells) == 7 * 5 + 1 and asked.users == 1000 and asked.settings == ["server.candidates=60"]


def test_the_plan_is_in_the_ledger_before_anything_heavy(tmp_path):
    """Nothing heavy is loaded by then, and a second of processor time is enough after the libraries are there (how
    long those take depends on the disk: .6 s, or 2.4 s before Python has written its bytecode). Then the process is
    gone, and the folder is enough."""
    program = """
import os, sys, time
import nextone.experiments.sweeps.sweep as sweep
from nextone.cli import main as cli
begun, start = sweep.begun, time.process_time()
sweep.begun = lambda *a: (begun(*a), print(time.process_time() - start, "nextone.sim.impression" in sys.modules,
                          *({"torch", "pyarrow", "pandas"} & set(sys.modules)), flush=True), os._exit(0))
cli.main(sys.argv[1:])
"""
    grid = ["--grid", "server.page_size=2,4,6,8,12,20,50", "--grid", "client.ttl_s=30,60,120,300,inf"]
    told = subprocess.run(
        [sys.executable, "-c", program, "sweep", *grid, "--set", "server.candidates=60", "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.split()  # fmt: skip
    assert told[1:] == ["False"]
    assert float(told[0]) <= 1  # measured: .05 s
    with pytest.raises(SettingError, match="go on with --resume"):
        read_sweep(tmp_path)

    def counted(source, workers):
        first = []
        while (task := source()) is not None:
            first.append(task)
        assert len(first) == 36 * 10  # 7 x 5 and the default
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        resume(tmp_path, execute=counted)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_killed_and_resumed_from_the_folder_alone(tmp_path, capsys):
    """The process that is killed and the one that goes on are two, so what the latter knows is in the folder."""
    world = [word for setting in SETTINGS for word in ("--set", setting)]
    process = nextone_process(
        "sweep", *GRID, *world, "--minutes", "3", "--half-width", "30%", "--workers", "2", "--seed", "2", "--out",
        str(tmp_path / "a"), start_new_session=True,
    )  # fmt: skip
    wal = tmp_path / "a" / "ledger.sqlite-wal"
    wanted = time.monotonic() + 120
    while time.monotonic() < wanted and not (wal.exists() and wal.stat().st_size > 60_000):
        time.sleep(0.02)
    born = children(process.pid)
    process.kill()
    process.communicate(timeout=20)
    gone = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in born) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not [pid for pid in born if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "a" / RESULTS).exists()
    assert cli.main(["sweep", "--resume", str(tmp_path / "a"), "--workers", "1", "-q"]) == 0
    out, err = capsys.readouterr()
    assert "Best for app_min: " in out and err == ""
    sweep(
        Question(grid=("server.page_size=2,6",), minutes=3, half_width="30%", seed=2), TINY, out=tmp_path / "b",
        execute=in_this_process,
    )  # fmt: skip
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert cli.main(["replay", str(tmp_path / "a" / RESULTS), "--rows", "3"]) == 0
    assert capsys.readouterr() == ("identical: 3 replications, every bit of every metric\n", "")
