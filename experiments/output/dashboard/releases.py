"""What `nextone release` saved as a page shows it: the verdict, what happened when, the monitor minute by minute."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.release import GATES, MONITOR, RELEASE
from nextone.experiments.runs.parquet import read_record
from nextone.experiments.runs.provenance import read_told, understood

from .tables import Table, records_table

Columns = Mapping[str, Sequence[Any]]
Line = tuple[str, Sequence[float], Sequence[float | None]]


class ReleaseView(NamedTuple):
    """A saved release: of many, the first."""

    told: Mapping[str, Any]
    verdict: tuple[str, ...]
    versions: tuple[str, str]  # labels
    monitor: Columns
    gates: Columns


def _ratio(top: str, bottom: str, times: float = 1.0) -> Callable[[Columns], list[float | None]]:
    """One column over another; None where that is 0."""
    return lambda of: [times * a / b if b else None for a, b in zip(of[top], of[bottom], strict=True)]


def _as_it_is(name: str) -> Callable[[Columns], list[float | None]]:
    return lambda of: list(_known(iter(of[name])))


SHOWN: dict[str, tuple[str, Callable[[Columns], list[float | None]]]] = {
    "phones": ("phones in the app", _as_it_is("phones")),
    "valid_play": ("effective views per impression", _ratio("valid_plays", "impressions")),
    "failures": ("failed decisions, %", _ratio("failures", "decisions", 100.0)),
    "latency_p95_ms": ("time of a decision, 95th percentile, ms", _as_it_is("latency_p95_ms")),
    "latency_p50_ms": ("time of a decision, median, ms", _as_it_is("latency_p50_ms")),
    "stale_picks": ("picks by an older ranking, %", _ratio("stale_picks", "picks", 100.0)),
    "decisions": ("decisions", _as_it_is("decisions")),
    "app_min": ("minutes in the app", _as_it_is("app_min")),
    "score": ("score of the candidate put first", _as_it_is("score")),
    "pick_rank": ("its place in the server's order", _as_it_is("pick_rank")),
}
"""What can be drawn of the monitor, a number for each minute and version."""


def read_release(folder: Path) -> ReleaseView:
    """What is in a folder. Raises SettingError."""
    told = read_told(folder / RELEASE, "a release", "nextone release")
    monitor, gates = (read_record(folder / name)[0].to_pydict() for name in (MONITOR, GATES))
    with understood("a release", folder, told["provenance"]):
        first, second = (each["label"] for each in told["plans"][0]["versions"])
        view = ReleaseView(told, tuple(map(str, told["verdict"])), (first, second), monitor, gates)
        assert view.verdict and all(lines_of(view, name) for name in SHOWN) and events(view) is not None
        return view


@lru_cache(maxsize=32)
def release_view(folder: Path, stamp: str) -> ReleaseView:
    """`read_release`, once. stamp: it changes when the files do."""
    del stamp
    return read_release(folder)


def lines_of(view: ReleaseView, name: str) -> list[Line]:
    """A line for each version, by minute."""
    found: list[Line] = []
    for version, label in enumerate(view.versions, 1):
        rows = [k for k, each in enumerate(view.monitor["version"]) if each == version]
        own = {column: [values[k] for k in rows] for column, values in view.monitor.items()}
        found.append((label, own["minute"], SHOWN[name][1](own)))
    return found


def events(view: ReleaseView) -> list[tuple[float, str, str]]:
    """(minute, what, why) of the first release."""
    plan = view.told["plans"][0]
    return [
        (
            float(each["minute"]),
            f"{100 * plan['waves'][each['wave'] - 1]['share']:g} %" if each["what"] == "wave" else str(each["what"]),
            str(each["why"]),
        )
        for each in view.told["releases"][0]["events"]
    ]


def gate_names(view: ReleaseView) -> list[tuple[int, str]]:
    """(number, what it looks at) of the gates."""
    return sorted(dict(zip(view.gates["gate"], view.gates["metric"], strict=True)).items())


def gate_lines(view: ReleaseView, gate: int) -> list[Line]:
    """What a gate measured at each minute: the harm, the end of its interval that decides, and the limit."""
    rows = [k for k, each in enumerate(view.gates["gate"]) if each == gate]
    minutes = [view.gates["minute"][k] for k in rows]
    words = (("harm", "value"), ("surely at least", "low"), ("limit", "limit"))
    return [(word, minutes, list(_known(view.gates[name][k] for k in rows))) for word, name in words]


def _known(values: Iterator[Any]) -> Iterator[float | None]:
    yield from (None if x is None or not math.isfinite(x) else x for x in values)


def monitor_table(view: ReleaseView) -> Table:
    """Every row of the monitor."""
    names = list(view.monitor)
    known = (list(_known(iter(view.monitor[name]))) for name in names)
    return records_table([dict(zip(names, row, strict=True)) for row in zip(*known, strict=True)], names)
