"""`nextone held-out`: fit on half the users of a log, validate on the other half. Registered in `cli.py`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def held_out(
    log: Annotated[
        Path | None,
        typer.Argument(metavar="[LOG]", help="Impressions, CSV or Parquet.  [default: the shipped KuaiRand-Pure]"),
    ] = None,
    users: Annotated[int, typer.Option(help="People simulated.", min=10)] = 2_000,
    seed: Annotated[int, typer.Option(help="Fixes who is held out, people and luck.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit people to one half of a log's users and compare them with the other half; takes some minutes."""
    from rich.console import Console

    from nextone.cli.main import _progress
    from nextone.experiments import validation_report as report
    from nextone.experiments.arms import check_run
    from nextone.experiments.calibrate import KUAIRAND
    from nextone.experiments.held_out import held_out as run
    from nextone.experiments.held_out import response_table
    from nextone.experiments.user_log import read_user_log, shipped_log
    from nextone.sim.config import Scenario

    check_run(seed=seed)
    measured = shipped_log() if log is None else read_user_log(log)
    with _progress(as_json, "fitting, then people") as progress:
        found = run(
            measured, Scenario(), published=KUAIRAND if log is None else None, people=users, seed=seed,
            progress=progress,
        )  # fmt: skip
    if as_json:
        told = {"rows": report.scoreboard_json(found.validation)["rows"]}
        sys.stdout.write(json.dumps(told | {"response": [t._asdict() for t in found.response]}, allow_nan=False) + "\n")
        return
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(report.scoreboard_table(found.validation))
    console.print(report.verdict(found.validation))
    console.print(response_table(found.response))
