"""Watching, sessions and interests by hand: thresholds, the clock of activity, what people feel, drift and recovery."""

import math

import numpy as np
import pytest
from numba import njit
from test_chance import KEY, P, person
from worlds import HOUR_US, scenario

from nextone.sim.feedback import HATE, draw_feedback, feedback_chance
from nextone.sim.interest import fresh_mood, learn_taste, settle
from nextone.sim.session import (
    SESSION_GAP_US,
    activity_at,
    backs_off,
    feel,
    first_open_us,
    hours_at,
    leaves,
    next_open_us,
)
from nextone.sim.state import BACKOFF, COMPLETE, LONG, SKIP, TASTE, VALID, VIDEO
from nextone.sim.watching import LONG_US, SKIP_US, VALID_US, outcome_of, watch_time_us
from nextone.sim.world import activity_shape

S, MINUTE = 1_000_000, 60_000_000
p = P[0]


# -- watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("play_s", "duration_s", "bits"), [
    (0, 60, SKIP), (1.999999, 60, SKIP), (2, 60, 0), (6.999999, 60, 0), (7, 60, VALID), (17.999999, 60, VALID),
    (18, 60, VALID | LONG), (56.999999, 60, VALID | LONG), (57, 60, VALID | LONG | COMPLETE),
    (4, 5, 0), (4.75, 5, COMPLETE), (5, 5, VALID | LONG | COMPLETE), (12, 5, VALID | LONG | COMPLETE),
    (10, 10, VALID | LONG | COMPLETE), (9.6, 10, VALID | COMPLETE), (1, 1, VALID | LONG | COMPLETE | SKIP),
])  # fmt: skip
def test_thresholds_are_kuairands(play_s, duration_s, bits):
    """7 s or the end; 18 s or the end; .95 of it; under 2 s."""
    assert outcome_of(round(play_s * S), round(duration_s * S)) == bits
    assert (VALID_US, LONG_US, SKIP_US) == (7 * S, 18 * S, 2 * S)


def test_watch_times_by_hand():
    """Median draws (z = 0): early leavers exp(.72) = 2.054 s after the dead time, stayers exp(3.83 + .1 logit)."""
    leave = watch_time_us(p, 0.0, 10**12, 0.9, 0.5, 0.5, 0.5)
    assert leave == 500_000 + math.floor(math.exp(0.72) * 1e6)
    stay = watch_time_us(p, 2.0, 10**12, 0.5, 0.5, 0.5, 0.5)
    assert stay == pytest.approx(500_000 + math.exp(3.83 + 0.2) * 1e6, abs=1)
    assert watch_time_us(p, 2.0, 20 * S, 0.5, 0.5, 0.32, 0.5) == 20 * S  # not below .32: no loop
    looped = watch_time_us(p, 2.0, 20 * S, 0.5, 0.5, 0.31, 0.5)
    assert looped == 20 * S + math.floor(20 * S * 0.4 * math.log(2))
    assert watch_time_us(p, 2.0, 20 * S, 0.5, 0.5, 0.31, 1e-300) == 20 * S + 20 * 20 * S  # at most 20 rounds more
    assert watch_time_us(p, -9.0, 1, 0.5, 1e-12, 0.5, 0.5) == 500_000  # a video shorter than the dead time


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_hours_at_is_the_inverse_of_activity_at():
    activity = activity_shape()
    assert activity[0] == 0 and activity[-1] == pytest.approx(1) and (np.diff(activity) > 0).all()
    for hours in np.linspace(-30, 100, 2_000):
        share = activity_at(p, activity, hours)
        assert hours_at(p, activity, share) == pytest.approx(hours, abs=1e-8)
    assert activity_at(p, activity, 24.0) == pytest.approx(1) and activity_at(p, activity, 48.0) == pytest.approx(2)
    shares = [activity_at(p, activity, h) for h in np.linspace(0, 72, 1_000)]
    assert (np.diff(shares) > 0).all()


def test_first_opens_lie_within_the_window():
    @njit
    def opens(users, p, key, activity, window, out):
        for k in range(len(out)):
            users[0].user = k
            out[k] = first_open_us(p, key, users[0], activity, window)

    for window in (1, 1_000, HOUR_US, 30 * HOUR_US):
        out = np.zeros(5_000, np.int64)
        opens(person(), p, KEY, activity_shape(), window, out)
        assert out.min() >= 0 and out.max() < window


def test_nights_are_long():
    """The same gap in active hours takes longer from 1 a.m. than from 7 p.m.; and never under half an hour."""
    activity, gaps = activity_shape(), []
    for hour in (1, 19):
        params = scenario(sessions__start_hour=float(hour), sessions__gap_log_sd=0.0, sessions__gap_hours=2.0).params()
        user = person(now_us=0)
        gaps.append(next_open_us(params[0], KEY, user[0], activity))
    assert gaps[0] > 1.5 * gaps[1] > 1.5 * SESSION_GAP_US
    tiny = scenario(sessions__gap_hours=0.51, sessions__gap_log_sd=3.0).params()
    times = [next_open_us(tiny[0], KEY, person(user=k)[0], activity) for k in range(200)]
    assert min(times) == SESSION_GAP_US


def test_satisfaction_is_a_running_mean_of_what_impressions_were_worth():
    """By hand, memory .9: a valid play is +.5, a skip -.5; a like +1; hate -2; a second of stall -.5; bounded at -5."""
    def after(outcome=0, feedback=0, stalled_us=0, before=0.0):
        user = person(satisfaction=before)
        feel(p, user[0], outcome, feedback, 1 << HATE, stalled_us)
        return float(user["satisfaction"][0])

    assert after(VALID) == pytest.approx(0.05)
    assert after(SKIP) == pytest.approx(-0.05)
    assert after(VALID | COMPLETE) == pytest.approx(0.1)
    assert after(VALID, feedback=1) == pytest.approx(0.15)
    assert after(VALID, feedback=1 << HATE) == pytest.approx(-0.15)
    assert after(VALID, stalled_us=2 * S) == pytest.approx(-0.05)
    assert after(0, feedback=1 << HATE, stalled_us=100 * S) == pytest.approx(-0.5)
    assert after(VALID, before=1.0) == pytest.approx(0.95)


def test_leaving_uses_up_the_will_to_stay():
    """.036 a minute at neutral satisfaction: a will of .36 lasts ten minutes; less long when dissatisfied."""
    user = person(will_to_stay=0.3601, now_us=10 * MINUTE)
    assert not leaves(p, user[0])
    user["now_us"] += MINUTE
    assert leaves(p, user[0]) and user["checked_us"] == 11 * MINUTE
    unhappy = person(will_to_stay=0.3601, now_us=10 * MINUTE, satisfaction=-0.5)
    assert leaves(p, unhappy[0])


def test_backoff_doubles_five_times():
    waits = []
    for attempt in range(8):
        user = person(attempt=attempt)
        backs_off(p, user[0], 7)
        assert user["request_state"] == BACKOFF
        waits.append(int(user["retry_us"][0]) - 7)
    assert waits == [S * 2 ** min(k, 5) for k in range(8)]


# -- interests ---------------------------------------------------------------------------------------------------------


def test_interests_and_fatigue_wear_off_with_their_time_constants():
    taste, user = np.zeros(3, TASTE), person(settled_us=5)
    taste["drift"], taste["satiation"] = [1.0, -2.0, 0.0], [1.0, 0.5, 0.0]
    settle(p, user[0], taste, 5 + 600 * S)
    assert taste["satiation"] == pytest.approx([math.exp(-1), 0.5 * math.exp(-1), 0])
    assert taste["drift"] == pytest.approx([math.exp(-1 / 12), -2 * math.exp(-1 / 12), 0])
    assert user["settled_us"] == 5 + 600 * S
    whole, halves = taste.copy(), taste.copy()
    settle(p, person(settled_us=0)[0], whole, 100 * S)
    user = person(settled_us=0)
    settle(p, user[0], halves, 30 * S)
    settle(p, user[0], halves, 100 * S)
    assert halves["drift"] == pytest.approx(whole["drift"], rel=1e-6)  # any split gives the same, but for rounding


@pytest.mark.parametrize(("outcome", "liked", "step"), [
    (LONG | VALID, 0, 0.05), (VALID, 0, 0.0), (SKIP, 0, -0.05), (VALID, 1, 0.05), (0, 0, 0.0),
])  # fmt: skip
def test_a_video_moves_its_tags(outcome, liked, step):
    quiet = scenario(interests__new_interest=0.0).params()[0]
    for tags in ((2, 2), (2, 4)):
        taste, row = np.zeros(6, TASTE), np.zeros(1, VIDEO)
        row["tag"], row["tag2"] = tags
        learn_taste(quiet, KEY, person()[0], taste, row[0], outcome, liked)
        expected = [step if tag in tags else 0.0 for tag in range(6)]
        assert taste["drift"] == pytest.approx(expected)
        assert taste["satiation"] == pytest.approx([0.08 if tag in tags else 0.0 for tag in range(6)])


def test_a_new_interest_wakes_only_after_something_enjoyed():
    sure = scenario(interests__new_interest=1.0).params()[0]
    row = np.zeros(1, VIDEO)
    for outcome, drift in ((LONG, 1.55), (SKIP, -0.05), (0, 0.0)):
        taste = np.zeros(1, TASTE)
        learn_taste(sure, KEY, person()[0], taste, row[0], outcome, 0)
        assert taste["drift"][0] == pytest.approx(drift)


def test_moods_fade_and_stay_as_wide_as_stated():
    """Stationary: sd .75 at the first open and after any gap; correlated exp(-gap / 3 h)."""
    @njit
    def moods(users, p, key, gap_us, out):
        for k in range(out.shape[1]):
            user = users[0]
            user.user, user.session, user.closed_us = k, 0, 0
            user.mood = fresh_mood(p, key, user, 0)
            out[0, k] = user.mood
            user.session = 1
            out[1, k] = fresh_mood(p, key, user, gap_us)

    for hours in (0.5, 3.0, 30.0):
        out = np.zeros((2, 100_000))
        moods(person(), p, KEY, round(hours * HOUR_US), out)
        assert np.abs(out.std(axis=1) / 0.75 - 1).max() < 0.01
        assert abs(np.corrcoef(out)[0, 1] - math.exp(-hours / 3)) < 0.02


# -- feedback ----------------------------------------------------------------------------------------------------------


def test_feedback_chances_by_hand():
    """The mean over views is the propensity; long views are `long_ratio` as likely; at most 1."""
    for kind, ratio in enumerate((3.06, 3.41, 13.6, 4.83, 0.72, 5.0)):
        short, long = (feedback_chance(p, kind, 0.01, 1.0, view) for view in (False, True))
        assert long / short == pytest.approx(ratio)
        assert 0.353 * long + 0.647 * short == pytest.approx(0.01)
        assert feedback_chance(p, kind, 0.01, 1.7, False) == pytest.approx(1.7 * short)
        assert feedback_chance(p, kind, 0.9, 1e9, True) == 1.0


def test_who_is_suited_likes_more_and_hates_less():
    """Odds move by exp(+- slope x suits): at slope 1 and suits -1, 0, 1 likes e-fold up, hates e-fold down."""
    keen = scenario(feedback__match_slope=1.0, catalogue__appeal_sd=0.0).params()

    @njit
    def counts(users, p, key, videos, suits, out):
        for k in range(100_000):
            users[0].user = k
            bits = draw_feedback(p[0], key, users[0], 3, videos[0], 0, suits, 0)[0]
            out[0] += bits & 1
            out[1] += (bits >> HATE) & 1

    found = np.zeros((3, 2))
    for row, suits in zip(found, (-1.0, 0.0, 1.0), strict=True):
        counts(person(propensity=[0.1] * 6), keen, KEY, np.zeros(1, VIDEO), suits, row)
    ratios = found[1:] / found[:-1]
    assert np.abs(ratios[:, 0] / math.e - 1).max() < 0.05 and np.abs(ratios[:, 1] * math.e - 1).max() < 0.05
