"""Commands for edge networks: `nextone collect`, `nextone train edgerec` and others, `nextone offline-table`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from . import cli


def collect(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write samples.parquet there.")],
    policy: Annotated[str, typer.Option(help="Who chooses, but for random picks.")] = "cloud_only",
    users: Annotated[int, typer.Option(help="People.", min=1)] = 6000,
    minutes: cli.Minutes = None,
    days: cli.Days = None,
    explore: Annotated[float, typer.Option(help="Share of decisions made at random.")] = 0.2,
    seed: cli.Seed = 0,
    settings: cli.Settings = None,
    scenario: cli.ScenarioFile = None,
    as_json: cli.Json = False,
) -> None:
    """Let people live under a logging policy and write training samples, one row per rerank request."""
    world = cli._scenario(scenario, settings, None)
    from nextone.experiments.collect import CollectSettings
    from nextone.experiments.collect import collect as run
    from nextone.experiments.compare import check_run, resolve_policy

    minutes = 60.0 if minutes is None and days is None else minutes
    check_run(minutes=minutes, days=days, seed=seed)
    resolve_policy(policy, world)
    chosen = CollectSettings(
        scenario=world, policy=policy, users=users, minutes=minutes, days=days, explore=explore, seed=seed
    )
    cli.prepare_folder(out)
    with cli._progress(as_json, "people") as progress:
        result = run(chosen, out, progress)
    size = result.path.stat().st_size
    if as_json:
        print(json.dumps(result._asdict() | {"path": str(result.path), "bytes": size}))
        return
    rows = ", ".join(f"{n:,} {split} ({result.people[split]:,} people)" for split, n in result.rows.items())
    print(f"{rows} requests; {result.lost:,} came to nothing. Saved {result.path}, {size / 1e6:.1f} MB")
