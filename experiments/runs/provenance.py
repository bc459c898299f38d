"""What a result was made of, so that it can be made again: the same record for every file, page and JSON object.

Versions of nextone and of the libraries that can move a result, digests of the files that scenarios and policies point
to, seed, window, engine and replications. Loads nothing of the compiled model.
"""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextone.policies.by_name import rule_file
from nextone.policies.names import (
    ENGINES,
    RULES,
    TFLITE_FOLDER,
    engine_of,
    folder_of,
    in_folder,
    is_rules,
    is_task,
    is_trained,
    own_file,
    shipped,
    split_name,
)
from nextone.policies.tasks import MODEL, RECORD, read_task
from nextone.policies.tasks import RULES as TASK_RULES
from nextone.sim.config import Scenario
from nextone.sim.data import __file__ as DATA
from nextone.sim.inputs.errors import UserError, short
from nextone.sim.inputs.scenario_paths import Digests, changes, file_digest, link_digests, pointed, with_paths
from nextone.sim.scenario import SettingError, scenario_toml
from nextone.version import SEMANTICS, __version__

from .arms import Arm
from .shipping import WEIGHTS

if TYPE_CHECKING:
    from nextone.policies.decisions.rule_file import RuleFile

LIBRARIES = ("numpy", "scipy", "numba", "llvmlite", "simpy", "pyarrow")
TRAINING = "training.safetensors"  # for going on with a training: no part of what is played
SHIPPED_DATA = "shipped data"
CEL = "common-expression-language"


def provenance(
    arms: Sequence[Arm], *, seed: int, replications: int, minutes: float | None, days: float | None, engine: str
) -> dict[str, Any]:
    """The record, ready for JSON; paths in it are absolute. replications: how many, from number 0.

    Raises TraceError or SettingError, as `inputs` does."""
    folder = os.getcwd()
    scenarios = [with_paths(arm.scenario, os.path.abspath) for arm in arms]
    policies = [in_folder(arm.policy, folder) for arm in arms if isinstance(arm.policy, str)]
    needed = folder_needed([arm.scenario for arm in arms], [str(arm.policy) for arm in arms])
    files = {_source(arm.policy): own_file(_source(arm.policy))[0] for arm in arms}
    own = {source: {os.path.basename(file): file_digest(Path(file))} for source, file in files.items() if file}
    return made_with(policies) | {
        "seed": seed, "replications": replications, "minutes": minutes, "days": days, "engine": engine,
        "folder": needed, "inputs": inputs(scenarios, policies) | own,
    }  # fmt: skip


def arms_record(arms: Sequence[Arm]) -> list[dict[str, str]]:
    """Label, policy and whole scenario of each arm, its paths absolute so that they are found from anywhere."""
    return [
        {
            "label": arm.label,
            "policy": arm.policy if isinstance(arm.policy, str) else _source(arm.policy),
            "scenario": scenario_toml(with_paths(arm.scenario, os.path.abspath), comments=False),
        }
        for arm in arms
    ]


def _source(policy: object) -> str:
    """Where a policy of the user's own comes from: `/.../mine.py:policy`, or its class."""
    return str(getattr(policy, "source", type(policy).__qualname__))


def made_with(policies: Iterable[str], home: str = "") -> dict[str, Any]:
    """Versions of what computes results under these policies. home: as of `inputs`."""
    names, played = list(LIBRARIES), _with_theirs(policies, home)
    trained = list(filter(is_trained, played))
    names += ["torch"] * bool(trained) + [CEL] * any(map(is_rules, played))
    names += sorted({ENGINES[engine] for name in trained if (engine := engine_of(name))})
    libraries = {"python": platform.python_version()} | {name: _version(name) for name in names}
    return {"version": __version__, "semantics": SEMANTICS, "libraries": libraries}


def inputs(scenarios: Iterable[Scenario], policies: Iterable[str], home: str = "") -> dict[str, dict[str, str]]:
    """Digests of all files that results depend on: {path of traces, name of a policy, ...: {file: digest}}.

    home: the folder that relative paths are relative to; the working folder if empty. Raises TraceError or SettingError
    for what is missing."""
    found: dict[str, dict[str, str]] = {SHIPPED_DATA: dict(_files(Path(DATA).parent, (".parquet",)))}
    for path in sorted({path for scenario in scenarios for path in pointed(scenario).values()}):
        found[path] = link_digests(os.path.join(home, path))
    played = _with_theirs(policies, home)
    found |= {name: {file.path.name: file_digest(file.path)} for name, file in _rule_files(played, home).items()}
    found |= {name: {RECORD: file_digest(Path(home, folder_of(name), RECORD))} for name in filter(is_task, played)}
    for name in dict.fromkeys(filter(is_trained, played)):
        folder = Path(home, folder_of(name)) if folder_of(name) else shipped(split_name(name)[0] or name)
        if not folder.is_dir():
            raise SettingError(f"policy {name[:200]!r}: no such folder; give one that holds a checkpoint")
        found[name] = {
            file: digest for file, digest in _files(folder, WEIGHTS)
            if engine_of(name) == "tflite" or not Path(file).parent.name.startswith(TFLITE_FOLDER)
        }  # fmt: skip
    return found


def _rule_files(policies: Iterable[str], home: str) -> "dict[str, RuleFile]":
    """The files of decision rules among the policies, by name. Raises UserError."""
    return {name: rule_file(name, home) for name in policies if is_rules(name)}


def _with_theirs(policies: Iterable[str], home: str) -> list[str]:
    """The policies, what tasks hold, and the policies that files of rules name."""
    found = []
    for name in policies:
        found.append(name)
        if is_rules(name):
            found += rule_file(name, home).policies
        elif is_task(name):
            found += _parts(name, home)
    return found


def _parts(name: str, home: str) -> Iterator[str]:
    """The names of what a task holds. Raises UserError."""
    folder = folder_of(name)
    task = read_task(Path(home, folder))
    if task.model:
        yield f"{task.model}:{folder}/{MODEL}" + (f"@{task.how}" if task.how else "")
    if task.has_rules:
        rules = f"{RULES}:{folder}/{TASK_RULES}"
        yield rules
        yield from (each for each in rule_file(rules, home).policies if split_name(each)[0] != task.model)


def read_measurements(scenarios: Iterable[Scenario]) -> list[str]:
    """Read each measured link that the scenarios point to, once, so that the user learns of a bad file before anything
    is run.

    Returns what was converted and what was passed over, a line each. Raises TraceError."""
    networks = [scenario.network for scenario in scenarios]
    traces = {(n.traces, n.link_columns) for n in networks if n.traces}
    rtt = {(n.rtt, n.link_columns) for n in networks if n.rtt}
    notices: list[str] = []
    if traces or rtt:
        from nextone.sim.inputs.trace_files import pings_in, read_links, traces_in  # late: most scenarios have none

        for path, columns in sorted(traces | rtt):
            links = read_links(path, columns)
            if (path, columns) in traces:
                traces_in(links, path)
            if (path, columns) in rtt:
                pings_in(links, path)
            notices += (f"links of {path}: {line}" for line in links.notices())
    return notices


def folder_needed(scenarios: Iterable[Scenario], policies: Iterable[str]) -> str:
    """The working folder, if a path of these scenarios or policies is relative to it; else empty."""
    paths = [path for scenario in scenarios for path in pointed(scenario).values()]
    paths += [folder for name in policies if (folder := folder_of(name))]
    return os.getcwd() if any(not os.path.isabs(path) for path in paths) else ""


def placed(arm: Arm, home: str) -> Arm:
    """The arm with its relative paths taken as relative to `home`; as it is if that is empty."""
    if not home:
        return arm
    policy = in_folder(arm.policy, home) if isinstance(arm.policy, str) else arm.policy
    return Arm(arm.label, policy, with_paths(arm.scenario, lambda path: os.path.join(home, path)))


def check_same(then: Mapping[str, Any], now: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raises SettingError that names the first difference between two records of versions and inputs."""
    for wrong in differing(then, now):
        raise SettingError(f"{where}: {wrong}; {remedy}")


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What two records of `made_with` and `inputs` say differently, one line for each difference."""
    for name in ("version", "semantics"):
        if then.get(name) != now[name]:
            yield f"nextone: {name} {then.get(name)} then, {now[name]} now"
    old = then.get("libraries", {})
    for name, number in now["libraries"].items():
        if old.get(name) != number:
            yield f"{name}: version {old.get(name)} then, {number} now"
    held: Digests = then.get("inputs", {})
    yield from (f"{change} since" for change in changes(held, now["inputs"]))


def of_another_version(what: str, where: Path, made: Mapping[str, Any], reason: str) -> SettingError:
    """What to raise for a result that another version of nextone wrote and this one cannot read.

    what: it is, such as "a sweep"; where: its file or folder; made: a record with "version" and, unless it is too old,
    "semantics"; reason: why it cannot be read."""
    writer, mine = _words_of(made), _words_of({"version": __version__, "semantics": SEMANTICS})
    return SettingError(
        f"{str(where)[:200]!r} holds {what} made by {writer}, and this is {mine}: {reason}; open it with the version "
        "that made it, or make it again with this one"
    )


def check_world(what: str, where: Path, made: Mapping[str, Any]) -> None:
    """Raises SettingError for a result from another simulated world: what this version says about metrics, settings and
    assumptions is not true of it. Arguments as of `of_another_version`."""
    if made.get("semantics", SEMANTICS) != SEMANTICS:
        raise of_another_version(what, where, made, "its simulated world is another one")


def read_told(file: Path, what: str, command: str) -> dict[str, Any]:
    """The JSON that `command` saved of a result, of this version's world. what: it is, such as "an A/B test". Raises
    SettingError, one line."""
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        check_world(what, file.parent, told["provenance"])
        return told
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(
            f"{short(repr(str(file)), 200)} cannot be read ({short(error)}); write it again with {command} --out"
        ) from None


@contextmanager
def understood(what: str, where: Path, made: Mapping[str, Any]) -> Iterator[None]:
    """A block that reads what a sound file says. What it does not find there, or does not know, another version wrote:
    raises SettingError. Arguments as of `of_another_version`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError) and not isinstance(error, SettingError):
            raise  # about something else that it needs, such as a checkpoint that is gone
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        if isinstance(error, SettingError):
            reason = reason.partition(";")[0]  # what to do about a setting of one's own does not help here
        raise of_another_version(what, where, made, reason[:200]) from None


def _words_of(made: Mapping[str, Any]) -> str:
    semantics = f" (semantics {made['semantics']})" if "semantics" in made else ""
    return f"nextone {str(made.get('version', 'of an unknown version'))[:40]}{semantics}"


def _files(folder: Path, kinds: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(path within the folder, digest) of its files of these kinds, at any depth."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in kinds and file.name != TRAINING and file.is_file():
            yield file.relative_to(folder).as_posix(), file_digest(file)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
