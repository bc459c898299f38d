"""Sweeps that are killed, starved of disk, or not allowed to write: nothing is lost, nothing half written is taken for
whole, and `resume` ends with the bits of an uninterrupted run. Real SIGKILLs of real processes; what they run is made
up (test_sweep.py), so that hundreds of them fit."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
from test_sweep import NOISY, PAGES, bits, here

from nextone.experiments.sweeps import ledger as sweep_ledger
from nextone.experiments.sweeps import sweep as sweep_code
from nextone.experiments.sweeps.ledger import NAME
from nextone.experiments.sweeps.result import POSITIONS, RESULTS, read_sweep
from nextone.experiments.sweeps.sweep import resume, sweep
from nextone.sim.scenario import SettingError

PROCESSES = multiprocessing.get_context("forkserver")  # forked from a process without threads that has loaded it all
PROCESSES.set_forkserver_preload(["nextone.experiments.runs.executor", "nextone.experiments.sweeps.result", "pytest"])


def victim_of(target, *arguments):
    """A process that calls target(*arguments). It is given the digest of the code: parsing all sources takes three
    times as long as a whole sweep of made-up runs, and nothing is written meanwhile."""
    return PROCESSES.Process(target=_with_the_code, args=(sweep_code.code_sha256(), target, *arguments))


def _with_the_code(code, target, *arguments):
    sweep_code.code_sha256 = lambda: code
    target(*arguments)


def go_on(folder, question, execute=here):
    """Begin a sweep, or go on with it if there is one, as a user would."""
    if (folder / NAME).exists():
        try:
            return resume(folder, execute=execute)
        except SettingError as error:
            if "before it had begun" not in str(error):
                raise
    return sweep(question, out=folder, execute=execute)


def noted(path, words):
    with path.open("a") as file:  # one write, whole
        file.write(words + "\n")


def slow_victim(folder, notes, alive):
    """Takes its time, and notes what it begins and what is acknowledged."""

    def execute(source, workers):
        for task, outcome in here(source, workers):
            noted(notes / "begun", str(task))
            time.sleep(0.001)
            yield task, outcome
            noted(notes / "acknowledged", str(task))

    alive.set()
    go_on(folder, NOISY, execute)


def known(folder):
    """The finished tasks that the ledger holds, by name."""
    ledger = sweep_ledger.resume(folder)
    results, _ = ledger.outcomes()
    ledger.close()
    return [str(ledger.plan.task(ledger.plan.cells[k.cell], k.policy, k.replication)) for k in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    sweep(NOISY, out=folder / "noisy", execute=here)
    sweep(PAGES, out=folder / "pages", execute=here)
    return folder


def slow_run(folder, notes, wait_s):
    """Start a victim and kill it so long after it has begun; (exit code, seconds it lived)."""
    notes.mkdir(exist_ok=True)
    alive = PROCESSES.Event()
    victim = victim_of(slow_victim, folder, notes, alive)
    victim.start()
    alive.wait(60)
    started = time.monotonic()
    victim.join(wait_s)
    victim.kill()
    victim.join()
    return victim.exitcode, time.monotonic() - started


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_random_instants(kills, tmp_path, whole):
    lot, killed, done = random.Random(kills), 0, 0
    code, lasts_s = slow_run(tmp_path / "all", tmp_path / "notes", 600)  # it ends when it is done, a hang apart
    assert code == 0
    folder, notes = tmp_path / "0", tmp_path / "notes0"
    while killed < kills:
        code, _ = slow_run(folder, notes, lot.uniform(0, lasts_s / 2))
        if (notes / "acknowledged").exists():
            have, acknowledged = known(folder), (notes / "acknowledged").read_text().splitlines()
            assert set(acknowledged) <= set(have)
            assert len(have) == len(set(have))
        if code == 0:  # this one made it: it has the same bits, and at most what was at work was done again
            assert bits(folder) == bits(whole / "noisy")
            begun = (notes / "begun").read_text().splitlines()
            assert len(begun) - len(set(begun)) <= killed
            done += 1
            folder, notes = tmp_path / str(done), tmp_path / f"notes{done}"
        else:
            assert code == -signal.SIGKILL
            killed += 1
    go_on(folder, NOISY)
    assert bits(folder) == bits(whole / "noisy")


def boundary_victim(folder, die_at, counter):
    """Dies before its die_at-th write: statements of SQLite, and around the flush and the renaming of tables."""

    def tick(*_):
        counter.value += 1
        if counter.value == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    connect, fsync, rename = sweep_ledger._connect, os.fsync, Path.replace

    def watched(path):
        db = connect(path)
        db.set_trace_callback(tick)
        return db

    def ticking(function):
        def call(*arguments):
            tick()
            result = function(*arguments)
            tick()
            return result

        return call

    sweep_ledger._connect, os.fsync, Path.replace = watched, ticking(fsync), ticking(rename)
    go_on(folder, PAGES)


def died_at(folder, die_at):
    """How many writes there were; dies before one of them."""
    counter = PROCESSES.Value("q", 0)
    victim = victim_of(boundary_victim, folder, die_at, counter)
    victim.start()
    victim.join()
    return counter.value


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_write_boundaries(step, tmp_path, whole):
    writes = died_at(tmp_path / "all", 0)
    assert bits(tmp_path / "all") == bits(whole / "pages")
    assert writes > 100
    for at in sorted({*range(1, 15), *range(15, writes - 10, step), *range(writes - 10, writes + 1)}):
        folder = tmp_path / str(at)
        died_at(folder, at)
        if (folder / RESULTS).exists():
            read_sweep(folder)
        go_on(folder, PAGES)
        assert bits(folder) == bits(whole / "pages"), f"killed before write {at} of {writes}"
        assert {file.name for file in folder.iterdir()} >= {NAME, RESULTS, POSITIONS}
        shutil.rmtree(folder)


def starved(folder, limit, told):
    """Files cannot grow beyond a limit, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        go_on(folder, PAGES)
        told.put("")
    except SettingError as error:
        told.put(str(error))


def asked(target, *arguments):
    answers = PROCESSES.Queue()
    child = victim_of(target, *arguments, answers)
    child.start()
    answer = answers.get(timeout=60)
    child.join()
    return answer


def test_a_full_disk_is_told_and_nothing_half_is_left(tmp_path, whole):
    limit, answer, told = 2_000, "x", set()
    while answer:
        folder = tmp_path / str(limit)
        answer = asked(starved, folder, limit)
        assert "\n" not in answer
        told.add(answer.partition(": ")[2])
        if answer:
            assert "--resume" in answer
            assert not (folder / RESULTS).exists()
            assert not [file for file in folder.iterdir() if file.name.endswith(".parquet") and file.name[0] == "."]
        go_on(folder, PAGES)
        assert bits(folder) == bits(whole / "pages")
        limit = round(limit * 1.3)
    assert len(told) >= 3, told  # at the ledger's beginning, within it, at the tables


def full(folder, pages, told):
    """SQLite itself finds no more room."""
    connect = sweep_ledger._connect

    def small(path):
        db = connect(path)
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    sweep_ledger._connect = small
    try:
        go_on(folder, PAGES)
        told.put("")
    except SettingError as error:
        told.put(str(error))


def test_sqlite_without_room(tmp_path, whole):
    sweep_pages = [2, 6, 9, 12]
    for pages in sweep_pages:
        folder = tmp_path / str(pages)
        assert "the disk is full; free some space" in asked(full, folder, pages)
        go_on(folder, PAGES)
        assert bits(folder) == bits(whole / "pages")


def not_allowed(folder, told):
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may write anywhere: be nobody
    try:
        resume(folder, execute=here)
        told.put("")
    except SettingError as error:
        told.put(str(error))


def test_a_folder_that_cannot_be_written_to():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sweep(PAGES, out=folder, execute=here)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        answer = asked(not_allowed, folder)
        folder.chmod(0o755)
    assert "make the folder writable" in answer
    assert "\n" not in answer


def test_two_at_once_are_kept_apart(tmp_path):
    def execute(source, workers):
        yield from here(source, workers)
        with pytest.raises(SettingError, match="another sweep is at work in it"):
            resume(tmp_path, execute=here)

    sweep(PAGES, out=tmp_path, execute=execute)
