"""A row of the scoreboard: a quantity in the data, in the simulation, and whether the two agree."""

import math
from typing import NamedTuple


class Row(NamedTuple):
    """One number; low and high are the data's own 95 % sampling interval."""

    quantity: str
    target: float
    low: float
    high: float
    simulated: float
    tolerance: float
    ok: bool


def row(quantity: str, target: float, low: float, high: float, simulated: float, tolerance: float) -> Row:
    """ok: within the tolerance; never where one side is undefined."""
    ok = math.isfinite(simulated) and abs(simulated - target) <= tolerance
    return Row(quantity, float(target), float(low), float(high), float(simulated), float(tolerance), ok)
