"""Making the .tflite files that come with the package, beside the shipped checkpoints: after `make models`,
`python -m nextone.experiments.training.edge.ship_tflite`.

For every network that is shipped, and the pool and history of every scenario with a name. It takes the extra `convert`,
in an environment of its own if need be, and some minutes. What was there before is replaced.
"""

import shutil
import sys

from nextone.policies.checkpoint import best_checkpoint
from nextone.policies.names import SHIPPED, TFLITE_FOLDER, EngineMissing, shipped
from nextone.policies.phone.engines import needs_to_export
from nextone.policies.phone.exporting import export_policy
from nextone.policies.phone.tflite_files import tflite_folder
from nextone.sim.config import Scenario
from nextone.sim.scenario import NAMED, with_settings

MOST_APART = 1e-5  # of a file's scores and torch's


def sizes() -> list[tuple[int, int]]:
    """Pool slots and past impressions of the default scenario and of those with a name, each pair once."""
    worlds = [Scenario(), *(with_settings(Scenario(), settings) for settings in NAMED.values())]
    return sorted({(world.pool_slots, world.client.history) for world in worlds})


def make_tflite(kind: str) -> list[str]:
    """Replace the files of a shipped network; one line on each size. Raises EngineMissing."""
    needs_to_export("tflite")
    checkpoint, lines = best_checkpoint(shipped(kind)).path, []
    for folder in checkpoint.glob(TFLITE_FOLDER + "*"):
        shutil.rmtree(folder)
    for slots, rows in sizes():
        made = export_policy(kind, "tflite", tflite_folder(checkpoint, slots, rows), slots, rows)
        worst = max(file.parity for file in made.files)
        assert worst <= MOST_APART, (kind, slots, rows, worst)
        lines.append(
            f"{kind}, pool of {slots}, {rows} past impressions: {made.on_device_mb:.2f} MB, "
            f"largest difference from torch {worst:.1e}"
        )
    return lines


if __name__ == "__main__":
    try:
        for kind in SHIPPED:
            sys.stdout.write("\n".join(make_tflite(kind)) + "\n")
    except EngineMissing as error:
        sys.exit(str(error))
