"""How a fault is planted in a sound environment of `sound.py`, for tests/envs/faults.py. Not a test module.

Most faults are a sound environment behind `Twist`, which changes what reset and step return; the others override a
method of it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit
from sound import (
    CART,
    CART_LIMIT,
    OURS,
    PENDULUM,
    PENDULUM_LIMIT,
    SHELF,
    cart,
    ours,
    pendulum,
    shelf,
)  # fmt: skip

from nextone.envs.checker.claims import Claims


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


BASES = {"cart": (cart, CART), "shelf": (shelf, SHELF), "pendulum": (pendulum, PENDULUM), "ours": (ours, OURS)}


class Faults(list[Fault]):
    """Faults of one kind, in the order of their text; the methods are decorators that add what stands below them."""

    def answers(self, base, name, *found_as, listed=False):
        """Register change(kept, said) as a fault of a base."""
        return self._twisted(base, name, found_as, listed, "change")

    def resets(self, base, name, *found_as, listed=False):
        """Register before(kept, how) as a fault of a base."""
        return self._twisted(base, name, found_as, listed, "before")

    def acts(self, base, name, *found_as, listed=False):
        """Register act(kept, action) -> action as a fault of a base."""
        return self._twisted(base, name, found_as, listed, "act")

    def _twisted(self, base, name, found_as, listed, role):
        sound, claims = BASES[base]

        def register(function):
            how = {"change": None} | {role: function}
            make = lambda: Twist(sound(), **how)  # noqa: E731
            self.append(Fault(f"{base}: {name}", make, claims, frozenset(found_as), sound, listed))
            return function

        return register

    def overrides(self, base, name, *found_as, listed=False):
        """Register a class, limited in steps like its base, as a fault of a base."""
        sound, claims = BASES[base]
        limit = {"cart": CART_LIMIT, "pendulum": PENDULUM_LIMIT}.get(base)

        def register(kind):
            make = (lambda: TimeLimit(kind(), limit)) if limit else kind
            self.append(Fault(f"{base}: {name}", make, claims, frozenset(found_as), sound, listed))
            return kind

        return register

    def batches(self, name, *found_as, mode=AutoresetMode.NEXT_STEP, listed=False):
        """Register a subclass of SyncVectorEnv over the cart as a fault."""

        def register(kind):
            make = lambda n: kind([cart] * n, autoreset_mode=mode)  # noqa: E731
            self.append(Fault(f"vector: {name}", make, None, frozenset(found_as), cart, listed))
            return kind

        return register
