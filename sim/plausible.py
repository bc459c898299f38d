"""The plausible range of an assumed setting: its two ends, and the reason, from sim/config.py or by a rule.

`nextone sensitivity` reads it to vary assumed settings from one end to the other, and `nextone scenario --show` prints
it. Measured and published settings have no such range; the parameter sets of a fit say how far they may be off.
"""

from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo

from .config import said_of

FACTOR = 2.0  # Assumed: of a number about which nothing better is said, either way
FITTED = "within a measured bound"  # of a source: the log bounds it
AGREES = "what agrees with the log, the interval of its fit"


class Plausible(NamedTuple):
    """Two ends, as values of the setting, and why they are there."""

    low: Any
    high: Any
    reason: str

    def __str__(self) -> str:
        return f"{end_text(self.low)} to {end_text(self.high)}"


def is_assumed(field: FieldInfo) -> bool:
    """Whether no data and no paper says it."""
    return str(said_of(field).get("source")).startswith("Assumed:")


def plausible_of(field: FieldInfo, value: Any) -> Plausible | str:
    """The ends of an assumed setting, by the rule about `value`; or in words why it has none here."""
    extra = said_of(field)
    if not is_assumed(field):
        return ""
    said = extra.get("plausible")
    if said:
        return said if isinstance(said, str) else Plausible(*said)
    if FITTED in str(extra["source"]):
        return AGREES
    if get_origin(field.annotation) is Literal:
        first, *_, last = get_args(field.annotation)
        return Plausible(first, last, "a choice")
    low, high = value / FACTOR, value * FACTOR
    if isinstance(value, int):
        low, high = round(low), round(high)
    return Plausible(low, high, "half to twice: a rule, nothing better is known")


def about_plausible(field: FieldInfo) -> str:
    """The same about the default, for comments; empty for what is not assumed."""
    found = plausible_of(field, field.default)
    if isinstance(found, Plausible):
        return f"Plausible: {found} ({found.reason})"
    return f"Plausible: {found}" if found == AGREES else found and f"Not varied: {found}"


def end_text(value: Any) -> str:
    """One end, for people."""
    if isinstance(value, tuple):
        return f"[{', '.join(f'{x:g}' for x in value)}]"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:g}"
