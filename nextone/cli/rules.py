"""`nextone rules`: what decision rules may name; `nextone rules check`: what a file of them does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from . import common


def features(context: typer.Context, as_json: common.Json = False) -> None:
    """List features, or check a file of decision rules."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from nextone.policies.decisions.features import FEATURES, MODEL_FEATURES
    from nextone.policies.names import shipped_rules

    fields = ("name", "kind", "unit", "low", "high", "meaning")
    listed = [{field: getattr(each, field) for field in fields} for each in (*FEATURES, *MODEL_FEATURES)]

    def shown() -> Iterator[object]:
        table = Table(title="Features that the conditions of decision rules may name", title_justify="left")
        for head in ("name", "type", "unit", "meaning"):
            table.add_column(head, no_wrap=head == "name")
        for each in listed:
            table.add_row(each["name"], each["kind"], each["unit"], each["meaning"])
        yield table
        yield f"Rules that come with nextone: {', '.join(shipped_rules())}."
        yield "To see what a file does: nextone rules check FILE.toml"

    common.deliver(shown, lambda: {"features": listed, "rules": shipped_rules()}, as_json=as_json)


def check(
    file: Annotated[
        str, typer.Argument(metavar="FILE.toml", help="Decision rules, see docs/decision-rules.md; or a shipped name.")
    ],
    users: common.People = None,
    minutes: common.Minutes = None,
    days: common.Days = None,
    seed: common.Seed = 0,
    settings: common.Settings = None,
    scenario: common.ScenarioFile = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the table there as Parquet.")] = None,
    as_json: common.Json = False,
) -> None:
    """Say each rule in a sentence, and how often it fires.

    Plays the rules once on simulated people, and names those that never fire and what stands in their way."""
    from nextone.experiments.runs.arms import check_run
    from nextone.experiments.runs.names import resolve_policy
    from nextone.policies.names import RULES

    minutes = common.window(minutes, days)
    check_run(minutes=minutes, days=days, seed=seed)
    world = common.chosen_scenario(scenario, settings, users, common.PEOPLE)
    name = resolve_policy(file if file.startswith(f"{RULES}:") else f"{RULES}:{file}", world)
    if out is not None:
        common.prepare_folder(out)
    from nextone.experiments.decisions import check as checking

    common.say_first_use()
    found = checking.check(name, world, seed=seed, minutes=minutes, days=days)
    common.deliver(
        lambda: (*checking.sentences(found), checking.firings_table(found)),
        lambda: checking.as_json(found),
        lambda: checking.save(found, out) if out is not None else (),
        as_json=as_json,
    )
