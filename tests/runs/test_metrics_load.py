"""Load: servers are sized for what an arm asks of them, and where they drown every answer says so."""

import pytest
from worlds import scenario

from nextone.experiments.runs.arms import Arm, parse_arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import comparison_table
from nextone.experiments.runs.comparison_files import comparison_json
from nextone.experiments.runs.metrics import OVERLOAD, measure, overloaded
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import FEWEST_WORKERS, Scenario
from nextone.sim.scenario import with_settings

ASKED = {
    "cloud_only": ["", "server.page_size=1", "server.page_size=2", "server.page_size=50 server.candidates=50",
                   "client.ttl_s=30", "client.ttl_impressions=3", "server.service_ms=3000"],
    "server_score": ["", "server.page_size=2", "server.page_size=50 server.candidates=100", "client.ttl_s=30",
                     "server.service_per_candidate_ms=100"],
}  # fmt: skip


QUICK = ("", "server.page_size=1", "client.ttl_s=30", "server.page_size=50 server.candidates=100")


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        pytest.param(p, s, marks=() if s in QUICK else pytest.mark.long, id=f"{p} {s}")
        for p, each in ASKED.items()
        for s in each
    ],
)
def test_servers_that_are_sized_are_used_no_more_than_asked(policy, settings):
    """Six tenths, within what a run of 200 people varies by; and no more than needed: one worker less is near it, or
    there are but two."""
    world = with_settings(Scenario(), ["population.users=200", "catalogue.videos=7248", *settings.split()])
    found = [measure(run_arm(world, policy, seed=0, replication=r, minutes=40.0)) for r in range(3)]
    used, workers = (sum(m[name] for m in found) / 3 for name in ("utilisation", "workers"))
    assert used <= 0.66, (used, workers)
    count = workers * 200 / 1000
    assert count == pytest.approx(round(count)) and round(count) >= FEWEST_WORKERS, workers
    assert count == FEWEST_WORKERS or used * count / (count - 1) > 0.3, (used, workers)


def test_overload_by_hand():
    assert overloaded(0.91, 0.0) and overloaded(0.2, 0.011)
    assert not overloaded(0.9, 0.01)
    assert not overloaded(float("nan"), 0.5)  # no servers


def test_an_arm_that_drowns_is_marked_everywhere():
    base = scenario(population__users=60)
    few = parse_arm("few=cloud_only server.page_size=1 server.workers=1", base)
    arms = [Arm("cloud_only", "cloud_only", base), few]
    result = compare(arms, minutes=10, seed=1)
    assert result.overloaded == (False, True)
    assert (result.label(0), result.label(1)) == ("cloud_only", "few ‡")
    assert comparison_json(result)["overloaded"] == ["few"]
    assert "few ‡ %" in [str(column.header) for column in comparison_table(result).columns]
    assert OVERLOAD in str(comparison_table(result).caption)
    ample = compare(arms, minutes=10, seed=1, engine="batch")
    assert ample.overloaded == (False, False) and "‡" not in str(comparison_table(ample).caption)
