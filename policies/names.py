"""Policies by name: the one place where a name becomes a policy."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextone.sim.config import Scenario

    from .base import Policy

CLOUD_ONLY = "cloud_only"
NAMES = (CLOUD_ONLY, "server_score", "tag_momentum", "buffered_first", "random", "longest_first")
MODELS = ("edgerec", "kir", "context_aware")
"""Networks that phones download; before a colon and the folder of a checkpoint of one's own."""
TRAINED = "rl:"
"""Before the folder of a checkpoint: `rl:results/rl`."""


class UnknownPolicy(ValueError):
    """No policy has that name; the message suggests the nearest."""


def policy_names() -> tuple[str, ...]:
    """Every name `make_policy` knows, the baseline first."""
    return NAMES


def make_policy(name: str, scenario: "Scenario | None" = None) -> "Policy | None":
    """The policy of that name, or `rl:DIR`; None for `cloud_only`, which is never asked.

    scenario: the world it is for; what was trained in another is refused. Raises UnknownPolicy, CheckpointError."""
    if name.startswith(TRAINED):
        from .rl import load_rl  # late: only this needs torch

        return load_rl(Path(name.removeprefix(TRAINED)), scenario)
    from . import rules  # late: names alone must not wait for numba
    from .base import as_policy

    if name == CLOUD_ONLY:
        return None
    if name not in NAMES:
        raise UnknownPolicy(unknown_name(name, NAMES))
    return as_policy(rules.at_random if name == "random" else getattr(rules, name))


def unknown_name(name: str, known: tuple[str, ...]) -> str:
    """A line that names the nearest known name, or all of them."""
    close = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
    return f"unknown policy {name[:60]!r}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
