"""Null worlds that hold on average, and signs. Long tests at sizes fixed beforehand (`measured.py`, results in
docs/evidence/nulls.md), and small twins with wide limits."""

import numpy as np
import pytest
from free_transport import FREE, NOTHING, early_worth, lived, small, worth
from measured import (
    EQUIVALENT,
    HALF,
    LIMIT,
    NOT_CLOUD,
    PATIENT,
    POLICIES_SIZE,
    SHIPPING,
    SHIPPING_SIZE,
    SHORT,
    SIGNS_SIZE,
    Size,
    early_differences,
    others,
    percent,
    shipping,
    signs,
    upper_ends,
)
from worlds import AMPLE, replace

from nextone.experiments.runs.statistics import PairedDifference
from nextone.policies.names import CLOUD_ONLY, policy_names
from nextone.sim.config import Scenario

TWIN = Size(60, 10.0, 10)


@pytest.mark.long
@pytest.mark.parametrize("name", EQUIVALENT)
def test_with_nothing_to_perceive_shipping_candidates_at_the_same_price_changes_nothing(name):
    found = shipping(replace(Scenario(), **SHIPPING[name]), SHIPPING_SIZE)
    for metric in EQUIVALENT[name]:
        d = found.differences[metric]
        assert max(-d.diff_pct_low, d.diff_pct_high) <= LIMIT, (metric, percent(d))
        assert d.diff_pct_high - d.diff_pct <= HALF, (metric, percent(d))
    assert (found.dry[0] == found.dry[1] == 0) if name == "same price, patient" else found.dry[0] > found.dry[1]


def test_with_nothing_to_perceive_twin():
    """The same on small worlds of 60 people: within 2 %, some eight standard errors."""
    found = shipping(small(PATIENT), TWIN)
    assert all(abs(d.diff_pct) < 2.0 for d in found.differences.values()), found
    assert any(d.diff != 0 for d in found.differences.values()) and found.dry == (0.0, 0.0)


@pytest.mark.long
def test_no_policy_beats_the_cloud_where_there_is_nothing_to_perceive():
    """All policies that see no hidden state, in the cloud's own objective: no upper end is above +.3 %."""
    able, unable = others(NOT_CLOUD)
    ends = upper_ends(early_differences(replace(Scenario(), **SHORT), able, POLICIES_SIZE))
    assert max(ends.values()) <= LIMIT, ends
    if unable:
        pytest.skip(f"holds for {', '.join(able)}; not tried: {unable}")


def test_no_rule_beats_the_cloud_twin():
    """Sixty people, rules only: no interval lies above +.3 %. The cloud's own score on the phone is the cloud."""
    rules = [name for name in policy_names() if name != CLOUD_ONLY]
    found = early_differences(small(FREE, NOTHING), rules, TWIN)
    assert all(d.diff_pct_low <= LIMIT for d in found.values()), found
    assert found["server_score"].diff == 0 and found["random"].diff_pct_high < 0


@pytest.mark.long
def test_fresher_features_help_the_cloud_and_learning_helps_the_phone():
    found = signs(SIGNS_SIZE, replace(Scenario(), server__workers=AMPLE))
    assert all(d.diff > 0 and d.diff_pct_low > 0 for d in found.values()), found


def test_worth_by_hand():
    """A valid and long play that was liked and forwarded; one that was hated; nothing."""
    shown = np.zeros(3, lived(small(), "cloud_only", minutes=1.0).records.impressions.dtype)
    shown["outcome"], shown["feedback"] = (1 | 2, 0, 0), (1 | 8, 16, 0)
    assert worth(Scenario(), shown).tolist() == [1.0 + 0.5 + 1.0 + 1.0, -2.0, 0.0]


def test_early_worth_counts_the_beginnings_of_sessions():
    run = lived(small(), "cloud_only")
    shown = run.whole
    first = [np.flatnonzero(shown["user"] == user)[:20] for user in np.unique(shown["user"])]
    assert early_worth(run) == pytest.approx(worth(run.scenario, shown[np.concatenate(first)]).mean())
    assert early_worth(run, 10**6) == pytest.approx(worth(run.scenario, shown).mean())


def test_upper_ends_by_hand():
    """t of 9 degrees of freedom: 2.262 for 2.5 %, 2.685 for half of it. Who is clearly below pays the higher price."""
    half, rest = 0.2262, (None, None, 10, 1.0, False)
    near, far = (PairedDifference(0, 0, 0, mean, mean - half, mean + half, *rest) for mean in (0.0, -5.0))
    ends = upper_ends({"near": near, "far": far})
    assert ends == pytest.approx({"near": 0.2262, "far": -5 + 0.2685}, abs=1e-4)
    none = PairedDifference(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, 10, 1.0, False)
    assert upper_ends({"same": none}) == {"same": 0.0}
