"""An A/B test and the truth beside it: one world with both arms, and one for each arm with everybody in it.

Called by `nextone ab`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from nextone.experiments.runs.arms import Arm, Progress, check_run
from nextone.experiments.runs.compare import check_labels
from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.metrics import GUARD_RAILS, LIMITS, PRIMARY, Metric, metric_named
from nextone.experiments.runs.provenance import provenance
from nextone.experiments.runs.statistics import PairedDifference, many_looked_at, one_is_best
from nextone.experiments.runs.verdict import rail_of
from nextone.sim.config import MINUTES
from nextone.sim.state import Array

from .analysis import Found, Spill, between, same_people, spill
from .assignment import LARGEST_RATIO_P, Split, check_split, ratio_p
from .people import People, Sums
from .trial import Trial, check_arms, check_trial, in_both, run_trial


@dataclass(frozen=True, repr=False)
class ABTest:
    """A finished test of one population."""

    arms: tuple[Arm, ...]  # the control first
    split: Split
    seed: int
    minutes: float | None
    days: float | None
    before: float
    people: People  # of the test
    alone: tuple[People, ...]  # by arm: the same people were everybody in it
    limits: Mapping[str, float] = field(default_factory=lambda: dict(LIMITS))
    provenance: Mapping[str, Any] = field(default_factory=dict)
    layer: Arm | None = None  # what another test treats `split.layer` of the people with

    @property
    def treated(self) -> range:
        return range(1, len(self.arms))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(metric_named(name) for name in self.people.sums)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """People in each arm who opened the app in the test."""
        return tuple(int((self.people.arm == a).sum()) for a in range(len(self.arms)))

    @cached_property
    def ratio_p(self) -> float | None:
        """Of the numbers of people by the shares that were asked for; None where few units were hashed."""
        hashed = self.split.design in ("person", "budget")
        return ratio_p(self.counts, self.split.shares) if hashed else None

    @property
    def ratio_is_off(self) -> bool:
        return self.ratio_p is not None and self.ratio_p < LARGEST_RATIO_P

    @cached_property
    def found(self) -> dict[tuple[int, str], Found | None]:
        """By arm and metric: what the test says, sure by Holm over the arms in the primary metric, and by Benjamini and
        Hochberg in the others together."""
        raw = {(a, m.name): self.difference(a, m.name) for a in self.treated for m in self.metrics}
        for judge, keys in (
            (one_is_best, [key for key in raw if key[1] == PRIMARY]),
            (many_looked_at, [key for key in raw if key[1] != PRIMARY]),
        ):
            judged = judge([each and each.fixed for key in keys for each in (raw[key],)])
            raw |= {
                key: each and each._replace(fixed=d)
                for key, d in zip(keys, judged, strict=True)
                for each in (raw[key],)
                if d is not None
            }
        return raw

    def difference(self, arm: int, metric: str, within: Array | None = None) -> Found | None:
        """What the test says of one arm and metric, of all people or those within a segment, (N,) bool."""
        rows = self._of_two(arm) if within is None else self._of_two(arm) & within
        people, before = self.people, self.people.before.get(metric)
        unit = people.unit[rows] if self.split.design in ("switchback", "cluster") else None
        return between(people.sums[metric].of(rows), people.arm[rows] == arm, unit, before and before.of(rows))

    def _of_two(self, arm: int) -> Array:
        return np.isin(self.people.arm, (0, arm))

    def row(self, arm: int, metric: str) -> tuple[Found | None, PairedDifference | None, Spill | None]:
        """What the test says, what is true, and how far sharing a world moves the test."""
        key = arm, metric
        return self.found[key], self.truth[key], self.spill[key]

    @cached_property
    def truth(self) -> dict[tuple[int, str], PairedDifference | None]:
        """By arm and metric: everybody treated against nobody, the same people and luck."""
        opened = self.people.arm >= 0
        return {
            (a, m.name): same_people(*(self.alone[k].sums[m.name].of(opened) for k in (0, a)))
            for a in self.treated
            for m in self.metrics
        }

    @cached_property
    def spill(self) -> dict[tuple[int, str], Spill | None]:
        """By arm and metric: how far sharing a world moves the test."""
        return {
            (a, m.name): spill(
                self.people.sums[m.name], self.people.arm, (self.alone[0].sums[m.name], self.alone[a].sums[m.name]), a
            )
            for a in self.treated
            for m in self.metrics
        }  # fmt: skip

    def rails(self, arm: int) -> dict[str, str]:
        """Whether each guard rail is kept, by the test."""
        found = {m.name: self.found[arm, m.name] for m in self.metrics if m.group == GUARD_RAILS}
        return {name: rail_of(each and each.fixed, name, self.limits) for name, each in found.items()}

    def looks(self, arm: int) -> list[Found | None]:
        """The primary metric at each look while the test runs, of the people seen so far."""
        rows = self._of_two(arm)
        opened, out = int(rows.sum()), []
        for k in range(self.people.looks.shape[1]):
            seen = rows & (self.people.first <= k)
            minutes = self.people.looks[seen, k].astype(np.float64)
            out.append(between(Sums(minutes, np.ones(len(minutes))), self.people.arm[seen] == arm, planned=opened))
        return out

    def segments(self, arm: int) -> list[tuple[str, str, int, Found | None]]:
        """The primary metric by device, network and activity: segment, group, people in it, what the test says."""
        out = []
        for name, (groups, which) in self.people.segments.items():
            for k, group in enumerate(groups):
                within = which == k
                many = int((self._of_two(arm) & within).sum())
                out.append((name, group, many, self.difference(arm, PRIMARY, within) if many else None))
        return out


def run_test(
    arms: Sequence[Arm],
    split: Split,
    *,
    seed: int = 0,
    replication: int = 0,
    minutes: float | None = None,
    days: float | None = None,
    before: float = 0.0,
    limits: Mapping[str, float] = LIMITS,
    layer: Arm | None = None,
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> ABTest:
    """Run the test and the truth, a world each. minutes: of the window in which everybody opens the app once; or days,
    in which people come back, after so many days before the test. layer: the treatment of another test, which
    `split.layer` of the people are in, whatever their arm. Servers are those that the control needs.

    Raises SettingError for what cannot be run, and RunFailed."""
    if minutes is None and days is None:
        minutes = MINUTES
    check_run(minutes=minutes, days=days, seed=seed, workers=workers)
    check_labels(arms)
    check_arms(arms)
    check_split(split, minutes)
    check_trial(arms[0].scenario, before, days)
    layered = () if layer is None else in_both(arms, layer)
    check_arms((arms[0], *layered))
    made = provenance((*arms, *layered), seed=seed, replications=1, minutes=minutes, days=days, engine="event")
    who = (None, *range(len(arms)))
    trials = [Trial(tuple(arms), split, seed, replication, minutes, days, before, arm, layered) for arm in who]
    found: dict[int | None, People] = {}
    for done, (trial, people) in enumerate(results(trials, workers, run_trial, execute), start=1):
        found[trial.everybody] = people
        if progress:
            progress(done, len(trials))
    alone = tuple(found[arm] for arm in range(len(arms)))
    return ABTest(tuple(arms), split, seed, minutes, days, before, found[None], alone, dict(limits), made, layer)
