"""A row of the scoreboard: a quantity in the data, in the simulation, and whether the two agree."""

import math
from typing import Literal, NamedTuple

Kind = Literal["judged", "self-check", "shown"]


class Row(NamedTuple):
    """One number; low and high are the data's own 95 % sampling interval."""

    quantity: str
    target: float
    low: float
    high: float
    simulated: float
    tolerance: float
    ok: bool
    floors: float = math.nan
    """How far the simulation is from the data, in multiples of what two such logs differ by; NaN where not known."""
    kind: Kind = "judged"
    """self-check: the simulation was given this very number or table, so that it tells whether a wire came off, not
    whether people or links are like that. shown: told, with nothing asked of it. Neither is counted."""


def row(quantity: str, target: float, low: float, high: float, simulated: float, tolerance: float) -> Row:
    """ok: within the tolerance; never where one side is undefined."""
    ok = math.isfinite(simulated) and abs(simulated - target) <= tolerance
    return Row(quantity, float(target), float(low), float(high), float(simulated), float(tolerance), ok)
