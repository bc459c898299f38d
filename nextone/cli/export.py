"""`nextone export`: a trained edge network as files that a phone's engine runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import common


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Folder of a training, or a shipped network: edgerec, kir, context_aware."),
    ],
    to: Annotated[Literal["onnx", "mnn", "tflite"], typer.Option(help="The engine.")] = "onnx",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write the files there.")] = Path("results/export"),
    scenario: common.ScenarioFile = None,
    settings: common.Settings = None,
    as_json: common.Json = False,
) -> None:
    """Write the part of a network that a phone runs to files.

    The files fit the scenario's pool and history. Prints their size, their speed, and how far scores differ.

    Id embeddings are not in the files: the cloud ships them with a page."""
    world = common.chosen_scenario(scenario, settings)
    from nextone.policies.phone.exporting import export_policy

    common.prepare_folder(out)
    made = export_policy(
        checkpoint, to, out, world.pool_slots, world.client.history, world.server.objective
    )
    from rich.table import Table

    table = Table("file", "kB", "largest difference from torch", f"{to}, ms", "torch, ms")
    for file in made.files:
        table.add_row(file.path.name, f"{file.bytes / 1e3:,.0f}", f"{file.parity:.1e}", f"{file.engine_ms:.2f}",
                      f"{file.torch_ms:.2f}")  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    line = (
        f"{made.kind} on the phone: {made.on_device_mb:.2f} MB; embeddings, in the cloud: {made.embeddings_mb:.2f} MB. "
        f"One person, one thread, pool of {world.pool_slots}, {world.client.history} past impressions."
    )
    files = [file._asdict() | {"path": str(file.path)} for file in made.files]
    common.deliver(
        lambda: [table, line], lambda: made._asdict() | {"files": files, "on_device_mb": made.on_device_mb},
        lambda: [file.path for file in made.files], as_json=as_json,
    )  # fmt: skip
