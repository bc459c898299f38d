"""Which policies a run may name; known without loading the compiled model, so that a wrong name is told at once."""

from typing import TYPE_CHECKING

from nextone.policies.names import CLOUD_ONLY, TRAINED, make_policy, policy_names
from nextone.sim.scenario import SettingError, nearest

if TYPE_CHECKING:
    from nextone.policies.base import PolicyLike
    from nextone.sim.config import Scenario

ORACLE = "oracle_greedy"


def decider_names() -> tuple[str, ...]:
    """Every name `make_decider` knows: the policies, and the oracle as a reference."""
    return (*policy_names(), ORACLE)


def is_decider(name: str) -> bool:
    """Whether `make_decider` may know it: one of the names, or `rl:` and a folder."""
    return name in decider_names() or name.startswith(TRAINED)


def is_edge(policy: "str | PolicyLike") -> bool:
    """Whether the phone ranks: any policy but `cloud_only`."""
    return policy != CLOUD_ONLY


def resolve_policy(name: str, scenario: "Scenario") -> str:
    """The policy of that name; the one place where names are looked up.

    Raises SettingError with the nearest name, CheckpointError if `rl:DIR` holds none for this scenario."""
    if not is_decider(name):
        raise SettingError(f"unknown policy {name[:60]!r}{nearest(name, decider_names())}")
    if name.startswith(TRAINED):
        make_policy(name, scenario)
    return name
