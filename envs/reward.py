"""Reward: a weighted sum of named components, each of which adds up over an episode to what the world's ledgers say.

Called by `envs/vector.py`, which takes the counts from `envs/episode.py`. Everything that happened since the last
decision counts now; what happens before the first one (opening the app, the first page) belongs to the first step.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from nextone.sim.scenario import SettingError, nearest

COMPONENTS: dict[str, tuple[int, str]] = {
    "valid_play": (1, "impressions played 7 s or to the end"),
    "long_view": (1, "impressions played 18 s or to the end"),
    "watch_s": (1_000_000, "seconds played"),
    "like": (1, "likes"),
    "follow": (1, "follows"),
    "comment": (1, "comments written"),
    "forward": (1, "forwards"),
    "hate": (1, "'not interested'"),
    "stall_s": (1_000_000, "seconds of interruption during play"),
    "wait_s": (1_000_000, "seconds without a page to show"),
    "wasted_mb": (1_000_000, "megabytes fetched and never watched"),
    "requests": (1, "pages asked for, by the phone or by the policy"),
    "leaving": (1, "the person left the app"),
    "app_s": (1_000_000, "seconds in the app"),
    "returns": (1, "times that the person came back to the app"),
}
"""Component: (whole units that make one, meaning). The order of `envs/episode.py`'s counts."""
REWARD_INFO = tuple(f"reward_{name}" for name in COMPONENTS)  # keys of info, in the same order
UNITS = np.array([units for units, _ in COMPONENTS.values()], np.float64)


@dataclass(frozen=True, kw_only=True)
class RewardWeights:
    """What one of each component is worth, in seconds of watching. The defaults are one reward: time and feedback,
    minus what they cost. Each is a setting, because what people and servers are worth differs from app to app."""

    valid_play: float = 0.0
    long_view: float = 0.0
    watch_s: float = 1.0
    like: float = 50.0  # Assumed: weighs as a valid play in server.objective; one brings some 50 s
    follow: float = 100.0  # Assumed: as there, two valid plays
    comment: float = 50.0  # Assumed: as there, one
    forward: float = 50.0  # Assumed: as there, one
    hate: float = -100.0  # Assumed: as there, two
    stall_s: float = -3.0  # Source: Dobrian et al., SIGCOMM 2011, abstract: 54 s more of stalls, 3 min less watched
    wait_s: float = -3.0  # Assumed: nothing to see is as bad as a picture that stands still
    wasted_mb: float = -0.5  # Assumed: a CDN takes for a megabyte about what half a second of watching earns
    requests: float = -4.0  # Assumed: to rank a page takes about what some seconds of watching earn
    leaving: float = 0.0
    app_s: float = 0.0
    returns: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
            if not number or not isfinite(weight):
                raise SettingError(f"reward weight {name}={weight!r} must be a finite number; 0 leaves it out")

    def priced(self, factor: float) -> "RewardWeights":
        """The same weights with the prices of stalls, waits, waste and requests multiplied by `factor`."""
        return replace(self, **{name: factor * getattr(self, name) for name in PRICES})

    def array(self) -> NDArray[np.float64]:
        """Weights in the order of COMPONENTS, (K,)."""
        return np.array([getattr(self, name) for name in COMPONENTS], np.float64)


assert tuple(field.name for field in fields(RewardWeights)) == tuple(COMPONENTS)
NOTHING = dict.fromkeys(COMPONENTS, 0.0)

PRICES = ("stall_s", "wait_s", "wasted_mb", "requests")

PRESETS = {
    "default": RewardWeights(),
    "watch": RewardWeights(**NOTHING | {"watch_s": 1.0}),
    "plays": RewardWeights(
        **NOTHING
        | {"valid_play": 1.0, "like": 5.0, "follow": 10.0, "comment": 5.0, "forward": 5.0, "hate": -10.0}
        | {"stall_s": -0.2}
    ),
    "retention": RewardWeights(**NOTHING | {"returns": 1.0}),
}
"""watch: seconds played and nothing else. plays: plays and feedback are counted, however short the videos; short ones
win it. retention: times that the person came back, in episodes of several days (`days=`)."""


def reward_weights(reward: str | Mapping[str, float] | RewardWeights) -> RewardWeights:
    """Weights from a preset's name, from a dict or a text such as `like=50,follow=100` (components that it does not
    mention weigh 0), or the weights themselves. Raises SettingError."""
    if isinstance(reward, RewardWeights):
        return reward
    if isinstance(reward, str) and "=" in reward:
        reward = dict(map(_weight, reward.split(",")))
    if isinstance(reward, str):
        if reward not in PRESETS:
            raise SettingError(f"reward={reward!r} is no preset{nearest(reward, tuple(PRESETS))}")
        return PRESETS[reward]
    if not isinstance(reward, Mapping):
        raise SettingError(f"reward={reward!r} must be a preset's name, a dict of weights or RewardWeights")
    for name in reward:
        if name not in COMPONENTS:
            raise SettingError(f"reward has no component {name!r}{nearest(str(name), tuple(COMPONENTS))}")
    return RewardWeights(**NOTHING | dict(reward))


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise SettingError(f"reward {text[:60]!r} must read component=number, for example like=50") from None
