"""Predicted rates by hand: what is known of a person, what an estimate means in chances, what those are worth. The
formulas are written out in numpy, with numbers that are all different, so that none can stand for another.
"""

import numpy as np
import pytest
from numba import njit
from worlds import scenario

from nextone.sim.cloud.rates import (
    feedback_chances,
    logit_milli,
    most_worth,
    person_chances,
    phone_ranks,
    shifted,
    tail_logit,
    view_rates,
    what_is_known,
    what_is_known_for_good,
    worth_of_feedback,
)
from nextone.sim.config import FEEDBACK
from nextone.sim.feedback import COMPLETE_SHARE, LONG_SHARE, SHORT_SHARE
from nextone.sim.state import BELIEF, BELIEFS, BUILT_IN, CURRENT, INDEXED, MISSING, USER

S = scenario(
    population__person_sd=1.3, server__person_correlation=0.6, interests__mood_sd=0.7, server__assumed_intent_sd=0.9,
    server__embedding_correlation=0.8, server__quality_correlation=0.5, server__match_correlation=0.3,
    server__taste_correlation=0.7, population__match_sd=0.4,
    server__objective=(1.0, 0.5, 2.0, 3.0, 0.25, 0.75, -2.5),
)  # fmt: skip
P = S.params()[0]
MOST = 10.0  # of the objective, weights taken positive
KINDS = [FEEDBACK.index(name) for name in ("like", "follow", "comment", "forward", "hate")]


def person():
    user = np.zeros(1, USER)
    user["taste_sd"], user["past"], user["past_impressions"] = 1.1, 3 + np.arange(len(FEEDBACK)), 90
    return user


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def unsure(of_person, of_intent):
    """What is not known of the log-odds of staying: variance, by hand."""
    quality, match = S.catalogue.quality_sd**2 * (1 - 0.5**2), 0.4**2 * (1 - 0.3**2)
    taste = 1.1**2 * (1 - 0.7**2 * 0.8**2)
    return quality + match + taste + 0.9**2 * (1 - 0.8**2) + of_intent * 0.8**2 + of_person


@njit
def known_now(p, user, belief):
    return what_is_known(p, user, belief)


@njit
def known_for_good(p, user):
    return what_is_known_for_good(p, user)


@njit
def views(p, user, estimate, skip_long, watch_long):
    return view_rates(
        np.float32(estimate), np.float32(skip_long), np.float32(watch_long), what_is_known_for_good(p, user)
    )


@njit
def chances_of_feedback(p, user, row, estimate, out):
    chances = np.full((5, 3), np.nan)
    person_chances(p, user, chances)
    feedback_chances(p, row, chances, np.float32(estimate), what_is_known_for_good(p, user), out)
    return chances


@njit
def moved(chance, shift):
    return shifted(chance, shift)


@njit
def milli(chance):
    return logit_milli(chance)


@njit
def worth(p, chances):
    return worth_of_feedback(p, chances), most_worth(p)


def test_how_much_flatter_chances_are_for_what_is_unknown():
    """Level and mood hang together, as do the parts of the intent, whose variances alone count."""
    root = np.random.default_rng(2).normal(size=(BELIEFS, BELIEFS)) / 3
    full, belief = root @ root.T, np.zeros(1, BELIEF)
    belief["cov"] = full[np.tril_indices(BELIEFS)]
    for known, variance in (
        (known_now(P, person()[0], belief[0]), unsure(full[:2, :2].sum(), np.trace(full[2:, 2:]))),
        (known_for_good(P, person()[0]), unsure(1.3**2 * (1 - 0.6**2) + 0.7**2, 0.9**2)),
    ):
        assert known.flatter == pytest.approx(1 / np.sqrt(1 + variance / 2.9), rel=1e-5)


def test_chances_of_a_person_who_is_known_well_are_hardly_flatter():
    sure = scenario(
        population__person_sd=0.2, interests__mood_sd=0.2, server__assumed_intent_sd=0.1, population__match_sd=0.1,
        catalogue__quality_sd=0.1, server__person_correlation=1.0, server__quality_correlation=1.0,
        server__match_correlation=1.0, server__taste_correlation=1.0, server__embedding_correlation=1.0,
    ).params()[0]  # fmt: skip
    assert known_for_good(sure, person()[0]).flatter == pytest.approx(
        1 / np.sqrt(1 + (0.2**2 + 0.1**2) / 2.9), rel=1e-5
    )


@njit
def tail(threshold_us, dead_us):
    return tail_logit(threshold_us, dead_us, 2.0, 1.5)


def test_whoever_has_to_play_no_longer_than_nobody_swipes_does():
    """At the end of the dead time the chance is as good as 1; a microsecond later it is that of the tail."""
    assert tail(400_000, 500_000) == tail(500_000, 500_000) == 30.0
    assert tail(500_001, 500_000) == pytest.approx(1.702 * (np.log(1e6) + 2.0) / 1.5)


def threshold(seconds, log_mean, log_sd):
    """The logit of the nearest logistic, of a play beyond it."""
    return -1.702 * (np.log(seconds - S.watching.dead_time_s) - log_mean) / log_sd


def test_what_else_is_the_same_for_all_videos_of_a_page():
    w, known = S.watching, known_for_good(P, person()[0])
    assert known.skip_valid == pytest.approx(sigmoid(threshold(7.0, w.skip_log_mean, w.skip_log_sd)), rel=1e-5)
    assert known.watch_valid == pytest.approx(threshold(7.0, w.watch_log_mean, w.watch_log_sd), rel=1e-5)
    assert known.longer == pytest.approx(1.702 * w.watch_log_slope / w.watch_log_sd, rel=1e-5)
    assert (known.worth_valid, known.worth_long) == pytest.approx((1.0 / MOST, 0.5 / MOST), rel=1e-6)


@pytest.mark.parametrize("estimate", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize(("skip_long", "watch_long"), [(0.05, -1.0), (0.6, 1.5), (0.0, -9.0)])
def test_chances_of_views(estimate, skip_long, watch_long):
    """Of those who stay, longer the more they like it, and of the others; a short video's end is both thresholds."""
    known = known_for_good(P, person()[0])
    stays = sigmoid(known.flatter * estimate)

    def lasts(skip, watch):
        return skip + stays * max(sigmoid(watch + known.longer * estimate) - skip, 0.0)

    expected = lasts(max(known.skip_valid, skip_long), max(known.watch_valid, watch_long)), lasts(skip_long, watch_long)
    assert views(P, person()[0], estimate, skip_long, watch_long) == pytest.approx(expected, abs=3e-6)


def by_hand(user):
    """(5, 3): a person's chances at a middling play, and what a short play and a long view add."""
    w, rows = S.feedback, []
    for kind in KINDS:
        name, weight = FEEDBACK[kind], 1 / S.feedback.user_icc - 1
        rate = (user["past"][0, kind] + weight * getattr(w, name)) / (90 + weight)
        short, long, complete = (ratio[kind] for ratio in (w.skip_ratio, w.long_ratio, w.complete_ratio))
        usual = 1 - SHORT_SHARE - LONG_SHARE + SHORT_SHARE * short
        usual += long * (LONG_SHARE - COMPLETE_SHARE + COMPLETE_SHARE * complete)
        of_long = long * (1 + COMPLETE_SHARE / LONG_SHARE * (complete - 1))
        rows.append(rate / usual * np.array([1.0, short - 1, of_long - 1]))
    return np.array(rows)


@pytest.mark.parametrize("bias", [0.0, 0.4])
@pytest.mark.parametrize("appeal", [1.2, 1e6])
def test_chances_of_feedback(bias, appeal):
    """The person's, at the length of play that is likely, the video's appeal; never above .9, then the cloud's bias."""
    p = S.model_copy(update={"server": S.server.model_copy(update={"pxtr_bias": bias})}).params()[0]
    user, row, out = person(), np.zeros(1, INDEXED), np.zeros(5)
    row["skip_long"], row["watch_long"] = 0.05, -1.0
    row["appeal"] = appeal * np.arange(1, 6)
    chances = chances_of_feedback(p, user[0], row[0], 0.5, out)
    assert chances == pytest.approx(by_hand(user), rel=1e-6)
    valid, long = views(p, user[0], 0.5, 0.05, -1.0)
    short = (1 - max(valid, long)) * SHORT_SHARE / (1 - 0.485)
    plain = np.minimum(chances @ [1.0, short, long] * row["appeal"][0], 0.9)
    assert out == pytest.approx(sigmoid(np.log(plain / (1 - plain)) + bias), rel=1e-5)


def test_a_chance_is_moved_in_log_odds_and_told_in_thousandths():
    assert moved(0.3, 0.0) == 0.3
    for shift in (1.0, 1.5):
        assert moved(0.3, shift) == pytest.approx(sigmoid(np.log(0.3 / 0.7) + shift))
    assert moved(0.3, -1.5) == pytest.approx(sigmoid(np.log(0.3 / 0.7) - 1.5))
    assert (milli(0.5), milli(0.9), milli(0.1)) == (0, 2197, -2197)  # log 9 = 2.19722
    assert (milli(0.0), milli(1.0), milli(1e-9)) == (-13816, 13816, -13816)  # log 999,999 = 13.81551


def test_what_feedback_is_worth():
    chances = np.array([0.1, 0.02, 0.3, 0.04, 0.5])
    assert worth(P, chances) == pytest.approx((0.2 + 0.06 + 0.075 + 0.03 - 1.25, MOST))


@njit
def ranks(p, user):
    return phone_ranks(p, user)


def test_a_phone_ranks_if_the_policy_does_and_it_had_the_model():
    params, user = S.params(), person()
    for edge, model, expected in ((0, BUILT_IN, False), (0, MISSING, False), (1, BUILT_IN, True), (1, CURRENT, True),
                                  (1, MISSING, False)):  # fmt: skip
        params["edge"], user["model_sent"] = edge, model
        assert ranks(params[0], user[0]) == expected
