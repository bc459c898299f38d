"""Tasks on many machines, without Ray: inputs by digest, versions that differ, and a cluster whose nodes do what the
test says. tests/cluster/on_ray_tests.py has the same with real nodes."""

import pickle
from collections import deque
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nextone.experiments.runs import shipping
from nextone.experiments.runs.arms import Arm, Task
from nextone.experiments.runs.cluster import (
    NO_NODE,
    Differs,
    Facts,
    Lost,
    check_nodes,
    facts_here,
    run_on,
    run_there,
)
from nextone.experiments.runs.executor import DIED, Failed, RunFailed, in_processes, in_this_process
from nextone.experiments.runs.shipping import Sender, unpacked
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for each test."""
    monkeypatch.setattr(shipping, "_placed", {})
    monkeypatch.setattr(shipping.tempfile, "gettempdir", lambda: str(tmp_path))
    return shipping.cache_folder()


@dataclass(frozen=True)
class Reading:
    """A task of the tests: the words in a file."""

    path: str

    def moved(self, place):
        return replace(self, path=place(self.path, all_there))


def all_there(path):
    if path.name == "refused":
        raise SettingError(f"{path}: is refused")
    return [path] if path.is_file() else path.iterdir()


def words(task):
    """What `Reading` is for."""
    text = Path(task.path).read_text()
    if text == "bad":
        raise SettingError(f"{task.path}:1: is bad")
    return text.split()


def source(*tasks):
    return partial(next, iter(tasks), None)


# -- inputs by digest -------------------------------------------------------------------------------------------------


def tasks_that_read(folder):
    """(task, the paths that it must name) of each kind of task."""
    from nextone.experiments.training.edge.collect import CollectSettings, Part  # late: `words` needs no torch
    from nextone.experiments.training.edge.offline_table import Seeded
    from nextone.experiments.training.edge.train import EdgeSettings

    traced = with_settings(Scenario(), [f"network.traces={folder}/t", f"network.rtt={folder}/p.csv"])
    trained = f"edgerec:{folder}/c@onnx"
    both = {f"{folder}/t", f"{folder}/p.csv"}
    yield Task(Arm("a", "cloud_only", traced), 0, 0, 3, None, "event"), both
    yield Task(Arm("a", trained, Scenario()), 0, 0, 3, None, "event"), {f"{folder}/c"}
    yield Task(Arm("a", f"rl:{folder}/c", traced), 0, 0, 3, None, "event"), both | {f"{folder}/c"}
    yield Task(Arm("a", "edgerec", Scenario()), 0, 0, 3, None, "event"), set()
    yield Task(Arm("a", lambda observation: observation.mask, Scenario()), 0, 0, 3, None, "event"), set()
    yield Part(CollectSettings(scenario=traced, policy=f"kir:{folder}/c"), 0, 0, 9), both | {f"{folder}/c"}
    settings = EdgeSettings(kind="kir")
    yield Seeded("KIR", settings, Path(folder, "s"), Path(folder, "r")), {f"{folder}/s", f"{folder}/r"}


def test_tasks_name_all_that_they_read_and_nothing_else_of_them_changes(tmp_path):
    for task, wanted in tasks_that_read(tmp_path):
        found = []

        def note(path, reads, found=found):
            found.append(path)
            return f"/elsewhere{path}"

        moved = task.moved(note)
        assert set(found) == wanted and len(found) == len(wanted)
        back = moved.moved(lambda path, reads: path.removeprefix("/elsewhere"))
        assert back == task or back == replace(task, elsewhere=True)
        assert (moved == task) is not bool(wanted)


def test_a_file_is_put_once_and_arrives_with_its_bytes(tmp_path, cache):
    """Of a folder what is read of it: files of links directly in it, weights at any depth."""
    files = {"t/b.csv": "1", "t/A.CSV": "22", "t/.hidden": "333", "t/deep/c.csv": "4", "t/same.tsv": "1"}
    files |= {"c/step-1/model.safetensors": "w", "c/step-1/checkpoint.json": "{}", "c/tensorboard/events.1": "x"}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    puts = []
    sender = Sender(lambda data: puts.append(data) or len(puts) - 1)
    policy = f"edgerec:{tmp_path}/c"
    task = Task(Arm("a", policy, with_settings(Scenario(), [f"network.traces={tmp_path}/t"])), 0, 0, 3, None, "event")
    parcels = sender.parcels(task)
    assert sender.parcels(replace(task, replication=1)) == parcels
    assert sorted(puts) == [b"1", b"22", b"w", b"{}"]
    there = {path: unpacked(parcel, puts.__getitem__, cache) for path, parcel in parcels.items()}
    traces, weights = there[f"{tmp_path}/t"], there[f"{tmp_path}/c"]
    assert {p.name: p.read_text() for p in traces.iterdir()} == {"A.CSV": "22", "b.csv": "1", "same.tsv": "1"}
    assert sorted(p.name for p in weights.rglob("*.*")) == ["checkpoint.json", "model.safetensors"]
    assert traces == cache / parcels[str(tmp_path / "t")].sha256 / "t"


@pytest.mark.parametrize("damage", ["other bytes", "one more", "one less", "nothing there"])
def test_what_is_damaged_in_the_cache_is_fetched_again(damage, tmp_path, cache):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.csv").write_text("right")
    puts = []
    task = Reading(str(tmp_path / "t"))
    [parcel] = Sender(lambda data: puts.append(data) or 0).parcels(task).values()
    first = unpacked(parcel, puts.__getitem__, cache)
    assert unpacked(parcel, None, cache) == first  # nothing to fetch
    if damage == "other bytes":
        (first / "a.csv").write_text("wrong")
    elif damage == "one more":
        (first / "b.csv").write_text("more")
    else:
        (first / "a.csv").unlink()
    if damage == "nothing there":
        first.rmdir()
    again = unpacked(parcel, puts.__getitem__, cache)
    assert {p.name: p.read_text() for p in again.iterdir()} == {"a.csv": "right"}
    assert [p.name for p in cache.iterdir()] == [parcel.sha256]


def test_other_bytes_than_were_sent_are_refused(tmp_path, cache):
    (tmp_path / "a.csv").write_text("right")
    [parcel] = Sender(lambda data: 0).parcels(Reading(str(tmp_path / "a.csv"))).values()
    with pytest.raises(ValueError, match=r"a\.csv arrived with other bytes than were sent"):
        unpacked(parcel, lambda handle: b"wrong", cache)
    assert not list(cache.iterdir())


def test_a_cache_that_others_may_write_to_is_refused(cache):
    cache.chmod(0o777)
    with pytest.raises(OSError, match="others may write to it; delete it, or set TMPDIR"):
        shipping.cache_folder()


# -- versions ---------------------------------------------------------------------------------------------------------

HERE = Facts({"nextone": "1.0", "python": "3.11.7", "numpy": "2.4.6", "numba": "0.68.1"}, "A (x86_64)")


def other(**versions):
    return HERE._replace(versions=HERE.versions | versions)


@pytest.mark.parametrize("name", HERE.versions)
def test_a_node_with_another_version_is_refused_by_name(name):
    with pytest.raises(SettingError) as refusal:
        check_nodes(HERE, {"red": HERE, "blue": other(**{name: "9.9"})})
    line = str(refusal.value)
    assert f"node blue: {name} 9.9 (here {HERE.versions[name]})" in line and "red" not in line


def test_all_that_is_wrong_is_in_the_line():
    nodes = {"a": other(numpy="2.3.0", numba="0.67"), "b": "nextone does not start there (ModuleNotFoundError)"}
    with pytest.raises(SettingError, match=r"node a: numpy 2\.3\.0 \(here 2\.4\.6\), numba 0\.67 \(here 0\.68\.1\); "
                       r"node b: nextone does not start there"):  # fmt: skip
        check_nodes(HERE, nodes)
    with pytest.raises(SettingError, match="numpy none"):
        check_nodes(HERE, {"a": HERE._replace(versions={})})
    with pytest.raises(SettingError, match="no node with a CPU"):
        check_nodes(HERE, {})


def test_other_processors_are_named_in_one_line():
    assert check_nodes(HERE, {"a": HERE}) == ""
    line = check_nodes(HERE, {"a": HERE, "b": HERE._replace(processor="B (aarch64)")})
    assert "b B (aarch64)" in line and "A (x86_64)" in line and "\n" not in line


def test_this_machine_says_what_results_depend_on():
    versions = facts_here().versions
    assert {"nextone", "python", "numpy", "numba", "torch"} <= set(versions) and all(versions.values())
    assert versions["numpy"] == np.__version__


# -- the cluster ------------------------------------------------------------------------------------------------------


class Fake:
    """A cluster in this process. fates: what becomes of a task's tries instead of its result, by its path's name."""

    def __init__(self, fates=(), slots=2, nodes=None):
        self.fates = {name: deque(tries) for name, tries in dict(fates).items()}
        self.free, self.nodes = slots, {"a": facts_here()} if nodes is None else nodes
        self.bytes, self.out, self.tried, self.cancelled = [], {}, [], []

    def slots(self):
        return self.free

    def facts(self):
        return self.nodes

    def put(self, data):
        self.bytes.append(data)
        return len(self.bytes) - 1

    def submit(self, task, run, parcels, facts):
        self.tried.append(task)
        self.out[len(self.tried)] = pickle.dumps((task, run, parcels, facts))
        assert len(self.out) <= 2 * self.free
        return len(self.tried)

    def first(self, handles):
        handle = max(handles)  # the last that was submitted
        sent = pickle.loads(self.out.pop(handle))
        tries = self.fates.get(Path(sent[0].path).name)
        if tries:
            return handle, tries.popleft()
        return handle, run_there(*sent, self.bytes.__getitem__, "a")

    def cancel(self, handles):
        self.cancelled = list(handles)


def written(tmp_path, **texts):
    tasks = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        tasks.append(Reading(str(tmp_path / name)))
    return tasks


def outcomes_on(cluster, *tasks):
    return dict(run_on(cluster, source(*tasks), words, said=lambda line: None))


def test_the_same_from_a_cluster_as_from_here(tmp_path):
    tasks = written(tmp_path, a="one", b="two words", c="", d="one")
    cluster = Fake()
    assert outcomes_on(cluster, *tasks) == dict(in_this_process(source(*tasks), 1, words))
    assert len(cluster.bytes) == 3  # a and d hold the same


def test_any_function_of_a_task_runs_in_processes_too(tmp_path):
    tasks = written(tmp_path, a="one", b="two words")
    assert dict(in_processes(source(*tasks), 1, words)) == {tasks[0]: ["one"], tasks[1]: ["two", "words"]}


def test_a_killed_process_is_tried_again_and_twice_killed_is_a_failure(tmp_path):
    tasks = written(tmp_path, a="one", b="two", c="three")
    cluster = Fake({"a": [Lost.PROCESS], "b": [Lost.PROCESS, Lost.PROCESS], "c": [Lost.NODE] * 5})
    found = outcomes_on(cluster, *tasks)
    assert found == {tasks[0]: ["one"], tasks[1]: Failed(f"{tasks[1]}: {DIED}"), tasks[2]: ["three"]}
    assert [cluster.tried.count(task) for task in tasks] == [2, 2, 6]  # a node that is lost is nobody's fault


def test_what_goes_wrong_there_is_said_as_here(tmp_path):
    """The user's path, not the cache's; an error on the way is the task's."""
    bad, fine, odd = written(tmp_path, a="bad", b="fine", c="odd")
    found = outcomes_on(Fake({"c": [OSError("disk full")]}), bad, fine, odd)
    here = dict(in_this_process(source(bad), 1, words))[bad]
    assert found[bad].reason == here.reason == f"{tmp_path}/a:1: is bad"
    assert isinstance(found[bad].error, SettingError) and str(found[bad].error) == here.reason
    assert found[fine] == ["fine"] and found[odd].reason == f"{odd}: OSError: disk full"


def test_what_cannot_be_sent_is_that_tasks_failure(tmp_path):
    refused, fine, gone = *written(tmp_path, refused="x", a="fine"), Reading(str(tmp_path / "gone"))
    found = outcomes_on(Fake(), refused, gone, fine)
    assert found[refused].reason == f"{tmp_path}/refused: is refused" and found[fine] == ["fine"]
    assert "FileNotFoundError" in found[gone].reason and f"{tmp_path}/gone" in found[gone].reason


def test_nothing_runs_where_versions_differ(tmp_path):
    cluster = Fake(nodes={"a": facts_here(), "late": other()})
    with pytest.raises(SettingError, match="node late: nextone 1"):
        outcomes_on(cluster, *written(tmp_path, a="one"))
    assert not cluster.tried


def test_a_node_that_comes_late_with_other_versions_ends_the_run(tmp_path):
    [task] = written(tmp_path, a="one")
    assert run_there(task, words, {}, other(), None, "late").node == "late"
    cluster = Fake({"a": [Differs("late", "numpy 1.0 (here 2.0)")]})
    with pytest.raises(SettingError, match=r"node late: numpy 1\.0 \(here 2\.0\)"):
        outcomes_on(cluster, task)


def test_no_node_left_is_told_and_what_is_out_is_cancelled(tmp_path):
    tasks = written(tmp_path, a="one", b="two", c="three")
    cluster = Fake()
    with closing(run_on(cluster, source(*tasks), words, said=print)) as outcomes:
        next(outcomes)
    assert len(cluster.cancelled) == 2
    with pytest.raises(RunFailed, match=NO_NODE.split(";")[0]):
        outcomes_on(Fake(slots=0), *tasks)


def test_processors_are_said_once(tmp_path):
    said = []
    nodes = {"a": facts_here(), "b": facts_here()._replace(processor="B (aarch64)")}
    list(run_on(Fake(nodes=nodes), source(*written(tmp_path, a="one", b="two")), words, said.append))
    assert len(said) == 1 and "B (aarch64)" in said[0]
