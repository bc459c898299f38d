"""Do the intervals and alarms of A/B tests hold what they promise? On simulated people, between arms that are equal.

Populations live two days under the control. Each is hashed into two arms again and again by other salts; the second
day is the test, the first the day before it. There is no difference, so an interval that leaves 0 out is a miss.
Run as a command, which writes a page: python -m nextone.experiments.ab.checks docs/evidence/ab-tests.md
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.experiments.runs.arms import BASELINE_POLICY, Arm
from nextone.experiments.runs.executor import results
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.metrics import PRIMARY
from nextone.experiments.runs.statistics import upper_limit
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

from .assignment import LARGEST_RATIO_P, Split, arm_of_each, ratio_p
from .people import People
from .run import ABTest
from .trial import Trial, run_trial

HALF = Split("person", (0.5, 0.5))
POPULATIONS, PEOPLE, TESTS = 20, 1_000, 2_000
SPLITS, AT = 10_000, 20_000  # of the ratio check: splits, and people in each


class Misses(NamedTuple):
    """How often the intervals of a metric left out that there is no difference."""

    metric: str
    of: int  # tests
    fixed: int
    cuped: int


def populations(scenario: Scenario, many: int, workers: int = 1, seed: int = 0) -> list[People]:
    """People of so many worlds, two days under the control; the second is the test."""
    control = Arm(BASELINE_POLICY, BASELINE_POLICY, scenario)
    trials = (Trial((control,), HALF, seed, r, None, 1.0, 1.0, everybody=0) for r in range(many))
    found: dict[int, People] = {trial.replication: people for trial, people in results(trials, workers, run_trial)}
    return [found[r] for r in sorted(found)]


def equal_arms(people: People, scenario: Scenario, salt: str) -> ABTest:
    """A test of nothing: people who have lived through it, hashed into two arms."""
    arms = arm_of_each(salt, len(people.arm), HALF.shares)
    hashed = people._replace(arm=np.where(people.arm >= 0, arms, -1))
    both = (Arm("a", BASELINE_POLICY, scenario), Arm("b", BASELINE_POLICY, scenario))
    return ABTest(both, HALF._replace(salt=salt), 0, None, 1.0, 1.0, hashed, (people, people))


def misses(found: Sequence[People], scenario: Scenario, tests: int) -> list[Misses]:
    """Of intervals at the end, by metric, with and without CUPED; tests: over all populations together."""
    counts = {name: np.zeros(3, int) for name in found[0].sums}
    for test in _tests(found, scenario, tests):
        plain = ABTest(test.arms, test.split, 0, None, 1.0, 0.0, test.people._replace(before={}), test.alone)
        for name, count in counts.items():
            both = plain.difference(1, name), test.difference(1, name)
            if None not in both:
                count += (1, *(each is not None and each.fixed.p < 0.05 for each in both))
    return [Misses(name, *count.tolist()) for name, count in counts.items()]


def peeking(found: Sequence[People], scenario: Scenario, tests: int) -> tuple[int, int]:
    """In how many tests a look at each hour met an interval without 0: of those that always hold, and fixed ones."""
    always = fixed = 0
    for test in _tests(found, scenario, tests):
        looks = [look for look in test.looks(1) if look is not None and look.always is not None]
        always += any(not look.always[0] <= 0 <= look.always[1] for look in looks if look.always)
        fixed += any(look.fixed.p < 0.05 for look in looks)
    return always, fixed


def _tests(found: Sequence[People], scenario: Scenario, tests: int) -> Iterator[ABTest]:
    for k in range(tests):
        yield equal_arms(found[k % len(found)], scenario, f"A/A {k}")


def alarms(people: int, share: float, splits: int) -> int:
    """In how many of so many splits, of which the treated get this share, the ratio check at half and half alarms."""
    shares = (1 - share, share)
    counts = (np.bincount(arm_of_each(f"ratio {k}", people, shares), minlength=2) for k in range(splits))
    return sum(ratio_p(each.tolist(), HALF.shares) < LARGEST_RATIO_P for each in counts)


def page(rows: Sequence[Misses], looks: tuple[int, int], tests: int, ratio: tuple[int, int]) -> str:
    """What was found, as Markdown."""
    first = next(row for row in rows if row.metric == PRIMARY)
    held = [1 - missed / first.of for missed in (first.fixed, first.cuped)]
    always, peeked = looks
    limit, (found, false) = upper_limit(always, tests), (100 * each / SPLITS for each in ratio)
    asked = [
        ("fixed intervals of app_min hold, 93.5 to 96.5 %", _covered(first.fixed, first.of), _within(held[0])),
        ("the same with CUPED", _covered(first.cuped, first.of), _within(held[1])),
        ("missed at some hourly look, always-valid ones: upper 99 % limit at most 5.5 %",
         f"{100 * always / tests:.2f}, limit {100 * limit:.2f}", limit <= 0.055),
        (f"52 to 48 found at {AT:,} people: at least 99 %", f"{found:.2f}", found >= 99),
        ("false alarms of that check: .1 %", f"{false:.2f}", false <= 0.2),
    ]  # fmt: skip
    lines = [
        "# Intervals of A/B tests", "",
        "By `python -m nextone.experiments.ab.checks docs/evidence/ab-tests.md`.",
        f"{POPULATIONS} populations of {PEOPLE:,} people live two days under cloud_only. They are hashed into two arms "
        f"by {tests:,} salts;",
        "the second day is the test, the first the day before it. The ratio check has "
        f"{SPLITS:,} splits of {AT:,} people.", "",
        "| asked | found, % | |", "|---|---|---|",
        *(f"| {what} | {shown} | {'kept' if kept else '**not kept**'} |" for what, shown, kept in asked), "",
        f"Fixed intervals, looked at each hour, missed at some look in {100 * peeked / tests:.1f} % of tests.", "",
        *_beyond(rows), "By metric, how often fixed intervals held, %:", "",
        "| metric | tests | plain | with CUPED |", "|---|---|---|---|",
        *(f"| {name} | {of:,} | {_covered(fixed, of)} | {_covered(cuped, of)} |" for name, of, fixed, cuped in rows),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _beyond(rows: Sequence[Misses]) -> list[str]:
    """A line on metrics whose intervals do not hold as often as asked."""
    out = [row.metric for row in rows if row.of and not all(_within(1 - n / row.of) for n in (row.fixed, row.cuped))]
    return [f"Outside 93.5 to 96.5 %: {', '.join(out)}.", ""] if out else []


def _within(held: float) -> bool:
    return 0.935 <= held <= 0.965


def _covered(missed: int, of: int) -> str:
    return f"{100 * (1 - missed / of):.1f}" if of else "-"


def main(path: Path) -> None:
    """Run everything and write the page."""
    scenario = with_settings(Scenario(), [f"population.users={PEOPLE}"])
    found = populations(scenario, POPULATIONS, workers=2)
    ratio = alarms(AT, 0.48, SPLITS), alarms(AT, 0.5, SPLITS)
    write_text(path, page(misses(found, scenario, TESTS), peeking(found, scenario, TESTS), TESTS, ratio))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
