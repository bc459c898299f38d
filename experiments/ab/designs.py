"""Which test to run: several on the same people, again and again, against the truth that they cannot see.

Every replication has other people and luck, and a world for each test beside the two of the truth. All worlds have the
same regions of servers, so that the truth is one. Called by `nextone ab`, for the designs of a test (`--design all`),
or for how many people are treated (`--share .01,.1,.5`).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from rich.table import Table
from rich.text import Text
from scipy.special import ndtri

from nextone.experiments.output.drawing import GREY, PALE, bare, curve_of, curves, drawn, save_figure, zero_line
from nextone.experiments.runs.arms import Arm, Progress, check_run, window_words
from nextone.experiments.runs.compare import check_labels
from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.metrics import IN_WORDS, PRIMARY
from nextone.experiments.runs.number_text import signed
from nextone.experiments.runs.provenance import arms_record, provenance
from nextone.experiments.runs.statistics import CONFIDENCE, Interval, mean_interval
from nextone.experiments.runs.verdict import listed
from nextone.sim.inputs.errors import plural
from nextone.sim.scenario import SettingError

from .analysis import linear
from .assignment import MEANINGS, Design, Split, check_split
from .people import People
from .run import ABTest
from .shown import shared_by, split_json
from .size import needed_errors
from .trial import Trial, check_arms, check_trial, run_trial

if TYPE_CHECKING:
    from nextone.experiments.output.drawing import Figure

Z = float(ndtri((1 + CONFIDENCE) / 2))  # standard errors in half of an interval


class Told(NamedTuple):
    """What one test of a design said, and what was true, in percent of the mean were nobody treated."""

    estimate: float
    low: float
    high: float
    truth: float
    sharing: float  # of the estimate, what is due to one world for both arms and not to chance


class Judged(NamedTuple):
    """A test over replications."""

    label: str
    bias: Interval  # points
    truth: Interval  # percent
    half: float  # of its interval, points
    covered: float  # share of tests whose interval held the truth
    wrong_sign: float  # share of tests that were sure of the opposite of what is true
    sure: float  # share of tests that were sure of a difference
    people: float  # for an interval as wide as by person, so many times the people
    error: float  # root mean square of estimate - truth, points: bias and chance together

    @property
    def says(self) -> float:
        """What the test says on average, percent, without the chance of who fell into which arm."""
        return self.truth.mean + self.bias.mean


@dataclass(frozen=True)
class Tried:
    """All tests, judged."""

    arms: tuple[Arm, Arm]
    splits: Mapping[str, Split]  # by label; they differ in the design, or in the share of the treated
    judged: tuple[Judged, ...]
    told: dict[str, list[Told]]
    seed: int
    replications: int
    minutes: float
    provenance: dict[str, Any]

    @property
    def first(self) -> Split:
        return next(iter(self.splits.values()))

    @property
    def by_design(self) -> bool:
        return differ_in_design(self.splits)


def differ_in_design(splits: Mapping[str, Split]) -> bool:
    """Whether tests are compared by their design, and not by how many people are treated."""
    return len({split.design for split in splits.values()}) > 1


def all_designs(split: Split) -> dict[str, Split]:
    """The same test by every design, by person first."""
    return {design: split._replace(design=design) for design in get_args(Design)}


def all_shares(split: Split, shares: Sequence[float]) -> dict[str, Split]:
    """The same test with these shares of people treated."""
    return {f"{100 * share:g} %": split._replace(shares=(1 - share, share)) for share in shares}


def compare_tests(
    arms: Sequence[Arm],
    splits: Mapping[str, Split],
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float = 60.0,
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> Tried:
    """Judge every test by so many replications. Raises SettingError, TooFewReplications or RunFailed."""
    check_run(replications=replications, minutes=minutes, seed=seed, workers=workers)
    check_labels(arms)
    check_arms(arms)
    check_trial(arms[0].scenario, 0.0, None)
    if len(arms) != 2:
        raise SettingError(f"tests are compared of two arms, not of {len(arms)}; give one beside the control")
    for each in splits.values():
        check_split(each, minutes)
    made = provenance(arms, seed=seed, replications=replications, minutes=minutes, days=None, engine="event")
    both = arms[0], arms[1]
    labels = {split: label for label, split in splits.items()}
    first = next(iter(labels))
    trials = [
        Trial(both, each, seed, r, minutes, None, everybody=who)
        for r in range(replications)
        for each, who in [(first, 0), (first, 1), *((each, None) for each in labels)]
    ]
    told: dict[str, list[Told]] = {label: [] for label in splits}
    waiting: dict[int, list[tuple[Trial, People]]] = {}
    for done, (trial, people) in enumerate(results(trials, workers, run_trial, execute), start=1):
        mine = waiting.setdefault(trial.replication, [])
        mine.append((trial, people))
        if len(mine) == 2 + len(splits):
            for each, row in _told(waiting.pop(trial.replication)).items():
                told[labels[each]].append(row)
        if progress:
            progress(done, len(trials))
    half = float(np.mean([(row.high - row.low) / 2 for row in next(iter(told.values()))]))
    verdicts = tuple(judged(label, rows, half) for label, rows in told.items())
    return Tried(both, splits, verdicts, told, seed, replications, minutes, made)


def _told(worlds: Sequence[tuple[Trial, People]]) -> dict[Split, Told]:
    """What each test said in one replication."""
    alone = tuple(next(people for trial, people in worlds if trial.everybody == arm) for arm in (0, 1))
    out: dict[Split, Told] = {}
    for trial, people in worlds:
        if trial.everybody is not None:
            continue
        test = ABTest(trial.arms, trial.split, trial.seed, trial.minutes, None, 0.0, people, alone)
        found, truth, moved = test.difference(1, PRIMARY), test.truth[1, PRIMARY], test.spill[1, PRIMARY]
        if found is None or truth is None or moved is None:
            raise SettingError(f"{trial}: an arm has fewer than two units by {trial.split.design}; give more people")
        base = float(linear(alone[0].sums[PRIMARY]).mean()) / 100
        d = found.fixed
        out[trial.split] = Told(d.diff / base, d.low / base, d.high / base, truth.diff / base, moved.bias)
    return out


def judged(label: str, rows: Sequence[Told], first_half: float) -> Judged:
    """A test by what it said in each replication. first_half: half of the first test's interval, points."""
    estimate, low, high, truth, sharing = np.array(rows).T
    half = (high - low) / 2
    sure = (low > 0) | (high < 0)
    bias, true = mean_interval(sharing), mean_interval(truth)
    assert bias is not None and true is not None
    return Judged(
        label, bias, true, float(half.mean()), float(((low <= truth) & (truth <= high)).mean()),
        float((sure & (estimate * truth < 0)).mean()), float(sure.mean()),
        float((half.mean() / first_half) ** 2), math.sqrt(float(((estimate - truth) ** 2).mean())),
    )  # fmt: skip


def sentences(found: Tried) -> list[str]:
    """How wrong the usual test would be, and which to run instead; or how what it says depends on who is treated."""
    return _of_designs(found) if found.by_design else _of_shares(found)


def _of_designs(found: Tried) -> list[str]:
    person = found.judged[0]
    best = min(found.judged, key=expected_error) if _is_moved(person) else person
    people = found.arms[0].scenario.population.users
    told = [
        f"The usual test, by person, is {_off(person, found)}: true is {signed(person.truth.mean)} %, "
        f"and {person.covered:.0%} of its intervals hold that."
    ]
    enough = people_to_see(best, people)
    seen = (
        [f"To see that difference in four of five tests takes some {enough:,} people by {best.label}."]
        if enough
        else []
    )
    if best is person:
        return [*told, f"Run it: with {people:,} people no other design would come surely nearer to the truth.", *seen]
    return [
        *told,
        f"Run {best.label} instead ({MEANINGS[found.splits[best.label].design]}): it is {_off(best, found)}, and "
        f"off by {best.error:.3g} points in all, chance included, where the usual test is by {person.error:.3g}.",
        *seen,
    ]


def people_to_see(each: Judged, people: int) -> int | None:
    """How many people a test of a design needs to see the true difference with the usual power, if its interval shrinks
    with the root of their number; None where the truth cannot be told from 0. people: those that it was tried with."""
    if each.truth.low <= 0 <= each.truth.high:
        return None
    error = each.half / Z
    return math.ceil(people * needed_errors() ** 2 * (error / each.truth.mean) ** 2)


def expected_error(each: Judged) -> float:
    """How far a test is from the truth, points: its bias, and chance as wide as its own intervals say. What a few
    replications happened to miss by says less."""
    return math.hypot(each.bias.mean, each.half / Z)


def _of_shares(found: Tried) -> list[str]:
    says = [
        f"{signed(each.says)} % ±{each.bias.high - each.bias.mean:.2g} with {each.label} treated"
        for each in found.judged
    ]
    moved = [each for each in found.judged if _is_moved(each)]
    words = "sharing moves none of them, as far as can be told"
    if moved:
        words = f"sharing {shared_by(found.arms)} moves it"
    return [
        f"An A/B test of {found.arms[1].label} says, apart from chance, {listed(says)}; true is "
        f"{signed(found.judged[0].truth.mean)} %: {words}."
    ]


def _is_moved(each: Judged) -> bool:
    return not each.bias.low <= 0 <= each.bias.high


def _off(each: Judged, found: Tried) -> str:
    if not _is_moved(each):
        return f"not moved by sharing, as far as can be told ({signed(each.bias.mean)} points)"
    return f"moved by {signed(each.bias.mean)} points because arms share {shared_by(found.arms)}"


def table(found: Tried) -> Table:
    """A row for each test."""
    people, split = found.arms[0].scenario.population.users, found.first
    caption = (
        f"{found.arms[1].label} against {found.arms[0].label}, {IN_WORDS[PRIMARY]}; {found.replications} replications "
        f"of {people:,} people, {window_words(found.minutes, None)}, {plural(split.regions, 'region')}"
        + (f", stretches of {split.period_min:g} min, {split.shares[1]:.0%} treated" if found.by_design else "")
        + f", seed {found.seed}. Bias: what sharing moves, without"
        " chance. Holds: intervals that hold the truth, of 95 % asked. Wrong: tests sure of the opposite. People: for "
        "intervals as narrow as in the first row. Error: root mean square of test less truth."
    )
    out = Table(title="A/B tests against the truth", caption=Text(caption), caption_justify="left")
    out.add_column("design" if found.by_design else "treated")
    for head in ("bias, points", "±interval", "holds", "wrong", "sure", "people", "error"):
        out.add_column(head, justify="right")
    for each in found.judged:
        out.add_row(
            each.label, f"{signed(each.bias.mean)} ±{each.bias.high - each.bias.mean:.2g}", f"{each.half:.3g}",
            *(f"{share:.0%}" for share in (each.covered, each.wrong_sign, each.sure)), f"×{each.people:.2g}",
            f"{each.error:.3g}",
        )  # fmt: skip
    return out


def as_json(found: Tried) -> dict[str, Any]:
    """Everything that was found, and what it takes to run it again."""
    return {
        "verdict": sentences(found),
        "tests": [
            each._asdict() | {"bias": each.bias._asdict(), "truth": each.truth._asdict()} for each in found.judged
        ],
        "told": {name: [each._asdict() for each in rows] for name, rows in found.told.items()},
        "splits": {label: split_json(split) for label, split in found.splits.items()},
        "seed": found.seed, "replications": found.replications,
        "minutes": found.minutes, "arms": arms_record(found.arms), "provenance": found.provenance,
    }  # fmt: skip


def save(found: Tried, path: Path) -> Iterator[Path]:
    """The figure, and beside it what `as_json` says."""
    save_figure(figure(found.judged, found.splits, sentences(found)[0]), path)
    write_text(path.with_suffix(".json"), json.dumps(as_json(found), allow_nan=False, indent=1) + "\n")
    yield from (path, path.with_suffix(".json"))


def figure(judged: Sequence[Judged], splits: Mapping[str, Split], title: str = "") -> "Figure":
    """What each test says, apart from chance, beside the truth."""
    truth, by_design = judged[0].truth, differ_in_design(splits)
    says = [Interval(each.says, truth.mean + each.bias.low, truth.mean + each.bias.high, 0) for each in judged]
    x = list(range(len(judged))) if by_design else [100 * split.shares[1] for split in splits.values()]
    with drawn(7.2, 4.4) as page:
        axis = page.subplots()
        axis.axhspan(truth.low, truth.high, color=PALE, zorder=0)
        axis.axhline(truth.mean, color=GREY, linewidth=1.2, linestyle="--")
        axis.annotate("true: everybody against nobody", (x[-1], truth.mean), xytext=(0, -12), ha="right",
                      textcoords="offset points", color=GREY, fontsize=9)  # fmt: skip
        zero_line(axis)
        curves(axis, x, [curve_of("what an A/B test says", says)], joined=not by_design)
        if not by_design:
            axis.set_xscale("log")
            axis.minorticks_off()
            axis.set_xlabel("people treated")
        axis.set_xticks(x, [each.label for each in judged])
        axis.set_ylabel(f"difference in {IN_WORDS[PRIMARY]}, %")
        bare(axis)
        axis.set_title("\n".join(wrap(title, 68)), loc="left")
    return page
