"""Why some rows of the scoreboard are red: what they conflict with.

    python -m nextone.experiments.fitting.people.red_lines FIGURE.png [PEOPLE]

simulates people under other values of one setting at a time and draws, and prints, how far the red row and the row it
conflicts with are from the log, in tolerances. Where staying by length is concerned the other play times are fitted
anew for each value. It also prints which lengths are shown, and what the likeness of one person's plays is made of.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.experiments.fitting.logs.user_log import UserLog, shipped_log
from nextone.experiments.output.drawing import MARKERS, bare, drawn, palette, save_figure
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .calibrate import KUAIRAND, calibrate, split_randomised
from .facts import CLASSES, LENGTHS_S, MIN_ROWS, VIDEO_WEIGHT, outcomes
from .groups import ACTIVITY, ACTIVITY_CORRELATION
from .lags import LASTING
from .play_fit import get
from .thinning import simulate_fortnight, thin
from .validate import HISTORY, TIMES, WANTED, compare, facts_of_lives, histories, measured_facts

PEOPLE, SEED = 500, 0
PARTS = ("of people alone", "of people met with videos", "of videos alone", "together")


class Conflict(NamedTuple):
    """A red row, the rows that other values of a setting spoil, and values tried: multiples of the setting's own."""

    red: str
    others: tuple[str, ...]
    settings: tuple[str, ...]
    multiples: tuple[float, ...]
    refit: bool = False  # of all play times, with these settings as they are


CONFLICTS = (
    Conflict(f"{CLASSES[4]}: KS distance", ("mean play time, s", "play time: Wasserstein-1 / mean"),
             ("watching.stay_shorter", "watching.stay_longer"), (0.0, 0.5, 1.0, 2.0, 4.0), True),
    Conflict("next item same tag", ("tag entropy per user", "spread of long view by tag"),
             ("catalogue.tag_quality",), (0.5, 1.0, 1.5, 2.0)),
    Conflict(ACTIVITY[-1], (ACTIVITY_CORRELATION, ACTIVITY[0]), ("sessions.leave_pace",), (0.5, 1.0, 1.5, 2.0)),
    Conflict("spread between users: skip < 2 s", (LASTING, "spread between users: valid play"),
             ("watching.skip_log_slope",), (0.5, 1.0, 1.5, 2.0)),
)  # fmt: skip


def distances(conflict: Conflict, scenario: Scenario, people: int) -> Iterator[tuple[float, dict[str, float]]]:
    """(the first setting's value, (simulated - log) / tolerance by row) for each value tried."""
    log, tags = split_randomised(shipped_log())[1], histories()
    within = {name: each for section in WANTED.values() for name, each in section.items()}
    known = None
    for multiple in conflict.multiples:
        world = with_settings(scenario, [f"{name}={multiple * get(scenario, name)!r}" for name in conflict.settings])
        if conflict.refit:
            world = calibrate(log, world, published=KUAIRAND, people=people, seed=SEED).scenario
        fortnight = simulate_fortnight(world, people, SEED)
        _, apart, found = facts_of_lives(fortnight, log, tags, HISTORY, world, SEED)
        known = known or measured_facts(log, tags, apart)
        rows = [compare(name, known[name], found[name], within[name]) for name in (conflict.red, *conflict.others)]
        off = {row.quantity: (row.simulated - row.target) / row.tolerance for row in rows}
        yield multiple * get(scenario, conflict.settings[0]), off


def likeness(log: UserLog) -> dict[str, float]:
    """Correlation of two long views of one person, as shares of the variance, in three parts: what is left when the
    video's mean is subtracted, the likeness of the videos, and both, because people who stay are shown videos with
    which people stay."""
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


def lengths_text(log: UserLog, simulated: UserLog) -> str:
    """How often videos of each length are shown and are valid plays, the log beside the simulation, as text."""
    lines = [f"{'shown, and valid plays, by length':33} {'log':>8} {'simulated':>10} {'log':>8} {'simulated':>10}"]
    of = [np.searchsorted(LENGTHS_S, each.duration_ms / 1e3) - 1 for each in (log, simulated)]
    valid = [outcomes(each)["valid play"] for each in (log, simulated)]
    for k, name in enumerate(CLASSES):
        shown, plays = [(c == k).mean() for c in of], [v[c == k].mean() for c, v in zip(of, valid, strict=True)]
        lines.append(f"  {name:31} {shown[0]:8.3f} {shown[1]:10.3f} {plays[0]:8.3f} {plays[1]:10.3f}")
    return "\n".join(lines)


def likeness_text(log: UserLog, simulated: UserLog) -> str:
    """`likeness` of the log beside that of the simulation, as text."""
    ours, theirs = likeness(simulated), likeness(log)
    lines = [f"{'likeness of two long views of a person':48} {'log':>8} {'simulated':>10}"]
    return "\n".join(lines + [f"  {name:46} {theirs[name]:8.3f} {ours[name]:10.3f}" for name in PARTS])


def draw(found: list[list[tuple[float, dict[str, float]]]], path: Path) -> None:
    """A panel for each conflict: distances in tolerances, the band of what is within them, to `path`, PNG."""
    met = sum(any(all(abs(x) <= 1 for x in off.values()) for _, off in points) for points in found)
    title = f"In {met or 'none'} of {len(found)} conflicts a tried value brings all rows within tolerance (grey)"
    with drawn(12.0, 3.2 * len(found) + 0.3) as figure:
        figure.suptitle(title, x=0.005, ha="left", fontsize=13, weight="bold")
        axes = figure.subplots(len(found), 1, squeeze=False)[:, 0]
        for axis, conflict, points in zip(axes, CONFLICTS, found, strict=True):
            axis.axhspan(-1, 1, alpha=0.15, color="grey", lw=0)
            for k, (name, colour) in enumerate(zip(points[0][1], palette(len(points[0][1])), strict=True)):
                y = [off[name] for _, off in points]
                axis.plot([x for x, _ in points], y, marker=MARKERS[k % len(MARKERS)], color=colour, label=name)
            axis.set_xlabel(", ".join(conflict.settings) + (" in proportion" if len(conflict.settings) > 1 else ""))
            axis.set_ylabel("from the log,\nin tolerances")
            axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
            bare(axis)
        save_figure(figure, path)


def main(path: Path, people: int) -> None:
    """Draw the figure, and print what is drawn."""
    scenario, found = Scenario(), []
    for conflict in CONFLICTS:
        found.append(list(distances(conflict, scenario, people)))
        sys.stdout.write(f"{conflict.red}, against {' and '.join(conflict.others)}\n")
        for value, off in found[-1]:
            told = "  ".join(f"{x:+6.2f}" for x in off.values())
            sys.stdout.write(f"  {conflict.settings[0]} {value:7.3f}:  {told}\n")
    draw(found, path)
    log = split_randomised(shipped_log())[1]
    simulated, _ = thin(simulate_fortnight(scenario, people, SEED), len(log.user) / log.users, SEED, TIMES)
    sys.stdout.write(lengths_text(log, simulated) + "\n" + likeness_text(log, simulated) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else PEOPLE)
