"""What a policy is: something that scores the candidates a phone holds, from what the phone knows.

A plain function `f(observation) -> scores` is one already; an object with `start` may keep a memory per person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import Observation

Scores = NDArray[np.float32]


@runtime_checkable
class Policy(Protocol):
    """Scores candidates; the best live slot is shown next, ties by the server's rank.

    An object whose attribute `downloaded` is True is a model that phones download over their links first.

    The result may depend on nothing but the observation and the memory of the same person: the same scores come out
    whoever else is asked at the same time.
    """

    def start(self, n: int) -> Any:
        """Memory of n people before their first decision: None, an array with a leading axis of n, or a tuple of
        such arrays."""

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        """(scores (N, P), new memory). Scores of empty slots are ignored. Scores (N, P + 1) ask for a page where the
        last one is the largest. A row of -inf computes nothing: the last order stands, and no inference is counted.
        The observation is only valid during the call: copy what is to be kept."""


PolicyLike = Policy | Callable[[Observation], Scores]


@dataclass(frozen=True)
class Stateless:
    """A function of the observation alone, as a policy."""

    function: Callable[[Observation], Scores]

    def start(self, n: int) -> None:
        return None

    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        return self.function(observation), None


def as_policy(policy: PolicyLike) -> Policy:
    """The policy itself, or a function as one."""
    return policy if isinstance(policy, Policy) else Stateless(policy)


def name_of(policy: PolicyLike) -> str:
    """What to call a policy in messages."""
    subject = policy.function if isinstance(policy, Stateless) else policy
    return str(getattr(subject, "__name__", type(subject).__name__))
