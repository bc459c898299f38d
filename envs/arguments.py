"""What a user says to an environment, checked once: scenario, options, seeds.

Called by `envs/vector.py`. Whatever is wrong becomes one SettingError (a ValueError) of one line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from nextone.sim.config import LINK_CLASSES, NEVER_US, Scenario
from nextone.sim.scenario import SettingError, load_scenario, nearest, with_settings

from .reward import RewardWeights

ScenarioLike = Scenario | str | Path | Mapping[str, object] | None
MOST = 2**31 - 1
OPTIONS = ("person", "network", "scenario", "reset_mask")


def scenario_of(given: ScenarioLike) -> Scenario:
    """The Scenario that was given as a Scenario, a TOML file, a dict of "section.field" settings, or None. Raises
    SettingError."""
    if isinstance(given, Scenario):
        return given
    if isinstance(given, str | Path):
        return load_scenario(given)
    if given is None or isinstance(given, Mapping):
        return with_settings(Scenario(), given or {})
    raise SettingError(f"scenario={given!r} must be a Scenario, a TOML file, a dict of settings or None")


def in_plain_values(spec: EnvSpec | None) -> EnvSpec | None:
    """The same spec in text, numbers, lists and dicts: `spec.to_json()` knows nothing else."""
    return spec and replace(spec, kwargs={name: _plain(value) for name, value in spec.kwargs.items()})


def _plain(value: object) -> object:
    if isinstance(value, Scenario):
        usual = Scenario().model_dump()
        return {
            f"{section}.{name}": _plain(x)
            for section, fields in value.model_dump().items() for name, x in fields.items() if x != usual[section][name]
        }  # fmt: skip
    if isinstance(value, RewardWeights):
        return asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(x) for name, x in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(x) for x in value]
    return str(value) if isinstance(value, Path) else value


def known(complaint: str, names: Iterable[object], choices: tuple[str, ...]) -> None:
    """Raise SettingError, with this complaint, for the first of the names that is not among the choices."""
    for name in names:
        if name not in choices:
            raise SettingError(f"{complaint} {name!r}{nearest(str(name), choices)}")


def one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise SettingError unless the value is one of the choices."""
    if value not in choices:
        raise SettingError(f"{name}={value!r} must be one of {', '.join(map(str, choices))}")


def whole(name: str, value: object, least: int, most: int = MOST) -> None:
    """Raise SettingError unless the value is a whole number from `least` to `most`."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        beyond = "2**31" if most == MOST else f"{most + 1:,}"
        raise SettingError(f"{name}={value!r} must be a whole number >= {least} and < {beyond}")


def yes_or_no(name: str, value: object) -> None:
    """Raise SettingError unless the value is True or False; Python would take "no" for true."""
    if not isinstance(value, bool | np.bool_):
        raise SettingError(f"{name}={value!r} must be True or False")


def waits_of(given: Sequence[int] | None) -> NDArray[np.int64]:
    """Waits in the server's queue, microseconds, by rising probability, as an array; None: one wait of zero."""
    waits = np.asarray([0] if given is None else given)
    good = waits.ndim == 1 and len(waits) and waits.dtype.kind in "iu" and waits.max() <= NEVER_US
    if not good or (np.diff(waits.astype(np.int64), prepend=0) < 0).any():
        raise SettingError("queue_waits must be whole microseconds >= 0 by rising probability, at least one")
    return np.ascontiguousarray(waits, np.int64)


def people_of(given: int | Sequence[int] | None, n: int) -> NDArray[np.int64]:
    """The number of the person in each row, (n,); None: person 0."""
    people = np.asarray(0 if given is None else given)
    good = people.dtype.kind in "iu" and people.shape in ((), (n,))
    if not good or (people < 0).any() or (people >= 2**31).any():
        raise SettingError(f"option person={given!r} must be a whole number in [0, 2**31), or one for each of {n} rows")
    return np.broadcast_to(people, n).astype(np.int64)


def links_of(given: str | Sequence[str] | None, n: int) -> NDArray[np.int64]:
    """The link class of each row, (n,); -1: as drawn."""
    if given is None:
        return np.full(n, -1)
    if not isinstance(given, str | Sequence | np.ndarray):
        raise SettingError(f"option network={given!r} must be the name of a link class, or one for each of {n} rows")
    names = [given] * n if isinstance(given, str) else list(given)
    known("option network is no link class:", names, LINK_CLASSES)
    if len(names) != n:
        raise SettingError(f"option network has {len(names)} entries, must be one name or one for each of {n} rows")
    return np.array([LINK_CLASSES.index(name) for name in names])


def seeds_of(given: Any, n: int) -> list[int | None]:
    """The seed of each row: s + i for a whole number s, None where none is given."""
    several = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    seeds = list(given) if several else [given] * n
    if len(seeds) != n:
        raise SettingError(f"seed has {len(seeds)} entries, must be one number or one for each of {n} environments")
    for seed in seeds:
        good = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if seed is not None and not (good and 0 <= seed < 2**64):
            raise SettingError(f"seed={seed!r} must be a whole number in [0, 2**64)")
    if not several and given is not None:
        seeds = [(int(given) + i) % 2**64 for i in range(n)]
    return [None if seed is None else int(seed) for seed in seeds]
