"""`nextone rules check`: each rule in a sentence, how often it fires on simulated people, what stands in its way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from rich.table import Table

from nextone.experiments.runs.arms import Arm, window_words
from nextone.experiments.runs.parquet import write_record
from nextone.experiments.runs.provenance import provenance
from nextone.experiments.runs.replication import run_arm
from nextone.policies.by_name import make_policy
from nextone.policies.decisions.policy import RulesPolicy
from nextone.policies.decisions.rule_file import Rule
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import plural

ENGINE = "batch"


class Firing(NamedTuple):
    """One rule, and how often each thing happened to it."""

    rule: Rule
    held: int  # decisions at which its condition and its sequence held
    could: int  # and neither its caps nor the budget nor a request under way forbade it
    fired: int  # and no rule of higher priority decided
    outranked_by: dict[str, int]  # otherwise: who decided, and how often
    per_session: float
    per_100_impressions: float

    @property
    def finding(self) -> str:
        """What is wrong with it; empty if it fires."""
        if self.fired:
            return ""
        if self.could:
            verb = "decide" if len(self.outranked_by) > 1 else "decides"
            return f"never fires: {' and '.join(self.outranked_by)} {verb} before it"
        if self.held:
            return f"never fires: it held {plural(self.held, 'time')}, and its caps, the budget or a request forbade it"
        return "never fires: it never holds"


class Checked(NamedTuple):
    """What a file of rules did."""

    name: str  # of the policy
    about: str
    firings: tuple[Firing, ...]  # the highest priority first
    people: int
    sessions: int
    impressions: int
    decisions: int
    window: str
    record: dict[str, Any]  # what it was made of


def check(name: str, scenario: Scenario, *, seed: int, minutes: float | None, days: float | None) -> Checked:
    """Play rules once, without queues at servers, and count. name: as `rules:FILE.toml`. Raises UserError."""
    record = provenance(
        [Arm(name, name, scenario)], seed=seed, replications=1, minutes=minutes, days=days, engine=ENGINE
    )
    policy = make_policy(name, scenario)
    assert isinstance(policy, RulesPolicy), "the name begins with rules:"
    run = run_arm(scenario, policy, seed=seed, replication=0, minutes=minutes, days=days, engine=ENGINE)
    sessions, impressions = len(run.records.sessions), len(run.records.impressions)
    tally, rules = policy.tally, policy.file.rules
    firings = tuple(
        Firing(
            rule, int(tally.held[r]), int(tally.could[r]), int(tally.fired[r]),
            {rules[s].name: int(times) for s, times in enumerate(tally.outranked[r]) if times},
            int(tally.fired[r]) / max(sessions, 1), 100 * int(tally.fired[r]) / max(impressions, 1),
        )
        for r, rule in enumerate(rules)
    )  # fmt: skip
    return Checked(
        name, " ".join(policy.file.about.split()), firings, scenario.population.users, sessions, impressions,
        int(tally.decisions[0]), window_words(minutes, days), record,
    )  # fmt: skip


def sentences(found: Checked) -> Iterator[str]:
    """The rules in plain English, and what is wrong with them."""
    if found.about:
        yield from (found.about, "")
    for number, firing in enumerate(found.firings, 1):
        yield f"{number}. {firing.rule.name} (priority {firing.rule.priority}): {firing.rule.sentence()}"
    yield ""
    wrong = [f"{firing.rule.name} {firing.finding}." for firing in found.firings if firing.finding]
    yield from (*wrong, *[""] * bool(wrong))


def firings_table(found: Checked) -> Table:
    """How often each rule fired."""
    table = Table(
        title=f"{found.name}: {found.people:,} people, {plural(found.sessions, 'session')}, "
        f"{plural(found.impressions, 'impression')}, {plural(found.decisions, 'decision')} in {found.window}",
        title_justify="left",
    )
    table.add_column("rule")
    for head in ("a session", "per 100 impressions", "fired", "held", "not allowed", "outranked"):
        table.add_column(head, justify="right")
    for f in found.firings:
        counts = (f.fired, f.held, f.held - f.could, f.could - f.fired)
        table.add_row(
            f.rule.name, f"{f.per_session:.2f}", f"{f.per_100_impressions:.2f}", *(f"{count:,}" for count in counts)
        )
    return table


def as_json(found: Checked) -> dict[str, Any]:
    """All of it as one JSON object."""
    rows = [
        {
            "name": f.rule.name, "priority": f.rule.priority, "sentence": f.rule.sentence(),
            "when": f.rule.condition.text, "then": f.rule.action, "held": f.held, "could": f.could, "fired": f.fired,
            "per_session": f.per_session, "per_100_impressions": f.per_100_impressions,
            "outranked_by": f.outranked_by, "finding": f.finding,
        }
        for f in found.firings
    ]  # fmt: skip
    counts = {name: getattr(found, name) for name in ("people", "sessions", "impressions", "decisions")}
    return {"rules": found.name, "about": found.about, "rows": rows} | counts | found.record


def save(found: Checked, folder: Path) -> Iterator[Path]:
    """The table as Parquet, with the record of what it was made of."""
    rows = as_json(found)["rows"]
    names = [name for name in rows[0] if name != "outranked_by"]
    table = pa.table({name: [row[name] for row in rows] for name in names})
    write_record(table, found.record | {"rules": found.name}, folder / "rules.parquet")
    yield folder / "rules.parquet"
