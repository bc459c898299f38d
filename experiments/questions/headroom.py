"""What can be gained at all, from what, and which assumption decides it? A ladder, on the same people and luck.

`nextone headroom` runs it. A step is a policy and settings, and is measured from the step it adds one thing to, which
it names, and from `cloud_only` as configured. The ladder has two branches, a cloud that is ever fresher and a phone
that knows ever more. Intents, the passing interests that there are to perceive, are bounded by the log and not shown by
it, so every step stands in three worlds. Servers are ample in all, or smaller pages would be charged for queues.

Asked at every swipe, a phone has no next video to load ahead. Only where the network takes no time are pages of any
size the same feed for who knows all (tests/nulls/test_nulls_exact.py), so the network is freed first, in a step of its
own: what that is worth is credited to nobody.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nextone.experiments.runs.arms import BASELINE_POLICY, Arm, Progress, parse_arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.comparison_files import record
from nextone.experiments.runs.executor import Execute
from nextone.experiments.runs.metrics import PRIMARY, column_of
from nextone.experiments.runs.names import CLOUD_FILTER, ORACLE, ORACLE_INTENT, REFERENCE_FILTER
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.sim.config import Scenario

from .ranges import fit_of, intents_that_agree

MINUTES, REPLICATIONS = 30.0, 10
SHOWN = (PRIMARY, "valid_play", "long_view")
"""Time in the app, a person; and the shares of impressions that were such plays."""
CONFIGURED, FREED = "cloud_only", "(free network)"


class Step(NamedTuple):
    """One step of the ladder. Settings are relative to the scenario, and include those of the step before it."""

    label: str
    policy: str
    settings: str
    over: str  # the step it adds one thing to; its worth is measured from there
    adds: str  # which thing, and who has to provide it


FRESH = "server.feature_lag_s=0"
FREE = (
    f"{FRESH} network.constant_mbps=inf network.rtt_scale=0 network.loss=0 network.outages_per_hour=0 "
    "server.service_ms=0 server.service_per_candidate_ms=0 server.chain_ms=0 "
    "phone.hardware_start_ms=0 phone.software_start_ms=0"
)
SWIPE = f"{FREE} server.page_size=1 client.refill_at=0 client.ask_at=swipe"


def steps(base: Scenario) -> tuple[Step, ...]:
    """The ladder in a scenario."""
    as_before = f"server.arrivals_every={base.server.page_size}"
    return (
        Step(CONFIGURED, BASELINE_POLICY, "", "", "the cloud as configured: where all gains are measured from"),
        Step("features at once", BASELINE_POLICY, FRESH, CONFIGURED,
             "the cloud sees each behaviour as it ends, when a page is asked for: a real-time feature pipeline"),
        Step(FREED, BASELINE_POLICY, FREE, "features at once",
             "nothing to know: no transfer, request or start-up takes time. What it is worth is no merit of the next "
             "two, which rest on it"),
        Step("asked at every swipe", BASELINE_POLICY, f"{SWIPE} {as_before}", FREED,
             "a page of 1, asked for as the finger lifts: a cloud that answers in no time. It looks for new videos as "
             "seldom as before, once in a page as configured"),
        Step("retrieval at once", BASELINE_POLICY, SWIPE, "asked at every swipe",
             "what has come up since the last swipe is ranked, too, not once in a page only: fresh videos, nothing "
             "better known of the person"),
        Step("phone, cloud's score", "server_score", "", CONFIGURED,
             "what ranking on the phone costs and what a surplus of candidates saves, without any new knowledge"),
        Step("phone, cloud's filter", CLOUD_FILTER, "", "phone, cloud's score",
             "the cloud's own filter, fed with what the phone has just seen, used as much as the cloud uses it "
             "(server.filter_use)"),
        Step("phone, reference filter", REFERENCE_FILTER, "", "phone, cloud's filter",
             "the same filter, used in full: all that a model which knows how people are can see from a phone"),
        Step("oracle of intents", ORACLE_INTENT, "", "phone, reference filter",
             "told the passing interests of now, which no phone can know"),
        Step("oracle of everything", ORACLE, "", "oracle of intents",
             "told how likely the person truly stays with each candidate held: what is left is not about intents. It "
             "follows valid plays alone, not the cloud's whole objective"),
    )  # fmt: skip


class World(NamedTuple):
    """Possible people, as settings over the scenario."""

    label: str
    settings: str
    meaning: str


def worlds(base: Scenario, bound: float) -> tuple[World, ...]:
    """Three worlds: without intents, with the scenario's own, and with the strongest that the log allows."""
    assumed, own = base.server.assumed_intent_sd, base.interests.intent_sd
    return (
        World("no intent", "interests.intent_sd=0", f"none, while cloud and phone assume an sd of {assumed:g} logit"),
        World("default", "", f"the scenario's: an sd of {own:g} logit, assumed {assumed:g}"),
        World("upper bound", f"interests.intent_sd={bound:g} server.assumed_intent_sd={bound:g}",
              f"the most that the log allows: an sd of {bound:g} logit, as cloud and phone assume too"),
    )  # fmt: skip


def intent_bound(scenario: Path | None) -> float:
    """The largest `interests.intent_sd` that the log allows, logit: by the fit beside a scenario file, if there is one,
    or by the shipped fit. Raises SettingError."""
    return intents_that_agree(fit_of(scenario)).high


class Headroom(NamedTuple):
    """The ladder in each world, with its results."""

    steps: tuple[Step, ...]
    worlds: tuple[World, ...]
    result: Comparison

    def level(self, world: str, step: str, metric: str) -> Interval | None:
        """Mean with its 95 % interval."""
        return self.result.intervals[self._arm(world, step)][column_of(metric)]

    def worth(self, world: str, step: Step, metric: str) -> PairedDifference | None:
        """Paired difference from the step that it adds one thing to; None for the first."""
        return self._difference(world, step.over, step.label, metric) if step.over else None

    def gain(self, world: str, step: Step, metric: str) -> PairedDifference | None:
        """Paired difference from `cloud_only` as configured, in the same world; None for itself."""
        return self._difference(world, CONFIGURED, step.label, metric) if step.over else None

    def _difference(self, world: str, before: str, after: str, metric: str) -> PairedDifference | None:
        return self.result.difference(self._arm(world, before), self._arm(world, after), column_of(metric))

    def _arm(self, world: str, step: str) -> int:
        return [each.label for each in self.worlds].index(world) * len(self.steps) + [
            each.label for each in self.steps
        ].index(step)


def climb(
    base: Scenario, bound: float, *, seed: int = 0, replications: int = REPLICATIONS, minutes: float = MINUTES,
    workers: int = 1, execute: Execute | None = None, progress: Progress | None = None,
) -> Headroom:  # fmt: skip
    """Run every step in every world, over the same replications. bound: of `intent_bound`. Raises what `compare`
    raises."""
    ladder, of_people = steps(base), worlds(base, bound)
    arms = [_arm_of(step, world, base) for world in of_people for step in ladder]
    result = compare(
        arms, seed=seed, replications=replications, minutes=minutes, engine="batch", workers=workers, execute=execute,
        progress=progress,
    )  # fmt: skip
    return Headroom(ladder, of_people, result)


def ladder_of(result: Comparison) -> Headroom | None:
    """The ladder, if a saved comparison is one; else None."""
    met = {arm.label: arm.scenario for arm in result.arms}
    base, top = met.get(f"default: {CONFIGURED}"), met.get(f"upper bound: {CONFIGURED}")
    if base is None or top is None:
        return None
    found = Headroom(steps(base), worlds(base, top.interests.intent_sd), result)
    labels = [f"{world.label}: {step.label}" for world in found.worlds for step in found.steps]
    return found if labels == list(met) else None


def _arm_of(step: Step, world: World, base: Scenario) -> Arm:
    made = parse_arm(f"arm={step.policy} {world.settings} {step.settings}", base)
    return replace(made, label=f"{world.label}: {step.label}")


def headroom_json(found: Headroom) -> dict[str, Any]:
    """The question, and a row for each world, step and metric; percentages are relative to what each step is measured
    from."""
    rows: list[dict[str, Any]] = [
        {
            "world": world.label,
            "step": step.label,
            "metric": metric,
            **_ends(found.level(world.label, step.label, metric)),
            **_percent("worth", found.worth(world.label, step, metric)),
            **_percent("gain", found.gain(world.label, step, metric)),
        }
        for world in found.worlds
        for step in found.steps
        for metric in SHOWN
    ]
    return record(found.result) | {
        "primary": PRIMARY,
        "people": found.result.baseline.scenario.population.users,
        "minutes": found.result.minutes,
        "replications": found.result.replications,
        "seed": found.result.seed,
        "worlds": [world._asdict() for world in found.worlds],
        "steps": [step._asdict() for step in found.steps],
        "rows": rows,
    }


def _ends(level: Interval | None) -> dict[str, float | None]:
    return {"mean": level and level.mean, "low": level and level.low, "high": level and level.high}


def _percent(name: str, d: PairedDifference | None) -> dict[str, float | None]:
    return {f"{name}_pct": d and d.diff_pct, f"{name}_low": d and d.diff_pct_low, f"{name}_high": d and d.diff_pct_high}
