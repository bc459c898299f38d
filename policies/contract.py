"""What a policy is: something that scores the candidates a phone holds, from what the phone knows.

A plain function `f(observation) -> scores` is a policy; an object with `start` may keep a memory per person. Drivers
also read the attributes that are listed in `Options`, all of them optional.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import Observation
from nextone.sim.config import FREE, Cost

Scores = NDArray[np.float32]
CLOSE = 0.85  # of two spellings, as difflib counts: pad_too and pad_to have .92
MOST_BYTES = 1_000_000_000
USUAL = Cost(time=1.0, bytes=3_000_000)
"""Of a network that does not say what it costs. Source: EdgeRec, about 3 MB on the device; CIKM 2022's time."""


@runtime_checkable
class Policy(Protocol):
    """Scores candidates; the live slot with the best score is shown next, and ties go by the server's rank.

    Scores may depend on nothing but the observation and the memory of the same person, whoever else is asked at the
    same time. `Options` lists the further attributes that a policy may have."""

    def start(self, n: int) -> Any:
        """Memory of n people before their first decision: None, an array with a leading axis of n, or a tuple of
        such arrays."""

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        """(scores (N, P), new memory). Scores of empty slots are ignored. Scores (N, P + 1) ask for a page where the
        last one is the largest. A row of -inf computes nothing: the last order stands, and no inference is counted.
        The observation is only valid during the call: copy what is to be kept."""


PolicyLike = Policy | Callable[[Observation], Scores]


@dataclass(frozen=True)
class Options:
    """What a policy may say about itself, each in an attribute of this name. A driver reads nothing else.

    A function may have these attributes as well: `f.pad_to = 32`."""

    downloaded: bool = False
    """The policy is a network, which phones download over their links before they rank with it."""
    pad_to: int | None = None
    """Exactly how many people one call is about; the last call is filled up with copies of its first person, so that
    torch computes the same bits for a person whoever else is asked. None: as many as are due."""
    at_a_time: int = 256
    """The most people that one call is about, where `pad_to` is None: 1 MB of observations stays in the cache."""
    asked_after: Callable[[int], int] | None = None
    """asked_after(past) -> k, for a policy that sees `past` impressions: between feedbacks ask it only at every k-th
    impression, since it lets the last order stand at the others. 0 or None: ask at every swipe."""
    in_place: Callable[[Observation, Any, NDArray[Any]], Scores] | None = None
    """in_place(observation, memory, rows (n,)) -> scores (n, P): as the call, but with the memory of all people, which
    it changes for those in `rows`. For memories too large to be copied; not used for a call that is filled up."""
    cost: Cost | None = None
    """(time, bytes): time of a decision, as a share of what the context-aware network with two beams takes on the same
    machine; bytes of the files that phones download, 0 if they come with the app. None: `USUAL` if it is downloaded,
    otherwise a rule, which takes no time and ships nothing."""


class _Rule(NamedTuple):
    holds: Callable[[Any], bool]
    text: str
    remedy: str


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)


def _is_cost(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    time, size = value
    numbers = isinstance(time, (int, float, np.number)) and isinstance(size, (int, np.integer))
    return numbers and 0 <= time < math.inf and 0 <= size <= MOST_BYTES


_A_FUNCTION = _Rule(lambda value: value is None or callable(value), "None or a function", "define it as a method")
_RULES = {
    "downloaded": _Rule(
        lambda value: isinstance(value, (bool, np.bool_)), "True or False", "leave it out if phones download nothing"
    ),
    "pad_to": _Rule(
        lambda value: value is None or _is_count(value), "None or a whole number >= 1", "leave it out for any number"
    ),
    "at_a_time": _Rule(_is_count, "a whole number >= 1", f"leave it out for {Options.at_a_time}"),
    "asked_after": _A_FUNCTION,
    "in_place": _A_FUNCTION,
    "cost": _Rule(
        _is_cost,
        f"(time, bytes), time >= 0 and bytes a whole number from 0 to {MOST_BYTES:,}",
        "leave it out for a rule",
    ),
}


def options_of(policy: PolicyLike) -> Options:
    """The options of a policy, checked.

    Raises ValueError if the policy cannot be called, if an option has a wrong value, or if the name of an attribute is
    nearly that of an option."""
    subject = policy.function if isinstance(policy, Stateless) else policy
    name = name_of(policy)
    if not callable(subject):
        raise ValueError(
            f"policy {name} must be a function of an observation, or have start(n) and __call__(observation, memory); "
            "see nextone.policies.contract"
        )
    given = {option: getattr(subject, option) for option in _RULES if hasattr(subject, option)}
    for option, value in given.items():
        rule = _RULES[option]
        if not rule.holds(value):
            raise ValueError(f"policy {name}: {option}={str(value)[:60]} must be {rule.text}; {rule.remedy}")
    for attribute in dir(subject):
        meant = [] if attribute.startswith("_") else difflib.get_close_matches(attribute.lower(), _RULES, 1, CLOSE)
        if meant and meant[0] not in given:
            raise ValueError(
                f"policy {name}: {attribute} is not an option and would be ignored; options are {', '.join(_RULES)}; "
                f"call it {meant[0]}, or by a name that is less like it"
            )
    return Options(**given)


def cost_of(policy: PolicyLike) -> Cost:
    """What this policy costs the phones on which it ranks. Raises ValueError if an option is wrong."""
    options = options_of(policy)
    if options.cost is None:
        return USUAL if options.downloaded else FREE
    return Cost(*options.cost)


@dataclass(frozen=True)
class Stateless:
    """A function of the observation alone, as a policy."""

    function: Callable[[Observation], Scores]

    def start(self, n: int) -> None:
        return None

    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        return self.function(observation), None


def as_policy(policy: PolicyLike) -> Policy:
    """The policy itself, or a function wrapped as a policy."""
    return policy if isinstance(policy, Policy) else Stateless(policy)


def name_of(policy: PolicyLike) -> str:
    """The name of a policy in messages."""
    subject = policy.function if isinstance(policy, Stateless) else policy
    return str(getattr(subject, "__name__", type(subject).__name__))
