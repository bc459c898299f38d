"""Rows of a sweep's results, run again from what the file says, every bit compared. Called by `nextone replay`."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.experiments.runs.executor import Failed, run_all
from nextone.experiments.runs.metrics import METRICS, check_metrics
from nextone.experiments.runs.parquet import read_record
from nextone.experiments.runs.provenance import check_world, understood
from nextone.experiments.runs.replication import Replication

from .plan import Plan
from .result import scenario_sha256
from .sweep import code_sha256


class RowReplay(NamedTuple):
    """The outcome of running rows again."""

    rows: int
    differences: tuple[str, ...]  # empty: every bit is the same


def replay_rows(path: Path, rows: int, *, workers: int = 1) -> RowReplay:
    """Run so many rows of a `results.parquet` again, spread evenly over it, or all if there are fewer.

    Raises SettingError if the file is damaged, or if another version wrote what this one cannot run again."""
    table, record = read_record(path)
    check_world("a sweep", path, record)
    with understood("a sweep", path, record):
        plan = Plan.from_record(record["plan"])
        check_metrics(table.column_names)
    some = table.take(np.unique(np.linspace(0, len(table) - 1, min(rows, len(table))).round().astype(int)))
    wanted = {}
    differences = []
    code = code_sha256()
    for row in some.to_pylist():
        cell = plan.cells[row["cell"]]
        if row["scenario_sha256"] != scenario_sha256(cell):
            differences.append(f"cell {cell.number}: its scenario is not the one of which the row holds the digest")
        if row["code_sha256"] != code:
            differences.append(f"made by other code of nextone: {row['code_sha256'][:12]}, this is {code[:12]}")
        wanted[plan.task(cell, row["policy"], row["replication"])] = row
    with closing(run_all(partial(next, iter(wanted), None), workers)) as outcomes:
        for task, outcome in outcomes:
            differences += _differences(str(task), wanted[task], outcome)
    return RowReplay(len(wanted), tuple(dict.fromkeys(differences)))


def _differences(name: str, row: dict[str, object], outcome: Replication | Failed) -> Sequence[str]:
    if isinstance(outcome, Failed):
        return [outcome.reason]
    now: dict[str, object] = {m.name: outcome.metrics[m.name] for m in METRICS}
    now |= {"links_sha256": outcome.links_sha256, "catalogue_sha256": outcome.catalogue_sha256}
    return [f"{name}: {k}: {row[k]!r} in the file, {x!r} here" for k, x in now.items() if not _same(row[k], x)]


def _same(a: object, b: object) -> bool:
    """To the bit, for numbers; NaN is NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return np.float64(a).tobytes() == np.float64(b).tobytes() or (a != a and b != b)
    return a == b
