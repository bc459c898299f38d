"""Draws for one person after the other, and tests of the law they have to follow. Not a test module.

Kolmogorov-Smirnov for what is continuous, chi-square for what is counted; test_chance.py and test_samplers.py together
have a false alarm once in a thousand (Bonferroni). Seeds are fixed and nothing is retried. Draws are keyed by
consecutive people, so that a fault between adjacent keys shows here too.
"""

import numpy as np
from numba import njit
from scipy import stats

from nextone.sim.config import Scenario
from nextone.sim.engine.chance import world_key
from nextone.sim.state import USER

DRAWS = 1_000_000
LAWS = 40  # more than there are tests of a law in test_chance.py and test_samplers.py
ALPHA = 1e-3 / LAWS
KEY = world_key(20, 1)
P = Scenario(
    network={"outages_per_hour": 3.0, "loss": 0.1, "radio_wake_ms": 0.0},
    sessions={"away": 0.5},
    feedback={"browse": 1.0, "match_slope": 0.0},
    population={"users": 5},
).params()


def follows(draws, cdf):
    """Kolmogorov-Smirnov."""
    found = stats.kstest(draws, cdf)
    assert found.pvalue > ALPHA, found


def counts_follow(counts, shares):
    """Chi-square."""
    shares = np.asarray(shares, float)
    kept = shares > 0
    assert not counts[~kept].any()
    found = stats.chisquare(counts[kept], counts.sum() * shares[kept] / shares.sum())
    assert found.pvalue > ALPHA, found


def beyond(law, floor):
    """Distribution function of what exceeds a floor."""
    return lambda x: (law.cdf(x) - law.cdf(floor)) / law.sf(floor)


def person(**fields):
    user = np.zeros(1, USER)
    for name, value in fields.items():
        user[name] = value
    return user


def many(sampler, *args, n=DRAWS, **fields):
    """n draws: sampler(user row, *args) for people 0, 1, 2 ..."""
    out = np.empty(n)
    _many(sampler, person(**fields), args, out)
    return out


@njit
def _many(sampler, users, args, out):
    user = users[0]
    for k in range(len(out)):
        user.user = k
        out[k] = sampler(user, *args)
