"""Tasks on the machines of a cluster: the same versions everywhere, inputs by digest, and a second try for a task whose
process was killed. `on_ray.py` says what a cluster is; tests have one without machines.
"""

import hashlib
import importlib.metadata
import platform
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nextone.policies.names import shipped
from nextone.sim.data import __file__ as DATA
from nextone.sim.engine.sources import package_files
from nextone.sim.scenario import SettingError
from nextone.version import __version__

from .executor import AHEAD, DIED, Failed, Outcomes, Run, RunFailed, Source, outcome_of
from .provenance import LIBRARIES
from .shipping import Movable, Parcel, Sender, in_its_own_words, placed

PACKAGES = (*LIBRARIES, "torch")
"""Besides our own code and Python, what the bits of a result may depend on."""
KILLS = 2  # a task that has ended so many processes fails
NO_NODE = "no node with a CPU is left in the cluster; start one, and go on with --resume where there is a folder"


class Lost(Enum):
    """Why there is no outcome of a task."""

    PROCESS = "its process was killed"
    NODE = "its node is gone, or the node that held its result"


class Facts(NamedTuple):
    """What the bits of a result may depend on, of one machine."""

    versions: dict[str, str]  # by package; "nextone's files": a digest of sources and weights
    processor: str


class Differs(NamedTuple):
    """Returned instead of an outcome: a machine has other versions. in_what: as `differences` words it."""

    node: str
    in_what: str


class Cluster(Protocol):
    """What is needed of a cluster. What a handle is, only the cluster knows."""

    def slots(self) -> int:
        """How many tasks can run at a time, now."""
        ...

    def facts(self) -> Mapping[str, Facts | str]:
        """By the name of each node that has a CPU: its `facts_here()`, or why it cannot say."""
        ...

    def put(self, data: bytes) -> Any:
        """Keep bytes where every node can fetch them; a handle."""
        ...

    def submit(self, task: Movable, run: Run, parcels: Mapping[str, Parcel], facts: Facts) -> Any:
        """Have `run_there` called with these on some node; a handle."""
        ...

    def first(self, handles: Iterable[Any]) -> tuple[Any, Any] | None:
        """Wait for one of these; its handle, and what `run_there` returned, the error that kept it from returning, or
        Lost. None from time to time while there is none."""
        ...

    def cancel(self, handles: Iterable[Any]) -> None:
        """End these, as far as they still run."""
        ...


@cache
def facts_here() -> Facts:
    """The facts of this machine, as this process first found them."""
    versions = {"nextone": __version__, "nextone's files": _files_digest(), "python": platform.python_version()}
    return Facts(versions | {name: importlib.metadata.version(name) for name in PACKAGES}, processor())


def _files_digest() -> str:
    """Of the bytes of our own sources, and of the weights and data that come with them."""
    files = package_files()
    for folder in (shipped(""), Path(DATA).parent):
        files |= {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*") if path.suffix != ".pyc"}
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def processor() -> str:
    """The processor's model, as Linux calls it, and the kind of machine."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


def differences(mine: Facts, theirs: Facts) -> str:
    """`numpy 2.3.0 (here 2.4.1), ...`; empty if all versions are the same."""
    both = ((name, theirs.versions.get(name, "none"), version) for name, version in mine.versions.items())
    return ", ".join(f"{name} {there} (here {version})" for name, there, version in both if there != version)


def check_nodes(mine: Facts, nodes: Mapping[str, Facts | str]) -> str:
    """Raises SettingError if a node has other versions than this machine. Returns one line on nodes with another
    processor, empty if there are none."""
    if not nodes:
        raise SettingError("the cluster has no node with a CPU; start one: ray start --address=HEAD:6379")
    wrong = {name: there if isinstance(there, str) else differences(mine, there) for name, there in nodes.items()}
    if any(wrong.values()):
        raise other_versions({name: what for name, what in wrong.items() if what})
    others = [f"{name} {there.processor}" for name, there in nodes.items()
              if isinstance(there, Facts) and there.processor != mine.processor]  # fmt: skip
    if not others:
        return ""
    return f"other processors than here ({mine.processor}), so that last digits may differ: {'; '.join(others)}"


def other_versions(wrong: Mapping[str, str]) -> SettingError:
    """The error for nodes with other versions. wrong: by node, in what it differs."""
    nodes = "; ".join(f"node {name}: {what}" for name, what in wrong.items())
    return SettingError(f"results would not be the same everywhere; install the versions that are here on {nodes}")


def run_there(
    task: Movable, run: Run, parcels: Mapping[str, Parcel], facts: Facts, fetch: Callable[[Any], bytes], node: str
) -> Any:
    """On a node: run a task with copies from the cache in place of its paths; returns its outcome, or Differs if a node
    that came late has other versions than `facts`. fetch(handle) -> bytes."""
    in_what = differences(facts, facts_here())
    if in_what:
        return Differs(node, in_what)
    places = {path: placed(parcel, fetch) for path, parcel in parcels.items()}
    outcome = outcome_of(task.moved(lambda path, reads: places.get(path, path)), run)
    if not isinstance(outcome, Failed):
        return outcome
    error = outcome.error
    if error is not None:
        error.args = tuple(in_its_own_words(str(part), places) for part in error.args)
    return Failed(in_its_own_words(outcome.reason, places), error, outcome.trace)


def run_on(cluster: Cluster, source: Source, run: Run, said: Callable[[str], None]) -> Outcomes:
    """Run tasks on a cluster, as `executor.Execute` says. The tasks of a node that is lost are tried again; a task
    whose process is killed twice has failed. said: called with a line on processors that differ.

    Raises SettingError for other versions, RunFailed if no node is left."""
    mine, sender = facts_here(), Sender(cluster.put)
    line = check_nodes(mine, cluster.facts())
    if line:
        said(line)
    again = deque[tuple[Movable, int]]()
    out: dict[Any, tuple[Movable, int]] = {}
    try:
        while True:
            most = AHEAD * cluster.slots()
            while len(out) < most and (asked := again.popleft() if again else _first_try(source())):
                parcels = outcome_of(asked[0], sender.parcels)
                if isinstance(parcels, Failed):
                    yield asked[0], parcels
                else:
                    out[cluster.submit(asked[0], run, parcels, mine)] = asked
            if not out and (again or not most):
                raise RunFailed(NO_NODE)
            if not out:
                return
            found = cluster.first(out)
            if found is None:
                if not most:
                    raise RunFailed(NO_NODE)
                continue
            handle, outcome = found
            task, kills = out.pop(handle)
            if isinstance(outcome, Differs):
                raise other_versions({outcome.node: outcome.in_what})
            if outcome is Lost.NODE:
                again.append((task, kills))
            elif outcome is Lost.PROCESS and kills + 1 < KILLS:
                again.append((task, kills + 1))
            elif outcome is Lost.PROCESS:
                yield task, Failed(f"{task}: {DIED}")
            elif isinstance(outcome, Exception):
                yield task, Failed(f"{task}: {type(outcome).__name__}: {outcome}")
            else:
                yield task, outcome
    finally:
        cluster.cancel(out)


def _first_try(task: Movable | None) -> tuple[Movable, int] | None:
    return None if task is None else (task, 0)
