"""Every sampler against the law it declares: theory, a million draws."""

import math

import numpy as np
import pytest
from laws import DRAWS, KEY, P, beyond, counts_follow, follows, many
from numba import njit
from scipy import stats
from worlds import HOUR_US, run, scenario

from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.engine.chance import even_quantile, normal2, tailed_quantile, uniform, uniform2
from nextone.sim.feedback import draw_feedback
from nextone.sim.inputs.round_trips import level_and_jitter, shipped_pings
from nextone.sim.interest import truth_and_belief
from nextone.sim.network import draw_outage, rtt_us
from nextone.sim.next_one import inference_us
from nextone.sim.population import propensity_tables, share_index
from nextone.sim.request import send_request
from nextone.sim.session import away_time_us, first_open_us, next_open_us, stall_patience_us, start_waiting
from nextone.sim.state import CLOSED, COMPLETE, LONG, VIDEO
from nextone.sim.watching import draw_watch_us
from nextone.sim.world import activity_shape, build_world, make_links

NOBODYS_WAITS = np.zeros(1, np.int64)


def test_uniforms_and_normals():
    @njit
    def one(user, key):
        return uniform(key, 6, user.user, 0, 0)

    @njit
    def first(user, key):
        return normal2(key, 7, user.user, 3, 1)[0]

    @njit
    def second(user, key):
        return normal2(key, 7, user.user, 3, 1)[1]

    follows(many(one, KEY), "uniform")
    follows(many(first, KEY), "norm")
    follows(many(second, KEY), "norm")


def test_interests_and_beliefs_have_the_stated_spread_and_correlation():
    @njit
    def truth(user, key, correlation):
        return truth_and_belief(key, 2, user.user, 5, 0.6, correlation)[0]

    @njit
    def belief(user, key, correlation):
        return truth_and_belief(key, 2, user.user, 5, 0.6, correlation)[1]

    for correlation in (0.0, 0.71, 1.0):
        true, believed = many(truth, KEY, correlation), many(belief, KEY, correlation)
        follows(true, stats.norm(scale=0.6).cdf)
        assert abs(true.std() / 0.6 - 1) < 0.005
        if correlation in (0.0, 1.0):
            assert np.allclose(believed, correlation * true)
        else:
            assert abs(np.corrcoef(true, believed)[0, 1] - correlation) < 0.003
            assert abs(np.cov(true, believed)[0, 1] / believed.var() - 1) < 0.01  # a posterior mean


def test_propensities_are_beta():
    """Inverse tables of 2,049 quantiles, stretched a little so that their means are the stated rates: chi-square
    against the table's own law, and its mean against the rate."""
    people = Scenario(feedback={"like": 0.0188, "user_icc": 0.195})
    tables = propensity_tables(people)
    weight = 1 / 0.195 - 1

    @njit
    def like(user, key, table):
        return even_quantile(table, uniform2(key, 1, user.user, 10, 0)[0])

    draws = many(like, KEY, tables[0])
    stretch = tables[0][-1]  # the beta's own last quantile is 1
    assert 0.97 < stretch <= 1 and tables.max() <= 1
    law = stats.beta(0.0188 * weight, (1 - 0.0188) * weight, scale=stretch)
    probability = np.linspace(0, 1, len(tables[0]))
    np.testing.assert_allclose(law.cdf(tables[0][1:-1]), probability[1:-1], atol=1e-9)
    for kind, table in zip(FEEDBACK, tables, strict=True):
        assert np.trapezoid(table, probability) == pytest.approx(getattr(people.feedback, kind), rel=1e-12)
    counts = np.histogram(draws, bins=np.unique(tables[0][::64]))[0]
    shares = np.diff(law.cdf(np.unique(tables[0][::64])))
    shares[0] += law.cdf(np.unique(tables[0][::64])[0])
    counts_follow(counts, shares)
    assert abs(draws.mean() / 0.0188 - 1) < 0.015


def test_classes_have_their_shares():
    @njit
    def pick(user, key, shares):
        return share_index(shares, uniform2(key, 1, user.user, 2, 0)[1])

    for shares in (P["network_shares"][0], P["phone_shares"][0], np.array([0.0, 1.0, 0.0, 3.0, 0.0])):
        counts_follow(np.bincount(many(pick, KEY, shares).astype(int), minlength=len(shares)), shares)


def test_inference_is_lognormal_with_a_floor():
    @njit
    def sample(user, p, key):
        return inference_us(p[0], key, user)

    for tier in (0, 3):
        draws = many(sample, P, KEY, tier=tier, impression=4)
        mean, sd = P["inference_us"][0][tier], P["inference_log_sd"][0]
        law = stats.lognorm(s=sd, scale=mean * math.exp(-(sd**2) / 2))
        floor = P["inference_min_us"][0]
        assert draws.min() == floor or law.cdf(floor) < 1e-5
        counts_follow(np.array([(draws == floor).sum(), (draws > floor).sum()]), [law.cdf(floor), law.sf(floor)])
        follows(draws[draws > floor], beyond(law, floor))


@njit
def sent(user, p, key, rtt, waits, what):
    user.request_state = 0
    send_request(p[0], key, user, rtt, waits)
    return user.service_us if what == 0 else user.request_state


def test_service_is_lognormal_and_losses_are_as_stated():
    rtt = make_links(scenario(network__rtt_scale=0.0)).rtt
    away = {"outage_start_us": 2**62, "outage_end_us": 2**62, "rtt_level_us": 0}
    for edge, shipped in ((0, 7), (1, 21)):  # one more than there is room for: refill_at
        p = P.copy()
        p["edge"] = edge
        draws = many(sent, p, KEY, rtt, NOBODYS_WAITS, 0, **away)
        sd = math.sqrt(math.log(1 + P["service_cv"][0] ** 2))
        mean = 600_000 + 5_000 * shipped
        follows(draws, stats.lognorm(s=sd, scale=mean * math.exp(-(sd**2) / 2)).cdf)
        assert abs(draws.mean() / mean - 1) < 0.002
    state = many(sent, P, KEY, rtt, NOBODYS_WAITS, 1, **away)
    counts_follow(np.array([(state == 2).sum(), (state != 2).sum()]), [0.1, 0.9])


def test_round_trips_are_the_measured_ones():
    """Level and jitter: quantiles of a million draws against those of pam2025's own pings, dense in the tail."""
    links = make_links(scenario())
    level_us, ratio = level_and_jitter(shipped_pings())

    @njit
    def level(user, key, rtt):
        return tailed_quantile(uniform2(key, 8, user.user, 0, 9)[1], rtt[0])

    @njit
    def jitter(user, p, key, rtt):
        return rtt_us(p[0], key, user, rtt, 0, 3, 4) / 1e9

    for draws, sample in ((many(level, KEY, links.rtt), level_us),
                          (many(jitter, P, KEY, links.rtt, rtt_level_us=10**9), ratio)):  # fmt: skip
        at = np.concatenate([np.linspace(0.005, 0.98, 150), 1 - np.geomspace(0.02, 0.002, 50)])
        k = (at * len(sample)).astype(int)
        found = np.quantile(draws, (k + 0.5) / len(sample))  # amid the step of the k-th of the sample
        np.testing.assert_allclose(found, np.sort(sample)[k], rtol=0.05)


def test_outages_are_exponential():
    @njit
    def start(user, p, key):
        draw_outage(p[0], key, user, 1_000)
        return user.outage_start_us - 1_000

    @njit
    def length(user, p, key):
        draw_outage(p[0], key, user, 1_000)
        return user.outage_end_us - user.outage_start_us - 1

    follows(many(start, P, KEY, link=3), stats.expon(scale=1.2e9).cdf)
    follows(many(length, P, KEY, link=3), stats.expon(scale=20e6).cdf)
    assert (many(start, P, KEY, n=100, link=2) > 2**61).all()


def test_patience_and_time_away_are_exponential():
    @njit
    def stall(user, p, key):
        return stall_patience_us(p[0], key, user, 2)

    @njit
    def wait(user, p, key):
        start_waiting(p[0], key, user)
        return user.phase_end_us

    @njit
    def away(user, p, key):
        return away_time_us(p[0], key, user)

    dead = P["dead_time_us"][0]
    follows(many(stall, P, KEY) - dead, stats.expon(scale=P["stall_patience_us"][0]).cdf)
    follows(many(wait, P, KEY) - dead, stats.expon(scale=P["wait_patience_us"][0]).cdf)
    times = many(away, P, KEY)
    counts_follow(np.array([(times > 0).sum(), (times == 0).sum()]), [0.5, 0.5])
    follows(times[times > 0], stats.expon(scale=45e6).cdf)


def test_the_will_to_stay_is_exponential():
    """Leaving uses up an exponential mean-one allowance, drawn at the open."""
    users = run(scenario(population__users=20_000, sessions__leave_per_min=0.0), minutes=0.001).world.users
    opened = users["will_to_stay"][users["wall_us"] >= 0]
    opened = opened[opened > 0]
    assert len(opened) > 15_000
    follows(opened.astype(float), "expon")


def test_first_opens_follow_the_hours_of_the_day():
    """Chi-square over the hours of a whole day from 20:00, and within an hour."""
    activity = activity_shape()

    @njit
    def opens(user, p, key, activity, window):
        return first_open_us(p[0], key, user, activity, window)

    hours = many(opens, P, KEY, activity, 24 * HOUR_US) / HOUR_US
    shape = np.diff(activity)
    counts_follow(np.histogram(hours, bins=np.arange(25))[0], np.roll(shape, -20))
    follows(many(opens, P, KEY, activity, HOUR_US) / HOUR_US, "uniform")


def test_return_gaps_are_lognormal_in_active_hours():
    """At even activity, from open to open: lognormal about the stated median; at least half an hour after the close."""
    even = np.linspace(0, 1, 25)

    @njit
    def gap(user, p, key, activity):
        return next_open_us(p[0], key, user, activity) - user.now_us

    opened = dict(opened_us=5 * HOUR_US, now_us=5 * HOUR_US)
    draws = many(gap, P, KEY, even, **opened, satisfaction=0.0, frequency=1.0) / HOUR_US
    law = stats.lognorm(s=P["gap_log_sd"][0], scale=P["gap_hours"][0])
    assert draws.min() == 0.5
    counts_follow(np.array([(draws == 0.5).sum(), (draws > 0.5).sum()]), [law.cdf(0.5), law.sf(0.5)])
    follows(draws[draws > 0.5], beyond(law, 0.5))
    happy = many(gap, P, KEY, even, **opened, satisfaction=1.0, frequency=1.0) / HOUR_US
    both = (happy > 0.5) & (draws > 0.5)
    np.testing.assert_allclose(happy[both] / draws[both], math.exp(-P["gap_satisfaction"][0]), rtol=1e-5)
    twice = many(gap, P, KEY, even, **opened, satisfaction=0.0, frequency=2.0) / HOUR_US
    both = twice > 0.5
    np.testing.assert_allclose(twice[both] / draws[both], 0.5, rtol=1e-5)
    late = many(gap, P, KEY, even, opened_us=5 * HOUR_US, now_us=6 * HOUR_US, satisfaction=0.0, frequency=1.0) / HOUR_US
    np.testing.assert_allclose(late, np.maximum(draws - 1.0, 0.5), atol=1e-9)  # a long session puts nothing off


@njit
def watched(user, p, key, logit, duration_us):
    return draw_watch_us(p[0], key, user, 5, duration_us, 1, logit)


NEVER_ENDING = 10**15
PROMPT = P.copy()
PROMPT["dead_time_log_sd"] = 0.0


def test_watch_time_is_a_mixture_of_two_lognormals_after_a_dead_time():
    """Never ending video: early leavers and stayers; the stayers' time is at least what an early leaver's would be."""
    p, logit, who = PROMPT[0], 0.4, 0.7
    draws = many(watched, PROMPT, KEY, logit, NEVER_ENDING, person=who) / 1e6 - p["dead_time_us"] / 1e6
    stays = 1 / (1 + math.exp(-logit))
    skip = stats.lognorm(s=p["skip_log_sd"], scale=math.exp(p["skip_log_mean"] + p["skip_log_slope"] * who))
    stay = stats.lognorm(s=p["watch_log_sd"], scale=math.exp(p["watch_log_mean"] + p["watch_log_slope"] * logit))
    # max of two comonotone variables: the distribution function is the lower of the two
    follows(draws, lambda x: (1 - stays) * skip.cdf(x) + stays * np.minimum(stay.cdf(x), skip.cdf(x)))


def test_dead_times_are_lognormal_and_do_not_tell_what_follows():
    """The same draws with and without a spread of the dead time: what they differ by is the dead time's."""
    p, after = P[0], many(watched, PROMPT, KEY, 0.0, NEVER_ENDING) - PROMPT["dead_time_us"][0]
    dead = many(watched, P, KEY, 0.0, NEVER_ENDING) - after
    follows(dead, stats.lognorm(s=p["dead_time_log_sd"], scale=p["dead_time_us"]).cdf)
    assert abs(np.corrcoef(np.log(dead), np.log(after))[0, 1]) < 5 / math.sqrt(DRAWS)


def test_watch_time_at_the_end_and_beyond():
    """A video of 3 s: who gets to the end lets it play on with the stated chance, at most 20 rounds, or swipes on."""
    p, duration = P[0], 3_000_000
    draws, free = (many(watched, P, KEY, 1.0, lasts) for lasts in (duration, NEVER_ENDING))
    assert (draws[free < duration] == free[free < duration]).all()
    more = (draws[free >= duration] - duration) / 1e6
    on = stats.lognorm(s=p["loop_log_sd"], scale=math.exp(p["loop_log_mean"]))
    off = stats.lognorm(s=p["react_log_sd"], scale=math.exp(p["react_log_mean"]))

    def law(x):
        return p["loop"] * on.cdf(x) + (1 - p["loop"]) * off.cdf(x)

    assert more.max() == 60
    counts_follow(np.array([(more < 60).sum(), (more == 60).sum()]), [law(60), 1 - law(60)])
    follows(more[more < 60], lambda x: law(x) / law(60))


def test_feedback_has_the_stated_chances_and_browsing_is_lognormal():
    """Plays of 3 s, 10 s, 20 s and to the end; shares of them that keep the rates: .451, .196, .169, .184."""
    video = np.zeros(1, VIDEO)
    video["appeal"] = 0.5 * P["appeal_sd"][0] ** 2  # exp of it, less its mean: 1

    @njit
    def bits(user, p, key, videos, play_us, outcome):
        return draw_feedback(p[0], key, user, 7, videos[0], 0, 0.0, play_us, outcome)[0]

    @njit
    def browse(user, p, key, videos, play_us, outcome):
        return draw_feedback(p[0], key, user, 7, videos[0], 0, 0.0, play_us, outcome)[1]

    propensity = np.array([0.3, 0.1, 0.05, 0.2, 0.01, 0.15])
    skip, long, complete = (P[name][0] for name in ("skip_ratio", "long_ratio", "complete_ratio"))
    levels = np.array([skip, np.ones(6), long, long * complete])
    plays = ((3_000_000, 0), (10_000_000, 0), (20_000_000, LONG), (20_000_000, LONG | COMPLETE))
    for level, (play_us, outcome) in zip(levels, plays, strict=True):
        given = many(bits, P, KEY, video, play_us, outcome, propensity=propensity).astype(int)
        for kind in range(6):
            chance = propensity[kind] * level[kind] / np.dot([0.451, 0.196, 0.169, 0.184], levels[:, kind])
            yes = np.count_nonzero(given & (1 << kind))
            counts_follow(np.array([yes, len(given) - yes]), [chance, 1 - chance])
    seconds = many(browse, P, KEY, video, 0, 0) / 1e6
    law = stats.lognorm(s=P["browse_log_sd"][0], scale=math.exp(P["browse_log_mean"][0]))
    follows(seconds, law.cdf)


@pytest.mark.parametrize(("days", "log_mean"), [(30.0, -0.125), (None, 0.125)])
def test_a_window_holds_people_in_proportion_to_their_opens(days, log_mean):
    """How often people open the app is lognormal with mean one; in a window, where everybody opens once, with the
    weights of how often they do: a log-mean higher by the variance, .5 squared. What they saw before goes along."""
    people = scenario(population__users=20_000, sessions__activity_log_sd=0.5, population__past_impressions=10_000_000)
    world = build_world(people, edge=False, seed=3, window_us=HOUR_US, days=days is not None, log_rows=0)
    often = world.users["frequency"].astype(float)
    follows(np.log(often), stats.norm(log_mean, 0.5).cdf)
    past = np.minimum(often * 1e7, 1e8)
    np.testing.assert_allclose(world.users["past_impressions"], past, rtol=1e-6, atol=1)


def test_opens_of_days_start_in_the_midst_of_gaps():
    """Everybody starts closed, nobody opens before 0, and nobody is asleep for good."""
    world = run(scenario(population__users=2_000), days=1e-6).world
    opens = world.users["phase_end_us"]
    assert (world.users["phase"] >= CLOSED).all() and len(opens) == 2_000
