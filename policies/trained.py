"""What a checkpoint must say of itself before a policy is made of it: the table of features, and the scenario.

Called by `policies/rl.py`, `policies/networks/loading.py` and the training code.
"""

import hashlib
import tomllib
from collections.abc import Iterator
from typing import Any

from nextone.envs.features import feature_table_markdown
from nextone.sim.config import Scenario
from nextone.sim.scenario import MAX_LINE, scenario_toml

from .checkpoint import Checkpoint, CheckpointError

FREE = {("population", "users"), ("server", "workers")}  # fields in which a world may differ from the one trained in


def features_hash() -> str:
    """A hash of the table of features: a network fits only the table on which it was trained."""
    return hashlib.sha256(feature_table_markdown().encode()).hexdigest()


def check_features(checkpoint: Checkpoint) -> None:
    """Raises CheckpointError if the checkpoint was trained on other features."""
    if checkpoint.about.get("features") != features_hash():
        raise CheckpointError(
            f"checkpoint {str(checkpoint.path)!r} was trained on another table of features than this version's; train "
            "it again"
        )


def trained_in(checkpoint: Checkpoint) -> dict[str, Any]:
    """The scenario in which the checkpoint was trained, as read from TOML. Raises CheckpointError if it does not
    say."""
    text = checkpoint.about.get("scenario")
    try:
        if not isinstance(text, str) or max(map(len, text.splitlines()), default=0) > MAX_LINE:
            raise ValueError
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        raise CheckpointError(
            f"checkpoint {str(checkpoint.path)!r} does not say in which scenario it was trained"
        ) from None


def check_fits(checkpoint: Checkpoint, scenario: Scenario | None) -> None:
    """Raises CheckpointError if the checkpoint was trained on other features, or in another scenario than this (if one
    is given)."""
    check_features(checkpoint)
    if scenario is None:
        return
    trained = trained_in(checkpoint)
    for name, was, now in differences(trained, tomllib.loads(scenario_toml(scenario, comments=False))):
        raise CheckpointError(
            f"checkpoint {str(checkpoint.path)!r} was trained with {name}={was}, here it is {now}; train one for this "
            "scenario (nextone train rl)"
        )


def differences(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(section.field, value in a, in b) of what differs between two scenarios read from TOML, FREE fields apart."""
    for section in sorted({*a, *b}):
        left: dict[str, Any]
        right: dict[str, Any]
        left, right = (x[section] if isinstance(x.get(section), dict) else {} for x in (a, b))
        for field in sorted({*left, *right}):
            was, now = left.get(field), right.get(field)
            if (section, field) not in FREE and was != now:
                yield f"{section}.{field}", str(was)[:60], str(now)[:60]
