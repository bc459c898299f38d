"""Null controls: where a model on the phone can know nothing that the cloud does not, it does not win.

Theory: the cloud's estimate is exact, people do not change, the link has no limits and behaviour is not late. Then the
page is already in the best order for valid play, and whoever reorders it can only lose.
"""

import numpy as np
import pytest
from worlds import AMPLE, run, same_run, scenario

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.policies.phone.loading import fresh_policy

MODELS = ("edgerec", "kir", "context_aware")
EXACT = {
    "server__quality_correlation": 1.0, "server__taste_correlation": 1.0, "server__match_correlation": 1.0,
    "server__person_correlation": 1.0, "server__embedding_correlation": 1.0, "server__assumed_intent_sd": 0.0,
    "server__pxtr_noise": 0.0, "server__feature_lag_s": 0.0, "server__objective": (1.0, *(0.0,) * 6),
    "interests__intent_sd": 0.0, "interests__satiation": 0.0, "interests__mood_sd": 0.0,
    "network__constant_mbps": float("inf"), "network__rtt_scale": 0.0, "network__loss": 0.0,
    "network__outages_per_hour": 0.0, "catalogue__duration_log_sd": 0.0, "catalogue__videos": 3000,
    "phone__inference_ms": (0.0,) * 4, "phone__perception_ms": 0.0, "population__users": 40,
}  # fmt: skip


@pytest.mark.parametrize(("people", "minutes"), [(40, 6.0), pytest.param(400, 15.0, marks=pytest.mark.long)])
def test_no_edge_model_beats_a_cloud_that_knows_everything(people, minutes):
    """The shipped models, valid play, ten replications: no paired interval above zero."""
    world = scenario(**EXACT | {"population__users": people})
    arms = [Arm("cloud_only", "cloud_only", world), *(Arm(kind, kind, world) for kind in MODELS)]
    arms.append(Arm("tag_momentum", "tag_momentum", world))
    result = compare(arms, minutes=minutes, engine="batch")
    column = [metric.name for metric in result.metrics].index("valid_play")
    for arm, found in zip(result.arms[1:], result.differences[1:], strict=True):
        print(arm.label, found[column])
        assert found[column] is not None and found[column].low <= 0.0, (arm.label, found[column])


def test_a_shorter_page_does_not_beat_it_either():
    """The order of a page of the best is the order of the best: for the cloud alone, valid play falls by position."""
    log = run(scenario(**EXACT | {"population__users": 200}), "cloud_only", minutes=6.0).records.impressions
    played = (log["outcome"] & 1) != 0
    first, last = played[log["position"] == 0], played[log["position"] == 5]
    assert first.mean() > last.mean() + 0.02


@pytest.mark.parametrize("kind", MODELS)
def test_with_nothing_to_choose_all_arms_are_identical(kind):
    """One candidate: no model downloaded, no embeddings, no inference; bit for bit in both drivers."""
    world = scenario(server__candidates=1, server__page_size=1, client__refill_at=0, phone__no_model=1.0,
                     phone__old_model=0.0)  # fmt: skip
    for engine in ("batch", "event"):
        base = run(world, "cloud_only", minutes=4.0, engine=engine, workers=AMPLE)
        other = run(world, fresh_policy(kind), minutes=4.0, engine=engine, workers=AMPLE)
        assert same_run(base, other) == "" and not other.world.users["inferences"].any()
    assert np.all(base.world.users["model_left"] == 0)
