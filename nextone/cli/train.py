"""Training by reinforcement learning: `nextone train rl`, and what is looked at afterwards."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import common


def train_rl(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save checkpoints there, for `rl:DIR`.")] = None,
    algo: Annotated[
        Literal["maskable_ppo", "dqn"] | None, typer.Option(help="Which algorithm (default maskable_ppo).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How many decisions to learn from (default 3,000,000).", min=1)
    ] = None,
    envs: Annotated[int | None, typer.Option(help="How many people at a time (default 512).", min=1)] = None,
    reward: Annotated[
        str | None, typer.Option(help="A preset (default, watch, plays), or watch_s=1,like=50,...: others are 0.")
    ] = None,
    prices: Annotated[
        float | None, typer.Option(help="Multiply what requests, waits, stalls and waste cost (default 1).", min=0)
    ] = None,
    days: Annotated[
        int | None, typer.Option(help="Episodes of so many days, in which people come back; else one session.", min=1)
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Let the policy also ask for a new page.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of people, luck and first weights (default 0).")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Continue the training in this folder.")] = None,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch; results depend on their number (default 2).", min=1)
    ] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Train a policy by reinforcement learning.

    Then compares it with rules, on people that it never met."""
    from nextone.sim.scenario import SettingError

    options: dict[str, object] = {"algo": algo, "envs": envs, "seed": seed, "threads": threads, "steps": steps}
    given = {name: value for name, value in options.items() if value is not None}
    fixed = options | {"scenario": scenario, "set": settings, "reward": reward, "prices": prices}
    fixed |= {"refresh": refresh or None, "days": days}
    changed = [name for name, value in fixed.items() if value is not None and name != "steps"]
    if resume is not None and changed:
        raise SettingError(f"--{changed[0]} cannot be changed with --resume; only --steps can")
    folder = out or resume
    if folder is None:
        raise SettingError("--out is missing; give a folder for the checkpoints")
    world = common.chosen_scenario(scenario, settings)
    common.prepare_folder(folder)
    from dataclasses import replace

    from nextone.envs.reward import reward_weights
    from nextone.experiments.training.rl import train as training_code
    from nextone.experiments.training.rl.evaluate import result_lines
    from nextone.policies.checkpoint import has_checkpoints

    checkpoint = None
    if resume is not None:
        chosen, checkpoint = training_code.resume_from(resume)
        chosen = replace(chosen, **given)  # type: ignore[arg-type]
    else:
        weights = reward_weights(reward or "default").priced(1.0 if prices is None else prices)
        given |= {"options": {} if days is None else {"days": days}}
        chosen = training_code.TrainSettings(scenario=world, reward=weights, refresh=refresh, **given)  # type: ignore[arg-type]
    common.say_first_use()
    try:
        training_code.train(chosen, folder, resume=checkpoint, progress=not quiet and common.watched(as_json))
    except KeyboardInterrupt:
        if has_checkpoints(folder):
            print(f"\nStopped; nextone train rl --resume {folder} goes on from the last checkpoint.", file=sys.stderr)
        raise
    result = training_code.final_result(chosen, folder)
    common.deliver(lambda: result_lines(result), lambda: result, as_json=as_json)


def train_curves(
    runs: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of trainings, one seed each.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Save the figure there.")] = Path("curves.png"),
) -> None:
    """Draw learning curves of trainings.

    They show the reward over steps on the evaluation people, and what every rule earns there."""
    out = common.prepare_figure(out)
    from nextone.experiments.output.figures import learning_figure
    from nextone.experiments.training.rl.train import levels, settings_of
    from nextone.policies.checkpoint import newest_checkpoint

    checkpoints = [newest_checkpoint(run) for run in runs]
    looks, rules = [c.about["looks"] for c in checkpoints], levels(settings_of(checkpoints[0]))
    learning_figure(looks, rules, out)
    common.deliver(list, save=lambda: [out])


def train_asking(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Save the policy there, for `rl:DIR`.")],
    reward: Annotated[str, typer.Option(help="Weights of what is gained and what it costs.")] = "watch_s=1,requests=-6",
    sessions: Annotated[int, typer.Option(help="Sessions that are played in each try.", min=1)] = 4096,
    tries: Annotated[int, typer.Option(help="How many sets of weights to try.", min=20)] = 45,
    seed: Annotated[int, typer.Option(help="Seed of people and luck.", min=0)] = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Search for the best moment to ask for a page.

    Then compares it with fixed rules, on other people."""
    world = common.chosen_scenario(scenario, settings)
    common.prepare_folder(out)
    from nextone.envs.reward import reward_weights
    from nextone.experiments.training.rl import train as training_code
    from nextone.experiments.training.rl.asking import train_asking
    from nextone.experiments.training.rl.evaluate import result_lines

    weights = reward_weights(reward)
    evaluation = (128, 16)  # thresholds differ by little: 2,048 sessions choose where the search begins
    chosen = training_code.TrainSettings(scenario=world, reward=weights, refresh=True, seed=seed, evaluation=evaluation)
    common.say_first_use()
    train_asking(chosen, out, sessions=sessions, tries=tries, progress=not quiet and common.watched(as_json))
    result = training_code.final_result(chosen, out)
    common.deliver(lambda: result_lines(result), lambda: result, as_json=as_json)


def train_frontier(
    runs: Annotated[list[str], typer.Argument(metavar="DIR...", help="Folders of trainings with --refresh.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Save the figure there.")] = Path("frontier.png"),
    base: Annotated[
        str, typer.Option(help="The policy that chooses videos where a fixed threshold asks for pages.")
    ] = "server_score",
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
) -> None:
    """Draw watch time against requests.

    Shows policies that were trained to ask for pages, and fixed thresholds."""
    world = common.chosen_scenario(scenario, settings)
    out = common.prepare_figure(out)
    from nextone.experiments.output.figures import frontier_figure
    from nextone.experiments.training.rl.frontier import frontier
    from nextone.experiments.training.rl.train import TrainSettings

    common.say_first_use()
    points = frontier(TrainSettings(scenario=world), runs, base)
    lines = []
    for point in points:
        told = f"{point.name:20} {point.requests.mean:7.2f} requests, {point.watch_s.mean:8.1f} s watched a session"
        if point.above is not None:
            told += "; {:+.1f} [{:+.1f}, {:+.1f}] s above fixed thresholds at as many requests".format(*point.above[:3])
        lines.append(told)
    common.deliver(lambda: lines, save=lambda: [frontier_figure(points, out)])


def train_robust(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a training.")],
    sets: Annotated[int, typer.Option(help="How many parameter sets to try.", min=2)] = 32,
    as_json: common.Json = False,
) -> None:
    """Play a trained policy with other parameters.

    The parameter sets fit the log as well; it says whether the gain keeps its sign."""
    from nextone.experiments.fitting.people.fit_file import check_sets, load_fit
    from nextone.experiments.training.rl.robust import held_under, robust_text

    fit = load_fit(None)
    check_sets(fit, sets)
    common.say_first_use()
    found = held_under(run, fit, sets)
    common.deliver(lambda: [robust_text(found)], lambda: [u._asdict() for u in found], as_json=as_json)
