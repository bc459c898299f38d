"""What must hold between an episode and its replays. Called by `envs/checker/check.py`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from .claims import Env, Findings, Lab
from .transcript import (
    Episode,
    Finding,
    Moment,
    allowed,
    copied,
    difference,
    first_difference,
    generator,
    play,
    random_action,
    shown_masks,
)

PROBES, PROBE_STEPS = 24, 10  # places at which one action is changed, and how long the rest is watched
SEED_STEPS = 100  # after which two seeds are taken to give the same episode
CERTAIN = 5  # times that an effect must come late, and never in time, to be called late


def replay(env: Env, lab: Lab, episode: Episode, **how: Any) -> Episode:
    """Play the same seed and actions again."""
    return play(env, 0, seed=episode.seed, actions=episode.actions, **how)


def check_fresh_instance(lab: Lab) -> Findings:
    """The same seed and actions give the same bits in a new instance, also in the episode after it."""
    for first, second in zip(lab.seeded, [e for e in lab.episodes if e.seed is None], strict=True):
        env = lab.make()
        for episode in (first, second):
            parted = lab.parted(episode, replay(env, lab, episode))
            if parted:
                told = f"the same seed and actions give another episode in a new instance: {parted}"
                yield Finding("not-reproducible", told, lab.at(episode, episode.steps) + ", twice")
                return


def check_seed(lab: Lab) -> Findings:
    """Another seed gives another episode, also on a used instance; without a seed, the next episode is another one."""
    pairs = []
    for seed in range(lab.seed, lab.seed + 4):
        env = lab.make()
        pairs.append((play(env, SEED_STEPS, seed=seed).moments, play(env, SEED_STEPS).moments))
    varies = any(first_difference(pairs[0][0], other) for other, _ in pairs[1:])
    repeats = not any(first_difference(a, b) for a, b in pairs)
    if not varies and not repeats:
        told = "every seed gives the same episode, though episodes differ"
        yield Finding("seed-ignored", told, f"reset(seed={lab.seed}), reset(seed={lab.seed + 1})")
    if varies and repeats:
        told = "reset() without a seed starts the last episode again instead of another one"
        yield Finding("episodes-repeat", told, f"reset(seed={lab.seed}), play, reset(), play the same actions")
    for episode in lab.sample():
        env = lab.make()
        env.reset(seed=lab.seed + 9)
        parted = lab.parted(episode, replay(env, lab, episode))
        if parted:
            told = f"an instance that was reset before ignores the seed of a later reset: {parted}"
            yield Finding("seed-ignored-later", told, f"make(), reset(seed={lab.seed + 9}), reset(seed={episode.seed})")
            return


def check_history(lab: Lab) -> Findings:
    """Reset forgets what was before it: episodes played to the end, broken off, or only begun."""
    env = lab.make()
    for episode in lab.sample():
        for steps in (lab.steps, 3, 1):
            play(env, steps, seed=lab.seed + 100 + steps, luck=steps)
            parted = lab.parted(episode, replay(env, lab, episode))
            if parted:
                told = f"something of the last episode survives reset: {parted}"
                see = f"play {steps} steps of another seed, reset(seed={episode.seed}), the actions of a fresh instance"
                yield Finding("state-survives-reset", told, see)
                return
    for episode in lab.sample():  # without a seed: the same luck if steps draw none
        used, fresh = lab.make(), lab.make()
        play(used, lab.steps, seed=episode.seed, luck=1)
        fresh.reset(seed=episode.seed)
        states = [state_of_luck(x) for x in (used, fresh, lab.make())]
        if states[0] is None or difference(states[0], states[1]) or not difference(states[0], states[2]):
            continue  # steps draw from np_random, or reset does not seed it
        wanted = play(fresh, lab.steps, luck=2)
        parted = lab.parted(wanted, play(used, 0, actions=wanted.actions))
        if parted:
            told = f"something of the last episode survives reset() without a seed: {parted}"
            see = f"reset(seed={episode.seed}), play or not, reset(), the same actions"
            yield Finding("state-survives-reset", told, see)
            return


def state_of_luck(env: Env) -> Any:
    """State of the generator that Gymnasium seeds, or None if there is none."""
    luck = getattr(env.unwrapped, "_np_random", None)
    return luck.bit_generator.state if isinstance(luck, np.random.Generator) else None


def check_interleaved(lab: Lab) -> Findings:
    """Two instances that are played in turn do not influence each other."""
    one, other = lab.sample()[0], lab.sample()[1]
    turns = [stepwise(lab.make(), episode) for episode in (one, other)]
    moments: list[list[Moment]] = [[], []]
    live = [0, 1]
    while live:
        for k in list(live):
            moment = next(turns[k], None)
            if moment is None:
                live.remove(k)
            else:
                moments[k].append(moment)
    for episode, got in zip((one, other), moments, strict=True):
        parted = first_difference(episode.moments, got, lab.claims.ignore_info)
        if parted:
            told = f"two instances share state: played in turns, one changes the other: {parted}"
            yield Finding("instances-share-state", told, "make() twice, step them in turns")


def stepwise(env: Env, episode: Episode) -> Iterator[Moment]:
    """The episode again, one moment at a time."""
    observation, info = env.reset(seed=episode.seed)
    yield Moment(copied(observation), info=copied(info))
    for action in episode.actions:
        yield Moment(*map(copied, env.step(copied(action))))


def check_spoiled(lab: Lab) -> Findings:
    """Overwriting what was returned, or an action after its use, changes nothing in the world."""
    meaning = {
        "observation": "the observation is the environment's own memory: overwriting it changes what follows",
        "info": "info is the environment's own memory: overwriting it changes what follows",
        "action": "the environment keeps the action it was given: overwriting it later changes what follows",
    }
    for what, told in meaning.items():
        for episode in lab.sample()[:2]:
            parted = lab.parted(episode, replay(lab.make(), lab, episode, spoil=what))
            if parted:
                yield Finding(f"{what}-kept", f"{told}: {parted}", f"overwrite each {what} in place after use")
                break


def check_options(lab: Lab) -> Findings:
    """Empty options change nothing."""
    episode = lab.sample()[0]
    parted = lab.parted(episode, replay(lab.make(), lab, episode, options={}))
    if parted:
        told = f"reset(options={{}}) starts another episode than reset(): {parted}"
        yield Finding("options-change", told, f"reset(seed={episode.seed}, options={{}})")


def check_one_action(lab: Lab) -> Findings:
    """If one action changes, what was before stays, something changes after it, and not one step late."""
    rng, env = generator(lab.seed, 77), lab.make()
    now = late = reward_now = reward_late = anything = probes = 0
    for n in range(PROBES):
        episode = lab.episodes[n % len(lab.episodes)]
        episode = episode if episode.seed is not None else lab.seeded[n % len(lab.seeded)]
        if not episode.steps:
            continue
        at = int(rng.integers(min(episode.steps, 100)))
        other = changed_action(env, episode, at, rng)
        if other is None:
            continue
        got = other.moments
        probes += 1
        parted = first_difference(episode.moments[: at + 1], got[: at + 1], lab.claims.ignore_info)
        if parted:
            yield Finding("past-changed", f"an observation depends on a later action: {parted}", lab.at(episode, at))
        seen = [effects(a, b) for a, b in zip(episode.moments[at + 1 :], got[at + 1 :], strict=False)]
        anything += any(any(pair) for pair in seen)
        now += any(seen[0])
        reward_now += seen[0][1]
        late += not any(seen[0]) and len(seen) > 1 and any(seen[1])
        reward_late += not seen[0][1] and seen[0][0] and len(seen) > 1 and seen[1][1]
    where = f"replay episodes with one action changed ({probes} times)"
    if probes >= PROBES // 2 and not anything:
        yield Finding("action-ignored", "no action changes anything that follows", where)
    if late >= CERTAIN and not now:
        yield Finding("action-late", "an action never shows in its own step, but in the next: one step late", where)
    if reward_late >= CERTAIN and not reward_now:
        told = "an action changes its own step's observation but only the next step's reward: of the wrong step?"
        yield Finding("reward-late", told, where)


def effects(a: Moment, b: Moment) -> tuple[bool, bool]:
    """Whether (the observation, the reward) of two moments differ."""
    seen = difference(a.observation, b.observation) or a.terminated != b.terminated
    return bool(seen), bool(difference(a.reward, b.reward))


def changed_action(env: Env, episode: Episode, at: int, rng: np.random.Generator) -> Episode | None:
    """Play the episode with another allowed action at step `at`, and then what was played, where it is still allowed.
    None if no other action is allowed there."""
    step = -1

    def choose(observation: Any, info: dict[str, Any], _: np.random.Generator) -> Any:
        nonlocal step
        step += 1
        planned = episode.actions[min(step, episode.steps - 1)]
        choices = allowed(env, observation, info)
        if step != at:
            return planned if step < at or choices is None or planned in choices else choices[0]
        others = None if choices is None else choices[choices != planned]
        if others is not None and not len(others):
            return planned
        for _try in range(20):
            action = random_action(env.action_space, rng, others)
            if difference(np.asarray(action), np.asarray(planned)):
                return action
        return planned

    got = play(env, min(at + PROBE_STEPS, episode.steps), seed=episode.seed, choose=choose)
    return got if difference(np.asarray(got.actions[at]), np.asarray(episode.actions[at])) else None


def check_future(lab: Lab) -> Findings:
    """The observation does not change when all luck after it does."""
    claims = lab.claims
    observe = claims.observe or (lambda env: env.unwrapped._get_obs())
    if claims.observe is None and not hasattr(lab.make().unwrapped, "_get_obs"):
        return
    for episode in lab.sample():
        env = lab.make()
        for at in sorted({0, 1, 2, episode.steps // 2, episode.steps - 1} & set(range(episode.steps))):
            play(env, 0, seed=episode.seed, actions=episode.actions[:at])
            first, again = copied(observe(env)), copied(observe(env))
            if difference(first, again):
                return  # noise of its own
            if claims.perturb_future is not None:
                claims.perturb_future(env)
            else:
                kind = type(env.unwrapped.np_random.bit_generator)
                env.unwrapped.np_random = np.random.Generator(kind(np.random.SeedSequence((lab.seed, at))))
            leaked = difference(first, copied(observe(env)), "the observation")
            if leaked:
                told = f"the observation tells the future: it changes when only luck to come does: {leaked}"
                yield Finding("future-leak", told, lab.at(episode, at) + ", change all luck after now, observe again")
                return


def check_forbidden(lab: Lab) -> Findings:
    """An action outside the space raises an error; one that the mask forbids is not carried out."""
    env = lab.make()
    space = env.action_space
    if not isinstance(space, spaces.Discrete):
        return
    env.reset(seed=lab.seed)
    if not raises(env.step, np.int64(space.start + space.n)):
        told = f"action {space.start + space.n} is outside {space} and was taken without an error"
        yield Finding("outside-accepted", told, f"reset(seed={lab.seed}), step({space.start + space.n})")
    key = lab.claims.executed
    for episode in lab.sample() if key else ():
        for at in range(episode.steps):
            moment = episode.moments[at]
            mask = next(iter(shown_masks(moment.observation, moment.info).values()), episode.truth[at].mask)
            if mask is None or mask.all() or not mask.any():
                continue
            env = lab.make()
            play(env, 0, seed=episode.seed, actions=episode.actions[:at])
            wrong = np.int64(np.flatnonzero(np.asarray(mask) == 0)[0] + space.start)
            try:
                info = env.step(wrong)[4]
            except Exception:  # refusing it is right
                return
            if int(info.get(key, -1)) == int(wrong):
                told = f"action {wrong} is masked and was carried out all the same"
                yield Finding("forbidden-executed", told, lab.at(episode, at) + f", step({wrong})")
            break


def check_after_the_end(lab: Lab) -> Findings:
    """Closing twice is allowed; where the author says so, a step after the end or after close raises."""
    env = lab.make()
    ended = next((episode for episode in lab.seeded if episode.moments[-1].done), None)
    if ended is not None and lab.claims.after_done == "raise":
        replay(env, lab, ended)
        if not raises(env.step, copied(ended.actions[0])):
            told = "a step after the end of an episode goes on silently"
            yield Finding("goes-on-after-done", told, lab.at(ended, ended.steps) + ", step again")
    env.close()
    if raises(env.close):
        yield Finding("close-twice", "closing a closed environment raises", "make(), close(), close()")
    if lab.claims.after_close == "raise":
        env = lab.make()
        env.reset(seed=lab.seed)
        action = copied(lab.seeded[0].actions[0])
        env.close()
        if not raises(env.step, action):
            yield Finding(
                "goes-on-after-close", "a step after close goes on silently", "make(), reset(), close(), step()"
            )


def raises(call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call raises any error."""
    try:
        call(*arguments)
    except Exception:
        return True
    return False


REPLAY_TIERS = (
    (check_fresh_instance,),
    (check_seed, check_history),
    (check_interleaved, check_spoiled, check_options, check_one_action, check_future),
)
END_CHECKS = (check_forbidden, check_after_the_end)
