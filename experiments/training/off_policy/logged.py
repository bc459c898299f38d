"""People who live under a logging policy while a target policy is asked in its shadow; and the same people under the
target itself, with the same luck.

In shadow a policy sees every decision of the logging policy, keeps its memory and says what it would show; nothing of
it reaches the screen. So its choice in a logged state is known exactly for any policy, which is what a log of features
alone cannot give. Called by `answer.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nextone.envs.features import CANDIDATE, C, empty_observation
from nextone.envs.observing import observe
from nextone.experiments.runs.deciding import phone_cost
from nextone.experiments.runs.executor import Execute
from nextone.experiments.runs.replication import end_of, window_of
from nextone.experiments.runs.shipping import Place, moved_policy, moved_scenario
from nextone.experiments.training.edge.arrival import find_impressions
from nextone.experiments.training.edge.collect import in_life_order, in_order, rated
from nextone.experiments.training.edge.logging_policy import Choice, LoggingPolicy, Spread, to_scores
from nextone.experiments.training.edge.samples import RATED
from nextone.experiments.training.edge.tried import try_candidates
from nextone.sim.batch_run import log_parts, run_batch
from nextone.sim.config import Scenario
from nextone.sim.ledger import check_ledgers
from nextone.sim.scenario import SettingError, with_settings
from nextone.sim.state import CUT, STALE, Array, World
from nextone.sim.world import build_world

A_WORLD = 500  # people
JUDGED = 1 << 25
"""The first replication of people that policies are judged on here: neither comparisons nor collected samples reach it,
so nobody here has been in a network's training."""
AMOUNTS = [k for k, feature in enumerate(CANDIDATE) if k not in (C.tag, C.tag2)]
"""Columns of a candidate that are no index."""
REWARDS = (*RATED, "watch_s")


@dataclass(frozen=True, kw_only=True)
class OffPolicySettings:
    """Everything that an answer depends on."""

    scenario: Scenario
    target: str
    policy: str
    explore: float = 0.2  # of the logging policy, as its temperature
    temperature: float = 0.0
    target_explore: float = 0.0
    target_temperature: float = 0.0
    reward: str = "effective_view"
    clip: float = np.inf  # the largest weight
    users: int = 1000
    minutes: float | None = None
    days: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.reward not in REWARDS:
            raise SettingError(f"reward {self.reward[:60]!r} must be one of {', '.join(REWARDS)}")
        if self.users < FEWEST_PEOPLE:
            raise SettingError(f"users={self.users} must be >= {FEWEST_PEOPLE}: intervals are over people")
        if not self.clip >= 1:
            raise SettingError(f"clip={self.clip} must be >= 1; leave it out for weights as they are")
        if self.scenario.server.candidates < 2:
            raise SettingError("server.candidates=1 leaves nothing to choose; ship 2 or more")
        if not any(self.logging.checked()):
            raise SettingError(
                f"{self.policy[:60]!r} with explore=0 and temperature=0 always shows its best candidate: its log says "
                "nothing of the others, and no estimate exists; give explore or temperature above 0"
            )
        self.target_spread.checked()

    @property
    def logging(self) -> Spread:
        """How much of the logging policy's choice is left to chance."""
        return Spread(self.explore, self.temperature)

    @property
    def target_spread(self) -> Spread:
        """How much of the target's choice is left to chance."""
        return Spread(self.target_explore, self.target_temperature)


FEWEST_PEOPLE = 20


class Log(NamedTuple):
    """D decisions after which something was shown, in the order of people and their lives."""

    person: Array  # (D,) int64
    session: Array  # (D,) int64: its number, among everybody's
    reward: Array  # (D,) float64
    effect: Array  # (D,) bool: what was picked was shown next


class Shadow(NamedTuple):
    """What the target would have done at each decision of a log; F features.

    Where the pick had no effect, the choice was nobody's and would not be the target's either: the weight is 1, and the
    features of the target's choice are those of the pick."""

    weight: Array  # (D,) float64: the target's chance of the pick over the logging policy's
    context: Array  # (D, Fx) float32, columns of docs/observation.md
    picked: Array  # (D, F) float32, of what was picked: columns AMOUNTS of docs/observation.md
    of_target: Array  # (D, F) float32, their mean over what the target picks
    would: Array  # (D,) float64: the reward of the pick by the draws that showing it uses, had nothing stalled
    would_of_target: Array  # (D,) float64, its mean over what the target picks


@dataclass(frozen=True)
class Part:
    """A task: the world of people first to first + people - 1."""

    settings: OffPolicySettings
    number: int
    first: int
    people: int

    def moved(self, place: Place) -> "Part":
        """The same task, with traces and checkpoints from another place."""
        settings = self.settings
        policy, target = (moved_policy(name, place) for name in (settings.policy, settings.target))
        assert isinstance(policy, str) and isinstance(target, str)
        scenario = moved_scenario(settings.scenario, place)
        return replace(self, settings=replace(settings, policy=policy, target=target, scenario=scenario))

    def __str__(self) -> str:
        return f"people {self.first} to {self.first + self.people - 1}, seed {self.settings.seed}"


def live_both(
    settings: OffPolicySettings, progress: Callable[[int, int], None] | None = None, *, workers: int = 1,
    execute: Execute | None = None,
) -> tuple[Log, Shadow, Log]:  # fmt: skip
    """(the log of the logging policy, what the target would have done at its decisions, what the target brought to the
    same people).

    execute: as for `collect`. Raises RunFailed, and SettingError or CheckpointError for wrong settings."""
    firsts = range(0, settings.users, A_WORLD)
    parts = [Part(settings, k, first, min(A_WORLD, settings.users - first)) for k, first in enumerate(firsts)]
    found: list[tuple[Log, Shadow, Log]] = []
    for part, of_part in zip(parts, in_order(parts, workers, execute, one_world), strict=True):
        found.append(of_part)
        if progress:
            progress(part.first + part.people, settings.users)
    logs, shadows, truths = zip(*found, strict=True)
    return Log(*_joined(logs)), Shadow(*_joined(shadows)), Log(*_joined(truths))


def _joined(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def one_world(part: Part) -> tuple[Log, Shadow, Log]:
    """The three parts of `live_both`, for one world's people."""
    settings = part.settings
    log, noted = _live(part, settings.policy, settings.logging, settings.target)
    still = ~log.effect
    noted["weight"][still] = 1.0
    noted["of_target"][still], noted["would_of_target"][still] = noted["picked"][still], noted["would"][still]
    truth, _ = _live(part, settings.target, settings.target_spread)
    return log, Shadow(*(noted[name] for name in Shadow._fields)), truth


def _live(part: Part, policy: str, spread: Spread, target: str = "") -> tuple[Log, dict[str, Array]]:
    """Let the people live under a policy, with a target in its shadow if there is one; and what was noted of it."""
    settings = part.settings
    days = settings.days is not None
    window_us = window_of(settings.minutes, settings.days)
    world = build_world(
        with_settings(settings.scenario, [f"population.users={part.people}"]), edge=True, seed=settings.seed,
        replication=JUDGED + part.number, window_us=window_us, days=days, parts=log_parts(),
        queue_waits=np.zeros(1, np.int64), cost=phone_cost(policy),
    )  # fmt: skip
    shadow = LoggingPolicy(target, settings.target_spread, world) if target else None
    recorder = _Recorder(LoggingPolicy(policy, spread, world), shadow, settings.reward)
    if world.params["quiet"][0] > 1:
        raise SettingError(
            "a policy that leaves the last order as it is until there is feedback, as edgerec does, makes no choice at "
            "most decisions, so no estimate is about it; edgerec@every=1 chooses at every one"
        )
    records = run_batch(world, recorder, end_us=end_of(window_us, days), days=days)
    check_ledgers(world, records)
    return recorder.log(records.impressions, part.first)


class _Recorder:
    """A driver's `decide` that follows one policy, asks another in its shadow, and notes both."""

    def __init__(self, policy: LoggingPolicy, target: LoggingPolicy | None, reward: str) -> None:
        self.policy, self.target, self.reward = policy, target, reward
        self.noted: list[dict[str, Array]] = []

    def __call__(self, w: World, rows: Array) -> Array:
        choice = self.policy.choose(w, rows)
        users, slot = w.users[rows], w.pool[rows, choice.picked]
        self.noted.append(
            {
                "person": rows.astype(np.int64), "session": users["session"].astype(np.int64),
                "impression": users["impression"] + 1, "time_us": users["now_us"].copy(),
                **{name: slot[name].copy() for name in ("video", "request", "rank")},
                **(self._shadow(w, rows, choice, self.target.choose(w, rows)) if self.target else {}),
            }
        )  # fmt: skip
        return to_scores(choice)

    def _shadow(self, w: World, rows: Array, choice: Choice, wanted: Choice) -> dict[str, Array]:
        n, slots = choice.live.shape
        seen, each = empty_observation(n, slots, w.history.shape[1]), np.arange(n)
        observe(w, rows, *seen)
        outcome, feedback = np.zeros((n, slots), np.uint8), np.zeros((n, slots), np.uint8)
        played_us = np.zeros((n, slots), np.int64)
        try_candidates(w, rows, outcome, feedback, played_us)
        would, amounts = reward_of(self.reward, outcome, feedback, played_us), seen.candidates[..., AMOUNTS]
        return {
            "weight": wanted.chance[each, choice.picked] / choice.chance[each, choice.picked],
            "context": seen.context, "picked": amounts[each, choice.picked],
            "of_target": np.einsum("np,npf->nf", wanted.chance, amounts).astype(np.float32),
            "would": would[each, choice.picked], "would_of_target": (wanted.chance * would).sum(1),
        }  # fmt: skip

    def log(self, impressions: Array, first: int) -> tuple[Log, dict[str, Array]]:
        """The decisions that something was shown after until it was over, of people `first` and on; what was noted."""
        noted = in_life_order({name: np.concatenate([one[name] for one in self.noted]) for name in self.noted[0]})
        at = find_impressions(impressions, noted["person"], noted["impression"])
        kept = (at >= 0) & (impressions["outcome"][at] & CUT == 0)
        noted, shown = {name: column[kept] for name, column in noted.items()}, impressions[at[kept]]
        effect = (shown["outcome"] & STALE == 0) & (noted["video"] == shown["video"])
        effect &= (noted["rank"] == shown["rank"]) & (noted["request"] == (shown["request"] & 0xFFFF))
        reward = reward_of(self.reward, shown["outcome"], shown["feedback"], shown["play_us"])
        person = noted["person"] + first
        return Log(person, (person << 32) + noted["session"], reward, effect), noted


def reward_of(name: str, outcome: Array, feedback: Array, played_us: Array) -> Array:
    """A reward of REWARDS, from the bits of a log and the time played, float64."""
    amount = played_us * 1e-6 if name == "watch_s" else rated(outcome, feedback)[name]
    return np.asarray(amount, np.float64)
