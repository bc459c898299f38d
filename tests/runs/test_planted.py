"""What the statistics say of the simulated world itself, where the answer is known: the same people twice, other
people, and people who are made to stay a little longer. Theory. Long versions with fresh seeds.

The worlds are small so that thousands of comparisons fit: ample servers (the batch driver), where people meet nobody,
so that a replication of n people is any n people of a larger run. 300 synthetic videos, the rest by default.
"""

import secrets

import numba
import numpy as np
import pytest
from worlds import MINUTE_US, replace, scenario

from nextone.experiments.runs.compare import Arm, compare
from nextone.experiments.runs.deciding import make_decider
from nextone.experiments.runs.statistics import paired
from nextone.sim.batch_run import run_batch
from nextone.sim.world import build_world

STAY = 0.13
"""Added to everybody's log-odds of staying with a video: about +1 % of watch time, through staying and leaving."""
AT_ONCE = 20_000  # people in one run


def watched(people, minutes, seed, stay=0.0):
    """Seconds of play of each of so many people under server_score, (people,)."""
    base = scenario(population__users=min(AT_ONCE, people))
    world_of = replace(base, watching__stay=base.watching.stay + stay)
    numba.set_num_threads(1)
    parts = []
    for replication in range(-(-people // AT_ONCE)):
        world = build_world(
            world_of, edge=True, seed=seed, replication=replication, window_us=round(minutes * MINUTE_US),
            queue_waits=np.zeros(1, np.int64), log_rows=0,
        )  # fmt: skip
        run_batch(world, make_decider("server_score", world), end_us=round(minutes * MINUTE_US))
        parts.append(world.users["ledger_us"][:, 0] / 1e6)
    return np.concatenate(parts)[:people]


def a_seed(long):
    seed = secrets.randbits(32) if long else 18
    print(f"seed {seed}")
    return seed


def found(differences):
    """(found with the right sign, called significant with the wrong one) of a list of PairedDifference."""
    right = sum(d.low > 0 for d in differences)
    return right / len(differences), sum(d.high < 0 for d in differences) / len(differences)


@pytest.mark.parametrize(("runs", "long"), [(400, False), pytest.param(4000, True, marks=pytest.mark.long)])
def test_other_people_under_the_same_policy_differ_as_often_as_promised(runs, long):
    # A/A: 10 replications of 4 people against 10 of 4 others, all under the same policy
    x = watched(runs * 80, 5.0, a_seed(long)).reshape(runs, 2, 10, 4).mean(axis=-1)
    wrong = np.mean([d.low > 0 or d.high < 0 for d in (paired(a, b) for a, b in x)])
    slack = 0.011 if long else 3 * (0.05 * 0.95 / runs) ** 0.5
    assert abs(wrong - 0.05) <= slack, wrong


def test_the_same_people_under_the_same_policy_differ_by_exactly_nothing():
    world = scenario()
    arms = [Arm("a", "tag_momentum", world), Arm("b", "tag_momentum", world)]
    result = compare(arms, minutes=3)
    assert np.array_equal(result.values[0], result.values[1], equal_nan=True)
    assert all(d is None or (d.diff, d.low, d.high) == (0, 0, 0) for d in result.differences[1])


@pytest.mark.parametrize(("runs", "long"), [(15, False), pytest.param(500, True, marks=pytest.mark.long)])
def test_a_planted_percent_is_found(runs, long):
    # 10 replications of 60 people over 20 minutes: a fiftieth of the default budget's 10 of 1,000 over 60
    seed = a_seed(long)
    a, b = (watched(runs * 600, 20.0, seed, stay).reshape(runs, 10, 60).mean(axis=-1) for stay in (0.0, STAY))
    assert 0.008 <= b.mean() / a.mean() - 1 <= 0.012, "the planted effect should be about one percent"
    right, wrong = found([paired(x, y) for x, y in zip(a, b, strict=True)])
    assert right >= 0.9
    assert wrong <= 0.001
