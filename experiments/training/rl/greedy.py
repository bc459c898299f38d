"""Rules that know the reward: what a trained policy has to beat. Called by `train.py` and tests.

Greedy on what the server predicts the next impression to bring; the same per second that it may take, since people
leave after some time, not after some impressions, so that short videos leave room for others; and the shortest first.
"""

import numpy as np

from nextone.envs.features import LOG_COUNT, MOST_S, C, Observation, X
from nextone.envs.reward import RewardWeights
from nextone.policies.by_name import make_policy
from nextone.policies.contract import PolicyLike, Scores, as_policy
from nextone.policies.rules import PAUSE_S, rates
from nextone.sim.state import PREDICTED as PREDICTED


class RewardGreedy:
    """The expected reward of the next impression, by the server's predictions."""

    def __init__(self, weights: RewardWeights, per_second: bool = False) -> None:
        self.worth = np.array([getattr(weights, name) for name in PREDICTED], np.float32)
        self.watch_s, self.per_second = weights.watch_s, per_second
        self.__name__ = "reward_per_second" if per_second else "reward_greedy"

    def __call__(self, observation: Observation) -> Scores:
        chances = rates(observation.candidates, C.pevtr)  # (N, P, 7)
        duration_s = np.expm1(observation.candidates[..., C.duration] * np.log1p(MOST_S))
        brings = (chances * self.worth).sum(-1) + self.watch_s * chances[..., 0] * duration_s
        if self.per_second:
            brings = brings / (PAUSE_S + duration_s)
        return np.asarray(brings, np.float32)


def shortest_first(observation: Observation) -> Scores:
    """The shortest video: more impressions fit into the same time."""
    return np.asarray(-observation.candidates[..., C.duration], np.float32)


def hand_made(weights: RewardWeights) -> dict[str, PolicyLike | str]:
    """Every rule that a trained policy is compared with, by name; `cloud_only` is the server's order."""
    rules: dict[str, PolicyLike | str] = {}
    for name in ("cloud_only", "tag_momentum", "server_score", "buffered_first"):
        rules[name] = name
    rules["shortest_first"] = shortest_first
    for greedy in (RewardGreedy(weights), RewardGreedy(weights, per_second=True)):
        rules[greedy.__name__] = greedy
    return rules


def asks_below(base: PolicyLike | str, left: int) -> PolicyLike:
    """A policy that chooses as `base`, and asks for a page as soon as `left` or fewer impressions of this one are to
    come."""
    made = make_policy(base) if isinstance(base, str) else base
    chosen = as_policy(made or (lambda observation: np.zeros(observation.mask.shape, np.float32)))

    def policy(observation: Observation) -> Scores:
        scores = np.asarray(chosen(observation, None)[0])
        few = observation.context[:, X.left] <= LOG_COUNT[left]
        ask = np.where(few, scores.max(1) + 1.0, scores.min(1) - 1.0)
        return np.concatenate([scores, ask[:, None]], 1).astype(np.float32)

    policy.__name__ = f"left <= {left}"
    return policy
