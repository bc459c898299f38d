"""What a sweep is asked: its cells, policies, budget and seed, read from a file or a command line and checked.

It loads nothing of the compiled model, so the plan is in the ledger (`ledger.py`) before anything heavy starts. A cell
is a scenario. In every cell, under each policy, the same people live with the same luck.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice, product
from typing import Any, NamedTuple, get_args

from nextone.experiments.runs.arms import (
    BASELINE_POLICY,
    MAX_REPLICATIONS,
    Arm,
    Engine,
    Servers,
    Task,
    check_run,
    staffed,
    window_words,
    words,
    workers_needed,
)
from nextone.experiments.runs.metrics import METRICS, PRIMARY, Metric
from nextone.experiments.runs.names import check_name
from nextone.experiments.runs.provenance import folder_needed, placed
from nextone.experiments.runs.statistics import MIN_REPLICATIONS
from nextone.sim.config import MINUTES, Scenario
from nextone.sim.scenario import SettingError, nearest, scenario_from, scenario_toml, setting_text, with_settings

MAX_CELLS = 2_048


class Cell(NamedTuple):
    """One setting of the world: the swept fields as `section.field=value` texts, and the whole scenario."""

    number: int
    settings: tuple[str, ...]
    scenario: Scenario
    default: bool  # the base scenario itself
    asked: bool  # False: added only to have the default to compare with

    @property
    def values(self) -> dict[str, object]:
        """The swept fields by name: {"server.page_size": 4, ...}."""
        names = (text.partition("=")[0] for text in self.settings)
        return {name: _value(self.scenario, name) for name in names}

    @property
    def label(self) -> str:
        """The settings of the cell as one text; "default" if there are none."""
        return " ".join(self.settings) or "default"


class HalfWidth(NamedTuple):
    """How narrow intervals are to be: percent of the mean (of the baseline's, for differences), or in metric units."""

    value: float
    percent: bool

    @classmethod
    def parse(cls, text: str | float) -> "HalfWidth":
        """`0.5%`, or a number in the metric's unit. Raises SettingError."""
        found = re.fullmatch(r"\s*([0-9.eE+-]{1,30})\s*(%?)\s*", str(text))
        try:
            value = float(found[1]) if found else 0.0
        except ValueError:
            value = 0.0
        if not found or not 0 < value < 1e12:
            raise SettingError(f"half-width={str(text)[:40]!r} must be > 0; 0.5% of the mean, or in the metric's unit")
        return cls(value, bool(found[2]))

    def of(self, mean: float) -> float:
        """The half-width in the metric's unit, for a metric with this mean."""
        return abs(mean) * self.value / 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value:g}{'%' if self.percent else ''}"


DEFAULT_HALF_WIDTH = HalfWidth(0.5, percent=True)


@dataclass(frozen=True)
class Plan:
    """A whole sweep: everything that its results depend on."""

    base: Scenario
    cells: tuple[Cell, ...]
    policies: tuple[str, ...]
    metric: str = PRIMARY
    half_width: HalfWidth = DEFAULT_HALF_WIDTH
    max_replications: int = 30
    seed: int = 0
    minutes: float | None = MINUTES
    days: float | None = None
    engine: Engine = "event"
    servers: Servers = "own"
    question: str = ""
    home: str = ""  # the folder that relative paths in it are relative to; empty if there are none
    looks: tuple[int, ...] = ()  # what `max_replications` was before it was raised

    @property
    def baseline(self) -> str:
        """The policy with which a cell's policies are compared: cloud_only if it is among them, else the first."""
        return _baseline(self.policies)

    @property
    def default(self) -> Cell:
        """The cell of the base scenario."""
        return next(cell for cell in self.cells if cell.default)

    @property
    def objective(self) -> Metric:
        """The metric that decides what is best."""
        return next(metric for metric in METRICS if metric.name == self.metric)

    def task(self, cell: Cell, policy: str, replication: int) -> Task:
        """The task of a replication of a policy in a cell."""
        arm = placed(Arm(f"{cell.label} {policy}", policy, cell.scenario), self.home)
        return Task(arm, self.seed, replication, self.minutes, self.days, self.engine)

    def extended(self, max_replications: int) -> "Plan":
        """The plan with more replications of each cell, added after a look at the results of fewer. Raises SettingError
        unless there are more."""
        if not self.max_replications < max_replications <= MAX_REPLICATIONS:
            raise SettingError(
                f"max_replications={max_replications} must be more than the {self.max_replications} that this sweep "
                f"has, and at most {MAX_REPLICATIONS:,}"
            )
        return replace(self, max_replications=max_replications, looks=(*self.looks, self.max_replications))

    def window(self) -> str:
        """The window in words, `60 min` or `2 days`, for titles."""
        return window_words(self.minutes, self.days)

    def record(self) -> dict[str, Any]:
        """The plan as JSON values; `from_record` reads back an equal one."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told |= {
            "base": scenario_toml(self.base, comments=False),
            "cells": [[list(cell.settings), cell.default, cell.asked] for cell in self.cells],
            "half_width": str(self.half_width),
        }
        told |= {"policies": list(self.policies), "looks": list(self.looks)}
        return told

    @classmethod
    def from_record(cls, told: Mapping[str, Any]) -> "Plan":
        """The plan that `record` tells; of another version's, SettingError, LookupError, TypeError or ValueError."""
        base = scenario_from(told["base"])
        policies = tuple(told["policies"])
        workers = _workers_of_all(base, policies, told["minutes"], told["days"], told["servers"])
        cells = tuple(
            Cell(k, tuple(settings), _scenario(base, settings, workers), default, asked)
            for k, (settings, default, asked) in enumerate(told["cells"])
        )
        known = {"base": base, "cells": cells, "policies": policies, "looks": tuple(told.get("looks", ()))}
        return cls(**(dict(told) | known | {"half_width": HalfWidth.parse(told["half_width"])}))


@dataclass(frozen=True)
class Question:
    """A sweep as the user asks for it, before its cells are worked out. `None` or empty: the default."""

    grid: tuple[str, ...] = ()  # `server.page_size=2,4,6`
    cells: tuple[str, ...] = ()  # `server.page_size=2 client.ttl_s=30`
    sobol: tuple[str, ...] = ()  # `client.ttl_s=10..600`
    samples: int | None = None  # of Sobol's sequence, a power of two
    policies: tuple[str, ...] = ()
    metric: str | None = None
    half_width: str | None = None
    max_replications: int | None = None
    seed: int | None = None
    minutes: float | None = None
    days: float | None = None
    engine: Engine | None = None
    servers: Servers | None = None
    question: str = ""


def plan_of(asked: Question, base: Scenario) -> Plan:
    """The plan of a question over a base scenario. Raises SettingError, TooFewReplications."""
    names = asked.policies or (BASELINE_POLICY,)
    if len(set(names)) < len(names):
        raise SettingError(f"policy {next(n for n in names if names.count(n) > 1)!r} is given twice; give it once")
    policies = tuple(map(check_name, names))
    metric = asked.metric or PRIMARY
    known = tuple(m.name for m in METRICS)
    if metric not in known:
        raise SettingError(f"unknown metric {metric[:60]!r}{nearest(metric, known)}")
    given = {f: getattr(asked, f) for f in ("max_replications", "seed", "engine", "servers")}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    days = None if asked.days is None else float(asked.days)  # whole or not, the plan is the same
    minutes = MINUTES if asked.minutes is None and days is None else asked.minutes
    minutes = None if minutes is None else float(minutes)
    check_run(
        replications=chosen.get("max_replications", MIN_REPLICATIONS), seed=chosen.get("seed", 0), minutes=minutes,
        days=days,
    )  # fmt: skip
    servers: Servers = asked.servers or "own"
    if servers not in get_args(Servers):
        raise SettingError(f"servers={servers[:40]!r} must be own or same")
    if asked.engine is not None and asked.engine not in get_args(Engine):
        raise SettingError(f"engine={str(asked.engine)[:40]!r} must be event or batch")
    workers = _workers_of_all(base, policies, minutes, days, servers)
    cells = tuple(_cells(asked, base, workers, chosen.get("seed", 0)))
    chosen["half_width"] = HalfWidth.parse(asked.half_width) if asked.half_width else DEFAULT_HALF_WIDTH
    home = folder_needed([cell.scenario for cell in cells], policies)
    return Plan(base, cells, policies, metric, minutes=minutes, days=days, question=asked.question, home=home, **chosen)


def _baseline(policies: Sequence[str]) -> str:
    return BASELINE_POLICY if BASELINE_POLICY in policies else policies[0]


def _workers_of_all(
    base: Scenario, policies: Sequence[str], minutes: float | None, days: float | None, servers: Servers
) -> int:
    """What `server.workers = 0` means in every cell: what the base needs, or 0 for what each needs."""
    if servers == "own":
        return 0
    return workers_needed(base, _baseline(policies), minutes, days)


def _cells(asked: Question, base: Scenario, workers: int, seed: int) -> Iterator[Cell]:
    """The cells asked for, each once; the base scenario before them, if it is not among them."""
    kinds = [name for name in ("grid", "cells", "sobol") if getattr(asked, name)]
    if len(kinds) != 1:
        raise SettingError(
            "give one of --grid, --cell and --sobol; for example --grid server.page_size=2,4,6"
            + (f" (given: {', '.join(kinds)})" if kinds else "")
        )
    lists = {"grid": _grid, "cells": _listed, "sobol": _sampled}[kinds[0]](asked, seed)
    first = _scenario(base, (), workers)
    listed: list[tuple[tuple[str, ...], Scenario]] = []
    asked_for = list(islice(lists, MAX_CELLS + 1))
    if len(asked_for) > MAX_CELLS:
        raise SettingError(f"a sweep of more than {MAX_CELLS:,} cells; ask for fewer")
    for settings in asked_for:
        try:
            scenario = _scenario(base, settings, workers)
        except SettingError as error:
            raise SettingError(f"cell {' '.join(settings)}: {error}") from None
        listed.append((settings, scenario))
    names = list(dict.fromkeys(text.partition("=")[0].strip() for settings, _ in listed for text in settings))
    worlds = dict.fromkeys(scenario for _, scenario in listed)
    for number, scenario in enumerate(worlds if first in worlds else (first, *worlds)):
        settings = tuple(f"{name}={setting_text(_value(scenario, name))}" for name in names)
        yield Cell(number, settings, scenario, scenario == first, scenario in worlds)


def _grid(asked: Question, seed: int) -> Iterator[tuple[str, ...]]:
    del seed
    axes = []
    for text in asked.grid:
        name, equals, values = text.partition("=")
        parts = re.findall(r"(?:\[[^\]]*\]|\"[^\"]*\"|'[^']*'|[^,])+", values)
        if not equals or not parts:
            raise SettingError(f"grid {text[:60]!r} must read section.field=value,value,...")
        axes.append([f"{name.strip()}={part.strip()}" for part in parts])
    swept = [axis[0].partition("=")[0] for axis in axes]
    if len(set(swept)) < len(swept):
        raise SettingError(f"grid of {next(n for n in swept if swept.count(n) > 1)} is given twice; give it once")
    return product(*axes)


def _listed(asked: Question, seed: int) -> Iterator[tuple[str, ...]]:
    del seed
    return (tuple(words(text)) for text in asked.cells)


def _sampled(asked: Question, seed: int) -> Iterator[tuple[str, ...]]:
    """Points of a scrambled Sobol sequence, keyed by the sweep's seed; fields of whole numbers are rounded."""
    spans: list[tuple[str, float, float, bool]] = []
    for text in asked.sobol:
        found = re.fullmatch(r"\s*([\w.]+)\s*=\s*([^.\s][^\s]*?)\.\.([^\s]+)\s*", text)
        try:
            low, high = (float(found[2]), float(found[3])) if found else (0.0, 0.0)
        except ValueError:
            low = high = 0.0
        if not found or not -1e300 < low < high < 1e300:
            raise SettingError(
                f"sobol {text[:60]!r} must read section.field=lowest..highest, for example client.ttl_s=10..600"
            )
        default = _value(Scenario(), found[1])
        if isinstance(default, bool) or not isinstance(default, int | float):
            raise SettingError(f"sobol of {found[1]}: only numbers can be sampled; use --grid")
        spans.append((found[1], low, high, isinstance(default, int)))
    samples = 16 if asked.samples is None else asked.samples
    if not 2 <= samples <= MAX_CELLS or samples & (samples - 1):
        raise SettingError(
            f"samples={samples} must be a power of two, 2 to {MAX_CELLS:,}; at these Sobol's points are even"
        )
    from scipy.stats import qmc  # late: takes longer to load than everything else here

    points = qmc.Sobol(len(spans), scramble=True, rng=seed).random(samples)
    return (
        tuple(
            f"{name}={round(low + x * (high - low)) if whole else float(low + x * (high - low))!r}"
            for x, (name, low, high, whole) in zip(point, spans, strict=True)
        )
        for point in points
    )


def _scenario(base: Scenario, settings: Sequence[str], workers: int) -> Scenario:
    """A cell's scenario, with so many workers where it leaves their number open."""
    return staffed(with_settings(base, settings), workers)


def _value(scenario: Scenario, name: str) -> object:
    section, _, field = name.partition(".")
    kind = getattr(scenario, section, None)
    if kind is None or field not in type(kind).model_fields:
        with_settings(scenario, {name: 0})  # says what is wrong with the name
    return getattr(kind, field)
