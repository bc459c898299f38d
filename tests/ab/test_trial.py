"""The worlds of an A/B test: people of several arms live as they would alone, where nothing is shared.

By hand, exact nulls, and twins of the runs that `nextone compare` makes.
"""

from functools import cache

import numpy as np
import pytest
from worlds import AMPLE, page_asker, replace, same_bits, scenario

from nextone.experiments.ab.assignment import Split, arm_of_each
from nextone.experiments.ab.people import sums_of
from nextone.experiments.ab.trial import Trial, check_arms, in_both, run_trial, run_world
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.metrics import METRICS, measure
from nextone.experiments.runs.replication import run_arm
from nextone.sim.config import Cost
from nextone.sim.records import Records
from nextone.sim.scenario import SettingError
from nextone.sim.world import Arms, Design, build_world

HALF = Split("person", (0.5, 0.5))
USERS = 48


def arms(workers=AMPLE, *policies, **settings):
    """A control, and an arm for each policy, of other pages than the control's and of other sizes of every array."""
    base = scenario(population__users=USERS, server__workers=workers, **settings)
    other = replace(base, server__page_size=3, client__refill_at=2, server__candidates=15, server__feature_lag_s=40.0)
    made = (Arm(f"arm{k}", policy, other) for k, policy in enumerate(policies or ("cloud_only",)))
    return (Arm("control", "cloud_only", base), *made)


def trial(of, split=HALF, **given):
    return Trial(**({"arms": of, "split": split, "seed": 3, "replication": 0, "minutes": 3.0, "days": None} | given))


def of_people(records, who):
    return Records(*(table[np.isin(table["user"], np.flatnonzero(who))] for table in records))


def same_lives(a, b, who):
    """ "" if these people have the same impressions, requests and sessions in both, else where they first differ."""
    pairs = zip(Records._fields, of_people(a.records, who), of_people(b.records, who), strict=True)
    return "".join(same_bits(left, right) for _, left, right in pairs)


@cache
def everybody_in(arm):
    return run_world(trial(arms(AMPLE, "server_score", page_asker), everybody=arm))[0]


@pytest.mark.parametrize(
    "split",
    [
        Split("person", (0.4, 0.3, 0.3)), Split("budget", (0.5, 0.5)), Split("cluster", (0.5, 0.5), regions=4),
        Split("switchback", (0.5, 0.5), period_min=1.0),
    ],
    ids=lambda split: split.design,
)  # fmt: skip
def test_with_ample_servers_people_live_as_if_all_were_in_their_arm(split):
    of = arms(AMPLE, "server_score", page_asker)[: len(split.shares)]
    test, whole, _ = run_world(trial(of, split))
    own = test.world.users["arm"]
    for a in range(len(of)):
        alone = everybody_in(a)
        assert (own == a).sum() >= 5
        assert same_lives(test, alone, own == a) == ""
        assert same_lives(test, alone, own != a), "arms must differ"
    assert set(np.unique(whole.arms)) == set(range(len(of)))


def test_people_of_two_tests_live_by_both():
    """In layers: a policy by one hash, pages by another; each of the four kinds as if all people were of it."""
    control, pages = arms()
    policy = Arm("edge", "server_score", control.scenario)
    layered = in_both((control, pages), policy)
    assert [arm.label for arm in layered] == ["control+edge", "arm0+edge"]
    assert [arm.policy for arm in layered] == ["server_score"] * 2
    assert [arm.scenario.server.page_size for arm in layered] == [6, 3]
    split = HALF._replace(layer=0.5)
    test, whole, _ = run_world(trial((control, pages), split, layer=layered))
    kinds = (control, pages, *layered)
    for a, arm in enumerate(kinds):
        alone, _, _ = run_world(trial((arm, arm), everybody=0))
        assert (whole.arms[:, 0] == a).sum() > 4 and same_lives(test, alone, whole.arms[:, 0] == a) == ""
    alone = arm_of_each(split.salt, USERS, split.shares)
    assert (whole.arms[:, 0] % 2 == alone).all(), "the other test's hash moves nobody of this one"


def test_two_tests_that_change_the_same_are_for_one_layer():
    control, pages = arms()
    with pytest.raises(SettingError, match=r"server.page_size is changed by arm 'arm0' as well"):
        in_both((control, pages), Arm("more", "cloud_only", replace(control.scenario, server__page_size=4)))
    policy = Arm("edge", "random", control.scenario)
    with pytest.raises(SettingError, match="the policy is changed"):
        in_both((control, policy), Arm("other", "server_score", control.scenario))


def test_everybody_in_an_arm_is_the_world_that_a_comparison_runs():
    of = arms(2, "server_score")
    for a, arm in enumerate(of):
        alone, _, _ = run_world(trial(of, everybody=a))
        compared = run_arm(arm.scenario, arm.policy, seed=3, replication=0, minutes=3.0)
        assert same_lives(alone, compared, np.ones(USERS, bool)) == ""
        assert alone.server == compared.server


def test_before_the_test_all_are_of_the_control_and_then_of_their_arm():
    of = arms(AMPLE, "tag_momentum", sessions__gap_hours=1.0, sessions__leave_per_min=0.5)
    days = {"minutes": None, "days": 0.2, "before": 0.2}
    worlds = [run_world(trial(of, **days, everybody=a))[0] for a in (None, 0, 1)]
    from_us = round(0.2 * 86_400e6)
    test, control, treated = (
        run._replace(records=Records(*(each[each[when] < from_us] for each, when in zip(
            run.records, ("start_us", "sent_us", "close_us"), strict=True)))) for run in worlds
    )  # fmt: skip
    everybody = np.ones(USERS, bool)
    assert len(control.records.sessions) > USERS
    assert same_lives(test, control, everybody) == same_lives(treated, control, everybody) == ""
    own = run_trial(trial(of, **days)).arm  # -1 of those who never opened the app
    assert same_lives(worlds[0], worlds[1], own == 0) == ""
    assert same_lives(worlds[0], worlds[2], own == 1) == ""
    assert same_lives(worlds[1], worlds[2], own >= 0), "after that arms must differ"


def test_pausing_after_each_session_changes_nothing():
    """Where arms may change, the driver is asked between two sessions."""
    of = arms(2, "cloud_only", sessions__gap_hours=1.0, sessions__leave_per_min=0.5)
    one, _, _ = run_world(trial(of, minutes=None, days=0.3, everybody=0))
    two, whole, _ = run_world(trial(of, minutes=None, days=0.2, before=0.1, everybody=0))
    assert whole.arms.shape[1] == 2
    assert same_lives(one, two, np.ones(USERS, bool)) == ""


def test_with_one_worker_people_of_one_arm_move_those_of_the_other():
    of = arms(1)
    test, _, _ = run_world(trial(of))
    alone, _, _ = run_world(trial(of, everybody=0))
    own = test.world.users["arm"]
    assert same_lives(test, alone, own == 0)


def test_a_cloud_that_learns_from_everybody_moves_the_control_by_what_the_treated_watch():
    """With ample servers, which arms share as well; without learning nothing moves (above)."""
    of = arms(AMPLE, "server_score", catalogue__videos=1_000, server__pool_min=0.5, server__quality_correlation=0.0)
    worlds = [run_world(trial(of, everybody=a, minutes=8.0))[0] for a in (None, 0)]
    own = worlds[0].world.users["arm"]
    assert same_lives(*worlds, own == 0)
    again, _, _ = run_world(trial(of, minutes=8.0))
    assert same_lives(again, worlds[0], own >= 0) == ""
    unlike = (of[0], Arm("faster", "cloud_only", replace(of[0].scenario, server__pool_min=5.0)))
    with pytest.raises(SettingError, match=r"server\.pool_min is shared"):
        check_arms(unlike)


def test_with_budgets_of_servers_the_control_does_not_feel_what_the_treated_do():
    few, many = arms(2), arms(2)
    many = (many[0], Arm("hungry", "cloud_only", replace(many[1].scenario, server__page_size=1, client__timeout_s=5.0)))
    for design, parted in (("budget", ""), ("person", "differs")):
        split = Split(design, (0.5, 0.5))
        worlds = [run_world(trial(of, split))[0] for of in (few, many)]
        own = worlds[0].world.users["arm"]
        assert parted in same_lives(*worlds, own == 0) and bool(parted) == bool(same_lives(*worlds, own == 0))


def test_regions_have_servers_of_their_own():
    """Everybody of a region that no treated person lives in lives as were nobody treated."""
    split, of = Split("cluster", (0.5, 0.5), regions=4), arms(4)
    test, whole, _ = run_world(trial(of, split))
    alone, _, _ = run_world(trial(of, split, everybody=0))
    own = whole.arms[:, 0]
    assert len(whole.workers) == 4 and 0 < own.sum() < USERS
    assert all(len(np.unique(own[whole.region == r])) == 1 for r in range(4))
    assert same_lives(test, alone, own == 0) == ""


@pytest.mark.parametrize("workers", [AMPLE, 1], ids=["ample", "drowned"])
def test_sums_over_people_are_the_metrics(workers):
    run = run_arm(arms(workers)[0].scenario, "cloud_only", seed=3, replication=0, minutes=20.0)
    known, sums = measure(run), sums_of(run, 0, run.window_us)
    assert {name: known[name] for name in sums} == pytest.approx(
        {name: each.top.sum() / each.bottom.sum() for name, each in sums.items()}, rel=1e-9
    )  # fmt: skip
    assert run.records.sessions["dry"].any()
    assert len(sums) > len(METRICS) // 3


def test_where_no_page_ever_comes_people_have_waited_and_nothing_else():
    of = arms(1, server__service_ms=50_000.0, client__timeout_s=2.0)
    sums = run_trial(trial(of)).sums
    assert sums["app_min"].top.sum() > 1 and not sums["impressions"].top.any()
    assert sums["wait_ratio"].top == pytest.approx(sums["app_min"].top)
    assert not sums["tags"].bottom.any()


@pytest.mark.parametrize("field", ["server__workers", "population__person_sd", "client__history", "phone__shares"])
def test_what_all_people_share_cannot_differ_between_arms(field):
    value = {"server__workers": 9, "client__history": 35, "phone__shares": (1.0, 0.0, 0.0, 0.0)}.get(field, 1.0)
    control = arms(3)[0]
    with pytest.raises(SettingError, match=field.replace("__", ".")):
        check_arms((control, Arm("other", "cloud_only", replace(control.scenario, **{field: value}))))


def test_a_phone_holds_the_model_of_the_arm_that_it_ends_in():
    """And the room of every array is the largest that an arm needs."""
    control, other = arms()
    made = Arms([Design(other.scenario, True, Cost(1.0, 1000))], np.array([[0, 1], [0, 0]] * (USERS // 2)), 1)
    world = build_world(control.scenario, edge=False, seed=1, window_us=1, arms=made)
    assert not world.users["model_left"][1::2].any() and world.users["model_left"][::2].any()
    assert world.pool.shape[1] == 15 and world.waiting.shape[1] == 17
