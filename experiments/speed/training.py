"""How fast training is: `sb3_ppo_fps` of `nextone bench`, in the default configuration."""

from time import perf_counter
from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from nextone.experiments.training.rl.train import PPO, TrainSettings, make_model
from nextone.experiments.training.state import torch_threads


class TrainingSpeed(NamedTuple):
    """Decisions learnt from in a second, and the environment's share of the time."""

    fps: float
    env_share: float


def ppo_speed(rollouts: int = 3, **changes: Any) -> TrainingSpeed:
    """The speed of the best of some rollouts, each with its updates; looks and checkpoints are not included."""
    settings = TrainSettings(**changes)
    with torch_threads(settings.threads):
        model = make_model(settings)
        model.set_logger(Logger(None, []))
        env_s, moved = [0.0], model.env.step_wait

        def timed() -> Any:
            start = perf_counter()
            result = moved()
            env_s[0] += perf_counter() - start
            return result

        model.env.step_wait = timed
        steps = settings.envs * int(settings.hyperparameters.get("n_steps", PPO["n_steps"]))
        found = []
        for rollout in range(1 + rollouts):
            env_s[0], start = 0.0, perf_counter()
            model.learn(steps, Nothing(), reset_num_timesteps=rollout == 0, use_masking=False)
            seconds = perf_counter() - start
            found.append(TrainingSpeed(steps / seconds, env_s[0] / seconds))
        model.env.close()
    return max(found[1:])  # the first one meets cold caches


class Nothing(BaseCallback):
    """A callback that does nothing: SB3 needs one."""

    def _on_step(self) -> bool:
        return True
