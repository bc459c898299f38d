"""Watch time against requests: trained policies that may ask for a page, and rules that ask below a fixed threshold.

All of them play the same people in `nextone/NextOneRefresh-v0`. A rule chooses as `base` does and asks as soon as the
page has `left` or fewer impressions to come; `client.refill_at` of the scenario works besides, for everybody alike.
Called by `nextone train frontier`.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.envs.features import LOG_COUNT, Observation, X
from nextone.policies.base import PolicyLike, Scores, as_policy
from nextone.policies.names import make_policy
from nextone.policies.rl import load_rl

from .statistics import Interval, mean_interval
from .train_evaluate import chooser, play
from .train_rl import HELD_OUT, HELD_OUT_SEED, TrainSettings, make_env


class FrontierPoint(NamedTuple):
    """What a session brings and costs under one way to ask."""

    name: str
    trained: bool
    requests: Interval
    watch_s: Interval
    reward: Interval


def asks_below(base: str, left: int) -> PolicyLike:
    """Chooses as `base`, and asks for a page as soon as `left` or fewer impressions of this one are to come."""
    chosen = as_policy(make_policy(base) or (lambda observation: np.zeros(observation.mask.shape, np.float32)))

    def policy(observation: Observation) -> Scores:
        scores = np.asarray(chosen(observation, None)[0])
        few = observation.context[:, X.left] <= LOG_COUNT[left]
        ask = np.where(few, scores.max(1) + 1.0, scores.min(1) - 1.0)
        return np.concatenate([scores, ask[:, None]], 1).astype(np.float32)

    policy.__name__ = f"left <= {left}"
    return policy


def frontier(
    settings: TrainSettings, runs: list[str], base: str = "server_score", size: tuple[int, int] = HELD_OUT
) -> list[FrontierPoint]:
    """Points of every threshold from never to always, with `base`, and of the trained policies in these folders."""
    settings = replace(settings, refresh=True)
    env = make_env(settings, size[0])
    thresholds = {"never": make_policy(base)} | {
        f"left <= {left}": asks_below(base, left) for left in range(settings.scenario.server.page_size)
    }
    points = []
    for name, policy in (thresholds | {run: load_rl(Path(run), settings.scenario) for run in runs}).items():
        assert policy is not None
        played = play(env, chooser(policy), HELD_OUT_SEED, size[1])
        numbers = (played.column("requests"), played.column("watch_s"), played.reward(settings.reward))
        intervals = [mean_interval(x) for x in numbers]
        points.append(FrontierPoint(name, name in runs, *intervals))  # type: ignore[arg-type]  # all finite
    return points
