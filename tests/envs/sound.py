"""Sound environments, and what their authors claim: the faults of `tests/envs/faults.py` are planted in them."""

from dataclasses import asdict

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from gymnasium.wrappers import TimeLimit

import nextone  # noqa: F401  registers the environments
from nextone.envs.checker.claims import Claims
from nextone.envs.features import empty_observation
from nextone.envs.observing import observe
from nextone.envs.reward import RewardWeights
from nextone.sim.state import DEAD

CART_LIMIT, SHELF_LIMIT, PENDULUM_LIMIT, OURS_LIMIT = 15, 30, 30, 25


class Shelf(gymnasium.Env):
    """A small masked environment in the form of our own: five slots, a history, reward components, a step limit."""

    SLOTS, WEIGHTS = 5, {"play": 1.0, "like": 5.0, "leaving": -1.0}

    def __init__(self):
        box = lambda *shape: spaces.Box(0.0, 1.0, shape, np.float32)  # noqa: E731
        self.observation_space = spaces.Dict(
            candidates=box(self.SLOTS, 2), history=box(3, 2), context=box(2), mask=spaces.MultiBinary(self.SLOTS)
        )
        self.action_space = spaces.Discrete(self.SLOTS)
        self.over = self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start()
        return self._get_obs(), self.about()

    def start(self):
        self.steps, self.mood, self.over, self.books = 0, self.np_random.random(), False, 0.0
        self.history = np.zeros((3, 2), np.float32)
        self.refill()

    def refill(self):
        self.values, self.alive = self.np_random.random(self.SLOTS), np.ones(self.SLOTS, bool)

    def step(self, action):
        if self.over or self.closed or not self.action_space.contains(action):
            raise ValueError("reset first, and choose an action of the space")
        slot = self.executed(int(action))
        parts = self.show(slot)
        self.steps += 1
        left = bool(self.np_random.random() < 0.1 * (1.0 - self.mood))
        parts["leaving"] = float(left)
        if not self.alive.any():
            self.refill()
        reward = sum(weight * parts[name] for name, weight in self.WEIGHTS.items())
        self.books += reward
        truncated = not left and self.steps >= SHELF_LIMIT
        self.over = left or truncated
        return self._get_obs(), reward, left, truncated, self.about() | {"components": parts, "executed": slot}

    def executed(self, action):
        live = np.flatnonzero(self.alive)
        return int(live[np.argmin(np.abs(live - action))])

    def show(self, slot):
        self.alive[slot] = False
        play = self.values[slot] * self.np_random.random()
        self.mood = min(0.7 * self.mood + 0.5 * play, 1.0)
        self.history = np.roll(self.history, 1, axis=0)
        self.history[0] = self.values[slot], play
        return {"play": play, "like": float(self.np_random.random() < 0.3 * play)}

    def _get_obs(self):
        return {
            "candidates": np.stack([self.values * self.alive, self.alive], axis=1).astype(np.float32),
            "history": self.history.copy(),
            "context": np.array([self.steps / SHELF_LIMIT, self.mood], np.float32),
            "mask": self.alive.astype(np.int8),
        }

    def about(self):
        return {"steps": self.steps, "shown": {"last": self.history[0].copy()}}

    def close(self):
        self.closed = True


def cart():
    return TimeLimit(CartPoleEnv(), CART_LIMIT)


def shelf():
    return Shelf()


def pendulum():
    return TimeLimit(PendulumEnv(), PENDULUM_LIMIT)


SMALL = {"catalogue.kind": "synthetic", "catalogue.videos": 300, "sessions.leave_per_min": 0.05}


def ours(name="nextone/NextOne-v0"):
    return gymnasium.make(name, max_steps=OURS_LIMIT, scenario=SMALL, disable_env_checker=True)


CART = Claims(time_limit=CART_LIMIT, reward=lambda step: 1.0)
SHELF = Claims(
    time_limit=SHELF_LIMIT,
    terminated=lambda step: step.info["components"]["leaving"] == 1.0,
    counter=lambda observation, info: observation["context"][0] * SHELF_LIMIT,
    components="components",
    weights=Shelf.WEIGHTS,
    ledger=lambda env: env.unwrapped.books,
    legal=lambda env: env.unwrapped.alive,
    executed="executed",
    after_done="raise",
    after_close="raise",
)
PENDULUM = Claims(time_limit=PENDULUM_LIMIT)


def live_slots(env):
    """Which actions the world would carry out: slots that hold a video, or the first when nobody is left to ask."""
    batch = env.unwrapped.batch
    live = batch.world.pool[0]["rank"] != DEAD
    if batch.refresh:
        live = np.append(live, batch.action_masks()[0][-1])
    return live if live.any() else np.arange(len(live)) == 0


def seen_again(env):
    """The phone's observation made anew from the world."""
    world = env.unwrapped.batch.world
    seen = empty_observation(1, world.pool.shape[1], world.history.shape[1])
    observe(world, np.arange(1), *seen)
    return {name: array[0] for name, array in zip(seen._fields, seen, strict=True)}


def change_luck(env):
    """All draws still to come."""
    env.unwrapped.batch.world.key[:] ^= 0x5555


OURS = Claims(
    time_limit=OURS_LIMIT,
    components="reward_",
    weights=asdict(RewardWeights()),
    terminated=lambda step: step.info["reward_leaving"] == 1.0,
    legal=live_slots,
    executed="executed_slot",
    observe=seen_again,
    perturb_future=change_luck,
    after_done="raise",
    after_close="raise",
)
