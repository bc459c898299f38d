"""Policies by name: the one place where a name becomes a policy."""

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nextone.sim.inputs.errors import UserError

if TYPE_CHECKING:
    from nextone.sim.config import Scenario

    from .contract import Policy

CLOUD_ONLY = "cloud_only"
NAMES = (CLOUD_ONLY, "server_score", "tag_momentum", "buffered_first", "random", "longest_first")
SHIPPED = ("edgerec", "kir", "context_aware")
"""Edge networks whose checkpoint comes with the package: a bare name plays it."""
KINDS = (*SHIPPED, "dnn", "dlcm")
"""Networks of `nextone train KIND`; `edgerec:results/edgerec` plays a checkpoint of one's own."""


class EngineMissing(UserError):
    """The packages of the extra `edge` are not installed."""


class UnknownPolicy(ValueError):
    """No policy has that name; the message suggests the nearest."""


def policy_names() -> tuple[str, ...]:
    """The baseline, and policies that need no training."""
    return NAMES


def is_trained(name: str) -> bool:
    """Whether it stands for a checkpoint: `edgerec`, `edgerec:DIR`, `rl:DIR`."""
    return name.startswith("rl:") or split_name(name)[0] in KINDS


def split_name(name: str) -> tuple[str, str, str]:
    """(kind, folder, how) of `kir:results/kir@mnn`: what is missing is empty.

    how: "onnx" or "mnn", an engine to run it; "k=3", beams of the context-aware search."""
    base, at, how = name.rpartition("@")
    if not at or not re.fullmatch(r"onnx|mnn|k=[1-9]\d?", how):
        base, how = name, ""
    kind, colon, folder = base.partition(":")
    whole = (colon and folder) or (not colon and kind in SHIPPED)
    fits = not how.startswith("k=") or kind == "context_aware"
    return (kind, folder, how) if kind in KINDS and whole and fits else ("", "", "")


def make_policy(name: str, scenario: "Scenario | None" = None) -> "Policy | None":
    """The policy of that name, or `KIND:DIR`; None for `cloud_only`, which is never asked.

    scenario: the world it is for; an `rl:` policy that was trained in another is refused. Raises UnknownPolicy,
    CheckpointError."""
    if is_trained(name):  # late imports: only these need torch
        if name.startswith("rl:"):
            from .rl import load_rl

            return load_rl(Path(name.removeprefix("rl:")), scenario)
        from nextone.policies.phone.policies import load_edge, shipped

        kind, folder, how = split_name(name)
        return load_edge(kind, Path(folder) if folder else shipped(kind), scenario, how)
    from . import rules  # late: names alone must not wait for numba
    from .contract import as_policy

    if name == CLOUD_ONLY:
        return None
    if name not in NAMES:
        raise UnknownPolicy(unknown_name(name, (*NAMES, *SHIPPED)))
    return as_policy(rules.at_random if name == "random" else getattr(rules, name))


def unknown_name(name: str, known: tuple[str, ...]) -> str:
    """A line that names the nearest known name, or all of them."""
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
    return f"unknown policy {name[:60]!r}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
