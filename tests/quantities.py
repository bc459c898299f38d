"""Quantities of a run that tests of settings look at, beside the metrics. Not a test module."""

import numpy as np

from nextone.experiments.runs.metrics import Run
from nextone.sim.state import COMPLETE, LONG, SKIP, VALID


def share(bit: int, field: str = "outcome"):
    return lambda run: float(np.mean((run.whole[field] & bit) != 0))


def mean_of(field: str):
    return lambda run: float(np.mean(run.records.impressions[field]))


def by_user(values, run: Run):
    """Means of a value per impression, for people with ten impressions or more."""
    n = len(run.world.users)
    count = np.bincount(run.whole["user"], minlength=n)
    return (np.bincount(run.whole["user"], values, minlength=n)[count >= 10]) / count[count >= 10]


def spread_of_valid_play(run: Run) -> float:
    """Standard deviation between people of the rate of valid plays."""
    return float(by_user((run.whole["outcome"] & VALID) != 0, run).std())


def spread_of_skips(run: Run) -> float:
    return float(by_user((run.whole["outcome"] & SKIP) != 0, run).std())


def spread_of_likes(run: Run) -> float:
    return float(by_user((run.whole["feedback"] & 1) != 0, run).std())


def spread_of_choosiness(run: Run) -> float:
    """Standard deviation between people of how much the log-odds of staying differ between videos for each."""
    people = [run.whole["stay_logit"][run.whole["user"] == user] for user in range(len(run.world.users))]
    return float(np.std([mine.std() for mine in people if len(mine) >= 10]))


def same_tag_after(run: Run) -> float:
    """How much likelier a valid play is when the video before had the same tag and was watched long, than when it was
    skipped."""
    rows = run.whole
    tag = run.world.videos["tag"][rows["video"]]
    follows = (rows["user"][1:] == rows["user"][:-1]) & (tag[1:] == tag[:-1])
    valid = (rows["outcome"][1:] & VALID) != 0
    liked, skipped = (follows & ((rows["outcome"][:-1] & bit) != 0) for bit in (LONG, SKIP))
    return float(valid[liked].mean() - valid[skipped].mean())


def new_to_the_person(run: Run) -> float:
    """Share of impressions whose video the person had not been shown before."""
    rows = run.records.impressions
    return len(np.unique(rows["user"].astype(np.int64) << 32 | rows["video"])) / len(rows)


def one_author(run: Run) -> float:
    """Mean over people of the share of impressions that are by their most frequent author."""
    author, user = run.world.videos["author"][run.whole["video"]], run.whole["user"]
    people = [author[user == one] for one in range(len(run.world.users))]
    return float(np.mean([np.bincount(mine).max() / len(mine) for mine in people if len(mine) >= 20]))


def alike_in_a_row(run: Run) -> float:
    """Correlation of a session's rate of valid plays with that of the person's next session."""
    rows = run.whole
    n = rows["session"].max() + 2
    cell = rows["user"] * n + rows["session"]
    count = np.bincount(cell, minlength=len(run.world.users) * n)
    rate = np.bincount(cell, (rows["outcome"] & VALID) != 0, minlength=len(count)) / np.maximum(count, 1)
    both = (count[:-1] >= 8) & (count[1:] >= 8)
    return float(np.corrcoef(rate[:-1][both], rate[1:][both])[0, 1])


def hours_between_sessions(run: Run):
    rows = run.records.sessions
    again = rows["user"][1:] == rows["user"][:-1]
    return (rows["open_us"][1:] - rows["close_us"][:-1])[again] / 3.6e9


def liked_logit(run: Run) -> float:
    """How much more the liked videos suited than the others, logit."""
    liked = (run.whole["feedback"] & 1) != 0
    return float(run.whole["stay_logit"][liked].mean() - run.whole["stay_logit"][~liked].mean())


def liked_appeal(run: Run) -> float:
    """How much more appealing the liked videos were than the others, log."""
    appeal, liked = run.world.videos["appeal"][run.whole["video"]], (run.whole["feedback"] & 1) != 0
    return float(appeal[liked].mean() - appeal[~liked].mean())


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


def longest_waits_s(run: Run) -> float:
    waited = run.records.impressions["wait_us"]
    return float(np.quantile(waited[waited > 0], 0.95)) / 1e6


def looped(run: Run) -> float:
    return float(np.mean(run.whole["play_us"] > 1.05 * run.world.videos["duration_us"][run.whole["video"]]))


def beyond_the_end_s(run: Run):
    """Content time beyond the end of those who got there."""
    beyond_us = run.whole["play_us"] - run.world.videos["duration_us"][run.whole["video"]]
    return beyond_us[beyond_us > 0] / 1e6


def spread_beyond_the_end(run: Run) -> float:
    """Log-sd of that time."""
    return float(np.log(beyond_the_end_s(run)).std())


def shown_durations(run: Run):
    return run.world.videos["duration_us"][run.records.impressions["video"]] / 1e6


def sessions_each(run: Run) -> float:
    return len(run.records.sessions) / len(run.world.users)


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


def first_bitrate(run: Run) -> float:
    """Mean bitrate of the videos that people see first, chosen by what they take their link for by then."""
    rows = run.records.impressions
    return float(rows["bitrate_bps"][rows["impression"] == 0].mean())


def authors_shown(run: Run) -> int:
    """How many authors made what was shown."""
    return len(np.unique(run.world.videos["author"][run.whole["video"]]))


def spread_of_intents(run: Run) -> float:
    """How far people's passing interests reach along what they are shown: its standard deviation, logit."""
    return float(run.records.impressions["intent"].std())
