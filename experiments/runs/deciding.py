"""A driver's `decide` from a policy: observe, ask, keep the memory, pad the batch. The only place where these meet."""

from typing import Any

import numpy as np

from nextone.envs.features import Observation, empty_observation
from nextone.envs.observing import observe
from nextone.policies.by_name import make_policy
from nextone.policies.contract import Options, PolicyLike, as_policy, name_of, options_of
from nextone.policies.names import BARE, UnknownPolicy, unknown_name
from nextone.sim.batch_run import Decide
from nextone.sim.state import Array, World
from nextone.sim.world import ask_after

from .names import CLOUD_FILTER, ORACLE_INTENT, REFERENCE_FILTER
from .names import ORACLE as ORACLE
from .names import decider_names as decider_names
from .names import is_decider as is_decider
from .names import is_edge as is_edge
from .names import phone_cost as phone_cost
from .oracle import cloud_filter, oracle_greedy, oracle_intent, reference_filter

DECIDES: dict[str, Decide] = {
    ORACLE: oracle_greedy,
    ORACLE_INTENT: oracle_intent,
    CLOUD_FILTER: cloud_filter,
    REFERENCE_FILTER: reference_filter,
}
"""Of the references."""


def make_decider(policy: str | PolicyLike, world: World, pad_to: int | None = None) -> Decide | None:
    """What a driver calls to decide, from the name of a policy or a policy of the user; None for `cloud_only`, which is
    never asked.

    Raises UnknownPolicy."""
    if not isinstance(policy, str):
        return make_decide(policy, world, pad_to)
    if policy in DECIDES:
        return DECIDES[policy]
    if not is_decider(policy):
        raise UnknownPolicy(unknown_name(policy, (*decider_names(), *BARE)))
    made = make_policy(policy, objective=tuple(world.params["objective"][0].tolist()))
    return None if made is None else make_decide(made, world, pad_to)


def make_decide(policy: PolicyLike, world: World, pad_to: int | None = None) -> Decide:
    """decide(world, rows (n,)) -> scores (n, P) or (n, P + 1) float32, for this world and copies of it.

    Memory is kept per person for as long as the result exists. pad_to: instead of the policy's own (`Options.pad_to`).
    Raises ValueError if an option of the policy is wrong. What it returns raises FloatingPointError if a live slot's
    score is not finite, and ValueError if scores have another shape."""
    asked, name, options = as_policy(policy), name_of(policy), options_of(policy)
    pad_to = pad_to or options.pad_to
    memory = asked.start(len(world.users))
    slots, past = world.pool.shape[1], world.history.shape[1]
    most = pad_to or options.at_a_time
    room = empty_observation(pad_to or 64, slots, past)
    leave_unasked(world, options, name)

    def ask(w: World, rows: Array) -> Array:
        nonlocal memory, room
        n = len(rows)
        size = pad_to or n
        if size > len(room.mask):
            room = empty_observation(min(2 * size, most), slots, past)
        observation = Observation._make(array[:size] for array in room)
        observe(w, rows, *(array[:n] for array in observation))
        asked_about = rows
        if size > n:
            asked_about = np.concatenate([rows, np.full(size - n, rows[0])])
            for array in observation:
                array[n:] = array[0]
        live = observation.mask[:n].copy()  # the policy may write into what it is given
        if options.in_place is not None and size == n:
            scores = options.in_place(observation, memory, rows)
        else:
            scores, after = asked(observation, _taken(memory, asked_about))
            memory = _put(memory, rows, after)
        return _checked(w, rows, scores, live, size, name)

    def decide(w: World, rows: Array) -> Array:
        parts = [ask(w, rows[k : k + most]) for k in range(0, len(rows), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros((0, slots), np.float32)])

    return decide


def leave_unasked(world: World, options: Options, name: str) -> None:
    """Tell the world at which impressions the policy need not be asked. Raises ValueError."""
    if options.asked_after is None:
        return
    past = world.history.shape[1]
    after = options.asked_after(past)
    if not isinstance(after, (int, np.integer)) or not 0 <= after < 2**15:
        raise ValueError(f"policy {name}: asked_after({past})={after} must be a whole number >= 0; 0: at every swipe")
    ask_after(world, after)


def _taken(memory: Any, rows: Array) -> Any:
    """The memory of the people in `rows`."""
    if isinstance(memory, tuple):
        return tuple(_taken(part, rows) for part in memory)
    return None if memory is None else memory[rows]


def _put(memory: Any, rows: Array, after: Any) -> Any:
    """The memory with that of the people in `rows` replaced by the first of `after`; it is changed in place."""
    if isinstance(memory, tuple):
        return tuple(_put(part, rows, new) for part, new in zip(memory, after, strict=True))
    if memory is not None:
        memory[rows] = after[: len(rows)]
    return memory


def _checked(w: World, rows: Array, given: Any, live: Array, size: int, name: str) -> Array:
    """The scores a driver may use: float32, of the right shape, finite where it matters."""
    n, slots = live.shape
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        scores: Array = np.array(given, np.float32, order="C")
    if scores.shape not in ((size, slots), (size, slots + 1)):
        raise ValueError(
            f"scores of policy {name} have shape {scores.shape}, must be ({size}, {slots}), or ({size}, {slots + 1}) "
            "to ask for pages; return one score per person and slot"
        )
    scores = scores[:n]
    if np.isfinite(scores).all():
        return scores
    stands = ((scores[:, :slots] == -np.inf) | ~live).all(1)  # nothing computed: the last order stands
    wrong = (~np.isfinite(scores[:, :slots]) & live).any(1) & ~stands | np.isnan(scores[:, slots:]).any(1)
    if wrong.any():
        k = int(np.argmax(wrong))
        user = w.users[rows[k]]
        raise FloatingPointError(
            f"policy {name} gave user {user['user']} after impression {user['impression']} a score that is not finite: "
            f"{scores[k].tolist()}"
        )
    return scores
