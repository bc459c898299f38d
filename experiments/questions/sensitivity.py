"""Which assumptions does the answer depend on? Each assumed setting is walked over its plausible range, one at a time.

`nextone sensitivity` runs it. The answers are what `reference_filter` on the phone gains over `cloud_only`, and the
level of the primary metric. At each end people and luck are those of the scenario itself, so a move is a paired
difference. Where a passing interest's strength or half-life is walked, what the cloud assumes of it follows. Besides,
some things are drawn again: catalogues, days of traces, parameter sets that agree with the log, and all of these with
other people and luck. Servers are ample.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.experiments.fitting.people.domain import fields
from nextone.experiments.fitting.people.fit_file import FitFile
from nextone.experiments.fitting.people.interests_fit import TIED
from nextone.experiments.fitting.people.robust import varied
from nextone.experiments.runs.arms import BASELINE_POLICY, Arm, Progress, Task
from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.metrics import PRIMARY, metric_named
from nextone.experiments.runs.names import REFERENCE_FILTER
from nextone.experiments.runs.provenance import provenance
from nextone.experiments.runs.statistics import Interval, gains, mean_interval
from nextone.sim.config import Scenario, said_of
from nextone.sim.plausible import Plausible, end_text, is_assumed
from nextone.sim.scenario import SettingError, setting_text, with_settings
from nextone.version import __version__

from .ranges import ends_of
from .sensitivity_file import GAIN, LEVEL, Answer, Drawn, Move, NotWalked, Row, Span, Table

MINUTES, REPLICATIONS, DRAWS = 30.0, 20, 24
POLICIES = (BASELINE_POLICY, REFERENCE_FILTER)
METRICS = (PRIMARY, "valid_play", "long_view")
GAINS = tuple(f"gain in {name}" for name in METRICS)
LEVELS = (f"level of {PRIMARY}",)
CENTRAL = (0.025, 0.975)  # of draws
Floats = NDArray[np.float64]


class World(NamedTuple):
    """A scenario, and the seed of its people and luck."""

    label: str
    scenario: Scenario
    seed: int


class Walk(NamedTuple):
    """The two ends of one setting, as worlds; None if an end is what the scenario has."""

    setting: str
    unit: str
    default: str
    ends: Plausible
    low: World | None
    high: World | None


class Again(NamedTuple):
    """A kind of thing that is drawn again, and its worlds."""

    what: str
    holds: str
    worlds: tuple[World, ...]


class Plan(NamedTuple):
    """Everything that is to be run."""

    base: World
    walks: tuple[Walk, ...]
    drawn: tuple[Again, ...]
    not_walked: tuple[NotWalked, ...]

    @property
    def worlds(self) -> tuple[World, ...]:
        """All worlds, the scenario itself first."""
        ends = (world for walk in self.walks for world in (walk.low, walk.high) if world is not None)
        return (self.base, *ends, *(world for again in self.drawn for world in again.worlds))


def plan_of(base: Scenario, fit: FitFile, *, seed: int = 0, draws: int = DRAWS, only: Sequence[str] = ()) -> Plan:
    """What to run. only: vary only these settings (none: all assumed ones). draws: of each kind of thing that is drawn
    again, 0: none. Raises SettingError for an unknown setting, or for more draws than the fit has sets."""
    if draws > len(fit.draws):
        raise SettingError(f"draws={draws} must be <= {len(fit.draws)}, the parameter sets of the fit; 24 is usual")
    assumed = {name: field for name, field in fields() if is_assumed(field)}
    for name in only:
        if name not in assumed:
            raise SettingError(f"{name!r} is not an assumed setting; `nextone scenario --show` prints which are")
    walks, without = [], []
    for name, field in assumed.items():
        if only and name not in only:
            continue
        value = _value(base, name)
        ends = ends_of(name, field, value, fit)
        if isinstance(ends, str):
            without.append(NotWalked(name, ends))
            continue
        unit = str(said_of(field)["unit"])
        try:
            low, high = (_at_end(base, name, end, seed) for end in (ends.low, ends.high))
        except SettingError as error:
            without.append(NotWalked(name, f"an end does not fit the scenario: {error}"))
            continue
        walks.append(Walk(name, unit, end_text(value), ends, low, high))
    return Plan(World("the scenario", base, seed), tuple(walks), _drawn(base, fit, seed, draws), tuple(without))


def _at_end(base: Scenario, name: str, end: object, seed: int) -> World | None:
    names = [name, *([TIED[name]] if name in TIED else [])]
    world = with_settings(base, [f"{each}={setting_text(end)}" for each in names])
    return None if world == base else World(f"{name}={end_text(end)}", world, seed)


def _value(scenario: Scenario, name: str) -> object:
    section, field = name.split(".")
    return getattr(getattr(scenario, section), field)


def _drawn(base: Scenario, fit: FitFile, seed: int, draws: int) -> tuple[Again, ...]:
    if not draws:
        return ()
    first = base.catalogue.catalogue_seed

    def catalogue(k: int, scenario: Scenario) -> Scenario:
        return with_settings(scenario, [f"catalogue.catalogue_seed={(first + 1 + k) % 2**32}"])

    def days(k: int, scenario: Scenario) -> Scenario:
        return with_settings(scenario, [f"network.trace_seed={1 + k}"])

    def parameters(k: int, scenario: Scenario) -> Scenario:
        return varied(scenario, fit, k)

    def everything(k: int, scenario: Scenario) -> Scenario:
        return parameters(k, days(k, catalogue(k, scenario)))

    kinds: tuple[tuple[str, str, Callable[[int, Scenario], Scenario], bool], ...] = (
        ("catalogue", "the catalogue", catalogue, False),
        ("days", "the days of traces", days, False),
        ("parameters", f"parameters that agree with {fit.log}", parameters, False),
        ("everything", "all of these, luck and people", everything, True),
    )
    return tuple(
        Again(what, holds, tuple(
            World(f"{what} {k}", change(k, base), (seed + 1 + k) % 2**63 if other_luck else seed) for k in range(draws)
        ))
        for what, holds, change, other_luck in kinds
    )  # fmt: skip


def run(
    plan: Plan, *, replications: int = REPLICATIONS, minutes: float = MINUTES, workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None, estimate: Callable[[int, float], None] | None = None, name: str = "the scenario",
) -> Table:  # fmt: skip
    """Run the plan and sum it up. estimate(runs, seconds): called once the scenario itself has been run, with how many
    runs are left and how long they will take. name: of the scenario, for the table. Raises RunFailed."""
    started = time.perf_counter()
    worlds = plan.worlds
    values = np.full((len(worlds), len(POLICIES), replications, len(METRICS)), np.nan)
    tasks = _tasks(worlds, replications, minutes)
    index = {(world.label, policy): (w, p) for w, world in enumerate(worlds) for p, policy in enumerate(POLICIES)}
    assert len(index) == len(worlds) * len(POLICIES), "two worlds have the same label"
    total, of_first = len(index) * replications, len(POLICIES) * replications
    first_done = started
    for done, (task, result) in enumerate(results(tasks, workers, execute=execute), start=1):
        place = index[task.arm.label, str(task.arm.policy)]
        values[(*place, task.replication)] = [result.metrics[metric] for metric in METRICS]
        if done == 1:
            first_done = time.perf_counter()  # before it, the model is compiled or loaded
        if done == of_first and estimate:
            each = (time.perf_counter() - first_done) / (of_first - 1)
            estimate(total - done, each * (total - done))
        if progress:
            progress(done, total)
    took = (time.perf_counter() - started) / 60
    found = {world.label: block for world, block in zip(worlds, values, strict=True)}
    return _summed_up(plan, found, replications, minutes, took, name)


def _tasks(worlds: Sequence[World], replications: int, minutes: float) -> Iterator[Task]:
    """World by world, so that few catalogues are held at a time."""
    for world in worlds:
        for replication in range(replications):
            for policy in POLICIES:
                yield Task(
                    Arm(world.label, policy, world.scenario), world.seed, replication, minutes, None, "batch"
                )


def _summed_up(
    plan: Plan, found: dict[str, Floats], replications: int, minutes: float, took: float, name: str
) -> Table:
    own = found[plan.base.label]
    answers = [
        *(Answer(gain, GAIN, "%", _span(mean_interval(_gains(own, m)))) for m, gain in enumerate(GAINS)),
        *(Answer(level, LEVEL, metric_named(PRIMARY).unit, _span(mean_interval(own[0, :, 0]))) for level in LEVELS),
    ]
    rows = tuple(_row(walk, found, own) for walk in plan.walks)
    drawn = tuple(
        each
        for again in plan.drawn
        for each in _of_draws(again, np.stack([found[world.label] for world in again.worlds]), own)
    )
    arms = [Arm(policy, policy, plan.base.scenario) for policy in POLICIES]
    made = provenance(
        arms, seed=plan.base.seed, replications=replications, minutes=minutes, days=None, engine="batch"
    )
    return Table(
        name, __version__, plan.base.scenario.population.users, minutes, replications, plan.base.seed, took,
        tuple(answers), tuple(sorted(rows, key=lambda row: row.size(GAINS), reverse=True)), drawn, plan.not_walked,
        made,
    )  # fmt: skip


def _row(walk: Walk, found: dict[str, Floats], own: Floats) -> Row:
    low, high = (own if world is None else found[world.label] for world in (walk.low, walk.high))
    moves = [
        *(Move(gain, _moved(own, low, m), _moved(own, high, m)) for m, gain in enumerate(GAINS)),
        *(Move(level, _level_moved(own, low), _level_moved(own, high)) for level in LEVELS),
    ]
    ends = walk.ends
    return Row(
        walk.setting, walk.unit, walk.default, end_text(ends.low), end_text(ends.high), ends.reason, tuple(moves)
    )


def _gains(values: Floats, metric: int) -> Floats:
    """values (policy, replication, metric): the gain of each replication, %, (R,)."""
    return gains(values[0, :, metric], values[1, :, metric])


def _moved(own: Floats, there: Floats, metric: int) -> Span | None:
    return _span(mean_interval(_gains(there, metric) - _gains(own, metric)))


def _level_moved(own: Floats, there: Floats) -> Span | None:
    return _span(mean_interval(gains(own[0, :, 0], there[0, :, 0])))


def _of_draws(again: Again, values: Floats, own: Floats) -> Iterator[Drawn]:
    """values (draw, policy, replication, metric)."""
    for m, gain in enumerate(GAINS):
        each = np.array([_gains(block, m).mean() for block in values])
        sign = np.sign(_gains(own, m).mean())
        yield Drawn(again.what, again.holds, gain, len(each), _central(each), float(np.mean(np.sign(each) == sign)))
    for level in LEVELS:
        each = values[:, 0, :, 0].mean(axis=1)
        yield Drawn(again.what, again.holds, level, len(each), _central(each), None)


def _central(each: Floats) -> Span | None:
    if not np.isfinite(each).all():
        return None
    low, high = np.quantile(each, CENTRAL)
    return Span(float(each.mean()), float(low), float(high))


def _span(interval: Interval | None) -> Span | None:
    return None if interval is None else Span(interval.mean, interval.low, interval.high)


def name_of(scenario: Path | None, settings: Sequence[str]) -> str:
    """The name of the scenario in the table: the defaults, or the file or name, and what was set."""
    return " ".join(["the default scenario" if scenario is None else scenario.name, *settings])
