"""Quantities of a run that tests of settings look at, beside the metrics. Not a test module."""

import numpy as np

from nextone.experiments.runs.metrics import Run
from nextone.sim.state import COMPLETE, LONG


def like_ratio(run: Run) -> float:
    """Rate of likes on a long view / otherwise."""
    long, liked = (run.whole["outcome"] & LONG) != 0, (run.whole["feedback"] & 1) != 0
    return float(liked[long].mean() / liked[~long].mean())


def like_ratio_of_skips(run: Run) -> float:
    """Rate of likes on a play below 5 s / otherwise."""
    skip, liked = run.whole["play_us"] < 5_000_000, (run.whole["feedback"] & 1) != 0
    return float(liked[skip].mean() / liked[~skip].mean())


def like_ratio_of_completions(run: Run) -> float:
    """Rate of likes on a completed video / on other long views."""
    liked, complete = ((run.whole[field] & bit) != 0 for field, bit in (("feedback", 1), ("outcome", COMPLETE)))
    return float(liked[complete].mean() / liked[~complete & ((run.whole["outcome"] & LONG) != 0)].mean())


def looped(run: Run) -> float:
    return float(np.mean(run.whole["play_us"] > 1.05 * run.world.videos["duration_us"][run.whole["video"]]))


def beyond_the_end_s(run: Run):
    """Content time beyond the end of those who got there."""
    beyond_us = run.whole["play_us"] - run.world.videos["duration_us"][run.whole["video"]]
    return beyond_us[beyond_us > 0] / 1e6


def spread_beyond_the_end(run: Run) -> float:
    """Log-sd of that time."""
    return float(np.log(beyond_the_end_s(run)).std())


def in_a_row(run: Run):
    """Impressions and the one before each, of the same person."""
    rows = run.whole
    follows = rows["user"][1:] == rows["user"][:-1]
    return rows[:-1][follows], rows[1:][follows]


def alike_starts(run: Run) -> float:
    """Correlation of the logs of how long one video and the next took to start, beside a constant."""
    before, after = (np.log(rows["startup_us"]) for rows in in_a_row(run))
    return float(1.0 + np.corrcoef(before, after)[0, 1])


def switches(run: Run) -> float:
    """Share of videos in another encoding than the one before."""
    before, after = in_a_row(run)
    return float(np.mean(before["bitrate_bps"] != after["bitrate_bps"]))


def spread_of_first_estimates(run: Run) -> float:
    """Log-sd between people of the throughput with which they open the app for the first time."""
    return float(np.log(run.world.users["rate_bps"]).std())
