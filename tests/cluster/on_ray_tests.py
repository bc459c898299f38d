"""Tasks on Ray: the same bits as on one machine, from two nodes, after kills, and nothing that listens on the network.

Ray is not among the packages of the other tests: `make test-long` runs this file in an environment of its own, and
its name keeps other runs of pytest from it. tests/runs/test_cluster.py has what needs no Ray.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from nextone.cli.main import main
from nextone.experiments.runs import shipping
from nextone.experiments.runs.arms import Arm, Task
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.executor import DIED, Failed, in_this_process
from nextone.experiments.runs.on_ray import RayCluster, on_ray
from nextone.experiments.runs.shipping import links
from nextone.experiments.sweeps.plan import Question
from nextone.experiments.sweeps.result import POSITIONS, RESULTS
from nextone.experiments.sweeps.sweep import sweep
from nextone.experiments.tasks.pack import pack
from nextone.experiments.training.edge.samples import FILE
from nextone.policies.names import shipped
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

HERE = Path(__file__).parent
HASTE = "sessions.leave_per_min=0.7"  # sessions are lived to their end: these soon have one
SMALL = ["population.users=15", "catalogue.kind=synthetic", "catalogue.videos=500", HASTE]
TINY = with_settings(Scenario(), SMALL)
SETS = [word for setting in SMALL for word in ("--set", setting)]
QUESTION = Question(grid=("server.page_size=2,6",), policies=("cloud_only", "tag_momentum"), minutes=3,
                    half_width="8%", max_replications=15, seed=4)  # fmt: skip
COMPARE = ["compare", "--users", "12", "--minutes", "3", *SETS[2:], "--json"]
ON = ["--on", "ray", "--workers", "2"]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nodes find this file, and what an earlier test left connected is gone."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    yield
    ray.shutdown()


@pytest.fixture
def cluster():
    """A head and a second node, one CPU each; this process is connected to them."""
    made = Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**NODE)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-machine")
    sweep(QUESTION, TINY, out=folder, execute=in_this_process)
    return folder


def bits(folder):
    return [(folder / name).read_bytes() for name in (RESULTS, POSITIONS)]


def listening():
    """(address, port) of all sockets that listen, as Linux writes them in hexadecimal."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return {line[1] for line in lines if line[3] == "0A"}


LOOPBACK = ("0100007F:", "0000000000000000FFFF00000100007F:", "00000000000000000000000001000000:")


def ray_processes():
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line for line in listed if "ray::" in line or "raylet" in line or "gcs_server" in line}


def source(*tasks):
    return partial(next, iter(tasks), None)


# -- one machine ------------------------------------------------------------------------------------------------------


def test_a_comparison_says_the_same_and_nothing_listens_on_the_network(capsys):
    command = [*COMPARE, "--policies", "cloud_only,random,edgerec"]
    assert main(command) == 0
    wanted = capsys.readouterr().out
    before, seen, done = listening(), set(), threading.Event()

    def watch():
        while not done.wait(0.1):
            seen.update(listening() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert main([*command, *ON]) == 0
    finally:
        done.set()
        watching.join()
    assert capsys.readouterr().out == wanted
    assert len(seen) > 3 and all(address.startswith(LOOPBACK) for address in seen), seen
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and not ray.is_initialized()


COLLECT = ["collect", "--minutes", "2", *SETS[2:], "--set", "client.history=5"]


def test_an_ab_test_says_the_same(capsys):
    words = ["ab", "--policies", "cloud_only,tag_momentum", "--users", "40", "--minutes", "3", *SETS[2:],
             "--json"]  # fmt: skip
    told = []
    for on in ([], ON):
        assert main([*words, *on]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] and told[0]["rows"]


PLAN = """
version1 = "old=tag_momentum"
version2 = "new=task:mine"
users = 60
start_min = 40
hours = 1.5
[[wave]]
share = 0.3
minutes = 10
[[wave]]
share = 1.0
minutes = 20
[[gate]]
metric = "failures"
limit = 0.01
"""


def test_releases_of_a_task_say_the_same(tmp_path, capsys):
    """The task lies beside the plan: workers of the cluster get its files."""
    pack(tmp_path / "mine", model="kir")
    (tmp_path / "plan.toml").write_text(PLAN)
    words = ["release", str(tmp_path / "plan.toml"), "--runs", "10", "--fault", "crash=0.5", *SETS[2:], "--json"]
    told = []
    for on in (["--workers", "1"], ON):
        assert main([*words, *on]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] and len(told[0]["releases"]) == 20
    assert any(each["people"] for each in told[0]["releases"])


def test_collecting_gives_the_same_bytes(tmp_path):
    """Two worlds, the second of 40 people."""
    for name, more in (("here", []), ("there", ON)):
        assert main([*COLLECT, "--users", "1040", "--out", str(tmp_path / name), *more]) == 0
    assert (tmp_path / "here" / FILE).read_bytes() == (tmp_path / "there" / FILE).read_bytes()


def test_trainings_give_the_same_weights(tmp_path, capsys):
    """Also those that were begun here and broken off after an epoch."""
    data = str(tmp_path / "data")
    assert main([*COLLECT, "--users", "60", "--out", data]) == 0
    training = ["offline-table", "--data", data, "--json", "--epochs", "2", "--out"]
    begun = tmp_path / "there" / "kir" / "seed-0"
    assert main(["train", "kir", "--data", data, "--out", str(begun), "--epochs", "2"]) == 0
    shutil.rmtree(max(begun.glob("step-*")))
    capsys.readouterr()
    for name, more in (("here", []), ("there", ON)):
        assert main([*training, str(tmp_path / name), *more]) == 0
    one, other = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert one == other
    weights = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.safetensors"))
    assert len({path.parent.parent for path in weights}) == 8 * 5  # methods, seeds
    for path in weights:
        assert (tmp_path / "here" / path).read_bytes() == (tmp_path / "there" / path).read_bytes()


def test_a_driver_that_was_killed_goes_on_to_the_same_bits(tmp_path, swept):
    """Killed without warning: nothing of its cluster is left, and the folder is enough."""
    before = ray_processes()
    grid = ["--grid", "server.page_size=2,6", "--policies", "cloud_only,tag_momentum", "--minutes", "3", "--seed", "4"]
    grid += ["--half-width", "8%", "--max-replications", "15", *SETS]
    with subprocess.Popen([sys.executable, "-m", "nextone.cli", "sweep", *grid, *ON, "--out", str(tmp_path)]) as driver:
        wal, until = tmp_path / "ledger.sqlite-wal", time.monotonic() + 200
        while time.monotonic() < until and not (wal.exists() and wal.stat().st_size > 60_000):
            time.sleep(0.02)
        assert driver.poll() is None
        driver.kill()
    assert not (tmp_path / RESULTS).exists()
    until = time.monotonic() + 240  # Ray's agents look for their parent from time to time
    while ray_processes() - before and time.monotonic() < until:
        time.sleep(0.2)
    assert not ray_processes() - before
    assert main(["sweep", "--resume", str(tmp_path), *ON]) == 0
    assert bits(tmp_path) == bits(swept)


def alive():
    return len([node for node in ray.nodes() if node["Alive"]])


# -- two nodes --------------------------------------------------------------------------------------------------------


def test_a_sweep_over_two_nodes_one_of_which_is_killed_has_the_same_bits(cluster, tmp_path, swept):
    """Its raylet and all its processes, without warning, when some results are in."""
    node, done = next(iter(cluster.worker_nodes)), []

    def progress(count, total):
        done.append(total)
        if len(done) == 6:
            cluster.remove_node(node, allow_graceful=False)

    assert alive() == 2
    sweep(QUESTION, TINY, out=tmp_path, execute=on_ray(), progress=progress)
    assert len(done) > 6 and bits(tmp_path) == bits(swept)
    until = time.monotonic() + 60
    while alive() > 1 and time.monotonic() < until:
        time.sleep(0.2)
    assert alive() == 1


@dataclass(frozen=True)
class Reading:
    """A task of the tests: where a file is when it is read, what is in it, and on which node."""

    path: str
    number: int
    slow_node: str = ""  # where the task does not end
    began: str = ""  # a file that says that it has begun there

    def moved(self, place):
        return replace(self, path=place(self.path, links))


def read_there(task):
    time.sleep(0.5)
    if ray.get_runtime_context().get_node_id() == task.slow_node:
        Path(task.began).touch()
        time.sleep(3600)
    return task.path, Path(task.path).read_text(), ray.get_runtime_context().get_node_id()


def test_both_nodes_read_files_that_came_by_digest(cluster, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("here")
    tasks = [Reading(str(file), k) for k in range(8)]
    found = [outcome for _, outcome in on_ray()(source(*tasks), 1, read_there)]
    assert {text for _, text, _ in found} == {"here"}
    assert all(Path(path).is_relative_to(shipping.cache_folder()) for path, _, _ in found)
    assert len({node for _, _, node in found}) == 2


def test_tasks_of_a_node_that_is_killed_run_elsewhere(cluster, tmp_path, monkeypatch):
    """What it was working on when it went is submitted again."""
    (tmp_path / "a.csv").write_text("here")
    node, began = next(iter(cluster.worker_nodes)), tmp_path / "began"
    tasks = [Reading(str(tmp_path / "a.csv"), k, node.node_id, str(began)) for k in range(6)]
    submitted, submit = [], RayCluster.submit

    def counted(self, task, *more):
        submitted.append(task)
        return submit(self, task, *more)

    monkeypatch.setattr(RayCluster, "submit", counted)
    outcomes = on_ray()(source(*tasks), 1, read_there)
    first = next(outcomes)
    while not began.exists():
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)
    found = dict([first, *outcomes])
    assert set(found) == set(tasks) and {outcome[1] for outcome in found.values()} == {"here"}
    assert len(submitted) > len(tasks)


def test_own_traces_and_checkpoints_give_the_same_numbers(cluster, tmp_path):
    for k in (1, 2):
        (tmp_path / f"{k}.csv").write_text("t_s,mbps\n" + "".join(f"{t},{k + t % 3}\n" for t in range(60)))
    world = with_settings(Scenario(), ["population.users=12", HASTE, f"network.traces={tmp_path}"])
    arms = [Arm("cloud", "cloud_only", world), Arm("kir", f"kir:{shipped('kir')}", world)]
    here, there = (compare(arms, minutes=2, execute=execute) for execute in (in_this_process, on_ray()))
    np.testing.assert_array_equal(here.values, there.values)


def dies(observation):
    """A policy that takes its process with it, as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return observation.mask


def dies_once(observation):
    """The same, but only the first time on this machine."""
    flag = Path(os.environ["DIED_ONCE"])
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return observation.mask.astype(np.float32)


def test_a_killed_process_is_tried_again_and_twice_killed_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("DIED_ONCE", str(tmp_path / "died"))
    arms = [Arm(label, policy, TINY) for label, policy in (("a", "cloud_only"), ("dies", dies), ("once", dies_once))]
    tasks = [Task(arm, 0, 0, 2, None, "event") for arm in arms]
    outcomes = dict(on_ray()(source(*tasks), 2))
    assert outcomes[tasks[1]] == Failed(f"{tasks[1]}: {DIED}")
    assert outcomes[tasks[0]].metrics["watch_s"] > 0 and outcomes[tasks[2]].metrics["watch_s"] > 0
    assert (tmp_path / "died").exists()


# -- clusters that somebody else started ------------------------------------------------------------------------------


def test_a_node_with_another_numpy_is_refused_by_name(tmp_path):
    """A node whose processes find an older numpy's metadata first."""
    old = tmp_path / "numpy-1.0.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0.0\n")
    made = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        other = made.add_node(**NODE, env_vars={"PYTHONPATH": f"{HERE}:{tmp_path}"})
        ray.init(address=made.address, log_to_driver=False)
        named = rf"node .*\({other.node_id[:6]}\): numpy 1\.0\.0 \(here {np.__version__}\)"
        with pytest.raises(SettingError, match=named):
            list(on_ray()(source(Task(Arm("a", "cloud_only", TINY), 0, 0, 2, None, "event")), 1))
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_cluster_that_somebody_else_started_is_joined_and_left_running(capsys):
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--port=26379", "--num-cpus=2",
               "--ray-client-server-port=26001", "--include-dashboard=false",
               "--object-store-memory=80000000"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    comparison = [*COMPARE, "--policies", "cloud_only,random"]
    try:
        assert main(comparison) == 0
        wanted = capsys.readouterr().out
        for _ in range(2):
            assert main([*comparison, "--on", "ray://127.0.0.1:26001"]) == 0
            assert capsys.readouterr().out == wanted
    finally:
        subprocess.run([command[0], "stop"], check=True, capture_output=True)


def test_nobody_there_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("RAY_CLIENT_MAX_CONNECTION_RETRIES", "1")
    assert main(["compare", "--users", "12", "--on", "ray://127.0.0.1:9"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--on ray://127.0.0.1:9" in err
