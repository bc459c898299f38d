"""Compiles what nearly every test needs, once: pytest's two workers would each compile all of it, side by side.

`make test` runs it beside the type checker; without it the tests only take longer.
"""

import gymnasium
import numpy as np
from worlds import run, scenario

import nextone  # noqa: F401  (registers the environments)

if __name__ == "__main__":
    small = scenario()
    for engine in ("event", "batch"):
        for policy in ("cloud_only", "tag_momentum"):
            run(small, policy, minutes=1.0, engine=engine)
    env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=2, scenario=small)
    env.reset(seed=1)
    env.step(np.zeros(2, np.int64))
    env.close()
