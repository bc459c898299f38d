"""A policy that notes what it was asked and what it answered, and changes nothing."""

from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import Observation
from nextone.policies.contract import Policy, Scores


class Decision(NamedTuple):
    """One decision for one person."""

    observation: Observation  # of one person, arrays of a leading 1
    scores: Scores  # (P,) or (P + 1,), as the policy gave them
    rule: int | None  # of a file of rules, the highest priority first: which decided; None: none did


class Watched:
    """Passes everything on. keep: of how many decisions to keep the observation."""

    def __init__(self, policy: Policy, keep: int) -> None:
        self.policy, self.keep = policy, keep
        self.noted: list[Decision] = []
        self.decisions = self.ranked = 0

    @property
    def seen(self) -> list[Observation]:
        """What the first decisions were about."""
        return [each.observation for each in self.noted]

    def __getattr__(self, name: str) -> Any:
        if name in ("in_place", "pad_to"):  # the call below is to see everything, and nobody twice
            raise AttributeError(name)
        return getattr(self.policy, name)

    def start(self, n: int) -> Any:
        """See `contract.Policy`."""
        return self.policy.start(n)

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        before = self._fired()
        scores, after = self.policy(observation, memory)
        scores = np.asarray(scores)
        self.decisions += len(scores)
        self.ranked += int((scores > -np.inf).any(1).sum())
        fired = np.flatnonzero(self._fired() - before)
        for k in range(min(len(scores), self.keep - len(self.noted))):
            one = Observation._make(array[k : k + 1].copy() for array in observation)
            rule = int(fired[0]) if len(scores) == 1 and len(fired) else None
            self.noted.append(Decision(one, scores[k].copy(), rule))
        return scores, after

    def _fired(self) -> Any:
        tally = getattr(self.policy, "tally", None)
        return np.zeros(0) if tally is None else tally.fired.copy()
