"""The one place where a name becomes a policy."""

from pathlib import Path
from typing import TYPE_CHECKING

from .names import BARE, CLOUD_ONLY, NAMES, RL, UnknownPolicy, is_trained, shipped, split_name, unknown_name

if TYPE_CHECKING:
    from nextone.sim.config import Scenario

    from .contract import Policy


def make_policy(
    name: str, scenario: "Scenario | None" = None, objective: tuple[float, ...] | None = None
) -> "Policy | None":
    """The policy of that name, or `KIND:DIR`; None for `cloud_only`, which is never asked.

    scenario: the world it is for; an `rl:DIR` that was trained in another world is refused, and `...@tflite` without
    files for the scenario's sizes. objective: by which edge networks rank, see `load_edge`.

    Raises UnknownPolicy, CheckpointError, EngineMissing."""
    if is_trained(name):  # late imports: only these need torch
        if name == RL or name.startswith(f"{RL}:"):
            from .rl import load_rl

            return load_rl(shipped(RL)) if name == RL else load_rl(name.removeprefix(f"{RL}:"), scenario)
        from .phone.loading import load_edge

        kind, folder, how = split_name(name)
        return load_edge(kind, Path(folder) if folder else shipped(kind), how, scenario, objective)
    from . import rules  # late: names alone must not wait for numba
    from .contract import as_policy

    if name == CLOUD_ONLY:
        return None
    if name not in NAMES:
        raise UnknownPolicy(unknown_name(name, (*NAMES, *BARE)))
    return as_policy(rules.at_random if name == "random" else getattr(rules, name))
