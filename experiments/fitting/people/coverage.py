"""Simulation-based calibration of the fit: are its intervals as wide as they should be?

    python -m nextone.experiments.fitting.people.coverage 200 results/coverage.jsonl

In each round parameters are drawn, a log is simulated with them, and the fit, which does not know them, says how sure
it is. Of many 90 % intervals 90 % should hold the truth, and the truth's rank among the fit's parameter sets should be
uniform (Talts et al. 2018, arXiv 1804.06788). A round takes some seconds; rounds already in the file are kept.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import kstest

from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings
from nextone.sim.state import Array

from .calibrate import calibrate, settings_of
from .play_fit import PLAY, Parameter, bounds, from_scale, get, to_scale
from .thinning import simulate_fortnight, thin

LEVEL = 0.9
PEOPLE, ROWS, DAYS = 150, 40, 2.0
WORLD = ("catalogue.videos=10000",)  # nearly all of them in the pool, so that two days give rows enough
NAMES = tuple(p.name for p in PLAY)
VAGUE = 0.3  # parameters are drawn, and known before to the fit, so widely: a multiple of `play_fit.PLAY`'s
FIRST_SEED = 300  # the rounds before were looked at while the fit was made (calibrate.WIDENED)


class Verdict(NamedTuple):
    """The result of all rounds. by_parameter: (P,) coverage. rank_p: (P,) p-values of uniform ranks,
    Kolmogorov-Smirnov."""

    rounds: int
    coverage: float
    by_parameter: Array
    rank_p: Array


def one_round(seed: int) -> Array:
    """Each planted parameter's rank among the fit's parameter sets, in [0, 1], (P,). A pure function of the seed."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x736263]))
    base = with_settings(Scenario(), WORLD)
    planted = {p.name: _planted(base, p, float(rng.standard_normal())) for p in PLAY}
    world = with_settings(base, settings_of(base, planted))
    log, _ = thin(simulate_fortnight(world, PEOPLE, 1_000 + seed, DAYS), ROWS, seed)
    found = calibrate(log, base, people=PEOPLE, days=DAYS, seed=2_000_000 + seed, vague=VAGUE)
    sets = np.array([[draw[name] for name in NAMES] for draw in found.draws])
    truth = np.array([get(world, name) for name in NAMES])
    return np.asarray(((sets < truth).sum(axis=0) + 0.5) / (len(sets) + 1))


def _planted(base: Scenario, p: Parameter, z: float) -> float:
    """Drawn from what the fit takes for known before: ranks are uniform only then."""
    low, high = bounds(p)
    return from_scale(min(max(to_scale(get(base, p.name), p.scale) + VAGUE * p.known * z, low), high), p.scale)


def covered(ranks: Array) -> Array:
    """Which ranks lie in the central interval of LEVEL."""
    return np.asarray(np.abs(ranks - 0.5) <= LEVEL / 2)


def verdict(ranks: Sequence[Array]) -> Verdict:
    """The result of ranks (rounds, P)."""
    every = np.array(ranks)
    inside = covered(every)
    p = np.array([kstest(column, "uniform").pvalue for column in every.T])
    return Verdict(len(every), float(inside.mean()), inside.mean(axis=0), p)


def text(of: Verdict) -> str:
    """The result for people: a line for each parameter."""
    lines = [f"{of.rounds} rounds: {LEVEL:.0%} intervals hold the truth in {of.coverage:.1%}"]
    for name, share, p in zip(NAMES, of.by_parameter, of.rank_p, strict=True):
        lines.append(f"  {name:28} {share:6.1%}   ranks uniform: p {p:.3f}")
    return "\n".join(lines)


def run(rounds: int, path: Path | None = None) -> Verdict:
    """Run this many rounds, with seeds from FIRST_SEED; those that are in `path` (a line of JSON each) are not
    repeated."""
    known: dict[int, Array] = {}
    if path is not None and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            known[told["seed"]] = np.array(told["ranks"])
    seeds = range(FIRST_SEED, FIRST_SEED + rounds)
    for seed in seeds:
        if seed not in known:
            known[seed] = one_round(seed)
            if path is not None:
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"seed": seed, "ranks": known[seed].round(4).tolist()}) + "\n")
    return verdict([known[seed] for seed in seeds])


if __name__ == "__main__":
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.stdout.write(text(run(int(sys.argv[1]), where)) + "\n")
