"""How well simulated people match a log, and links traces, number by number: the scoreboard of `nextone validate`.

The log keeps few of a person's impressions, so the simulation is thinned alike (`thinning.py`), and the
same functions (`facts.py`) run on both. Beside each number of the log stands its own sampling interval: a
bootstrap over people. Called by the command line.
"""

import hashlib
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

from .facts import (
    CLASSES,
    HAZARD_S,
    LAGS,
    PLAY_S,
    SPREADS,
    Sequences,
    facts,
    sequence_facts,
    sequences,
    sum_up,
    video_facts,
)
from .play_distances import Distances
from .random_exposure import at_level, random_exposure
from .thinning import DAYS, Fortnight, pool_of, session_facts, simulate_fortnight, thin

PEOPLE = 5_000  # simulated by default: see docs/validation.md for what sampling error that leaves
TIMES = 8  # people of the log that each of them stands for, at most
MIN_IMPRESSIONS = 500  # simulated ones of the log's pool
BOOTSTRAPS = 200
TRIED = 400  # people on whom random videos are tried, at most
PROBE_SEED = 1  # added to the seed: people tried with random videos are not those of the fortnight
SESSION_REQUESTS = 13.6  # Source: KuaiRand-27K, pages a session
# Source: tallies of the full KuaiRand-Pure log (Aylayan/KuaiRand_Pure): odds ratios .26 and .20, at the feed's level
RANDOM_VALID, RANDOM_LONG = 0.205, 0.098
MEANS_ONLY = "sessions: published means of KuaiRand-27K; means only, no distribution is public"
PUBLISHED = "random videos: published tallies of the full KuaiRand-Pure log, as odds ratios at the main feed's level"


class Within(NamedTuple):
    """The table's tolerance: the sum of both; two standard errors of the log if they are more."""

    absolute: float = 0.0
    relative: float = 0.0


INTERVAL = Within()  # the log's own 95 % interval
RELATIVE_2, RELATIVE_15 = Within(relative=0.02), Within(relative=0.15)
WANTED: dict[str, dict[str, Within]] = {
    "play time": {
        "play time: KS distance": Within(0.03),
        "play time: Wasserstein-1 / mean": Within(0.05),
        **{f"{name}: KS distance": Within(0.05) for name in CLASSES},
        **{f"P(play < {t} s)": Within(0.015) for t in PLAY_S},
        **{f"hazard in second {t}": Within(0.012) for t in HAZARD_S},
        **dict.fromkeys(("valid play", "long view", "complete"), RELATIVE_2),
        **{f"segments by length and {by} that fit": Within(0.1) for by in ("hour", "activity")},
    },
    "feedback": {
        **dict.fromkeys(FEEDBACK, INTERVAL),
        **{f"like given {what}": RELATIVE_15 for what in ("long view", "completion", "skip < 5 s")},
        **{f"profile given {what}": RELATIVE_15 for what in ("long view", "no long view")},
    },
    "spread": {
        **{f"spread between users: {name}": Within(0.04 if name == "like" else 0.02) for name in SPREADS},
        **{f"spread between videos: {name}": Within(0.02) for name in ("long view", "like")},
    },
    "interests and drift": {
        "tag entropy per user": Within(0.15),
        "next item same tag": Within(0.015),
        "spread of long view by tag": Within(0.015),
        **{f"residual correlation, {lag}, {tag}": Within(0.03) for lag in LAGS for tag in ("same tag", "other tag")},
    },
}
"""Section -> name of a fact -> tolerance. Assumed: the tolerances were chosen before the people were fitted."""


class Measured(NamedTuple):
    """A number of the log, its 95 % interval and its standard error."""

    value: float
    low: float
    high: float
    error: float


class Validation(NamedTuple):
    """The scoreboard, and what it was made of."""

    sections: dict[str, list[Row]]
    unknown: list[str]  # quantities about which the log says nothing
    measured: UserLog
    simulated: UserLog
    links: list[Compared]
    scenario: Scenario
    people: int
    seed: int

    @property
    def rows(self) -> list[Row]:
        return [each for rows in self.sections.values() for each in rows]

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
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Simulate a fortnight of `people` and compare it with the log (None: the shipped one).

    progress(done, total) is told the people done. Raises SettingError if there is too little to compare."""
    if log is None and scenario.catalogue.kind != "kuairand":
        raise SettingError(f"catalogue.kind={scenario.catalogue.kind} has no video of KuaiRand's pool; use kuairand")
    measured = shipped_log() if log is None else log
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
    simulated, row_of = thin(fortnight, np.bincount(measured.user), seed, TIMES)
    tags = histories() if log is None else of_log(measured)
    distances = Distances(measured, simulated, scenario.sessions.start_hour)
    sums, sequence = sum_up(measured), sequences(*tags)
    known = bootstrap(lambda w: facts(sums, w), measured.users)
    rows, long, like = (counts.sum(axis=0) for counts in sums.by_video)
    known |= bootstrap(lambda w: video_facts(rows, long, like, w), measured.videos)
    known |= bootstrap(lambda w: sequence_facts(sequence, w), tags[2])
    known |= bootstrap(distances.resampled, measured.users)
    found = facts(sum_up(simulated)) | distances.simulated()
    found |= sequence_facts(simulated_sequences(fortnight, tags, seed))
    found = for_people_drawn(found, fortnight, row_of, scenario)
    unknown = [name for of in WANTED.values() for name in of if name not in known or np.isnan(known[name].value)]
    sections = {
        title: [compare(name, known[name], found[name], within) for name, within in of.items() if name not in unknown]
        for title, of in WANTED.items()
    }
    sections["random against recommended"] = random_rows(scenario, min(people, TRIED), seed, known)
    sections["sessions"] = session_rows(fortnight, people, session_facts(measured))
    links = compare_network(scenario)
    sections["links"] = [each for compared in links for each in link_rows(compared)]
    return Validation(sections, unknown, measured, simulated, links, scenario, people, seed)


def compare(name: str, known: Measured, simulated: float, within: Within) -> Row:
    """One line of the scoreboard."""
    tolerance = within.absolute + within.relative * abs(known.value)
    if within == INTERVAL:
        tolerance = known.high - known.value if simulated > known.value else known.value - known.low
    else:
        tolerance = max(tolerance, 2 * known.error)
    return row(name, known.value, known.low, known.high, simulated, tolerance)


def bootstrap(fact: Callable[[Array], dict[str, float]], n: int) -> dict[str, Measured]:
    """Each fact of all n people (or videos), and over samples of n drawn with replacement; always the same draws."""
    rng = np.random.Generator(np.random.Philox(key=n))
    drawn = (np.bincount(rng.integers(n, size=n), minlength=n).astype(float) for _ in range(BOOTSTRAPS))
    again = [fact(weight) for weight in drawn]
    found = {}
    for name, value in fact(np.ones(n)).items():
        each = np.array([sample[name] for sample in again])
        each = each[~np.isnan(each)]
        if np.isnan(value) or len(each) == 0:
            found[name] = Measured(value, np.nan, np.nan, 0.0)
        else:
            found[name] = Measured(value, *(float(x) for x in (*np.quantile(each, [0.025, 0.975]), each.std())))
    return found


def histories() -> tuple[Array, Array, int]:
    """(user, tag, users): what KuaiRand's users were shown before the log, at most 50 each, in order."""
    with open_data("kuairand/histories.parquet") as file:
        lists = pq.read_table(file)["tags"].combine_chunks()
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()), lists.flatten().to_numpy(), len(lists)


def of_log(log: UserLog) -> tuple[Array, Array, int]:
    """The same of a log itself."""
    tag = np.full(len(log.user), -1, np.int16) if log.tag is None else log.tag
    return log.user, tag, log.users


def simulated_sequences(fortnight: Fortnight, tags: tuple[Array, Array, int], seed: int) -> Sequences:
    """Sequences of as many items as people have in `tags`, one of each simulated person."""
    thinned, _ = thin(fortnight, np.bincount(tags[0]), seed + PROBE_SEED)
    return sequences(*of_log(thinned))


def for_people_drawn(
    found: dict[str, float], fortnight: Fortnight, row_of: Array, scenario: Scenario
) -> dict[str, float]:
    """Rates of feedback, were the people drawn as generous on average as people are: a few who always give feedback
    make up most of it, so that some thousand people tell rates only to a tenth (a ratio estimator)."""
    drawn = fortnight.propensity[fortnight.person[row_of]].mean(axis=0)
    factor = np.divide(expected_propensity(scenario), drawn, out=np.ones(len(drawn)), where=drawn > 0)
    of_kind = dict(zip(FEEDBACK, factor, strict=True))
    return {name: float(value * of_kind.get(name.split(" given ")[0], 1.0)) for name, value in found.items()}


def expected_propensity(scenario: Scenario) -> Array:
    """Mean over all people that could be drawn of their chance to give each kind of feedback, (6,)."""
    tables = propensity_tables(scenario)
    return np.asarray(np.trapezoid(tables, axis=1) / (tables.shape[1] - 1))


def random_rows(scenario: Scenario, people: int, seed: int, known: dict[str, Measured]) -> list[Row]:
    """Random videos against recommended ones, at the log's level of these."""
    found = random_exposure(scenario, seed + PROBE_SEED, people)
    valid = at_level(found.random_valid, found.valid, known["valid play"].value)
    long = at_level(found.random_long, found.long, known["long view"].value)
    return [
        row("random video: valid play", RANDOM_VALID, np.nan, np.nan, valid, 0.02),
        row("random video: long view", RANDOM_LONG, np.nan, np.nan, long, 0.02),
    ]


def session_rows(fortnight: Fortnight, people: int, own: dict[str, float]) -> list[Row]:
    """Means of sessions, of the log's own where it has them, else published; no distribution is public, no interval."""
    impressions, requests = fortnight.session_impressions.mean(), fortnight.session_requests.mean()
    means = {
        "impressions per session": (own.get("impressions a session", SESSION_IMPRESSIONS), impressions),
        "requests per session": (SESSION_REQUESTS, requests),
        "impressions per request": (SESSION_IMPRESSIONS / SESSION_REQUESTS, impressions / requests),
        "sessions per user and day": (
            own.get("sessions a day", SESSIONS_PER_DAY),
            len(fortnight.session_impressions) / people / DAYS,
        ),
    }
    return [row(name, target, np.nan, np.nan, float(x), 0.1 * target) for name, (target, x) in means.items()]
