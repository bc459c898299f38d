"""Which policies a run may name; known without loading the compiled model, so that a wrong name is told at once."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nextone.policies.by_name import make_policy
from nextone.policies.names import (
    BARE,
    CLOUD_ONLY,
    KINDS,
    RULES,
    EngineMissing,
    folder_of,
    in_folder,
    is_made,
    is_rules,
    options_told,
    own_file,
    policy_names,
    shipped_rules,
    unknown_name,
)
from nextone.sim.config import FREE, Cost
from nextone.sim.scenario import SettingError, nearest

if TYPE_CHECKING:
    from nextone.policies.contract import PolicyLike
    from nextone.sim.config import Scenario

ORACLE, ORACLE_INTENT = "oracle_greedy", "oracle_intent"
CLOUD_FILTER, REFERENCE_FILTER = "cloud_filter", "reference_filter"
REFERENCES = (ORACLE, ORACLE_INTENT, CLOUD_FILTER, REFERENCE_FILTER)
"""How far a policy could get, with and without what no phone knows; see `oracle.py`."""


MEANINGS = {
    CLOUD_ONLY: "shows the page in server order; the baseline",
    "server_score": "the server's own score on the phone: what it costs to ship and rank candidates, nothing else",
    "tag_momentum": "the server's predicted rates, corrected per tag by what this person just enjoyed or skipped",
    "buffered_first": "never picks what would stall if a near-equal is preloaded",
    "random": "a control that chooses at random: must not win",
    "longest_first": "a control that chooses the longest video: must not win",
    CLOUD_FILTER: "a reference: the cloud's filter, fed with what the phone has just seen, used as the cloud uses it",
    REFERENCE_FILTER: "a reference: the same filter, used in full",
    ORACLE_INTENT: "a reference that no phone can be: told the passing interests",
    ORACLE: "a reference that no phone can be: told how likely the person stays with each candidate",
    "edgerec": "the edge model of Taobao, shipped checkpoint; edgerec:DIR plays one of your own",
    "kir": "the edge model of Kuaishou, shipped checkpoint; kir:DIR plays one of your own",
    "context_aware": "reranks with a look at what comes before, shipped checkpoint; context_aware:DIR is your own",
    "dnn:DIR": "a plain ranking network that nextone train dnn trained",
    "dlcm:DIR": "a listwise reranker that nextone train dlcm trained",
    "rl": "a policy that reinforcement learning trained, shipped checkpoint of the default scenario",
    "rl:DIR": "what nextone train rl trained, for the scenario that it was trained in",
    "task:DIR": "a network and rules that nextone task pack put together",
    "rules:FILE.toml": "decision rules of a file: when the phone reranks, asks for a page, or holds still",
}
"""What each policy does, in words: `nextone list policies`."""


def decider_names() -> tuple[str, ...]:
    """The policies that need no training, and the references."""
    return (*policy_names(), *REFERENCES)


def is_decider(name: str) -> bool:
    """Whether `make_decider` may know the name: a policy's, or that of a checkpoint, decision rules or a task."""
    return name in decider_names() or is_made(name)


def listed(text: str) -> list[str]:
    """The policies of a comma-separated list.

    A name with commas or spaces in its folder may stand in quotes. Without them, a comma belongs to a name if there is
    a folder of that name, and either none of the name before the comma, or no policy called what follows it."""
    pieces = re.findall(r"(?:\"[^\"]*\"|'[^']*'|[^,])+", text)
    names: list[str] = []
    while pieces:
        joined = [",".join(pieces[:n]).strip() for n in range(1, len(pieces) + 1)]
        apart = next((n for n, piece in enumerate(pieces) if n and is_decider(piece.strip())), len(pieces))
        most = apart if has_folder(joined[0]) else len(pieces)
        taken = next((n for n in range(most, 1, -1) if has_folder(joined[n - 1])), 1)
        names.append(unquoted(joined[taken - 1]))
        pieces = pieces[taken:]
    return list(filter(None, names))


def listing(names: Iterable[str]) -> str:
    """The names as a text that `listed` reads."""
    return ",".join(map(quoted, names))


def quoted(name: str) -> str:
    """A name as lists and arms read it: in quotes if it has a comma, a space or a quote."""
    mark = "'" if '"' in name else '"'
    return f"{mark}{name}{mark}" if re.search(r"[,\s\"']", name) else name


def unquoted(text: str) -> str:
    """A name without the quotes around it or a part of it; unchanged if there is a folder of that very name."""
    return text if has_folder(text) else re.sub(r"\"([^\"]*)\"|'([^']*)'", r"\1\2", text)


def has_folder(name: str) -> bool:
    """Whether a name gives a folder, or a file of rules, that exists."""
    there = os.path.isfile if is_rules(name) else os.path.isdir
    return bool(folder_of(name)) and there(folder_of(name))


def policy_beside(name: str, folder: Path) -> str:
    """The policy's name, as seen from the working folder, that stands in a file in `folder`: what it is read from lies
    there, or, where nothing is there, in the working folder."""
    near = in_folder(name, str(folder))
    return near if has_folder(near) else name


def is_edge(policy: "str | PolicyLike") -> bool:
    """Whether the phone ranks: any policy but `cloud_only`."""
    return policy != CLOUD_ONLY


def phone_cost(policy: "str | PolicyLike") -> Cost:
    """What a policy costs the phones on which it ranks: time and bytes. Rules and references cost nothing.

    Raises ValueError if an option of the policy is wrong, CheckpointError or UserError if the checkpoint or the rules
    of that name cannot be loaded."""
    if isinstance(policy, str):
        made = make_policy(policy) if is_made(policy) else None
        return FREE if made is None else phone_cost(made)
    from nextone.policies.contract import cost_of  # late: names alone must not wait for numba

    return cost_of(policy)


def check_name(name: str) -> str:
    """The name itself. Raises SettingError with the nearest one if no policy can have it; loads nothing."""
    if not is_decider(name):
        kind = re.split("[@:]", name, maxsplit=1)[0]
        if kind in KINDS and "@" in name:
            raise SettingError(f"policy {name[:60]!r}: after @ say {options_told(kind)}; each once")
        if own_file(name)[0]:
            raise SettingError(unknown_name(name, ()))
        if name.startswith(f"{RULES}:"):
            rule = "must be a file of rules that ends in .toml, or rules of nextone"
            raise SettingError(f"policy {name[:60]!r}: {rule}{nearest(name, shipped_rules())}")
        raise SettingError(f"unknown policy {name[:60]!r}{nearest(name, (*decider_names(), *BARE))}")
    return name


def resolve_policy(name: str, scenario: "Scenario") -> str:
    """The policy of that name; the one place where names are looked up.

    Raises SettingError with the nearest name, CheckpointError if the folder after a colon holds no checkpoint that
    fits, UserError if the file after it holds no rules."""
    if is_made(check_name(name)):
        try:
            make_policy(name, scenario)
        except EngineMissing as error:
            raise SettingError(f"policy {name[:60]!r}: {error}") from None
    return name


def own_or_named(name: str, scenario: "Scenario") -> "str | PolicyLike":
    """As `resolve_policy`, and `FILE.py:NAME` as well, which runs that file: only for a name that the user typed or
    wrote in a program, never for one that was read from a file."""
    if not own_file(name)[0]:
        return resolve_policy(name, scenario)
    from nextone.policies.from_file import FilePolicy  # late: names alone must not wait for numba

    return FilePolicy(name)
