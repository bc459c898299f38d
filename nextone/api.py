"""The main jobs as functions: `import nextone as nx`, with the defaults of the commands of the same names.

Each asks the code that its command asks, and returns an `Answer`: sentences, a frame, a figure, files. A world is given
as `scenario`: None (as shipped), a name ("kir"), a TOML file, a Scenario, or what differs from the shipped one as
{"server.page_size": 4}. Loads the model only when something is run. Called by users; the commands do not come here.
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

from .answers import TIMELINE, Answer, of_comparison, of_headroom, of_sweep, of_timeline, of_training

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

    policies: names (a list, or one text with commas), functions and objects of your own, arms, or {label: policy}; the
    first is the baseline, or `cloud_only` if it is among bare names. None: those of the command, or only `arms`.
    arms: further ones, each with its settings: "small=cloud_only server.page_size=2". users: people (None: the
    scenario's). minutes: the window in which everyone opens the app once (60 if `days` is None too). workers: processes
    (None: one per core, but 1 if a policy is an object of your own, which may not travel). execute: how runs are
    made, such as `on_ray()`; None: on this machine. progress(done, total) is called after each run.

    Raises SettingError, TooFewReplications for fewer than 10 replications, RunFailed.

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
    """Sweep settings: every cell meets the same people and luck, and is replicated until its interval is narrow.

    grid: {"server.page_size": [2, 4, 8]}, all combinations; or cells: ("server.page_size=2 client.ttl_s=30", ...); or
    sobol: ("client.ttl_s=10..600", ...) with `samples` points. metric: what is to be sharp, and best (None: app_min).
    half_width: of 95 % intervals, "0.5%" of the mean or a number in the metric's unit. out: a folder where the sweep
    is kept while it runs, so that `nextone sweep --resume` goes on after a kill; None: only in memory.

    Raises SettingError, TooFewReplications.

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
    """What can be gained at all: fresher clouds, a phone that knows more, oracles; with no, some and most passing
    interests. Arguments as in `compare`, with 400 people where neither `users` nor the scenario says how many.

    Raises SettingError, TooFewReplications."""
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
    """Train a policy by reinforcement learning into the folder `out`, then compare it with rules on people that it
    never met. `.found` is the policy, which `compare` plays; so does its name, "rl:OUT".

    steps: decisions to learn from. envs: people at a time. reward: a preset (default, watch, retention) or weights,
    {"like": 5}, the rest being 0. refresh: one more choice, to ask for a page now. threads: of torch; another number
    may give other bits. progress: shown on standard error. After a kill, `nextone train rl --resume OUT` goes on.

    Raises SettingError, also if the folder already holds a training: `load` returns that one."""
    from nextone.envs.reward import reward_weights
    from nextone.experiments.training.rl import train as training_code

    folder = Path(out)
    common.prepare_folder(folder)
    weights = training_code.parse_reward(reward) if isinstance(reward, str) else reward_weights(reward)
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
    """One person's session: what was on the screen, whom the link worked for, what happened to the pool, where each
    request was, when decisions were ready.

    user: 0 to population.users - 1; None: the first who saw 20 to 100 videos. session: of a run over days, from 0.
    engine: "batch" runs this person alone, with a free server; "event" runs everybody, who queue for the servers; None:
    "event" if the scenario says how many servers there are. Raises SettingError if there is no such session.

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
    """The answer that `save`, or a command's `--out`, wrote into this folder: a comparison, a sweep, a ladder, a
    training, or a timeline (of which the file may be named as well).

    Raises SettingError if there is none, or if a file of it is damaged."""
    from nextone.experiments.output.report.comparison import read_comparison
    from nextone.experiments.output.timeline import read_timeline
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
