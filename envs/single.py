"""One person as a Gymnasium environment: `gymnasium.make("nextone/NextOne-v0")`, row 0 of a batch of one."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from .arguments import ScenarioLike
from .batch import Observations
from .reward import COMPONENTS, RewardWeights
from .vector import NextOneVectorEnv


class NextOneEnv(gymnasium.Env[Observations, np.int64]):
    """One person choosing among the candidates on the phone. Arguments as of `NextOneVectorEnv`.

    An episode is a session. reset(seed=s) begins episode 0 of seed s, each reset without a seed the next one; options:
    "person", "network", "scenario". Stepping after the end raises ResetNeeded.
    """

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
        queue_waits: Sequence[int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.batch = NextOneVectorEnv(
            1, scenario=scenario, reward=reward, max_steps=max_steps, invalid_action=invalid_action,
            inference=inference, refresh=refresh, request_budget=request_budget, queue_waits=queue_waits,
            autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode,
        )  # fmt: skip
        self.render_mode = render_mode
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """The first decision of a fresh session. Raises SettingError for unknown options."""
        super().reset(seed=seed)
        observations, _ = self.batch.reset(seed=seed, options=options)
        return _row(observations), self.batch.about(0)

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """On to the next decision. Raises ValueError for an action outside the space."""
        moved = self.batch.advance_one(action)
        info = self.batch.about(0)
        info["components"] = dict(zip(COMPONENTS, moved.components[0].tolist(), strict=True))
        info["executed_slot"] = moved.shown.item(0)
        return (
            _row(moved.observations), moved.reward.item(0), moved.terminated.item(0), moved.truncated.item(0), info
        )  # fmt: skip

    def render(self) -> Any:
        """The phone's screen: text ("ansi") or an image ("rgb_array")."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def action_masks(self) -> NDArray[np.bool_]:
        """What may be done now, (A,)."""
        masks: NDArray[np.bool_] = self.batch.action_masks()[0]
        return masks

    def close(self) -> None:
        """Further use raises ClosedEnvironmentError."""
        self.batch.close()


def _row(observations: Observations) -> Observations:
    return {name: array[0] for name, array in observations.items()}
