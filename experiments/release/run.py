"""One release: one run of the event driver with everybody in one world, watched minute by minute.

Runs in processes of its own; called by `summary.py`.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nextone.experiments.ab.trial import by_arm, own_worlds
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.deciding import is_edge, make_decider, phone_cost
from nextone.experiments.runs.replication import window_of
from nextone.experiments.runs.shipping import Place, moved_policy, moved_scenario
from nextone.sim.batch_run import Decide
from nextone.sim.config import NEVER_US
from nextone.sim.event_run import Watch, run_events
from nextone.sim.ledger import check_ledgers
from nextone.sim.records import Logs, Records
from nextone.sim.state import World
from nextone.sim.world import Arms, Design, build_world

from .failing import failing
from .faults import with_fault
from .gates import Counts
from .plan import Plan
from .rollout import MINUTE_US, End, Event, Judged, Rollout, installed
from .telemetry import Telemetry, monitor, with_version


@dataclass(frozen=True)
class Release:
    """A release in one world: all that its result is a function of."""

    plan: Plan
    seed: int
    replication: int = 0
    kept: bool = False  # whether the monitor's table is

    def moved(self, place: Place) -> "Release":
        """The same release, with traces and checkpoints from elsewhere."""
        first, second = (
            replace(arm, policy=moved_policy(arm.policy, place), scenario=moved_scenario(arm.scenario, place))
            for arm in self.plan.versions
        )
        return replace(self, plan=replace(self.plan, versions=(first, second)))

    def __str__(self) -> str:
        return f"release {self.plan.name!r}, fault {self.plan.fault}, replication {self.replication}, seed {self.seed}"


class Released(NamedTuple):
    """How a release went."""

    end: End
    events: tuple[Event, ...]
    people: int  # who ever had version 2
    hours: float  # that they spent in the app with it
    monitor: dict[str, Any] | None  # of `telemetry.monitor`; and `share`, and `gate_1`, ... with what each gate said
    looks: tuple[tuple[float, tuple[Judged, ...]], ...]  # by minute, if the table is kept

    def minute_of(self, what: str) -> float | None:
        """When it happened, minutes from the first wave; None if it did not."""
        first = next((each.minute for each in self.events if each.what == "wave"), 0.0)
        return next((each.minute - first for each in self.events if each.what == what), None)


def run_release(task: Release) -> Released:
    """Live through it."""
    released, _, _ = run_world(task)
    return released


def versions_of(plan: Plan) -> tuple[Arm, Arm]:
    """Both versions, the second with its fault. Raises SettingError."""
    first, second = plan.versions
    return first, with_fault(first, second, plan.fault)


def run_world(task: Release) -> tuple[Released, World, Records]:
    """The release, and the world in which it happened."""
    plan, versions = task.plan, versions_of(task.plan)
    days = plan.hours / 24
    window_us, delay_us = window_of(None, days), round(plan.delay_min * MINUTE_US)
    first, second = (Design(arm.scenario, is_edge(arm.policy), phone_cost(arm.policy)) for arm in versions)
    scenario = first.scenario.with_workers(None, days, first.edge)
    n = scenario.population.users
    world = build_world(
        scenario, edge=first.edge, cost=first.cost, seed=task.seed, replication=task.replication, window_us=window_us,
        days=True, arms=Arms([second], installed(plan, n)[:, None]),
    )  # fmt: skip
    rollout, telemetry, counts = Rollout(plan, world), Telemetry(world), Counts(n)
    looks: list[tuple[float, tuple[Judged, ...]]] = []

    def look(logs: Logs, now_us: int) -> None:
        until_us = now_us - delay_us
        counts.add(*telemetry.read(logs, until_us), rollout.asked_us)
        judged = counts.judge(plan.gates, rollout.treated(), rollout.asked_us <= until_us, until_us)
        if task.kept:
            looks.append((now_us / MINUTE_US, tuple(judged)))
        if rollout.minute(now_us, judged):
            counts.begin()

    decide = _decider(plan, versions, world, telemetry)
    records, _ = run_events(
        world, decide and telemetry.follow(decide), workers=scenario.server.workers,
        queue_limit=scenario.server.queue_limit, end_us=window_us, days=True,
        watch=Watch(MINUTE_US, look, rollout.asked),
    )  # fmt: skip
    check_ledgers(world, records)
    minutes = -(-window_us // MINUTE_US)
    begins, ends = with_version(records.sessions, rollout)[1]
    table = monitor(telemetry, records, rollout, minutes) if task.kept else None
    people = int((rollout.got_us < NEVER_US).sum())
    found = Released(
        rollout.end, tuple(rollout.events), people, float((ends - begins).sum() / 3.6e9), table, tuple(looks)
    )
    return found, world, records


def _decider(plan: Plan, versions: tuple[Arm, Arm], world: World, telemetry: Telemetry) -> Decide | None:
    """What the driver calls. Versions of one policy have one memory of each person: its weights are the same."""
    own = own_worlds(world)
    first, second = versions
    if first.policy == second.policy and first.scenario.server.objective == second.scenario.server.objective:
        one = make_decider(first.policy, world)
        each = [one, one]
    else:
        each = [make_decider(arm.policy, its) for arm, its in zip(versions, own, strict=True)]
    if plan.fault is not None and each[1] is not None:
        each[1] = failing(each[1], plan.fault, telemetry.failed)
    return by_arm(each, own)
