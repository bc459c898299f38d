"""The one place where a name becomes a policy."""

from pathlib import Path
from typing import TYPE_CHECKING

from nextone.sim.inputs.errors import fail

from .names import (
    BARE,
    CLOUD_ONLY,
    NAMES,
    RL,
    RULES,
    UnknownPolicy,
    folder_of,
    is_rules,
    is_task,
    is_trained,
    rules_path,
    shipped,
    split_name,
    unknown_name,
)
from .tasks import MODEL, read_task
from .tasks import RULES as TASK_RULES

if TYPE_CHECKING:
    from nextone.sim.config import Scenario

    from .contract import Policy
    from .decisions.rule_file import RuleFile
    from .tasks import Task


def make_policy(
    name: str, scenario: "Scenario | None" = None, objective: tuple[float, ...] | None = None
) -> "Policy | None":
    """The policy of that name, `KIND:DIR`, `rules:FILE.toml`, `task:DIR`; None for `cloud_only`, never asked.

    scenario: the world it is for; an `rl:DIR` that was trained in another world is refused, and `...@tflite` without
    files for the scenario's sizes. objective: by which edge networks rank, see `load_edge`.

    Raises UnknownPolicy, CheckpointError, EngineMissing, UserError for a file of rules."""
    if is_trained(name):  # late imports: only these need torch
        if name == RL or name.startswith(f"{RL}:"):
            from .rl import load_rl

            return load_rl(shipped(RL)) if name == RL else load_rl(name.removeprefix(f"{RL}:"), scenario)
        from .phone.loading import load_edge

        kind, folder, how = split_name(name)
        return load_edge(kind, Path(folder) if folder else shipped(kind), how, scenario, objective)
    if is_rules(name):
        return _rules_policy(name, scenario, objective)
    if is_task(name):
        return _task_policy(Path(folder_of(name)), name, scenario, objective)
    from . import rules  # late: names alone must not wait for numba
    from .contract import as_policy

    if name == CLOUD_ONLY:
        return None
    if name not in NAMES:
        raise UnknownPolicy(unknown_name(name, (*NAMES, *BARE)))
    return as_policy(rules.at_random if name == "random" else getattr(rules, name))


def rule_file(name: str, home: str = "") -> "RuleFile":
    """The file of rules of that name. home: the folder that a relative path is relative to; the working folder if
    empty. Raises UserError."""
    from .decisions.rule_file import read_rules  # late: names alone must not wait for numba

    return read_rules(Path(home, rules_path(name)))


def _rules_policy(name: str, scenario: "Scenario | None", objective: tuple[float, ...] | None) -> "Policy":
    """Decision rules, with the policies that their file names."""
    file = rule_file(name)
    from .decisions.policy import RulesPolicy

    made = {each: make_policy(each, scenario, objective) for each in file.policies}
    return RulesPolicy(file, name, {each: policy for each, policy in made.items() if policy is not None})


def _task_policy(
    folder: Path, name: str, scenario: "Scenario | None", objective: tuple[float, ...] | None
) -> "Policy":
    """A task's network, or its rules, in which the task's network stands for those of its kind."""
    task, made = read_task(folder), dict[str, "Policy"]()
    network = _network(task, scenario, objective) if task.model else None
    if not task.has_rules:
        assert network is not None
        return network
    file = rule_file(f"{RULES}:{folder / TASK_RULES}")
    for each in file.policies:
        kind = split_name(each)[0]
        if kind and kind != task.model:
            fail(file.path, f"ranks by {each}, and the task holds {task.model or 'no network'}; pack both together")
        if kind and each != kind:
            fail(file.path, f"by={each!r}: write {kind!r}; the options of a task's network stand in its task.toml")
        policy = network if kind else make_policy(each, scenario, objective)
        if policy is not None:
            made[each] = policy
    from .decisions.policy import RulesPolicy

    return RulesPolicy(file, name, made)


def _network(task: "Task", scenario: "Scenario | None", objective: tuple[float, ...] | None) -> "Policy":
    from .contract import options_of
    from .phone.loading import load_edge

    network = load_edge(task.model, task.folder / MODEL, task.how, scenario, objective)
    if task.has_rules and options_of(network).in_place is None and network.start(1) is not None:
        fail(task.folder, f"{task.model} on an engine remembers people, which rules cannot ask; leave the engine out")
    return network
