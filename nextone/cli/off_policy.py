"""`nextone off-policy`: off-policy estimates of a policy from another one's log, beside the truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from . import common


def off_policy(
    target: Annotated[str, typer.Option(help="The policy whose value is estimated, and then measured.")],
    policy: Annotated[str, typer.Option(help="The policy that logs.")] = "server_score",
    explore: Annotated[float, typer.Option(help="Share of its decisions that are made at random.")] = 0.2,
    temperature: Annotated[
        float, typer.Option(help="Of a softmax over its scores, in their standard deviations; 0 takes the best.")
    ] = 0.5,
    target_explore: Annotated[float, typer.Option(help="As --explore, of the target.")] = 0.0,
    target_temperature: Annotated[float, typer.Option(help="As --temperature, of the target.")] = 0.0,
    reward: Annotated[
        str, typer.Option(help="effective_view, long_view, like, follow, comment, forward, hate, or watch_s.")
    ] = "effective_view",
    clip: Annotated[float, typer.Option(help="The largest weight; inf leaves them as they are.")] = float("inf"),
    fqe_steps: Annotated[int, typer.Option(help="Gradient steps of d3rlpy's FQE, if installed.", min=1)] = 20_000,
    users: Annotated[int, typer.Option(help="People.", min=1)] = 1000,
    minutes: common.Minutes = None,
    days: common.Days = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    workers: common.OneWorker = None,
    on: common.On = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the table as JSON and a figure there.")] = None,
    as_json: common.Json = False,
    quiet: common.Quiet = False,
) -> None:
    """Show off-policy estimates from a log, beside the truth. IPS, SNIPS, DR and FQE estimate from one policy's log
    what another would bring; then the other is run on the same people with the same luck."""
    world = common.chosen_scenario(scenario, settings)
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.names import resolve_policy
    from nextone.experiments.training.off_policy.logged import OffPolicySettings

    minutes = common.window(minutes, days)
    execute, workers = common.executor(on, workers), common.one_unless(workers, on)
    check_run(minutes=minutes, days=days, seed=seed)
    chosen = OffPolicySettings(
        scenario=world, target=resolve_policy(target, world), policy=resolve_policy(policy, world), explore=explore,
        temperature=temperature, target_explore=target_explore, target_temperature=target_temperature, reward=reward,
        clip=clip, users=users, minutes=minutes, days=days, seed=seed,
    )  # fmt: skip
    if out is not None:
        common.prepare_folder(out)
    from nextone.experiments.training.off_policy import answer as code

    with common.progress_bar(as_json or quiet, "people") as progress:
        found = code.off_policy(chosen, progress, workers=workers, execute=execute, steps=fqe_steps)
    from rich.table import Table

    heads, lines, note = code.table_lines(found)
    shown = Table(*heads, title="Estimates beside the truth", caption=note, caption_justify="left")
    for column in shown.columns[2:]:
        column.justify = "right"
    for line in lines:
        shown.add_row(*line)

    def save() -> Iterator[Path]:
        if out is not None:
            yield code.save_answer(found, out)
            from nextone.experiments.output.figures import off_policy_figure

            off_policy_figure(found, out / "off-policy.png")
            yield out / "off-policy.png"

    common.deliver(
        lambda: [*code.verdict(found), "", shown], lambda: code.answer_json(found), save, as_json=as_json
    )
