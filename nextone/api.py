"""The main jobs as functions: `import nextone as nx`. Names and defaults are those of the commands.

Each function runs the same code as its command and returns an `Answer`: sentences, a table, a figure, files. The
argument `scenario` says which world is simulated: None (the shipped one), a name ("kir"), a TOML file, a Scenario, or
the settings that differ from the shipped one, {"server.page_size": 4}. The compiled model is loaded only when something
is run. Users call these functions; the commands do not.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nextone.cli import common
from nextone.experiments.runs.arms import BASELINE_POLICY, Arm, Engine, Progress, Servers, parse_arm
from nextone.experiments.runs.names import listed, own_or_named
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, setting_text, with_settings

from .answers import Answer, of_comparison, of_headroom, of_sweep, of_timeline, of_training

if TYPE_CHECKING:
    from nextone.experiments.output.timeline import Timeline
    from nextone.experiments.questions.headroom import Headroom
    from nextone.experiments.runs.comparison import Comparison
    from nextone.experiments.runs.executor import Execute
    from nextone.experiments.sweeps.result import SweepResult
    from nextone.experiments.training.rl.train import Algorithm
    from nextone.policies.contract import PolicyLike
    from nextone.policies.rl import RlPolicy

ScenarioLike = Scenario | Mapping[str, object] | str | PathLike[str] | None


def compare(
    policies: "str | Sequence[str | Arm | PolicyLike] | Mapping[str, str | PolicyLike] | None" = None,
    scenario: ScenarioLike = None,
    *,
    arms: Sequence[str | Arm] = (),
    users: int | None = None,
    minutes: float | None = None,
    days: float | None = None,
    replications: int = 10,
    seed: int = 0,
    engine: Engine = "event",
    servers: Servers = "own",
    workers: int | None = None,
    execute: "Execute | None" = None,
    progress: Progress | None = None,
) -> "Answer[Comparison]":
    """Compare policies on the same people, phones, links and luck: paired differences with 95 % intervals.

    - policies: names (a list, or one text with commas), functions and objects of your own, arms, or {label: policy}.
      The first is the baseline, but among names alone `cloud_only` is. None: those of the command, or only `arms`.
    - arms: more arms, each with settings of its own: "small=cloud_only server.page_size=2".
    - users: how many people; None: as many as the scenario says.
    - minutes: the window in which everybody opens the app once; None: 60, if `days` is None too.
    - days: whole days instead, in which people come back.
    - replications: independent runs of every arm, at least 10.
    - seed: of people and luck.
    - engine: "event" with server queues, "batch" without them and faster.
    - servers: if server.workers is 0, "own" gives each arm the servers it needs, "same" what the first arm needs.
    - workers: processes; None: one per core, but 1 if a policy is a function or an object of yours, which cannot
      always be sent to another process.
    - execute: how runs are made, such as `on_ray()`; None: on this machine.
    - progress: progress(done, total) is called after each run.

    Raises SettingError, TooFewReplications for fewer than 10 replications, and RunFailed.

    >>> import nextone as nx
    >>> tiny = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "population.users": 20}
    >>> found = nx.compare(["cloud_only", "random"], tiny, minutes=1, engine="batch", workers=1)
    >>> found.frame().query("metric == 'app_min'")[["policy", "unit"]].values.tolist()
    [['cloud_only', 'min/person'], ['random', 'min/person']]
    >>> len(found.verdict) > 0
    True
    """
    from nextone.experiments.runs.compare import compare as run
    from nextone.policies.from_file import FilePolicy

    base = _world(scenario, users)
    made = _arms(policies, arms, base)
    if workers is None and not all(isinstance(arm.policy, (str, FilePolicy)) for arm in made):
        workers = 1
    found = run(
        made, seed=seed, replications=replications, minutes=minutes, days=days, engine=engine,
        servers=servers, workers=common.processes(workers), execute=execute, progress=progress,
    )  # fmt: skip
    return of_comparison(found)


def sweep(
    grid: Mapping[str, Sequence[object]] | Sequence[str] = (),
    scenario: ScenarioLike = None,
    *,
    cells: Sequence[str] = (),
    sobol: Sequence[str] = (),
    samples: int | None = None,
    policies: str | Sequence[str] = (BASELINE_POLICY,),
    metric: str | None = None,
    half_width: str | None = None,
    max_replications: int | None = None,
    users: int | None = None,
    minutes: float | None = None,
    days: float | None = None,
    seed: int = 0,
    engine: Engine = "event",
    servers: Servers = "own",
    workers: int | None = None,
    out: str | Path | None = None,
    execute: "Execute | None" = None,
    progress: Progress | None = None,
) -> "Answer[SweepResult]":
    """Run many combinations of settings (cells) on the same people and luck, until intervals are narrow.

    - grid: all combinations of values, {"server.page_size": [2, 4, 8]}.
    - cells: instead of it, a list of combinations, ("server.page_size=2 client.ttl_s=30", ...).
    - sobol, samples: instead of it, so many points in ranges, ("client.ttl_s=10..600", ...).
    - metric: which one decides what is best, and whose intervals are to be narrow; None: app_min.
    - half_width: how narrow, as half of a 95 % interval: "0.5%" of the mean, or a number in the metric's unit.
    - max_replications: the most runs of a cell under a policy.
    - out: a folder that keeps the sweep while it runs, so that `nextone sweep --resume` can go on after a kill; None:
      only in memory.
    - The others are as in `compare`.

    Raises SettingError and TooFewReplications.

    >>> import nextone as nx
    >>> tiny = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "population.users": 20}
    >>> found = nx.sweep({"server.page_size": [2, 8]}, tiny, minutes=1, max_replications=10, engine="batch", workers=1)
    >>> sorted(set(found.frame()["server.page_size"]))  # 6 is the default, to compare with
    [2, 6, 8]
    """
    from nextone.experiments.sweeps.plan import Question, plan_of
    from nextone.experiments.sweeps.sweep import begun, finish

    texts = tuple(grid) if not isinstance(grid, Mapping) else tuple(
        f"{name}={','.join(map(setting_text, values))}" for name, values in grid.items()
    )  # fmt: skip
    question = Question(
        grid=texts, cells=tuple(cells), sobol=tuple(sobol), samples=samples, metric=metric, half_width=half_width,
        policies=tuple(listed(policies) if isinstance(policies, str) else policies), seed=seed, minutes=minutes,
        days=days, engine=engine, servers=servers, max_replications=max_replications,
    )  # fmt: skip
    plan, workers = plan_of(question, _world(scenario, users)), common.processes(workers)
    with TemporaryDirectory() as scratch:
        folder = Path(out or scratch)
        common.prepare_folder(folder)
        finish(begun(folder, plan), workers=workers, execute=execute, progress=progress)
        return of_sweep(folder)


def headroom(
    scenario: ScenarioLike = None,
    *,
    users: int | None = None,
    minutes: float = 30.0,
    replications: int = 10,
    seed: int = 0,
    workers: int | None = None,
    execute: "Execute | None" = None,
    progress: Progress | None = None,
) -> "Answer[Headroom]":
    """Measure how much any policy could gain, by steps: a fresher cloud, or a phone that knows more, up to everything.

    Each step is taken in three worlds: without passing interests, with those of the scenario, and with the strongest
    that the log allows. Arguments are as in `compare`; there are 400 people where neither `users` nor the scenario says
    how many.

    Raises SettingError and TooFewReplications."""
    from nextone.experiments.questions.headroom import climb, intent_bound

    file = scenario if isinstance(scenario, (str, PathLike)) else None
    found = climb(
        _world(scenario, users, common.PEOPLE), intent_bound(None if file is None else Path(file)), seed=seed,
        replications=replications, minutes=minutes, workers=common.processes(workers), execute=execute,
        progress=progress,
    )  # fmt: skip
    return of_headroom(found)


def train(
    out: str | Path,
    scenario: ScenarioLike = None,
    *,
    algo: "Algorithm" = "maskable_ppo",
    steps: int = 1_000_000,
    envs: int = 512,
    reward: str | Mapping[str, float] = "default",
    refresh: bool = False,
    seed: int = 0,
    threads: int = 2,
    progress: bool = False,
) -> "Answer[RlPolicy]":
    """Train a policy by reinforcement learning, then compare it with rules on people that it never met.

    `.found` of the answer is the policy, which `compare` accepts, as it does its name, "rl:OUT". After a kill,
    `nextone train rl --resume OUT` goes on.

    - out: the folder of its checkpoints.
    - algo: "maskable_ppo" or "dqn".
    - steps: decisions to learn from.
    - envs: how many people at a time.
    - reward: a preset (default, watch, plays), or weights, {"like": 5}; the other weights are 0.
    - refresh: the policy may also ask for a new page.
    - seed: of people, luck and first weights.
    - threads: of torch; another number may give other bits.
    - progress: whether it is shown on standard error.

    Raises SettingError, also if the folder already holds a training: `load` returns that one."""
    from nextone.envs.reward import reward_weights
    from nextone.experiments.training.rl import train as training_code

    folder = Path(out)
    common.prepare_folder(folder)
    weights = reward_weights(reward)
    settings = training_code.TrainSettings(
        scenario=_world(scenario, None), algo=algo, steps=steps, envs=envs, reward=weights, refresh=refresh, seed=seed,
        threads=threads,
    )  # fmt: skip
    training_code.train(settings, folder, progress=progress)
    return of_training(folder, training_code.final_result(settings, folder))


def timeline(
    user: int | None = None,
    scenario: ScenarioLike = None,
    *,
    policy: "str | PolicyLike" = "tag_momentum",
    seed: int = 0,
    minutes: float | None = None,
    days: float | None = None,
    session: int = 0,
    engine: Engine | None = None,
) -> "Answer[Timeline]":
    """Show one person's session as a timeline of screen, link, candidate pool, requests and decisions.

    - user: 0 to population.users - 1; None: the first who sees 20 to 100 videos.
    - session: its number in a run over days, from 0.
    - engine: "batch" runs this person alone, with a free server; "event" runs everybody, who queue for the servers;
      None: "event" if the scenario says how many servers there are.
    - The others are as in `compare`.

    Raises SettingError if there is no such session.

    >>> import nextone as nx
    >>> tiny = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "population.users": 20}
    >>> found = nx.timeline(3, tiny, minutes=1)
    >>> found.frame().groupby("lane")["for_s"].sum().index.tolist()
    ['link', 'policy', 'pool', 'screen', 'server']
    """
    from nextone.experiments.output.timeline import make_timeline, worth_a_look

    world = _world(scenario, None)
    made = own_or_named(policy, world) if isinstance(policy, str) else policy
    chosen = worth_a_look(world, seed, made, minutes=minutes, days=days) if user is None else user
    return of_timeline(
        make_timeline(world, chosen, seed, made, minutes=minutes, days=days, session=session, engine=engine)
    )


def load(folder: str | Path) -> Answer[Any]:
    """Load the answer that `save`, or a command's `--out`, wrote into this folder.

    It may be of `compare`, `sweep`, `headroom`, `train` or `timeline`; of a timeline, the file may be given instead.

    Raises SettingError if there is none, if one of its files is damaged, or if another version wrote what this one
    cannot read; CheckpointError for a training's."""
    from nextone.experiments.output.report.comparison import read_comparison
    from nextone.experiments.output.timeline import TIMELINE, read_timeline
    from nextone.experiments.questions.headroom import ladder_of
    from nextone.experiments.runs.comparison_files import COMPARISON
    from nextone.experiments.sweeps.ledger import NAME as LEDGER
    from nextone.experiments.sweeps.result import RESULTS
    from nextone.policies.checkpoint import has_checkpoints

    folder = Path(folder)
    if folder.is_file() or (folder / TIMELINE).is_file():
        return of_timeline(read_timeline(folder if folder.is_file() else folder / TIMELINE))
    if (folder / COMPARISON).is_file():
        found = read_comparison(folder)
        ladder = ladder_of(found)
        return of_comparison(found) if ladder is None else of_headroom(ladder)
    if (folder / RESULTS).is_file() or (folder / LEDGER).is_file():
        return of_sweep(folder)
    if has_checkpoints(folder):
        return of_training(folder)
    raise SettingError(
        f"{str(folder)!r} holds no answer; give a folder of .save(), or what nextone compare, sweep, headroom, "
        "timeline or train rl wrote with --out"
    )


# ---- what is given


def _world(scenario: ScenarioLike, users: int | None, usual: int | None = None) -> Scenario:
    """The scenario, with so many people; `usual` where neither `users` nor the scenario says how many."""
    if scenario is None or isinstance(scenario, (str, PathLike)):
        return common.chosen_scenario(None if scenario is None else Path(scenario), None, users, usual)
    if isinstance(scenario, Mapping):
        texts = [f"{name}={value if isinstance(value, str) else setting_text(value)}"
                 for name, value in scenario.items()]  # fmt: skip
        return common.chosen_scenario(None, texts, users, usual)
    if not isinstance(scenario, Scenario):
        raise SettingError(
            f"scenario={str(scenario)[:60]!r} must be a Scenario, a name, a file or {{'section.field': value}}"
        )
    people = usual if users is None and "users" not in scenario.population.model_fields_set else users
    return scenario if people is None else with_settings(scenario, {"population.users": people})


def _arms(policies: Any, more: Sequence[str | Arm], base: Scenario) -> list[Arm]:
    """The arms of `compare`, the baseline first."""
    from nextone.cli.compare import DEFAULT_POLICIES
    from nextone.policies.contract import name_of

    if policies is None:
        policies = () if more else DEFAULT_POLICIES
    if isinstance(policies, Mapping):
        named = list(policies.items())
    else:
        each = listed(policies) if isinstance(policies, str) else policies
        named = [(p if isinstance(p, str) else p.label if isinstance(p, Arm) else name_of(p), p) for p in each]
        if all(isinstance(p, str) for _, p in named):
            named.sort(key=lambda pair: pair[1] != BASELINE_POLICY)
    made = [
        policy if isinstance(policy, Arm)
        else Arm(label, own_or_named(policy, base) if isinstance(policy, str) else policy, base)
        for label, policy in named
    ]  # fmt: skip
    return made + [arm if isinstance(arm, Arm) else parse_arm(arm, base, own_or_named) for arm in more]
