"""What a checker of environments is told, and what it knows so far. Called by `envs/check*.py`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from .transcript import Choose, Episode, Finding, first_difference, method_mask

Env = gymnasium.Env[Any, Any]
Findings = Iterator[Finding]


class Step(NamedTuple):
    """What a claim about one step is asked with; `number` is 1 for the first step after a reset."""

    number: int
    before: Any  # observation
    info_before: dict[str, Any]
    action: Any
    after: Any  # observation
    info: dict[str, Any]
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class Claims:
    """What only the author of an environment knows. Each claim is optional and checked wherever it can be."""

    time_limit: int | None = None
    """Steps after which an episode is truncated, never before; None: `spec.max_episode_steps`."""
    reward: Callable[[Step], float] | None = None
    """The reward that this step should bring."""
    terminated: Callable[[Step], bool] | None = None
    """Whether the world ends with this step."""
    counter: Callable[[Any, dict[str, Any]], float] | None = None
    """counter(observation, info): how many steps of the episode the environment says were made; 0 at reset."""
    components: str = ""
    """Key of info that holds the named parts of the reward, whose weighted sum it must be; or what their keys
    begin with."""
    weights: Mapping[str, float] | None = None
    """Weight of each component; None: 1 each."""
    ledger: Callable[[Any], float] | None = None
    """ledger(env): the sum of rewards of this episode by the world's own books."""
    legal: Callable[[Any], Any] | None = None
    """legal(env): which actions the world would carry out now, (n,) bool. The mask must say the same."""
    executed: str = ""
    """Key of info that names the action carried out, -1 if none was: an allowed one as asked, a forbidden one never."""
    observe: Callable[[Any], Any] | None = None
    """observe(env): the current observation made again, without moving the world; None: `_get_obs` if there is one."""
    perturb_future: Callable[[Any], None] | None = None
    """perturb_future(env): change all luck after now; None: replace `np_random`."""
    after_done: str = ""
    """"raise": a step after the end of an episode must raise."""
    after_close: str = ""
    """"raise": a step after close must raise."""
    choose: Choose | None = None
    """A policy for every third episode, to get where random actions do not."""
    ignore_info: frozenset[str] = frozenset({"episode"})
    """Keys of info that may differ between equal episodes (`RecordEpisodeStatistics` writes wall-clock time)."""


class Witness(NamedTuple):
    """What the world itself says at a moment; None where the author did not say how to ask."""

    legal: Any
    ledger: Any
    mask: Any  # what action_masks() returns


@dataclass
class Lab:
    """The environment under test and the episodes played so far."""

    make: Callable[[], Env]
    claims: Claims
    seed: int
    limit: int | None
    steps: int
    episodes: list[Episode] = field(default_factory=list)
    seeded: list[Episode] = field(default_factory=list)

    def witness(self, env: Env) -> Witness:
        """What the world says now. It is asked at every moment of an episode."""
        legal, ledger = self.claims.legal, self.claims.ledger
        return Witness(
            None if legal is None else np.array(legal(env), bool),
            None if ledger is None else float(ledger(env)),
            method_mask(env),
        )

    def parted(self, expected: Episode, got: Episode) -> str:
        """Where two episodes first differ, or ""."""
        return first_difference(expected.moments, got.moments, self.claims.ignore_info)

    def sample(self) -> list[Episode]:
        """The longest, the middle and the shortest of the seeded episodes."""
        ranked = sorted(self.seeded, key=lambda episode: -episode.steps)
        return [ranked[0], ranked[len(ranked) // 2], ranked[-1]]

    def at(self, episode: Episode, step: int) -> str:
        """How to get to a step of an episode, for messages."""
        first = f"make(), reset(seed={self.seed + episode.luck})"
        return f"{first}, {'' if episode.seed is not None else 'that episode, reset() without a seed, '}step {step}"
