"""Why some rows of the scoreboard are red: the log's targets against each other, in numbers.

    python -m nextone.experiments.fitting.people.red_lines 1500 [SECTION.FIELD=VALUE ...]

simulates so many people for a fortnight and prints, of the log and of them, what the likeness of one person's plays is
made of, and the correlations by lag on more rows than the scoreboard's, whose sampling error is then a third.
"""

import sys

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog, shipped_log
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .facts import LAGS, MIN_ROWS, VIDEO_WEIGHT, facts, outcomes, sum_up
from .thinning import Fortnight, simulate_fortnight, thin

PARTS = ("of people alone", "of people met with videos", "of videos alone", "together")
ROWS, TIMES = 40, 8  # of each simulated person, and how often


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


def by_lag(fortnight: Fortnight, seed: int = 0) -> dict[str, float]:
    """Residual correlations of a simulated fortnight, on ROWS of each person, TIMES over."""
    dense, _ = thin(fortnight, np.full(1, ROWS), seed, TIMES)
    return facts(sum_up(dense, by_person=False))


def text(fortnight: Fortnight) -> str:
    """For people: the log beside the simulation."""
    log = shipped_log()
    simulated, _ = thin(fortnight, np.bincount(log.user), 0, TIMES)
    ours, theirs = likeness(simulated), likeness(log)
    lines = [f"{'likeness of two long views of a person':48} {'log':>8} {'simulated':>10}"]
    lines += [f"  {name:46} {theirs[name]:8.3f} {ours[name]:10.3f}" for name in PARTS]
    measured, dense = facts(sum_up(log, by_person=False)), by_lag(fortnight)
    lines.append("residual correlation")
    for name in (f"residual correlation, {lag}, {tag}" for lag in LAGS for tag in ("same tag", "other tag")):
        lines.append(f"  {name.removeprefix('residual correlation, '):46} {measured[name]:8.3f} {dense[name]:10.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    world = with_settings(Scenario(), sys.argv[2:])
    sys.stdout.write(text(simulate_fortnight(world, int(sys.argv[1]), seed=0)) + "\n")
