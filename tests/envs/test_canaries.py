"""Exploit canaries: degenerate policies must not earn more than a greedy rule that knows the reward.

On the same people, paired. If one does, the reward pays for something nobody wants."""

import numba
import numpy as np
import pytest

from nextone.envs.features import C, H, empty_observation
from nextone.envs.reward import PRESETS
from nextone.experiments.training.rl.evaluate import chooser, play, uplift
from nextone.experiments.training.rl.greedy import RewardGreedy, asks_below
from nextone.experiments.training.rl.train import TrainSettings, make_env
from nextone.policies.rules import at_random, longest_first, rates

REWARD = PRESETS["default"]
SEED = 77


def most(name, sign=1.0):
    """Whatever has most, or least, of one feature."""
    return lambda o: np.asarray(sign * o.candidates[..., getattr(C, name)], np.float32)


def same_tag(o, sign=1.0):
    """What is like the last one (a bubble), or anything else (never the same)."""
    return np.asarray(sign * (o.candidates[..., C.tag] == o.history[:, :1, H.tag]), np.float32)


def what_was_skipped(o):
    """More of what this person skips."""
    skipped = o.history[..., H.skip] * o.history[..., H.present]
    return np.einsum("nph,nh->np", o.candidates[..., C.tag, None] == o.history[:, None, :, H.tag], skipped)


CANARIES = {
    "longest first": longest_first,
    "shortest first": most("duration", -1.0),
    "stall-seeking": lambda o: -o.candidates[..., C.preloaded] - o.candidates[..., C.buffered_s],
    "stall-seeking, long": lambda o: o.candidates[..., C.duration] - 10.0 * o.candidates[..., C.preloaded],
    "swipe-bait": most("pevtr", -1.0),
    "hate-bait": most("phtr"),
    "comment-bait": most("pcmtr"),
    "follow-bait": most("pwtr"),
    "forward-bait": most("pftr"),
    "unpopular first": most("popularity", -1.0),
    "popular first": most("popularity"),
    "last rank first": most("rank"),
    "bubble": same_tag,
    "never the same": lambda o: same_tag(o, -1.0),
    "what was skipped": what_was_skipped,
    "random": at_random,
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other are slow while other tests run."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def against_informed(people, episodes):
    """What each canary earns more than the informed rule, on the same people."""
    env = make_env(TrainSettings(), people)
    informed = play(env, chooser("server_score"), SEED, episodes).reward(REWARD)
    for name, canary in CANARIES.items():
        yield uplift(name, informed, play(env, chooser(canary), SEED, episodes).reward(REWARD))


def test_no_degenerate_policy_is_shown_to_earn_more_than_an_informed_one():
    assert not [found for found in against_informed(48, 1) if found.low > 0]


@pytest.mark.long
def test_every_degenerate_policy_is_shown_to_earn_less_than_an_informed_one():
    assert not [found for found in against_informed(512, 4) if found.high >= 0]


def test_page_thrash_earns_less_where_pages_cost_something():
    """Asking for a page at every chance, against never, both choosing alike."""
    env = make_env(TrainSettings(refresh=True), 32)
    always, never = (play(env, chooser(policy), SEED, 1) for policy in (asks_below("server_score", 6), "server_score"))
    assert always.column("requests").sum() > 2 * never.column("requests").sum()
    assert uplift("never", never.reward(REWARD), always.reward(REWARD)).high < 0


def test_the_informed_rule_by_hand():
    seen = empty_observation(1, 2, 1)
    seen.candidates[0, :, C.duration] = np.log1p([10.0, 100.0]) / np.log1p(3600)
    chances = rates(seen.candidates, C.pevtr)
    assert np.allclose(chances, 0.5)  # logit 0: every rate is a half
    worth = 0.5 * (1 + 5 + 10 + 5 + 5 - 10)
    plays = PRESETS["plays"]
    assert np.allclose(RewardGreedy(plays)(seen), worth)
    assert np.allclose(RewardGreedy(plays, per_second=True)(seen), [[worth / 15, worth / 105]], rtol=1e-4)
