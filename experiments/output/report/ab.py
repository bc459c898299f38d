"""The report of what `nextone ab --out DIR` saved: what a test says beside what is true, or several tests compared.

Called by experiments/output/report/report.py.
"""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextone.experiments.ab.assignment import MEANINGS
from nextone.experiments.ab.designs import differ_in_design
from nextone.experiments.ab.designs import figure as figure_of_tests
from nextone.experiments.ab.saved import Row, Saved, read_saved
from nextone.experiments.output.drawing import GREY, INK, Curve, bare, curve_of, curves, drawn, ends, palette, svg_text
from nextone.experiments.output.drawing import zero_line as at_zero
from nextone.experiments.runs.arms import window_words
from nextone.experiments.runs.metrics import GUARD_RAILS, IN_WORDS, PRIMARY
from nextone.experiments.runs.number_text import MISSING, STAR, name_and_unit, signed
from nextone.sim.inputs.errors import plural
from nextone.sim.scenario import scenario_toml

from .page import Cell, Figure, Page, Section, Table, difference_cell
from .words import asked_arms, made_of

if TYPE_CHECKING:
    from nextone.experiments.output.drawing import Figure as Drawing

WIDEST = 60.0  # percent at which a drawn interval ends


def ab_page(folder: Path) -> tuple[Page, Sequence[dict[str, Any]]]:
    """The page of a saved test, or of tests compared, and its numbers. Raises SettingError."""
    saved = read_saved(folder)
    told, base = saved.told, saved.arms[0].scenario
    tests, split = bool(saved.judged), next(iter(saved.splits.values()))
    days = told.get("days")
    facts = (
        ("Control", saved.arms[0].label),
        ("Treated", ", ".join(saved.treated)),
        ("Primary metric", PRIMARY),
        ("People, window", f"{base.population.users:,}, {window_words(told['minutes'], days)}"),
        *((("Replications", str(told["replications"])),) if tests else (("Split", MEANINGS[split.design]),)),
        *((("Before it", f"{plural(told['before'], 'day')} without treatment"),) if told.get("before") else ()),
        ("Seed, salt", f"{told['seed']}, {split.salt!r}"),
    )
    page = Page(
        title=f"{saved.title}: {_kind(saved)}",
        question="What does a test between people of one world say, and what is true: everybody against nobody?",
        facts=facts,
        answer=saved.verdict,
        sections=(*(_of_tests(saved) if tests else _of_one(saved)), *_made(saved)),
        version=told["provenance"].get("version", ""),
    )
    return page, [dict(each) for each in told["tests" if tests else "rows"]]


def _kind(saved: Saved) -> str:
    if not saved.judged:
        return "an A/B test"
    return "which A/B test to run" if differ_in_design(saved.splits) else "A/B tests by how many are treated"


# ---- one test


def _of_one(saved: Saved) -> Iterator[Section]:
    caption = (
        "Filled: what the test says; hollow: what is true. 95 % intervals, percent of the control; ends beyond "
        f"{WIDEST:.0f} % are cut off."
    )
    drawings = tuple(Figure(svg_text(forest(saved, arm)), f"{arm}: {caption}") for arm in saved.treated)
    yield Section("What the test says, and what is true", figures=drawings)
    if any(len(looks) > 1 for looks in saved.looks.values()):
        yield Section("While it ran", (_peeking(saved),), figures=(_looks(saved),))
    yield Section("Every number", (
        f"Control: its mean in the test. 95 % intervals, {STAR}. Sharing: points by which one world for both arms "
        "moves the test, and not chance.",
    ), table=Table(
        ("metric", "meaning", "arm", saved.arms[0].label, "A/B test, %", "truth, %", "sharing"),
        [_cells(row) for row in saved.rows], 3,
    ))  # fmt: skip
    yield Section("Guard rails, by the test", table=Table(
        ("arm", "metric", "within its limit"),
        [[Cell(arm), Cell(IN_WORDS[name]), Cell(state)] for arm, rails in saved.told["guard_rails"].items()
         for name, state in rails.items()], 3,
    ))  # fmt: skip
    yield Section(
        f"{IN_WORDS[PRIMARY].capitalize()} by group of people",
        ("Each by itself: in a third of tests of nothing, some of nine groups has an interval that misses 0.",),
        table=Table(("arm", "told apart by", "group", "people", "A/B test, %"), list(_groups(saved)), 3),
        folded=True,
    )


def _cells(row: Row) -> list[Cell]:
    return [
        Cell(name_and_unit(row.metric)), Cell(row.metric.meaning), Cell(row.arm),
        Cell(MISSING if row.control is None else f"{row.control:.4g}"),
        difference_cell(row.test, row.metric.better), difference_cell(row.truth, row.metric.better),
        Cell(MISSING if row.sharing is None else signed(row.sharing)),
    ]  # fmt: skip


def _groups(saved: Saved) -> Iterator[list[Cell]]:
    for each in saved.told["segments"]:
        low, high, middle = each["diff_low"], each["diff_high"], each["diff_pct"]
        told = MISSING if middle is None else f"{signed(middle)} [{signed(low)}, {signed(high)}]"
        yield [Cell(each["arm"]), Cell(each["segment"]), Cell(each["group"]), Cell(f"{each['people']:,}"), Cell(told)]


def _peeking(saved: Saved) -> str:
    """How often somebody who looks at the usual interval would have been sure, and how many were wrong to be."""
    seen = [(arm, [d for d in looks if d is not None]) for arm, looks in saved.looks.items()]
    each = (f"{arm} at {sum(d.low > 0 or d.high < 0 for d in ds)} of {plural(len(ds), 'look')}" for arm, ds in seen)
    return (
        f"Bars: the usual 95 % interval at each look, which missed 0 for {', '.join(each)}. Who stops at the first "
        "such look is wrong far oftener than in one of twenty tests. Lines: the interval that holds at all looks at "
        "once. "
        "Dashed: what is true at the end. Days before the test are not made use of here."
    )


def _looks(saved: Saved) -> Figure:
    """The primary metric at each look, with the interval that always holds, and the truth."""
    by_arm: dict[str, list[dict[str, Any]]] = {arm: [] for arm in saved.treated}
    for each in saved.told["looks"]:
        by_arm[each["arm"]].append(each)
    with drawn(7.2, 3.6) as page:
        axis = page.subplots()
        at_zero(axis)
        curves(axis, range(1, 1 + max(map(len, by_arm.values()))),
               [curve_of(arm, saved.looks[arm]) for arm in saved.treated], apart=0.3)  # fmt: skip
        for arm, colour in zip(saved.treated, palette(len(saved.treated)), strict=True):
            truth = next((row.truth for row in saved.rows if row.arm == arm and row.metric.name == PRIMARY), None)
            axis.axhline(ends(truth)[0], color=colour, linewidth=1.2, linestyle="--")
            known = [(each["look"], each["always_low"], each["always_high"]) for each in by_arm[arm]
                     if each["always_low"] is not None]  # fmt: skip
            for side in (1, 2):
                axis.plot([k[0] for k in known], [k[side] for k in known], color=colour, linewidth=0.8)
        axis.set_ylim(*_within([end for looks in saved.looks.values() for d in looks for end in ends(d)]))
        axis.set_xlabel("look")
        axis.set_ylabel(f"difference in {IN_WORDS[PRIMARY]}, %")
        if len(saved.treated) > 1:
            axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4)
        bare(axis)
    return Figure(svg_text(page), f"{IN_WORDS[PRIMARY].capitalize()} at each look")


def _within(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that holds these values and zero, and not what is far beyond them."""
    finite = [0.0, *(max(-WIDEST, min(WIDEST, value)) for value in values if value == value)]
    room = 0.15 * (max(finite) - min(finite)) or 1.0
    return min(finite) - room, max(finite) + room


def forest(saved: Saved, arm: str) -> "Drawing":
    """What the test says of an arm, and what is true, metric by metric: the primary one, guard rails, requests."""
    rows = [
        row for row in saved.rows
        if row.arm == arm and (row.metric.group == GUARD_RAILS or row.metric.name in (PRIMARY, "requests"))
        and (row.test is not None or row.truth is not None)
    ]  # fmt: skip
    test, truth = (curve_of(name, [getattr(row, name) for row in rows]) for name in ("test", "truth"))
    colour = palette(1)[0]
    with drawn(7.2, 1.0 + 0.36 * max(len(rows), 1)) as page:
        axis = page.subplots()
        axis.axvline(0, color=INK, linewidth=1)
        for curve, filled, at, shade in ((test, True, -0.14, colour), (truth, False, 0.14, GREY)):
            _intervals(axis, curve, at, shade, filled)
        axis.set_xscale("symlog", linthresh=1, linscale=0.6)
        ends_of = (abs(x) for curve in (test, truth) for x in (*curve.low, *curve.high) if x == x)
        limit = min(WIDEST, 1.3 * max(ends_of, default=5.0))
        axis.set_xlim(-limit, limit)
        ticks = [t for t in (1, 3, 10, 30) if t <= limit]
        shown = [*(-t for t in reversed(ticks)), 0, *ticks]
        axis.set_xticks(shown, [signed(t) for t in shown])
        axis.minorticks_off()
        axis.set_yticks(range(len(rows)), [IN_WORDS.get(row.metric.name, row.metric.name) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(f"{arm} against {saved.arms[0].label}, % of its mean")
        bare(axis)
        axis.grid(visible=True, axis="x")
        axis.grid(visible=False, axis="y")
    return page


def _intervals(axis: Any, curve: Curve, beside: float, colour: Any, filled: bool) -> None:
    for place, (mean, low, high) in enumerate(zip(curve.mean, curve.low, curve.high, strict=True)):
        axis.plot([low, high], [place + beside] * 2, color=colour, linewidth=1.8, solid_capstyle="butt")
        axis.plot(mean, place + beside, "o", color=colour, markerfacecolor=colour if filled else "white", markersize=5)


# ---- several tests


def _of_tests(saved: Saved) -> Iterator[Section]:
    drawing = figure_of_tests(saved.judged, saved.splits)
    caption = "Points: what each test says on average, chance apart; bars and band: 95 % intervals over replications."
    yield Section("What each test says, and what is true", figures=(Figure(svg_text(drawing), caption),))
    head = ("test", "bias, points", "± of a test", "holds the truth", "sure of the opposite", "sure", "people", "error")
    yield Section("Every number", (
        "Bias: what sharing one world moves, without chance. Holds: intervals that hold the truth, of 95 % asked. "
        "People: for intervals as narrow as those of the first. Error: root mean square of test less truth, points.",
    ), table=Table(head, [
        [Cell(each.label), Cell(f"{signed(each.bias.mean)} ±{each.bias.high - each.bias.mean:.2g}"),
         Cell(f"{each.half:.3g}"), *(Cell(f"{x:.0%}") for x in (each.covered, each.wrong_sign, each.sure)),
         Cell(f"×{each.people:.2g}"), Cell(f"{each.error:.3g}")]
        for each in saved.judged
    ]))  # fmt: skip


# ---- what it takes to run it again


def _made(saved: Saved) -> Iterator[Section]:
    for arm in saved.arms:
        yield Section(
            f"Scenario of {arm.label}", (f"Policy: {arm.policy}.",),
            verbatim=scenario_toml(arm.scenario, comments=False), folded=True,
        )  # fmt: skip
    yield Section("How to reproduce it", ("The same version gives the same bits.",), verbatim=_command(saved))
    yield made_of(saved.told["provenance"])


def _command(saved: Saved) -> str:
    """`nextone ab ...`"""
    told, splits = saved.told, list(saved.splits.values())
    split, several = splits[0], differ_in_design(saved.splits)
    words = ["nextone", "ab", *asked_arms(saved.arms), "--design", "all" if several else split.design]
    shares = [split.shares[1]] if several else [each.shares[1] for each in splits]
    words += ["--share", ",".join(f"{share:g}" for share in shares), "--salt", split.salt]
    words += ["--period", f"{split.period_min:g}", "--regions", str(split.regions)]
    if saved.judged:
        words += ["--replications", str(told["replications"])]
    words += ["--seed", str(told["seed"])]
    if told.get("days") is None:
        words += ["--minutes", f"{told['minutes']:g}"]
    else:
        words += ["--days", f"{told['days']:g}", "--before", f"{told['before']:g}"]
    return shlex.join(words)
