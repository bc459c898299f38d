"""Stable-baselines3's DQN with masks: in its Q values, its targets and its exploration. Called by
`experiments/training/rl/train.py`.

The pointer gives what is masked DEAD_SCORE, so no maximum picks it; the rest is exploration among live slots. Luck is
keyed by (seed, steps) and (seed, updates): nothing of it needs saving.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from torch import Tensor

from .ppo import Seen, look_at, new_pointer

EXPLORING, SAMPLING = range(2)  # streams of keys


class PointerQ(BasePolicy):
    """Q values of every action, (N, A); DEAD_SCORE where masked."""

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Discrete, width: int, seed: int) -> None:
        super().__init__(observation_space, action_space, normalize_images=False)
        self.network = new_pointer(observation_space, int(action_space.n), width, seed)
        for unused in (self.network.value_hidden, self.network.value):
            unused.requires_grad_(False)

    def forward(self, obs: Seen) -> Tensor:
        """The Q values, (N, A)."""
        return look_at(self.network, obs)[0]

    def _predict(self, observation: Any, deterministic: bool = True) -> Tensor:
        best: Tensor = self(observation).argmax(1)
        return best


class PointerDQNPolicy(BasePolicy):
    """Two networks: one that learns, and one that gives the targets."""

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Discrete, lr_schedule: Any, *, width: int, seed: int
    ) -> None:  # fmt: skip
        super().__init__(observation_space, action_space, normalize_images=False)
        self.q_net, self.q_net_target = (PointerQ(observation_space, action_space, width, seed) for _ in range(2))
        self.q_net_target.set_training_mode(False)
        trained = [p for p in self.q_net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=lr_schedule(1), fused=True)

    @property
    def network(self) -> Any:
        """The network that is saved."""
        return self.q_net.network

    def forward(self, obs: Seen, deterministic: bool = True) -> Tensor:
        """The best allowed action of each row, (N,)."""
        return self._predict(obs, deterministic)

    def _predict(self, observation: Any, deterministic: bool = True) -> Tensor:
        return self.q_net._predict(observation, deterministic)


class KeyedReplayBuffer(DictReplayBuffer):
    """A replay buffer whose samples depend only on (seed, draws so far)."""

    seed, draws = 0, 0

    def sample(self, batch_size: int, env: Any = None) -> DictReplayBufferSamples:  # type: ignore[override]  # as there
        """Draw batch_size transitions, each equally likely."""
        luck = np.random.Generator(np.random.Philox(key=[self.seed, (self.draws << 8) + SAMPLING]))
        self.draws += 1
        filled = self.buffer_size if self.full else self.pos
        when, who = luck.integers(0, filled, batch_size), luck.integers(0, self.n_envs, batch_size)

        def chosen(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array[when, who])

        return DictReplayBufferSamples(
            {name: chosen(array) for name, array in self.observations.items()},
            chosen(self.actions),
            {name: chosen(array) for name, array in self.next_observations.items()},
            chosen(self.dones * (1 - self.timeouts))[:, None],  # a time limit is no end
            chosen(self.rewards)[:, None],
        )


class MaskedDQN(DQN):
    """DQN that explores among the allowed actions, each row independently."""

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        assert isinstance(self._last_obs, dict)
        luck = np.random.Generator(np.random.Philox(key=[self.seed or 0, (self.num_timesteps << 8) + EXPLORING]))
        mask = self._last_obs["mask"] != 0
        actions = np.where(mask, luck.random(mask.shape), -1.0).argmax(1)  # any that is allowed
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        greedy = luck.random(len(mask)) >= rate
        if greedy.any():
            with torch.no_grad():
                seen = {name: torch.from_numpy(array[greedy]) for name, array in self._last_obs.items()}
                actions[greedy] = self.policy._predict(seen).numpy()
        return actions, actions


def make_dqn(env: Any, *, seed: int, width: int, **hyperparameters: Any) -> MaskedDQN:
    """MaskedDQN with a fresh pointer and its own random numbers."""
    model = MaskedDQN(
        PointerDQNPolicy,  # type: ignore[arg-type]  # has what DQN uses of a DQNPolicy
        env,
        policy_kwargs={"width": width, "seed": seed},
        replay_buffer_class=KeyedReplayBuffer,
        device="cpu",
        **hyperparameters,
    )
    model.seed = seed
    assert isinstance(model.replay_buffer, KeyedReplayBuffer)
    model.replay_buffer.seed = seed
    return model
