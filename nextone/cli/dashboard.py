"""`nextone dashboard`: a local page on what other commands saved."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import common

MISSING = "Dash is not installed; pip install 'nextone[dashboard]'"


def dashboard(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder under which commands saved with --out.")
    ] = Path("results"),
    port: Annotated[
        int | None, typer.Option(help="0: any that is free.  [default: 8050, or any if taken]", min=0, max=65535)
    ] = None,
) -> None:
    """Show what was saved, and what is running, on a local page."""
    from nextone.sim.scenario import SettingError

    try:
        import dash  # noqa: F401
    except ImportError:
        raise SettingError(MISSING) from None
    from nextone.experiments.output.dashboard.entries import folder_to_look_at

    root = folder_to_look_at(folder)
    from nextone.experiments.output.dashboard.page.serving import serve

    try:
        serve(root, port, lambda line: print(f"nextone: {line}", file=sys.stderr, flush=True))
    except KeyboardInterrupt:  # nothing is left to be written, and Python would take its time to leave a compiled model
        print("nextone: cancelled", file=sys.stderr, flush=True)
        os._exit(common.CANCELLED)
