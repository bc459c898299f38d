"""Real public data shipped with the simulator; each folder has its README (origin, credit, licence) and licence text.

What is in it is derived by derive.py; sim/inputs/traces.py and the catalogue read it. Left out: everything the world
does not run on (the calibration targets are facts, and stand in sim/config.py with their source).
"""

from importlib.resources import files
from typing import IO


def open_data(name: str) -> IO[bytes]:
    """Open a shipped file by its path below this folder, e.g. "kuairand/catalogue.parquet", for reading bytes."""
    return files(__package__).joinpath(name).open("rb")
