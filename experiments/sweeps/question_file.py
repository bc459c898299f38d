"""A sweep's question as a TOML file: the words of docs/sweeps.md, each checked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.runs.names import policy_beside
from nextone.sim.inputs.scenario_paths import beside, is_path
from nextone.sim.scenario import SettingError, nearest, read_toml, setting_text

from .plan import Question

KINDS: dict[str, tuple[type, ...]] = {
    "question": (str,), "metric": (str,), "half_width": (str, int, float), "max_replications": (int,), "seed": (int,),
    "minutes": (int, float), "days": (int, float), "engine": (str,), "servers": (str,), "samples": (int,),
    "users": (int,), "policies": (list,), "cell": (list,), "set": (dict,), "grid": (dict,), "sobol": (dict,),
}  # fmt: skip
SAID = {str: "text", int: "a whole number", float: "a number", list: "an array", dict: "a section"}


class SweepFile(NamedTuple):
    """The contents of a file: the question, settings of the base scenario, and how many people (None: the
    scenario's)."""

    question: Question
    settings: list[str]
    users: int | None


def read_question(path: Path) -> SweepFile:
    """Paths in the file are relative to it, or, where nothing is there, to the working folder.

    Raises SettingError that names the file, and what is wrong with which entry."""
    table = read_toml(path)
    try:
        _check(table)
        table = _placed(table, path.parent)
        plain = ("question", "metric", "max_replications", "seed", "minutes", "days", "engine", "servers", "samples")
        rest: dict[str, Any] = {name: table[name] for name in plain if name in table}
        if "half_width" in table:
            rest["half_width"] = str(table["half_width"])
        rest |= {"grid": tuple(_texts(table, "grid")), "sobol": tuple(_texts(table, "sobol"))}
        question = Question(cells=tuple(_cells(table)), policies=tuple(table.get("policies", ())), **rest)
        return SweepFile(question, list(_settings(table.get("set", {}))), table.get("users"))
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def _check(table: dict[str, Any]) -> None:
    for name, value in table.items():
        if name not in KINDS:
            raise SettingError(f"unknown entry {name[:60]!r}{nearest(name, sorted(KINDS))}")
        if isinstance(value, bool) or not isinstance(value, KINDS[name]):
            raise SettingError(f"{name}={str(value)[:40]!r} must be {' or '.join(SAID[k] for k in KINDS[name])}")
    if not all(isinstance(name, str) for name in table.get("policies", ())):
        raise SettingError("policies must be an array of names")


def _placed(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table with its paths, those of settings and of checkpoints, as seen from the working folder."""
    given: dict[str, Any] = {kind: placed_settings(table[kind], folder) for kind in ("set", "grid") if kind in table}
    if "cell" in table:
        given["cell"] = [placed_settings(cell, folder) for cell in table["cell"]]
    if "policies" in table:
        given["policies"] = [policy_beside(name, folder) for name in table["policies"]]
    return table | given


def placed_settings(part: Any, folder: Path) -> Any:
    """A table of settings in a file of that folder, with its paths as seen from the working folder."""

    def seen(name: str, value: object) -> Any:
        if isinstance(value, list):
            return [seen(name, each) for each in value]
        return beside(value, folder) if is_path(name) and isinstance(value, str) and value else value

    return {name: seen(name, value) for name, value in named_settings(part)} if isinstance(part, dict) else part


def _texts(table: dict[str, Any], kind: str) -> Iterator[str]:
    """The entries of [grid] or [sobol] as the options of the same names."""
    for name, values in named_settings(table.get(kind, {})):
        if kind == "grid":
            if not isinstance(values, list) or not values:
                raise SettingError(f"grid of {name} must be an array of values, for example [2, 4, 6]")
            yield f"{name}=" + ",".join(map(setting_text, values))
        else:
            if not isinstance(values, list) or len(values) != 2:
                raise SettingError(f"sobol of {name} must be [lowest, highest]")
            yield f"{name}={values[0]}..{values[1]}"


def _cells(table: dict[str, Any]) -> Iterator[str]:
    for one in table.get("cell", ()):
        if not isinstance(one, dict):
            raise SettingError('cell must be tables; write [[cell]] and "section.field" = value lines')
        yield " ".join(_settings(one))


def _settings(table: dict[str, Any]) -> Iterator[str]:
    return (f"{name}={setting_text(value)}" for name, value in named_settings(table))


def named_settings(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """("section.field", value), whether the name was quoted or, in TOML's way, a table in a table."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{field}", inner) for field, inner in value.items())
        else:
            yield name, value
