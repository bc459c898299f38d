"""Why some rows of the scoreboard are red: the log's targets against each other, in numbers.

    python -m nextone.experiments.fitting.people.red_lines 1500 [SECTION.FIELD=VALUE ...]

simulates so many people for a fortnight and prints, of the log and of them, what the likeness of one person's plays is
made of, and all facts by lag.
"""

import sys

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog, shipped_log
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .dense import dense_facts
from .facts import MIN_ROWS, VIDEO_WEIGHT, outcomes
from .lags import lag_facts, sum_lags
from .thinning import Fortnight, simulate_fortnight, thin

PARTS = ("of people alone", "of people met with videos", "of videos alone", "together")
TIMES = 8  # people of the log that each simulated person stands for, at most


def likeness(log: UserLog) -> dict[str, float]:
    """Correlation of two long views of one person, as shares of the variance, parted into what is left when the video's
    mean is taken out, into likeness of videos, and into both: people who stay are shown videos that are stayed with."""
    long, rows = outcomes(log)["long view"].astype(float), np.bincount(log.user)
    views, kept = np.bincount(log.video), np.bincount(log.video, long)
    video = ((kept + VIDEO_WEIGHT * long.mean()) / (views + VIDEO_WEIGHT))[log.video]
    rest = long - video
    video, rest = video - video.mean(), rest - rest.mean()
    pairs = rows * (rows - 1.0) * (rows >= MIN_ROWS)

    def together(x: Array, y: Array) -> float:
        """Covariance of x of one row and y of another of the same person."""
        sums = np.bincount(log.user, x) * np.bincount(log.user, y) - np.bincount(log.user, x * y)
        return float(sums[rows >= MIN_ROWS].sum() / pairs.sum() / long.var())

    own, met, alone = together(rest, rest), 2 * together(rest, video), together(video, video)
    return dict(zip(PARTS, (own, met, alone, own + met + alone), strict=True))


def text(fortnight: Fortnight) -> str:
    """For people: the log beside the simulation."""
    log = shipped_log()
    simulated, _ = thin(fortnight, len(log.user) / log.users, 0, TIMES)
    ours, theirs = likeness(simulated), likeness(log)
    lines = [f"{'likeness of two long views of a person':48} {'log':>8} {'simulated':>10}"]
    lines += [f"  {name:46} {theirs[name]:8.3f} {ours[name]:10.3f}" for name in PARTS]
    measured, dense = lag_facts(sum_lags(log)), dense_facts(fortnight, 0)
    lines.append("by lag")
    lines += [f"  {name:70} {measured[name]:8.3f} {dense[name]:10.3f}" for name in measured]
    return "\n".join(lines)


if __name__ == "__main__":
    world = with_settings(Scenario(), sys.argv[2:])
    sys.stdout.write(text(simulate_fortnight(world, int(sys.argv[1]), seed=0)) + "\n")
