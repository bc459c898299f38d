"""What every moment of an episode must satisfy by itself. Called by `envs/checker/check.py`."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from .claims import Findings, Lab, Step
from .transcript import Episode, Finding, difference, shared_memory, shown_masks

CLOSE = 40  # steps within which returned arrays are compared pair by pair
REWARD_TOLERANCE = 1e-9  # relative


def misfit(space: spaces.Space[Any], value: Any, path: str = "observation") -> tuple[str, str]:
    """(name, what is wrong) of a value that should be in a space, ("", "") if it is. Types must be the space's own."""
    if isinstance(space, spaces.Dict) and isinstance(value, dict) and value.keys() == space.spaces.keys():
        found = (misfit(part, value[key], f"{path}[{key!r}]") for key, part in space.spaces.items())
        return next((bad for bad in found if bad[0]), ("", ""))
    if isinstance(space, spaces.Tuple) and isinstance(value, tuple) and len(value) == len(space.spaces):
        found = (misfit(part, value[k], f"{path}[{k}]") for k, part in enumerate(space.spaces))
        return next((bad for bad in found if bad[0]), ("", ""))
    if isinstance(space, spaces.Box) and isinstance(value, np.ndarray):
        if value.dtype != space.dtype or value.shape != space.shape:
            return "observation-type", f"{path} is {value.dtype}{value.shape}, its space {space.dtype}{space.shape}"
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return "observation-not-finite", f"{path} holds {value[~np.isfinite(value)][0]}"
        wrong = (value < space.low) | (value > space.high)
        if wrong.any():
            low, high = space.low[wrong].flat[0], space.high[wrong].flat[0]
            return "observation-out-of-space", f"{path} holds {value[wrong].flat[0]}, its space allows [{low}, {high}]"
        return "", ""
    return ("", "") if space.contains(value) else ("observation-out-of-space", f"{path} is {value!r}, not in {space}")


def check_observations(lab: Lab) -> Findings:
    """Each observation lies in the space, also late ones, and the space stays the same."""
    env = lab.make()
    space, action_space = env.observation_space, env.action_space
    for episode in lab.episodes:
        for k, moment in enumerate(episode.moments):
            name, wrong = misfit(space, moment.observation)
            if name:
                yield Finding(name, f"an observation does not fit its space: {wrong}", lab.at(episode, k))
    for seed in (lab.seed, lab.seed + 1):
        env.reset(seed=seed)
        if env.observation_space != space or env.action_space != action_space:
            yield Finding("space-changed", "a space is not what it was before reset", f"make(), reset(seed={seed})")


def check_rewards(lab: Lab) -> Findings:
    """Each reward is a finite number, is what the author says, and is the sum of its components; the sum over an
    episode is the world's own."""
    claims = lab.claims
    for episode in lab.episodes:
        total = 0.0
        for k, moment in enumerate(episode.moments[1:], 1):
            reward, where = moment.reward, lab.at(episode, k)
            if isinstance(reward, bool) or not isinstance(reward, (int, float, np.integer, np.floating)):
                yield Finding("reward-type", f"the reward is a {type(reward).__name__}, not a number", where)
                break
            if not math.isfinite(reward):
                yield Finding("reward-not-finite", f"the reward is {reward}", where)
                break
            total += float(reward)
            if claims.reward is not None:
                right = claims.reward(step_of(episode, k))
                if not close(float(reward), right):
                    yield Finding("reward-wrong", f"the reward is {reward}, this step's is {right}", where)
            if claims.components:
                parts = components_of(moment.info, claims.components)
                if not parts:
                    told = f"info has neither a dictionary {claims.components!r} nor keys that begin so"
                    yield Finding("components-missing", told, where)
                    break
                weights = claims.weights if claims.weights is not None else dict.fromkeys(parts, 1.0)
                right = sum(float(parts[name]) * weight for name, weight in weights.items())
                if not close(float(reward), right):
                    told = f"the reward is {reward}, the weighted sum of its components {right}"
                    yield Finding("components-differ", told, where)
            if episode.truth and episode.truth[k].ledger is not None and not close(total, episode.truth[k].ledger):
                told = f"rewards so far sum to {total}, the world's own books say {episode.truth[k].ledger}"
                yield Finding("ledger-differs", told, where)


def components_of(info: dict[str, Any], name: str) -> dict[str, Any]:
    """Parts of the reward by name: of the dictionary info[name], or of the keys that begin with `name`."""
    parts = info.get(name)
    if isinstance(parts, dict):
        return parts
    return {key.removeprefix(name): value for key, value in info.items() if key.startswith(name)}


def close(value: float, right: float) -> bool:
    """Whether two numbers are equal but for rounding."""
    return abs(value - right) <= REWARD_TOLERANCE * max(1.0, abs(value), abs(right))


def step_of(episode: Episode, k: int) -> Step:
    """Step k of an episode, as a claim is asked about it."""
    before, after = episode.moments[k - 1], episode.moments[k]
    return Step(
        k, before.observation, before.info, episode.actions[k - 1],
        after.observation, after.info, bool(after.terminated), bool(after.truncated),
    )  # fmt: skip


def check_ends(lab: Lab) -> Findings:
    """Truncated at the time limit and only there; terminated when the world ends and only then."""
    limit, ends, at_limit = lab.limit, lab.claims.terminated, []
    for episode in lab.episodes:
        end = episode.moments[-1]
        where = lab.at(episode, episode.steps)
        if limit and episode.steps > limit:
            told = f"the episode goes on after its time limit of {limit} steps"
            yield Finding("limit-missed", told, lab.at(episode, limit))
        if limit and end.truncated and episode.steps < limit:
            told = f"truncated at step {episode.steps}, not at the limit of {limit}: terminated, or a wrong counter?"
            yield Finding("truncated-early", told, where)
        if limit and episode.steps == limit and end.done:
            at_limit.append(episode)
        for k in range(1, episode.steps + 1):
            right = bool(episode.moments[k].terminated if ends is None else ends(step_of(episode, k)))
            if right != bool(episode.moments[k].terminated):
                told = f"terminated is {not right}, the world says {right}"
                yield Finding("terminated-wrong", told, lab.at(episode, k))
    if len(at_limit) > 1 and not any(episode.moments[-1].truncated for episode in at_limit):
        told = "every episode that reaches the time limit is terminated, none truncated: values would be cut off there"
        yield Finding("limit-as-termination", told, lab.at(at_limit[0], at_limit[0].steps))


def check_counter(lab: Lab) -> Findings:
    """The step counter in the observation or in info counts steps."""
    counter = lab.claims.counter
    for episode in lab.episodes if counter is not None else ():
        for k, moment in enumerate(episode.moments):
            told = counter(moment.observation, moment.info) if counter is not None else k
            if abs(told - k) > 1e-6:
                yield Finding("counter-wrong", f"its step counter says {told}", lab.at(episode, k))


def check_masks(lab: Lab) -> Findings:
    """Masks have the action space's shape, allow something, agree with each other and with the world."""
    space = lab.make().action_space
    for episode in lab.episodes:
        for k, moment in enumerate(episode.moments):
            masks = shown_masks(moment.observation, moment.info)
            witness, where = episode.truth[k], lab.at(episode, k)
            if witness.mask is not None:
                masks["action_masks()"] = witness.mask
            for name, mask in masks.items():
                if isinstance(space, spaces.Discrete) and mask.shape != (space.n,):
                    yield Finding("mask-shape", f"{name} has shape {mask.shape}, there are {space.n} actions", where)
                elif not np.isin(mask, (0, 1)).all() or mask.dtype.kind not in "biuf":
                    yield Finding("mask-values", f"{name} holds other values than 0 and 1", where)
                elif not mask.any() and not moment.done:
                    yield Finding("mask-empty", f"{name} allows nothing and the episode goes on", where)
                elif witness.legal is not None and not moment.done and (mask.astype(bool) != witness.legal).any():
                    k_wrong = int(np.flatnonzero(mask.astype(bool) != witness.legal)[0])
                    told = f"{name} says {bool(mask[k_wrong])} of action {k_wrong}, the world {not mask[k_wrong]}"
                    yield Finding("mask-wrong", told, where)
            names = list(masks)
            for name in names[1:]:
                if not np.array_equal(masks[names[0]].astype(bool), masks[name].astype(bool)):
                    yield Finding("masks-disagree", f"{names[0]} and {name} differ", where)


def check_executed(lab: Lab) -> Findings:
    """What info says was carried out is the allowed action that was asked for."""
    key = lab.claims.executed
    for episode in lab.episodes if key else ():
        for k, action in enumerate(episode.actions, 1):
            done = episode.moments[k].info.get(key)
            if done != -1 and difference(np.asarray(action).tolist(), np.asarray(done).tolist()):
                told = f"info[{key!r}] says {done}, the action {action} was allowed"
                yield Finding("executed-other", told, lab.at(episode, k))


def check_ownership(lab: Lab) -> Findings:
    """What was returned belongs to the caller: later calls neither change nor share it."""
    for episode in lab.episodes:
        for name in ("observation", "info"):
            for k, (kept, object_) in enumerate(zip(episode.moments, episode.returned, strict=True)):
                changed = difference(getattr(kept, name), getattr(object_, name), name)
                if changed:
                    told = f"a later call changed what an earlier one returned: {changed}"
                    yield Finding(f"{name}-reused", told, lab.at(episode, k) + ", keep what it returned, go on")
                    break
    episode = max(lab.episodes, key=lambda episode: episode.steps)
    returned = episode.returned[:CLOSE]
    for k, later in enumerate(returned):
        for j, earlier in enumerate(returned[:k]):
            for name in ("observation", "info"):
                mine, other = getattr(earlier, name), getattr(later, name)
                shared = shared_memory(mine, other) or ("it" if name == "info" and mine is other else "")
                if shared:
                    told = f"two calls returned the same {name}: {shared} is one object, so changing one changes both"
                    yield Finding(f"{name}-reused", told, f"{lab.at(episode, k)}, compare with step {j}")


MOMENT_CHECKS = (
    check_observations, check_rewards, check_ends, check_counter, check_masks, check_executed, check_ownership,
)  # fmt: skip
