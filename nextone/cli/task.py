"""`nextone task`: a network, rules and limits as one folder for phones: packed, checked, replayed."""

from pathlib import Path
from typing import Annotated

import typer

from . import common

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A task's folder.")]


def pack(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The task's folder, new or empty.")],
    model: Annotated[str, typer.Option(help="A network, as --policies names it: kir, edgerec:DIR@every=5@mnn.")] = "",
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Decision rules; by = \"kir\" stands for the task's own.")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is called.  [default: as the folder]")] = "",
    number: Annotated[int, typer.Option("--number", help="Its version.", min=1)] = 1,
    decision_ms: Annotated[
        float | None,
        typer.Option(help="Most that a decision may take on the slowest phones, on average.  [default: a fifth more]"),
    ] = None,
    megabytes: Annotated[
        float | None, typer.Option(help="Most that phones may download.  [default: a fifth more]")
    ] = None,
) -> None:
    """Make a task of a network and rules.

    The folder holds their files and task.toml, which lists each with its digest."""
    from nextone.experiments.tasks.pack import pack as made_of

    task = made_of(
        out, model=model, rules=rules, name=name, version=number, decision_ms=decision_ms, megabytes=megabytes
    )
    told = f"{task.told}: at most {task.limits.decision_ms:g} ms a decision and {task.limits.megabytes:g} MB."
    common.deliver(lambda: [told], save=lambda: [out / "task.toml"])


def check(
    folder: Folder,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
) -> None:
    """Say whether a task may be released.

    Looks at its limits, embeddings and engine, and lets it decide for a few people; exits with 2 if it must not."""
    world = common.chosen_scenario(scenario, settings)
    from rich.table import Table

    from nextone.experiments.tasks.check import as_json as told
    from nextone.experiments.tasks.check import check as look_at
    from nextone.sim.inputs.errors import UserError

    common.say_first_use()
    found = look_at(folder, world, seed)
    table = Table("what", "found", "asked", "")
    for each in found.findings:
        table.add_row(each.what, each.found, each.asked, "" if each.holds else "NOT KEPT")
    common.deliver(
        lambda: [found.verdict, "", *found.rules, table], lambda: told(found), as_json=as_json, width=100
    )
    if found.problems:
        raise UserError(f"{folder}: must not be released")


def run(
    folder: Folder,
    person: Annotated[int, typer.Option(help="Whose decisions, by number.")] = 0,
    users: common.People = None,
    minutes: common.Window = 60.0,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    as_json: common.Json = False,
) -> None:
    """Replay one person's decisions under a task.

    Each with what was known, the rule that decided, and the video that came first."""
    world = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    from nextone.experiments.tasks.replay import replay, sentence, table
    from nextone.policies.tasks import read_task

    common.say_first_use()
    task, steps = read_task(folder), replay(folder, world, person, seed=seed, minutes=minutes)
    common.deliver(
        lambda: [sentence(task, person, steps), "", table(steps)],
        lambda: {"verdict": sentence(task, person, steps), "decisions": [each._asdict() for each in steps]},
        as_json=as_json, width=100,
    )  # fmt: skip
