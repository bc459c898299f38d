"""The main job: the same people, phones, links and luck under several arms, over independent replications.

An arm is a policy in a scenario; the first is the baseline. Every (arm, replication) is one task, a pure function of
the scenario, the policy and the keys of its draws, so the result does not depend on the number of processes or on who
finishes first. Called by `nextone compare` and, with policies of one's own, from Python.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from nextone.policies.contract import PolicyLike, options_of
from nextone.sim.config import MINUTES, Scenario
from nextone.sim.scenario import SettingError

from .arms import BASELINE_POLICY as BASELINE_POLICY
from .arms import Arm as Arm
from .arms import Engine, Servers, Task, with_the_same_servers
from .arms import Progress as Progress
from .arms import check_run as check_run
from .arms import parse_arm as parse_arm
from .comparison import Comparison
from .executor import Execute, results
from .executor import RunFailed as RunFailed
from .metrics import METRICS
from .names import resolve_policy
from .provenance import check_same, provenance


def compare(
    arms: Sequence[Arm],
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    engine: Engine = "event",
    servers: Servers = "own",
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Run every arm over the same replications; `progress(done, total)` is called after each task.

    Each arm that leaves `server.workers` at 0 gets the number that it needs itself, or with servers="same" the one that
    the first arm needs. Raises SettingError,
    TooFewReplications, RunFailed, or ValueError for a policy with wrong options. With workers > 1, policies of one's
    own must be functions or objects that another process can import. execute: how tasks are run; `on_ray()` on Ray,
    `run_all` if None.
    """
    if minutes is None and days is None:
        minutes = MINUTES
    check_run(replications=replications, minutes=minutes, days=days, seed=seed, workers=workers)
    check_labels(arms)
    if servers == "same":
        arms = with_the_same_servers(arms, minutes, days)
    tasks = [
        Task(arm, seed, replication, minutes, days, engine) for replication in range(replications) for arm in arms
    ]
    made = partial(
        provenance, arms, seed=seed, replications=replications, minutes=minutes, days=days, engine=engine
    )
    before = made()  # raises what a missing file does, before anything is run
    worlds: dict[str, set[tuple[str, str]]] = {}  # digests of links and catalogue, by arm
    pages = max(arm.scenario.server.page_size for arm in arms)
    values = np.full((len(arms), replications, len(METRICS)), np.nan)
    positions = np.zeros((len(arms), replications, pages, 2), np.int64)
    index = {arm.label: a for a, arm in enumerate(arms)}
    for done, (task, result) in enumerate(results(tasks, workers, execute=execute), start=1):
        place = index[task.arm.label], task.replication
        values[place] = [result.metrics[metric.name] for metric in METRICS]
        positions[place][: len(result.positions)] = result.positions
        worlds.setdefault(task.arm.label, set()).add((result.links_sha256, result.catalogue_sha256))
        if progress:
            progress(done, len(tasks))
    check_same(before, made(), "this comparison has met two worlds", "run it again")
    for label, met in worlds.items():
        if len(met) > 1:
            raise SettingError(f"arm {label!r} has met two worlds: its files changed while it ran; run it again")
    values.setflags(write=False)
    positions.setflags(write=False)
    return Comparison(
        tuple(arms), METRICS, values, seed, minutes, days, engine, positions, provenance=before
    )


def check_labels(arms: Sequence[Arm]) -> None:
    """Raises SettingError unless there are two arms with labels of their own, ValueError for a policy with wrong
    options."""
    if len(arms) < 2:
        raise SettingError("a comparison needs a baseline and at least one other arm; add a policy or an --arm")
    labels = [arm.label for arm in arms]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise SettingError(f"two arms are called {twice!r}; give each its own label")
    for arm in arms:
        if not isinstance(arm.policy, str):
            options_of(arm.policy)


def compare_policies(
    policies: Mapping[str, str | PolicyLike],
    scenario: Scenario | None = None,
    *,
    seed: int = 0,
    replications: int = 10,
    minutes: float | None = None,
    days: float | None = None,
    engine: Engine = "event",
    servers: Servers = "own",
    workers: int = 1,
    execute: Execute | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare policies in one scenario: `{"cloud_only": "cloud_only", "mine": mine}`. The first is the baseline."""
    world = scenario or Scenario()
    arms = [
        Arm(label, resolve_policy(policy, world) if isinstance(policy, str) else policy, world)
        for label, policy in policies.items()
    ]
    return compare(
        arms,
        seed=seed,
        replications=replications,
        minutes=minutes,
        days=days,
        engine=engine,
        servers=servers,
        workers=workers,
        execute=execute,
        progress=progress,
    )
