"""Tasks on Ray: a cluster of this machine alone, or one that somebody else started. `pip install 'nextone[ray]'`.

What this process starts listens on the loopback address only and reports nothing to anybody. Who can reach the ports of
a Ray cluster can run code on it: join those of your own network only. Called for `--on`, and from Python:
`compare(arms, execute=on_ray("ray://head"))`.
"""

import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba

from nextone.sim.scenario import SettingError

from .cluster import Facts, Lost, facts_here, run_on, run_there
from .executor import Execute, Outcomes, Run, Source, replicate
from .shipping import Movable, Parcel

HERE = "ray"
SCHEME, PORT = "ray://", 10001  # Ray's own, of a cluster's head
MISSING = "Ray is not installed; pip install 'nextone[ray]', here and on every machine of the cluster"
SILENT = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
STORE_BYTES = 256_000_000  # of a cluster started here; what is more goes to disk
TRIES = 3  # to join
WAIT_S = 10.0  # then a look at whether nodes are left
ANSWER_S = 300.0  # for a node to say its versions: it may have to load everything from a slow disk


def on_ray(address: str = HERE, said: Callable[[str], None] = warnings.warn) -> Execute:
    """How to run tasks on Ray: "ray" starts a cluster of `workers` processes on this machine and ends it after;
    "ray://HOST[:PORT]" joins one and uses all its CPUs. If this process is connected to one already, that is used.

    said: called with a line on nodes with other processors. Raises SettingError if Ray is not installed or the address
    reads otherwise; what is returned raises it if the cluster cannot be joined or its nodes have other versions."""
    host = address.removeprefix(SCHEME).strip("/")
    if address != HERE and (not address.startswith(SCHEME) or not host):
        raise SettingError(f"--on {address[:80]!r} must be ray, or ray://HOST of a cluster to join")
    joined = "" if address == HERE else SCHEME + host + ("" if ":" in host else f":{PORT}")
    ray = _ray(joined)

    def execute(source: Source, workers: int, run: Run = replicate) -> Outcomes:
        with _connected(ray, joined, workers):
            yield from run_on(RayCluster(ray), source, run, said)

    return execute


def _ray(joined: str) -> Any:
    """The package, which reads at its import that it is to report nothing, and for a cluster of this machine alone that
    the machine's address is the loopback one (as Ray does by itself on other systems). Who joins a cluster shows a
    token if there is one, as nodes do. Raises SettingError."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if not joined:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    elif {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise SettingError(MISSING) from None
    return ray


@contextmanager
def _connected(ray: Any, joined: str, workers: int) -> Iterator[None]:
    """Connected to the cluster while the block lasts; what was connected before stays so."""
    if ray.is_initialized():
        yield
        return
    try:
        if joined:
            _join(ray, joined)
        else:
            ray.init("local", num_cpus=workers, object_store_memory=STORE_BYTES, **SILENT)
    except Exception as error:
        raise SettingError(f"--on {joined or HERE}: {_line(error)}; is a cluster there, of the same Ray?") from None
    try:
        addresses = {node["NodeManagerAddress"] for node in ray.nodes()}
        if not joined and not addresses <= {"127.0.0.1", "::1"}:
            raise SettingError("--on ray: Ray was imported before and would listen on the network; import it later")
        yield
    finally:
        ray.shutdown()


def _join(ray: Any, address: str) -> None:
    """Seen: on a busy head the process that serves a newcomer does not start the first time."""
    for _ in range(TRIES - 1):
        try:
            ray.init(address)
        except ConnectionAbortedError:
            continue
        return
    ray.init(address)


class RayCluster:
    """A `Cluster` of Ray, to which this process is connected."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._run = ray.remote(num_cpus=1, max_retries=0)(_run)
        self._facts = ray.remote(num_cpus=0, max_retries=3)(_facts)
        errors = ray.exceptions
        self._process_died = (errors.WorkerCrashedError, errors.OutOfMemoryError)
        self._node_died = (errors.NodeDiedError, errors.ObjectLostError, errors.LocalRayletDiedError)

    def slots(self) -> int:
        """CPUs of the nodes that are alive."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def facts(self) -> Mapping[str, Facts | str]:
        """Of each node with a CPU."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        asked = {
            _name(node["NodeManagerHostname"], node["NodeID"]): self._facts.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        }
        return {name: self._answer(handle) for name, handle in asked.items()}

    def _answer(self, handle: Any) -> Facts | str:
        try:
            facts: Facts = self._ray.get(handle, timeout=ANSWER_S)
        except Exception as error:
            return f"nextone does not start there ({_line(error)})"
        return facts

    def put(self, data: bytes) -> Any:
        """Into the object store of this node, from which others copy it."""
        return self._ray.put(data)

    def submit(self, task: Movable, run: Run, parcels: Mapping[str, Parcel], facts: Facts) -> Any:
        """Wherever a CPU is free. Raises SettingError."""
        try:
            return self._run.remote(task, run, parcels, facts)
        except TypeError as error:
            raise SettingError(f"{task} cannot be sent to another machine: {_line(error)}") from None

    def first(self, handles: Iterable[Any]) -> tuple[Any, Any] | None:
        """As `Cluster` says."""
        ready, _ = self._ray.wait(list(handles), num_returns=1, timeout=WAIT_S)
        if not ready:
            return None
        try:
            return ready[0], self._ray.get(ready[0])
        except self._process_died:
            return ready[0], Lost.PROCESS
        except self._node_died:
            return ready[0], Lost.NODE
        except Exception as error:
            return ready[0], error

    def cancel(self, handles: Iterable[Any]) -> None:
        """End what is still running."""
        for handle in handles:
            self._ray.cancel(handle, force=True)


def _facts() -> Facts:
    """On a node."""
    return facts_here()


def _run(task: Movable, run: Run, parcels: Mapping[str, Parcel], facts: Facts) -> Any:
    """On a node, in a process that has one CPU."""
    import ray

    numba.set_num_threads(1)
    node = _name(socket.gethostname(), ray.get_runtime_context().get_node_id())
    return run_there(task, run, parcels, facts, ray.get, node)


def _name(host: str, node_id: str) -> str:
    """What a node is called; a machine may have several."""
    return f"{host} ({node_id[:6]})"


def _line(error: Exception) -> str:
    """The last line of a message, where Ray says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200] if lines else ''}"
