"""Collecting training samples: people live under a logging policy that sometimes picks at random (`nextone collect`).

One row per rerank request. The labels of a request are what came of the candidates shown from then on while the page
lasted. Training people are seen before the cut in time only, test people (others) after it only, so no label or
behaviour of the test is known to training. People live in worlds of a thousand, moved by the batch driver, and their
rows go to the file world by world.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import MOST_S, empty_observation
from nextone.envs.observing import observe
from nextone.experiments.runs.deciding import phone_cost
from nextone.experiments.runs.executor import Execute, results
from nextone.experiments.runs.oracle import reference_filter
from nextone.experiments.runs.replication import end_of, window_of
from nextone.experiments.runs.shipping import Place, moved_policy, moved_scenario
from nextone.policies.names import CLOUD_ONLY
from nextone.policies.networks.behaviours import engaged as is_page_view
from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.engine.chance import world_key
from nextone.sim.ledger import check_ledgers
from nextone.sim.records import ended_us
from nextone.sim.scenario import SettingError, scenario_toml, with_settings
from nextone.sim.state import CUT, LAST, LONG, STALE, VALID, World
from nextone.sim.world import build_world

from .arrival import arrived, find_impressions
from .logging_policy import Choice, LoggingPolicy, Spread, to_scores
from .samples import COLUMNS, KINDS, SPLITS, UNKNOWN, Array, write_samples
from .tried import draw_people, try_candidates

A_WORLD = 1000  # people
COLLECTED = 1 << 24
"""The first replication that people are collected from: comparisons, at most 10,000, never reach it, so nobody that a
network was trained on is in a published result, whatever the seed."""
SHARES = {"train": 0.55, "valid": 0.1, "test": 0.35}  # Assumed: of people
CUT_AT = 0.5  # Assumed: share of the window that training sees
LEAVES_WITHIN = 5  # impressions
HATE = 1 << FEEDBACK.index("hate")
NO_MODEL = (  # the phone computes and downloads nothing under cloud_only
    "phone.inference_ms=0", "phone.inference_min_ms=0", "client.model_bytes=0",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """Everything that a set of samples depends on."""

    scenario: Scenario = field(default_factory=Scenario)
    policy: str = CLOUD_ONLY
    users: int = 3000
    minutes: float | None = None
    days: float | None = None
    explore: float = 0.2  # share of decisions that are made at random
    temperature: float = 0.0  # of the others, see `Spread`
    seed: int = 0

    def __post_init__(self) -> None:
        if self.users < 1:
            raise SettingError(f"users={self.users} must be >= 1")
        self.spread.checked()
        if self.scenario.server.candidates < 2:
            raise SettingError("server.candidates=1 leaves nothing to choose; ship 2 or more")

    @property
    def spread(self) -> Spread:
        """How much of the policy's choice is left to chance."""
        return Spread(self.explore, self.temperature)


@dataclass(frozen=True)
class Part:
    """A task: the world of people first to first + people - 1."""

    settings: CollectSettings
    number: int
    first: int
    people: int

    def moved(self, place: Place) -> "Part":
        """The same task, with traces and a checkpoint from another place."""
        settings = self.settings
        policy, scenario = moved_policy(settings.policy, place), moved_scenario(settings.scenario, place)
        assert isinstance(policy, str)
        return replace(self, settings=replace(settings, policy=policy, scenario=scenario))

    def __str__(self) -> str:
        return f"people {self.first} to {self.first + self.people - 1}, seed {self.settings.seed}"


class Collected(NamedTuple):
    """What was written."""

    path: Path
    rows: dict[str, int]  # by split
    people: dict[str, int]
    lost: int  # decisions after which something else was shown, or nothing


def collect(
    settings: CollectSettings, out: Path, progress: Callable[[int, int], None] | None = None, *, workers: int = 1,
    execute: Execute | None = None,
) -> Collected:  # fmt: skip
    """Let people live, and write out/samples.parquet: the same bytes for any number of workers. A single worker uses
    all cores. execute: how tasks are run; `on_ray()` on Ray, `run_all` if None. Raises RunFailed, and SettingError or
    CheckpointError for wrong settings."""
    firsts = range(0, settings.users, A_WORLD)
    worlds = [Part(settings, k, first, min(A_WORLD, settings.users - first)) for k, first in enumerate(firsts)]
    rows, people, lost = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), 0

    def parts() -> Iterator[dict[str, Array]]:
        nonlocal lost
        for of, (part, lost_here) in zip(worlds, in_order(worlds, workers, execute, one_world), strict=True):
            lost += lost_here
            for k, split in enumerate(SPLITS):
                mine = part["split"] == k
                rows[split] += int(mine.sum())
                people[split] += len(np.unique(part["person"][mine]))
            if progress:
                progress(of.first + of.people, settings.users)
            yield part

    scenario = settings.scenario
    about = {k: v for k, v in asdict(settings).items() if k != "scenario"}
    about["scenario"] = scenario_toml(scenario, comments=False)
    path = write_samples(out, parts(), scenario.pool_slots, scenario.client.history, about)
    return Collected(path, rows, people, lost)


def in_order(
    worlds: Sequence[Any], workers: int, execute: Execute | None, run: Callable[[Any], Any]
) -> Iterator[Any]:
    """The results of `run` for the worlds, in the order of the worlds; results that come early wait. execute: as for
    `collect`. Raises as `collect` does."""
    early: dict[int, Any] = {}
    number = 0
    for world, result in results(worlds, workers, run, execute):
        early[world.number] = result
        while number in early:
            yield early.pop(number)
            number += 1


def one_world(part: Part) -> tuple[dict[str, Array], int]:
    """The rows of a world's people, and how many decisions had no effect."""
    settings, first, people = part.settings, part.first, part.people
    extra = NO_MODEL if settings.policy == CLOUD_ONLY else ()
    days = settings.days is not None
    window_us = window_of(settings.minutes, settings.days)
    world = build_world(
        with_settings(settings.scenario, [f"population.users={people}", *extra]), edge=True, seed=settings.seed,
        replication=COLLECTED + part.number, window_us=window_us, days=days, parts=log_parts(),
        queue_waits=np.zeros(1, np.int64), cost=phone_cost(settings.policy)._replace(bytes=0),
    )  # fmt: skip
    part_of = split_people(settings.seed, np.arange(first, first + people))
    recorder = Recorder(settings, world, part_of, round(CUT_AT * window_us))
    records = run_batch(world, recorder, end_us=end_of(window_us, days), days=days)
    check_ledgers(world, records)
    columns, lost = recorder.columns(records.impressions, records.sessions)
    columns = arrived(columns, world, records.impressions, recorder.cut_us)
    columns["person"] = columns["person"] + first
    return columns, lost


def split_people(seed: int, people: Array) -> Array:
    """The number of the split to which each person always belongs: keyed by seed and person."""
    draws = np.empty(len(people))
    draw_people(world_key(seed, 0), people, draws)
    return np.searchsorted(np.cumsum([SHARES[name] for name in SPLITS])[:-1], draws, side="right")


class Recorder:
    """A driver's `decide` that asks the logging policy, sometimes picks at random, and records what the phone could
    see."""

    def __init__(self, settings: CollectSettings, world: World, part_of: Array, cut_us: int) -> None:
        self.part_of, self.cut_us = part_of, cut_us
        self.policy = LoggingPolicy(settings.policy, settings.spread, world)
        self.noted: list[dict[str, Array]] = []

    def __call__(self, w: World, rows: Array) -> Array:
        choice = self.policy.choose(w, rows)
        self._note(w, rows, choice)
        return to_scores(choice)

    def _note(self, w: World, rows: Array, choice: Choice) -> None:
        """Keep what is seen at these decisions, of people and at times that some split has room for."""
        now, part = w.users["now_us"][rows], self.part_of[rows]
        kept = np.flatnonzero(np.where(part == SPLITS.index("test"), now >= self.cut_us, now < self.cut_us))
        rows, choice = rows[kept], Choice(*(of_all[kept] for of_all in choice))
        order, live = choice.order, np.take_along_axis(choice.live, choice.order, 1)
        n, slots = live.shape
        if not n:
            return
        seen = empty_observation(n, slots, w.history.shape[1])
        observe(w, rows, *seen)
        outcome, feedback = np.zeros((n, slots), np.uint8), np.zeros((n, slots), np.uint8)
        try_candidates(w, rows, outcome, feedback, np.zeros((n, slots), np.int64))
        outcome, feedback = (np.take_along_axis(bits, order, 1) for bits in (outcome, feedback))
        judges = part[kept] != SPLITS.index("train")  # nothing reads the filter of the others, and it is slow
        filtered = np.full((n, slots), np.nan, np.float32)
        filtered[judges] = reference_filter(w, rows[judges])
        users, pool = w.users[rows], w.pool[rows]
        self.noted.append(
            {
                "split": part[kept].astype(np.int8),
                "person": rows.astype(np.int64),
                "session": users["session"].copy(),
                "impression": users["impression"] + 1,
                "time_us": users["now_us"].copy(),
                "candidates": np.take_along_axis(seen.candidates, order[..., None], 1),
                "live": live.astype(np.int8),
                "video": np.where(live, np.take_along_axis(pool["video"], order, 1), -1).astype(np.int32),
                "request": np.take_along_axis(pool["request"], order, 1),
                "rank": np.take_along_axis(pool["rank"], order, 1),
                "history": seen.history,
                "page_view": is_page_view(seen.history).astype(np.int8),
                "context": seen.context,
                "picked_at_random": choice.random.astype(np.int8),
                "propensity": choice.chance[np.arange(n), choice.picked].astype(np.float32),
                "reference": np.where(live, np.take_along_axis(filtered, order, 1), 0).astype(np.float32),
                "would_effective_view": np.where(live, outcome & VALID != 0, UNKNOWN).astype(np.int8),
                "would_engage": np.where(live, is_engaged(outcome, feedback), UNKNOWN).astype(np.int8),
            }
        )

    def columns(self, impressions: Array, sessions: Array) -> tuple[dict[str, Array], int]:
        """All columns of the decisions that showed one of the candidates seen, and how many did not."""
        noted = {name: np.concatenate([part[name] for part in self.noted]) for name in self.noted[0]}
        noted = in_life_order(noted)
        at = find_impressions(impressions, noted["person"], noted["impression"])
        found = at >= 0
        offset = _places(noted, impressions, np.maximum(at, 0))
        found &= (offset == 0).any(1)
        noted = {name: column[found] for name, column in noted.items()}
        labelled = label(noted, impressions, sessions, at[found], offset[found], self.cut_us)
        labelled["propensity"] = np.where(
            impressions["outcome"][at[found]] & STALE, np.nan, noted["propensity"]
        ).astype(np.float32)
        columns = noted | labelled
        known = (columns["shown_after"] == 0).any(1)  # the window's end, or the cut, may have come before the label
        return {column.name: columns[column.name][known] for column in COLUMNS}, int((~found).sum())


def in_life_order(noted: dict[str, Array]) -> dict[str, Array]:
    """Decisions (D, ...) in the order of people and impressions; of two decisions about one impression, the later is
    kept."""
    order = np.lexsort([noted["time_us"], noted["impression"], noted["person"]])
    who, which = noted["person"][order], noted["impression"][order]
    later = np.append((who[1:] != who[:-1]) | (which[1:] != which[:-1]), True)
    return {name: column[order[later]] for name, column in noted.items()}


def _places(noted: dict[str, Array], impressions: Array, at: Array) -> Array:
    """When each candidate was shown, counted from the request on and while its page lasted; -1 if not, (N, P)."""
    offset = np.full(noted["video"].shape, -1, np.int16)
    page = impressions["request"][at]
    going = np.ones(len(at), np.bool_)
    step = 0
    while going.any():
        row = np.minimum(at + step, len(impressions) - 1)
        later = impressions[row]
        going &= (at + step < len(impressions)) & (later["user"] == noted["person"])
        going &= (later["session"] == noted["session"]) & (later["request"] == page)
        same = (noted["rank"] == later["rank"][:, None]) & (noted["request"] == (page & 0xFFFF)[:, None])
        same &= noted["live"] == 1
        offset[same & going[:, None]] = step  # rank and request: a page may hold a video twice
        step += 1
    return offset


def label(
    noted: dict[str, Array], impressions: Array, sessions: Array, at: Array, offset: Array, cut_us: int
) -> dict[str, Array]:
    """The outcomes of the candidates that were shown, of the page and of the session. They are unknown after the
    window, and for training after the cut in time."""
    until = np.where(noted["split"] == SPLITS.index("test"), np.iinfo(np.int64).max, cut_us)
    rows = np.minimum(at[:, None] + np.maximum(offset, 0), len(impressions) - 1)
    shown = impressions[rows]  # (N, P), of no meaning where offset < 0
    known = (offset >= 0) & (shown["outcome"] & CUT == 0) & (ended_us(shown) < until[:, None])
    labels = {
        **rated(shown["outcome"], shown["feedback"]),
        "has_next": shown["outcome"] & LAST == 0,
        "engaged": is_engaged(shown["outcome"], shown["feedback"]),
    }
    columns: dict[str, Array] = {name: np.where(known, x, UNKNOWN).astype(np.int8) for name, x in labels.items()}
    columns["watch"] = np.where(known, log_seconds(shown["play_us"]), UNKNOWN).astype(np.float32)
    columns["stall_s"] = np.where(known, shown["stall_us"] * 1e-6, UNKNOWN).astype(np.float32)
    columns["shown_after"] = np.where(known, offset, -1).astype(np.int16)
    columns["shown"] = (offset == 0).argmax(1).astype(np.int16)
    columns["page"] = impressions["request"][at].astype(np.int32)
    left = (offset >= 0).sum(1)
    whole = (known.sum(1) == left) & (left >= 2)
    none = (columns["effective_view"] < 1).all(1)
    columns["wants_page"] = np.where(whole, none, UNKNOWN).astype(np.int8)
    columns["leaves_soon"] = _leaves_soon(noted, impressions, sessions, at, until)
    return columns


def _leaves_soon(noted: dict[str, Array], impressions: Array, sessions: Array, at: Array, until: Array) -> Array:
    """Whether the session ends within LEAVES_WITHIN impressions, (N,)."""
    wide = np.int64(1) << 32
    session = sessions[
        np.searchsorted(sessions["user"] * wide + sessions["session"], noted["person"] * wide + noted["session"])
    ]
    later = impressions[np.minimum(at + LEAVES_WITHIN, len(impressions) - 1)]
    goes_on = (later["user"] == noted["person"]) & (later["session"] == noted["session"])
    goes_on &= at + LEAVES_WITHIN < len(impressions)
    known = np.where(goes_on, later["start_us"] < until, (session["cut"] == 0) & (session["close_us"] < until))
    return np.where(known, ~goes_on, UNKNOWN).astype(np.int8)


def rated(outcome: Array, feedback: Array) -> dict[str, Array]:
    """Each outcome of RATED as bool, from the bits of a log."""
    kinds = {kind: feedback >> FEEDBACK.index(kind) & 1 != 0 for kind in KINDS}
    return {"effective_view": outcome & VALID != 0, "long_view": outcome & LONG != 0, **kinds}


def log_seconds(microseconds: Array) -> Array:
    """Times as networks read them: log(1 + s) / log(1 + 3600), at most 1."""
    scaled: Array = np.minimum(np.log1p(microseconds * 1e-6) / np.log1p(MOST_S), 1.0)
    return scaled


def is_engaged(outcome: Array, feedback: Array) -> Array:
    """Whether a play counts like a page view, from the bits of a log: a long view or feedback, and no hate."""
    engaged: Array = ((outcome & LONG != 0) | (feedback & ~np.uint8(HATE) != 0)) & (feedback & HATE == 0)
    return engaged
