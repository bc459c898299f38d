"""Watching, sessions and interests by hand: thresholds, the clock of activity, what people feel, drift and recovery."""

import math

import numpy as np
import pytest
from laws import KEY, person
from numba import njit
from worlds import HOUR_US, replace, scenario

from nextone.sim.config import HATE, Scenario
from nextone.sim.feedback import draw_feedback, feedback_chance
from nextone.sim.interest import draw_taste, fatigue, live_on, open_mind, reinforce, settle, tire
from nextone.sim.population import pace_table, relative_seconds
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
from nextone.sim.state import BACKOFF, COMPLETE, LONG, MIND, SKIP, USER, VALID, VIDEO
from nextone.sim.watching import LONG_US, SKIP_US, VALID_US, length_logit, outcome_of, stayed, watch_time_us
from nextone.sim.world import activity_shape, build_world

S, MINUTE = 1_000_000, 60_000_000
PEOPLE = Scenario(
    watching={
        "stay_shorter": 0.5, "stay_longer": -1.0,
        "dead_time_s": 0.5, "dead_time_log_sd": 0.25, "skip_log_mean": 0.72, "skip_log_sd": 0.95, "skip_log_slope": 0.3,
        "watch_log_mean": 3.83, "watch_log_sd": 1.0, "watch_log_slope": 0.1,
        "loop": 0.32, "loop_log_mean": 2.0, "loop_log_sd": 0.5, "react_log_mean": -0.2, "react_log_sd": 0.6,
    },
    feedback={
        "skip_ratio": (0.5, 0.4, 0.6, 0.7, 0.8, 0.0), "long_ratio": (1.4, 1.3, 6.0, 3.0, 0.7, 2.0),
        "complete_ratio": (1.7, 1.8, 1.4, 1.2, 0.9, 2.0),
    },
    sessions={"leave_per_min": 0.036, "leave_satisfaction": 0.8, "satisfaction_memory": 0.9, "stall_pain": 0.5},
    interests={
        "mood_sd": 0.75, "mood_hours": 3.0, "satiation": 0.08, "satiation_s": 600.0,
    },
)  # fmt: skip
"""Numbers to calculate with by hand, whatever the defaults are."""
p = PEOPLE.params()[0]


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


def watched(logit, who=0.0, duration_us=10**12, u_stay=0.5, z_time=0.0, z_dead=0.0, u_loop=0.5, z_end=0.0):
    return watch_time_us(p, logit, who, duration_us, u_stay, z_time, z_dead, u_loop, z_end)


def test_watch_times_by_hand():
    """Early leavers exp(.72 + .3 person + .95 z) s after a dead time of .5 s exp(.25 z), stayers exp(3.83 + .1 logit
    + z), if that is longer; beyond the end exp(2 + .5 z) s with chance .32, otherwise exp(-.2 + .6 z) s."""
    assert watched(0.0, u_stay=0.9) == 500_000 + math.floor(math.exp(0.72) * 1e6)
    assert watched(0.0, who=2.0, u_stay=0.9) == 500_000 + math.floor(math.exp(0.72 + 0.6) * 1e6)
    late = watched(0.0, u_stay=0.9, z_time=-1.0, z_dead=2.0)
    assert late == pytest.approx((0.5 * math.exp(0.5) + math.exp(0.72 - 0.95)) * 1e6, abs=1)
    assert watched(2.0) == pytest.approx(500_000 + math.exp(3.83 + 0.2) * 1e6, abs=1)
    assert watched(2.0, who=-1.0) == watched(2.0)  # who stays does so for as long as the video deserves
    assert watched(2.0, who=12.0) == pytest.approx(500_000 + math.exp(0.72 + 3.6) * 1e6, abs=1)  # the longer of both
    assert watched(2.0, duration_us=20 * S, u_loop=0.32) == 20 * S + math.floor(math.exp(-0.2) * 1e6)  # not below .32
    assert watched(2.0, duration_us=20 * S, u_loop=0.31) == 20 * S + math.floor(math.exp(2) * 1e6)
    assert watched(2.0, duration_us=20 * S, u_loop=0.31, z_end=1.0) == 20 * S + math.floor(math.exp(2.5) * 1e6)
    assert watched(2.0, duration_us=20 * S, u_loop=0.31, z_end=30.0) == 20 * S + 20 * 20 * S  # at most 20 rounds more
    assert watched(-9.0, duration_us=1, u_stay=0.9, z_time=-9.0) == 1 + 20  # over before anybody can decide


def test_length_by_hand():
    """.5 per e-fold up to 80 s, -1 beyond: most are ready to stay with what lasts 80 s."""
    for length_s, logit in ((80 / math.e, -0.5), (80, 0.0), (80 * math.e, -1.0), (80 / math.e**2, -1.0)):
        assert length_logit(p, length_s * S) == pytest.approx(logit, abs=1e-9)


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
        user = person(now_us=0, frequency=1.0)
        gaps.append(next_open_us(params[0], KEY, user[0], activity))
    assert gaps[0] > 1.5 * gaps[1] > 1.5 * SESSION_GAP_US
    tiny = scenario(sessions__gap_hours=0.51, sessions__gap_log_sd=3.0).params()
    times = [next_open_us(tiny[0], KEY, person(user=k, frequency=1.0)[0], activity) for k in range(200)]
    assert min(times) == SESSION_GAP_US


def test_satisfaction_is_a_running_mean_of_what_impressions_were_worth():
    """By hand, memory .9: a valid play is +.5, a skip -.5; a like +1; hate -2; a second of stall -.5; bounded at -5."""
    def after(outcome=0, feedback=0, stalled_us=0, before=0.0):
        user = person(satisfaction=before)
        feel(p, user[0], outcome, feedback, stalled_us)
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
    user = person(will_to_stay=0.3601, now_us=10 * MINUTE, pace=1.0)
    assert not leaves(p, user[0])
    user["now_us"] += MINUTE
    assert leaves(p, user[0]) and user["checked_us"] == 11 * MINUTE
    unhappy = person(will_to_stay=0.3601, now_us=10 * MINUTE, pace=1.0, satisfaction=-0.5)
    assert leaves(p, unhappy[0])
    quick = person(will_to_stay=0.3601, now_us=5 * MINUTE, pace=2.01)
    assert leaves(p, quick[0])
    slow = person(will_to_stay=0.3601, now_us=19 * MINUTE, pace=0.5)
    assert not leaves(p, slow[0])


LENGTHS_US = np.linspace(5, 300, 1_000).astype(np.int64) * S


def test_who_is_quick_with_every_video_leaves_sooner_by_the_clock():
    """To the power of the setting: 0 is one rate for all, to the bit."""
    base = replace(PEOPLE, sessions__leave_pace=1.0)
    pace = pace_table(base, LENGTHS_US)
    assert (np.diff(pace) < 0).all() and pace[0] > 1.5 and pace[-1] < 0.7
    assert (pace_table(replace(base, sessions__leave_pace=0.0), LENGTHS_US) == 1.0).all()
    np.testing.assert_allclose(pace_table(replace(base, sessions__leave_pace=2.0), LENGTHS_US), pace**2)
    alike = replace(base, population__person_sd=0.0)
    np.testing.assert_allclose(pace_table(alike, LENGTHS_US), 1.0, rtol=1e-12)


def test_pace_is_what_a_random_video_takes():
    """The table's seconds against a plain average over random videos and luck, one standard deviation either way."""
    sds = dict(population__person_sd=1.2, population__match_sd=1.0, population__taste_sd=0.0, catalogue__quality_sd=0.8)
    world = replace(PEOPLE, **sds, interests__mood_sd=0.0, interests__intent_sd=0.0, catalogue__tag_quality=0.5,
                    feedback__browse=0.0, player__swipe_ms=0.0)  # fmt: skip
    rng = np.random.default_rng(4)
    low, high = (
        np.mean([
            watched(p["stay"] + z * 1.2 + other + length_logit(p, length_us), z * 1.2, length_us, *luck)
            for other, length_us, *luck in zip(
                rng.normal(0, math.hypot(1.0, 0.8, 0.5), 20_000), rng.choice(LENGTHS_US, 20_000), rng.random(20_000),
                rng.normal(size=20_000), np.zeros(20_000), rng.random(20_000), rng.normal(size=20_000), strict=True,
            )
        ])
        for z in (-1.0, 1.0)
    )  # fmt: skip
    seconds = relative_seconds(world, LENGTHS_US)
    quarter = (len(seconds) - 1) // 8  # the table reaches from -4 to 4 standard deviations
    assert seconds[5 * quarter] / seconds[3 * quarter] == pytest.approx(high / low, rel=0.06)


def test_people_have_the_table_s_pace():
    world = build_world(scenario(population__users=400), edge=False, seed=1, window_us=HOUR_US, log_rows=0)
    z = world.users["person"] / world.params["person_sd"]
    told = np.interp(z, np.linspace(-4, 4, len(world.pace)), world.pace)
    np.testing.assert_allclose(world.users["pace"], told, rtol=1e-5)


def test_what_an_impression_is_worth_is_a_setting():
    """By hand, on what nobody has by default: half a step from zero each, so twice the worth."""
    odd = replace(
        PEOPLE, sessions__satisfaction_memory=0.5, sessions__usual_valid_play=0.2, sessions__completion_joy=3.0,
        sessions__like_joy=0.25, sessions__hate_pain=7.0, sessions__stall_felt_s=1.5, sessions__most_pain=6.0,
    )  # fmt: skip
    for outcome, feedback, stalled_us, worth in (
        (0, 0, 0, -0.2), (VALID | COMPLETE, 1, 0, 4.05), (0, 1 << HATE, 0, -6.0), (VALID, 0, 9 * S, 0.05),
    ):  # fmt: skip
        user = person()
        feel(odd.params()[0], user[0], outcome, feedback, stalled_us)
        assert 2 * user["satisfaction"][0] == pytest.approx(worth)


def test_backoff_doubles_five_times():
    waits = []
    for attempt in range(8):
        user = person(attempt=attempt)
        backs_off(p, user[0], 7)
        assert user["request_state"] == BACKOFF
        waits.append(int(user["retry_us"][0]) - 7)
    assert waits == [S * 2 ** min(k, 5) for k in range(8)]


# -- interests ---------------------------------------------------------------------------------------------------------

def minds(count):
    """Rows of count people who never opened the app, and their minds."""
    users = np.zeros(count, USER)
    users["user"] = np.arange(count)
    return users, np.zeros(count, MIND)


@njit
def open_all(p, key, users, minds, now_us):
    for k in range(len(users)):
        open_mind(p, key, users[k], minds[k], now_us)


@njit
def live_all(p, key, users, minds, now_us):
    for k in range(len(users)):
        live_on(p, key, users[k], minds[k], now_us)


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_mood_and_intent_fade_and_stay_as_wide_as_stated():
    """Within a session, minute by minute, and over the gap between sessions: stationary, with the stated memory."""
    q = replace(PEOPLE, interests__intent_sd=1.2, interests__intent_half_life_min=20.0).params()[0]
    users, mind = minds(40_000)
    seen = []
    open_all(q, KEY, users, mind, 0)
    seen.append((users["mood"].copy(), mind["intent"].copy()))
    live_all(q, KEY, users, mind, 10 * 60 * S)
    seen.append((users["mood"].copy(), mind["intent"].copy()))
    users["session"], users["closed_us"] = 1, 10 * 60 * S
    users["opened_us"] = 40 * 60 * S
    open_all(q, KEY, users, mind, 40 * 60 * S)
    seen.append((users["mood"].copy(), mind["intent"].copy()))
    for mood, intent in seen:
        assert abs(mood.std() / 0.75 - 1) < 0.02
        assert abs(intent.std() * math.sqrt(8) / 1.2 - 1) < 0.01
        assert abs(correlation(intent[:, 0], intent[:, 1])) < 0.02
    for first, second, minutes in ((0, 1, 10), (1, 2, 30), (0, 2, 40)):
        assert abs(correlation(seen[first][0], seen[second][0]) - math.exp(-minutes / 180)) < 0.02
        assert abs(correlation(seen[first][1], seen[second][1]) - 2 ** (-minutes / 20)) < 0.02


def test_what_passes_by_itself_depends_on_person_and_minute_alone():
    """Looked at once an hour or every second minute, the same; a second session brings other luck."""
    q = PEOPLE.params()[0]
    users, mind = minds(3)
    again, other = minds(3)
    open_all(q, KEY, users, mind, 0)
    open_all(q, KEY, again, other, 0)
    live_all(q, KEY, users, mind, 3600 * S)
    for now in range(0, 3600 * S + 1, 120 * S):
        live_all(q, KEY, again, other, now)
    assert (users["minute"] == 60).all()
    assert users["mood"].tolist() == again["mood"].tolist() and mind["intent"].tolist() == other["intent"].tolist()
    users["session"] = 1
    open_all(q, KEY, users, mind, 3600 * S)
    assert not np.isclose(mind["intent"], other["intent"]).any()


def test_reinforcement_moves_nobody_by_who_they_are():
    """Over many outcomes drawn at the person's own chance the intent stays where it was, in the mean; a surprise moves
    it along the content, further the rarer it is."""
    q = replace(PEOPLE, interests__reinforcement=0.5).params()[0]
    content = np.array([1, -1, 2, 0, 0, 0, 0, 1], np.float32)

    @njit
    def one(p, mind, content, stayed, chance):
        reinforce(p, mind[0], content, stayed, chance)

    for chance in (0.1, 0.5, 0.9):
        _, up = minds(1)
        _, down = minds(1)
        one(q, up, content, 1.0, chance)
        one(q, down, content, 0.0, chance)
        assert up["intent"][0] == pytest.approx(0.5 * (1 - chance) / math.sqrt(8) * content, rel=1e-5)
        mean = chance * up["intent"][0] + (1 - chance) * down["intent"][0]
        assert mean == pytest.approx(np.zeros(8), abs=1e-7)


def test_staying_is_decided_by_the_draw_that_the_watch_time_has():
    """`stayed` happens as often as the logit says."""
    @njit
    def count(key, user, logit, n):
        total = 0
        for video in range(n):
            total += stayed(key, user, video, 3, logit)
        return total

    for logit in (-2.0, 0.0, 1.0):
        share = count(KEY, person()[0], logit, 40_000) / 40_000
        assert abs(share - 1 / (1 + math.exp(-logit))) < 0.01


def test_fatigue_with_content_wears_off_and_unlike_content_gains_nothing():
    q = replace(PEOPLE, interests__satiation=0.8, interests__satiation_s=600.0).params()[0]
    content = np.full(8, 1.0, np.float32)

    @njit
    def after(p, user, mind, content, now_us):
        tire(mind[0], content)
        settle(p, user, mind[0], now_us)
        return fatigue(p, mind[0], content), fatigue(p, mind[0], -content)

    user, (_, mind) = person(settled_us=0), minds(1)
    like, unlike = after(q, user[0], mind, content, 600 * S)
    assert like == pytest.approx(0.8 * math.exp(-1), rel=1e-5) and unlike == 0.0
    assert user["settled_us"] == 600 * S


def test_tastes_are_as_wide_over_videos_as_stated_and_known_as_stated():
    q = replace(PEOPLE, server__taste_correlation=0.6).params()[0]

    @njit
    def draw(p, key, users, taste, known):
        for k in range(len(users)):
            draw_taste(p, key, users[k], taste[k], known[k])

    users, _ = minds(40_000)
    users["taste_sd"] = 0.9
    taste, known = np.zeros((2, len(users), 8), np.float32)
    draw(q, KEY, users, taste, known)
    content = np.random.default_rng(1).standard_normal((len(users), 8))
    assert abs((taste * content).sum(axis=1).std() / 0.9 - 1) < 0.02
    assert abs(correlation(taste, known) - 0.6) < 0.01
    assert abs(np.cov(taste.ravel(), known.ravel())[0, 1] / known.var() - 1) < 0.02


# -- feedback ----------------------------------------------------------------------------------------------------------


def test_feedback_chances_by_hand():
    """A play below 5 s, a middling one, a long view, a completed one: 1 times the ratios; the mean over views (.451,
    .196, .169, .184 of them) is the propensity; at most 1."""
    plays = [(4 * S, 0), (6 * S, VALID), (20 * S, VALID | LONG), (20 * S, VALID | LONG | COMPLETE)]
    for kind in range(6):
        skip, middling, long, complete = (feedback_chance(p, kind, 0.01, 1.0, *play) for play in plays)
        assert skip / middling == pytest.approx(PEOPLE.feedback.skip_ratio[kind])
        assert long / middling == pytest.approx(PEOPLE.feedback.long_ratio[kind])
        assert complete / long == pytest.approx(PEOPLE.feedback.complete_ratio[kind])
        assert 0.451 * skip + 0.196 * middling + 0.169 * long + 0.184 * complete == pytest.approx(0.01)
        assert feedback_chance(p, kind, 0.01, 1.7, *plays[0]) == pytest.approx(1.7 * skip)
        assert feedback_chance(p, kind, 0.9, 1e9, *plays[2]) == 1.0
        assert feedback_chance(p, kind, 0.01, 1.0, 9_600_000, VALID | COMPLETE) == complete  # 9.6 s of 10 s
        assert feedback_chance(p, kind, 0.01, 1.0, 3 * S, VALID | LONG | COMPLETE) == complete  # short, to its end
        assert feedback_chance(p, kind, 0.01, 1.0, 5 * S, 0) == middling and (skip == 0) == (kind == 5)


def test_who_is_suited_likes_more_and_hates_less():
    """Odds move by exp(+- slope x suits): at slope 1 likes e-fold up, hates e-fold down, from the stated rate at what
    suits as well as a usual video."""
    keen = Scenario(feedback={"match_slope": 1.0}, catalogue={"appeal_sd": 0.0}).params()

    @njit
    def counts(users, p, key, videos, suits, out):
        for k in range(100_000):
            users[0].user = k
            bits = draw_feedback(p[0], key, users[0], 3, videos[0], 0, suits, 10_000_000, 0)[0]
            out[0] += bits & 1
            out[1] += (bits >> HATE) & 1

    found = np.zeros((3, 2))
    for row, suits in zip(found, (-1.0, 0.0, 1.0), strict=True):
        counts(person(propensity=[0.1] * 6), keen, KEY, np.zeros(1, VIDEO), keen[0]["usual_match"] + suits, row)
    ratios = found[1:] / found[:-1]
    assert np.abs(ratios[:, 0] / math.e - 1).max() < 0.05 and np.abs(ratios[:, 1] * math.e - 1).max() < 0.05
    usual = [feedback_chance(keen[0], kind, 0.1, 1.0, 10 * S, 0) for kind in (0, HATE)]
    assert np.abs(found[1] / 100_000 / usual - 1).max() < 0.05
