"""One world of an A/B test: people of several arms who share servers, or everybody in one of them.

An arm is a policy and settings that each person's phone and requests may have for themselves; people, videos, links and
servers are the same for all. Runs in processes of its own; called by `run.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.deciding import is_edge, make_decider, phone_cost
from nextone.experiments.runs.metrics import Run, metric_named, whole_impressions
from nextone.experiments.runs.replication import end_of, window_of
from nextone.experiments.runs.shipping import Place, moved_policy, moved_scenario
from nextone.sim.batch_run import Decide
from nextone.sim.config import Scenario
from nextone.sim.event_run import run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.scenario import SettingError, with_settings
from nextone.sim.state import Array, World
from nextone.sim.world import Arms, Design, build_world

from .assignment import Plan, Split, plan
from .people import People, looked_at, segments_of, sums_of

SHARED = ("catalogue", "population", "interests", "watching", "feedback", "sessions", "network")
SHARED_FIELDS = {
    "client": ("history",),
    "phone": ("shares", "software_decoder"),
    "server": (
        "workers", "queue_limit", "recall", "kept", "repeat_after_days", "quality_correlation", "embedding_correlation",
        "embedding_impressions", "version_gap", "pxtr_noise", "person_correlation", "taste_correlation", "pool_min",
    ),
}  # fmt: skip
"""What people of one world have in common, whole sections and single fields: the world, its videos, what the cloud
learnt before the test, and the servers."""
LOAD = ("utilisation", "timeout_rate", "queue_p95_ms")


def check_arms(arms: Sequence[Arm]) -> None:
    """Raises SettingError if arms differ in what people of one world share."""
    for arm in arms[1:]:
        mine, first = arm.scenario, arms[0].scenario
        fields = {name: tuple(type(getattr(mine, name)).model_fields) for name in SHARED} | SHARED_FIELDS
        for section, names in fields.items():
            for name in names:
                a, b = (getattr(getattr(scenario, section), name) for scenario in (first, mine))
                if a != b:
                    raise SettingError(
                        f"arm {arm.label!r}: {section}.{name} is shared by all people of one world; set it for both "
                        "arms with --set, or compare two worlds with nextone compare"
                    )


@dataclass(frozen=True)
class Trial:
    """One world of a test: all that its result is a function of."""

    arms: tuple[Arm, ...]  # the control first
    split: Split
    seed: int
    replication: int
    minutes: float | None
    days: float | None
    before: float = 0.0  # days before the test, in which all are of the control
    everybody: int | None = None  # the arm that everybody is in; None: the test itself
    layer: tuple[Arm, ...] = ()  # the same arms, treated by another test as well (`Split.layer`)

    def moved(self, place: Place) -> "Trial":
        """The same world, with traces and checkpoints from elsewhere."""
        arms, layer = (
            tuple(
                replace(arm, policy=moved_policy(arm.policy, place), scenario=moved_scenario(arm.scenario, place))
                for arm in some
            )
            for some in (self.arms, self.layer)
        )
        return replace(self, arms=arms, layer=layer)

    def __str__(self) -> str:
        who = "the A/B test" if self.everybody is None else f"everybody in {self.arms[self.everybody].label!r}"
        return f"{who}, replication {self.replication}, seed {self.seed}"


def run_trial(trial: Trial) -> People:
    """Live through it, and what it says of each person."""
    run, whole, from_us = run_world(trial)
    records, n = run.records, len(run.world.users)
    sums = sums_of(run, from_us, run.window_us)
    arm, unit = _who_is_where(trial.split, whole, records.sessions, n, from_us)
    minutes, first = looked_at(records.sessions, n, from_us, run.window_us)
    load = {name: metric_named(name).of(run) for name in LOAD} | {"workers": float(run.workers)}
    earlier = sums_of(run, 0, from_us) if from_us else {}
    return People(arm, unit, sums, earlier, minutes, first, segments_of(run.world.users), load)


def run_world(trial: Trial) -> tuple[Run, Plan, int]:
    """The run, who was where in it, and when the test began, us."""
    arms, days = (*trial.arms, *trial.layer), None if trial.days is None else trial.days + trial.before
    window_us, from_us = window_of(trial.minutes, days), round(trial.before * 86_400e6)
    first, *others = (Design(arm.scenario, is_edge(arm.policy), phone_cost(arm.policy)) for arm in arms)
    control = first.scenario.with_workers(trial.minutes, days, first.edge)
    whole = plan(
        trial.split, control.population.users, control.server.workers, window_us, from_us, trial.everybody
    )  # fmt: skip
    world = build_world(
        control, edge=first.edge, cost=first.cost, seed=trial.seed, replication=trial.replication,
        window_us=window_us, days=days is not None, arms=Arms(others, whole.arms, whole.period_us),
    )  # fmt: skip
    records, server = run_events(
        world, _decider(arms, world), workers=whole.workers, queue_limit=control.server.queue_limit,
        end_us=end_of(window_us, days is not None), days=days is not None, group_of=whole.group,
    )  # fmt: skip
    check_ledgers(world, records)
    run = Run(control, world, records, whole_impressions(records), server, sum(whole.workers), window_us)
    return run, whole, from_us


def _decider(arms: Sequence[Arm], world: World) -> Decide | None:
    """What the driver calls: each person's own policy."""
    worlds = own_worlds(world)
    return by_arm([make_decider(arm.policy, own) for arm, own in zip(arms, worlds, strict=True)], worlds)


def own_worlds(world: World) -> list[World]:
    """The world as each arm lives by it: with that arm's parameters."""
    return [world._replace(params=world.params[a : a + 1]) for a in range(len(world.params))]


def by_arm(each: Sequence[Decide | None], worlds: Sequence[World]) -> Decide | None:
    """Let each person's own arm decide; None if no arm ever does."""
    if not any(each):
        return None

    def decide(w: World, rows: Array) -> Array:
        mine = w.users["arm"][rows]
        there = np.flatnonzero(np.bincount(mine)).tolist()
        if len(there) == 1:
            return _asked(each[there[0]], worlds[there[0]], rows)
        told = {a: _asked(each[a], worlds[a], rows[mine == a]) for a in there}
        out = np.full((len(rows), max(scores.shape[1] for scores in told.values())), -np.inf, np.float32)
        for a, scores in told.items():  # a last column of -inf asks for no page
            out[np.flatnonzero(mine == a), : scores.shape[1]] = scores
        return out

    return decide


def _asked(decide: Decide | None, world: World, rows: Array) -> Array:
    assert decide is not None, "a phone that does not rank was asked to"
    return decide(world, rows)


def _who_is_where(split: Split, whole: Plan, sessions: Array, n: int, from_us: int) -> tuple[Array, Array]:
    """The arm in which each person opened the app in the test, -1 if they did not, and the unit that was hashed."""
    mine = sessions[sessions["open_us"] >= from_us]
    opened_us = np.full(n, -1, np.int64)
    opened_us[mine["user"][::-1]] = mine["open_us"][::-1]  # of the first: the last that is written
    stretch = np.minimum(opened_us // whole.period_us, whole.arms.shape[1] - 1)
    arm = np.where(opened_us < 0, -1, whole.arms[np.arange(n), stretch] % len(split.shares)).astype(np.int8)
    if split.design == "switchback":
        return arm, stretch
    return arm, whole.region if split.design == "cluster" else np.arange(n)


def in_both(arms: Sequence[Arm], other: Arm) -> tuple[Arm, ...]:
    """The arms of a test, each treated by another test as well: with what that changes of the control. Raises
    SettingError if both tests change the same, which is for one layer."""
    control = arms[0]
    theirs = _changed(control, other)
    made = []
    for arm in arms:
        if both := sorted(_changed(control, arm).keys() & theirs.keys()):
            raise SettingError(
                f"--layer {other.label}: {both[0]} is changed by arm {arm.label!r} as well; two tests that change the "
                "same must not treat the same people, so make it an --arm"
            )
        policy = theirs.get(POLICY, arm.policy)
        settings = {name: value for name, value in theirs.items() if name != POLICY}
        made.append(Arm(f"{arm.label}+{other.label}", policy, with_settings(arm.scenario, settings)))
    return tuple(made)


POLICY = "the policy"


def _changed(control: Arm, arm: Arm) -> dict[str, Any]:
    """What an arm has otherwise than the control: settings by name, and the policy."""
    pairs = {
        f"{section}.{name}": value
        for section in type(arm.scenario).model_fields
        for name, value in getattr(arm.scenario, section)
        if value != getattr(getattr(control.scenario, section), name)
    }
    return pairs | ({POLICY: arm.policy} if arm.policy != control.policy else {})


def check_trial(scenario: Scenario, before: float, days: float | None) -> None:
    """Raises SettingError."""
    if before < 0 or (before and days is None):
        raise SettingError(f"--before {before:g}: must be >= 0 days before a test of --days; an hour has no day before")
    if scenario.population.users < 40:
        raise SettingError(f"{scenario.population.users} people are too few for an A/B test; give --users 40 or more")
