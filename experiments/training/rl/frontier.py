"""Watch time against requests: trained policies that may ask for a page, and rules that ask below a fixed threshold.

All of them play the same people in `nextone/NextOneRefresh-v0`. A rule chooses as `base` does and asks as soon as the
page has `left` or fewer impressions to come; `client.refill_at` of the scenario works besides, for everybody alike.
Called by `nextone train frontier`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nextone.experiments.runs.statistics import Interval, mean_interval
from nextone.policies.contract import PolicyLike
from nextone.policies.rl import load_rl

from .evaluate import Played, chooser, play
from .greedy import asks_below
from .train import HELD_OUT, HELD_OUT_SEED, TrainSettings, make_env


class FrontierPoint(NamedTuple):
    """What a session brings and costs under one way to ask. gained: seconds watched more than under never asking.
    above: for a trained policy, seconds more than the thresholds bring with as many requests; None beyond their ends.
    Both are paired."""

    name: str
    trained: bool
    requests: Interval
    watch_s: Interval
    gained: Interval
    above: Interval | None = None


def frontier(
    settings: TrainSettings, runs: list[str], base: str = "server_score", size: tuple[int, int] = HELD_OUT
) -> list[FrontierPoint]:
    """Points of every threshold from never to always, with `base`, and of the trained policies in these folders."""
    settings = replace(settings, refresh=True)
    env = make_env(settings, size[0])
    thresholds: dict[str, PolicyLike | str] = {"never": base} | {
        f"left <= {left}": asks_below(base, left) for left in range(settings.scenario.server.page_size)
    }
    trained = {run: load_rl(Path(run), settings.scenario) for run in runs}
    played = {
        name: play(env, chooser(policy), HELD_OUT_SEED, size[1]) for name, policy in (thresholds | trained).items()
    }
    env.close()
    fixed = [played[name] for name in thresholds]
    points = []
    for name, of in played.items():
        watched = of.column("watch_s")
        requests, seconds, gained = map(
            mean_interval, (of.column("requests"), watched, watched - fixed[0].column("watch_s"))
        )
        assert requests is not None and seconds is not None and gained is not None  # all finite
        above = above_thresholds(of, fixed) if name in trained else None
        points.append(FrontierPoint(name, name in trained, requests, seconds, gained, above))
    return points


def above_thresholds(of: Played, fixed: Sequence[Played]) -> Interval | None:
    """Seconds watched a session more than two neighbouring thresholds bring, mixed so that they make as many requests;
    the same people, paired. None if no two have fewer and more requests.

    The share in the mixture is estimated from the same sessions: each request is charged the seconds that one more
    brings between the two (delta method)."""
    requests, watched = of.column("requests"), of.column("watch_s")
    ordered = sorted(fixed, key=lambda played: float(played.column("requests").mean()))
    for fewer, more in pairwise(ordered):
        (r0, w0), (r1, w1) = ((x.column("requests"), x.column("watch_s")) for x in (fewer, more))
        if r0.mean() <= requests.mean() <= r1.mean() and r0.mean() < r1.mean():
            share = (requests.mean() - r0.mean()) / (r1.mean() - r0.mean())
            slope = (w1.mean() - w0.mean()) / (r1.mean() - r0.mean())
            mixed_r, mixed_w = (1 - share) * r0 + share * r1, (1 - share) * w0 + share * w1
            return mean_interval(watched - mixed_w - slope * (requests - mixed_r))
    return None
