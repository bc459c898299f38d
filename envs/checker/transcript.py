"""Transcripts of an environment: playing it for the record, and comparing what was recorded.

Called by `envs/checker/check.py` and `envs/checker/vector.py`. Nothing here knows our own environments.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

Choose = Callable[[Any, dict[str, Any], np.random.Generator], Any]
"""choose(observation, info, rng) -> action."""

STICKY = 0.9  # chance that the second style of play repeats the last action: it reaches corners random play does not


class Finding(NamedTuple):
    """A fault: its name, one line that explains it, and how to see it."""

    name: str
    explanation: str
    see: str

    def __str__(self) -> str:
        return f"{self.name}: {self.explanation}. To see it: {self.see}"


class Fault(Exception):
    """Play cannot go on: the finding says why."""

    def __init__(self, name: str, explanation: str, see: str) -> None:
        super().__init__(explanation)
        self.finding = Finding(name, explanation, see)


class Moment(NamedTuple):
    """What one call of reset or step returned: copies in a transcript, the objects themselves in `Episode.returned`."""

    observation: Any
    reward: Any = 0.0
    terminated: Any = False
    truncated: Any = False
    info: Any = {}  # noqa: RUF012  never changed

    @property
    def done(self) -> bool:
        """Whether the episode is over, terminated or truncated."""
        return bool(self.terminated) or bool(self.truncated)


class Episode(NamedTuple):
    """One episode: actions[k] led from moments[k] to moments[k + 1]; moments[0] is the reset."""

    seed: int | None
    luck: int  # what its random actions were keyed by
    actions: list[Any]
    moments: list[Moment]
    returned: list[Moment]
    truth: list[Any]  # what `witness` said of the world at each moment; empty without one

    @property
    def steps(self) -> int:
        """How many steps were played."""
        return len(self.actions)


# -- values: nested dictionaries and sequences of arrays and scalars ---------------------------------------------------


def copied(value: Any) -> Any:
    """A deep copy of arrays, dictionaries, lists and tuples; anything else is returned as it is."""
    if isinstance(value, np.ndarray):
        twin = value.copy()
        if value.dtype == object:
            for where in np.ndindex(value.shape):
                twin[where] = copied(value[where])
        return twin
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(copied(item) for item in value))
    return type(value)(copied(item) for item in value) if isinstance(value, (list, tuple)) else value


def parts(value: Any) -> list[tuple[str, Any]]:
    """(path, item) of a dictionary's or sequence's items; none for anything else."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    listed = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object)
    return [(f"[{k}]", item) for k, item in enumerate(value)] if listed else []


def arrays(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """(path, array) of every array inside."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield path, value
    for name, item in parts(value):
        yield from arrays(item, path + name)


def difference(a: Any, b: Any, path: str = "") -> str:
    """ "" if two values are the same bit by bit (NaN equals NaN), else where they first differ and how."""
    if a is b:
        return ""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{path} is {a.dtype}{a.shape}, then {b.dtype}{b.shape}"
        if a.dtype == object:
            return difference(list(a.flat), list(b.flat), path)
        wrong = (a != b) & ~((a != a) & (b != b))
        return f"{path} is {a[wrong].flat[0]}, then {b[wrong].flat[0]}" if wrong.any() else ""
    mine, other = parts(a), parts(b)
    if mine or other:
        if [name for name, _ in mine] != [name for name, _ in other]:
            return f"{path} has {', '.join(n for n, _ in mine)}, then {', '.join(n for n, _ in other)}"
        found = (difference(x, y, path + name) for (name, x), (_, y) in zip(mine, other, strict=True))
        return next(filter(None, found), "")
    return "" if bool(a == b) or (a != a and b != b) else f"{path} is {a}, then {b}"


def first_difference(expected: list[Moment], got: list[Moment], ignore: frozenset[str] = frozenset()) -> str:
    """Where two transcripts part: "step 3: reward is 1.0, then 0.0"; "" if they are the same. ignore: keys of info."""
    for k, (a, b) in enumerate(zip(expected, got, strict=False)):
        for name, x, y in zip(Moment._fields, a, b, strict=True):
            if ignore and isinstance(x, dict) and isinstance(y, dict) and name == "info":
                x, y = ({key: v for key, v in side.items() if key not in ignore} for side in (x, y))
            found = difference(x, y, name)
            if found:
                return f"step {k}: {found}"
    return "" if len(expected) == len(got) else f"one ends after {len(expected) - 1} steps, one after {len(got) - 1}"


def shared_memory(a: Any, b: Any) -> str:
    """The path of an array of `a` that overlaps a writeable one of `b`, or ""."""
    for path, x in arrays(a):
        for _, y in arrays(b):
            if y.flags.writeable and x.size and np.may_share_memory(x, y) and np.shares_memory(x, y):
                return path or "it"
    return ""


def overwrite(value: Any) -> None:
    """Change whatever can be written into: arrays get another value everywhere, dictionaries and lists are emptied."""
    for _, item in parts(value):
        overwrite(item)
    if isinstance(value, np.ndarray) and value.flags.writeable and value.dtype.kind in "iufb":
        value[...] = value.dtype.type(77)
    elif isinstance(value, (dict, list)):
        value.clear()


# -- playing -----------------------------------------------------------------------------------------------------------


def generator(*key: int) -> np.random.Generator:
    """A generator of the checker's own, keyed by these numbers; global state is not touched."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def shown_masks(observation: Any, info: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Every action mask that was returned, by its place: mask or action_mask of a Dict observation or of info."""
    found = {}
    for where, value in (("observation", observation), ("info", info)):
        for key in ("mask", "action_mask"):
            if isinstance(value, dict) and isinstance(value.get(key), np.ndarray):
                found[f"{where}[{key!r}]"] = value[key]
    return found


def method_mask(env: Any) -> np.ndarray[Any, Any] | None:
    """`action_masks()` as sb3-contrib asks for it, or None."""
    method = getattr(env.unwrapped, "action_masks", None)
    return np.array(method()) if callable(method) else None


def allowed(env: Any, observation: Any, info: Any) -> np.ndarray[Any, Any] | None:
    """The actions that the first mask found allows; None without a mask."""
    space, method = env.action_space, method_mask(env)
    for mask in [*shown_masks(observation, info).values(), *([] if method is None else [method])]:
        if isinstance(space, spaces.Discrete) and mask.shape == (space.n,) and mask.any():
            return np.flatnonzero(mask) + int(space.start)
    return None


def random_action(space: spaces.Space[Any], rng: np.random.Generator, choices: Any = None) -> Any:
    """A random action of the space, by the checker's own generator; one of `choices` if they are given."""
    if choices is not None:
        return np.int64(choices[rng.integers(len(choices))])
    if isinstance(space, spaces.Discrete):
        return np.int64(rng.integers(space.n) + space.start)
    if isinstance(space, spaces.Box) and space.is_bounded():
        return rng.uniform(space.low, space.high).astype(space.dtype)
    space.seed(int(rng.integers(2**31)))
    return space.sample()


def play(
    env: gymnasium.Env[Any, Any],
    steps: int,
    *,
    seed: int | None = None,
    luck: int = 0,
    style: int = 0,
    choose: Choose | None = None,
    actions: list[Any] | None = None,
    witness: Callable[[Any], Any] | None = None,
    options: dict[str, Any] | None = None,
    spoil: str = "",
) -> Episode:
    """Play one episode of at most `steps` steps. Raises Fault if an answer does not have the form that Gymnasium asks
    for.

    actions: what to play first; afterwards, and without them, `choose` decides, or random allowed actions keyed by
    `luck` (style 0: independent, 1: mostly the last one again). witness(env): what the world itself says, recorded at
    each moment. spoil: "observation", "info" or "action" is overwritten as soon as it is recorded, as a user might
    do."""
    rng, last = generator(luck, style), None
    now = _reset(env, seed, options)
    moments, returned, played = [Moment(*map(copied, now))], [now], []
    truth = [] if witness is None else [copied(witness(env))]
    for k in range(steps if actions is None else len(actions)):
        choices = allowed(env, now.observation, now.info)
        if actions is not None:
            action = copied(actions[k])
        elif choose is not None:
            action = choose(copied(now.observation), copied(now.info), rng)
        elif style and last is not None and rng.random() < STICKY and (choices is None or last in choices):
            action = copied(last)
        else:
            action = random_action(env.action_space, rng, choices)
        last = copied(action)
        played.append(last)
        if spoil == "observation":
            overwrite(now.observation)
        elif spoil == "info":
            overwrite(now.info)
        now = _step(env, action, k + 1)
        if spoil == "action":
            overwrite(action)
        elif difference(last, action):
            told = "step changed the action it was given: a caller who keeps it trains on another one"
            raise Fault("action-changed", told, f"step {k + 1}: {difference(last, action, 'the action')}")
        moments.append(Moment(*map(copied, now)))
        returned.append(now)
        if witness is not None:
            truth.append(copied(witness(env)))
        if now.done:
            break
    return Episode(seed, luck, played, moments, returned, truth)


def _reset(env: gymnasium.Env[Any, Any], seed: int | None, options: dict[str, Any] | None) -> Moment:
    """A reset, asked for as Gymnasium does."""
    arguments: dict[str, Any] = {} if options is None else {"options": options}
    answer: Any = env.reset(**arguments) if seed is None else env.reset(seed=seed, **arguments)
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise Fault("reset-answer", "reset must return (observation, info), info a dictionary", f"reset(seed={seed})")
    return Moment(answer[0], info=answer[1])


def _step(env: gymnasium.Env[Any, Any], action: Any, number: int) -> Moment:
    """A step whose answer has the right form."""
    answer: Any = env.step(action)
    see = f"step {number} returned {type(answer).__name__} of {[type(x).__name__ for x in answer]}"
    if not isinstance(answer, tuple) or len(answer) != 5 or not isinstance(answer[4], dict):
        raise Fault("step-answer", "step must return (observation, reward, terminated, truncated, info)", see)
    for flag in answer[2:4]:
        if not isinstance(flag, (bool, np.bool_)):
            raise Fault("flag-type", "terminated and truncated must be bool: 0-d arrays and numbers mislead `if`", see)
    return Moment(*answer)
