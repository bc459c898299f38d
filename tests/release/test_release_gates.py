"""Gates, waves and faults by hand; intervals against their formulas."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from nextone.experiments.release.failing import draw_faults, swapped
from nextone.experiments.release.gates import Counts
from nextone.experiments.release.plan import Gate, Plan, Wave
from nextone.experiments.release.rollout import MINUTE_US, Judged, Rollout, installed, place_of, version_at
from nextone.experiments.release.summary import share_of
from nextone.experiments.release.telemetry import DECISION, app_minutes, present, with_version
from nextone.sim.config import NEVER_US
from nextone.sim.engine.chance import world_key
from nextone.sim.state import ASKED, CUT, IMPRESSION, LAST, SESSION, SKIP, SLOT, STALE, USER, VALID

PEOPLE = 10
BACK, HOLD = Gate("failures", limit=0.1), Gate("leaves", worse_pct=5, action="hold", unclear="hold")


def plan(start=1.0, gates=(BACK, HOLD)):
    return Plan("by hand", (), (Wave(0.2, 2), Wave(0.5, 3)), gates, start, 1, 3)


def world(files=(0, 0)):
    params = np.zeros(2, [("model_bytes", "i8"), ("cdn_us", "i8"), ("cold_start", "f8")])
    params["model_bytes"], params["cdn_us"], params["cold_start"] = files, 7, 3.0
    return SimpleNamespace(params=params, users=np.zeros(PEOPLE, USER), arms=np.zeros((PEOPLE, 1), np.int8))


def judged(gate, state):
    return Judged(gate, state, 1.0, 0.5, 1.5, 1.0)


def minutes(rollout, *states):
    """Whether a wave began, at each minute with these states of the two gates."""
    looks = [[judged(BACK, back), judged(HOLD, hold)] for back, hold in states]
    return [rollout.minute(k * MINUTE_US, look) for k, look in enumerate(looks, start=1)]


FINE = ("fine", "fine")


def test_waves_follow_each_other_and_hold_exactly_their_share():
    rollout = Rollout(plan(), world())
    assert minutes(rollout, *[FINE] * 8) == [True, False, True, False, False, False, False, False]
    assert [(e.minute, e.wave, e.what) for e in rollout.events] == [(1, 1, "wave"), (3, 2, "wave"), (6, 2, "released")]
    assert rollout.treated().sum() == 5 and rollout.end == "released"


def test_a_gate_holds_as_long_as_it_must_and_another_rolls_back():
    rollout = Rollout(plan(), world())
    held = ("unclear", "bad"), ("unclear", "bad"), ("fine", "unclear")
    begun = minutes(rollout, FINE, *held, FINE, ("bad", "fine"), FINE)
    assert begun == [True, False, False, False, True, False, False]
    told = [(e.minute, e.what, e.why) for e in rollout.events]
    assert told == [
        (1, "wave", ""), (3, "held", "leaves worse by 5 %: 1 [0.5, 1.5]"), (5, "wave", ""),
        (6, "rolled back", "failures beyond 0.1: 1 [0.5, 1.5]"),
    ]  # fmt: skip
    assert not rollout.treated().any()


def test_who_is_first_is_first_in_every_wave():
    place = place_of("salt", 1000)
    assert sorted(place) == list(range(1000)) and (place != place_of("other", 1000)).any()
    assert installed(plan(start=0.0), PEOPLE).sum() == 2 and not installed(plan(), PEOPLE).any()
    assert (place_of("release", PEOPLE)[installed(plan(start=0.0), PEOPLE) == 1] < 2).all()


def test_a_phone_pulls_at_its_request_and_goes_back_at_one():
    of = world()
    rollout = Rollout(plan(), of)
    first, last = (int(np.flatnonzero(rollout._place == k)[0]) for k in (0, 9))
    rollout.asked(first, 5)
    assert of.users["arm"][first] == 0, "nothing is released yet"
    minutes(rollout, FINE)
    for person in (first, last):
        rollout.asked(person, 70)
        rollout.asked(person, 80)
    assert (of.users["arm"][first], of.arms[first, 0], of.users["arm"][last]) == (1, 1, 0)
    assert (rollout.asked_us[[first, last]] == 70).all()
    rollout.minute(2 * MINUTE_US, [judged(BACK, "bad")])
    rollout.asked(first, 90)
    assert (of.users["arm"][first], of.arms[first, 0], of.users["cold"][first]) == (0, 0, 0)
    who, when = np.full(4, first), np.array([69, 70, 89, 90])
    assert version_at(rollout, who, when).tolist() == [0, 1, 1, 0]


def test_a_phone_with_files_to_fetch_changes_when_it_has_them_and_a_rollback_ends_the_fetching():
    of = world(files=(300, 500))
    rollout = Rollout(plan(), of)
    minutes(rollout, FINE)
    one, two = (int(np.flatnonzero(rollout._place == k)[0]) for k in (0, 1))
    of.users["model_held"][[one, two]] = 1, 3  # current, missing
    for person in (one, two):
        rollout.asked(person, 100)
    assert (of.users["model_left"][[one, two]] == 500).all() and (of.users["model_at_us"][[one, two]] == 107).all()
    rollout.asked(one, 110)
    assert of.users["arm"][one] == 0, "the files are not there"
    of.users["model_left"][one] = 0
    rollout.asked(one, 120)
    assert (of.users["arm"][one], of.users["cold"][one], rollout.got_us[one]) == (1, 1, 120)
    rollout.minute(2 * MINUTE_US, [judged(BACK, "bad")])
    for person in (one, two):
        rollout.asked(person, 130)
    assert (of.users["arm"][one], of.users["model_left"][one], of.users["model_left"][two]) == (0, 0, 300)
    assert rollout.got_us[two] == NEVER_US


def lines(treated_fail, fail, people=200, each=20, latency=(100_000, 100_000), seed=0):
    """Decisions of people of whom every second one is treated."""
    rng = np.random.default_rng(seed)
    out = np.zeros(people * each, DECISION)
    out["user"], out["at_us"] = np.repeat(np.arange(people), each), 50
    second = out["user"] % 2 == 1
    out["failed"] = rng.random(len(out)) < np.where(second, treated_fail, fail)
    out["latency_us"] = np.where(out["failed"], -1, np.where(second, *latency[::-1]) * rng.lognormal(0, 0.3, len(out)))
    out["score"] = np.where(second, 1.1, 1.0)
    out["place"] = np.where(second, 4, 1)
    return out


def state_of(gate, decided, shown=None, people=200):
    counts = Counts(people)
    counts.add(decided, np.zeros(0, IMPRESSION) if shown is None else shown, np.full(people, 10))
    (found,) = counts.judge([gate], np.arange(people) % 2 == 1, np.ones(people, bool), 100)
    return found


def test_the_interval_of_version_2s_own_value_is_students_over_people():
    decided = lines(0.05, 0.0)
    found = state_of(Gate("failures", limit=0.01, test="fixed"), decided)
    own = decided[decided["user"] % 2 == 1]["failed"].reshape(100, 20).mean(axis=1)
    low, high = stats.t.interval(0.95, 99, own.mean(), stats.sem(own))
    assert (found.value, found.low, found.high) == pytest.approx((own.mean(), low, high)) and found.state == "bad"
    always = state_of(Gate("failures", limit=0.01), decided)
    assert always.low < found.low and always.high > found.high and always.value == found.value


@pytest.mark.parametrize(
    ("gate", "decided", "state"),
    [
        (Gate("failures", limit=0.2), lines(0.05, 0), "fine"),
        (Gate("failures", limit=0.05, test="fixed"), lines(0.05, 0), "unclear"),
        (Gate("failures", limit=0.04, test="value"), lines(0.05, 0), "bad"),
        (Gate("failures", worse_pct=50), lines(0.3, 0.1), "bad"),
        (Gate("failures", worse_pct=50), lines(0.1, 0.1), "unclear"),
        (Gate("failures", worse_pct=50), lines(0.1, 0.0), "unclear"),  # per cent of nothing
        (Gate("score", worse_pct=5), lines(0, 0), "bad"),
        (Gate("score", worse_pct=15), lines(0, 0), "fine"),
        (Gate("pick_rank", worse_pct=149), lines(0, 0), "bad"),
        (Gate("pick_rank", worse_pct=151), lines(0, 0), "fine"),
        (Gate("latency_p95_ms", worse_pct=50), lines(0, 0, latency=(100_000, 300_000)), "bad"),
        (Gate("latency_p95_ms", worse_pct=50), lines(0, 0), "fine"),
        (Gate("latency_p95_ms", limit=100), lines(0, 0), "bad"),
        (Gate("latency_p95_ms", limit=1000), lines(0, 0), "fine"),
        (Gate("failures", limit=0.0, least=101), lines(1, 1), "unclear"),
        (Gate("valid_play", worse_pct=1), lines(0, 0), "unclear"),  # nothing shown yet
    ],
    ids=str,
)
def test_what_gates_say(gate, decided, state):
    assert state_of(gate, decided).state == state


def impressions(outcomes):
    """One impression a person, of a minute each."""
    out = np.zeros(len(outcomes), IMPRESSION)
    out["user"], out["start_us"], out["play_us"], out["outcome"] = np.arange(len(outcomes)), 50, 60_000_000, outcomes
    return out


def test_impressions_are_counted_by_person_and_only_from_the_first_request():
    shown = impressions([VALID, SKIP, VALID | CUT, LAST, ASKED, ASKED | STALE])
    counts = Counts(6)
    counts.add(np.zeros(0, DECISION), shown, np.array([0, 0, 0, 0, 51, 0]))
    sums = counts._sums
    assert sums["valid_play"].top.tolist() == [1, 0, 0, 0, 0, 0] and sums["valid_play"].bottom.sum() == 4
    assert sums["skip_2s"].top.sum() == sums["leaves"].top[3] == 1
    assert sums["leaves"].bottom.tolist() == [1, 1, 1, 1, 0, 1]
    assert sums["stale_picks"].top.sum() == sums["stale_picks"].bottom.sum() == 1
    counts.begin()
    assert not counts._sums["valid_play"].bottom.any()


def test_fewer_effective_views_are_worse():
    rng = np.random.default_rng(1)
    bits = np.where(rng.random(2000) < np.where(np.arange(2000) % 2, 0.3, 0.6), VALID, 0)
    none = np.zeros(0, DECISION)
    found = state_of(Gate("valid_play", worse_pct=20), none, impressions(bits), 2000)
    assert found.state == "bad" and 40 < found.value < 60 and found.low < found.value < found.high
    low = state_of(Gate("valid_play", limit=0.5), none, impressions(bits), 2000)
    assert low.state == "bad" and low.limit == -0.5


def test_swapped_scores_are_those_of_the_live_candidates():
    rng = np.random.default_rng(0)
    scores, live = rng.random((50, 6)), rng.random((50, 6)) < 0.7
    out = swapped(scores, live, rng.random((50, 6)))
    assert np.array_equal(out[~live], scores[~live]) and not np.array_equal(out, scores)
    for k in range(50):
        assert sorted(out[k][live[k]]) == sorted(scores[k][live[k]])
    one = swapped(np.array([[5.0, 7, 9]]), np.array([[True, False, True]]), np.array([[0.9, 0, 0.1]]))
    assert one.tolist() == [[9, 7, 5]]


def test_luck_of_faults_is_keyed_by_person_impression_and_video():
    users, pool = np.zeros(4, USER), np.zeros((4, 3), SLOT)
    users["user"], users["impression"], pool["video"] = [1, 2, 1, 1], [5, 5, 6, 5], np.arange(3)
    pool["video"][3] = [2, 1, 0]
    key = np.tile(world_key(1, 0), (4, 1))
    found = []
    for rows in (np.arange(4), np.array([3, 0])):
        strikes, order = np.empty(len(rows)), np.empty((len(rows), 3))
        draw_faults(key, users, pool, rows, strikes, order)
        found.append((strikes, order))
    (strikes, order), (some, of_some) = found
    assert len(set(strikes)) == 3 and strikes[0] == strikes[3]
    assert np.array_equal(some, strikes[[3, 0]]) and np.array_equal(of_some, order[[3, 0]])
    assert np.array_equal(order[3], order[0][::-1]) and len(set(order.ravel())) == 9


def test_time_in_the_app_is_split_where_the_version_changes():
    sessions = np.zeros(2, SESSION)
    sessions["user"], sessions["open_us"], sessions["close_us"] = [0, 1], [0, 90e6], [180e6, 150e6]
    rollout = SimpleNamespace(got_us=np.array([60_000_000, NEVER_US]), lost_us=np.array([150_000_000, NEVER_US]))
    spans, minutes = with_version(sessions, rollout), np.arange(4) * MINUTE_US
    first, second = (app_minutes(*each, minutes) for each in spans)
    assert first.tolist() == [1, 0.5, 1] and second.tolist() == [0, 1, 0.5]
    first, second = (present(*each, minutes) for each in spans)
    assert first.tolist() == [1, 1, 2] and second.tolist() == [0, 1, 1]


def test_shares_have_the_interval_of_clopper_and_pearson():
    for k, n in ((0, 200), (3, 200), (200, 200)):
        exact = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
        found = share_of(k, n)
        assert (found.share, found.low, found.high) == pytest.approx((k / n, exact.low, exact.high))
    assert not math.isnan(share_of(0, 1).low)
