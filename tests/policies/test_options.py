"""What a policy may say of itself, and what is refused."""

from functools import partial

import numpy as np
import pytest
import torch
from test_features import PAST, USERS, bare_world
from test_policies import Counting, own_rule

from nextone import compare_policies
from nextone.experiments.runs.deciding import make_decide, phone_cost
from nextone.policies import rules
from nextone.policies.contract import USUAL, Options, as_policy, options_of
from nextone.sim.config import FREE, Cost


def with_options(**options):
    """A policy with these attributes."""
    policy = Counting()
    for name, value in options.items():
        setattr(policy, name, value)
    return policy


def test_who_says_nothing_has_the_defaults():
    """Functions, objects and network modules: nothing that they have is taken for a misspelt option."""
    for policy in (own_rule, as_policy(own_rule), Counting(), partial(rules.at_random, seed=3), torch.nn.Linear(1, 1)):
        assert options_of(policy) == Options(False, None, 256, None, None)


def test_options_are_read_from_functions_and_objects():
    def rule(observation):
        return np.zeros(observation.mask.shape)

    rule.pad_to = 8
    assert options_of(rule) == options_of(as_policy(rule)) == Options(pad_to=8)
    later = with_options(downloaded=True, at_a_time=2, asked_after=lambda past: past // 2)
    assert options_of(later) == Options(downloaded=True, at_a_time=2, asked_after=later.asked_after)
    make_decide(later, world := bare_world())(world, np.arange(USERS))
    assert max(later.sizes) == 2 and phone_cost(later) == USUAL
    assert phone_cost(rule) == phone_cost("tag_momentum") == FREE
    assert phone_cost(with_options(downloaded=True, cost=(0.5, 7))) == Cost(time=0.5, bytes=7)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pad_to", 0, "pad_to=0 must be None or a whole number >= 1; leave it out"),
        ("pad_to", True, "pad_to=True must be None or a whole number"),
        ("pad_to", "32", "pad_to=32 must be"),
        ("at_a_time", None, "at_a_time=None must be a whole number >= 1; leave it out for 256"),
        ("at_a_time", 2.0, "at_a_time=2.0 must be"),
        ("downloaded", 1, "downloaded=1 must be True or False"),
        ("cost", 0.5, "cost=0.5 must be (time, bytes), time >= 0 and bytes a whole number from 0 to 1,000,000,000"),
        ("cost", (-1.0, 0), "must be (time, bytes)"),
        ("cost", (float("nan"), 0), "must be (time, bytes)"),
        ("cost", (1.0, 2.5), "leave it out for a rule"),
        ("asked_after", 14, "asked_after=14 must be None or a function; define it as a method"),
        ("in_place", "yes", "in_place=yes must be"),
        ("pad_too", 32, "pad_too is not an option and would be ignored; options are downloaded, pad_to"),
        ("padto", 32, "call it pad_to"),
        ("PAD_TO", 32, "call it pad_to"),
        ("download", True, "call it downloaded"),
        ("ask_after", 14, "call it asked_after"),
        ("inplace", True, "call it in_place"),
    ],
)
def test_a_wrong_option_is_refused_where_the_policy_is_given(name, value, said):
    policy = with_options(**{name: value})
    for give in (lambda: make_decide(policy, bare_world()), lambda: phone_cost(policy),
                 lambda: compare_policies({"cloud_only": "cloud_only", "mine": policy}, minutes=1)):  # fmt: skip
        with pytest.raises(ValueError, match="policy Counting: ") as caught:
            give()
        assert said in str(caught.value)


def test_a_name_like_an_options_is_fine_beside_the_option():
    assert options_of(with_options(PAD_TO=32, pad_to=32)).pad_to == 32
    assert options_of(with_options(place=1, times=2, padding=3, asked=4)) == Options()


@pytest.mark.parametrize("policy", [3, None, object(), []])
def test_what_cannot_be_called_is_no_policy(policy):
    with pytest.raises(ValueError, match=r"must be a function of an observation, or have start\(n\) and __call__"):
        make_decide(policy, bare_world())


@pytest.mark.parametrize("after", [-1, 0.5, None, 2**15])
def test_when_to_be_asked_is_a_whole_number(after):
    world = bare_world()
    world.params["edge"] = 1
    with pytest.raises(ValueError, match=rf"asked_after\({PAST}\)={after} must be a whole number >= 0"):
        make_decide(with_options(asked_after=lambda past: after), world)
