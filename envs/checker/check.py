"""A deep checker of Gymnasium environments, anyone's: faults that `gymnasium.utils.env_checker` and SB3's check miss.

    from nextone.envs.checker.check import check_environment

    for finding in check_environment(lambda: gymnasium.make("CartPole-v1")):
        print(finding)

It plays episodes, looks at every moment of them (`moments.py`) and compares them bit by bit with replays
(`replays.py`): in fresh instances, after other episodes, interleaved, with returned arrays overwritten, with one
action changed. What no outsider can know (which reward is right, what the world allows, what the future holds) is told
by `Claims`; each is optional. `docs/environments.md` lists what is found.
"""

import random
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .claims import Claims, Env, Findings, Lab
from .moments import MOMENT_CHECKS
from .replays import END_CHECKS, REPLAY_TIERS
from .transcript import Fault, Finding, difference, play

FEWEST, MOST = 3, 40  # instances played: at least, at most
FEW, ENOUGH = 5, 300  # instances and steps that are enough together,
PLENTY = 5_000  # or so many steps for the fewest instances


class Report(list[Finding]):
    """Findings, one per name. `unseen` says what could not be checked for want of evidence."""

    def __init__(self, findings: Iterable[Finding] = (), unseen: Iterable[str] = ()) -> None:
        first: dict[str, Finding] = {}
        for finding in findings:
            first.setdefault(finding.name, finding)
        super().__init__(first.values())
        self.unseen = list(unseen)

    def __str__(self) -> str:
        return "\n".join([f"{k}. {finding}" for k, finding in enumerate(self, 1)] or ["nothing found"])


class EnvironmentFault(AssertionError):
    """`check_environment(raise_on_error=True)` found faults; the message lists them."""


def check_environment(
    make: Callable[[], Env],
    *,
    claims: Claims | None = None,
    seed: int = 0,
    steps: int = 1000,
    ignore: Iterable[str] = (),
    raise_on_error: bool = False,
) -> Report:
    """Look for faults in an environment; `make()` returns a new instance of it.

    steps: the most of an episode. ignore: names of findings that are intended. raise_on_error: raise EnvironmentFault
    if there are findings. `check_vector.check_vector_environment` checks vector environments."""
    with warnings.catch_warnings():  # what Gymnasium's own wrappers warn of is found here anyway
        warnings.simplefilter("ignore")
        claims = claims or Claims()
        env = make()
        limit = claims.time_limit or (env.spec.max_episode_steps if env.spec is not None else None)
        lab = Lab(make, claims, seed, limit, min(steps, limit + 3) if limit else steps)
        findings = [*guarded(explore, lab)]
        if not findings:
            for check in (*MOMENT_CHECKS, *END_CHECKS):
                findings += guarded(check, lab)
            for tier in REPLAY_TIERS:  # what a later one compares, the earlier ones found repeatable
                parted = [finding for check in tier for finding in guarded(check, lab)]
                findings += parted
                if parted:
                    break
    report = Report((finding for finding in findings if finding.name not in set(ignore)), unseen(lab))
    if raise_on_error and report:
        raise EnvironmentFault(str(report))
    return report


def guarded(check: Callable[[Lab], Findings], lab: Lab) -> Findings:
    """The findings of a check; an error that the environment raises is one."""
    try:
        yield from check(lab)
    except Fault as fault:
        yield fault.finding
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        yield Finding("raised", f"{type(error).__name__}: {told}", f"in {check.__name__}, with actions of its space")


def unseen(lab: Lab) -> list[str]:
    """What could not be checked, because no episode that was played gave an occasion."""
    longest = max((episode.steps for episode in lab.episodes), default=0)
    told = []
    if lab.limit and longest < lab.limit:
        told.append(f"the time limit of {lab.limit} steps: the longest episode had {longest}; give Claims.choose")
    if lab.episodes and not any(episode.moments[-1].terminated for episode in lab.episodes):
        told.append("a termination: no episode had one; give Claims.choose")
    return told


def explore(lab: Lab) -> Findings:
    """Play seeded episodes in fresh instances, each followed by one without a seed. Global random state must stay as it
    is."""
    before = global_luck()
    total = 0
    for k in range(MOST):
        env = lab.make()
        for seed in (lab.seed + k, None):
            choose = lab.claims.choose if k % 3 == 2 else None
            episode = play(env, lab.steps, seed=seed, luck=k, style=k % 2, choose=choose, witness=lab.witness)
            (lab.seeded if seed is not None else lab.episodes).append(episode)
            total += episode.steps
        if (k + 1 >= FEW and total >= ENOUGH) or (k + 1 >= FEWEST and total >= PLENTY):
            break
    lab.episodes += lab.seeded
    if difference(before, global_luck()):
        told = "global random state (np.random or random) was used or changed: no seed of reset governs it"
        yield Finding("global-random", told, "compare np.random.get_state(), random.getstate() before and after play")


def global_luck() -> tuple[Any, Any]:
    """The state of Python's and numpy's global generators, which no environment should change. It is only read."""
    return random.getstate(), np.random.get_state()  # noqa: NPY002
