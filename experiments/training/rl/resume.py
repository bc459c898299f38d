"""All that training is at a rollout's end, as named arrays, and back: a resumed training gives the same weights.

Weights, optimiser, counters, the generator of actions, the world with its people, the observation they wait with, and
DQN's replay buffer. Called by `experiments/training/rl/train.py`.
"""

from typing import Any

import numpy as np
import torch

from nextone.envs.sb3 import NextOneVecEnv
from nextone.experiments.training.state import MOMENTS, Arrays, begin_moments, moments_of, weights_of
from nextone.policies.checkpoint import TRAINING, Checkpoint, CheckpointError, Tensors, load_into

from .dqn import KeyedReplayBuffer, MaskedDQN
from .ppo import KeyedRolloutBuffer

COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num")


def training_state(model: Any) -> Arrays:
    """Everything except the settings, as arrays; views where possible."""
    luck = model.policy.generator.get_state().numpy() if hasattr(model.policy, "generator") else None
    level = getattr(getattr(model, "rollout_buffer", None), "level", None)
    arrays = {f"policy.{name}": array for name, array in weights_of(model.policy).items()}
    arrays |= moments_of(model.policy.optimizer)
    arrays["counters"] = np.array([getattr(model, name, 0) for name in COUNTERS], np.int64)
    arrays |= {} if luck is None else {"generator": luck}
    arrays |= {f"world.{name}": array for name, array in _world(model.env).items()}
    arrays |= {f"seen.{name}": array for name, array in model._last_obs.items()}
    arrays |= {} if level is None else {"level": level.counted, "so_far": level.so_far}
    arrays["episode_starts"] = np.asarray(model._last_episode_starts, np.bool_)
    return arrays | {f"replay.{name}": array for name, array in _replay(model).items()}


def restore_training(model: Any, checkpoint: Checkpoint, total_steps: int) -> None:
    """Bring a fresh model of the same settings to where a checkpoint was. Raises CheckpointError if it does not fit."""
    saved = checkpoint.tensors[TRAINING]
    model._last_obs = model.env.reset()
    model._last_episode_starts = np.ones(model.n_envs, np.bool_)
    if any(name.startswith(MOMENTS) for name in saved):  # none are there before the first update
        begin_moments(model.policy.optimizer)
    if isinstance(model, MaskedDQN):
        _begin_replay(model, saved)
    expected = training_state(model)
    if "generator" in expected:
        expected["generator"] = expected["generator"].copy()
    load_into(expected, checkpoint, TRAINING)
    if "generator" in expected:
        model.policy.generator.set_state(torch.from_numpy(expected["generator"]))
    for name, count in zip(COUNTERS, expected["counters"].tolist(), strict=True):
        setattr(model, name, count)
    model._last_episode_starts = expected["episode_starts"]
    model._update_current_progress_remaining(model.num_timesteps, total_steps)
    if isinstance(model, MaskedDQN):
        assert isinstance(model.replay_buffer, KeyedReplayBuffer)
        model.exploration_rate = model.exploration_schedule(model._current_progress_remaining)
        model.replay_buffer.draws = model._n_updates
    else:
        assert isinstance(model.rollout_buffer, KeyedRolloutBuffer)
        model.rollout_buffer.epoch = model._n_updates


def _world(env: NextOneVecEnv) -> Arrays:
    """All that changes in an environment, as arrays with a row per person."""
    return env.env.state() | {"totals": env._totals, "return": env._return, "steps": env._steps}


def _replay(model: Any) -> Arrays:
    """The filled part of DQN's replay buffer."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return {}
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {f"seen.{name}": array[:filled] for name, array in buffer.observations.items()}
    arrays |= {f"next.{name}": array[:filled] for name, array in buffer.next_observations.items()}
    arrays |= {name: getattr(buffer, name)[:filled] for name in ("actions", "rewards", "dones", "timeouts")}
    return arrays | {"position": np.array([buffer.pos, buffer.full], np.int64)}


def _begin_replay(model: MaskedDQN, saved: Tensors) -> None:
    """Make the replay buffer as full as it was."""
    position = saved.get("replay.position")
    buffer = model.replay_buffer
    if buffer is None or position is None or position.shape != (2,) or not 0 <= int(position[0]) <= buffer.buffer_size:
        raise CheckpointError("the checkpoint holds no replay buffer of this size; train again")
    buffer.pos, buffer.full = int(position[0]), bool(position[1])
