"""How well simulated people match a log, and links traces, number by number: the scoreboard of `nextone validate`.

The log keeps few of a person's impressions, so the simulation is thinned alike (`thinning.py`), and the
same functions (`facts.py`, `lags.py`, `groups.py`, `spectrum.py`) run on both. Beside each number of the log stands its
own sampling interval (`sampling.py`). Called by the command line.
"""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from nextone.experiments.fitting.links.facts import Compared, compare_network
from nextone.experiments.fitting.links.facts import rows as link_rows
from nextone.experiments.fitting.logs.user_log import UserLog, shipped_log
from nextone.experiments.fitting.scoreboard import Row, row
from nextone.sim.config import FEEDBACK, SESSION_IMPRESSIONS, SESSIONS_PER_DAY, Scenario
from nextone.sim.data import open_data
from nextone.sim.population import propensity_tables
from nextone.sim.scenario import SettingError
from nextone.sim.state import Array
from nextone.version import __version__

from .calibrate import split_randomised
from .facts import (
    CLASSES,
    HAZARD_S,
    LEVELS,
    MEAN_PLAY,
    PLAY_S,
    SPREADS,
    Sequences,
    facts,
    level_facts,
    sequence_facts,
    sequences,
    sum_up,
    video_facts,
)
from .groups import (
    ACTIVITY,
    ACTIVITY_CORRELATION,
    ACTIVITY_SPREAD,
    LIKE_AUTHORS,
    NEXT_AUTHOR,
    activity_facts,
    author_facts,
    author_likeness,
    author_likeness_sums,
    author_sums,
    people_sums,
)
from .lags import INTO, LASTING, OTHER_LESS_LASTING, REACTION, SAME_LESS_OTHER, SHOWN, lag_facts, sum_lags
from .missing import AUTHORS, NO_AUTHORS, NO_RANDOM, NO_REQUEST, NO_SESSION, Missing, add, lines, what_is_needed
from .play_distances import Distances
from .random_exposure import at_level, random_exposure
from .sampling import Measured, bootstrap, distance_floors, noise_floors, with_floors
from .spectrum import LARGEST, largest_factor
from .thinning import DAYS, Fortnight, dense_rows, pool_of, session_facts, simulate_fortnight, thin

PEOPLE = 5_000  # simulated by default: see docs/validation.md for what sampling error that leaves
TIMES = 8  # people of the log that each of them stands for, at most
MIN_IMPRESSIONS = 500  # simulated ones of the log's pool
TRIED = 400  # people on whom random videos are tried, at most
PROBE_SEED = 1  # added to the seed: people tried with random videos are not those of the fortnight
SKIP_S = 2  # P(play < 2 s) is a row of its own: `skip < 2 s`
SESSION_REQUESTS = 13.6  # Source: KuaiRand-27K, pages a session
# Source: tallies of the full KuaiRand-Pure log (Aylayan/KuaiRand_Pure): odds ratios .26 and .20, at the feed's level
RANDOM_VALID, RANDOM_LONG = 0.205, 0.098
PUBLISHED_SESSIONS = {
    "impressions a session": SESSION_IMPRESSIONS, "requests a session": SESSION_REQUESTS,
    "impressions a request": SESSION_IMPRESSIONS / SESSION_REQUESTS, "sessions a day": SESSIONS_PER_DAY,
}  # fmt: skip
HISTORY = 50  # videos of a list of the last ones shown, at most; Source: KuaiRand-Pure
AS_IT_IS = ", not adjusted to the level"
MEANS_ONLY = "sessions: published means of KuaiRand-27K; means only, no distribution is public"
PUBLISHED = "random videos: published tallies of the full KuaiRand-Pure log, as odds ratios at the main feed's level"
COUNTED = "rows marked = replay what the simulation was given, rows marked - are shown only; neither is counted"


class Within(NamedTuple):
    """A row's tolerance: the sum of both numbers, or two standard errors of the log if they are more."""

    absolute: float = 0.0
    relative: float = 0.0


INTERVAL = Within()  # the log's own 95 % interval
RELATIVE_2, RELATIVE_15 = Within(relative=0.02), Within(relative=0.15)
WANTED: dict[str, dict[str, Within]] = {
    "level, impression for impression": dict.fromkeys((*LEVELS, MEAN_PLAY), RELATIVE_2),
    "play time": {
        "play time: KS distance": Within(0.03),
        "play time: Wasserstein-1 / mean": Within(0.05),
        **{f"{name}: KS distance": Within(0.05) for name in CLASSES},
        **{f"P(play < {t} s)": Within(0.015) for t in PLAY_S if t != SKIP_S},
        **{f"hazard in second {t}": Within(0.012) for t in HAZARD_S},
        **{f"segments by length and {by} that fit": Within(0.1) for by in ("hour", "activity")},
    },
    "activity": {
        **dict.fromkeys(ACTIVITY, RELATIVE_2), ACTIVITY_CORRELATION: Within(0.02), ACTIVITY_SPREAD: Within(0.05),
    },
    "feedback": {
        **dict.fromkeys(FEEDBACK, INTERVAL),
        **{f"like given {what}": RELATIVE_15 for what in ("long view", "completion", "skip < 5 s")},
        **{f"profile given {what}": RELATIVE_15 for what in ("long view", "no long view")},
    },
    "spread": {
        **{f"spread between users: {name}": Within(0.04 if name == "like" else 0.02) for name in SPREADS},
        **{f"spread between videos: {name}": Within(0.02) for name in ("long view", "like")},
        LIKE_AUTHORS: Within(0.02),
        LARGEST: Within(0.005),
    },
    "interests and mood": {
        "tag entropy per user": Within(0.15),
        "next item same tag": Within(0.015),
        NEXT_AUTHOR: INTERVAL,
        "spread of long view by tag": Within(0.015),
        **dict.fromkeys((*SAME_LESS_OTHER, *OTHER_LESS_LASTING), Within(0.01)),
        LASTING: Within(0.03),
        **dict.fromkeys((*SHOWN, *INTO), Within(math.inf)),
    },
    "the cloud's reaction": dict.fromkeys(REACTION, Within(0.01)),
}
"""Section -> name of a fact -> tolerance. Assumed: the tolerances were chosen before the people were fitted."""
PLAY_SECTIONS = ("level, impression for impression", "play time")
SELF_CHECKS = ("impressions per request",)  # server.page_size is this very figure
FLOORS = 2.0  # noise floors within which rows of play time should lie


class Validation(NamedTuple):
    """The scoreboard, and what it was made of."""

    sections: dict[str, list[Row]]
    missing: Missing  # rows that could not be made, by what they need
    published: list[str]  # what the rows that are not the log's own are compared with
    measured: UserLog
    simulated: UserLog
    links: list[Compared]
    scenario: Scenario
    people: int
    seed: int

    @property
    def rows(self) -> list[Row]:
        """The rows of all sections."""
        return [each for rows in self.sections.values() for each in rows]

    @property
    def judged(self) -> list[Row]:
        """The rows that count."""
        return [each for each in self.rows if each.kind == "judged"]

    def notes(self) -> list[str]:
        """What a reader of the rows should know."""
        play = [each for title in PLAY_SECTIONS for each in self.sections[title] if math.isfinite(each.floors)]
        near = sum(each.floors <= FLOORS for each in play)
        floors = f"{near} of {len(play)} rows of play time within {FLOORS:g} noise floors of two halves of the log"
        return [*lines(self.missing), *self.published, COUNTED, floors]

    def about(self) -> dict[str, str | int]:
        """What was compared with what."""
        return {
            "log": self.measured.source,
            "impressions": len(self.measured.user),
            "users": self.people,
            "days": int(DAYS),
            "seed": self.seed,
            "version": __version__,
            "scenario": hashlib.sha256(self.scenario.model_dump_json().encode()).hexdigest()[:16],
        }


def validate(
    scenario: Scenario,
    log: UserLog | None = None,
    *,
    people: int = PEOPLE,
    seed: int = 0,
    kuairand: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Simulate a fortnight of `people` and compare it with the log (None: the shipped one).

    kuairand: whether the log's people are KuaiRand's, so that what is published about these holds for them (None: if it
    is the shipped log). progress(done, total) is called with the people done.

    Raises SettingError if there is too little to compare."""
    if log is None and scenario.catalogue.kind != "kuairand":
        raise SettingError(f"catalogue.kind={scenario.catalogue.kind} has no video of KuaiRand's pool; use kuairand")
    kuairand = log is None if kuairand is None else kuairand
    shown_at_random, measured = split_randomised(shipped_log() if log is None else log)
    pool = pool_of(scenario, measured)
    done = 0

    def more(people_done: int) -> None:
        nonlocal done
        done += people_done
        if progress:
            progress(done, people)

    fortnight = simulate_fortnight(scenario, people, seed, pool=pool, progress=more)
    if len(fortnight.person) < MIN_IMPRESSIONS:
        seen = f"{people} people saw {len(fortnight.person)} videos of the log's pool in {DAYS:g} days"
        raise SettingError(f"{seen}, must be >= {MIN_IMPRESSIONS} to compare; give more --users")
    tags, most = (histories(), HISTORY) if log is None else (of_log(measured), None)
    simulated, distances, found = facts_of_lives(fortnight, measured, tags, most, scenario, seed)
    known = measured_facts(measured, tags, distances)
    found[LARGEST] = largest_factor(as_many(simulated, measured.users), seed).ratio
    missing: Missing = {}
    sections: dict[str, list[Row]] = {}
    for title, wanted in WANTED.items():
        sections[title] = []
        for name, within in wanted.items():
            if name not in known or math.isnan(known[name].value):
                add(missing, what_is_needed(name, measured), [name])
            elif name in AUTHORS and simulated.author is None:
                add(missing, NO_AUTHORS, [name])
            else:
                sections[title].append(compare(name, known[name], found[name], within))
    published = [PUBLISHED, MEANS_ONLY] if kuairand else []
    at_random = {"random: valid play": RANDOM_VALID, "random: long view": RANDOM_LONG} if kuairand else {}
    sections["random against recommended"] = random_rows(
        scenario, min(people, TRIED), seed, known, at_random | shown_at_random, missing
    )
    means = PUBLISHED_SESSIONS if kuairand else {}
    sections["sessions"] = session_rows(fortnight, people, means | session_facts(measured), missing)
    links = compare_network(scenario)
    sections["links"] = [each._replace(kind="self-check") for compared in links for each in link_rows(compared)]
    return Validation(sections, missing, published, measured, simulated, links, scenario, people, seed)


def facts_of_lives(
    fortnight: Fortnight, measured: UserLog, tags: tuple[Array, Array, int], most: int | None, scenario: Scenario,
    seed: int,
) -> tuple[UserLog, Distances, dict[str, float]]:  # fmt: skip
    """(the simulated log, the distances of its play times from the measured ones, the facts of simulated people except
    `LARGEST`). tags, most: the sequences like which theirs are thinned."""
    log, row_of = thin(fortnight, len(measured.user) / measured.users, seed, TIMES)
    distances = Distances(measured, log, scenario.sessions.start_hour)
    found = facts(sum_up(log)) | distances.simulated() | activity_facts(people_sums(log))
    found |= level_facts(thin(fortnight, math.inf, seed)[0]) | lag_facts(sum_lags(dense_rows(fortnight, seed)[0]))
    found |= author_facts(author_sums(log)) | author_likeness(author_likeness_sums(log))
    found |= sequence_facts(simulated_sequences(fortnight, tags, seed, most))
    return log, distances, for_people_drawn(found, fortnight, row_of, scenario)


def measured_facts(log: UserLog, tags: tuple[Array, Array, int], distances: Distances) -> dict[str, Measured]:
    """All facts of the log, with intervals and noise floors. tags: (user, tag, users) of the sequences."""
    sums, sequence, lags, people = sum_up(log), sequences(*tags), sum_lags(log), people_sums(log)
    authors, likeness = author_sums(log), author_likeness_sums(log)

    def of_people(w: Array) -> dict[str, float]:
        return facts(sums, w) | lag_facts(lags, w) | activity_facts(people, w) | author_facts(authors, w)

    known = with_floors(bootstrap(of_people, log.users), noise_floors(of_people, log.users))
    floor_of_videos = {name: of.floor for name, of in known.items()}
    rows, long, like = (counts.sum(axis=0) for counts in sums.by_video)
    of_videos = bootstrap(lambda w: video_facts(rows, long, like, w), log.videos)
    known |= with_floors(of_videos, floor_of_videos)
    if len(likeness.videos):
        known |= bootstrap(lambda w: author_likeness(likeness, w), len(likeness.videos))

    def of_sequences(w: Array) -> dict[str, float]:
        return sequence_facts(sequence, w)

    known |= with_floors(bootstrap(of_sequences, tags[2]), noise_floors(of_sequences, tags[2]))
    floors = distance_floors(distances.resampled, log.users)
    floors = {name: floor for name, floor in floors.items() if "segments" not in name}  # a share that fits, no distance
    known |= with_floors(bootstrap(distances.resampled, log.users), floors)
    factor = largest_factor(log)
    return known | {LARGEST: Measured(factor.ratio, factor.low, factor.high, factor.spread)}


def as_many(log: UserLog, users: int) -> UserLog:
    """About `users` of the log's users, evenly spread: a test finds more the larger the log is."""
    step = max(log.users // users, 1)
    return log.select(log.user % step == 0)


def compare(name: str, known: Measured, simulated: float, within: Within) -> Row:
    """One line of the scoreboard. An infinite tolerance asks for nothing."""
    tolerance = within.absolute + within.relative * abs(known.value)
    if within == INTERVAL:
        tolerance = known.high - known.value if simulated > known.value else known.value - known.low
    else:
        tolerance = max(tolerance, 2 * known.error)
    floors = abs(simulated - known.value) / known.floor if known.floor > 0 else math.nan
    found = row(name, known.value, known.low, known.high, simulated, tolerance)
    return found._replace(floors=floors, kind="judged" if math.isfinite(tolerance) else "shown")


def histories() -> tuple[Array, Array, int]:
    """(user, tag, users): what KuaiRand's users were shown before the log, at most 50 each, in order."""
    with open_data("kuairand/histories.parquet") as file:
        lists = pq.read_table(file)["tags"].combine_chunks()
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()), lists.flatten().to_numpy(), len(lists)


def of_log(log: UserLog) -> tuple[Array, Array, int]:
    """`histories` from a log itself."""
    tag = np.full(len(log.user), -1, np.int16) if log.tag is None else log.tag
    return log.user, tag, log.users


def simulated_sequences(
    fortnight: Fortnight, tags: tuple[Array, Array, int], seed: int, most: int | None
) -> Sequences:
    """Sequences of as many items, on average, as people have in `tags`, the last `most` of each."""
    thinned, _ = thin(fortnight, len(tags[0]) / tags[2], seed + PROBE_SEED, most=most)
    return sequences(*of_log(thinned))


def for_people_drawn(
    found: dict[str, float], fortnight: Fortnight, row_of: Array, scenario: Scenario
) -> dict[str, float]:
    """Rates of feedback as they would be if the simulated people gave as much on average as people do: a few who always
    give feedback make up most of it, so some thousand people determine rates only to a tenth (a ratio estimator)."""
    drawn = fortnight.propensity[fortnight.person[row_of]].mean(axis=0)
    factor = np.divide(expected_propensity(scenario), drawn, out=np.ones(len(drawn)), where=drawn > 0)
    of_kind = dict(zip(FEEDBACK, factor, strict=True))
    return {name: float(value * of_kind.get(name.split(" given ")[0], 1.0)) for name, value in found.items()}


def expected_propensity(scenario: Scenario) -> Array:
    """The mean, over all people that could be drawn, of their chance to give each kind of feedback, (6,)."""
    tables = propensity_tables(scenario)
    return np.asarray(np.trapezoid(tables, axis=1) / (tables.shape[1] - 1))


def random_rows(
    scenario: Scenario, people: int, seed: int, known: dict[str, Measured], at_random: dict[str, float],
    missing: Missing,
) -> list[Row]:  # fmt: skip
    """Rows on random videos against recommended ones: as they are, and at the log's level of the recommended ones."""
    names = ("valid play", "long view")
    if not at_random:
        add(missing, NO_RANDOM, [f"random video: {name}{how}" for how in ("", AS_IT_IS) for name in names])
        return []
    found = random_exposure(scenario, seed + PROBE_SEED, people)
    shares = dict(zip(names, ((found.random_valid, found.valid), (found.random_long, found.long)), strict=True))
    rows = []
    for name, (random, recommended) in shares.items():
        target = at_random[f"random: {name}"]
        level = at_level(random, recommended, known[name].value)
        rows.append(row(f"random video: {name}", target, np.nan, np.nan, level, 0.02))
        rows.append(row(f"random video: {name}{AS_IT_IS}", target, np.nan, np.nan, random, 0.02))
    return rows


def session_rows(fortnight: Fortnight, people: int, means: dict[str, float], missing: Missing) -> list[Row]:
    """Rows on the means of sessions, the log's own or published ones. No distribution is public, so they have no
    intervals."""
    impressions, requests = fortnight.session_impressions.mean(), fortnight.session_requests.mean()
    simulated = {
        "impressions per session": impressions,
        "requests per session": requests,
        "impressions per request": impressions / requests,
        "sessions per user and day": len(fortnight.session_impressions) / people / DAYS,
    }
    rows = []
    for name, x in simulated.items():
        if name.replace(" per ", " a ").replace("user and ", "") not in means:
            add(missing, NO_REQUEST if "request" in name else NO_SESSION, [name])
            continue
        target = means[name.replace(" per ", " a ").replace("user and ", "")]
        found = row(name, target, np.nan, np.nan, float(x), 0.1 * target)
        rows.append(found._replace(kind="self-check") if name in SELF_CHECKS else found)
    return rows
