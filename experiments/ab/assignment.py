"""Who gets what in an A/B test: people, regions or stretches of time, by a hash of their number and the test's salt.

A hash keeps no list, gives everybody the same arm whenever it is asked, and is independent of another test's, whose
salt differs. Called by `trial.py`.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from nextone.sim.config import NEVER_US
from nextone.sim.engine.chance import uniforms, world_key
from nextone.sim.engine.luck import ARM
from nextone.sim.scenario import SettingError
from nextone.sim.state import Array

Design = Literal["person", "budget", "switchback", "cluster"]
MEANINGS: dict[Design, str] = {
    "person": "each person by a hash; all share the servers",
    "budget": "each person by a hash; each arm has its share of the servers to itself",
    "switchback": "everybody who opens the app in a stretch of time, one stretch after the other",
    "cluster": "each region by a hash; regions have servers of their own",
}
LARGEST_RATIO_P = 0.001
"""Below this the sizes of the arms are not those that were asked for: the usual alarm of sample ratio checks."""


class Split(NamedTuple):
    """How a test divides people into arms."""

    design: Design
    shares: tuple[float, ...]  # of each arm, the control first; they sum to 1
    salt: str = "ab"
    period_min: float = 10.0  # of a switchback, a stretch of time
    regions: int = 1  # into which people and servers are divided, by a hash of their own
    layer: float = 0.0  # share of people whom another test treats, by a hash of its own


def check_split(split: Split, minutes: float | None) -> None:
    """Raises SettingError for a test that cannot be run. minutes: of its window, None where it lasts days."""
    if split.design not in get_args(Design):
        raise SettingError(f"--design {split.design}: must be one of {', '.join(get_args(Design))}")
    if any(not 0 < share < 1 for share in split.shares) or abs(sum(split.shares) - 1) > 1e-9:
        raise SettingError(
            f"--share {split.shares[-1]:g}: every arm, the control too, must get more than 0 and less than 1 of the "
            "people; with two arms --share .5 gives each half"
        )
    if not 1 <= split.regions <= 1000:
        raise SettingError(f"--regions {split.regions}: must be 1 to 1000")
    if split.design == "cluster" and split.regions < 4:
        raise SettingError(f"--regions {split.regions}: a test by regions needs at least 4, and some 20 to tell much")
    if split.design == "switchback" and minutes is None:
        raise SettingError("--design switchback: give --minutes; over days people would change arms, and carry over")
    if split.design in ("switchback", "cluster") and len(split.shares) > 2:
        raise SettingError(f"--design {split.design}: compares two arms; give one beside the control")
    if not 0 <= split.layer < 1:
        raise SettingError(f"layer={split.layer:g}: must be >= 0 and < 1, the share of people in another test")
    if not split.period_min > 0:
        raise SettingError(f"--period {split.period_min:g}: must be > 0 minutes")
    if split.design == "switchback" and minutes is not None and minutes < 4 * split.period_min:
        raise SettingError(
            f"--period {split.period_min:g}: a window of {minutes:g} minutes has fewer than 4 such stretches, 2 for "
            "each arm; give a shorter period or more --minutes"
        )


def chances(salt: str, units: int) -> Array:
    """The hash of units 0 to n - 1 as numbers in (0, 1), (n,) float64: uniform, and independent between salts."""
    key = world_key(int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "big"), 0)
    out = np.empty(units)
    uniforms(key, ARM, out)
    return out


def arm_of_each(salt: str, units: int, shares: Sequence[float]) -> Array:
    """The arm of each unit, (n,) int8, each by itself."""
    return np.searchsorted(np.cumsum(shares)[:-1], chances(salt, units), side="right").astype(np.int8)


def as_many_as(salt: str, units: int, share: float) -> Array:
    """Which units are treated, (n,) int8: this share of them, rounded, at least one and not all; for few units."""
    treated = np.argsort(chances(salt, units), kind="stable")[: min(max(round(share * units), 1), units - 1)]
    out = np.zeros(units, np.int8)
    out[treated] = 1
    return out


def one_of_each_pair(salt: str, units: int, share: float) -> Array:
    """The same for stretches of time: at half and half, one of every two neighbours, so that no arm has the evening."""
    if share != 0.5:
        return as_many_as(salt, units, share)
    first = chances(salt, -(-units // 2)) < 0.5
    return np.stack([first, ~first], axis=1).ravel()[:units].astype(np.int8)


class Plan(NamedTuple):
    """What a split makes of so many people and servers."""

    arms: Array  # (N, T) int8, of `sim.world.Arms`; beyond those of the test the same ones, treated by the other test
    period_us: int
    region: Array  # (N,) int64
    group: Array  # (N,) int64: which servers answer
    workers: list[int]  # of each group


def plan(
    split: Split, people: int, workers: int, window_us: int, from_us: int = 0, everybody: int | None = None
) -> Plan:
    """Arms, regions and servers of everybody. from_us: the test begins then, and all are of the control before.
    everybody: all are of this arm once it has begun, and no budgets are kept apart; the truth about it. Raises
    SettingError."""
    region = np.zeros(people, np.int64)
    if split.regions > 1:
        region = np.floor(chances("region", people) * split.regions).astype(np.int64)
    of_regions = [-(-workers // split.regions)] * split.regions
    arms, period_us = np.full((people, 1), everybody or 0, np.int8), NEVER_US
    if everybody is None and split.design == "switchback":
        period_us = round(split.period_min * 60e6)
        stretches = one_of_each_pair(split.salt, max(2, -(-window_us // period_us)), split.shares[1])
        arms = np.tile(stretches, (people, 1))
    elif everybody is None and split.design == "cluster":
        arms = as_many_as(split.salt, split.regions, split.shares[1])[region][:, None]
    elif everybody is None:
        arms = arm_of_each(split.salt, people, split.shares)[:, None]
    if from_us:
        arms, period_us = np.concatenate([np.zeros_like(arms), arms], axis=1), from_us
    own = arms[:, -1].astype(np.int64)
    if split.layer:
        treated = chances(f"layer of {split.salt}", people) < split.layer
        arms = (arms + len(split.shares) * treated[:, None]).astype(np.int8)
    if everybody is not None or split.design != "budget":
        return Plan(arms, period_us, region, region, of_regions)
    each = budgets(of_regions[0], split.shares)
    return Plan(arms, period_us, region, region * len(each) + own, each * split.regions)


def budgets(workers: int, shares: Sequence[float]) -> list[int]:
    """A region's workers divided among arms by their shares, at least one each, the largest remainders first. Raises
    SettingError if there are fewer than arms."""
    if workers < len(shares):
        raise SettingError(
            f"--design budget: {workers} server in a region cannot be divided among {len(shares)} arms; give more "
            "--users, fewer --regions, or --set server.workers=..."
        )
    wanted = np.array(shares) * workers
    each = np.maximum(np.floor(wanted), 1).astype(int)
    for _ in range(workers - int(each.sum())):
        each[np.argmax(wanted - each)] += 1
    for _ in range(int(each.sum()) - workers):  # who got the one that nobody can do without
        each[np.argmax(each)] -= 1
    return [int(n) for n in each]


def ratio_p(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of the numbers of people found in the arms, were they hashed with these shares (chi-squared).

    Source: A. Fabijan and others, Diagnosing sample ratio mismatch in online controlled experiments, KDD 2019."""
    from scipy.special import chdtrc

    found, expected = np.asarray(counts, float), sum(counts) * np.asarray(shares, float)
    return float(chdtrc(len(found) - 1, ((found - expected) ** 2 / expected).sum()))
