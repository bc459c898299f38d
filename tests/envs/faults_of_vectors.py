"""Faults of vector environments: rows, seeds, final observations and autoreset.

Not a test module; tests/envs/faults.py puts them together with the others."""

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from planting import Faults

FAULTS = Faults()
batches = FAULTS.batches


@batches("the final observation is overwritten", "final-overwritten", mode=AutoresetMode.SAME_STEP, listed=True)
class _(SyncVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        self.finals = getattr(self, "finals", [np.zeros(4, np.float32) for _ in range(self.num_envs)])
        for i in np.flatnonzero(terminated | truncated):
            self.finals[i][:] = infos["final_obs"][i]
            infos["final_obs"][i] = self.finals[i]
        return observations, rewards, terminated, truncated, infos


@batches("the final observation is the next episode's first", "final-wrong", mode=AutoresetMode.SAME_STEP)
class _(SyncVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        for i in np.flatnonzero(terminated | truncated):
            infos["final_obs"][i] = observations[i].copy()
        return observations, rewards, terminated, truncated, infos


@batches("the final observation is missing", "final-missing", mode=AutoresetMode.SAME_STEP)
class _(SyncVectorEnv):
    def step(self, actions):
        *answer, infos = super().step(actions)
        return (*answer, {name: value for name, value in infos.items() if "final" not in name})


@batches("says next-step autoreset, does it in the same step", "autoreset-disagrees", "row-differs",
         mode=AutoresetMode.SAME_STEP, listed=True)  # fmt: skip
class _(SyncVectorEnv):
    def __init__(self, *how, **more):
        super().__init__(*how, **more)
        self.metadata = self.metadata | {"autoreset_mode": AutoresetMode.NEXT_STEP}


@batches("says same-step autoreset, does it in the next", "final-missing", "row-differs")
class _(SyncVectorEnv):
    def __init__(self, *how, **more):
        super().__init__(*how, **more)
        self.metadata = self.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}


@batches("the step that resets pays a reward", "autoreset-disagrees", "row-differs")
class _(SyncVectorEnv):
    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return (observations, np.ones_like(rewards), *rest)


@batches("all rows have the first one's seed", "row-differs")
class _(SyncVectorEnv):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=[seed] * self.num_envs if isinstance(seed, int) else seed, options=options)


@batches("rows get their neighbour's action", "row-differs")
class _(SyncVectorEnv):
    def step(self, actions):
        return super().step(np.roll(actions, 1))


@batches("one observation buffer for all steps", "observation-reused")
class _(SyncVectorEnv):
    def __init__(self, *how, **more):
        super().__init__(*how, **more, copy=False)


@batches("a row's end is told a step late", "row-differs", "autoreset-disagrees")
class _(SyncVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        told = getattr(self, "told", np.zeros(self.num_envs, bool))
        self.told = terminated.copy()
        return observations, rewards, told, truncated, infos


@batches("a row changes when another one ends", "row-differs")
class _(SyncVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        if terminated[0]:
            self.envs[-1].unwrapped.state = tuple(0.9 * x for x in self.envs[-1].unwrapped.state)
        return observations, rewards, terminated, truncated, infos


@batches("says nothing of its autoreset mode", "autoreset-mode")
class _(SyncVectorEnv):
    def __init__(self, *how, **more):
        super().__init__(*how, **more)
        self.metadata = {name: value for name, value in self.metadata.items() if name != "autoreset_mode"}
