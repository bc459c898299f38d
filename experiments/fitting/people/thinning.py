"""A fortnight of simulated people as a measured log would show it: few of their impressions, stamped as delivered.

KuaiRand keeps what people saw of 7,583 videos, about 9 of a person's 3,900 impressions in two weeks. So everybody lives
14 days under cloud_only, impressions of the catalogue's first videos (the real ones) are kept, and of these the same
share of everybody's: who sees twice as much has twice the rows, as in a log. Called by `calibrate.py` and
`validate.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import poisson

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.catalogue import REAL_VIDEOS, make_catalogue, quality_of_tags
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.population import EDGE, relative_seconds
from nextone.sim.records import Records
from nextone.sim.scenario import with_settings
from nextone.sim.state import CUT, SERVED, Array
from nextone.sim.watching import VALID_US
from nextone.sim.world import build_world

from .groups import ACTIVITY_CORRELATION, ACTIVITY_ROWS, ACTIVITY_SPREAD

DAYS = 14.0  # Source: KuaiRand-Pure, 25 April to 8 May 2022
BLOCK = 250  # people simulated at once: bounds memory
MOST_POOL = 20_000  # of a synthetic catalogue; more only cost memory
MANY = 100  # rows of a person, in which luck blurs little
DENSE_ROWS = 40  # of each simulated person, on average
FEWEST = 0.1  # rows of a person, on average over everybody: a log of one row each would leave nobody


class Fortnight(NamedTuple):
    """Impressions of pool videos, sorted by person and time (n,), and what whole sessions were like."""

    person: Array
    video: Array
    duration_ms: Array
    tag: Array
    author: Array
    appeal: Array
    delivered_ms: Array
    play_ms: Array
    feedback: Array  # bits
    latent: Array  # (n, 6): person, mood, quality with length, taste and intent, match less fatigue, tag; logit
    session: Array  # (n,): number of the session in the person's life
    session_impressions: Array  # (S,) of sessions that ended by themselves
    session_requests: Array  # (S,)
    session_s: Array  # (S,) length
    open_day: Array  # (S,) day of the open
    person_of_session: Array
    propensity: Array  # (people, 6): chance to give each kind of feedback
    frequency: Array  # (people,): how often each opens the app, as a multiple of the average


def simulate_fortnight(
    scenario: Scenario, people: int, seed: int, days: float = DAYS, pool: int = REAL_VIDEOS,
    progress: Callable[[int], None] | None = None,
) -> Fortnight:  # fmt: skip
    """Let `people` live that many days under cloud_only with ample servers, and keep the first `pool` videos."""
    blocks = []
    for replication, first in enumerate(range(0, people, BLOCK)):
        size = min(BLOCK, people - first)
        world = with_settings(scenario, [f"population.users={size}"])
        blocks.append(_one_block(world, first, seed, replication, days, pool))
        if progress:
            progress(size)
    return Fortnight(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def pool_of(scenario: Scenario, log: UserLog) -> int:
    """How many of the catalogue's first videos stand for those of the log: the real ones, or all if it has fewer."""
    if scenario.catalogue.kind == "kuairand":
        return REAL_VIDEOS
    return min(log.videos, scenario.catalogue.videos, MOST_POOL)


def session_facts(log: UserLog) -> dict[str, float]:
    """Means of sessions of a log that has them; every impression of a session must be in it."""
    if log.session is None or not (log.session >= 0).any():
        return {}
    sessions = len(np.unique(log.session[log.session >= 0]))
    days = max(float(log.time_ms.max() - log.time_ms.min()) / 86_400e3, 1.0)
    impressions = float((log.session >= 0).sum())
    found = {"impressions a session": impressions / sessions, "sessions a day": sessions / log.users / days}
    if log.request is not None and (log.request >= 0).any():
        requests = len(np.unique(log.request[(log.request >= 0) & (log.session >= 0)]))
        found |= {"requests a session": requests / sessions, "impressions a request": impressions / requests}
    return found


def activity(fortnight: Fortnight) -> tuple[Array, Array]:
    """(rows of each person in the fortnight, their share of valid plays: 0 for people without any), (people,).

    How often people open the app is drawn independently of what they are like. What the two have in common among these
    people, by chance, is taken out of the rows."""
    people = len(fortnight.frequency)
    valid_ms = np.minimum(VALID_US // 1000, fortnight.duration_ms)
    rows = np.bincount(fortnight.person, minlength=people).astype(float)
    share = np.bincount(fortnight.person, fortnight.play_ms >= valid_ms, minlength=people) / np.maximum(rows, 1)
    often, alike = np.log(fortnight.frequency), likes_of(fortnight)
    rows *= np.exp(-alike * (alike @ (often - often.mean())) / max(alike @ alike, 1e-9))
    return rows, share


def likes_of(fortnight: Fortnight) -> Array:
    """The lasting effect of each person on staying, (people,): 0 for people without rows."""
    logit = np.zeros(len(fortnight.propensity))
    logit[fortnight.person] = fortnight.latent[:, 0]
    return logit


def thinned(rows: Array, share: Array, mean: float) -> tuple[float, float]:
    """(correlation over people of the logarithm of their rows with their share of valid plays, standard deviation of
    that logarithm), when everybody keeps the same share of rows, such that people with any left have `mean` on average.
    It is an expectation: nothing is drawn.

    rows, share: of each person before. So few rows blur both facts: a log must be compared with a simulation that is
    thinned in the same way."""

    def excess(log_part: float) -> float:
        kept = rows * np.exp(log_part)
        return float(kept.sum() / -np.expm1(-kept).sum()) - mean

    rows, share = rows[rows > 0], share[rows > 0]
    if mean > MANY:
        return float(np.corrcoef(np.log(rows), share)[0, 1]), float(np.std(np.log(rows)))
    kept = rows * np.exp(brentq(excess, -30.0, 30.0))
    count = np.arange(1, int(kept.max() + 8 * np.sqrt(kept.max())) + 9)
    chance = poisson.pmf(count, kept[:, None])
    chance /= chance.sum()
    of_count, log_count = chance.sum(axis=0), np.log(count)
    mean_log, mean_share = of_count @ log_count, chance.sum(axis=1) @ share
    drawn = np.maximum(rows[:, None] - count, 0) / np.maximum(rows[:, None] - 1, 1) / count  # without replacement
    variance = np.sum(chance * ((share - mean_share) ** 2 + (share * (1 - share)) * drawn.T).T)
    common = (share - mean_share) @ chance @ (log_count - mean_log)
    spread = float(np.sqrt(of_count @ (log_count - mean_log) ** 2))
    return float(common / np.sqrt(variance)) / spread, spread


def session_settings(known: dict[str, float], lived: Fortnight, scenario: Scenario) -> dict[str, float]:
    """Settings of leaving and coming back with which sessions have the stated means, people differ in how much they
    see, and people who see much watch as the log says."""
    found: dict[str, float] = {}
    s = scenario.sessions
    more = np.ones(len(lived.propensity))
    if np.isfinite(known.get(ACTIVITY_CORRELATION, np.nan)) and scenario.population.person_sd > 0:
        found, more = activity_settings(known, lived, scenario)
    if "impressions a session" in known:
        ratio = float(np.mean(lived.session_impressions * more[lived.person_of_session]))
        found["sessions.leave_per_min"] = s.leave_per_min * ratio / known["impressions a session"]
    if "sessions a day" in known:
        people, days = int(lived.person_of_session.max()) + 1, float(lived.open_day.max()) + 1
        ratio = len(lived.open_day) / people / days / known["sessions a day"]
        found["sessions.gap_hours"] = max(s.gap_hours * ratio, 0.51)
    return found


def activity_settings(
    known: dict[str, float], lived: Fortnight, scenario: Scenario
) -> tuple[dict[str, float], Array]:  # fmt: skip
    """(the spread of how often people open the app and the power of their pace, with which rows spread over people and
    go with valid plays as in the log; how many times as many impressions a session of each person then has, (people,)).

    Somebody who opens the app twice as often sees twice as much; somebody who leaves twice as fast sees half as much.
    So the counts of people under other settings follow from those that were simulated."""
    s = scenario.sessions
    seconds = relative_seconds(scenario, make_catalogue(scenario).videos["duration_us"])
    z = likes_of(lived) / scenario.population.person_sd
    slower = np.interp(z, np.linspace(-EDGE, EDGE, len(seconds)), np.log(seconds))
    often = np.log(lived.frequency)
    rows, valid = activity(lived)

    def beyond(stretch: float, power: float) -> tuple[float, float]:
        change = np.exp((power - s.leave_pace) * slower + (stretch - 1) * (often - often.mean()))
        correlation, spread = thinned(rows * change, valid, known[ACTIVITY_ROWS])
        return correlation - known[ACTIVITY_CORRELATION], spread - known[ACTIVITY_SPREAD]

    stretch = _root(lambda x: beyond(x, s.leave_pace)[1], 0.2, 3.0) if s.activity_log_sd > 0 else 1.0
    power = _root(lambda x: beyond(stretch, x)[0], 0.0, 3.0)
    found = {"sessions.activity_log_sd": min(stretch * s.activity_log_sd, 2.0), "sessions.leave_pace": power}
    return found, np.exp((power - s.leave_pace) * slower)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, or the end at which it comes nearest."""
    if rising(low) >= 0:
        return low
    return high if rising(high) <= 0 else float(brentq(rising, low, high, xtol=1e-3))


def _one_block(scenario: Scenario, first: int, seed: int, replication: int, days: float, pool: int) -> Fortnight:
    window_us = round(days * 86_400e6)
    world = build_world(
        scenario, edge=False, seed=seed, replication=replication, window_us=window_us, days=True,
        parts=log_parts(), queue_waits=np.zeros(1, np.int64),
    )  # fmt: skip
    records = run_batch(world, None, end_us=window_us, days=True)
    shown = records.impressions
    kept = shown[(shown["video"] < pool) & (shown["outcome"] & CUT == 0)]
    person, quality = world.users["person"][kept["user"]], world.videos["quality"][kept["video"]]
    of_tags = quality_of_tags(scenario.catalogue)[kept["video"]]
    mood, content = kept["mood"], world.content[kept["video"]]
    drawn = (world.mind["taste"][kept["user"]] * content).sum(axis=1) + kept["intent"]
    match = kept["stay_logit"] - scenario.watching.stay - person - mood - quality - drawn
    landed = records.requests[records.requests["outcome"] == SERVED]
    delivered = landed["ended_us"][_row_of(landed, ("user", "request"), kept)]
    ended = records.sessions[records.sessions["cut"] == 0]
    of_video = world.videos[kept["video"]]
    return Fortnight(
        kept["user"] + first, kept["video"], of_video["duration_us"] // 1000, of_video["tag"], of_video["author"],
        of_video["appeal"],
        delivered // 1000, kept["play_us"] // 1000, kept["feedback"],
        np.stack([person, mood, quality - of_tags, drawn, match, of_tags], axis=1), kept["session"],
        ended["impressions"],
        _requests_of(records)[records.sessions["cut"] == 0], (ended["close_us"] - ended["open_us"]) / 1e6,
        ended["open_us"] // 86_400_000_000, ended["user"] + first,
        world.users["propensity"], world.users["frequency"],
    )  # fmt: skip


def _row_of(table: Array, names: tuple[str, str], wanted: Array) -> Array:
    """Which row of `table`, sorted by two whole numbers, each row of `wanted` belongs to."""
    have, want = ((t[names[0]].astype(np.int64) << 32) + t[names[1]] for t in (table, wanted))
    row = np.searchsorted(have, want)
    assert (have[row] == want).all(), names
    return np.asarray(row)


def _requests_of(records: Records) -> Array:
    """Pages delivered in each session."""
    landed = records.requests[records.requests["outcome"] == SERVED]
    return np.bincount(_row_of(records.sessions, ("user", "session"), landed), minlength=len(records.sessions))


def thin(
    fortnight: Fortnight, mean_rows: float, seed: int, times: int = 1, most: int | None = None
) -> tuple[UserLog, Array]:
    """(the log, the rows of the fortnight in it). Of everybody the same share of impressions is kept, each by an
    independent draw, such that people who keep any have `mean_rows` on average. People who keep none are not in the
    log.

    times: each person stands for up to so many people of the log, with other impressions each. most: only the last so
    many rows of each person, as in a list of the last videos shown. Where people have too few impressions, all are
    kept. Raises ValueError if nobody has an impression."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0x7468696E]))
    if len(fortnight.person) == 0:
        raise ValueError("nobody saw a video of the log's pool; simulate more people or days")
    share = share_kept(np.bincount(fortnight.person), mean_rows, most)
    copy = np.floor(rng.random(len(fortnight.person)) / share)  # which of the people one stands for keeps it
    row = np.flatnonzero(copy < min(times, int(1 / share)))
    one = fortnight.person[row].astype(np.int64) * times + copy[row].astype(np.int64)
    code = np.unique(one, return_inverse=True)[1]
    order = np.lexsort([row, fortnight.delivered_ms[row], code])
    row, code = row[order], code[order]
    if most is not None:
        to_come = np.searchsorted(code, code, side="right") - np.arange(len(code))  # this row among them
        row, code = row[to_come <= most], code[to_come <= most]
    shown, video = np.unique(fortnight.video[row], return_inverse=True)
    feedback = fortnight.feedback[row]
    log = UserLog(
        source="simulated", rows_read=len(row), findings=(), users=int(code.max()) + 1, videos=len(shown),
        user=code.astype(np.int32), video=video.astype(np.int32), time_ms=fortnight.delivered_ms[row],
        duration_ms=fortnight.duration_ms[row], play_ms=fortnight.play_ms[row],
        feedback={kind: feedback & (1 << k) != 0 for k, kind in enumerate(FEEDBACK)},
        tag=fortnight.tag[row].astype(np.int16),
        author=fortnight.author[row],
    )  # fmt: skip
    return log, row


def dense_rows(fortnight: Fortnight, seed: int) -> tuple[UserLog, Array]:
    """(the log, the rows of the fortnight in it): many rows of few people, where only expectations matter.

    A log keeps some nine rows of a person, so that few pairs of rows lie within the hour. Simulated people can give
    more: pairs grow with the square of the rows. Everybody still gives the same share of what they saw, so the same
    people count as much as in the log, and expectations do not change."""
    return thin(fortnight, DENSE_ROWS, seed)


def share_kept(impressions: Array, mean_rows: float, most: int | None = None) -> float:
    """The share of everybody's impressions (people,) that leaves `mean_rows`, at most `most` each, to those with
    any."""
    seen = impressions[impressions > 0].astype(float)

    def surplus(share: float) -> float:
        kept = share * seen if most is None else np.minimum(share * seen, most)
        return float(kept.sum() / -np.expm1(seen * np.log1p(-share)).sum() - mean_rows)

    low, high = FEWEST / seen.mean(), 1 - 1e-9
    if low >= high or surplus(high) <= 0:
        return high
    return low if surplus(low) >= 0 else float(brentq(surplus, low, high))
