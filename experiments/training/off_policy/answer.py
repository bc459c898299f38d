"""Estimates of a policy from another one's log, beside what the policy really does to the same people: one table.

Two things are estimated. A **decision**: what the target's next choice brings, averaged over the states that the
logging policy led to. A **session**: what the target brings from opening the app to leaving it, in states of its own.
Estimators of one decision say nothing of the second. Called by `nextone off-policy` and its notebook.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextone.experiments.runs.executor import Execute
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.number_text import mean_and_half, signed
from nextone.experiments.runs.statistics import Interval
from nextone.sim.scenario import SettingError, scenario_toml
from nextone.sim.state import Array

from . import estimators
from .estimators import Estimate, apart, effective, first_of, over_people
from .fqe import INSTALL, fqe
from .logged import Log, OffPolicySettings, Shadow, live_both

DECISION, SESSION = "a decision", "a session"
FEW = 200
"""Assumed: effective decisions or sessions, fewer of which say too little: an error of 7 % of a standard deviation."""
LOGGED, TRUTH, THERE = "the log itself", "TRUTH", "where the target leads"


class Row(NamedTuple):
    """One line of the table."""

    about: str  # DECISION or SESSION
    name: str
    value: Interval | None  # of the reward; None if it was not computed
    off: Interval | None  # percent above the truth, over the same people
    stands_on: float | None  # effective number of decisions or sessions; None without weights


class OffPolicy(NamedTuple):
    """The estimates and the truth."""

    settings: OffPolicySettings
    rows: tuple[Row, ...]
    gains: dict[str, Interval | None]  # by DECISION and SESSION: what the target really changes, percent of the log's
    decisions: int
    sessions: int
    without_effect: int  # decisions after which something else than the pick was shown

    def row(self, about: str, name: str) -> Row:
        """The line of that name about a decision or a session."""
        return next(row for row in self.rows if (row.about, row.name) == (about, name))

    def estimates(self, about: str, few: bool = False) -> list[Row]:
        """The computed estimates that are based on enough decisions, without the log itself and the truth. few: the
        other ones instead."""
        known = (LOGGED, TRUTH, THERE)
        found = [row for row in self.rows if row.about == about and row.value and row.name not in known]
        return [row for row in found if (row.stands_on is not None and row.stands_on < FEW) == few]

    def nearest(self, about: str) -> Row | None:
        """The estimate nearest to the truth, among those that are based on enough; None if there is none."""
        rows = [row for row in self.estimates(about) if row.off]
        return min(rows, key=lambda row: abs(row.off.mean) if row.off else np.inf, default=None)


def off_policy(
    settings: OffPolicySettings, progress: Callable[[int, int], None] | None = None, *, workers: int = 1,
    execute: Execute | None = None, steps: int = 20_000,
) -> OffPolicy:  # fmt: skip
    """Log, estimate, and run the target. steps: of d3rlpy's FQE. Raises RunFailed, and SettingError or CheckpointError
    for wrong settings."""
    return judged(settings, *live_both(settings, progress, workers=workers, execute=execute), steps)


def judged(settings: OffPolicySettings, log: Log, shadow: Shadow, truth: Log, steps: int) -> OffPolicy:
    """The answer from the two logs of the same people."""
    if not log.reward.any() or not truth.reward.any():
        raise SettingError(f"nobody in the log gave any {settings.reward}; ask for more users, or another reward")
    weight, one = estimators.clipped(shadow.weight, settings.clip), np.ones((len(log.reward), 1))
    features = np.column_stack([one, shadow.context, shadow.picked]).astype(np.float64)
    of_target = np.column_stack([one, shadow.context, shadow.of_target]).astype(np.float64)
    model = estimators.cross_fitted(features, of_target, log.reward, log.person)
    stands = effective(weight)
    # The draws of the simulator are the best model there is; what it misses, the few that stalled, is weighed.
    here = estimators.dr(log.reward, shadow.weight, shadow.would, shadow.would_of_target)
    rows = _rows(settings.users, DECISION, here, log.person, [
        (LOGGED, estimators.logged(log.reward), log.person, None),
        ("IPS", estimators.ips(log.reward, weight), log.person, stands),
        ("SNIPS", estimators.snips(log.reward, weight), log.person, stands),
        ("DR", estimators.dr(log.reward, weight, *model), log.person, stands),
        (TRUTH, here, log.person, None),
        (THERE, estimators.logged(truth.reward), truth.person, None),
    ])  # fmt: skip
    of_session = Estimate(truth.reward, first_of(truth.session).astype(np.float64))
    products = estimators.products(weight, log.session)[np.append(first_of(log.session)[1:], True)]
    learnt = fqe(shadow.context, shadow.picked, shadow.of_target, log.reward, log.session, settings.seed, steps)
    rows += _rows(settings.users, SESSION, of_session, truth.person, [
        (LOGGED, Estimate(log.reward, first_of(log.session).astype(np.float64)), log.person, None),
        ("step-wise IPS", estimators.stepwise_ips(log.reward, weight, log.session), log.person, effective(products)),
        ("FQE, linear", estimators.linear_fqe(features, of_target, log.reward, log.session), log.person, None),
        ("FQE, d3rlpy", learnt, log.person, None),
        (TRUTH, of_session, truth.person, None),
    ])  # fmt: skip
    per = {DECISION: (np.ones(len(log.reward)), np.ones(len(truth.reward))),
           SESSION: tuple(first_of(each.session).astype(np.float64) for each in (log, truth))}  # fmt: skip
    gains = {
        about: apart(Estimate(truth.reward, of), truth.person, Estimate(log.reward, was), log.person, settings.users)
        for about, (was, of) in per.items()
    }
    still = int((~log.effect).sum())
    return OffPolicy(settings, tuple(rows), gains, len(log.reward), int(first_of(log.session).sum()), still)


def _rows(
    people: int, about: str, truth: Estimate, of_truth: Array,
    found: list[tuple[str, Estimate | None, Array, float | None]],
) -> list[Row]:  # fmt: skip
    rows = []
    for name, estimate, person, stands in found:
        if estimate is None:
            rows.append(Row(about, name, None, None, None))
            continue
        off = None if estimate is truth else apart(estimate, person, truth, of_truth, people)
        rows.append(Row(about, name, over_people(estimate, person, people), off, stands))
    return rows


def verdict(found: OffPolicy) -> tuple[str, ...]:
    """Sentences: which intervals contain the truth, what the policy really brings, and what not to trust."""
    target, policy, reward = found.settings.target, found.settings.policy, WORDS[found.settings.reward]
    told = [
        f"One decision in the states of the log: {_held(found, DECISION)}.",
        f"A session under {target}: {_held(found, SESSION)}.",
    ]
    gains = " and ".join(f"{_percent(gain)} {about}" for about, gain in found.gains.items())
    told.append(f"The truth: {target} in place of {policy} as it logged changes {reward} by {gains}.")
    there = found.row(DECISION, THERE).off
    if there and not there.low <= 0 <= there.high:
        told.append(
            f"{target} changes the states as well: where it leads, a decision brings {_percent(there)} against the "
            "states of the log, which no estimate of one decision sees."
        )
    for about in (DECISION, SESSION):
        if few := found.estimates(about, few=True):
            names, number = [row.name for row in few], f"{few[0].stands_on:,.0f} effective {about.split()[1]}"
            told.append(
                f"Too few: {_listed(names)} {'stand' if len(names) > 1 else 'stands'} on {number}"
                f"{'' if number.startswith('1 ') else 's'}. Below {FEW} trust no interval: log more people, or more at "
                "random, or ask about a target nearer to what was logged."
            )
    return tuple(told)


def _held(found: OffPolicy, about: str) -> str:
    truth, rows = found.row(about, TRUTH).value, found.estimates(about)
    assert truth is not None
    if not rows:
        return "no estimate stands on enough"
    inside = [row.name for row in rows if row.value and row.value.low <= truth.mean <= row.value.high]
    outside = [row.name for row in rows if row.name not in inside]
    told = [f"the {_of(inside, 'holds', 'hold')} the truth"] if inside else []
    if outside:
        told.append(f"the {_of(outside, 'misses', 'miss')} {'it' if inside else 'the truth'}")
    nearest = found.nearest(about)
    by = f"; {nearest.name} is nearest, off by {signed(nearest.off.mean)} %" if nearest and nearest.off else ""
    return ", ".join(told) + by


def _of(names: list[str], one: str, several: str) -> str:
    return f"interval of {names[0]} {one}" if len(names) == 1 else f"intervals of {_listed(names)} {several}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _percent(gain: Interval | None) -> str:
    return f"{signed(gain.mean)} % [{signed(gain.low)}, {signed(gain.high)}]" if gain else "an unknown share"


WORDS = {
    "effective_view": "effective views", "long_view": "long views", "like": "likes", "follow": "follows",
    "comment": "comments", "forward": "forwards", "hate": "hates", "watch_s": "seconds watched",
}  # fmt: skip


def table_lines(found: OffPolicy) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """(heads, lines, note) of the table."""
    heads = ("about", "estimate", WORDS[found.settings.reward], "% off the truth", "stands on")
    lines: list[tuple[str, ...]] = []
    last = ""
    for row in found.rows:
        value = mean_and_half(row.value.mean, row.value.high - row.value.mean) if row.value else "not run"
        off = f"{signed(row.off.mean)} ±{row.off.high - row.off.mean:.1f}" if row.off else ""
        stands = f"{row.stands_on:,.0f}" if row.stands_on is not None else ""
        lines.append((row.about if row.about != last else "", row.name, value, off, stands))
        last = row.about
    s, learnt = found.settings, found.row(SESSION, "FQE, d3rlpy")
    note = (
        f"{s.users:,} people, {found.sessions:,} sessions, {found.decisions:,} decisions logged by {s.policy} (explore "
        f"{s.explore:g}, temperature {s.temperature:g}), {found.without_effect:,} of them without effect; target "
        f"{s.target}; weights {'as they are' if np.isinf(s.clip) else f'up to {s.clip:g}'}. ± 95 % over people. Stands "
        "on: effective number of decisions or sessions, by the spread of the weights."
    ) + ("" if learnt.value else f" FQE, d3rlpy: {INSTALL}.")
    return heads, lines, note


def answer_json(found: OffPolicy) -> dict[str, Any]:
    """The answer as JSON."""
    settings = {name: value for name, value in vars(found.settings).items() if name not in ("scenario", "clip")}
    clip = None if np.isinf(found.settings.clip) else found.settings.clip
    shown = [row._asdict() | {"value": _json(row.value), "off_pct": _json(row.off)} for row in found.rows]
    for row in shown:
        del row["off"]
    return {
        "verdict": verdict(found), "rows": shown, "gains_pct": {k: _json(gain) for k, gain in found.gains.items()},
        "decisions": found.decisions, "sessions": found.sessions, "without_effect": found.without_effect,
        "run": settings | {"clip": clip, "scenario": scenario_toml(found.settings.scenario, comments=False)},
    }  # fmt: skip


def save_answer(found: OffPolicy, folder: Path) -> Path:
    """Write folder/off-policy.json, whole or not at all."""
    write_text(folder / "off-policy.json", json.dumps(answer_json(found), indent=1, allow_nan=False) + "\n")
    return folder / "off-policy.json"


def _json(interval: Interval | None) -> dict[str, float] | None:
    return interval._asdict() if interval else None
