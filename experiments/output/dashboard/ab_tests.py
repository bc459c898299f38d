"""What `nextone ab` saved as a page shows it: the test beside the truth, its looks, or several tests compared."""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from nextone.experiments.ab.saved import Saved, read_saved
from nextone.experiments.runs.metrics import GUARD_RAILS, PRIMARY, Metric
from nextone.experiments.runs.number_text import MISSING, name_and_unit, signed
from nextone.experiments.runs.statistics import Interval, PairedDifference

from .comparisons import ALL, ONE, against_cell, metric_choices
from .figures import MARKS, Point, Series, css_colours
from .tables import Cell, Row, Table, number_cell, records_table

TEST, TRUTH = "the test says", "the truth"


@lru_cache(maxsize=32)
def ab_view(folder: Path, stamp: str) -> Saved:
    """What is in a folder. stamp: it changes when the files do. Raises SettingError."""
    del stamp
    return read_saved(folder)


def choices(saved: Saved) -> list[tuple[str, str]]:
    """(name, what it means) of the metrics of one test."""
    return metric_choices(tuple({row.metric.name: row.metric for row in saved.rows}.values()))


def test_table(saved: Saved, which: str, chosen: str, arms: Collection[str]) -> Table:
    """A row for each metric and arm of one test: the control, the test, the truth, and what sharing moves."""

    def shown(metric: Metric) -> bool:
        usual = metric.group == GUARD_RAILS or metric.name in (PRIMARY, "requests")
        return which == ALL or (metric.name == chosen if which == ONE else usual)

    rows = tuple(
        Row(
            (
                Cell(name_and_unit(row.metric)), Cell(row.arm),
                number_cell(MISSING if row.control is None else f"{row.control:.4g}"), _cell(row.test, row.metric),
                _cell(row.truth, row.metric), number_cell(MISSING if row.sharing is None else signed(row.sharing)),
            ),
            row.record,
        )
        for row in saved.rows
        if shown(row.metric) and row.arm in arms
    )  # fmt: skip
    return Table(("metric", "arm", saved.arms[0].label, "A/B test, %", "truth, %", "sharing, points"), rows)


def _cell(d: PairedDifference | None, metric: Metric) -> Cell:
    return Cell(MISSING, "dim") if d is None else against_cell(d, metric)


def points_of(saved: Saved, metric: str, arms: Collection[str]) -> list[Point]:
    """What the test says and what is true of one metric, for each arm; those without a percentage are left out."""
    points, colours = [], css_colours(len(saved.arms))
    for a, arm in enumerate(saved.treated):
        row = next((each for each in saved.rows if each.arm == arm and each.metric.name == metric), None)
        for what, d in ((TEST, row and row.test), (TRUTH, row and row.truth)):
            end = _end(d)
            if arm in arms and end is not None:
                points.append(_point(f"{arm}: {what}", end, colours[a], MARKS[a % len(MARKS)], what == TEST))
    return points


def _end(d: PairedDifference | None) -> Interval | None:
    """In percent; None where there is none."""
    if d is None or d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:
        return None
    return Interval(d.diff_pct, d.diff_pct_low, d.diff_pct_high, d.n)


def _point(label: str, end: Interval, colour: str, mark: str, filled: bool = True) -> Point:
    told = f"{label}: {end.mean:+.3g} % [{end.low:+.3g}, {end.high:+.3g}]"
    return Point(label, end.mean, end.low, end.high, told, colour, mark, filled)


def looks_of(saved: Saved, arms: Collection[str]) -> list[Series]:
    """The primary metric at each look while the test ran; none where there was one look."""
    colours = css_colours(len(saved.arms))
    return [
        Series(arm, range(1, 1 + len(looks)), [
            None if (end := _end(d)) is None else _point(arm, end, colours[a], MARKS[a % len(MARKS)]) for d in looks
        ])
        for a, (arm, looks) in enumerate(saved.looks.items()) if arm in arms and len(looks) > 1
    ]  # fmt: skip


def compared_series(saved: Saved) -> list[Series]:
    """What each of several tests says, apart from chance, beside the truth."""
    labels, (first, second) = [each.label for each in saved.judged], css_colours(2)
    says = [each.truth._replace(mean=each.says, low=each.truth.mean + each.bias.low,
                                high=each.truth.mean + each.bias.high) for each in saved.judged]  # fmt: skip
    return [
        Series(TEST, labels, [_point(*each, first, MARKS[0]) for each in zip(labels, says, strict=True)]),
        Series(TRUTH, labels, [_point(each.label, each.truth, second, MARKS[1]) for each in saved.judged]),
    ]


def compared_table(saved: Saved) -> Table:
    """A row for each of several tests."""
    names = {
        "test": "label", "holds the truth": "covered", "sure of the opposite": "wrong_sign", "sure": "sure",
        "± of a test": "half", "people": "people", "error": "error",
    }  # fmt: skip
    records = [
        {head: each[name] for head, name in names.items()}
        | {"bias": each["bias"]["mean"], "bias from": each["bias"]["low"], "bias to": each["bias"]["high"]}
        for each in saved.told["tests"]
    ]
    return records_table(records, list(records[0]))
