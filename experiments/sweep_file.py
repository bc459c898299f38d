"""A sweep's question as a TOML file: the words of docs/sweeps.md, checked one by one."""

from pathlib import Path

from nextone.sim.scenario import SettingError, nearest, read_toml, setting_text

from .sweep_plan import Question


def read_question(path: Path) -> tuple[Question, list[str], int | None]:
    """(question, settings of the base, users) of a sweep file, TOML. Raises SettingError with file and line."""
    table, where = read_toml(path), f"{path}: "
    lists = {"policies": "policies", "cell": "cells"}
    words_of = {"question", "metric", "half_width", "max_replications", "seed", "minutes", "days", "engine", "servers"}
    known = {"set", "grid", "sobol", "samples", "users", *lists, *words_of}
    for name in table:
        if name not in known:
            raise SettingError(f"{where}unknown entry {name[:60]!r}{nearest(name, sorted(known))}")
    for name in ("set", "grid", "sobol"):
        if not isinstance(table.get(name, {}), dict):
            raise SettingError(f"{where}{name} must be a section; write [{name}] and \"section.field\" = ... lines")
    kinds: dict[str, tuple[type, ...]] = {
        "seed": (int,), "max_replications": (int,), "samples": (int,), "users": (int,), "minutes": (int, float),
        "days": (int, float), "half_width": (str, int, float), "policies": (list,), "cell": (list,),
    }  # fmt: skip
    for name, value in table.items():
        wanted = kinds.get(name, (dict,) if name in ("set", "grid", "sobol") else (str,))
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise SettingError(f"{where}{name}={str(value)[:40]!r} must be {' or '.join(k.__name__ for k in wanted)}")
    grid = []
    for name, values in table.get("grid", {}).items():
        if not isinstance(values, list) or not values:
            raise SettingError(f"{where}grid of {name} must be an array of values, for example [2, 4, 6]")
        grid.append(f"{name}=" + ",".join(setting_text(v) for v in values))
    cells = []
    for one in table.get("cell", []):
        if not isinstance(one, dict):
            raise SettingError(f"{where}cell must be tables; write [[cell]] and \"section.field\" = value lines")
        cells.append(" ".join(f"{name}={setting_text(value)}" for name, value in one.items()))
    sobol = []
    for name, span in table.get("sobol", {}).items():
        if not isinstance(span, list) or len(span) != 2:
            raise SettingError(f"{where}sobol of {name} must be [lowest, highest]")
        sobol.append(f"{name}={span[0]}..{span[1]}")
    if not all(isinstance(name, str) for name in table.get("policies", [])):
        raise SettingError(f"{where}policies must be an array of names")
    rest = {name: table[name] for name in words_of & set(table)}
    if "half_width" in rest:
        rest["half_width"] = str(rest["half_width"])
    question = Question(
        grid=tuple(grid), cells=tuple(cells), sobol=tuple(sobol), samples=table.get("samples"),
        policies=tuple(table.get("policies", ())), **rest,
    )  # fmt: skip
    settings = [f"{name}={setting_text(value)}" for name, value in table.get("set", {}).items()]
    return question, settings, table.get("users")
