"""Property: arms share people, phones, links and luck, so that their differences stand out of the noise."""

import pytest

from nextone.experiments.runs.compare import compare_policies
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

ARMS = ("cloud_only", "tag_momentum", "server_score", "random")


@pytest.fixture(scope="module")
def comparison():
    small = with_settings(Scenario(), ["population.users=170"])
    arms = {name: name for name in ARMS}
    return compare_policies(arms, small, replications=12, minutes=40.0, engine="batch", workers=1)


@pytest.mark.parametrize("arm", ARMS[1:])
@pytest.mark.parametrize("metric", ["watch_s", "impressions", "valid_play", "delivered_mb"])
def test_arms_correlate_over_replications(comparison, arm, metric):
    """Ten times less variance needs a correlation of .9 and more; separate luck gives about 1 and 0."""
    m = [each.name for each in comparison.metrics].index(metric)
    difference = comparison.differences[ARMS.index(arm)][m]
    assert difference.correlation >= 0.9
    if arm != "random":  # a control that changes what people see altogether keeps less
        assert difference.variance_saved >= 10
