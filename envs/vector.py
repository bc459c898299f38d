"""The native vector environment: thousands of people in one process, each at their own decision.

`gymnasium.make_vec("nextone/NextOne-v0", num_envs=1024)`. One step moves every person to the next decision or to the
end of the session, in one compiled call (`envs/batch.py`); `envs/single.py` is row 0 of a batch of one, `envs/sb3.py`
the same for stable-baselines3. Dynamics are `sim`'s, observations `envs/features.py`'s, reward `envs/reward.py`'s.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError
from nextone.sim.state import World

from .acting import ACTIONS, Ranker
from .arguments import (
    OPTIONS,
    ScenarioLike,
    in_plain_values,
    known,
    links_of,
    one_of,
    people_of,
    scenario_of,
    seeds_of,
    waits_of,
    whole,
    yes_or_no,
)
from .batch import Batch, Moved, Rows, State
from .features import Observation
from .forms import DTYPES, FEATURES, FORMS, Observations, row_of
from .reward import COMPONENTS, REWARD_INFO, RewardWeights, reward_weights

NO_ROWS = np.zeros(0, np.int64)
NO_COMPONENTS = (0.0,) * len(COMPONENTS)
NOTHING, NO_HAZARD = np.array([NO_COMPONENTS]), np.zeros(1)
OF_UNKNOWN_SEED = -1  # `np_random_seed` once `np_random` was assigned: Gymnasium's own sign


class NextOneVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """N people, each choosing among the candidates on their phone.

    scenario: a Scenario, a TOML file, a dict of "section.field" settings, or None for the defaults; how many people and
    servers it has does not matter. reward: a preset of `envs/reward.py`, a dict of weights, or RewardWeights.
    max_steps: truncate after so many steps. invalid_action: what a dead slot does, "nearest" live one or "raise".
    inference: whether a decision takes the phone's time (False: none). refresh: one more action, the last, asks for a
    page now; request_budget: at most so often an episode. days: an episode goes on over sessions, as the person comes
    back, until so many days after the first one; None: it is one session. action: what an action is, see
    `envs/acting.py`; of_order: how many slots an "order" names (None: all); ranker: who ranks where the action is
    "when". trigger: decide only after feedback or so many impressions without (None: at every swipe). queue_waits:
    waits in the server's queue, microseconds by rising probability (None: ample servers). max_episode_steps: as
    `gymnasium.make` has it: truncate after so many steps, also where the last of them ends the session. form, features,
    dtype: what an observation looks like, see `envs/forms.py`. Raises SettingError for what cannot be used.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}  # noqa: RUF012 (Gymnasium's)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        scenario: ScenarioLike = None,
        reward: str | Mapping[str, float] | RewardWeights = "default",
        max_steps: int | None = None,
        max_episode_steps: int | None = None,
        invalid_action: str = "nearest",
        inference: bool = False,
        refresh: bool = False,
        request_budget: int | None = None,
        days: int | None = None,
        action: str = "slot",
        of_order: int | None = None,
        ranker: Ranker | None = None,
        trigger: int | None = None,
        queue_waits: Sequence[int] | None = None,
        form: str = "dict",
        features: str = "all",
        dtype: str = "float32",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        whole("num_envs", num_envs, 1)
        for name, limit in (("max_steps", max_steps), ("max_episode_steps", max_episode_steps)):
            whole(name, 1 if limit is None else limit, 1)
        whole("request_budget", 0 if request_budget is None else request_budget, 0)
        for name, count in (("days", days), ("trigger", trigger)):
            whole(name, 1 if count is None else count, 1, 10_000)
        one_of("invalid_action", invalid_action, ("nearest", "raise"))
        yes_or_no("inference", inference)
        yes_or_no("refresh", refresh)
        for name, value, choices in (("form", form, FORMS), ("features", features, FEATURES), ("dtype", dtype, DTYPES)):
            one_of(name, value, choices)
        one_of("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        one_of("action", action, ACTIONS)
        one_of("autoreset_mode", autoreset_mode, (*AutoresetMode, *(mode.value for mode in AutoresetMode)))
        if request_budget is not None and not refresh:
            raise SettingError("request_budget is for nextone/NextOneRefresh-v0, where a policy may ask for pages")
        self._spec: EnvSpec | None = None
        self.num_envs, self.render_mode, self.refresh = num_envs, render_mode, refresh
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.weights, self.scenario = reward_weights(reward), scenario_of(scenario)
        if self.weights.returns and days is None:
            raise SettingError("this reward counts returns to the app, and an episode is one session; give days=7")
        self._raises, self._time_limit = invalid_action == "raise", max_episode_steps
        limits = [limit for limit in (max_steps, max_episode_steps) if limit is not None]
        self._batch = Batch(
            num_envs,
            self.scenario,
            self.weights,
            max_steps=min(limits, default=0),
            budget=-1 if request_budget is None else request_budget,
            refresh=refresh,
            action=(action, of_order, ranker),
            trigger=trigger or 0,
            days=days or 0,
            inference=inference,
            queue_waits=waits_of(queue_waits),
            form=(form, features, dtype),
        )
        self._act = np.zeros(1, np.int64)
        self._seeded = np.zeros(num_envs, np.bool_)
        self.single_observation_space = self._batch.form.space
        self._acting = self._batch.acting
        self.single_action_space = self._acting.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    # -- gymnasium's interface ----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Fresh episodes: row i of seed s is the single environment of seed s + i, episode 0; without a seed, each
        row's next episode, or one of a seed drawn from `np_random`, if that was assigned.

        options: "person" (a number or (N,) of them; 0 if not said), "network" (a link class or N of them; as drawn if
        not said), "scenario" (for all rows, until the next reset of all; of the same pool and history), "reset_mask"
        ((N,) bool: which rows; the others stay as they are). Raises SettingError for anything else.
        """
        self._open()
        options = {} if options is None else options
        if not isinstance(options, Mapping):
            raise SettingError(f"options={options!r} must be a dict of {', '.join(OPTIONS)}")
        known("reset has no option", options, OPTIONS)
        which, seeds = self._reset_rows(options.get("reset_mask")), self._seeds(seed)
        people, links = people_of(options.get("person"), self.num_envs), links_of(options.get("network"), self.num_envs)
        if "scenario" in options or len(which) == self.num_envs:
            self._use_for_all(scenario_of(options["scenario"]) if "scenario" in options else self.scenario, which)
        if seed is not None and any(given is not None for given in seeds):
            super().reset(seed=next(given for given in seeds if given is not None))
        self._seed(seeds, which)
        episodes = self._batch.episodes
        episodes["person"][which], episodes["link"][which] = people[which], links[which]
        observations = self._batch.begin(which)
        return observations, self._info(NOTHING, self._batch.shown, NO_HAZARD, np.isin(self._batch.rows, which))

    def step(
        self, actions: ArrayLike
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Every row acts: observations, rewards, terminations, truncations, info.

        info: person, episode_number, session_min, executed_slot (-1: none), training_hazard (of leaving, that the step
        held: for training only, no phone knows it), reward_valid_play and so on for each component: arrays (N,);
        action_mask (N, A) int8; each with a mask (N,) under its name with a leading underscore. Also final_obs and
        final_info where autoreset keeps them. `reset` has the same keys.
        """
        moved = self.advance(actions)
        observations, components, hazard = moved.observations, moved.components, moved.hazard
        ended = moved.terminated | moved.truncated
        finals: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            which = np.flatnonzero(ended)
            last = self._info(components, moved.shown, hazard, ended)
            final = np.full(self.num_envs, None, dtype=object)
            for i in which:
                final[i] = deepcopy(row_of(observations, i))
            finals = {"final_obs": final, "_final_obs": ended, "final_info": last, "_final_info": ended.copy()}
            observations, components, hazard = self.restart(which), components * ~ended[:, None], hazard * ~ended
        info = self._info(components, self._batch.shown, hazard, np.ones(self.num_envs, np.bool_))
        return observations, moved.reward, moved.terminated, moved.truncated, info | finals

    def render(self) -> tuple[Any, ...] | None:
        """Every person's screen: text ("ansi") or an image (H, W, 3) uint8 ("rgb_array"); None without a mode."""
        from .screen import frame  # it loads matplotlib, which few need

        self._begun()
        if self.render_mode is None:
            return None
        return tuple(frame(self.world, i, self._batch.shown[i], self.render_mode) for i in range(self.num_envs))

    def action_masks(self) -> NDArray[np.bool_]:
        """What each row may do now, (N, A): the masks of the last observations."""
        self._begun()
        return self._batch.allowed.copy()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """What a method or attribute of each row's single environment is, a tuple of N, as Gymnasium's own vector
        environments have it. Raises SettingError for a method that no row has for itself."""
        if name == "action_masks":
            return tuple(self.action_masks(*args, **kwargs))
        if name == "render":
            return self.render(*args, **kwargs) or (None,) * self.num_envs
        if name == "np_random_seed":
            return tuple(self._batch.episodes["seed"].tolist())
        value = getattr(self, f"single_{name}" if name in ("observation_space", "action_space") else name)
        if callable(value):
            raise SettingError(f"{name} is for all rows of one world together; call it on the environment itself")
        return (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """`call` without arguments."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Raises SettingError: rows have no attributes of their own."""
        raise SettingError(f"{name} cannot be set: rows of one world have no attributes of their own")

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made by `gymnasium.make_vec`, in plain values that fit into JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = in_plain_values(spec)

    # -- what single.py and sb3.py share ------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """The world that all rows live in; `reset` with another scenario makes another one."""
        return self._batch.world

    def advance(self, actions: ArrayLike) -> Moved:
        """One step of every row, without info. Rows that are over begin anew, but for autoreset mode DISABLED."""
        self._begun()
        acts, over = self._checked(actions), np.flatnonzero(self._batch.over())
        if self.autoreset_mode == AutoresetMode.DISABLED and len(over):
            raise ResetNeeded(f"environment {over[0]} has ended; reset it before the next step")
        return self._timed(self._batch.step(acts, over))

    def advance_one(self, action: Any) -> Moved:
        """`advance` of a batch of one, its action alone; observations are that one's."""
        batch = self._batch
        quick = batch.begun and not (self.closed or self._raises or self._acting.ranks or batch.over_one())
        if not quick or type(action) not in (int, np.int64) or not 0 <= action < batch.actions:
            moved = self.advance([action])
            return moved._replace(observations=row_of(moved.observations, 0))
        self._act[0] = action
        return self._timed(batch.step(self._act, NO_ROWS, alone=True))

    def restart(self, which: Rows) -> Observations:
        """The next episodes of the rows `which` (n,), seen in their rows of the last observations, which change."""
        return self._batch.restart(which)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that changes from step to step, as arrays with a row per person; write into them to go back to a state
        of an environment made alike."""
        return self._batch.state()

    def get_state(self) -> State:
        """A copy of all that the future depends on, beside this environment's arguments and the actions to come."""
        self._begun()
        state = self._batch.keep()
        return state._replace(arrays=state.arrays | {"seeded": self._seeded.copy()})

    def set_state(self, state: State) -> None:
        """Go back to a state of this environment, or of one made with the same arguments: the same actions bring the
        same bits again. Raises SettingError for a state of another kind of environment."""
        self._open()
        arrays = dict(state.arrays)
        seeded = arrays.pop("seeded", None)
        self._batch.go_back(state._replace(arrays=arrays))
        self._seeded[:] = seeded

    def observation(self) -> Observation:
        """What every row's phone knows, as policies see it: views of the last observations, whatever their form."""
        self._begun()
        return self._batch.observation()

    def about(self, i: int, components: Sequence[float] = NO_COMPONENTS, hazard: float = 0.0) -> dict[str, Any]:
        """The info of row i: who it is, how long the session has lasted, what the last step brought and held."""
        batch = self._batch
        people, numbers = batch.who
        return {
            "person": people.item(i), "episode_number": numbers.item(i), "session_min": batch.minutes(i),
            "executed_slot": batch.shown.item(i), "action_mask": batch.allowed[i].astype(np.int8),
            "training_hazard": hazard,
            **dict(zip(REWARD_INFO, components, strict=True)),
        }  # fmt: skip

    # -- the inside ---------------------------------------------------------------------------------------------------

    def _use_for_all(self, scenario: Scenario, which: NDArray[np.int64]) -> None:
        used = self._batch.scenario
        if scenario == used:
            return
        if len(which) < self.num_envs:
            raise SettingError("option scenario holds for all rows; reset all of them, without a reset_mask")
        for name, new, old in (
            ("pool slots", scenario.pool_slots, used.pool_slots),
            ("client.history", scenario.client.history, used.client.history),
        ):
            if new != old:
                raise SettingError(f"option scenario has {name}={new}, the observation {old}; make a new environment")
        self._batch.use(scenario)

    def _reset_rows(self, mask: Any) -> NDArray[np.int64]:
        if mask is None:
            return self._batch.rows
        good = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,) and mask.dtype == np.bool_
        if not good or not mask.any():
            raise SettingError(f"reset_mask must be a bool array of shape ({self.num_envs},) with at least one True")
        if not mask.all():
            self._begun()
        return np.flatnonzero(mask)

    def _seeds(self, given: int | Sequence[int | None] | None) -> list[int | None]:
        """Each row's seed; where none is given, drawn from the `np_random` that somebody has assigned, if so."""
        if given is None and self._np_random_seed == OF_UNKNOWN_SEED:
            given = self.np_random.integers(1 << 63, size=self.num_envs).tolist()
        return seeds_of(given, self.num_envs)

    def _seed(self, seeds: list[int | None], which: NDArray[np.int64]) -> None:
        """Row i's seed and episode number: a seed begins at episode 0; without one it is the next."""
        for i in which.tolist():
            episode, seed = self._batch.episodes[i], seeds[i]
            if seed is not None:
                episode["seed"], episode["number"] = seed, 0
            elif self._seeded[i]:
                episode["number"] += 1
            else:
                episode["seed"] = np.uint64((int(self.np_random_seed or 0) + i) % 2**64)
            self._seeded[i] = True

    def _checked(self, actions: ArrayLike) -> NDArray[Any]:
        """Actions as slots (N,) int64 or scores (N, A). Raises ValueError."""
        if self._acting.ranks:
            return self._acting.scores(actions, self.num_envs, self._batch.observation)
        acts = np.asarray(actions)
        size = self._batch.actions
        if acts.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {acts.shape}, must be ({self.num_envs},): one for each environment")
        if acts.dtype.kind not in "iu":
            raise ValueError(f"actions are {acts.dtype}, must be whole numbers in [0, {size})")
        wrong = (acts < 0) | (acts >= size)
        if np.count_nonzero(wrong):
            i = int(np.argmax(wrong))
            raise ValueError(f"action {acts[i]} of environment {i} must be in [0, {size})")
        acts = acts.astype(np.int64)
        if self._raises:
            dead = ~self._batch.masks[self._batch.rows, acts] & ~self._batch.over()
            if dead.any():
                i = int(np.argmax(dead))
                live = np.flatnonzero(self._batch.masks[i]).tolist()
                raise ValueError(f"action {acts[i]} of environment {i} is masked; allowed are {live}")
        return acts

    def _info(
        self, components: NDArray[Any], shown: NDArray[Any], hazard: NDArray[Any], mask: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """The info of the rows of the mask: `about`, an array for each key. components (N, K) or (1, K)."""
        users, episodes = self.world.users, self._batch.episodes
        told = {
            "person": episodes["person"].astype(np.int64), "episode_number": episodes["number"],
            "session_min": (users["now_us"] - users["opened_us"]) / 6e7, "executed_slot": shown,
            "training_hazard": hazard,
        }  # fmt: skip
        told = {name: values * mask for name, values in told.items()}
        told["action_mask"] = self._batch.allowed * mask[:, None].view(np.int8)
        told |= dict(zip(REWARD_INFO, components.T * mask, strict=True))
        return told | {f"_{name}": mask.copy() for name in told}

    def _timed(self, moved: Moved) -> Moved:
        """`moved`, truncated where `max_episode_steps` are over: the world's own limit leaves out who has left then."""
        if self._time_limit is None:
            return moved
        truncated = moved.truncated | (moved.terminated & (self._batch.episodes["steps"] >= self._time_limit))
        return moved._replace(truncated=truncated)

    def _open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environment is closed; make a new one")

    def _begun(self) -> None:
        self._open()
        if not self._batch.begun:
            raise ResetNeeded("the environment was not reset yet; call reset first")
