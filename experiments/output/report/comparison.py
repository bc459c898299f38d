"""The report of a comparison that `nextone compare --out DIR` saved: arms against a baseline, metric by metric.

Called by experiments/output/report/report.py.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextone.experiments.output.drawing import svg_text
from nextone.experiments.output.figures import uplift_figure
from nextone.experiments.questions.sensitivity_file import shipped_table
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.comparison import Comparison, empty, extended, groups
from nextone.experiments.runs.metrics import METRICS, OVERLOAD, PRIMARY, Metric, check_metrics
from nextone.experiments.runs.number_text import STAR, interval_text, name_and_unit
from nextone.experiments.runs.provenance import check_world, understood
from nextone.experiments.runs.statistics import method
from nextone.experiments.runs.verdict import verdict
from nextone.sim.scenario import SettingError, scenario_from, scenario_toml

from .page import Cell, Figure, Page, Section, Table, difference_cell
from .words import asked_arms, made_of


def comparison_page(result: Comparison) -> Page:
    """The page of a comparison."""
    others = ", ".join(arm.label for arm in result.arms[1:])
    base = result.baseline.scenario
    return Page(
        title=f"{result.baseline.label} against {others}",
        question="What changes if the arm is changed and everything else, people, phones, links and luck, is the same?",
        facts=(
            ("Arms", ", ".join(arm.label for arm in result.arms)),
            ("Baseline", result.baseline.label),
            ("Primary metric", PRIMARY),
            ("People, window", f"{base.population.users:,}, {result.window()}"),
            ("Replications", str(result.replications)),
            ("Seed", str(result.seed)),
            ("Engine", result.engine),
        ),
        answer=verdict(result, depends=shipped_table().gains_depend_on()),
        sections=tuple(_sections(result)),
        warnings=tuple(filter(None, (empty(result), extended(result)))),
        version=result.version,
    )


def read_comparison(folder: Path) -> Comparison:
    """The comparison as it was; policies are names.

    Raises SettingError if it is damaged, or if another version wrote what this one cannot read."""
    file = folder / "replications.parquet"
    try:
        table = pq.read_table(file, page_checksum_verification=True)
        told: dict[str, Any] = json.loads(table.schema.metadata[b"nextone"])
        made: dict[str, Any] = {"version": told["version"]} | told.get("provenance", {})
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        raise SettingError(
            f"{str(file)!r} cannot be read ({str(error)[:80]}); write it again with nextone compare --out"
        ) from None
    check_world("a comparison", folder, made)
    with understood("a comparison", folder, made):
        return _read(table, told)


def _read(table: pa.Table, told: Mapping[str, Any]) -> Comparison:
    arms = tuple(Arm(a["label"], a["policy"], scenario_from(a["scenario"])) for a in told["arms"])
    rows = table.to_pylist()
    check_metrics({row["metric"] for row in rows})
    values = np.full((len(arms), len(told["replications"]), len(METRICS)), np.nan)
    arm_at = {arm.label: k for k, arm in enumerate(arms)}
    metric_at = {metric.name: k for k, metric in enumerate(METRICS)}
    for row in rows:
        if row["value"] is not None and row["metric"] in metric_at:
            values[arm_at[row["policy"]], row["replication"], metric_at[row["metric"]]] = row["value"]
    nowhere = np.zeros((*values.shape[:2], 0, 2), np.int64)  # positions in the page are not kept
    window = told["minutes"], told["days"], told["engine"]
    return Comparison(
        arms, METRICS, values, told["seed"], *window, nowhere, told["version"], told.get("provenance", {}),
        tuple(told.get("looks", ())),
    )  # fmt: skip


def _sections(result: Comparison) -> Iterator[Section]:
    caption = "Paired differences in percent of the baseline's mean with 95 % intervals; hollow where they may be luck."
    yield Section("All metrics", figures=(Figure(svg_text(uplift_figure(result)), caption),))
    rows = [
        _row(result, m, metric)
        for _, indices in groups(result)
        for m, metric in ((k, result.metrics[k]) for k in indices)
    ]
    others = (f"{result.label(a)}, %" for a in range(1, len(result.arms)))
    head = ("metric", "meaning", result.label(0), *others)
    text = (
        "Baseline: mean ± half its 95 % interval. Arms: paired difference in % of it; abs: in the metric's unit; "
        f"{STAR}." + f" {OVERLOAD}." * any(result.overloaded)
    )
    yield Section("Every number", (text,), table=Table(head, rows, 2))
    for arm in result.arms:
        yield Section(
            f"Scenario of {arm.label}",
            (f"Policy: {arm.policy}.",),
            verbatim=scenario_toml(arm.scenario, comments=False),
            folded=True,
        )
    yield Section("How to reproduce it", (
        f"nextone {result.version}, seed {result.seed}; draws by Philox4x32-10, keyed. {method(result.extended)}.",
        "Save a scenario from below to a file to run an arm's world again; a policy of your own is given from Python.",
    ), verbatim=_command(result))  # fmt: skip
    yield made_of(result.provenance)


def _row(result: Comparison, m: int, metric: Metric) -> list[Cell]:
    arms = [
        difference_cell(row[m], metric.better) if row[m] is not None else Cell(interval_text(own[m]), "dim")
        for row, own in zip(result.differences[1:], result.intervals[1:], strict=True)
    ]
    return [Cell(name_and_unit(metric)), Cell(metric.meaning), Cell(interval_text(result.intervals[0][m])), *arms]


def _command(result: Comparison) -> str:
    """`nextone compare ...` for arms whose policies have names."""
    words = ["nextone", "compare", *asked_arms(result.arms)]
    words += ["--days", f"{result.days:g}"] if result.days is not None else ["--minutes", f"{result.minutes:g}"]
    words += ["--replications", str(result.replications), "--seed", str(result.seed), "--engine", result.engine]
    return shlex.join(words)
