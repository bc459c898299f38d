"""A plan of a release, read from a TOML file that a stranger may have written: every entry is checked, nothing is run.

Called by `nextone release`. Loads nothing of the compiled model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from nextone.experiments.runs.arms import Arm, check_run, parse_arm
from nextone.experiments.runs.names import policy_beside, resolve_policy
from nextone.experiments.sweeps.question_file import placed_settings
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, nearest, read_toml, with_settings

from .faults import Fault, fault_named

Test = Literal["always", "fixed", "value"]
Action = Literal["roll_back", "hold"]
Better = Literal["more", "fewer", "neither"]
MONITORED: dict[str, tuple[Better, str]] = {
    "valid_play": ("more", "effective views per impression"),
    "skip_2s": ("fewer", "impressions left within 2 s"),
    "leaves": ("fewer", "times that people leave the app, per minute in it"),
    "failures": ("fewer", "decisions that fail, per decision asked for"),
    "stale_picks": ("fewer", "picks whose ranking was not ready, of those asked for"),
    "score": ("neither", "score of the candidate that a decision puts first"),
    "pick_rank": ("neither", "place of that candidate in the server's order, from 1"),
    "latency_p95_ms": ("fewer", "time of a decision, 95th percentile, within the last hour"),
}
"""What a gate may look at, which way is better, and what it is."""
MOST = 50  # waves, and gates
LONGEST_H = 24 * 7.0
PEOPLE = 2_000


class Wave(NamedTuple):
    """So many people have version 2 for so long before the next wave."""

    share: float  # of all people, those of earlier waves included
    minutes: float


class Gate(NamedTuple):
    """A limit that version 2 must keep, looked at every minute."""

    metric: str
    limit: float | None = None  # of version 2's own value, in the metric's unit
    worse_pct: float | None = None  # or by how many percent it may be worse than version 1's
    test: Test = "always"
    action: Action = "roll_back"
    unclear: Literal["advance", "hold"] = "advance"  # at a wave's end, if the limit is not shown to be kept
    least: int = 20  # people of either version below which it says nothing

    def __str__(self) -> str:
        rule = f"worse by {self.worse_pct:g} %" if self.worse_pct is not None else f"beyond {self.limit:g}"
        return f"{self.metric} {rule}"


@dataclass(frozen=True)
class Plan:
    """A release: two versions, and how the second reaches everybody."""

    name: str
    versions: tuple[Arm, Arm]
    waves: tuple[Wave, ...]
    gates: tuple[Gate, ...]
    start_min: float  # when the first wave begins
    delay_min: float  # until what happens on a phone is seen
    hours: float  # simulated in all
    fault: Fault | None = None
    salt: str = "release"

    @property
    def shortest_min(self) -> float:
        """From the first wave to the end of the last, if none is held."""
        return sum(wave.minutes for wave in self.waves)

    def with_fault(self, fault: Fault | None) -> "Plan":
        return replace(self, fault=fault)


Types = tuple[type, ...]
TEXT, NUMBER, WHOLE, LIST, TABLE = (str,), (int, float), (int,), (list,), (dict,)
SAID: dict[Types, str] = {
    TEXT: "text",
    NUMBER: "a number",
    WHOLE: "a whole number",
    LIST: "[[tables]]",
    TABLE: "a table",
}
ENTRIES: dict[str, Types] = {
    "name": TEXT, "version1": TEXT, "version2": TEXT, "salt": TEXT, "users": WHOLE, "start_min": NUMBER,
    "delay_min": NUMBER, "hours": NUMBER, "fault": TABLE, "wave": LIST, "gate": LIST, "set": TABLE,
}  # fmt: skip
OF_WAVE: dict[str, Types] = {"share": NUMBER, "minutes": NUMBER}
OF_GATE: dict[str, Types] = {
    "metric": TEXT, "limit": NUMBER, "worse_pct": NUMBER, "test": TEXT, "action": TEXT, "unclear": TEXT, "least": WHOLE,
}  # fmt: skip
OF_FAULT: dict[str, Types] = {"kind": TEXT, "size": NUMBER}


def read_plan(path: Path, base: Scenario | None = None, users: int | None = None, settings: Sequence[str] = ()) -> Plan:
    """base: the world; the file's [set] changes it, and after that `settings`. users: instead of as many as the file
    says. Paths in [set] and folders of policies are relative to the file, or, where nothing is there, to the working
    folder. Raises SettingError: one line that names the file and what is wrong in it."""
    table = read_toml(path)
    try:
        return plan_of(table, base or Scenario(), users, settings, path.stem, path.parent)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def plan_of(
    table: Mapping[str, Any],
    base: Scenario,
    users: int | None = None,
    settings: Sequence[str] = (),
    name: str = "plan",
    folder: Path = Path(),
) -> Plan:
    """The plan that a table of entries says; folder: of its file. Raises SettingError."""
    _check(table, ENTRIES, "")
    people = users if users is not None else table.get("users", PEOPLE)
    of_file = placed_settings(table.get("set", {}), folder)
    world = with_settings(with_settings(base, of_file | {"population.users": people}), settings)
    if "population.users" in of_file or world.population.users != people:
        raise SettingError("population.users is set; write users = ... at the top of the file, or give --users")
    waves = tuple(_wave(each, f"wave {k}", world) for k, each in enumerate(_tables(table, "wave"), start=1))
    if not waves:
        raise SettingError("there is no wave; write [[wave]], share = 0.01, minutes = 30")
    for k, (before, after) in enumerate(pairwise(waves), start=2):
        if after.share <= before.share:
            raise SettingError(
                f"wave {k}: share={after.share:g} must be more than the {before.share:g} of the wave before"
            )
    gates = tuple(_gate(each, f"gate {k}") for k, each in enumerate(_tables(table, "gate"), start=1))
    start = _within("start_min", table.get("start_min", 60), 0, 1440 * 7)
    delay = _within("delay_min", table.get("delay_min", 2), world.client.timeout_s / 60, 1440)
    shortest = sum(wave.minutes for wave in waves)
    usual = (start + shortest + delay + 60) / 60
    hours = _within("hours", table.get("hours", usual), 0.1, LONGEST_H)
    if hours * 60 < start + shortest:
        raise SettingError(f"hours={hours:g} must be at least {(start + shortest) / 60:g}, so that the waves fit in")
    check_run(days=hours / 24)
    return Plan(
        str(table.get("name", name))[:60], _versions(table, world, folder), waves, gates, start, delay, hours,
        _fault(table.get("fault")), table.get("salt", "release"),
    )  # fmt: skip


def _check(table: Mapping[str, Any], known: Mapping[str, Types], where: str) -> None:
    for name, value in table.items():
        if name not in known:
            raise SettingError(f"{where}unknown entry {name[:60]!r}{nearest(name, sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, known[name]):
            raise SettingError(f"{where}{name}={str(value)[:40]!r} must be {SAID[known[name]]}")
        if isinstance(value, str) and not (value.isprintable() and len(value) <= 500):
            raise SettingError(f"{where}{name} must be one printable line of at most 500 characters")


def _tables(table: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = table.get(name, [])
    if not all(isinstance(each, dict) for each in found):
        raise SettingError(f"{name} must be [[{name}]] tables")
    if len(found) > MOST:
        raise SettingError(f"{len(found)} {name}s are more than {MOST}")
    return list(found)


def _within(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise SettingError(f"{name}={value:g} must be {low:g} to {high:g}")
    return float(value)


def _wave(table: Mapping[str, Any], where: str, world: Scenario) -> Wave:
    _check(table, OF_WAVE, f"{where}: ")
    for name in OF_WAVE:
        if name not in table:
            raise SettingError(f"{where}: has no {name}; write {name} = ...")
    share, people = float(table["share"]), world.population.users
    if not 0 < share <= 1:
        raise SettingError(f"{where}: share={share:g} must be > 0 and <= 1; 0.01 is one person in a hundred")
    if round(share * people) < 1:
        raise SettingError(f"{where}: share={share:g} of {people:,} people is nobody; give more users")
    return Wave(share, _within(f"{where}: minutes", table["minutes"], 1, 1440))


def _gate(table: Mapping[str, Any], where: str) -> Gate:
    _check(table, OF_GATE, f"{where}: ")
    metric = table.get("metric", "")
    if metric not in MONITORED:
        raise SettingError(f"{where}: metric={metric[:60]!r} is not monitored{nearest(metric, tuple(MONITORED))}")
    if ("limit" in table) == ("worse_pct" in table):
        raise SettingError(f"{where}: give either limit, of version 2's own value, or worse_pct, against version 1")
    if "limit" in table and MONITORED[metric][0] == "neither":
        raise SettingError(f"{where}: neither more nor less of {metric} is better; give worse_pct, a change either way")
    for name in ("limit", "worse_pct"):
        if name in table and not (0 <= table[name] < math.inf):
            raise SettingError(f"{where}: {name}={table[name]:g} must be a number >= 0")
    for name, kind in (("test", Test), ("action", Action), ("unclear", Literal["advance", "hold"])):
        if name in table and table[name] not in get_args(kind):
            raise SettingError(f"{where}: {name}={table[name][:40]!r} must be one of {', '.join(get_args(kind))}")
    if not 2 <= table.get("least", 20) <= 10_000_000:
        raise SettingError(f"{where}: least={table['least']} must be at least 2 people")
    return Gate(**table)


def _fault(table: Mapping[str, Any] | None) -> Fault | None:
    if table is None:
        return None
    _check(table, OF_FAULT, "fault: ")
    return fault_named(table.get("kind", ""), table.get("size"))


def _versions(table: Mapping[str, Any], world: Scenario, folder: Path) -> tuple[Arm, Arm]:
    def placed(name: str, scenario: Scenario) -> str:
        return resolve_policy(policy_beside(name, folder), scenario)

    made = []
    for name in ("version1", "version2"):
        if name not in table:
            raise SettingError(f"there is no {name}; write {name} = 'label=policy section.field=value ...'")
        try:
            made.append(parse_arm(table[name], world, placed))
        except SettingError as error:
            raise SettingError(f"{name}: {error}") from None
    first, second = made
    if first.label == second.label:
        raise SettingError(f"both versions are called {first.label!r}; give the second another label")
    return first, second
