"""Real public data that is shipped with the simulator. Each folder has its README (origin, credit, licence) and licence
text.

derive.py makes the data; sim/inputs/traces.py and the catalogue read it. Only data on which the world runs is here. The
targets of the calibration are single numbers in sim/config.py, with their source.
"""

from importlib.resources import files
from typing import IO


def open_data(name: str) -> IO[bytes]:
    """Open a shipped file by its path below this folder, e.g. "kuairand/catalogue.parquet", for reading bytes."""
    return files(__package__).joinpath(name).open("rb")
