"""A comparison as a page shows it: the verdict, the arms that are switched on, one metric's intervals."""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.output.report.comparison import read_comparison
from nextone.experiments.output.report.page import difference_cell
from nextone.experiments.questions.headroom import ladder_of
from nextone.experiments.questions.headroom_shown import headroom_sentences
from nextone.experiments.questions.sensitivity_file import shipped_table
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.comparison import Comparison, subtitle
from nextone.experiments.runs.comparison_files import comparison_json
from nextone.experiments.runs.metrics import GUARD_RAILS, PRICES, PRIMARY, Metric, metric_named
from nextone.experiments.runs.number_text import interval_text, name_and_unit
from nextone.experiments.runs.provenance import placed
from nextone.experiments.runs.statistics import PairedDifference
from nextone.experiments.runs.verdict import verdict

from .figures import MARKS, Point, css_colours
from .lives import Asked
from .tables import Cell, Row, Table, number_cell

USUAL, ONE, ALL = "usual", "one", "all"
WHICH = {USUAL: "primary metric, guard rails, prices", ONE: "the chosen metric", ALL: "every metric"}


class ComparisonView(NamedTuple):
    """A comparison that was read."""

    result: Comparison
    verdict: tuple[str, ...]
    records: tuple[dict[str, Any], ...]  # of `comparison_json`: a row for each arm and metric, in that order

    @property
    def labels(self) -> list[str]:
        """The labels of all arms, the baseline first."""
        return [arm.label for arm in self.result.arms]

    def record(self, arm: int, metric: int) -> dict[str, Any]:
        """The row of `comparison_json` for an arm and a metric."""
        return self.records[arm * len(self.result.metrics) + metric]

    def asked(self, label: str) -> Asked:
        """What is needed to simulate a person's life under an arm again."""
        result = self.result
        arm = result.arms[self.labels.index(label)]
        home = result.provenance.get("folder", "")
        arm = placed(Arm(arm.label, str(arm.policy), arm.scenario), home if isinstance(home, str) else "")
        return Asked(str(arm.policy), arm.scenario, result.seed, result.minutes, result.days)


@lru_cache(maxsize=32)
def comparison_view(folder: Path, stamp: str) -> ComparisonView:
    """The comparison in a folder. stamp: it changes when the files do. Raises SettingError."""
    del stamp
    result = read_comparison(folder)
    ladder = ladder_of(result)
    said = verdict(result, depends=shipped_table().gains_depend_on()) if ladder is None else headroom_sentences(ladder)
    return ComparisonView(result, tuple(said), tuple(comparison_json(result)["rows"]))


def caption(view: ComparisonView) -> str:
    """What was run."""
    return subtitle(view.result)


def metrics_shown(view: ComparisonView, which: str, chosen: str) -> list[int]:
    """Places of the metrics of a table."""
    metrics = view.result.metrics
    if which == ALL:
        return list(range(len(metrics)))
    if which == ONE:
        return [k for k, metric in enumerate(metrics) if metric.name == chosen]
    return [k for k, metric in enumerate(metrics)
            if metric.group == GUARD_RAILS or metric.name in (PRIMARY, *PRICES)]  # fmt: skip


def comparison_table_of(view: ComparisonView, metrics: list[int], arms: Collection[str]) -> Table:
    """A row for each of these metrics and arms; the baseline is one of the arms."""
    result = view.result
    rows = []
    for m in metrics:
        metric = result.metrics[m]
        for a, label in enumerate(view.labels):
            if label in arms:
                cells = (
                    Cell(name_and_unit(metric)), Cell(result.label(a)),
                    number_cell(interval_text(result.intervals[a][m])),
                    *_difference(result.differences[a][m], metric, baseline=a == 0),
                )  # fmt: skip
                rows.append(Row(cells, view.record(a, m), "dim" if a == 0 else ""))
    base = result.baseline.label
    head = ("metric", "arm", "mean ± half of 95 %", f"over {base}, %", "from, %", "to, %", "no luck")
    return Table(head, tuple(rows))


def _difference(d: PairedDifference | None, metric: Metric, *, baseline: bool) -> tuple[Cell, ...]:
    if d is None:
        return Cell("baseline" if baseline else "–", "dim"), Cell(""), Cell(""), Cell("")
    ends = ("–" if end is None else f"{end:+.2f}" for end in (d.diff_pct_low, d.diff_pct_high))
    return against_cell(d, metric), *map(number_cell, ends), Cell("yes" if d.sure else "no")


def against_cell(d: PairedDifference, metric: Metric) -> Cell:
    """A paired difference, in the form of the report's tables."""
    told = difference_cell(d, metric.better)
    return number_cell(told.text, told.mark)


def forest_points(view: ComparisonView, metric: str, arms: Collection[str]) -> tuple[list[Point], str]:
    """(a point for each arm that is switched on, but the baseline; what they are measured in) of one metric: percent
    of the baseline's mean, or the metric's unit where some arm has no percentage."""
    result = view.result
    m = [each.name for each in result.metrics].index(metric)
    colours = css_colours(len(result.arms))
    each = enumerate(row[m] for row in result.differences)
    found = [(a, d) for a, d in each if d is not None and view.labels[a] in arms]
    percent = all(d.diff_pct is not None for _, d in found)
    unit = "%" if percent else result.metrics[m].unit
    points = []
    for a, d in found:
        middle, low, high = (d.diff_pct, d.diff_pct_low, d.diff_pct_high) if percent else (d.diff, d.low, d.high)
        assert middle is not None and low is not None and high is not None
        told = f"{view.labels[a]}: {middle:+.3g} {unit} [{low:+.3g}, {high:+.3g}]" + ("" if d.sure else ", may be luck")
        points.append(
            Point(result.label(a), middle, low, high, told, colours[a], MARKS[a % len(MARKS)], filled=d.sure)
        )
    return points, unit


def metric_choices(names: tuple[Metric, ...]) -> list[tuple[str, str]]:
    """(name, name with unit and what it means) of metrics, the primary one first."""
    first = sorted(names, key=lambda metric: metric.name != PRIMARY)
    return [(metric.name, f"{name_and_unit(metric)}: {metric.meaning}") for metric in first]


def meaning(name: str) -> str:
    """The meaning of the metric of that name, with its unit."""
    metric = metric_named(name)
    return f"{name_and_unit(metric)}: {metric.meaning}"
