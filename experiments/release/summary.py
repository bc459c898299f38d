"""Releases again and again: how often a plan stops each fault and a harmless version, how soon, and what it costs.

Called by `nextone release`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from nextone.experiments.ab.trial import check_arms
from nextone.experiments.runs.arms import Arm, Progress, check_run
from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.provenance import provenance
from nextone.experiments.runs.statistics import CONFIDENCE, Interval, mean_interval, upper_limit
from nextone.sim.scenario import SettingError

from .faults import HARMLESS, Fault
from .plan import Plan
from .run import Release, Released, run_release, versions_of


class Share(NamedTuple):
    """So many of so many, as a share with its 95 % interval (Clopper and Pearson)."""

    of: int
    share: float
    low: float
    high: float


class Row(NamedTuple):
    """One plan and fault over many releases; minutes count from the first wave."""

    plan: str
    fault: Fault | None
    stopped: Share  # rolled back
    stop_min: tuple[float, float] | None  # median and 90 % of those that were
    people: float  # median of who ever had version 2
    hours: Interval  # mean of what they spent in the app with it, up to the end of the run
    released: Share
    release_min: float | None  # median of those that reached the end of the last wave

    @property
    def label(self) -> str:
        """What version 2 is."""
        return self.fault.kind if self.fault else "as planned"


@dataclass(frozen=True)
class Releases:
    """Everything that was run."""

    plans: tuple[Plan, ...]
    found: Mapping[tuple[int, Fault | None], tuple[Released, ...]]  # by plan and fault, in the order of replications
    seed: int
    runs: int
    provenance: Mapping[str, Any]

    def firsts(self) -> list[tuple[Plan, Released]]:
        """The first release of each plan and fault; the table of the very first was kept."""
        return [(self.plans[k].with_fault(fault), releases[0]) for (k, fault), releases in self.found.items()]

    def rows(self) -> list[Row]:
        """Of at least ten runs each."""
        return [_row(self.plans[k].name, fault, releases) for (k, fault), releases in self.found.items()]


def run_releases(
    plans: Sequence[Plan],
    faults: Sequence[Fault | None],
    *,
    runs: int = 1,
    seed: int = 0,
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> Releases:
    """Every plan with every fault, None: as the plan says. With several runs, a harmless version as well.

    Raises SettingError, TooFewReplications or RunFailed."""
    check_run(replications=runs if runs != 1 else 10, seed=seed, workers=workers)
    if runs > 1 and HARMLESS not in [fault and fault.kind for fault in faults]:
        faults = [*faults, Fault(HARMLESS, 0.0)]
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        raise SettingError(f"two plans are called {next(n for n in names if names.count(n) > 1)!r}; name them apart")
    arms: list[Arm] = []
    for plan in plans:
        for fault in faults:
            versions = versions_of(plan if fault is None else plan.with_fault(fault))
            check_arms(versions)
            arms += versions
    made = provenance(arms, seed=seed, replications=runs, minutes=None, days=plans[0].hours / 24, engine="event")
    asked = {(k, fault or plan.fault): plan for k, plan in enumerate(plans) for fault in faults}
    kept = next(iter(asked))
    tasks = [
        Release(plan.with_fault(key[1]), seed, r, kept=r == 0 and key == kept)
        for r in range(runs)
        for key, plan in asked.items()
    ]
    found: dict[tuple[int, Fault | None], dict[int, Released]] = {key: {} for key in asked}
    for done, (task, released) in enumerate(results(tasks, workers, run_release, execute), start=1):
        found[names.index(task.plan.name), task.plan.fault][task.replication] = released
        if progress:
            progress(done, len(tasks))
    ordered = {key: tuple(each[r] for r in sorted(each)) for key, each in found.items()}
    return Releases(tuple(plans), ordered, seed, runs, made)


def _row(plan: str, fault: Fault | None, releases: Sequence[Released]) -> Row:
    stops = [at for each in releases if (at := each.minute_of("rolled back")) is not None]
    ends = [at for each in releases if (at := each.minute_of("released")) is not None]
    hours = mean_interval([each.hours for each in releases])
    assert hours is not None
    when = (float(np.median(stops)), float(np.quantile(stops, 0.9, method="higher"))) if stops else None
    return Row(
        plan, fault, share_of(len(stops), len(releases)), when, float(np.median([each.people for each in releases])),
        hours, share_of(len(ends), len(releases)), float(np.median(ends)) if ends else None,
    )  # fmt: skip


def share_of(happened: int, of: int) -> Share:
    """What happened so many times of so many, with the exact interval of its chance."""
    miss = (1 - CONFIDENCE) / 2
    low = 0.0 if happened == 0 else float(betaincinv(happened, of - happened + 1, miss))
    return Share(of, happened / of, low, upper_limit(happened, of, 1 - miss))
