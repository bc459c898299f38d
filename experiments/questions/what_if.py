"""A what-if: one thing varies along an axis, for a few series, on the same people with the same luck.

`experiments/questions/ready/` has a short file for each ready-made question: a docstring that asks it and says what was
found, and a settings table. This module defines such a table. experiments/questions/ready_made.py finds one by name,
and experiments/questions/answer.py runs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WhatIf:
    """A settings table. Settings are texts, `section.field=value`, several parted by spaces."""

    axis: str  # what varies, with its unit
    values: Mapping[str, str]  # label along the axis: settings
    series: Mapping[str, str]  # label: policy, then settings
    usual: str  # the value whose first series is the baseline of changes
    show: tuple[tuple[str, str], ...]  # (level | change | gain, metric), a column and a panel each
    world: str = ""  # settings of all arms
    log_axis: bool = False
    servers: bool = False  # with queues at the servers (SimPy), slower; else servers are ample
    users: int = 400
    minutes: float = 30.0
    replications: int = 10


@dataclass(frozen=True)
class SweepIf:
    """A grid over several fields, as a sweep. `nextone report` reports its folder."""

    grid: tuple[str, ...]
    policies: tuple[str, ...]
    world: str = ""
    users: int = 300
    minutes: float = 20.0
    replications: int = 10


@dataclass(frozen=True)
class ABIf:
    """An A/B test tried with several shares of people treated, and the truth beside it. Arms are texts, `LABEL=POLICY
    section.field=value ...`."""

    control: str
    treatment: str
    shares: tuple[float, ...]
    world: str = ""
    users: int = 4_000
    minutes: float = 60.0
    replications: int = 10


def along(field: str, *values: object) -> dict[str, str]:
    """Labels and settings for one field: `along("server.page_size", 2, 6)`."""
    return {str(value): f"{field}={value}" for value in values}
