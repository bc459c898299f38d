"""One person as a Gymnasium environment: `gymnasium.make("nextone/NextOne-v0")`, row 0 of a batch of one."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from .acting import Ranker
from .arguments import ScenarioLike, in_plain_values
from .batch import State
from .forms import Observations, row_of
from .reward import RewardWeights
from .vector import OF_UNKNOWN_SEED, NextOneVectorEnv


class NextOneEnv(gymnasium.Env[Observations, np.int64]):
    """One person who chooses among the candidates on the phone. Arguments are those of `NextOneVectorEnv`.

    An episode is a session. reset(seed=s) begins episode 0 of seed s. A reset without a seed begins the next episode,
    or one of a seed drawn from `np_random`, if that was assigned. options: "person", "network", "scenario". Stepping
    after the end raises ResetNeeded. A copy (`copy.deepcopy`, pickled) goes on independently, with the same bits."""

    metadata: dict[str, Any] = NextOneVectorEnv.metadata

    def __init__(
        self,
        *,
        scenario: ScenarioLike = None,
        reward: str | Mapping[str, float] | RewardWeights = "default",
        max_steps: int | None = None,
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
        render_mode: str | None = None,
    ) -> None:
        self.batch = NextOneVectorEnv(
            1, scenario=scenario, reward=reward, max_steps=max_steps, invalid_action=invalid_action,
            inference=inference, refresh=refresh, request_budget=request_budget, days=days, action=action,
            of_order=of_order, ranker=ranker, trigger=trigger, queue_waits=queue_waits,
            form=form, features=features, dtype=dtype, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode,
        )  # fmt: skip
        self.render_mode = render_mode
        self._spec: EnvSpec | None = None
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a fresh session; returns its first decision. Raises SettingError for unknown options."""
        super().reset(seed=seed)
        if seed is None and self._np_random_seed == OF_UNKNOWN_SEED:
            self.batch.np_random = self.np_random
        observations, _ = self.batch.reset(seed=seed, options=options)
        return row_of(observations, 0), self.batch.about(0)

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Go on to the next decision. Raises ValueError for an action outside the space."""
        moved = self.batch.advance_one(action)
        return (
            moved.observations, moved.reward.item(0), moved.terminated.item(0), moved.truncated.item(0),
            self.batch.about(0, moved.components[0].tolist(), moved.hazard.item(0)),
        )  # fmt: skip

    def render(self) -> Any:
        """The phone's screen: text ("ansi") or an image ("rgb_array")."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def action_masks(self) -> NDArray[np.bool_]:
        """What may be done now, (A,)."""
        masks: NDArray[np.bool_] = self.batch.action_masks()[0]
        return masks

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made by `gymnasium.make`, in plain values that fit into JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = in_plain_values(spec)

    def get_state(self) -> State:
        """A copy of all that the future depends on, besides this environment's arguments and the actions to come."""
        return self.batch.get_state()

    def set_state(self, state: State) -> None:
        """Go back to a state of this environment, or of one with the same arguments: the same actions bring the same
        bits again. Raises SettingError for a state of another kind of environment."""
        self.batch.set_state(state)

    def close(self) -> None:
        """End the use of the environment; later calls raise ClosedEnvironmentError."""
        self.batch.close()

