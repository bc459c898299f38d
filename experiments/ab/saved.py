"""What `nextone ab --out DIR` saved, read again: one test with the truth beside it, or several tests compared.

Called by the report and the dashboard.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.ab import AB
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.metrics import Metric, metric_named
from nextone.experiments.runs.provenance import read_told, understood
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.sim.scenario import scenario_from

from .assignment import Split
from .designs import Judged


class Row(NamedTuple):
    """One arm in one metric. record: the row as it was saved."""

    arm: str
    metric: Metric
    control: float | None  # its mean in the test
    test: PairedDifference | None
    truth: PairedDifference | None
    sharing: float | None  # points by which one world for both arms moves the test
    record: Mapping[str, Any]


class Saved(NamedTuple):
    """What a folder holds. told: the whole of `ab.json`."""

    told: Mapping[str, Any]
    verdict: tuple[str, ...]
    arms: tuple[Arm, ...]  # the control first
    rows: tuple[Row, ...]  # of one test; empty where several are compared
    looks: Mapping[str, tuple[PairedDifference | None, ...]]  # by arm, the primary metric at each look
    judged: tuple[Judged, ...]  # of several tests; empty where there is one
    splits: Mapping[str, Split]  # by the label of the test; one has none

    @property
    def treated(self) -> list[str]:
        return [arm.label for arm in self.arms[1:]]

    @property
    def title(self) -> str:
        return f"{', '.join(self.treated)} against {self.arms[0].label}"


def read_saved(folder: Path) -> Saved:
    """What was found. Raises SettingError if it is damaged, or of another version."""
    told = read_told(folder / AB, "an A/B test", "nextone ab")
    with understood("an A/B test", folder, told["provenance"]):
        return _saved(told)


def _saved(told: Mapping[str, Any]) -> Saved:
    looks: dict[str, list[PairedDifference | None]] = {}
    for each in told.get("looks", ()):
        looks.setdefault(each["arm"], []).append(_difference(each))
    several = {label: Split(**{**split, "shares": tuple(split["shares"])}) for label, split in _splits(told)}
    return Saved(
        told, tuple(map(str, told["verdict"])), tuple(_arm(each) for each in told["arms"]),
        tuple(_row(each) for each in told.get("rows", ())), {arm: tuple(each) for arm, each in looks.items()},
        tuple(_judged(each) for each in told.get("tests", ())), several,
    )  # fmt: skip


def _splits(told: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from told.get("splits", {}).items()
    if "split" in told:
        yield "", told["split"]


def _arm(each: Mapping[str, str]) -> Arm:
    return Arm(each["label"], each["policy"], scenario_from(each["scenario"]))


def _row(each: Mapping[str, Any]) -> Row:
    truth = _difference({name.removeprefix("truth_"): v for name, v in each.items() if name.startswith("truth_")})
    metric, control = metric_named(each["metric"]), each["control_mean"]
    return Row(each["arm"], metric, control, _difference(each), truth, each["sharing_bias"], each)


def _difference(each: Mapping[str, Any]) -> PairedDifference | None:
    """None where it was undefined."""
    if each["diff"] is None:
        return None
    numbers = (each[name] for name in ("diff", "diff_abs_low", "diff_abs_high", "diff_pct", "diff_low", "diff_high"))
    diff, low, high, pct, pct_low, pct_high = numbers
    n = each.get("control_units") or 0
    return PairedDifference(diff, low, high, pct, pct_low, pct_high, None, None, n, each["p"], each["sure"])


def _judged(each: Mapping[str, Any]) -> Judged:
    return Judged(**{**each, "bias": Interval(**each["bias"]), "truth": Interval(**each["truth"])})
