"""Shared servers: many people in one world, paused whenever one of them has to choose. A policy meets its own queue.

The other environments have a world for each person, whose requests wait as long as they are told to. Here people share
`server.workers`, so that who asks for more pages waits longer, as does everybody else. It is the event world of
`sim/event_run.py`, held at each decision; there are no other dynamics. `SharedServers` hands out decisions as they
come, some at a time; `SharedServersEnv` hands them out one by one, as Gymnasium has it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray

from nextone.sim.config import Cost
from nextone.sim.event_run import ServerLedger, paused_at_decisions
from nextone.sim.records import Logs
from nextone.sim.scenario import SettingError
from nextone.sim.state import CLOSED, GONE, IDLE, LONG, PLAYING, STALLED, VALID, WAITING, World
from nextone.sim.world import build_world

from .arguments import ScenarioLike, scenario_of, seeds_of, whole, yes_or_no
from .episode import DAY_US, nearest_live
from .features import empty_observation
from .forms import Form, Observations, row_of, rows_of
from .observing import observe
from .reward import COMPONENTS, REWARD_INFO, UNITS, RewardWeights, reward_weights


class Turn(NamedTuple):
    """People who are to choose, and those who chose last and have left since."""

    people: NDArray[np.int64]  # (n,)
    over: NDArray[np.bool_]  # (n,) gone: the rest of what they brought; there is nothing to choose
    observations: Observations  # a row for each of them
    masks: NDArray[np.int8]  # (n, A)
    reward: NDArray[np.float64]  # (n,) since that person's last turn
    components: NDArray[np.float64]  # (n, K), in the order of reward.COMPONENTS


class SharedServers:
    """One world of people and servers. `reset` and `act` return the next turn, None when everybody has left.

    scenario: as for the other environments; people are `population.users`, servers `server.workers` (0: enough for
    cloud-only serving to use .6 of them). minutes: within which people open the app, once. days: instead, people come
    and go for so many days. reward, refresh, form, features, dtype, inference: as for the other environments. Raises
    SettingError for what cannot be used."""

    def __init__(
        self,
        *,
        scenario: ScenarioLike = None,
        reward: str | Mapping[str, float] | RewardWeights = "default",
        minutes: int = 30,
        days: int | None = None,
        refresh: bool = False,
        inference: bool = False,
        form: str = "dict",
        features: str = "all",
        dtype: str = "float32",
    ) -> None:
        whole("minutes", minutes, 1, 24 * 60)
        whole("days", 1 if days is None else days, 1, 1000)
        for name, flag in (("refresh", refresh), ("inference", inference)):
            yes_or_no(name, flag)
        self.weights, self.refresh = reward_weights(reward), refresh
        if self.weights.returns and days is None:
            raise SettingError("this reward counts returns to the app, and people open it once; give days=7")
        given = scenario_of(scenario)
        if given.server.candidates < 2:
            raise SettingError("server.candidates=1 leaves nothing to choose; an environment needs at least 2")
        window_min = None if days else float(minutes)
        self.scenario = given.with_workers(window_min, days, True)
        self._days, self._inference = days, inference
        self._window_us = days * DAY_US if days else minutes * 60_000_000
        self._end_us = self._window_us + (0 if days else DAY_US)
        world = self._build(0)
        self._form = Form(world.pool.shape[1], world.history.shape[1], self.slots + refresh, form, features, dtype)
        self.single_observation_space, self.actions = self._form.space, self.slots + refresh
        self.world: World = world
        self.servers: ServerLedger | None = None

    def reset(self, seed: int) -> Turn | None:
        """Begin the world of this seed; returns its first decisions."""
        self.world, self.servers = self._build(seed), None
        self._tally = _Tally(self.world)
        self._paid = np.zeros((len(self.world.users), len(COMPONENTS)))
        self._told = np.zeros(len(self.world.users), np.bool_)  # that they are gone
        self._met = self._told.copy()  # who has chosen: what happens before belongs to the first choice
        server = self.scenario.server
        self._run = paused_at_decisions(
            self.world, self._tally, workers=server.workers, queue_limit=server.queue_limit, end_us=self._end_us,
            days=self._days is not None,
        )  # fmt: skip
        return self._on(None)

    def act(self, actions: ArrayLike) -> Turn | None:
        """Let the people of the last turn act: slots (n,), or the number `slots` to ask for a page. A slot that is not
        allowed counts as the nearest that is. Returns the next turn. Raises ValueError for anything else."""
        turn = self._turn
        acts = np.asarray(actions)
        if acts.shape != turn.people.shape or acts.dtype.kind not in "iu":
            raise ValueError(f"actions must be {len(turn.people)} whole numbers, one for each person of the turn")
        if ((acts < 0) | (acts >= self.actions)).any():
            raise ValueError(f"actions must be in [0, {self.actions}); got {acts.tolist()}"[:300])
        scores = np.zeros((len(acts), self.actions), np.float32)
        for k, action in enumerate(acts):
            scores[k, nearest_live(turn.masks[k], action)] = 1.0
        return self._on(scores[~turn.over])

    @property
    def slots(self) -> int:
        """How many candidates a phone has room for."""
        return int(self.world.pool.shape[1])

    @property
    def waiting_share(self) -> float:
        """Share of people's time in the app so far that was spent waiting for a page, over everybody."""
        spent = self.world.users["ledger_us"].sum(0)
        return float(spent[WAITING] / max(int(spent.sum()), 1))

    def _build(self, seed: int) -> World:
        self.world = build_world(
            self.scenario, edge=True, cost=Cost(time=1.0), instant=not self._inference, seed=seed,
            window_us=self._window_us, days=self._days is not None,
        )  # fmt: skip
        return self.world

    def _on(self, scores: NDArray[np.float32] | None) -> Turn | None:
        """To the next decisions. scores: of those who are to choose; (0, A) if all of the last turn were gone."""
        deciding = np.zeros(0, np.int64)
        if scores is None or len(scores):
            try:
                deciding = self._run.send(scores)
            except StopIteration as end:
                self.servers = end.value
        self._tally.collect_if_filling()
        gone = np.flatnonzero((self.world.users["phase"] == GONE) & ~self._told)
        self._told[gone] = True
        people = np.concatenate([deciding, gone])
        if not len(people):
            return None
        observed = empty_observation(len(people), self.slots, self.world.history.shape[1])
        observe(self.world, people, *observed)
        masks = observed.mask.astype(np.int8)
        if self.refresh:
            masks = np.concatenate([masks, (self.world.users["request_state"][people] == IDLE)[:, None]], 1)
        over = np.arange(len(people)) >= len(deciding)
        masks[over] = np.arange(masks.shape[1]) == 0
        total = self._tally.total(people)
        paid_now = self._met[people] | over
        components = (total - self._paid[people]) * paid_now[:, None] / UNITS
        self._paid[people[paid_now]], self._met[people] = total[paid_now], True
        seen = self._form.seen(self._form.told(rows_of(observed)), masks)
        self._turn = Turn(people, over, seen, masks, components @ self.weights.array(), components)
        return self._turn


class _Tally(Logs):
    """Counts log lines by person, and forgets them."""

    def __init__(self, world: World) -> None:
        self._of, self._lines = world, np.zeros((len(world.users), 8), np.int64)

    def collect_if_filling(self) -> None:
        """Count what was logged since."""
        w = self._of
        shown, closed = w.impressions[0, : w.logged[0, 0]], w.sessions[0, : w.logged[0, 2]]
        for k, flags in enumerate([shown["outcome"] & VALID, shown["outcome"] & LONG]):
            np.add.at(self._lines[:, k], shown["user"], flags != 0)
        for kind in range(5):
            np.add.at(self._lines[:, 2 + kind], shown["user"], shown["feedback"] >> kind & 1)
        np.add.at(self._lines[:, 7], closed["user"], closed["cut"] == 0)
        w.logged[:] = 0

    def total(self, people: NDArray[np.int64]) -> NDArray[np.int64]:
        """All that so many people brought so far, (n, K), in the units of reward.COMPONENTS."""
        lines, users = self._lines[people], self._of.users[people]
        spent, left = users["ledger_us"], lines[:, 7]
        opened = left + ((users["phase"] != CLOSED) & (users["phase"] != GONE))
        return np.stack(
            [
                lines[:, 0], lines[:, 1], spent[:, PLAYING], *lines[:, 2:7].T, spent[:, STALLED], spent[:, WAITING],
                users["wasted"], users["request"], left, spent.sum(1), np.maximum(opened - 1, 0),
            ],
            1,
        )  # fmt: skip


class SharedServersEnv(gymnasium.Env[Observations, np.int64]):
    """`SharedServers` one decision at a time. A step is one person's choice, in the order of the world's clock. The
    next observation is another person's, see `info["person"]`. Arguments are those of `SharedServers`.

    The reward that comes with an observation is what that person earned since they chose last. Where
    `info["person_over"]` is true, the person has left: this is the last of their reward, and the action has no effect.
    An episode ends when everybody has left."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's)

    def __init__(self, render_mode: None = None, **arguments: Any) -> None:
        self.shared, self.render_mode = SharedServers(**arguments), render_mode
        self.observation_space = self.shared.single_observation_space
        self.action_space: spaces.Space[Any] = spaces.Discrete(self.shared.actions)
        self._turn: Turn | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a world of this seed, or of one drawn from `np_random`; returns its first decision. Raises
        SettingError."""
        (given,) = seeds_of(seed, 1)
        super().reset(seed=given)
        if options:
            raise SettingError(f"reset has no option {next(iter(options))!r}; there are none here")
        turn = self.shared.reset(int(self.np_random.integers(1 << 62)) if given is None else given)
        assert turn is not None, "nobody opened the app"
        self._turn, self._acts, self._k = turn, np.zeros(len(turn.people), np.int64), 0
        return row_of(turn.observations, 0), self._about(turn, 0, turn.components)

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Let the person of the last observation choose. Raises ValueError for an action outside the space."""
        if self._turn is None:
            raise ResetNeeded("everybody is gone; reset the environment before the next step")
        if not self.action_space.contains(np.asarray(action)[()]):
            raise ValueError(f"action {action!r} must be in [0, {self.shared.actions})")
        self._acts[self._k] = action
        self._k += 1
        if self._k == len(self._acts):
            last, self._turn = self._turn, self.shared.act(self._acts)
            if self._turn is None:  # told once more, of the last person, with nothing new
                told = self._about(last, self._k - 1, np.zeros_like(last.components))
                return row_of(last.observations, self._k - 1), 0.0, True, False, told
            self._acts, self._k = np.zeros(len(self._turn.people), np.int64), 0
        turn, k = self._turn, self._k
        return row_of(turn.observations, k), turn.reward.item(k), False, False, self._about(turn, k, turn.components)

    def action_masks(self) -> NDArray[np.bool_]:
        """What the person of the last observation may do now, (A,)."""
        if self._turn is None:
            raise ResetNeeded("everybody is gone; reset the environment first")
        allowed: NDArray[np.bool_] = self._turn.masks[self._k] != 0
        return allowed

    def _about(self, turn: Turn, k: int, components: NDArray[np.float64]) -> dict[str, Any]:
        return {
            "person": turn.people.item(k), "person_over": turn.over.item(k), "action_mask": turn.masks[k],
            "waiting_share": self.shared.waiting_share,
            **dict(zip(REWARD_INFO, components[k].tolist(), strict=True)),
        }  # fmt: skip

