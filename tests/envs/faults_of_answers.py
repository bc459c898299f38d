"""Faults of single answers: observations, rewards, ends and counters, masks, what an action does, and their form.

Not a test module; tests/envs/faults.py puts them together with the others."""

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv
from planting import Faults
from sound import PENDULUM_LIMIT, SHELF_LIMIT, Shelf

FAULTS = Faults()
answers, acts, overrides = FAULTS.answers, FAULTS.acts, FAULTS.overrides


# -- observations -----------------------------------------------------------------------------------------------------


@answers("pendulum", "the observation leaves its space late", "observation-out-of-space", listed=True)
def _(kept, said):
    if kept.steps > 25:
        said.observation = said.observation * np.float32(1.2) + np.array([0, 0, 9], np.float32)


@answers("shelf", "a column exceeds its bound late", "observation-out-of-space", "counter-wrong")
def _(kept, said):
    said.observation["context"][0] = min(said.observation["context"][0] * 1.04, 1.04)


@answers("pendulum", "NaN late in an episode", "observation-not-finite", listed=True)
def _(kept, said):
    if kept.steps == 28:
        said.observation[1] = np.nan


@answers("cart", "float64 from step, float32 from reset", "observation-type", listed=True)
def _(kept, said):
    said.observation = said.observation.astype(np.float32 if said.first else np.float64)


@answers("cart", "another shape in the last step", "observation-type", "raised")
def _(kept, said):
    if said.terminated or said.truncated:
        said.observation = said.observation[None]


@overrides("cart", "the observation space changes at reset", "space-changed")
class _(CartPoleEnv):
    def reset(self, **how):
        high = self.observation_space.high + 1
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        return super().reset(**how)


@overrides("shelf", "the observation tells the next draw", "future-leak", listed=True)
class _(Shelf):
    def _get_obs(self):
        ahead = np.random.Generator(np.random.PCG64())
        ahead.bit_generator.state = self.np_random.bit_generator.state
        seen = super()._get_obs()
        seen["context"][1] = ahead.random()
        return seen


@overrides("shelf", "the mood shown tells whether the person will stay", "future-leak")
class _(Shelf):
    def _get_obs(self):
        ahead = np.random.Generator(np.random.PCG64())
        ahead.bit_generator.state = self.np_random.bit_generator.state
        stays = ahead.random(3)[2] >= 0.1 * (1.0 - self.mood)
        seen = super()._get_obs()
        seen["context"][1] *= stays
        return seen


# -- rewards ----------------------------------------------------------------------------------------------------------


@answers("shelf", "the reward is the last step's", "components-differ", "ledger-differs", listed=True)
def _(kept, said):
    kept.reward, said.reward = said.reward, 0.0 if said.first else getattr(kept, "reward", 0.0)


@answers("shelf", "reward and components are both the last step's", "ledger-differs")
def _(kept, said):
    now = said.reward, said.info.get("components", {"play": 0.0, "like": 0.0, "leaving": 0.0})
    if not said.first:
        said.reward, said.info["components"] = kept.last
    kept.last = (0.0, now[1]) if said.first else now


@answers("pendulum", "the reward comes a step late", "reward-late")
def _(kept, said):
    kept.reward, said.reward = said.reward, 0.0 if said.first else getattr(kept, "reward", 0.0)


@answers("cart", "no reward for the last step", "reward-wrong")
def _(kept, said):
    said.reward *= not said.terminated


@answers("shelf", "a component has the wrong weight", "components-differ")
def _(kept, said):
    said.reward += said.info.get("components", {}).get("like", 0.0)


@answers("ours", "the reward forgets a component", "components-differ")
def _(kept, said):
    said.reward += 0.2 * said.info["reward_stall_s"] + 1e-6 * (not said.first)


@answers("shelf", "NaN as reward of the last step", "reward-not-finite", listed=True)
def _(kept, said):
    said.reward = np.nan if said.terminated or said.truncated else said.reward


@answers("cart", "the reward is an array", "reward-type")
def _(kept, said):
    said.reward = np.array([said.reward])


# -- ends and counters ------------------------------------------------------------------------------------------------


@answers("cart", "terminated and truncated are swapped", "truncated-early", "limit-as-termination", listed=True)
def _(kept, said):
    said.terminated, said.truncated = said.truncated, said.terminated


@answers("shelf", "terminated and truncated are swapped", "terminated-wrong", "truncated-early")
def _(kept, said):
    said.terminated, said.truncated = said.truncated, said.terminated


@answers("ours", "leaving is told as truncation", "truncated-early", "terminated-wrong")
def _(kept, said):
    said.terminated, said.truncated = False, said.truncated or said.terminated


@answers("pendulum", "the time limit is told as termination", "limit-as-termination")
def _(kept, said):
    said.terminated, said.truncated = said.terminated or said.truncated, False


@answers("pendulum", "the time limit is one step early", "truncated-early", listed=True)
def _(kept, said):
    said.truncated = kept.steps == PENDULUM_LIMIT - 1


@answers("pendulum", "the episode never ends", "limit-missed")
def _(kept, said):
    said.truncated = False


@answers("cart", "truncated too whenever terminated", "truncated-early")
def _(kept, said):
    said.truncated = said.truncated or said.terminated


@answers("cart", "terminated is a number", "flag-type")
def _(kept, said):
    said.terminated = int(said.terminated)


@answers("shelf", "the step counter is one ahead", "counter-wrong")
def _(kept, said):
    said.observation["context"][0] = min(said.observation["context"][0] + 1 / SHELF_LIMIT, 1.0)


@overrides("shelf", "the world ends silently: steps after the end go on", "goes-on-after-done", listed=True)
class _(Shelf):
    def step(self, action):
        self.over = False
        return super().step(action)


@overrides("shelf", "a closed world goes on", "goes-on-after-close")
class _(Shelf):
    def close(self):
        pass


@overrides("cart", "closing twice fails", "close-twice")
class _(CartPoleEnv):
    def close(self):
        del self.gravity


# -- masks and actions ------------------------------------------------------------------------------------------------


@answers("shelf", "the mask is the last step's", "mask-wrong", listed=True)
def _(kept, said):
    now = said.observation["mask"].copy()
    said.observation["mask"] = now.copy() if said.first else kept.mask
    kept.mask = now


@answers("shelf", "the mask allows a dead slot", "mask-wrong")
def _(kept, said):
    said.observation["mask"][2] = 1


@answers("ours", "the mask forbids a live slot", "mask-wrong", "masks-disagree")
def _(kept, said):
    live = np.flatnonzero(said.observation["mask"])
    said.observation["mask"][live[-1]] = len(live) == 1


@answers("shelf", "the mask allows nothing", "mask-empty")
def _(kept, said):
    said.observation["mask"][:] = 0


@answers("shelf", "observation and info have different masks", "masks-disagree")
def _(kept, said):
    said.info["action_mask"] = np.roll(said.observation["mask"], 1)


@answers("shelf", "info's mask lacks an action", "mask-shape")
def _(kept, said):
    said.info["action_mask"] = said.observation["mask"][:-1].copy()


@overrides("shelf", "a forbidden action is carried out", "forbidden-executed")
class _(Shelf):
    def executed(self, action):
        return action


@acts("shelf", "another allowed action is carried out", "executed-other")
def _(kept, action):
    return int(np.flatnonzero(kept.env.alive)[0])


@acts("ours", "another allowed action is carried out", "executed-other")
def _(kept, action):
    return int(np.flatnonzero(kept.env.unwrapped.action_masks())[0])


@acts("cart", "the action is ignored", "action-ignored")
def _(kept, action):
    return kept.steps % 2 if action in (0, 1) else action


@acts("cart", "each action is carried out a step late", "action-late")
def _(kept, action):
    late, kept.action = getattr(kept, "action", 0) if kept.steps else 0, action
    return late


@acts("cart", "an action outside the space is taken", "outside-accepted")
def _(kept, action):
    return min(int(action), 1)


# -- the form of answers ----------------------------------------------------------------------------------------------


@overrides("cart", "reset returns the observation alone", "reset-answer")
class _(CartPoleEnv):
    def reset(self, **how):
        return super().reset(**how)[0]


@overrides("cart", "step returns four things", "step-answer", "raised")
class _(CartPoleEnv):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


@overrides("cart", "an error in the middle of an episode", "raised")
class _(CartPoleEnv):
    def step(self, action):
        if self.state is not None and self.state[0] > 0.1:
            raise IndexError("list index out of range")
        return super().step(action)
