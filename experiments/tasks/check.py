"""A task before it is released: what it costs phones against its limits, its embeddings, its engine against the network
itself, and whether it decides. Called by `nextone task check`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import Observation
from nextone.experiments.runs.replication import run_arm
from nextone.policies.by_name import make_policy, rule_file
from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.contract import Policy, cost_of
from nextone.policies.names import how_of
from nextone.policies.tasks import MODEL, RULES, Task, read_task
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import plural

from .pack import slowest_ms
from .watched import Watched

PEOPLE, MINUTES = 40, 5.0
CLOSE = 0.98  # Assumed: of decisions in which an engine must pick what the network picks


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    found: str
    asked: str  # empty: nothing is
    holds: bool = True


class Checked(NamedTuple):
    """A task and what was found."""

    task: Task
    rules: tuple[str, ...]  # each in a sentence
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        return [each for each in self.findings if not each.holds]

    @property
    def verdict(self) -> str:
        """One sentence."""
        kind = f"{self.task.model}{f' on {engine}' if (engine := how_of(self.task.how).engine) else ''}"
        parts = [kind] if self.task.model else []
        parts += [plural(len(self.rules), "rule")] if self.rules else []
        made = f"{self.task.told} ({' with '.join(parts)})"
        if not self.problems:
            return f"{made} keeps its limits and decides: it may be released."
        first = self.problems[0]
        more = f", and {plural(len(self.problems) - 1, 'more problem')}" if len(self.problems) > 1 else ""
        return f"{made} must not be released: {first.what} {first.found}, asked {first.asked}{more}."


def check(folder: Path, scenario: Scenario, seed: int = 0) -> Checked:
    """Look at all of it, and let it decide for PEOPLE people in MINUTES minutes. Raises UserError for a folder that is
    no task."""
    task = read_task(folder)
    policy = make_policy(f"task:{folder}", scenario)
    assert policy is not None
    cost = cost_of(policy)
    ms, size = slowest_ms(cost, scenario), cost.bytes / 1e6
    limits = task.limits
    findings = [
        Finding("a decision on the slowest phones takes", f"{ms:.3g} ms", f"at most {limits.decision_ms:g} ms",
                ms <= limits.decision_ms),
        Finding("phones download", f"{size:.3g} MB", f"at most {limits.megabytes:g} MB", size <= limits.megabytes),
    ]  # fmt: skip
    if task.model:
        findings.append(its_embeddings(task))
    watched = Watched(policy, keep=300)
    try:
        run_arm(
            scenario.model_copy(update={"population": scenario.population.model_copy(update={"users": PEOPLE})}),
            watched, seed=seed, replication=0, minutes=MINUTES, engine="batch",
        )  # fmt: skip
        findings.append(Finding("decisions that failed", f"0 of {watched.decisions:,}", "none"))
        ranked = watched.ranked / max(watched.decisions, 1)
        findings.append(Finding("decisions that ranked, or asked for a page", f"{ranked:.0%}", "some", ranked > 0))
        if (engine := how_of(task.how).engine) is not None:
            findings.append(_parity(task, scenario, engine, watched.seen))
    except (ArithmeticError, ValueError) as error:
        findings.append(Finding("a decision failed:", str(error)[:100], "none", holds=False))
    rules = tuple(each.sentence() for each in rule_file(f"rules:{folder / RULES}").rules) if task.has_rules else ()
    return Checked(task, rules, tuple(findings))


def its_embeddings(task: Task) -> Finding:
    """Whether they are those of the version that task.toml names, which the cloud ships."""
    from nextone.policies.networks.loading import load_network
    from nextone.policies.phone.tflite_files import weights_digest

    own = weights_digest(load_network(task.model, best_checkpoint(task.folder / MODEL)).embeddings)
    return Finding("its embeddings are", own[:12], f"{task.embeddings[:12]}, by task.toml", own == task.embeddings)


def _parity(task: Task, scenario: Scenario, engine: str, seen: list[Observation]) -> Finding:
    """How often the engine picks first what the network picks that was trained, in the same moments."""
    from nextone.policies.phone.loading import load_edge

    without = "@".join(option for option in task.how.split("@") if option != engine)
    of_engine, own = (load_edge(task.model, task.folder / MODEL, how, scenario) for how in (task.how, without))
    same = [_first(of_engine, each) == _first(own, each) for each in seen]
    share = float(np.mean(same)) if same else 1.0
    return Finding(
        f"{engine} picks what the network picks", f"in {share:.1%} of {plural(len(same), 'decision')}",
        f"at least {CLOSE:.0%}", share >= CLOSE,
    )  # fmt: skip


def _first(policy: Policy, observation: Observation) -> int:
    scores, _ = policy(observation, policy.start(1))
    slots = observation.mask.shape[1]
    return int(np.where(observation.mask[0], scores[0, :slots], -np.inf).argmax())


def as_json(checked: Checked) -> dict[str, Any]:
    """What was found."""
    task = checked.task
    return {
        "verdict": checked.verdict, "may_be_released": not checked.problems, "name": task.name, "version": task.version,
        "model": task.model, "how": task.how, "rules": list(checked.rules),
        "findings": [each._asdict() for each in checked.findings],
    }  # fmt: skip
