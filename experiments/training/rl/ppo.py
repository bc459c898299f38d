"""The pointer as actor and critic of sb3-contrib's MaskablePPO. Called by `experiments/training/rl/train.py`.

Masks are in the observation, so the pointer applies them itself. All luck is the model's own: a torch generator for
actions, and shuffles keyed by (seed, epoch); both are restored by `resume.py`. What the network reads
is prepared once a rollout, not once a batch.
"""

from collections.abc import Generator
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableDictRolloutBufferSamples
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from nextone.policies.networks.pointer.network import Pointer, Prepared, prepare

from .leaving import Level, correction

SHARPNESS = 10.0  # logits / scores: Adam moves a weight by its rate at most, and a sharp choice needs large logits

Seen = dict[str, Tensor]
Prior = tuple[list[float], list[float], int]
"""What a policy starts from, see `Pointer.begin_with`."""
Array = NDArray[Any]


def new_pointer(space: spaces.Dict, actions: int, width: int, seed: int) -> Pointer:
    """A fresh network for such observations, with weights drawn from the seed."""
    slots = space["candidates"].shape or (0,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Pointer(width, refresh=actions > slots[0])


def look_at(network: Pointer, seen: Seen) -> tuple[Tensor, Tensor]:
    """(scores (N, A), value (N,)) of the observations."""
    scores, value = network.judge(prepared(seen))
    return scores, value


def prepared(seen: Seen) -> Prepared:
    """Observations as the network reads them."""
    return prepare(seen["candidates"], seen["history"], seen["context"], seen["mask"])


class PointerActorCritic(MaskableActorCriticPolicy):
    """SB3's interface around `Pointer`; it has none of SB3's own layers."""

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Discrete, lr_schedule: Any, *, width: int, seed: int,
        prior: Prior | None = None, **_: Any,
    ) -> None:  # fmt: skip
        BasePolicy.__init__(self, observation_space, action_space, normalize_images=False)
        self.network = new_pointer(observation_space, int(action_space.n), width, seed)
        if prior is not None:
            rates, per_time, asks_at = prior
            self.network.begin_with(torch.tensor(rates), torch.tensor(per_time), asks_at)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=1e-5, fused=True)

    def _look(self, seen: Prepared) -> tuple[Tensor, Tensor]:
        """(log-probabilities (N, A), values (N,))."""
        scores, value = self.network.judge(seen)
        return torch.log_softmax(SHARPNESS * scores, 1), value

    def forward(self, obs: Any, deterministic: bool = False, action_masks: Any = None) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (N,), values (N,) and log-probabilities (N,)."""
        chances, value = self._look(prepared(obs))
        if deterministic:
            actions = chances.argmax(1)
        else:  # Gumbel's trick: the largest of logit + Gumbel noise is a draw from the softmax
            noise = torch.empty_like(chances).exponential_(generator=self.generator)
            actions = (chances - noise.log()).argmax(1)
        return actions, value, chances.gather(1, actions[:, None])[:, 0]

    def evaluate_actions(
        self, obs: Any, actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values (N,), log-probabilities (N,) and entropies (N,) of what `KeyedRolloutBuffer.get` prepared."""
        chances, value = self._look(obs)
        entropy = -(chances.exp() * chances).sum(1)
        return value, chances.gather(1, actions[:, None])[:, 0], entropy

    def predict_values(self, obs: Any) -> Tensor:
        """The values (N,)."""
        return look_at(self.network, obs)[1]

    def _predict(self, observation: Any, deterministic: bool = False, action_masks: Any = None) -> Tensor:
        return self.forward(observation, deterministic)[0]


class Lives(Protocol):
    """An environment that tells when people leave."""

    def last(self) -> tuple[Array, Array, Array]:
        """Of the last step of every row: the hazard (N,) of leaving that it held, whether (N,) the person left by it,
        and whether (N,) the episode ended otherwise."""


class KeyedRolloutBuffer(MaskableDictRolloutBuffer):
    """A rollout buffer whose batches come in an order that depends only on (seed, epoch); observations are prepared
    once a rollout.

    lives: an environment that tells when people leave (`Lives`); None: advantages include the luck of leaving."""

    def __init__(self, *args: Any, seed: int = 0, lives: Lives | None = None, **kwargs: Any) -> None:
        self.seed, self.epoch, self.lives = seed, 0, lives
        super().__init__(*args, **kwargs)
        self.level = Level(self.n_envs)

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.hazard, self.left, self.gone = np.zeros(shape), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        self.seen: list[Prepared] = []

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add one step of every row."""
        if self.lives is not None:
            for kept, new in zip((self.hazard, self.left, self.gone), self.lives.last(), strict=True):
                kept[self.pos] = new
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: np.ndarray) -> None:
        """SB3's method; with `lives`, the advantages are of departures from what an average session earns, without the
        luck of leaving: see `leaving.py`."""
        if self.lives is not None:
            self.level.count(float(self.rewards.sum()), int(self.left.sum() + self.gone.sum()))
            told = self.hazard, self.left, self.gone, self.values
            level = self.level.of(self.rewards, self.hazard, self.left | self.gone)
            self.rewards += correction(level, *told, self.gamma).astype(np.float32)
        super().compute_returns_and_advantage(last_values, dones)

    def get(  # type: ignore[override]  # as in the library itself
        self, batch_size: int | None = None
    ) -> Generator[MaskableDictRolloutBufferSamples, None, None]:
        """The batches of one epoch. batch_size None: all in one."""
        assert self.full
        size = self.buffer_size * self.n_envs
        order = torch.from_numpy(np.random.Generator(np.random.Philox(key=[self.seed, self.epoch])).permutation(size))
        self.epoch += 1
        if not self.seen:
            self.seen = [prepared({name: _flat(array) for name, array in self.observations.items()})]
        numbers = [_flat(x) for x in (self.actions, self.values, self.log_probs, self.advantages, self.returns)]
        for start in range(0, size, batch_size or size):
            which = order[start : start + (batch_size or size)]
            actions, values, chances, advantages, returns = (x.index_select(0, which) for x in numbers)
            observations: Any = Prepared(*(x.index_select(0, which) for x in self.seen[0]))
            masks: Any = None  # they are in the observations
            yield MaskableDictRolloutBufferSamples(observations, actions, values, chances, advantages, returns, masks)


def _flat(array: Any) -> Tensor:
    """(T, N, ...) of the buffer as a tensor (T * N, ...), nothing copied."""
    return torch.from_numpy(array.reshape(-1, *array.shape[2:]))


def make_ppo(
    env: Any, *, seed: int, width: int, prior: Prior | None = None,
    expected_leaving: bool = True, **hyperparameters: Any,
) -> MaskablePPO:  # fmt: skip
    """MaskablePPO with a fresh pointer and its own random numbers. expected_leaving: env is `Lives`, see
    `leaving.py`."""
    return MaskablePPO(
        PointerActorCritic,
        env,
        policy_kwargs={"width": width, "seed": seed, "prior": prior},
        rollout_buffer_class=KeyedRolloutBuffer,
        rollout_buffer_kwargs={"seed": seed, "lives": env if expected_leaving else None},
        device="cpu",
        **hyperparameters,
    )
