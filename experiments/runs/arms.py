"""What is run: an arm is a policy in a scenario, a task is one replication of it. Comparisons and sweeps share these.

Loads nothing of the compiled model, so that whatever is wrong with a question is told at once.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

from .names import has_folder, is_edge, resolve_policy, unquoted
from .shipping import Place, moved_policy, moved_scenario
from .statistics import require_replications

if TYPE_CHECKING:
    from nextone.policies.contract import PolicyLike

BASELINE_POLICY = "cloud_only"
MAX_REPLICATIONS = 10_000
MAX_WORKERS = 1_024  # processes
FRESH = 1_000_000
"""The first of the replications that re-estimate what was chosen for being best; nothing else uses them."""
Engine = Literal["event", "batch"]
Servers = Literal["own", "same"]
"""What `server.workers = 0` becomes: what each arm or cell needs, or for all what the first does."""
Progress = Callable[[int, int], None]
PolicyOf = Callable[[str, Scenario], "str | PolicyLike"]


@dataclass(frozen=True)
class Arm:
    """One design of a comparison: a label, a policy (a name, or an object of your own) and its scenario."""

    label: str
    policy: "str | PolicyLike"
    scenario: Scenario


@dataclass(frozen=True)
class Task:
    """One arm in one replication: everything that its result depends on."""

    arm: Arm
    seed: int
    replication: int
    minutes: float | None
    days: float | None
    engine: Engine

    def moved(self, place: Place) -> "Task":
        """The same task, with traces and checkpoints from another place."""
        arm = self.arm
        there = replace(arm, policy=moved_policy(arm.policy, place), scenario=moved_scenario(arm.scenario, place))
        return replace(self, arm=there)

    def __str__(self) -> str:
        return f"arm {self.arm.label!r}, replication {self.replication}, seed {self.seed}"


def parse_arm(text: str, base: Scenario, policy_of: "PolicyOf" = resolve_policy) -> Arm:
    """An arm from text. `small=cloud_only server.page_size=2` is a label, a policy, and settings that differ from the
    base.

    The folder of a policy may contain spaces if it stands in quotes, or if there is a folder of that name. policy_of:
    makes a policy from its name; `own_or_named` for text that the user typed. Raises SettingError."""
    first, *settings = words(text)
    label, equals, policy = first.partition("=")
    spaced = re.split(r"\s+(?=\w+\.\w+\s*=)", text.strip().removeprefix(f"{label}="), maxsplit=1)
    if has_folder(spaced[0]):
        policy, settings = spaced[0], words(spaced[1]) if spaced[1:] else []
    policy = unquoted(policy)
    if not equals or not re.fullmatch(r"[\w.+-]{1,40}", label):
        raise SettingError(
            f"arm {text[:60]!r} must read 'label=policy section.field=value ...', the label 1 to 40 letters, digits "
            "or . + - _; for example 'small=cloud_only server.page_size=2'"
        )
    try:
        world = with_settings(base, settings)
        return Arm(label, policy_of(policy, world), world)
    except SettingError as error:
        raise SettingError(f"arm {label!r}: {error}") from None


def words(text: str) -> list[str]:
    """Split at spaces, but not within brackets or quotes, so that `a.b=[1, 2]` stays one word."""
    return re.findall(r"(?:\[[^\]]*\]|\"[^\"]*\"|'[^']*'|\S)+", text) or [""]


def check_run(
    *,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Raises TooFewReplications or SettingError for a run that cannot or must not be made."""
    require_replications(replications)
    if replications > MAX_REPLICATIONS:
        raise SettingError(f"replications={replications} must be <= {MAX_REPLICATIONS}; intervals shrink with its root")
    if minutes is not None and days is not None:
        raise SettingError("minutes and days are both given; give one window")
    for name, value, most in (("minutes", minutes, 1440.0), ("days", days, 366.0)):
        if value is not None and not 0 < value <= most:
            raise SettingError(f"{name}={value:g} must be > 0 and <= {most:g}; the default is 60 minutes")
    if not 0 <= seed < 2**63:
        raise SettingError(f"seed={seed} must be >= 0 and < 2**63; any such number will do")
    if not 1 <= workers <= MAX_WORKERS:
        raise SettingError(
            f"workers={workers} must be >= 1 and <= {MAX_WORKERS}; processes to use, at most one per core helps"
        )


def window_words(minutes: float | None, days: float | None) -> str:
    """`60 min` or `2 days`, for titles."""
    return f"{minutes:g} min" if days is None else f"{days:g} day{'' if days == 1 else 's'}"


def with_the_same_servers(arms: Sequence[Arm], minutes: float | None, days: float | None) -> list[Arm]:
    """The arms, where each that leaves `server.workers` at 0 gets the number that suits the first."""
    count = workers_needed(arms[0].scenario, arms[0].policy, minutes, days)
    return [replace(arm, scenario=staffed(arm.scenario, count)) for arm in arms]


def workers_needed(scenario: Scenario, policy: "str | PolicyLike", minutes: float | None, days: float | None) -> int:
    """How many workers the scenario has under a policy, or needs where it leaves their number open."""
    return scenario.with_workers(minutes, days, is_edge(policy)).server.workers


def staffed(scenario: Scenario, workers: int) -> Scenario:
    """The scenario with so many workers where it leaves their number open; 0 leaves it open."""
    if scenario.server.workers or not workers:
        return scenario
    return with_settings(scenario, [f"server.workers={workers}"])
