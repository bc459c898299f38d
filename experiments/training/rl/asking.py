"""When to ask for a page: a policy search over a handful of weights, `nextone train asking`.

Asking sooner or later moves a session by half a percent, which PPO's advantages do not tell from luck in millions of
decisions. But luck here is keyed by person and impression: two policies that play the same sessions differ by what they
do, and a few thousand sessions tell them apart. So weights are tried on the same people, and scipy's COBYQA (Ragonneau
and Zhang 2024, a trust region with quadratic models, no derivatives) says which to try next.

Candidates are ranked by `rules.server_score`. The start is the best fixed threshold of impressions left; each weight
moves it by impressions for one standard deviation of what it looks at. The result is a checkpoint that `rl:DIR` plays.
"""

import itertools
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from scipy.optimize import Bounds, minimize
from torch import Tensor

from nextone.envs.features import LOG_COUNT
from nextone.experiments.training.progress import Shown
from nextone.experiments.training.state import weights_of
from nextone.policies.checkpoint import MODEL, has_checkpoints, save_checkpoint
from nextone.policies.networks.pointer.network import ASK_STEEPNESS, ASKED_OF, Pointer
from nextone.policies.rl import RlPolicy
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import SettingError

from .evaluate import Array, chooser, play, uplift
from .ppo import new_pointer
from .train import EVALUATION_SEED, NEVER, TrainSettings, asking_rule, best_threshold, describe, make_env, rule_of

LOOKED_AT = (
    "mean_play_time", "mean_skip", "mean_pevtr_chance", "best", "beyond_usual", "session_minutes", "throughput",
)  # fmt: skip
"""What the threshold may depend on, of `pointer.ASKED_OF`: how long and how willingly this person watches, how good the
rest of the page is, and what a request takes."""
PEOPLE = 256  # at a time
FIRST_STEP, LAST_STEP, FURTHEST = 0.7, 0.1, 4.0  # Assumed: of the search, in impressions


def train_asking(
    settings: TrainSettings, out: Path, *, sessions: int = 4096, tries: int = 40, progress: bool = False
) -> Array:
    """Search with this many tries of this many sessions, and save the policy in the folder `out`. Returns the weights
    found, (1 + LOOKED_AT,): the threshold's shift, and by how many impressions a standard deviation of each input moves
    it.

    Raises SettingError for a reward that no rule foresees, and if `out` already holds a training."""
    rule = rule_of(settings.reward)
    if rule is None:
        raise SettingError("this reward says nothing about videos: let watch_s or valid_play count, and requests cost")
    if has_checkpoints(out):
        raise SettingError(f"--out {str(out)!r} already holds a training; give another folder")
    best = best_threshold(settings)
    asks_at = max(best, 0)
    people = min(PEOPLE, sessions)
    env, episodes = make_env(settings, people), -(-sessions // people)
    seen, choices = env.single_observation_space, env.single_action_space
    assert isinstance(seen, spaces.Dict) and isinstance(choices, spaces.Discrete)
    network = new_pointer(seen, int(choices.n), settings.width, settings.seed)
    network.begin_with(torch.tensor(rule[0]), torch.tensor(rule[1]), asks_at)
    policy, seed = RlPolicy(network), settings.seed << 24
    act = chooser(policy)
    search = _Search(network, asks_at)
    search.measure(lambda: play(env, act, seed, 1))
    with closing(Shown(tries, "tries", wanted=progress)) as shown:
        made = itertools.count(1)

        def lost(weights: Array) -> float:
            search.use(weights)
            played = play(env, act, seed, episodes)
            search.decisions += int(played.steps.sum())
            reward = float(played.reward(settings.reward).mean())
            shown.at(next(made))
            shown.tell(f"reward {reward:.2f}")
            return -reward

        start = np.zeros(1 + len(LOOKED_AT))
        found = minimize(
            lost, start, method="COBYQA", bounds=Bounds(-FURTHEST, FURTHEST),
            options={"maxfev": tries, "initial_tr_radius": FIRST_STEP, "final_tr_radius": LAST_STEP},
        )  # fmt: skip
    env.close()
    search.use(found.x)
    moves = dict(zip(("shift", *LOOKED_AT), found.x.tolist(), strict=True))
    try:
        _save(settings, out, best, asks_at, policy, moves, search.decisions)
    except UserError as error:  # a full disk: what took minutes to find is in the message
        raise UserError(f"{error}; found: {', '.join(f'{name}={x:.6g}' for name, x in moves.items())}") from error
    return np.asarray(found.x)


def _save(
    settings: TrainSettings, out: Path, best: int, asks_at: int, policy: RlPolicy, moves: Mapping[str, float],
    decisions: int,
) -> None:  # fmt: skip
    """One look at the evaluation people, and the checkpoint."""
    env = make_env(settings, settings.evaluation[0])
    rewards, of_rule = (
        play(env, chooser(p), EVALUATION_SEED, settings.evaluation[1]).reward(settings.reward)
        for p in (policy, *asking_rule(asks_at).values())
    )
    env.close()
    (name,) = asking_rule(asks_at)
    look = {"step": decisions, "reward": float(rewards.mean()), "uplifts": [uplift(name, of_rule, rewards)._asdict()]}
    about = describe(settings) | {"score": look["reward"], "looks": [look], "asks_at": best, "moves": moves}
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, decisions, about, {MODEL: weights_of(policy.network)})


class _Search:
    """A network whose asking is set by a few numbers."""

    def __init__(self, network: Pointer, asks_at: int) -> None:
        assert network.ask is not None and asks_at > NEVER
        self.ask = network.ask
        self.unit = ASK_STEEPNESS * float(LOG_COUNT[asks_at + 1] - LOG_COUNT[asks_at])  # of an impression
        self.columns = [ASKED_OF.index(name) - len(ASKED_OF) for name in LOOKED_AT]
        self.start, self.bias = self.ask.weight.detach().clone(), self.ask.bias.detach().clone()
        self.decisions = 0
        self.mean, self.std = np.zeros(len(LOOKED_AT)), np.ones(len(LOOKED_AT))

    def measure(self, play_some: Callable[[], object]) -> None:
        """Means and spreads of what asking depends on, over what is played, but for the first choice of a session."""
        seen: list[Tensor] = []
        hook = self.ask.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        play_some()
        hook.remove()
        every = torch.cat(seen)
        every = every[every[:, ASKED_OF.index("session_impressions") - len(ASKED_OF)] > 0][:, self.columns]
        self.mean, self.std = every.numpy().mean(0), np.maximum(every.numpy().std(0), 1e-6)

    def use(self, weights: Array) -> None:
        """(1 + LOOKED_AT,): the shift, and moves for a standard deviation of each, in impressions."""
        slopes = weights[1:] * self.unit / self.std
        with torch.no_grad():
            self.ask.weight.copy_(self.start)
            for column, slope in zip(self.columns, slopes, strict=True):
                self.ask.weight[0, column] += float(slope)
            self.ask.bias.copy_(self.bias + float(weights[0] * self.unit - slopes @ self.mean))
