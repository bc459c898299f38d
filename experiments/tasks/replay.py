"""One person's life under a task, decision by decision: what was known, which rule decided, what came first after it.

Called by `nextone task run`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from nextone.envs.features import COUNTS, MOST_S, C, H, tag_index, unscaled
from nextone.experiments.runs.replication import run_arm
from nextone.policies.by_name import make_policy, rule_file
from nextone.policies.decisions.features import session_impressions, session_minutes
from nextone.policies.tasks import RULES, Task, read_task
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import plural
from nextone.sim.scenario import SettingError

from .watched import Decision, Watched

MOST = 100_000  # decisions that are kept


class Step(NamedTuple):
    """One decision."""

    second: float  # since the app was opened
    impression: int  # in this session
    played_s: float | None  # of the impression before; None: there is none
    candidates: int
    rule: str  # that decided; empty: none did, or the task has no rules
    did: str  # ranked, asked for a page, or held still
    rank: int | None  # in the server's page, from 1, of the candidate put first; None: nothing was ranked
    tag: int | None
    duration_s: float | None


def replay(folder: Path, scenario: Scenario, person: int, *, seed: int = 0, minutes: float = 60.0) -> list[Step]:
    """Every decision of one person in replication 0. Raises UserError."""
    if not 0 <= person < scenario.population.users:
        raise SettingError(f"--person {person}: must be 0 to {scenario.population.users - 1}, or give more --users")
    task = read_task(folder)
    policy = make_policy(f"task:{folder}", scenario)
    assert policy is not None
    watched = Watched(policy, MOST)
    run_arm(
        scenario, watched, seed=seed, replication=0, minutes=minutes, engine="batch", traced=person, alone=True
    )  # fmt: skip
    rules = [each.name for each in rule_file(f"rules:{folder / RULES}").rules] if task.has_rules else []
    return [_step(each, rules) for each in watched.noted]


def _step(noted: Decision, rules: list[str]) -> Step:
    seen, slots = noted.observation, noted.observation.mask.shape[1]
    newest = seen.history[0, 0]
    ranked = bool((noted.scores[:slots] > -np.inf).any())
    asked = len(noted.scores) > slots and noted.scores[slots] > noted.scores[:slots].max()
    first = None
    if ranked and not asked:
        first = seen.candidates[0, np.where(seen.mask[0], noted.scores[:slots], -np.inf).argmax()]
    return Step(
        second=60.0 * float(session_minutes(seen)[0]),
        impression=int(session_impressions(seen)[0]),
        played_s=float(unscaled(newest[H.play_time], MOST_S)) if newest[H.present] else None,
        candidates=int(seen.mask.sum()),
        rule="" if noted.rule is None else rules[noted.rule],
        did="asked for a page" if asked else "ranked" if ranked else "held still",
        rank=None if first is None else 1 + round(float(unscaled(first[C.rank], COUNTS))),
        tag=None if first is None else int(tag_index(first[C.tag : C.tag + 1])[0]),
        duration_s=None if first is None else float(unscaled(first[C.duration], MOST_S)),
    )


def sentence(task: Task, person: int, steps: list[Step]) -> str:
    """What happened, in one sentence."""
    if not steps:
        return f"{task.told} made no decision for person {person}: try another --person, or more --minutes."
    count = {did: sum(step.did == did for step in steps) for did in ("ranked", "asked for a page", "held still")}
    told = ", ".join(f"{did} {many:,} times" for did, many in count.items() if many)
    moved = sum(step.rank is not None and step.rank > 1 for step in steps)
    return (
        f"{task.told} made {plural(len(steps), 'decision')} for person {person}: {told}; another video than the "
        f"server's first came first {moved:,} times."
    )


def table(steps: list[Step], most: int = 40) -> Table:
    """A row for each decision, the first of them."""
    left = len(steps) - most
    out = Table(caption=f"and {left:,} more; --json has them all" if left > 0 else None, caption_justify="left")
    for head in ("second", "shown", "played, s", "from"):
        out.add_column(head, justify="right")
    out.add_column("rule")
    out.add_column("did")
    for head in ("rank", "tag", "length, s"):
        out.add_column(head, justify="right")
    for step in steps[:most]:
        first = ("–",) * 3 if step.rank is None else (str(step.rank), str(step.tag), f"{step.duration_s:.0f}")
        played = "–" if step.played_s is None else f"{step.played_s:.1f}"
        counts = f"{step.second:.1f}", str(step.impression), played, str(step.candidates)
        out.add_row(*counts, step.rule or "–", step.did, *first)
    return out
