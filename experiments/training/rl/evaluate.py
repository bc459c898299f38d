"""How good a policy is in an environment: the same people play it under every policy, and the rewards are paired.

An episode is a function of (seed, number, actions), so policies share people and luck; episodes are independent of each
other, so Student's t applies to them. Called by `experiments/training/rl/train.py`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import C, Observation
from nextone.envs.reward import COMPONENTS, RewardWeights
from nextone.envs.vector import NextOneVectorEnv
from nextone.experiments.runs.statistics import paired
from nextone.policies.by_name import make_policy
from nextone.policies.contract import PolicyLike, as_policy
from nextone.policies.names import CLOUD_ONLY

Array = NDArray[Any]
START = "its start"  # as a rule: the policy before it learnt anything
Act = Callable[[Mapping[str, Array]], Array]
"""act(observations) -> actions (N,)."""


class Played(NamedTuple):
    """The results of E episodes, in the order of the people."""

    components: Array  # (E, K), in the order of reward.COMPONENTS
    steps: Array  # (E,)

    def reward(self, weights: RewardWeights) -> Array:
        """The reward of each episode, (E,)."""
        reward: Array = self.components @ weights.array()
        return reward

    def column(self, name: str) -> Array:
        """A component by name, (E,)."""
        column: Array = self.components[:, list(COMPONENTS).index(name)]
        return column


class Uplift(NamedTuple):
    """Reward an episode of a policy against a rule's, on the same people, with a paired 95 % interval."""

    rule: str
    rule_mean: float
    diff: float
    low: float
    high: float


def play(env: NextOneVectorEnv, act: Act, seed: int, episodes: int) -> Played:
    """Let every row play so many episodes; env must reset itself at the next step."""
    n = env.num_envs
    components, steps = np.zeros((n, episodes, len(COMPONENTS))), np.zeros((n, episodes), np.int64)
    done, resetting = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    seen, _ = env.reset(seed=seed)
    actions = np.zeros(n, np.int64)
    while (done < episodes).any():
        rows = np.flatnonzero(~resetting & (done < episodes))
        actions[rows] = act({name: array[rows] for name, array in seen.items()})
        moved = env.advance(actions)
        components[rows, done[rows]] += moved.components[rows]
        steps[rows, done[rows]] += 1
        resetting = moved.terminated | moved.truncated
        done += resetting
        seen = moved.observations
    return Played(components.reshape(-1, len(COMPONENTS)), steps.ravel())


def chooser(policy: PolicyLike | str) -> Act:
    """A policy without memory as `act`: it takes the best allowed slot, ties in server order; `cloud_only` is that
    order."""
    made = None if policy == CLOUD_ONLY else make_policy(policy) if isinstance(policy, str) else as_policy(policy)

    def act(seen: Mapping[str, Array]) -> Array:
        slots = seen["candidates"].shape[1]
        live = seen["mask"][:, :slots] != 0
        observation = Observation(seen["candidates"], seen["history"], seen["context"], live)
        # The older page first, then the rank in it; both features rise with what they count.
        order = np.where(live, 10.0 * seen["candidates"][..., C.page_age] - seen["candidates"][..., C.rank], -np.inf)
        if made is None:
            return np.asarray(order.argmax(1))
        scores = np.asarray(made(observation, None)[0])
        best = np.where(live, scores[:, :slots], -np.inf)
        action = np.where(best == best.max(1, keepdims=True), order, -np.inf).argmax(1)
        if scores.shape[1] > slots and seen["mask"].shape[1] > slots:
            asks = (scores[:, slots] > best.max(1)) & (seen["mask"][:, slots] != 0)
            action = np.where(asks, slots, action)
        return np.asarray(action)

    return act


def uplift(rule: str, of_rule: Array, of_policy: Array) -> Uplift:
    """The paired difference over episodes, both (E,)."""
    difference = paired(of_rule, of_policy)
    assert difference is not None
    return Uplift(rule, float(of_rule.mean()), difference.diff, difference.low, difference.high)


def result_lines(result: dict[str, Any]) -> list[str]:
    """The result of a training in lines; result: of `train.final_result`."""
    begun = [u for u in result["uplifts"] if u["rule"] == START]
    learnt = [f"Learnt: {u['rule_mean']:.2f} an episode at the start, {u['rule_mean'] + u['diff']:.2f} at the end, "
              f"{u['diff']:+.2f} [{u['low']:+.2f}, {u['high']:+.2f}], on {result['episodes']:,} held-out episodes."
              for u in begun]  # fmt: skip
    lines = [
        *learnt,
        f"Best checkpoint {result['checkpoint']}, after {result['steps']:,} decisions. Reward an episode on "
        f"{result['episodes']:,} held-out episodes, paired, 95 % intervals:"
    ]
    for u in result["uplifts"]:
        percent = 100 / u["rule_mean"] if u["rule_mean"] else math.nan
        lines.append(
            f"  over {u['rule']:15} {u['diff']:+8.3f} [{u['low']:+.3f}, {u['high']:+.3f}], "
            f"{u['diff'] * percent:+.2f} % of {u['rule_mean']:.3f}"
        )
    return lines
