"""Compiles what nearly every test needs, once: pytest's two workers would each compile all of it, side by side.

    python tests/kernels.py world|edge

`make test` runs both beside the type checker; without them the tests only take longer.
"""

import sys

import gymnasium
import numpy as np
from worlds import run, scenario

import nextone  # noqa: F401  (registers the environments)
from nextone.envs.features import empty_observation
from nextone.policies.phone.loading import fresh_policy


def world() -> None:
    """Both drivers, with and without a policy on the phone, and the environments."""
    small = scenario()
    for engine in ("event", "batch"):
        for policy in ("cloud_only", "tag_momentum"):
            run(small, policy, minutes=1.0, engine=engine)
    env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=2, scenario=small)
    env.reset(seed=1)
    env.step(np.zeros(2, np.int64))
    env.close()
    twice = compiled_twice()
    if twice:  # numba does so for each width of a number and each number in the source: see sim/engine/kernel.py
        sys.exit(f"compiled more than once: {', '.join(twice)}")


def compiled_twice() -> list[str]:
    """Kernels of the world that this process has for more than one list of types.

    `share_index` takes lists of phones and of link classes, whose lengths are in their types."""
    found = {
        f"{value.py_func.__module__}.{name}": len(value.signatures)
        for module in [module for key, module in sys.modules.items() if key.startswith("nextone.sim.")]
        for name, value in vars(module).items()
        if hasattr(value, "py_func") and name != "share_index"
    }
    return sorted(f"{name} ({times} times)" for name, times in found.items() if times > 1)


def edge() -> None:
    """The networks that phones run."""
    for kind in ("edgerec", "kir", "context_aware"):
        policy = fresh_policy(kind)
        policy(empty_observation(1, 6, 10), policy.start(1))


if __name__ == "__main__":
    {"world": world, "edge": edge}[sys.argv[1]]()
