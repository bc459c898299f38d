"""The native vector environment as a stable-baselines3 `VecEnv`, with action masks for sb3-contrib. Nothing is copied
but final observations. Called by training code.

    NextOneVecEnv(gymnasium.make_vec("nextone/NextOne-v0", num_envs=64, autoreset_mode="SameStep"))
"""

from collections.abc import Sequence
from copy import deepcopy
from time import perf_counter
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from nextone.sim.scenario import SettingError

from .batch import Moved
from .forms import row_of
from .reward import COMPONENTS
from .vector import NextOneVectorEnv


class NextOneVecEnv(VecEnv):
    """N people for stable-baselines3. The native environment must reset itself in the same step.

    A finished episode's info has terminal_observation, TimeLimit.truncated, and episode: r (return), l (steps), t
    (seconds since this was created) and the episode's total of each reward component. `moved` is the last step in the
    native environment's form."""

    def __init__(self, env: NextOneVectorEnv) -> None:
        if not isinstance(env, NextOneVectorEnv) or env.autoreset_mode != AutoresetMode.SAME_STEP:
            raise SettingError(f"{env!r} must be a NextOneVectorEnv with autoreset_mode=SameStep")
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._start = perf_counter()
        self._forget()

    def reset(self) -> Any:
        """Begin fresh episodes, with the seeds and options given since the last reset; returns their observations."""
        names = self._options[0]
        if any(set(given) != set(names) for given in self._options):
            raise SettingError("set_options must give every environment the same names")
        options = {name: [given[name] for given in self._options] for name in names}
        if "scenario" in options:
            options["scenario"] = options["scenario"][0]
        observations, _ = self.env.reset(seed=self._seeds, options=options)
        self.reset_infos = [self.env.about(i) for i in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        self._forget()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        """Observations, rewards float32, dones, infos."""
        return self.tell(self.env.advance(self._actions))

    def tell(self, moved: Moved) -> tuple[Any, NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        """A step of the native environment in the form that `step_wait` returns; rows whose episode has ended begin the
        next one."""
        self.moved = moved
        self._totals += moved.components
        self._return += moved.reward
        self._steps += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        dones = moved.terminated | moved.truncated
        which = np.flatnonzero(dones)
        for i in which:
            totals = dict(zip(COMPONENTS, self._totals[i].tolist(), strict=True))
            about = {"r": float(self._return[i]), "l": int(self._steps[i]), "t": perf_counter() - self._start}
            infos[i] = {
                "terminal_observation": deepcopy(row_of(moved.observations, i)),
                "TimeLimit.truncated": bool(moved.truncated[i]),
                "episode": about | totals,
            }
        self._totals[which], self._return[which], self._steps[which] = 0.0, 0.0, 0
        observations = self.env.restart(which) if len(which) else moved.observations
        return observations, moved.reward.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each row asked for; it is the same for all."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises SettingError: rows have no attributes of their own."""
        self.env.set_attr(attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """What `NextOneVectorEnv.call` returns for the rows asked for."""
        answers = self.env.call(method_name, *method_args, **method_kwargs)
        return [answers[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """False for each row asked for."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The screen of each person."""
        return self.env.render() or [None] * self.num_envs

    def _forget(self) -> None:
        n = self.num_envs
        self._totals, self._return, self._steps = np.zeros((n, len(COMPONENTS))), np.zeros(n), np.zeros(n, np.int64)
