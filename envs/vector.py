"""The native vector environment: thousands of people in one process, each at their own decision.

`gymnasium.make_vec("nextone/NextOne-v0", num_envs=1024)`. One step moves every person to the next decision or to the
end of the session, in one compiled call; `envs/single.py` is row 0 of a batch of one, `envs/sb3.py` the same for
stable-baselines3. All dynamics are `sim`'s; observations are `envs/features.py`'s, reward `envs/reward.py`'s.
"""

from collections.abc import Mapping, Sequence
from sys import getrefcount
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError
from nextone.sim.state import World, row_bytes
from nextone.sim.world import build_world

from .arguments import (
    OPTIONS,
    ScenarioLike,
    known,
    links_of,
    observation_space,
    one_of,
    people_of,
    scenario_of,
    seeds_of,
    waits_of,
    whole,
)
from .episode import (
    EPISODE,
    LOG_ROWS,
    OVER,
    UNBORN,
    WINDOW_US,
    Views,
    begin_rows,
    look_rows,
    step_block,
    step_parallel,
)
from .features import CANDIDATE, CONTEXT, HISTORY
from .reward import COMPONENTS, RewardWeights, reward_weights

Observations = dict[str, NDArray[Any]]

PARALLEL_FROM = 128  # rows; entering a parallel region costs about as much as moving a few of them
UNHELD = 3  # references to an array that a list holds, seen from a loop over that list: list, loop, getrefcount's own
UNITS = np.array([units for units, _ in COMPONENTS.values()], np.float64)


class Moved(NamedTuple):
    """What one step of every row brought; fresh arrays."""

    observations: Observations
    reward: NDArray[np.float64]  # (N,)
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    components: NDArray[np.float64]  # (N, K), in the order of reward.COMPONENTS
    shown: NDArray[np.int64]  # (N,) slot whose video was shown, -1 if none of them


class NextOneVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """N people, each choosing among the candidates on their phone.

    scenario: a Scenario, a TOML file, a dict of "section.field" settings, or None for the defaults; how many people and
    servers it has does not matter. reward: a preset of `envs/reward.py`, a dict of weights, or RewardWeights.
    max_steps: truncate after so many steps. invalid_action: what a dead slot does, "nearest" live one or "raise".
    inference: whether a decision takes the phone's time (False: none). refresh: one more action, the last, asks for a
    page now; request_budget: at most so often an episode. queue_waits: waits in the server's queue, microseconds by
    rising probability (None: ample servers). Raises SettingError for what cannot be used.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}

    def __init__(
        self,
        num_envs: int = 1,
        *,
        scenario: ScenarioLike = None,
        reward: str | Mapping[str, float] | RewardWeights = "default",
        max_steps: int | None = None,
        invalid_action: str = "nearest",
        inference: bool = False,
        refresh: bool = False,
        request_budget: int | None = None,
        queue_waits: Sequence[int] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        whole("num_envs", num_envs, 1)
        whole("max_steps", 1 if max_steps is None else max_steps, 1)
        whole("request_budget", 0 if request_budget is None else request_budget, 0)
        one_of("invalid_action", invalid_action, ("nearest", "raise"))
        one_of("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        one_of("autoreset_mode", autoreset_mode, (*AutoresetMode, *(mode.value for mode in AutoresetMode)))
        if request_budget is not None and not refresh:
            raise SettingError("request_budget is for nextone/NextOneRefresh-v0, where a policy may ask for pages")
        self.num_envs, self.render_mode, self.refresh = num_envs, render_mode, refresh
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.weights = reward_weights(reward)
        self._weights = self.weights.array()
        self._max_steps, self._budget = max_steps or 0, -1 if request_budget is None else request_budget
        self._raises, self._inference = invalid_action == "raise", bool(inference)
        self._queue_waits = waits_of(queue_waits)
        self.scenario = scenario_of(scenario)
        self._rows = np.arange(num_envs)
        self._episodes = np.zeros(num_envs, EPISODE)
        self._use(self.scenario)
        slots, past = self.world.pool.shape[1], self.world.history.shape[1]
        self._masks = np.zeros((num_envs, slots + refresh), np.bool_)
        self._known = (
            np.zeros((num_envs, slots, len(CANDIDATE)), np.float32),
            np.zeros((num_envs, slots), np.int64),
            np.zeros((num_envs, past, len(HISTORY)), np.float32),
        )
        self._spare: list[NDArray[np.float32]] = []
        self._acted = np.full(num_envs, -1)
        self._seeded = np.zeros(num_envs, np.bool_)
        self.single_observation_space = observation_space(slots, past, slots + refresh)
        self.single_action_space = spaces.Discrete(slots + refresh)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    # -- gymnasium's interface ----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Fresh episodes: row i of seed s is the single environment of seed s + i, episode 0; without a seed, each
        row's next episode.

        options: "person" (a number or (N,) of them; 0 if not said), "network" (a link class or N of them; as drawn if
        not said), "scenario" (for all rows, until the next reset of all; of the same pool and history), "reset_mask"
        ((N,) bool: which rows; the others stay as they are). Raises SettingError for anything else.
        """
        options = {} if options is None else options
        known("reset has no option", options, OPTIONS)
        self._open()
        which = self._reset_rows(options.get("reset_mask"))
        if "scenario" in options or len(which) == self.num_envs:
            self._use_for_all(scenario_of(options["scenario"]) if "scenario" in options else self.scenario, which)
        people, links = people_of(options.get("person"), self.num_envs), links_of(options.get("network"), self.num_envs)
        self._seed(seeds_of(seed, self.num_envs), which)
        self._episodes["person"][which], self._episodes["link"][which] = people[which], links[which]
        observations = self._begin(which)
        return observations, self._about(np.isin(self._rows, which))

    def step(
        self, actions: ArrayLike
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Every row acts: observations, rewards, terminations, truncations, info.

        info: executed_slot, components (a dict), person, session_min, episode_number: arrays (N,), each with a mask
        under its name with a leading underscore, and final_obs and final_info where autoreset keeps them.
        """
        again = self._episodes["state"] == OVER
        moved = self.advance(actions)
        observations = moved.observations
        info = self._about(np.ones(self.num_envs, np.bool_)) | self._told(moved.components, moved.shown, ~again)
        ended = moved.terminated | moved.truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            which = np.flatnonzero(ended)
            final = np.full(self.num_envs, None, dtype=object)
            for i in which:
                final[i] = {name: array[i].copy() for name, array in observations.items()}
            last = self._about(ended) | self._told(moved.components, moved.shown, ended)
            observations = self.restart(which, observations)
            info = self._about(np.ones(self.num_envs, np.bool_)) | self._told(moved.components, moved.shown, ~ended)
            info |= {"final_obs": final, "_final_obs": ended, "final_info": last, "_final_info": ended.copy()}
        return observations, moved.reward, moved.terminated, moved.truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """Every person's screen: text ("ansi") or an image (H, W, 3) uint8 ("rgb_array"); None without a mode."""
        from .screen import frame  # matplotlib: few need it

        self._begun()
        if self.render_mode is None:
            return None
        return tuple(frame(self.world, i, self._acted[i], self.render_mode) for i in range(self.num_envs))

    def action_masks(self) -> NDArray[np.bool_]:
        """What each row may do now, (N, A): the masks of the last observations."""
        self._begun()
        return self._masks.copy()

    # -- what single.py and sb3.py share ------------------------------------------------------------------------------

    def advance(self, actions: ArrayLike) -> Moved:
        """One step of every row, without info. Rows that are over begin anew, but for autoreset mode DISABLED."""
        self._begun()
        acts = self._checked(actions)
        n, kinds = self.num_envs, len(UNITS)
        views = self._views()
        moved = Moved(
            {}, np.empty(n), np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty((n, kinds)), np.empty(n, np.int64)
        )
        over = self._episodes["state"] == OVER
        if over.any():
            if self.autoreset_mode == AutoresetMode.DISABLED:
                raise ResetNeeded(f"environment {int(np.argmax(over))} has ended; reset it before the next step")
            self._episodes["person"][over], self._episodes["link"][over] = 0, -1
        world, many = self.world, len(self.world.logged) > 1
        head = (world, self._row_bytes, self._episodes)
        tail = (
            acts, UNITS, self._weights, self._max_steps, self._budget, views,
            moved.components, moved.reward, moved.terminated, moved.truncated, moved.shown,
        )  # fmt: skip
        if many:
            step_parallel(*head, *tail)
        else:
            step_block(*head, 0, n, 0, *tail)
        self._acted = moved.shown
        return moved._replace(observations=self._seen(views))

    def restart(self, which: NDArray[np.int64], observations: Observations) -> Observations:
        """The next episodes of the rows `which`, seen in their rows of fresh observations."""
        self._episodes["number"][which] += 1
        self._episodes["person"][which], self._episodes["link"][which] = 0, -1
        return self._begin(which, observations)

    def about(self, i: int) -> dict[str, Any]:
        """Who is in row i, and how long the session has lasted."""
        user, episode = self.world.users[i], self._episodes[i]
        return {
            "person": int(episode["person"]),
            "episode_number": int(episode["number"]),
            "session_min": float((user["now_us"] - user["opened_us"]) / 6e7),
        }

    # -- the inside ---------------------------------------------------------------------------------------------------

    def _use(self, scenario: Scenario) -> None:
        """Build the world of a scenario; nobody has opened the app in it yet."""
        if scenario.server.candidates < 2:
            raise SettingError("server.candidates=1 leaves nothing to choose; an environment needs at least 2")
        people = scenario.population.model_copy(update={"users": self.num_envs})
        self.world: World = build_world(
            scenario.model_copy(update={"population": people}),
            edge=True,
            seed=0,
            window_us=WINDOW_US,
            log_rows=LOG_ROWS,
            parts=numba.get_num_threads() if self.num_envs >= PARALLEL_FROM else 1,
            queue_waits=self._queue_waits,
        )
        if not self._inference:
            self.world.params["inference_us"] = 0
        self._row_bytes = row_bytes(self.world)
        self._used = scenario
        self._episodes["state"] = UNBORN

    def _use_for_all(self, scenario: Scenario, which: NDArray[np.int64]) -> None:
        if scenario == self._used:
            return
        if len(which) < self.num_envs:
            raise SettingError("option scenario holds for all rows; reset all of them, without a reset_mask")
        for name, new, old in (
            ("pool slots", scenario.pool_slots, self._used.pool_slots),
            ("client.history", scenario.client.history, self._used.client.history),
        ):
            if new != old:
                raise SettingError(f"option scenario has {name}={new}, the observation {old}; make a new environment")
        self._use(scenario)

    def _reset_rows(self, mask: Any) -> NDArray[np.int64]:
        if mask is None:
            return self._rows
        good = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,) and mask.dtype == np.bool_
        if not good or not mask.any():
            raise SettingError(f"reset_mask must be a bool array of shape ({self.num_envs},) with at least one True")
        if not mask.all():
            self._begun_but(mask)
        return np.flatnonzero(mask)

    def _seed(self, seeds: list[int | None], which: NDArray[np.int64]) -> None:
        """Row i's seed and episode number: a seed begins at episode 0; without one it is the next."""
        given = [seed for seed in seeds if seed is not None]
        if given:
            super().reset(seed=given[0])
        for i in which.tolist():
            episode, seed = self._episodes[i], seeds[i]
            if seed is not None:
                episode["seed"], episode["number"] = seed, 0
            elif self._seeded[i]:
                episode["number"] += 1
            else:
                episode["seed"] = np.uint64((int(self.np_random_seed or 0) + i) % 2**64)
            self._seeded[i] = True

    def _begin(self, which: NDArray[np.int64], onto: Observations | None = None) -> Observations:
        """Episodes begin in the rows `which`; everybody's observation, or theirs written onto fresh ones."""
        views = self._views(onto)
        begin_rows(self.world, self._row_bytes, self._episodes, which, self._budget, views)
        if onto is None and len(which) < self.num_envs:
            look_rows(self.world, self._episodes, np.setdiff1d(self._rows, which), self._budget, views)
        self._acted[which] = -1
        return self._seen(views)

    def _views(self, onto: Observations | None = None) -> Views:
        """Where the next observations go: memory that nobody else holds, or the fresh observations `onto`."""
        if onto is not None:
            return Views(onto["candidates"], onto["history"], onto["context"], self._masks, *self._known)
        n, slots, past = self.num_envs, self.world.pool.shape[1], self.world.history.shape[1]
        first, second = n * slots * len(CANDIDATE), n * past * len(HISTORY)
        room = self._room(first + second + n * len(CONTEXT))
        return Views(
            room[:first].reshape(n, slots, -1), room[first : first + second].reshape(n, past, -1),
            room[first + second :].reshape(n, -1), self._masks, *self._known,
        )  # fmt: skip

    def _room(self, size: int) -> NDArray[np.float32]:
        """Memory of `size` numbers. Page faults would cost as much as the features: what no array looks at any more is
        taken again; an observation that anybody still holds is never written to."""
        for spare in self._spare:
            if getrefcount(spare) == UNHELD:
                return spare
        self._spare = [*self._spare[-3:], np.empty(size, np.float32)]
        return self._spare[-1]

    def _seen(self, views: Views) -> Observations:
        return {
            "candidates": views.candidates,
            "context": views.context,
            "history": views.history,
            "mask": self._masks.copy().view(np.int8),
        }

    def _checked(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Actions as int64 (N,). Raises ValueError."""
        acts = np.asarray(actions)
        size = self._masks.shape[1]
        if acts.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {acts.shape}, must be ({self.num_envs},): one for each environment")
        if acts.dtype.kind not in "iu":
            raise ValueError(f"actions are {acts.dtype}, must be whole numbers in [0, {size})")
        wrong = (acts < 0) | (acts >= size)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(f"action {acts[i]} of environment {i} must be in [0, {size})")
        acts = acts.astype(np.int64)
        if self._raises:
            dead = ~self._masks[self._rows, acts] & (self._episodes["state"] != OVER)
            if dead.any():
                i = int(np.argmax(dead))
                live = np.flatnonzero(self._masks[i]).tolist()
                raise ValueError(f"action {acts[i]} of environment {i} is masked; allowed are {live}")
        return acts

    def _about(self, mask: NDArray[np.bool_]) -> dict[str, Any]:
        """Who is where, for the rows of the mask."""
        users, episodes = self.world.users, self._episodes
        told = {
            "person": episodes["person"].astype(np.int64) * mask,
            "episode_number": episodes["number"] * mask,
            "session_min": (users["now_us"] - users["opened_us"]) / 6e7 * mask,
        }
        return told | {f"_{name}": mask.copy() for name in told}

    def _told(self, components: NDArray[Any], shown: NDArray[Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
        """What the step brought, for the rows of the mask."""
        parts: dict[str, Any] = {name: components[:, k] * mask for k, name in enumerate(COMPONENTS)}
        parts |= {f"_{name}": mask.copy() for name in COMPONENTS}
        return {
            "components": parts, "_components": mask.copy(),
            "executed_slot": shown * mask, "_executed_slot": mask.copy(),
        }  # fmt: skip

    def _open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environment is closed; make a new one")

    def _begun(self) -> None:
        self._open()
        self._begun_but(np.zeros(self.num_envs, np.bool_))

    def _begun_but(self, which: NDArray[np.bool_]) -> None:
        if ((self._episodes["state"] == UNBORN) & ~which).any():
            raise ResetNeeded("the environment was not reset yet; call reset first")
