"""Ready-made faults of version 2: what each is, and what it changes of the version's settings.

Faults of decisions, as opposed to settings, are made in `failing.py`. Loads nothing of the compiled model.
"""

import math
from dataclasses import replace
from typing import NamedTuple

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.names import is_edge, phone_cost
from nextone.sim.config import TIERS
from nextone.sim.scenario import SettingError, nearest, with_settings

CHEAP = TIERS.index("android_low")


class Fault(NamedTuple):
    """What is wrong with version 2."""

    kind: str
    size: float

    def __str__(self) -> str:
        return f"{self.kind} ({KINDS[self.kind].words.format(self.size)})" if self.kind != HARMLESS else HARMLESS


class Kind(NamedTuple):
    """A kind of fault: how large it is unless a plan says so, the largest, and what it does; {}: the size."""

    usual: float
    most: float
    words: str


HARMLESS, WORSE, SLOW, CRASH, BROKEN, STALE = "harmless", "worse", "slow", "crash", "broken", "stale"
KINDS = {
    WORSE: Kind(0.54, 1.0, "at {:g} of its decisions candidates get each other's scores"),
    SLOW: Kind(3.0, 100.0, "decisions take {:g} times as long on cheap Android phones"),
    CRASH: Kind(0.05, 1.0, "{:g} of its decisions fail, and the phone goes on in the order it has"),
    BROKEN: Kind(1.0, 1.0, "at {:g} of its decisions candidates get each other's scores, as with embeddings of others"),
    STALE: Kind(600.0, 3600.0, "the cloud learns {:g} s late what people did"),
    HARMLESS: Kind(0.0, 0.0, "version 1 under another number"),
}


def fault_named(kind: str, size: float | None = None) -> Fault:
    """Raises SettingError for an unknown kind, or a size that it cannot have."""
    if kind not in KINDS:
        raise SettingError(f"unknown fault {kind[:60]!r}{nearest(kind, tuple(KINDS))}")
    usual, most, _ = KINDS[kind]
    given = usual if size is None else float(size)
    if not (math.isfinite(given) and (0 < given <= most or kind == HARMLESS)):
        raise SettingError(f"fault {kind}: size={given:g} must be > 0 and <= {most:g}; the usual one is {usual:g}")
    return Fault(kind, given)


def with_fault(first: Arm, second: Arm, fault: Fault | None) -> Arm:
    """Version 2 with the fault, as far as its settings make it. Raises SettingError where it can have no effect."""
    if fault is None:
        return second
    if fault.kind == HARMLESS:
        return replace(first, label=second.label)
    if fault.kind == STALE:
        lag_s = max(fault.size, second.scenario.server.feature_lag_s)
        return replace(second, scenario=with_settings(second.scenario, {"server.feature_lag_s": lag_s}))
    if not is_edge(second.policy):
        raise SettingError(f"fault {fault.kind}: version 2 is cloud_only and decides nothing on phones; name a policy")
    return _slowed(second, fault.size) if fault.kind == SLOW else second


def _slowed(arm: Arm, times: float) -> Arm:
    phone = arm.scenario.phone
    given = phone.inference_ms[CHEAP]
    if given == 0 or (given < 0 and not phone_cost(arm.policy).time):
        raise SettingError(
            f"fault {SLOW}: decisions of {arm.policy} take no time, and {times:g} times none is none; give a network, "
            "or set phone.inference_ms"
        )
    name = "inference_ms" if given > 0 else "reference_ms"
    ms = [each * times if k == CHEAP else each for k, each in enumerate(getattr(phone, name))]
    return replace(arm, scenario=with_settings(arm.scenario, {f"phone.{name}": ms}))
