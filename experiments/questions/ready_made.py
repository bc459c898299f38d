"""The ready-made what-ifs by name, as `nextone what-if NAME` runs them. Each is a file of its own in `ready/`."""

from importlib import import_module

from nextone.sim.scenario import SettingError, nearest

from .what_if import ABIf, SweepIf, WhatIf

NAMES = (
    "page_size_ttl",
    "candidates_shipped",
    "perception_delay",
    "server_workers",
    "preload_depth",
    "networks",
    "phone_tiers",
    "refill_threshold",
    "intent_speed",
    "ab_test",
)


def load(name: str) -> tuple[WhatIf | SweepIf | ABIf, str]:
    """A ready-made what-if and its question. Raises SettingError with the nearest name."""
    if name not in NAMES:
        raise SettingError(f"unknown what-if {name[:60]!r}{nearest(name, NAMES)}")
    module = import_module(f"{__package__}.ready.{name}")
    return module.WHAT_IF, question_of(module.__doc__)


def question_of(docstring: str | None) -> str:
    """The first line of a docstring, which is the question."""
    return (docstring or "").strip().splitlines()[0]
