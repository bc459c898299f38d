"""Environments with one fault each, for the deep checker. Not a test module.

    python tests/envs/faults.py        # which of them each checker catches (1 minute)

Most are a sound environment of `sound.py` behind `Twist`, which changes what reset and step return; the others
override a method of it. `found_as` names the findings that tell the fault: being caught for another reason is no merit.
"""

import random
import re
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv
from gymnasium.utils import RecordConstructorArgs
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from sound import (
    CART,
    CART_LIMIT,
    OURS,
    PENDULUM,
    PENDULUM_LIMIT,
    SHELF,
    SHELF_LIMIT,
    Shelf,
    cart,
    ours,
    pendulum,
    shelf,
)  # fmt: skip
from stable_baselines3.common.env_checker import check_env as sb3_check

from nextone.envs.checker.check import check_environment
from nextone.envs.checker.claims import Claims
from nextone.envs.checker.vector import check_vector_environment


class Fault(NamedTuple):
    """One fault: what it is, an environment that has it, what its author claims, and the findings that tell it."""

    name: str
    make: Callable[..., Any]
    claims: Claims | None  # None: a vector environment, make(n)
    found_as: frozenset[str]
    sound: Callable[[], Any]
    listed: bool  # of one of the sixteen kinds that were listed before the checker was written


class Twist(gymnasium.Wrapper, RecordConstructorArgs):
    """An environment whose answers go through change(kept, said).

    kept: as long as the instance lives; kept.env is the sound environment. said: observation, reward, terminated,
    truncated, info and first (whether reset returned it). before(kept, how): the arguments of reset, changed."""

    def __init__(self, env, change, before=None, act=None):
        RecordConstructorArgs.__init__(self, change=change, before=before, act=act)
        super().__init__(env)
        self.change, self.before, self.act = change, before, act
        self.kept = SimpleNamespace(env=env, calls=0, steps=0)

    def said(self, *answer, first):
        self.kept.calls += 1
        self.kept.steps = 0 if first else self.kept.steps + 1
        names = ("observation", "reward", "terminated", "truncated", "info")
        said = SimpleNamespace(first=first, **dict(zip(names, answer, strict=True)))
        if self.change:
            self.change(self.kept, said)
        return said

    def reset(self, *, seed=None, options=None):
        how = {"seed": seed, "options": options}
        observation, info = self.env.reset(**(self.before(self.kept, how) if self.before else how))
        said = self.said(observation, 0.0, False, False, info, first=True)
        return said.observation, said.info

    def step(self, action):
        said = self.said(*self.env.step(self.act(self.kept, action) if self.act else action), first=False)
        return said.observation, said.reward, said.terminated, said.truncated, said.info


FAULTS: list[Fault] = []
BASES = {"cart": (cart, CART), "shelf": (shelf, SHELF), "pendulum": (pendulum, PENDULUM), "ours": (ours, OURS)}


def answers(base, name, *found_as, listed=False):
    """Register change(kept, said) as a fault of a base."""
    return _twisted(base, name, found_as, listed, "change")


def resets(base, name, *found_as, listed=False):
    """Register before(kept, how) as a fault of a base."""
    return _twisted(base, name, found_as, listed, "before")


def acts(base, name, *found_as, listed=False):
    """Register act(kept, action) -> action as a fault of a base."""
    return _twisted(base, name, found_as, listed, "act")


def _twisted(base, name, found_as, listed, role):
    sound, claims = BASES[base]

    def register(function):
        how = {"change": None} | {role: function}
        make = lambda: Twist(sound(), **how)  # noqa: E731
        FAULTS.append(Fault(f"{base}: {name}", make, claims, frozenset(found_as), sound, listed))
        return function

    return register


def overrides(base, name, *found_as, listed=False):
    """Register a class, limited in steps like its base, as a fault of a base."""
    sound, claims = BASES[base]
    limit = {"cart": CART_LIMIT, "pendulum": PENDULUM_LIMIT}.get(base)

    def register(kind):
        make = (lambda: TimeLimit(kind(), limit)) if limit else kind
        FAULTS.append(Fault(f"{base}: {name}", make, claims, frozenset(found_as), sound, listed))
        return kind

    return register


def batches(name, *found_as, mode=AutoresetMode.NEXT_STEP, listed=False):
    """Register a subclass of SyncVectorEnv over the cart as a fault."""

    def register(kind):
        make = lambda n: kind([cart] * n, autoreset_mode=mode)  # noqa: E731
        FAULTS.append(Fault(f"vector: {name}", make, None, frozenset(found_as), cart, listed))
        return kind

    return register


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
    said.reward += 0.2 * said.info.get("components", {}).get("stall_s", 0.0) + 1e-6 * (not said.first)


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


# -- vector environments ----------------------------------------------------------------------------------------------


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


# -- who catches what -------------------------------------------------------------------------------------------------


def findings(fault: Fault) -> list:
    """What the deep checker says."""
    if fault.claims is None:
        return check_vector_environment(fault.make, fault.sound, steps=120)
    return check_environment(fault.make, claims=fault.claims)


def caught(fault: Fault) -> bool:
    """Whether it names the fault."""
    return any(finding.name in fault.found_as for finding in findings(fault))


def complaints(check: Callable[[Any], None], make: Callable[[], Any]) -> set[str]:
    """An error and warnings of another checker, as text."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            check(make())
        except Exception as error:
            return {str(error)}
    return {re.sub("<.*>", "", str(warning.message)) for warning in told}  # without the environment's name


def caught_by(check: Callable[[Any], None], fault: Fault) -> bool:
    """Whether another checker raises, or warns of what it does not warn of in the sound environment, wrapped or not."""
    if fault.claims is None:
        return False
    usual = complaints(check, fault.sound) | complaints(check, lambda: Twist(fault.sound(), None))
    return bool(complaints(check, fault.make) - usual)


def main() -> None:
    print(f"{'deep':>5} {'gym':>5} {'sb3':>5}  fault (* one of the listed kinds)")
    rows = [(fault, caught(fault), caught_by(gymnasium_check, fault), caught_by(sb3_check, fault)) for fault in FAULTS]
    for fault, *who in rows:
        print(*(f"{'yes' if yes else '-':>5}" for yes in who), f" {fault.name}{' *' if fault.listed else ''}")
    for title, chosen in (("of all", rows), ("of the listed", [row for row in rows if row[0].listed])):
        counts = [sum(row[k] for row in chosen) for k in (1, 2, 3)]
        print(f"{title} {len(chosen)}: deep checker {counts[0]}, Gymnasium {counts[1]}, SB3 {counts[2]}")


if __name__ == "__main__":
    main()
