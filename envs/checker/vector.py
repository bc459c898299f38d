"""The same for vector environments: each row is what the single environment does, in the autoreset mode it says.

    check_vector_environment(lambda n: gymnasium.make_vec("CartPole-v1", n, vectorization_mode="sync"),
                             lambda: gymnasium.make("CartPole-v1"))

Row i of reset(seed=s) must be the single environment of seed s + i, as Gymnasium's own SyncVectorEnv has it.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from .check import EnvironmentFault, Report
from .claims import Env, Findings
from .moments import misfit
from .transcript import Finding, copied, difference, generator, random_action, shared_memory

Vector = VectorEnv[Any, Any, Any]
CLOSE = 20  # steps within which returned arrays are compared pair by pair


class RowStep(NamedTuple):
    """What one row should return; final is None unless the mode keeps the last observation apart."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    final: Any = None


def check_vector_environment(
    make: Callable[[int], Vector],
    single: Callable[[], Env] | None = None,
    *,
    sizes: Iterable[int] = (1, 3),
    seed: int = 0,
    steps: int = 300,
    ignore: Iterable[str] = (),
    raise_on_error: bool = False,
) -> Report:
    """Look for faults in a vector environment; `make(n)` returns a new one of n rows.

    single: a new single environment that each row must equal; without it only form and ownership are checked."""
    findings: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in sizes:
            try:
                findings += check_size(make, single, n, seed, steps)
            except Exception as error:
                told = " ".join(str(error).split())[:200]
                findings.append(Finding("raised", f"{type(error).__name__}: {told}", f"{n} rows, allowed actions"))
    report = Report(finding for finding in findings if finding.name not in set(ignore))
    if raise_on_error and report:
        raise EnvironmentFault(str(report))
    return report


def check_size(
    make: Callable[[int], Vector], single: Callable[[], Env] | None, n: int, seed: int, steps: int
) -> Findings:
    """Play n rows beside n single environments."""
    env = make(n)
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        yield Finding("autoreset-mode", f"metadata['autoreset_mode'] is {mode!r}, not an AutoresetMode", "env.metadata")
        return
    rows = [Row(single(), mode) for _ in range(n)] if single is not None else []
    rng = generator(seed, n)
    observations, infos = env.reset(seed=seed)
    kept = [(copied(observations), observations, copied(infos), infos)]
    wanted = [row.start(seed + i) for i, row in enumerate(rows)]
    yield from compare(env, n, wanted, observations, None, {}, f"{n} rows, reset(seed={seed})")
    done = np.zeros(n, bool)
    for step in range(1, steps + 1):
        where = f"{n} rows, seed {seed}, mode {mode.value}, step {step}"
        if mode == AutoresetMode.DISABLED and done.any():
            observations, infos = env.reset(options={"reset_mask": done.copy()})
            wanted = [row.again() if over else want for row, want, over in zip(rows, wanted, done, strict=False)]
            yield from compare(env, n, wanted, observations, None, {}, where + ", reset by reset_mask")
        actions = np.array([choice(env, row_of(observations, n, i), i, rng) for i in range(n)])
        asked = actions.copy()
        observations, rewards, terminated, truncated, infos = env.step(actions)
        if difference(asked, actions):
            yield Finding("action-changed", "step changed the actions it was given", where)
        wanted = [row.step(asked[i]) for i, row in enumerate(rows)]
        yield from check_form(env, n, observations, rewards, terminated, truncated, where)
        yield from check_autoreset(env, n, mode, done, observations, rewards, terminated, truncated, infos, where)
        yield from compare(env, n, wanted, observations, (rewards, terminated, truncated), infos, where)
        done = np.asarray(terminated | truncated)
        kept.append((copied(observations), observations, copied(infos), infos))
    yield from check_ownership(kept, f"{n} rows, reset(seed={seed})")
    env.close()


class Row:
    """A single environment driven as its row should be."""

    def __init__(self, env: Env, mode: AutoresetMode) -> None:
        self.env, self.mode, self.over = env, mode, False

    def start(self, seed: int) -> RowStep:
        """Begin an episode with this seed."""
        return RowStep(copied(self.env.reset(seed=seed)[0]), 0.0, False, False)

    def again(self) -> RowStep:
        """Begin the next episode without a seed."""
        self.over = False
        return RowStep(copied(self.env.reset()[0]), 0.0, False, False)

    def step(self, action: Any) -> RowStep:
        """What the row must return for this action, in the autoreset mode."""
        if self.mode == AutoresetMode.NEXT_STEP and self.over:
            return self.again()
        observation, reward, terminated, truncated, _ = self.env.step(action)
        observation, self.over = copied(observation), bool(terminated or truncated)
        if self.mode == AutoresetMode.SAME_STEP and self.over:
            return RowStep(self.again().observation, float(reward), terminated, truncated, observation)
        return RowStep(observation, float(reward), terminated, truncated)


def row_of(value: Any, n: int, i: int) -> Any:
    """Row i of a batch: of every array whose first axis is n."""
    if isinstance(value, dict):
        return {key: row_of(item, n, i) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(row_of(item, n, i) for item in value)
    return value[i] if isinstance(value, np.ndarray) and value.ndim and len(value) == n else value


def choice(env: Vector, observation: Any, i: int, rng: np.random.Generator) -> Any:
    """A random action that the row's mask allows."""
    mask = observation.get("mask", observation.get("action_mask")) if isinstance(observation, dict) else None
    live = None if mask is None or not np.any(mask) else np.flatnonzero(mask)
    return random_action(env.single_action_space, rng, live)


def check_form(
    env: Vector, n: int, observations: Any, rewards: Any, terminated: Any, truncated: Any, where: str
) -> Findings:
    """Shapes and types of what step returned; every row in the single space."""
    for name, value, kind in (
        ("rewards", rewards, "f"),
        ("terminations", terminated, "b"),
        ("truncations", truncated, "b"),
    ):
        if not isinstance(value, np.ndarray) or value.shape != (n,) or value.dtype.kind not in kind:
            told = f"{name} must be an array ({n},) of {'float' if kind == 'f' else 'bool'}"
            yield Finding("vector-form", f"{told}, is {getattr(value, 'dtype', type(value))}", where)
    if isinstance(rewards, np.ndarray) and not np.isfinite(rewards).all():
        yield Finding("reward-not-finite", f"a reward is {rewards[~np.isfinite(rewards)][0]}", where)
    for i in range(n):
        name, wrong = misfit(env.single_observation_space, scalar(row_of(observations, n, i)))
        if name:
            yield Finding(name, f"row {i} does not fit the single observation space: {wrong}", where)


def scalar(value: Any) -> Any:
    """A row of a batch of Discrete, which is a NumPy scalar already; tuples keep their form."""
    return tuple(scalar(item) for item in value) if isinstance(value, tuple) else value


def check_autoreset(
    env: Vector, n: int, mode: AutoresetMode, was_done: Any, observations: Any, rewards: Any, terminated: Any,
    truncated: Any, infos: dict[str, Any], where: str,
) -> Findings:  # fmt: skip
    """What each autoreset mode promises, as far as it shows without a single environment to compare with."""
    more = was_done & ((rewards != 0.0) | terminated | truncated)
    if mode == AutoresetMode.NEXT_STEP and more.any():
        told = (
            f"mode next_step: the step after an end only resets (reward 0, not done); row {np.argmax(more)} does more"
        )
        yield Finding("autoreset-disagrees", told, where)
    ended = np.flatnonzero(terminated | truncated)
    finals = infos.get("final_obs")
    if mode != AutoresetMode.SAME_STEP:
        if finals is not None:
            yield Finding(
                "autoreset-disagrees", f"final_obs belongs to mode same_step, the mode is {mode.value}", where
            )
        return
    for i in ended:
        if finals is None or not infos.get("_final_obs", np.zeros(n, bool))[i] or finals[i] is None:
            told = f"mode same_step: row {i} ended, infos['final_obs'] must hold its last observation"
            yield Finding("final-missing", told, where)


def compare(
    env: Vector, n: int, wanted: list[RowStep], observations: Any, results: Any, infos: dict[str, Any], where: str
) -> Findings:
    """Compare each row with the single environment."""
    for i, want in enumerate(wanted):
        parted = loosely(want.observation, row_of(observations, n, i), "observation")
        if results is not None:
            rewards, terminated, truncated = results
            parted = parted or difference(want.reward, float(rewards[i]), "reward")
            parted = parted or difference(bool(want.terminated), bool(terminated[i]), "terminated")
            parted = parted or difference(bool(want.truncated), bool(truncated[i]), "truncated")
        if parted:
            told = f"row {i} is not what the single environment does: alone and in the batch, {parted}"
            yield Finding("row-differs", told, where)
        if want.final is not None and infos.get("final_obs") is not None:
            parted = loosely(want.final, infos["final_obs"][i], "final_obs")
            if parted:
                yield Finding("final-wrong", f"row {i}: alone and in the batch, {parted}", where)


def loosely(a: Any, b: Any, path: str) -> str:
    """`difference`, except that a Python number may be a NumPy scalar in a batch."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return next(filter(None, (loosely(a[key], b[key], f"{path}[{key!r}]") for key in a)), "")
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return next(
            filter(None, (loosely(x, y, f"{path}[{k}]") for k, (x, y) in enumerate(zip(a, b, strict=True)))), ""
        )
    both_arrays = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
    return difference(a, b, path) if both_arrays else difference(np.asarray(a).tolist(), np.asarray(b).tolist(), path)


def check_ownership(kept: list[tuple[Any, Any, Any, Any]], where: str) -> Findings:
    """What was returned stays as it was, final observations too, and shares no memory with later answers."""
    for step, (observations, objects, infos, told_objects) in enumerate(kept):
        for name, old, new in (("observation", observations, objects), ("info", infos, told_objects)):
            changed = difference(old, new, name)
            if changed:
                what = "final-overwritten" if "final" in changed else f"{name}-reused"
                yield Finding(
                    what, f"a later call changed what an earlier one returned: {changed}", f"{where}, step {step}"
                )
    for k, later in enumerate(kept[:CLOSE]):
        for earlier in kept[:k]:
            for name, at in (("observation", 1), ("info", 3)):
                shared = shared_memory(earlier[at], later[at])
                if shared:
                    yield Finding(
                        f"{name}-reused", f"two calls returned the same memory: {shared}", f"{where}, step {k}"
                    )
