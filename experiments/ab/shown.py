"""A test in words, as tables for a terminal of 80 columns, as JSON, and as files. Called by `nextone ab`."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from nextone.experiments.ab import AB
from nextone.experiments.runs.arms import Arm, window_words
from nextone.experiments.runs.files import write_table, write_text
from nextone.experiments.runs.metrics import GUARD_RAILS, IN_WORDS, PRIMARY, metric_named, overload_mark, overloaded
from nextone.experiments.runs.number_text import MISSING, STAR, difference_text, percent_interval, signed
from nextone.experiments.runs.provenance import arms_record
from nextone.experiments.runs.statistics import PairedDifference
from nextone.experiments.runs.verdict import BROKEN, OPEN, listed
from nextone.sim.inputs.errors import plural
from nextone.sim.scenario import saved_scenario

from .analysis import Found, Spill
from .assignment import MEANINGS, Split
from .run import ABTest

KEPT_BY = 2.0  # standard errors within which sharing moved nothing that can be told from luck


def verdict(test: ABTest) -> list[str]:
    """One sentence on what is broken, if anything is, and up to three on each arm: what the test says, what is true,
    and why they differ."""
    told = []
    if test.ratio_is_off:
        sizes = ", ".join(f"{n:,}" for n in test.counts)
        told += [f"Trust nothing below: the arms have {sizes} people, which a working split does not give."]
    for arm in test.treated:
        told += list(_of_arm(test, arm))
    return told


def _of_arm(test: ABTest, arm: int) -> Iterator[str]:
    found, truth, moved = test.row(arm, PRIMARY)
    label, base, unit = test.arms[arm].label, test.arms[0].label, metric_named(PRIMARY).unit
    if found is None or truth is None or moved is None:
        yield f"Nothing can be said of {label}: {IN_WORDS[PRIMARY]} is undefined in an arm; give more people."
        return
    d = found.fixed
    judged = "better than" if d.diff > 0 else "worse than"
    judged = judged if d.sure else "no different, as far as can be told, from"
    yield f"The A/B test says: {label} is {judged} {base}: {IN_WORDS[PRIMARY]} {percent_interval(d, unit)}."
    shared = shared_by(test.arms)
    yield f"True, were everybody to have {label}: {percent_interval(truth, unit)}. {_why(d, truth, moved, shared)}"


def shared_by(arms: Sequence[Arm]) -> str:
    """What people of several arms have in common, through which they move each other."""
    return "servers and what the cloud learns" if arms[0].scenario.server.pool_min else "servers"


def _why(d: PairedDifference, truth: PairedDifference, moved: Spill, shared: str) -> str:
    if d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None or truth.diff_pct is None:
        return "In percent the two cannot be compared: the control's mean cannot be told from 0."
    holds = d.diff_pct_low <= truth.diff_pct <= d.diff_pct_high
    fits = "Its interval holds the truth" if holds else "Its interval misses the truth"
    if moved.treated == moved.control == 0:
        return f"{fits}; nobody was moved by the other arm, so what parts the two is chance."
    if abs(moved.bias) <= KEPT_BY * moved.error:
        return f"{fits}; what people of one arm do to the other cannot be told from chance."
    wrong = " and says the opposite" if d.sure and d.diff * truth.diff < 0 else ""
    return f"{fits}{wrong}: arms share {shared}, which alone moves the test by {signed(moved.bias)} points."


def tables(test: ABTest, whole: bool) -> Iterator[object]:
    """A table for each arm, and how its people were told apart. whole: every metric, and the segments."""
    for arm in test.treated:
        yield _table(test, arm, whole)
        yield from _notes(test, arm)
        if whole:
            yield _segments(test, arm)


def _table(test: ABTest, arm: int, whole: bool) -> Table:
    table = Table(title=f"{test.arms[arm].label} against {test.arms[0].label}", caption=Text(_caption(test)))
    table.caption_justify = "left"
    table.add_column("metric", no_wrap=True)
    for head in (test.arms[0].label, "A/B test %", "truth %", "sharing"):
        table.add_column(Text(head), justify="right")
    for m in test.metrics:
        if not (whole or m.group == GUARD_RAILS or m.name in (PRIMARY, "requests")):
            continue
        found, truth, moved = test.row(arm, m.name)
        arrow = {"more": " ↑", "fewer": " ↓"}.get(m.better, "")
        table.add_row(
            Text(f"{m.name}{arrow}", style="bold" if m.name == PRIMARY else ""),
            MISSING if found is None else f"{found.control.mean:.4g}",
            _percent(found and found.fixed, m.better), _percent(truth, m.better),
            MISSING if moved is None else signed(moved.bias),
        )  # fmt: skip
    return table


def _percent(d: PairedDifference | None, better: str) -> Text:
    return difference_text(None if d is None or d.diff_pct is None else d, better)


def _caption(test: ABTest) -> str:
    split, loads = test.split, [test.people.load, test.alone[0].load, test.alone[-1].load]
    used = ["no" if math.isnan(load["utilisation"]) else f"{load['utilisation']:.2f}{overload_mark(_drowned(load))}"
            for load in loads]  # fmt: skip
    after = f", {test.before:g} days before it" if test.before else ""
    where = f" in {split.regions} regions" if split.regions > 1 else ""
    layer = f" {split.layer:.0%} of the people are in another test as well." if split.layer else ""
    return (
        f"{test.people.arm.size:,} people, {window_words(test.minutes, test.days)}{after}, seed {test.seed}, salt "
        f"{split.salt!r}; split: {MEANINGS[split.design]}.{layer} 95 % intervals, {STAR}. Truth: everybody against "
        "nobody, same people and luck. Sharing: points by which one world for both arms moves the test, not chance. "
        f"{loads[0]['workers']:g} servers{where}, used {used[0]} in the test, {used[1]} were nobody treated, {used[2]} "
        "were everybody."
    )  # fmt: skip


def _drowned(load: dict[str, float]) -> bool:
    return overloaded(load["utilisation"], load["timeout_rate"])


def _notes(test: ABTest, arm: int) -> Iterator[str]:
    """Sizes of the arms, what CUPED saved, an interval for who looks all the time, and guard rails."""
    found = test.found[arm, PRIMARY]
    check = "" if test.ratio_p is None else f", as hashed (p {test.ratio_p:.2g})" if not test.ratio_is_off else ": OFF"
    yield f"People: {test.counts[0]:,} and {test.counts[arm]:,}{check}."
    if found is None:
        return
    if test.people.before:
        days = plural(round(test.before), "day")
        yield f"CUPED with the {days} before took away {100 * found.saved:.0f} % of the variance."
    if found.always is not None:
        low, high = found.always
        yield f"However often one looks: {IN_WORDS[PRIMARY]} between {signed(low)} and {signed(high)} %."
    rails = test.rails(arm)
    broken, unclear = ([IN_WORDS[name] for name, state in rails.items() if state == which] for which in (BROKEN, OPEN))
    yield (
        f"Guard rails by the test: {len(rails) - len(broken) - len(unclear)} of {len(rails)} within their limits"
        + (f"; beyond: {listed(broken)}" if broken else "")
        + (f"; too uncertain to say: {listed(unclear)}" if unclear else "")
        + "."
    )


def _segments(test: ABTest, arm: int) -> Table:
    table = Table(title=f"{test.arms[arm].label}: {IN_WORDS[PRIMARY]} by group of people", caption=Text(
        "Each by itself: in a third of tests of nothing, some of nine groups has an interval that misses 0."
    ))  # fmt: skip
    table.caption_justify = "left"
    for head in ("people told apart by", "group"):
        table.add_column(head)
    for head in ("people", "A/B test %"):
        table.add_column(head, justify="right")
    for name, group, many, found in test.segments(arm):
        d = found and found.fixed._replace(sure=False)
        table.add_row(name, group, f"{many:,}", difference_text(d, "more"))
    return table


def as_json(test: ABTest) -> dict[str, Any]:
    """Everything that was found, None where undefined, and what it takes to run it again."""
    return {
        "verdict": verdict(test),
        "control": test.arms[0].label,
        "primary": PRIMARY,
        "people": dict(zip((arm.label for arm in test.arms), test.counts, strict=True)),
        "ratio_p": test.ratio_p,
        "rows": [_row(test, arm, m.name) for arm in test.treated for m in test.metrics],
        "guard_rails": {test.arms[a].label: test.rails(a) for a in test.treated},
        "limits": dict(test.limits),
        "segments": [
            {"arm": test.arms[a].label, "segment": name, "group": group, "people": many, **_numbers(found)}
            for a in test.treated
            for name, group, many, found in test.segments(a)
        ],
        "looks": [
            {"arm": test.arms[a].label, "look": k + 1, **_numbers(found)}
            for a in test.treated
            for k, found in enumerate(test.looks(a))
        ],
        "load": {
            label: {name: None if math.isnan(value) else value for name, value in load.items()}
            for label, load in zip(
                ("test", *(arm.label for arm in test.arms)),
                (test.people.load, *(people.load for people in test.alone)),
                strict=True,
            )
        },
        **_asked(test),
    }


def _asked(test: ABTest) -> dict[str, Any]:
    return {
        "split": split_json(test.split), "seed": test.seed, "minutes": test.minutes, "days": test.days,
        "before": test.before, "arms": arms_record(test.arms),
        "layer": None if test.layer is None else arms_record([test.layer])[0],
        "provenance": dict(test.provenance),
    }  # fmt: skip


def split_json(split: Split) -> dict[str, Any]:
    return split._asdict() | {"shares": list(split.shares)}


def _row(test: ABTest, arm: int, name: str) -> dict[str, Any]:
    found, truth, moved = test.row(arm, name)
    sharing = moved._asdict() if moved else dict.fromkeys(Spill._fields)
    return {
        "arm": test.arms[arm].label,
        "metric": name,
        **_numbers(found),
        **{f"truth_{key}": value for key, value in _difference(truth).items()},
        **{f"sharing_{key}": value for key, value in sharing.items()},
    }


def _numbers(found: Found | None) -> dict[str, Any]:
    sides = {
        f"{which}_{name}": side and getattr(side, name)
        for which, side in (("control", found and found.control), ("treated", found and found.treated))
        for name in ("units", "mean", "sd")
    }
    low, high = (found and found.always) or (None, None)
    return sides | _difference(found and found.fixed) | {
        "always_low": low, "always_high": high, "cuped_saved": found and found.saved,
    }  # fmt: skip


def _difference(d: PairedDifference | None) -> dict[str, Any]:
    return {
        "diff": d and d.diff, "diff_abs_low": d and d.low, "diff_abs_high": d and d.high,
        "diff_pct": d and d.diff_pct, "diff_low": d and d.diff_pct_low, "diff_high": d and d.diff_pct_high,
        "p": d and d.p, "sure": d and d.sure,
    }  # fmt: skip


def save(test: ABTest, folder: Path) -> Iterator[Path]:
    """`ab.json` (as --json prints), `people.parquet` (a row per person, for an analysis of one's own), and the world,
    `scenario.toml`."""
    write_text(folder / AB, json.dumps(as_json(test), allow_nan=False, indent=1) + "\n")
    people, labels = test.people, [arm.label for arm in test.arms]
    columns: dict[str, Any] = {
        "person": range(people.arm.size),
        "arm": [labels[a] if a >= 0 else None for a in people.arm.tolist()],
        "unit": people.unit,
        **{name: [groups[k] for k in which.tolist()] for name, (groups, which) in people.segments.items()},
    }
    for which, sums in (("", people.sums), ("before_", people.before)):
        for name, each in sums.items():
            columns |= {f"{which}{name}_top": each.top, f"{which}{name}_bottom": each.bottom}
    for label, alone in zip(labels, test.alone, strict=True):
        columns |= {f"all_{label}_{PRIMARY}": alone.sums[PRIMARY].top}
    about = {b"nextone": json.dumps(_asked(test)).encode()}
    write_table(pa.table(columns).replace_schema_metadata(about), folder / "people.parquet")
    write_text(folder / "scenario.toml", saved_scenario(test.arms[0].scenario, folder))
    yield from (folder / name for name in (AB, "people.parquet", "scenario.toml"))
