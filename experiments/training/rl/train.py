"""Training a policy for NextOne by reinforcement learning: `nextone train rl`.

From settings to a folder of checkpoints that `rl:DIR` plays: make the environment and the model, learn, look at fixed
people now and then, keep the newest and the best. Killed at any moment, it goes on from the newest whole checkpoint to
the same weights. The next reader of a checkpoint is `policies/rl.py`.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from nextone.envs.features import COUNTS
from nextone.envs.reward import PRESETS, RewardWeights, reward_weights
from nextone.envs.sb3 import NextOneVecEnv
from nextone.envs.vector import NextOneVectorEnv
from nextone.experiments.runs.statistics import Interval, mean_interval
from nextone.experiments.training.progress import Shown
from nextone.experiments.training.state import torch_threads, weights_of
from nextone.policies.checkpoint import (
    MODEL,
    TRAINING,
    Checkpoint,
    CheckpointError,
    best_checkpoint,
    has_checkpoints,
    newest_checkpoint,
    save_checkpoint,
)
from nextone.policies.contract import PolicyLike
from nextone.policies.names import CLOUD_ONLY
from nextone.policies.networks.pointer.network import WIDTH
from nextone.policies.rl import KIND, RlPolicy, load_rl
from nextone.policies.rules import WORTH
from nextone.policies.trained import check_fits, features_hash
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import not_saved
from nextone.sim.scenario import SettingError, scenario_from, scenario_toml
from nextone.version import __version__

from .dqn import make_dqn
from .evaluate import START, Array, Uplift, chooser, play, uplift
from .greedy import PREDICTED, asks_below, hand_made
from .ppo import make_ppo
from .resume import restore_training, training_state

Algorithm = Literal["maskable_ppo", "dqn"]
RULES = (CLOUD_ONLY, "tag_momentum")  # what a policy in training is compared with
USUAL = np.array([0.42, 0.29, 0.018, 0.0013, 0.0026, 0.0007, 0.0009])  # Assumed: of PREDICTED, about cloud_only's
USUAL_S = 30.0  # Assumed: of play an impression, likewise
NEVER = -1  # of thresholds of asking
FIRMNESS = 1.0  # Assumed: of the first policy; PPO's logits are ten times this times how much better than usual
EVALUATION_SEED = 1 << 60  # people nobody trains on: training's seeds are below
HELD_OUT_SEED = 1 << 61  # nor picks the best checkpoint by
MOST_ENVS = 65_536  # a rollout of them takes some 10 GB
HELD_OUT = (256, 32)  # people at a time, episodes of each: few rows wait for the longest

PPO: dict[str, Any] = {
    "n_steps": 32, "batch_size": 4096, "n_epochs": 4, "gamma": 0.97, "gae_lambda": 0.9, "ent_coef": 0.002,
    "max_grad_norm": 0.5, "vf_coef": 0.5, "reward_scale": 0.05,
}  # fmt: skip
ASKING: dict[str, Any] = {"n_steps": 64, "gae_lambda": 0.95}
DQN: dict[str, Any] = {
    "buffer_size": 50_000, "learning_starts": 10_000, "batch_size": 2048, "gamma": 0.99, "train_freq": 1,
    "gradient_steps": 1, "target_update_interval": 20_000, "exploration_fraction": 0.3, "exploration_final_eps": 0.02,
    "reward_scale": 0.1,
}  # fmt: skip
"""What SB3 is told. Chosen on the default scenario's evaluation people; see docs/training.md."""
LEARNING_RATE: dict[Algorithm, float] = {"maskable_ppo": 8e-4, "dqn": 5e-4}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything that a training depends on."""

    scenario: Scenario = field(default_factory=Scenario)
    algo: Algorithm = "maskable_ppo"
    steps: int = 3_000_000
    envs: int = 512
    reward: RewardWeights = PRESETS["default"]
    refresh: bool = False
    request_budget: int | None = None
    max_steps: int | None = None  # an episode is cut there
    cut_is_end: bool = False  # nothing is expected of what comes after the cut
    seed: int = 0
    width: int = WIDTH
    learning_rate: float | None = None  # at the start; it falls to 0 linearly
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)  # over PPO or DQN
    checkpoints: int = 10  # and looks at the evaluation people
    evaluation: tuple[int, int] = (64, 16)  # people at a time, episodes of each
    threads: int = 2  # of torch; another number may give other bits
    options: Mapping[str, Any] = field(default_factory=dict)  # further ones of NextOneVectorEnv

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("envs", 1), ("width", 1), ("checkpoints", 1), ("threads", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise SettingError(f"{name}={getattr(self, name)} must be >= {least}")
        for name, most in (("steps", 10**12), ("envs", MOST_ENVS), ("threads", 256)):
            if getattr(self, name) > most:
                raise SettingError(f"{name}={getattr(self, name)} must be <= {most:,}")
        if self.seed >= 1 << 31:
            raise SettingError(f"seed={self.seed} must be < 2**31; any such number will do")
        if self.algo not in LEARNING_RATE:
            raise SettingError(f"algo={self.algo!r} must be maskable_ppo or dqn")


def train(
    settings: TrainSettings, out: Path | str, *, resume: Checkpoint | None = None, progress: bool = False
) -> list[dict[str, Any]]:
    """Train into the folder `out`; returns the looks at the evaluation people, oldest first.

    resume: a checkpoint of the same settings, with its training file, to go on from. progress: whether it is shown on
    standard error, see `progress.Shown`. Raises SettingError if `out` already holds another training or cannot be
    written to, CheckpointError if `resume` does not fit."""
    if resume is None and has_checkpoints(out):
        raise SettingError(f"--out {str(out)!r} already holds a training; go on with --resume, or give another folder")
    (out := Path(out)).mkdir(parents=True, exist_ok=True)
    try:
        with torch_threads(settings.threads):
            asks_at = asks_at_of(resume) if resume else best_threshold(settings) if settings.refresh else NEVER
            model = make_model(settings, asks_at)
            with logging_to(out) as logger:
                model.set_logger(logger)
                keeper = Keeper(settings, out, asks_at, resume.about["looks"] if resume else [], progress)
                if resume is not None:
                    restore_training(model, resume, settings.steps)
                left = settings.steps - model.num_timesteps
                if left > 0:
                    # The pointer masks; DQN logs by episodes.
                    own = {"use_masking": False} if settings.algo == "maskable_ppo" else {"log_interval": 1000}
                    model.learn(left, keeper, reset_num_timesteps=resume is None, **own)
                keeper.finish(model)
            model.env.close()
    except OSError as error:
        raise not_saved(out, error, "make room, then go on with --resume or run it again") from None
    return keeper.looks


def make_model(settings: TrainSettings, asks_at: int = NEVER) -> Any:
    """The algorithm with a fresh network, on fresh people. asks_at: when PPO's first policy asks, see
    `best_threshold`."""
    inner = make_env(settings, settings.envs, autoreset_mode="SameStep")
    make, usual = (make_ppo, PPO) if settings.algo == "maskable_ppo" else (make_dqn, DQN)
    if settings.refresh and settings.algo == "maskable_ppo":
        usual = usual | ASKING
    if "days" in settings.options and settings.algo == "maskable_ppo":  # who leaves comes back: nothing is lost then
        usual = usual | {"expected_leaving": False}
    chosen = usual | dict(settings.hyperparameters)
    env = TrainingVecEnv(inner, chosen.pop("reward_scale") / usual_reward(settings.reward), settings.cut_is_end)
    env.seed(settings.seed << 24)  # row i plays this + i
    if settings.algo == "maskable_ppo" and chosen.pop("from_rule", True):
        rule = rule_of(settings.reward)
        chosen["prior"] = rule and (*rule, asks_at)
    rate = settings.learning_rate or LEARNING_RATE[settings.algo]
    return make(env, seed=settings.seed, width=settings.width, learning_rate=lambda left: rate * left, **chosen)


def usual_reward(reward: RewardWeights) -> float:
    """About how much reward an impression earns, without signs, as a unit of rewards; 1 if the reward pays for nothing
    of an impression."""
    counted = np.array([abs(getattr(reward, name)) for name in PREDICTED]) @ USUAL
    return float(counted + USUAL_S * (abs(reward.watch_s) + abs(reward.app_s))) or 1.0


def rule_of(reward: RewardWeights) -> tuple[list[float], list[float]] | None:
    """Weights with which the pointer is `greedy.RewardGreedy` per second; None if the reward pays for nothing that is
    predicted.

    If the reward pays for time, the rule is `rules.blend`: people who are pleased stay, and a session's time depends on
    that."""
    worth = np.array([getattr(reward, name) for name in PREDICTED])
    pleases = np.zeros(len(PREDICTED))
    if reward.watch_s > 0:
        worth, pleases = pleases, WORTH.astype(np.float64)
    usual = float((worth + pleases) @ USUAL)
    if usual <= 0:
        return None
    return (FIRMNESS * pleases / usual).tolist(), (FIRMNESS * worth / usual).tolist()


def best_threshold(settings: TrainSettings) -> int:
    """Of at most twelve fixed thresholds, evenly spread, the one that earns most on the evaluation people; NEVER if
    none earns more than never asking."""
    env, most = make_env(settings, settings.evaluation[0]), settings.scenario.server.page_size - 1
    earned = {NEVER: _earned(settings, env, "server_score")}
    for left in sorted(set(np.linspace(0, most, 12).round().astype(int).tolist())):
        earned[left] = _earned(settings, env, asks_below("server_score", left))
    env.close()
    return max(earned, key=lambda left: float(earned[left].mean()))


def asks_at_of(checkpoint: Checkpoint) -> int:
    """The threshold that `best_threshold` found when the training began. Raises CheckpointError."""
    asks_at = checkpoint.about.get("asks_at", NEVER)
    if type(asks_at) is not int or not NEVER <= asks_at < COUNTS:
        raise CheckpointError(f"checkpoint {str(checkpoint.path)!r}: asks_at={str(asks_at)[:60]!r} is no threshold")
    return asks_at


def asking_rule(asks_at: int) -> dict[str, PolicyLike | str]:
    """The fixed threshold that `best_threshold` found as a rule, by name; no rule if it found NEVER."""
    return {} if asks_at == NEVER else {f"asks_at_{asks_at}": asks_below("server_score", asks_at)}


def _earned(settings: TrainSettings, env: NextOneVectorEnv, policy: PolicyLike | str) -> Array:
    return play(env, chooser(policy), EVALUATION_SEED, settings.evaluation[1]).reward(settings.reward)


def make_env(settings: TrainSettings, people: int, autoreset_mode: str = "NextStep") -> NextOneVectorEnv:
    """The environment of the training."""
    return NextOneVectorEnv(
        people, scenario=settings.scenario, reward=settings.reward, max_steps=settings.max_steps,
        refresh=settings.refresh, request_budget=settings.request_budget, autoreset_mode=autoreset_mode,
        **settings.options,
    )  # fmt: skip


class TrainingVecEnv(NextOneVecEnv):
    """Rewards times a constant, so that values have the size that suits networks; reported rewards are not scaled.

    cut_is_end: a step limit ends an episode for good. `last` is what `ppo.Lives` asks for."""

    def __init__(self, env: NextOneVectorEnv, scale: float, cut_is_end: bool) -> None:
        super().__init__(env)
        self.scale, self.cut_is_end = scale, cut_is_end

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """Observations, scaled rewards, dones, infos."""
        moved = self.env.advance(self._actions)
        over = moved.terminated | (moved.truncated & self.cut_is_end)
        left = moved.terminated & (self.env.world.users["will_to_stay"] <= 0.0)  # and not for want of a page
        self._last = moved.hazard, left, over & ~left
        observations, rewards, dones, infos = self.tell(moved)
        if self.cut_is_end:
            for i in np.flatnonzero(dones):
                infos[i]["TimeLimit.truncated"] = False
        return observations, rewards * np.float32(self.scale), dones, infos

    def last(self) -> tuple[Array, Array, Array]:
        """See `ppo.Lives`."""
        return self._last


class Keeper(BaseCallback):
    """At the ends of rollouts, every so many steps: look at the evaluation people, write a checkpoint, show
    progress."""

    def __init__(
        self, settings: TrainSettings, out: Path, asks_at: int, looks: list[dict[str, Any]], progress: bool
    ) -> None:
        super().__init__()
        self.settings, self.out, self.asks_at, self.looks = settings, out, asks_at, list(looks)
        self.env = make_env(settings, settings.evaluation[0])
        rules: dict[str, PolicyLike | str] = {rule: rule for rule in RULES} | asking_rule(asks_at)
        self.of_rules = {name: self._rewards(chooser(rule)) for name, rule in rules.items()}
        self.shown = Shown(settings.steps, "steps", wanted=progress)

    def _on_rollout_start(self) -> None:
        done, every = self.model.num_timesteps, self.settings.steps / self.settings.checkpoints
        self.shown.at(done)
        last = self.looks[-1]["step"] if self.looks else -1
        if last < 0 or done // every > last // every:
            self.keep(self.model)

    def _on_step(self) -> bool:
        return True

    def keep(self, model: Any) -> None:
        """Look, and write a checkpoint."""
        policy = RlPolicy(model.policy.network)
        rewards = self._rewards(chooser(policy))
        step = int(model.num_timesteps)
        uplifts = [uplift(rule, earned, rewards) for rule, earned in self.of_rules.items()]
        self.looks = [look for look in self.looks if look["step"] < step]
        self.looks.append({"step": step, "reward": float(rewards.mean()), "uplifts": [u._asdict() for u in uplifts]})
        for u in uplifts:
            model.logger.record(f"evaluation/over_{u.rule}", u.diff)
        model.logger.record("evaluation/reward", float(rewards.mean()))
        about = describe(self.settings) | {
            "score": float(rewards.mean()), "looks": self.looks, "asks_at": self.asks_at,
        }  # fmt: skip
        save_checkpoint(
            self.out, step, about, {MODEL: weights_of(model.policy.network), TRAINING: training_state(model)}
        )
        self.shown.at(step)
        self.shown.tell(
            f"reward {rewards.mean():.3f}, " + ", ".join(f"over {u.rule} {u.diff:+.3f}" for u in uplifts)
        )

    def finish(self, model: Any) -> None:
        """Do so for the last time."""
        if not self.looks or self.looks[-1]["step"] < model.num_timesteps:
            self.keep(model)
            model.logger.dump(model.num_timesteps)
        self.shown.close()
        self.env.close()

    def _rewards(self, act: Any) -> Array:
        return play(self.env, act, EVALUATION_SEED, self.settings.evaluation[1]).reward(self.settings.reward)


def describe(settings: TrainSettings) -> dict[str, Any]:
    """The settings as a checkpoint holds them; `settings_of` reads them back."""
    plain = {k: v for k, v in asdict(settings).items() if k not in ("scenario", "reward")}
    return {
        "kind": KIND,
        "version": __version__,
        "width": settings.width,
        "refresh": settings.refresh,
        "features": features_hash(),
        "scenario": scenario_toml(settings.scenario, comments=False),
        "reward": asdict(settings.reward),
        "settings": plain,
    }


def settings_of(checkpoint: Checkpoint) -> TrainSettings:
    """The settings that a checkpoint was trained with. Raises CheckpointError."""
    check_fits(checkpoint, None)
    try:
        about = checkpoint.about
        plain = dict(about["settings"])
        plain["evaluation"] = tuple(plain["evaluation"])
        scenario = scenario_from(about["scenario"])
        return TrainSettings(scenario=scenario, reward=reward_weights(about["reward"]), **plain)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"checkpoint {str(checkpoint.path)!r}: its settings do not suit nextone {__version__}: {reason}; "
            "use the version that trained it, or train again"
        ) from None


def resume_from(run: Path) -> tuple[TrainSettings, Checkpoint]:
    """The newest whole checkpoint of a training and its settings. Raises CheckpointError."""
    checkpoint = newest_checkpoint(run, (MODEL, TRAINING))
    return settings_of(checkpoint), checkpoint


def held_out(
    settings: TrainSettings, policies: Mapping[str, Any], rows: int | None = None, episodes: int | None = None
) -> list[Uplift]:
    """The first policy's reward an episode against each other's, on people that no training and no choice has seen."""
    rows, episodes = rows or HELD_OUT[0], episodes or HELD_OUT[1]
    env = make_env(settings, rows)
    rewards = {
        name: play(env, chooser(policy), HELD_OUT_SEED, episodes).reward(settings.reward)
        for name, policy in policies.items()
    }
    first, *others = rewards
    return [uplift(other, rewards[other], rewards[first]) for other in others]


def levels(settings: TrainSettings) -> dict[str, Interval]:
    """The reward an episode that each hand-made rule earns on the evaluation people."""
    env, episodes = make_env(settings, settings.evaluation[0]), settings.evaluation[1]
    found = {
        name: mean_interval(play(env, chooser(rule), EVALUATION_SEED, episodes).reward(settings.reward))
        for name, rule in hand_made(settings.reward).items()
    }
    env.close()
    return {name: interval for name, interval in found.items() if interval is not None}


def final_result(settings: TrainSettings, out: Path) -> dict[str, Any]:
    """The best checkpoint on held-out people, against the policy from which it started and against every rule: JSON."""
    best = best_checkpoint(out)
    asks_at = asks_at_of(best)
    model = make_model(settings, asks_at)
    start = {START: RlPolicy(model.policy.network)} if settings.algo == "maskable_ppo" else {}
    uplifts = held_out(settings, {"rl": load_rl(best.path)} | start | hand_made(settings.reward) | asking_rule(asks_at))
    model.env.close()
    return {
        "checkpoint": str(best.path),
        "steps": best.step,
        "episodes": HELD_OUT[0] * HELD_OUT[1],
        "uplifts": [u._asdict() for u in uplifts],
    }


@contextlib.contextmanager
def logging_to(out: Path) -> Iterator[Logger]:
    """A block with SB3's logger, which writes TensorBoard files into `out`/tensorboard. If the disk is full,
    TensorBoard's thread reports it at the next write; the traceback that it would print besides is suppressed."""
    usual = threading.excepthook
    threading.excepthook = lambda told: None if told.exc_type is OSError else usual(told)
    try:
        logger = Logger(str(out), [TensorBoardOutputFormat(str(out / "tensorboard"))])
        try:
            yield logger
        finally:
            logger.close()
    finally:
        threading.excepthook = usual
