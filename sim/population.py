"""The population: the lasting traits of people and phones. Step 1 of the journey; made once per replication."""

import math
from functools import lru_cache

import numpy as np
from numba import get_num_threads
from scipy.special import betaincinv

from nextone.sim.engine.chance import even_quantile, normal2, normal_quantile, uniform, uniform2
from nextone.sim.engine.kernel import compiled, entry, inlined, kernel
from nextone.sim.engine.luck import (
    CLOUD_AND_PAST,
    DECODER,
    FIRST_GAP,
    LIFE,
    MODEL_HELD,
    PERSON,
    PERSON_AND_TASTE,
    PROPENSITY,
    TIER_AND_LINK,
)
from nextone.sim.engine.threads import in_blocks

from .catalogue import REAL_VIDEOS
from .cloud.belief import first_belief
from .config import FEEDBACK, NEVER_US, PARAMS_DTYPE, Scenario, Watching
from .interest import draw_taste
from .session import first_open_us, next_open_us
from .state import (
    BUILT_IN,
    CLOSED,
    CURRENT,
    DEAD,
    IDLE,
    MISSING,
    NOBODY,
    PREVIOUS,
    UNRANKED,
    Array,
    Person,
    World,
    blank,
)
from .watching import length_logit, sigmoid, watch_time_us

QUANTILES = 2049
NODES, EDGE = 33, 4.0  # of the table over people: evenly spaced, up to so many standard deviations from the average
MEETINGS = 2048  # of a random video that each node's seconds are the mean of: within 4 % of the true mean
LENGTHS = 512  # that stand for those of all videos
FEWEST = 1024  # people worth a thread: one takes 1 to 2 us, to hand over and wait some 100 us


def propensity_tables(scenario: Scenario) -> Array:
    """`propensity_table` of each kind of feedback, (6, QUANTILES)."""
    rates = (getattr(scenario.feedback, kind) for kind in FEEDBACK)
    return np.stack([propensity_table(rate, scenario.feedback.user_icc) for rate in rates])


@lru_cache(maxsize=64)
def propensity_table(rate: float, icc: float) -> Array:
    """Quantiles of people's chance to give one kind of feedback, (QUANTILES,), at evenly spaced probabilities.

    Beta with the stated mean and intra-class correlation: alpha + beta = 1 / icc - 1.
    Source: KuaiRand-Pure, likes: beta(.078, 4.06), most never like, a few like a lot.
    """
    if not 0.0 < rate < 1.0:
        return np.full(QUANTILES, float(rate))
    weight = 1.0 / icc - 1.0
    probability = np.linspace(0.0, 1.0, QUANTILES)
    table = betaincinv(rate * weight, (1.0 - rate) * weight, probability)
    return np.asarray(table * (rate / np.trapezoid(table, probability)))  # the mean is exact, however few give it


def pace_table(scenario: Scenario, durations_us: Array) -> Array:
    """Each person's lasting rate of leaving per minute as a multiple of the average person's, (NODES,), over people
    from -EDGE to EDGE standard deviations of `user.person`. Nothing is drawn.

    Assumed: who is quick with every video leaves sooner by the clock, so that how many impressions people have hardly
    depends on how they watch, as in KuaiRand-Pure. At `sessions.leave_pace` 1 a session of random videos would be about
    as many of them for everybody. It is lasting, so within a person time still ends sessions, and no policy moves it.
    """
    return np.asarray((1.0 / relative_seconds(scenario, durations_us)) ** scenario.sessions.leave_pace)


def relative_seconds(scenario: Scenario, durations_us: Array) -> Array:
    """What an impression of a random video takes a person, as a multiple of the mean over people, (NODES,)."""
    s = scenario
    spread = math.hypot(
        s.interests.mood_sd, s.interests.intent_sd, s.population.match_sd, s.population.taste_sd,
        s.catalogue.quality_sd, s.catalogue.tag_quality,
    )  # fmt: skip
    browsing_s = s.feedback.browse * math.exp(s.feedback.browse_log_mean + 0.5 * s.feedback.browse_log_sd**2)
    lengths = np.sort(durations_us[:REAL_VIDEOS])  # of the pool that the facts are about
    lengths = lengths[np.linspace(0, len(lengths) - 1, LENGTHS).astype(np.int64)]
    numbers = s.watching, s.population.person_sd, spread, s.player.swipe_ms / 1e3 + browsing_s
    return _relative_seconds(*numbers, tuple(lengths.tolist()))


@lru_cache(maxsize=8)
def _relative_seconds(
    watching: Watching, person_sd: float, spread: float, other_s: float, lengths: tuple[int, ...]
) -> Array:
    record = blank(1, PARAMS_DTYPE)
    record[:] = Scenario(watching=watching).params()
    z = np.linspace(-EDGE, EDGE, NODES)
    seconds: Array = seconds_watched(record, person_sd * z, spread, np.array(lengths)) + other_s
    seconds /= np.average(seconds, weights=np.exp(-0.5 * z * z))
    seconds.setflags(write=False)
    return seconds


@entry
def seconds_watched(params, people, spread, lengths):
    """How long people (n,), by their lasting logit, watch a random video on average, s. spread: sd of all else, logit.

    Over an even sequence in five dimensions (powers of the root of x^6 = x + 1), the same for everybody: so the mean
    rises with the person as each watch time does.
    Source: Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018)."""
    p, stays, leaves_early = params[0], np.float64(0.0), np.float64(1.0)
    steps = 1.1347241384015194 ** -np.arange(1.0, 6.0)
    seconds = np.zeros(len(people))
    for n in range(MEETINGS):
        u = (0.5 + n * steps) % 1.0
        length_us = lengths[np.int64(u[0] * len(lengths))]
        other = p.stay + spread * normal_quantile(u[1]) + length_logit(p, length_us)
        z_time, z_dead, z_end = normal_quantile(u[2]), np.float64(0.0), normal_quantile(u[4])
        for k in range(len(people)):
            who, logit = people[k], people[k] + other
            long_us = watch_time_us(p, logit, who, length_us, stays, z_time, z_dead, u[3], z_end)
            short_us = watch_time_us(p, logit, who, length_us, leaves_early, z_time, z_dead, u[3], z_end)
            seconds[k] += (short_us + sigmoid(logit) * (long_us - short_us)) / 1e6 / MEETINGS
    return seconds


@inlined
def frequency_of(p, z, days):
    """How often a person opens the app, as a multiple of the average person's: lognormal with mean one.

    In a window everybody opens the app once, so its people are drawn in proportion to their opens: somebody who opens
    it twice as often is twice as likely to be among them. That moves a lognormal's log-mean by its variance."""
    half_variance = 0.5 * p.activity_log_sd * p.activity_log_sd
    return np.exp(p.activity_log_sd * z + (-half_variance if days else half_variance))


@kernel
def share_index(shares, u):
    """Which of the shares (not normalised) a uniform falls into."""
    total = 0.0
    for x in shares:
        total += x
    rest = u * total
    for k in range(len(shares)):
        rest -= shares[k]
        if rest < 0.0:
            return k
    k = len(shares) - 1
    while k > 0 and shares[k] == 0.0:  # rounding: the last class that anybody has
        k -= 1
    return k


@kernel
def draw_model(p, key, user):
    """Which version of the model the phone holds, and what is to be downloaded of the current one."""
    user.model_held, user.model_left = BUILT_IN, 0
    if p.edge and p.model_bytes > 0:
        u = uniform(key, PERSON, user.user, MODEL_HELD, 0)
        user.model_held = MISSING if u < p.no_model else PREVIOUS if u < p.no_model + p.old_model else CURRENT
        user.model_left = 0 if user.model_held == CURRENT else p.model_bytes
    user.model = user.model_sent = user.model_held


@kernel
def draw_person(p, key, user, mind, belief, propensities, pace, activity, window_us, days):
    """One person and phone. days: opens by return gaps from a stationary start, otherwise once within the window."""
    i = user.user
    z_person, z_taste = normal2(key, PERSON, i, PERSON_AND_TASTE, 0)
    z_cloud, z_past = normal2(key, PERSON, i, CLOUD_AND_PAST, 0)
    u_tier, u_link = uniform2(key, PERSON, i, TIER_AND_LINK, 0)
    user.person = np.float32(p.person_sd * z_person)
    rho = p.person_correlation
    user.cloud_person = np.float32(p.person_sd * rho * (rho * z_person + np.sqrt(1.0 - rho * rho) * z_cloud))
    user.taste_sd = np.float32(p.taste_sd * np.exp(p.taste_spread * z_taste))
    user.tier = share_index(p.phone_shares, u_tier)
    user.link = share_index(p.network_shares, u_link)
    user.software_decoder = uniform(key, PERSON, i, DECODER, 0) < p.software_decoder
    draw_model(p, key, user)
    user.frequency = np.float32(frequency_of(p, z_past, days))
    user.pace = np.float32(even_quantile(pace, min(max(z_person / EDGE, -1.0), 1.0) * 0.5 + 0.5))
    user.past_impressions = np.int32(min(p.past_impressions * user.frequency, 1e8))
    for k in range(len(user.propensity)):
        u, v = uniform2(key, PERSON, i, PROPENSITY + k, 0)
        chance = even_quantile(propensities[k], u)
        user.propensity[k] = chance
        mean = chance * user.past_impressions  # given before: about Poisson, by a normal with continuity
        user.past[k] = np.int32(max(0.0, np.floor(mean + np.sqrt(mean) * normal_quantile(v) + 0.5)))
    draw_taste(p, key, user, mind.taste, belief.taste)
    first_belief(p, belief)
    user.phase = CLOSED
    user.impression = -1
    user.impressions_before = -1
    user.fetching = NOBODY
    user.preload = NOBODY
    user.request_state = IDLE
    user.ttl_at_us = NEVER_US
    user.outage_start_us = NEVER_US
    user.outage_end_us = NEVER_US
    if days:  # the day starts in the midst of everybody's gaps: one gap from a random time before
        user.opened_us = -np.int64(uniform(key, LIFE, i, 0, FIRST_GAP) * p.gap_hours / user.frequency * 3.6e9)
        user.phase_end_us = max(next_open_us(p, key, user, activity), 0)
        user.opened_us = 0
    else:
        user.phase_end_us = first_open_us(p, key, user, activity, window_us)


@kernel
def new_person(p, key, user, screen, pool, mind, belief, propensities, pace, activity, window_us, days):
    """A person who has not opened the app yet, in zeroed rows but for the person's number; keyed."""
    screen.video = -1
    for k in range(len(pool)):
        pool[k].rank = DEAD
        pool[k].order = UNRANKED
        pool[k].next_order = UNRANKED
    draw_person(p, key, user, mind, belief, propensities, pace, activity, window_us, days)


def draw_people(w: World, window_us: int, days: bool) -> None:
    """Everybody of a world, in threads, into zeroed rows: each person is a function of their key and number alone."""
    n = len(w.users)

    def draw(start: int, stop: int, part: int) -> None:
        draw_rows(w, start, stop, window_us, days)

    in_blocks(draw, n, min(get_num_threads(), n // FEWEST))


@compiled(nogil=True)
def draw_rows(w, start, stop, window_us, days):
    """The people in rows start to stop of a world."""
    for i in range(start, stop):
        p = w.params[w.arms[i, w.arms.shape[1] - 1]]  # the phone holds the model of the arm that it ends in
        new_person(
            p, w.key[i], w.users[i], w.screen[i], w.pool[i], w.mind[i], w.belief[i], w.propensities, w.pace, w.activity,
            window_us, days,
        )  # fmt: skip


@kernel
def replace_person(w, row_bytes, i, person, window_us):
    """Put another person, keyed by `w.key[i]`, into row i; nothing of the last one is left. row_bytes: of
    `row_bytes(w)`."""
    for rows in row_bytes:
        rows[i, :] = 0
    w.users[i].user = person
    p, key, user, screen, pool = w.params[0], w.key[i], w.users[i], w.screen[i], w.pool[i]
    mind, belief = w.mind[i], w.belief[i]
    new_person(p, key, user, screen, pool, mind, belief, w.propensities, w.pace, w.activity, window_us, np.bool_(False))


def person_rows(world: World) -> tuple[Array, ...]:
    """The arrays of the world that have a row per person, in the order of `Person`."""
    return tuple(getattr(world, name.replace("user", "users")) for name in Person._fields)


def row_bytes(world: World) -> tuple[Array, ...]:
    """The memory of these arrays as bytes: one uint8 array (N, size) for each, in the order of `person_rows`."""
    rows = (np.asarray(array).view(np.ndarray) for array in person_rows(world) if array.size)
    return tuple(array.reshape(len(array), -1).view(np.uint8) for array in rows)
