"""What a sweep found: replications by cell and policy, intervals, paired differences, the best cell, the Pareto front.

Kept as two Parquet files that explain and can repeat themselves, a row for each (cell, policy, replication):
`results.parquet` with the swept settings and every metric, `positions.parquet` with valid play by position in the page.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nextone.experiments.runs.arms import FRESH
from nextone.experiments.runs.metrics import (
    METRICS,
    PRIMARY,
    Metric,
    check_metrics,
    column_of,
    drowned,
    nobody_words,
    overload_mark,
    shares,
    without_people,
)
from nextone.experiments.runs.parquet import read_record, write_record
from nextone.experiments.runs.provenance import check_world, understood
from nextone.experiments.runs.statistics import (
    CONFIDENCE,
    Interval,
    PairedDifference,
    Selection,
    beaten,
    many_looked_at,
    mean_interval,
    method,
    paired,
    select_best,
)
from nextone.sim.scenario import SettingError, scenario_toml
from nextone.version import SEMANTICS, __version__

from .ledger import Key, Result
from .plan import Cell, Plan

RESULTS, POSITIONS = "results.parquet", "positions.parquet"
OBJECTIVES = ((PRIMARY, "more"), ("requests", "fewer"), ("wasted_mb", "fewer"))
"""What is weighed against each other: people's time, the servers' cost, wasted bytes."""
METHOD = (
    "replications added until the half-width is met or the budget ends; best arm by Kim and Nelson's procedure, "
    "re-estimated on fresh seeds"
)


class SweepArm(NamedTuple):
    """A policy in a cell."""

    cell: Cell
    policy: str


class Best(NamedTuple):
    """The arm with the best mean of the sweep's metric, and its results on fresh seeds."""

    arm: SweepArm
    settled: bool  # False: the budget ended while others were still in the race
    probability: float  # that the best, or one within `indifference` of it, is `arm` (settled) or among `contenders`
    contenders: tuple[SweepArm, ...]  # best first, `arm` among them
    indifference: float  # in the metric's unit: what is less than this apart counts as equally good
    replications: int  # after so many of each arm
    fresh: Interval | None  # of the metric, from replications that had no part in the choice
    fresh_against_baseline: PairedDifference | None  # None also if it is the baseline
    fresh_against_default: PairedDifference | None  # from the same policy in the default cell; None also if it is that


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A finished sweep. Cells that failed are in `failed`, with the reason, and nowhere else."""

    plan: Plan
    values: Mapping[tuple[int, str], NDArray[np.float64]]  # (cell number, policy): (R, M), in the order of METRICS
    fresh: Mapping[tuple[int, str], NDArray[np.float64]]  # the same on fresh seeds, of the best cell and the default
    positions: Mapping[tuple[int, str], NDArray[np.int64]]  # (R, page, 2): impressions, and valid plays among them
    failed: Mapping[int, str]
    version: str = __version__
    provenance: Mapping[str, Any] = field(default_factory=dict)  # see experiments/runs/provenance.py

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return METRICS

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that did not fail."""
        return tuple(cell for cell in self.plan.cells if cell.number not in self.failed)

    @property
    def arms(self) -> tuple[SweepArm, ...]:
        return tuple(SweepArm(cell, policy) for cell in self.cells for policy in self.plan.policies)

    def replications(self, cell: Cell) -> int:
        return len(self.values[cell.number, self.plan.policies[0]])

    def of(self, arm: SweepArm, metric: str) -> NDArray[np.float64]:
        """One number per replication, (R,)."""
        return self.values[arm.cell.number, arm.policy][:, column_of(metric)]

    def interval(self, arm: SweepArm, metric: str) -> Interval | None:
        """Mean with its 95 % interval; None where it is undefined, and where nobody opened the app."""
        if self.empty(arm) == self.replications(arm.cell):
            return None
        return mean_interval(self.of(arm, metric), self.extended)

    def empty(self, arm: SweepArm) -> int:
        """In how many replications nobody opened the app."""
        return int(without_people(self.values[arm.cell.number, arm.policy]).sum())

    @property
    def extended(self) -> bool:
        """Whether its budget was raised after a look; its intervals then allow for that."""
        return bool(self.plan.looks)

    @property
    def method(self) -> str:
        """How the sweep was run and judged, in words."""
        return f"{method(self.extended)}; {METHOD}"

    def overloaded(self, arm: SweepArm) -> bool:
        """Whether its servers drowned, by the means over replications."""
        return drowned(self.values[arm.cell.number, arm.policy])

    def mark(self, arm: SweepArm) -> str:
        """What stands behind the name of an arm whose servers drowned; empty for others."""
        return overload_mark(self.overloaded(arm))

    def against_baseline(self, arm: SweepArm, metric: str) -> PairedDifference | None:
        """Difference from the plan's baseline policy in the same cell; None for that policy itself, and where it is
        undefined.

        It is judged by `many_looked_at` with all arms in this metric, as is `against_default`."""
        return self._judged(metric, _from_baseline)[arm.cell.number, arm.policy]

    def against_default(self, arm: SweepArm, metric: str) -> PairedDifference | None:
        """Difference from the same policy in the default cell, over the replications that both have. None for the
        default cell itself, where it is undefined, and if the default cell failed."""
        return self._judged(metric, _from_default)[arm.cell.number, arm.policy]

    def difference(self, base: SweepArm, arm: SweepArm, metric: str) -> PairedDifference | None:
        """Difference between any two arms, over the replications that both have; None where it is undefined."""
        a, b = self.of(base, metric), self.of(arm, metric)
        n = min(len(a), len(b))
        return paired(a[:n], b[:n], self.extended)

    def _judged(self, metric: str, difference: "_Difference") -> "_Judged":
        known = self._differences.get((metric, difference))
        if known is None:
            judged = many_looked_at([difference(self, arm, metric) for arm in self.arms])
            known = {(arm.cell.number, arm.policy): d for arm, d in zip(self.arms, judged, strict=True)}
            self._differences[metric, difference] = known
        return known

    @cached_property
    def _differences(self) -> "dict[tuple[str, _Difference], _Judged]":
        return {}

    def valid_play_by_position(self, arm: SweepArm) -> tuple[Interval | None, ...]:
        """Share of valid plays at each position in the page, from 0; None where some replication has nothing there."""
        return tuple(map(mean_interval, shares(self.positions[arm.cell.number, arm.policy]).T))

    @cached_property
    def selection(self) -> Selection | None:
        return choose(self.plan, self.values, self.failed)

    @property
    def why_no_best(self) -> str:
        """Why there is no best cell, in words; empty if there is one."""
        metric, empty = self.plan.objective, [self.empty(arm) for arm in self.arms]
        if not self.cells:
            return self.failures
        if all(n == self.replications(arm.cell) for n, arm in zip(empty, self.arms, strict=True)):
            return nobody_words(1, 1, self.plan.window())
        if metric.better == "neither":
            return f"neither more nor less of {metric.name} is better."
        return f"{metric.name} is undefined in some replication of a cell." if self.selection is None else ""

    @property
    def failures(self) -> str:
        """How many cells failed, and what to do; empty if none did."""
        if not self.failed:
            return ""
        return (
            f"{len(self.failed)} of {len(self.plan.cells)} cells failed and have no part in any answer; nextone sweep "
            "--resume tries them again."
        )

    @cached_property
    def best(self) -> Best | None:
        """The best arm; None if there is none, and `why_no_best` says why."""
        chosen = self.selection
        if chosen is None or self.why_no_best:
            return None
        arms, m = self.arms, column_of(self.plan.metric)
        arm = arms[chosen.left[0]]
        again = {key: x[:, m] for key, x in self.fresh.items()}
        own = again.get((arm.cell.number, arm.policy))
        base = again.get((arm.cell.number, self.plan.baseline)) if arm.policy != self.plan.baseline else None
        default = again.get((self.plan.default.number, arm.policy)) if not arm.cell.default else None
        left = chosen.left if chosen.settled else self._not_ruled_out(chosen.left)
        sure = CONFIDENCE if left == chosen.left else 2 * CONFIDENCE - 1  # each of both procedures may err
        return Best(
            arm, chosen.settled, sure, tuple(arms[i] for i in left), indifference(self.plan, self.values),
            chosen.n, None if own is None else mean_interval(own),
            None if own is None or base is None else paired(base, own),
            None if own is None or default is None else paired(default, own),
        )  # fmt: skip

    def _not_ruled_out(self, left: tuple[int, ...]) -> tuple[int, ...]:
        """Of the arms that are still in the race, those that no other surely beats (`beaten`)."""
        most = min(len(self.of(self.arms[i], self.plan.metric)) for i in left)
        sign = 1.0 if self.plan.objective.better == "more" else -1.0
        lost = beaten(np.stack([sign * self.of(self.arms[i], self.plan.metric)[:most] for i in left]))
        return tuple(i for i, out in zip(left, lost, strict=True) if not out)

    @cached_property
    def pareto(self) -> tuple[SweepArm, ...]:
        """Arms that no other beats in time in the app, requests and wasted bytes at the same time (by their means), in
        order."""
        arms = self.arms
        if not arms:
            return ()
        signs = np.array([1.0 if better == "more" else -1.0 for _, better in OBJECTIVES])
        means = np.array([[self.of(arm, name).mean() for name, _ in OBJECTIVES] for arm in arms]) * signs
        lost = [((means >= own).all(axis=1) & (means > own).any(axis=1)).any() for own in means]
        return tuple(arm for arm, out in zip(arms, lost, strict=True) if not out)


_Judged = dict[tuple[int, str], PairedDifference | None]
_Difference = Callable[[SweepResult, SweepArm, str], PairedDifference | None]


def _from_baseline(result: SweepResult, arm: SweepArm, metric: str) -> PairedDifference | None:
    base = arm._replace(policy=result.plan.baseline)
    return None if arm == base else result.difference(base, arm, metric)


def _from_default(result: SweepResult, arm: SweepArm, metric: str) -> PairedDifference | None:
    base = arm._replace(cell=result.plan.default)
    if arm == base or base.cell.number in result.failed:
        return None
    return result.difference(base, arm, metric)


def choose(
    plan: Plan, values: Mapping[tuple[int, str], NDArray[np.float64]], failed: Mapping[int, str]
) -> Selection | None:
    """Which arms are still in the race for the best, as indices into the arms of cells that did not fail."""
    sign = {"more": 1.0, "fewer": -1.0}.get(plan.objective.better)
    keys = [(cell.number, policy) for cell in plan.cells if cell.number not in failed for policy in plan.policies]
    if sign is None or not keys:
        return None
    m = column_of(plan.metric)
    race = np.full((len(keys), max(len(values[key]) for key in keys)), np.nan)
    for row, key in zip(race, keys, strict=True):
        own = values[key][:, m]
        if not np.isfinite(own).all():
            return None
        row[: len(own)] = sign * own
    return select_best(race, indifference(plan, values))


def indifference(plan: Plan, values: Mapping[tuple[int, str], NDArray[np.float64]]) -> float:
    """Differences smaller than this count as equally good: the half-width asked for, of the first arm's first
    replications."""
    first = next(iter(values.values()))[:10, column_of(plan.metric)]
    return plan.half_width.of(float(np.mean(first))) or 1e-9


def save_sweep(
    folder: Path, plan: Plan, made: Mapping[str, Any], results: Mapping[Key, Result], failed: Mapping[int, str]
) -> list[Path]:
    """Write both files, each whole or not at all, `results.parquet` last; returns their paths. They depend on the
    arguments alone: not on times, the machine, or the number of workers. made: see `ledger.Ledger.made`."""
    kept = {key: result for key, result in sorted(results.items()) if key.cell not in failed}
    record = {
        "kind": "nextone sweep", "plan": plan.record(), "failed": {str(k): v for k, v in failed.items()},
        "version": __version__, "semantics": SEMANTICS, "code_sha256": made["code"],
        "method": f"{method(bool(plan.looks))}; {METHOD}", "extended": bool(plan.looks),
        "provenance": provenance_of(plan, made),
        "generator": "Philox4x32-10, keyed",
        "units": {m.name: m.unit for m in METRICS}, "meanings": {m.name: m.meaning for m in METRICS},
    }  # fmt: skip
    paths = [folder / POSITIONS, folder / RESULTS]
    write_record(_positions_table(plan, kept), record, paths[0])
    write_record(_results_table(plan, made["code"], kept), record, paths[1])
    return paths


def provenance_of(plan: Plan, made: Mapping[str, Any]) -> dict[str, Any]:
    """The record of experiments/runs/provenance.py for a sweep; made: see `ledger.Ledger.made`."""
    asked = {"seed": plan.seed, "replications": plan.max_replications, "minutes": plan.minutes, "days": plan.days}
    of = {name: made[name] for name in ("version", "semantics", "libraries", "inputs")}
    return asked | {"engine": plan.engine, "folder": plan.home} | of


def read_sweep(folder: Path | str) -> SweepResult:
    """The result of a finished sweep. Raises SettingError if there is none, or none that this version can read."""
    folder = Path(folder)
    if not (folder / RESULTS).exists():
        raise SettingError(
            f"{str(folder)!r} holds no finished sweep ({RESULTS} is missing); go on with --resume {folder}"
        )
    table, record = read_record(folder / RESULTS)
    places, again = read_record(folder / POSITIONS)
    if record.get("kind") != "nextone sweep" or again != record:
        raise SettingError(
            f"{str(folder)!r}: {RESULTS} and {POSITIONS} are not of one sweep; write them again with --resume {folder}"
        )
    check_world("a sweep", folder, record)
    with understood("a sweep", folder, record):
        return _read(table, places, record)


def _read(table: pa.Table, places: pa.Table, record: Mapping[str, Any]) -> SweepResult:
    plan = Plan.from_record(record["plan"])
    check_metrics(table.column_names)
    numbers = np.column_stack([table[m.name].to_numpy() for m in METRICS])
    page = int(max(places["position"].to_numpy(), default=0)) + 1
    values: dict[tuple[int, str], Any] = {}
    fresh: dict[tuple[int, str], Any] = {}
    positions: dict[tuple[int, str], Any] = {}
    is_fresh = np.asarray(table["fresh"])
    rows_of: dict[tuple[int, str], list[int]] = {}
    for row, key in enumerate(zip(table["cell"].to_pylist(), table["policy"].to_pylist(), strict=True)):
        rows_of.setdefault(key, []).append(row)
    for key, listed in rows_of.items():
        values[key] = numbers[[row for row in listed if not is_fresh[row]]]
        chosen_again = [row for row in listed if is_fresh[row]]
        if chosen_again:
            fresh[key] = numbers[chosen_again]
        positions[key] = np.zeros((len(values[key]), page, 2), np.int64)
    for row in places.to_pylist():
        if row["replication"] < FRESH:
            of_arm = positions[row["cell"], row["policy"]]
            of_arm[row["replication"], row["position"]] = row["shown"], row["valid_play"]
    failed = {int(number): reason for number, reason in record["failed"].items()}
    return SweepResult(plan, values, fresh, positions, failed, record["version"], record.get("provenance", {}))


def _results_table(plan: Plan, code: str, results: Mapping[Key, Result]) -> pa.Table:
    """A row for each result: who, the swept settings, the metrics, and what it takes to repeat it."""
    cells = [plan.cells[key.cell] for key in results]
    names = list(plan.cells[0].values)
    columns: dict[str, Any] = {
        "cell": pa.array([key.cell for key in results], pa.int32()),
        "policy": pa.array([key.policy for key in results], pa.string()),
        "replication": pa.array([key.replication for key in results], pa.int64()),
        "fresh": pa.array([key.replication >= FRESH for key in results], pa.bool_()),
        "default": pa.array([cell.default for cell in cells], pa.bool_()),
    }
    for name in names:
        columns[name] = pa.array([cell.values[name] for cell in cells])
    numbers = np.array([result.metrics for result in results.values()]).reshape(len(results), len(METRICS))
    for m, metric in enumerate(METRICS):
        columns[metric.name] = pa.array(numbers[:, m], pa.float64())
    digests = [scenario_sha256(cell) for cell in plan.cells]
    columns |= {
        "seed": pa.array([plan.seed] * len(results), pa.uint64()),
        "version": pa.array([__version__] * len(results), pa.string()),
        "semantics": pa.array([SEMANTICS] * len(results), pa.int32()),
        "code_sha256": pa.array([code] * len(results), pa.string()),
        "scenario_sha256": pa.array([digests[key.cell] for key in results], pa.string()),
        "links_sha256": pa.array([result.links_sha256 for result in results.values()], pa.string()),
        "catalogue_sha256": pa.array([result.catalogue_sha256 for result in results.values()], pa.string()),
        "generator": pa.array(["Philox4x32-10"] * len(results), pa.string()),
    }
    return pa.table(columns)


def _positions_table(plan: Plan, results: Mapping[Key, Result]) -> pa.Table:
    rows = [
        (key.cell, key.policy, key.replication, place, int(shown), int(valid))
        for key, result in results.items()
        for place, (shown, valid) in enumerate(result.positions)
    ]
    kinds = {
        "cell": pa.int32(), "policy": pa.string(), "replication": pa.int64(), "position": pa.int32(),
        "shown": pa.int64(), "valid_play": pa.int64(),
    }  # fmt: skip
    columns = zip(*rows, strict=True) if rows else ([] for _ in kinds)
    return pa.table({name: pa.array(list(x), kind) for (name, kind), x in zip(kinds.items(), columns, strict=True)})


def scenario_sha256(cell: Cell) -> str:
    """A digest of the cell's whole scenario as text."""
    return hashlib.sha256(scenario_toml(cell.scenario, comments=False).encode()).hexdigest()
