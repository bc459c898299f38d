"""Faults of what lives longer than an answer: who owns what was returned, what survives a reset, where luck comes from.

Not a test module; tests/envs/faults.py puts them together with the others."""

import random
import time

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from planting import Faults
from sound import CART_LIMIT, Shelf

FAULTS = Faults()
answers, resets, overrides = FAULTS.answers, FAULTS.resets, FAULTS.overrides


# -- who owns what was returned ---------------------------------------------------------------------------------------


@answers("cart", "one observation buffer for all steps", "observation-reused", listed=True)
def _(kept, said):
    kept.buffer = getattr(kept, "buffer", np.zeros_like(said.observation))
    kept.buffer[:] = said.observation
    said.observation = kept.buffer


@answers("cart", "two observation buffers in turns", "observation-reused")
def _(kept, said):
    kept.buffers = getattr(kept, "buffers", [np.zeros_like(said.observation) for _ in range(2)])
    kept.buffers[kept.calls % 2][:] = said.observation
    said.observation = kept.buffers[kept.calls % 2]


@answers("shelf", "one array within the observation reused", "observation-reused")
def _(kept, said):
    kept.buffer = getattr(kept, "buffer", np.zeros((3, 2), np.float32))
    kept.buffer[:] = said.observation["history"]
    said.observation["history"] = kept.buffer


@overrides("cart", "the observation is the world's own state", "observation-kept")
class _(CartPoleEnv):
    def reset(self, **how):
        super().reset(**how)
        self.state = np.array(self.state, np.float32)
        return self.state, {}

    def step(self, action):
        _, *rest = super().step(action)
        self.state = np.array(self.state, np.float32)
        return (self.state, *rest)


@overrides("shelf", "the mask is the world's own array", "observation-kept", "observation-reused")
class _(Shelf):
    def refill(self):
        super().refill()
        self.alive = self.alive.astype(np.int8)

    def _get_obs(self):
        return super()._get_obs() | {"mask": self.alive}


@answers("shelf", "one info dictionary for all steps", "info-reused", listed=True)
def _(kept, said):
    kept.info = getattr(kept, "info", {})
    kept.info.update(said.info)
    said.info = kept.info


@answers("shelf", "a dictionary within info is shared", "info-reused")
def _(kept, said):
    kept.shown = getattr(kept, "shown", {})
    kept.shown.update(said.info["shown"])
    said.info["shown"] = kept.shown


@overrides("shelf", "info holds the world's own history", "info-kept")
class _(Shelf):
    def show(self, slot):
        parts = super().show(slot)
        parts["play"] = min(parts["play"], float(self.history.max()))
        return parts

    def about(self):
        return super().about() | {"history": self.history}


@answers("ours", "one candidates array for all steps", "observation-reused")
def _(kept, said):
    kept.buffer = getattr(kept, "buffer", np.zeros_like(said.observation["candidates"]))
    kept.buffer[:] = said.observation["candidates"]
    said.observation["candidates"] = kept.buffer


@overrides("pendulum", "the action is changed in place", "action-changed", listed=True)
class _(PendulumEnv):
    def step(self, action):
        action *= 0.5
        return super().step(action)


@overrides("pendulum", "the action is kept by reference", "action-kept")
class _(PendulumEnv):
    def reset(self, **how):
        self.last = np.zeros(1, np.float32)
        return super().reset(**how)

    def step(self, action):
        used, self.last = 0.5 * action + 0.5 * self.last, action
        return super().step(used)


# -- what survives, and where luck comes from --------------------------------------------------------------------------


@overrides("shelf", "the history survives reset", "state-survives-reset", listed=True)
class _(Shelf):
    def start(self):
        past = getattr(self, "history", None)
        super().start()
        self.history = self.history if past is None else past


@overrides("shelf", "the mood survives an episode that was broken off", "state-survives-reset")
class _(Shelf):
    def start(self):
        mood = self.mood if hasattr(self, "mood") and self.steps and not self.over else None
        super().start()
        self.mood = self.mood if mood is None else mood


@overrides("cart", "the pole grows with every episode played to its end", "state-survives-reset")
class _(CartPoleEnv):
    def step(self, action):
        answer = super().step(action)
        self.length += 0.01 * answer[2]
        return answer


@overrides("cart", "steps count on when reset has no seed", "state-survives-reset", "truncated-early", listed=True)
class _(CartPoleEnv):
    steps = 0

    def reset(self, *, seed=None, options=None):
        self.steps = self.steps if seed is None else 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated or self.steps >= CART_LIMIT, info


@resets("cart", "seeds are ignored after the first reset", "seed-ignored-later", listed=True)
def _(kept, how):
    return how if kept.calls == 0 else {}


@overrides("shelf", "seeds are ignored once a step was made", "state-survives-reset")
class _(Shelf):
    stepped = False

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if self.stepped else seed)

    def step(self, action):
        self.stepped = True
        return super().step(action)


@resets("cart", "every seed is taken for 7", "seed-ignored")
def _(kept, how):
    return how | ({"seed": 7} if how.get("seed") is not None else {})


@resets("cart", "reset without a seed takes the default one", "episodes-repeat", "seed-ignored")
def _(kept, how):
    kept.seed = how.get("seed") if how.get("seed") is not None else getattr(kept, "seed", 0)
    return {"seed": kept.seed}


@overrides("shelf", "luck from outside np_random, never seeded", "not-reproducible", listed=True)
class _(Shelf):
    def show(self, slot):
        self.values = self.values + 1e-3 * np.random.Generator(np.random.PCG64()).random() * (self.values < 0.9)
        return super().show(slot)


@overrides("cart", "noise from np.random", "global-random", listed=True)
class _(CartPoleEnv):
    def step(self, action):
        observation, *rest = super().step(action)
        return (observation + np.float32(1e-4 * np.random.random()), *rest)  # noqa: NPY002  the fault


@overrides("cart", "noise from the random module", "global-random")
class _(CartPoleEnv):
    def reset(self, **how):
        observation, info = super().reset(**how)
        return observation, info | {"wind": random.random()}


@overrides("cart", "reset seeds np.random for everybody", "global-random")
class _(CartPoleEnv):
    def reset(self, *, seed=None, options=None):
        if seed is not None:
            np.random.seed(seed)  # noqa: NPY002  the fault
        return super().reset(seed=seed, options=options)


@answers("cart", "the clock is in the observation", "not-reproducible")
def _(kept, said):
    said.observation = said.observation + np.float32(1e-6 * (time.perf_counter_ns() % 1000))


@overrides("cart", "state is a class attribute, shared by instances", "instances-share-state")
class _(CartPoleEnv):
    def reset(self, **how):
        type(self).wind = np.float32(0.0)
        return super().reset(**how)

    def step(self, action):
        type(self).wind += np.float32(0.001)
        observation, *rest = super().step(action)
        return (observation + self.wind, *rest)


@resets("cart", "empty options start another episode", "options-change")
def _(kept, how):
    return how | ({"seed": 99} if how.get("options") is not None and how.get("seed") is not None else {})


@answers("ours", "the first observation remembers the last episode", "state-survives-reset")
def _(kept, said):
    if said.first and hasattr(kept, "last"):
        said.observation["context"] = kept.last
    kept.last = said.observation["context"].copy()
