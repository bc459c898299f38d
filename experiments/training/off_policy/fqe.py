"""Fitted Q evaluation with a network of d3rlpy's, where that is installed. Called by `answer.py`.

An action is what was picked as a row of features, not the number of its slot, so that the network learns one function
of state and candidate. What the target picks in a state is known from its shadow and travels with the state.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

from nextone.experiments.training.edge.datasets import INSTALLS, silent_d3rlpy
from nextone.sim.state import Array

from .estimators import Estimate, first_of

INSTALL = f"not run, since d3rlpy is not installed; pip install {INSTALLS['d3rlpy']}"


class _Target:
    """What d3rlpy asks a policy for: here the last columns of the state say it."""

    def __init__(self, features: int) -> None:
        self.impl, self._features = self, features

    def predict_best_action(self, states: Any) -> Any:
        return states[:, -self._features :]


def fqe(
    context: Array, picked: Array, of_target: Array, reward: Array, session: Array, seed: int, steps: int
) -> Estimate | None:
    """A session's return under the target, from D decisions; None without d3rlpy. Nothing is discounted.

    context (D, X); picked and of_target (D, F): features of what was picked, and of what the target picks. The errors
    do not include how uncertain the network is."""
    if find_spec("d3rlpy") is None:
        return None
    d3rlpy = silent_d3rlpy()
    d3rlpy.seed(seed)
    first = first_of(session)
    states, scale = np.column_stack([context, of_target]).astype(np.float32), float(reward.std()) or 1.0
    data = d3rlpy.dataset.MDPDataset(
        observations=states, actions=picked, rewards=(reward / scale).astype(np.float32),
        terminals=np.append(first[1:], True).astype(np.float32), action_space=d3rlpy.ActionSpace.CONTINUOUS,
        action_size=picked.shape[1],
    )  # fmt: skip
    settings = d3rlpy.ope.FQEConfig(
        learning_rate=1e-3, batch_size=128, gamma=1.0, target_update_interval=25,
        encoder_factory=d3rlpy.models.VectorEncoderFactory([64, 64]),
    )  # fmt: skip
    network = d3rlpy.ope.FQE(_Target(picked.shape[1]), settings)
    quiet = d3rlpy.logging.NoopAdapterFactory()
    network.fit(data, n_steps=steps, n_steps_per_epoch=steps, logger_adapter=quiet, show_progress=False)
    value = np.zeros(len(reward))
    value[first] = scale * network.predict_value(states[first], of_target[first])
    return Estimate(value, first.astype(np.float64))
