"""Which design of a test to run: each one on the same people, again and again, against the truth that it cannot see.

Every replication has other people and luck, and a world for each design beside the two of the truth. All worlds have
the same regions of servers, so that the truth is one. Called by `nextone ab --design all`.
"""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

import numpy as np
from rich.table import Table
from rich.text import Text

from nextone.experiments.runs.arms import Arm, Progress, check_run, window_words
from nextone.experiments.runs.compare import check_labels
from nextone.experiments.runs.executor import Execute, Failed, run_all
from nextone.experiments.runs.metrics import IN_WORDS, PRIMARY
from nextone.experiments.runs.number_text import signed
from nextone.experiments.runs.provenance import arms_record, provenance
from nextone.experiments.runs.statistics import Interval, mean_interval
from nextone.sim.scenario import SettingError

from .analysis import linear
from .assignment import MEANINGS, Design, Split, check_split
from .people import People
from .run import ABTest
from .shown import split_json
from .trial import Trial, check_arms, check_trial, run_trial


class Told(NamedTuple):
    """What one test of a design said, and what was true, in percent of the mean were nobody treated."""

    estimate: float
    low: float
    high: float
    truth: float
    sharing: float  # of the estimate, what is due to one world for both arms and not to chance


class Judged(NamedTuple):
    """A design over replications."""

    design: Design
    bias: Interval  # points
    truth: Interval  # percent
    half: float  # of its interval, points
    covered: float  # share of tests whose interval held the truth
    wrong_sign: float  # share of tests that were sure of the opposite of what is true
    sure: float  # share of tests that were sure of a difference
    people: float  # for an interval as wide as by person, so many times the people
    error: float  # root mean square of estimate - truth, points: bias and chance together


@dataclass(frozen=True)
class Designs:
    """All designs, judged."""

    arms: tuple[Arm, Arm]
    split: Split  # of which only the design differs
    judged: tuple[Judged, ...]
    told: dict[Design, list[Told]]
    seed: int
    replications: int
    minutes: float
    provenance: dict[str, Any]


def compare_designs(
    arms: Sequence[Arm],
    split: Split,
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float = 60.0,
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> Designs:
    """Judge every design by so many replications. Raises SettingError, TooFewReplications or RunFailed."""
    check_run(replications=replications, minutes=minutes, seed=seed, workers=workers)
    check_labels(arms)
    check_arms(arms)
    check_trial(arms[0].scenario, 0.0, None)
    if len(arms) != 2:
        raise SettingError(f"--design all: compares two arms, not {len(arms)}; give one beside the control")
    splits = [split._replace(design=design) for design in get_args(Design)]
    for each in splits:
        check_split(each, None)
    made = provenance(arms, seed=seed, replications=replications, minutes=minutes, days=None, engine="event")
    both = arms[0], arms[1]
    trials = [
        Trial(both, each, seed, r, minutes, None, everybody=who)
        for r in range(replications)
        for each, who in [(splits[0], 0), (splits[0], 1), *((each, None) for each in splits)]
    ]
    told: dict[Design, list[Told]] = {each.design: [] for each in splits}
    waiting: dict[int, list[tuple[Trial, People]]] = {}
    with closing((execute or run_all)(partial(next, iter(trials), None), workers, run_trial)) as outcomes:
        for done, (trial, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failed):
                raise outcome.raised()
            mine = waiting.setdefault(trial.replication, [])
            mine.append((trial, outcome))
            if len(mine) == 2 + len(splits):
                for name, row in _told(waiting.pop(trial.replication)).items():
                    told[name].append(row)
            if progress:
                progress(done, len(trials))
    base = np.mean([(each.high - each.low) / 2 for each in told["person"]])
    verdicts = tuple(judged(name, rows, float(base)) for name, rows in told.items())
    return Designs(both, split, verdicts, told, seed, replications, minutes, made)


def _told(worlds: Sequence[tuple[Trial, People]]) -> dict[Design, Told]:
    """What each design said in one replication."""
    alone = tuple(next(people for trial, people in worlds if trial.everybody == arm) for arm in (0, 1))
    out: dict[Design, Told] = {}
    for trial, people in worlds:
        if trial.everybody is not None:
            continue
        test = ABTest(trial.arms, trial.split, trial.seed, trial.minutes, None, 0.0, people, alone)
        found, truth, moved = test.difference(1, PRIMARY), test.truth[1, PRIMARY], test.spill[1, PRIMARY]
        if found is None or truth is None or moved is None:
            raise SettingError(f"{trial}: nobody is in an arm by {trial.split.design}; give more people or minutes")
        base = float(linear(alone[0].sums[PRIMARY]).mean()) / 100
        d = found.fixed
        out[trial.split.design] = Told(d.diff / base, d.low / base, d.high / base, truth.diff / base, moved.bias)
    return out


def judged(design: Design, rows: Sequence[Told], person_half: float) -> Judged:
    estimate, low, high, truth, sharing = np.array(rows).T
    half = (high - low) / 2
    sure = (low > 0) | (high < 0)
    bias, true = mean_interval(sharing), mean_interval(truth)
    assert bias is not None and true is not None
    return Judged(
        design, bias, true, float(half.mean()), float(((low <= truth) & (truth <= high)).mean()),
        float((sure & (estimate * truth < 0)).mean()), float(sure.mean()),
        float((half.mean() / person_half) ** 2), math.sqrt(float(((estimate - truth) ** 2).mean())),
    )  # fmt: skip


def sentences(found: Designs) -> list[str]:
    """Which design to run here, and how wrong the usual one would be."""
    person = next(each for each in found.judged if each.design == "person")
    best = min(found.judged, key=lambda each: each.error) if _is_moved(person) else person
    people = found.arms[0].scenario.population.users
    told = [
        f"The usual test, by person, is {_off(person)}: true is {signed(person.truth.mean)} %, and "
        f"{person.covered:.0%} of its intervals hold that."
    ]
    if best.design == person.design:
        return [*told, f"Run it: with {people:,} people no other design would come surely nearer to the truth."]
    return [
        *told,
        f"Run {best.design} instead ({MEANINGS[best.design]}): it is {_off(best)}, and off by {best.error:.3g} points "
        f"in all, chance included, where the usual test is by {person.error:.3g}.",
    ]  # fmt: skip


def _is_moved(each: Judged) -> bool:
    return not each.bias.low <= 0 <= each.bias.high


def _off(each: Judged) -> str:
    if not _is_moved(each):
        return f"not moved by sharing, as far as can be told ({signed(each.bias.mean)} points)"
    return f"moved by {signed(each.bias.mean)} points because arms share servers"


def table(found: Designs) -> Table:
    """A row for each design."""
    people, split = found.arms[0].scenario.population.users, found.split
    caption = (
        f"{found.arms[1].label} against {found.arms[0].label}, {IN_WORDS[PRIMARY]}; {found.replications} replications "
        f"of {people:,} people, {window_words(found.minutes, None)}, {split.regions} regions, stretches of "
        f"{split.period_min:g} min, {split.shares[1]:.0%} treated, seed {found.seed}. Bias: what sharing moves, without"
        " chance. Holds: intervals that hold the truth, of 95 % asked. Wrong: tests sure of the opposite. People: for "
        "intervals as narrow as by person. Error: root mean square of test less truth."
    )
    out = Table(title="Designs of an A/B test", caption=Text(caption), caption_justify="left")
    out.add_column("design")
    for head in ("bias, points", "±interval", "holds", "wrong", "sure", "people", "error"):
        out.add_column(head, justify="right")
    for each in found.judged:
        out.add_row(
            each.design, f"{signed(each.bias.mean)} ±{each.bias.high - each.bias.mean:.2g}", f"{each.half:.3g}",
            *(f"{share:.0%}" for share in (each.covered, each.wrong_sign, each.sure)), f"×{each.people:.2g}",
            f"{each.error:.3g}",
        )  # fmt: skip
    return out


def as_json(found: Designs) -> dict[str, Any]:
    """Everything that was found, and what it takes to run it again."""
    return {
        "verdict": sentences(found),
        "designs": [
            each._asdict() | {"bias": each.bias._asdict(), "truth": each.truth._asdict()} for each in found.judged
        ],
        "told": {name: [each._asdict() for each in rows] for name, rows in found.told.items()},
        "split": split_json(found.split), "seed": found.seed, "replications": found.replications,
        "minutes": found.minutes, "arms": arms_record(found.arms), "provenance": found.provenance,
    }  # fmt: skip
