"""Every compiled twin says what its network says: the kit of `parity.py`, and the kit itself on wrong twins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parity import (
    CLOSE,
    MOVES,
    NETWORKS,
    PAIRS,
    apart,
    network_of,
    observation,
    to_each_weight,
)

from nextone.envs.features import PREDICTED, C, H, Observation

KINDS = pytest.mark.parametrize("kind", PAIRS)


def test_every_network_has_its_folder_and_every_twin_its_entry():
    folders = [folder for folder in NETWORKS.iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    assert all((folder / "network.py").is_file() for folder in folders) and len(folders) >= 5
    assert {folder.name for folder in folders if (folder / "compiled.py").is_file()} == set(PAIRS)


@KINDS
@pytest.mark.parametrize(
    ("seed", "people", "slots", "past"), [(0, 5, 9, 12), (1, 9, 40, 20), (2, 6, 1, 1), (3, 6, 33, 2)]
)
def test_they_agree(kind, seed, people, slots, past):
    """Histories of every length from none on, empty slots; pools of one, and of one more than loops take at once."""
    pair, seen = PAIRS[kind](), observation(seed, people, slots, past)
    network = network_of(pair, seed)
    expected = pair.by_network(network, seen)
    assert apart(pair.twin_of(network)(seen), expected) < CLOSE and (slots == 1 or np.ptp(expected) > MOVES)


@KINDS
def test_they_agree_without_a_past_and_where_a_pool_is_empty(kind):
    pair, seen = PAIRS[kind](), observation()
    network = network_of(pair)
    twin = pair.twin_of(network)
    for empty in (seen._replace(history=np.zeros_like(seen.history)), seen._replace(mask=without_pools(seen, 1, 3))):
        expected = pair.by_network(network, empty)
        assert apart(twin(empty), expected) < CLOSE and len(expected) > 0
    assert len(twin(seen._replace(mask=np.zeros_like(seen.mask)))) == 0


def without_pools(seen, *people):
    mask = seen.mask.copy()
    mask[list(people)] = False
    return mask


@KINDS
def test_a_persons_bits_do_not_depend_on_the_others(kind):
    pair, seen = PAIRS[kind](), observation(4, 9)
    twin = pair.twin_of(network_of(pair))
    for i in range(9):
        one = Observation(*(array[i : i + 1] for array in seen))
        live = [k for k, person in enumerate(np.nonzero(seen.mask)[0]) if person == i]
        assert np.array_equal(twin(one)[: len(live)], twin(seen)[live])


@KINDS
def test_they_react_alike_to_rates_in_another_order(kind):
    """Every column of predicted rates by itself, and all of them turned by one."""
    pair, seen = PAIRS[kind](), observation()
    network = network_of(pair)
    before, twin = pair.by_network(network, seen), pair.twin_of(network)
    rates = len(PREDICTED)
    turned = np.roll(np.arange(rates), 1)
    swapped = [np.array([*range(k), k + 1, k, *range(k + 2, rates)]) for k in range(rates - 1)]
    for order in (turned, *swapped):
        candidates, history = seen.candidates.copy(), seen.history.copy()
        candidates[..., C.pevtr : C.pevtr + rates] = candidates[..., C.pevtr + order]
        history[..., H.pevtr : H.pevtr + rates] = history[..., H.pevtr + order]
        other = seen._replace(candidates=candidates, history=history)
        after = pair.by_network(network, other)
        assert apart(twin(other), after) < CLOSE and apart(after, before) > MOVES, order


@KINDS
def test_they_react_alike_to_every_weight(kind):
    pair = PAIRS[kind]()
    reactions = list(to_each_weight(pair, observation()))
    assert [reaction for reaction in reactions if reaction.apart >= CLOSE] == []
    assert {reaction.what for reaction in reactions if reaction.moved <= MOVES} == pair.without_effect


@KINDS
def test_the_kit_notices_a_twin_that_keeps_old_weights(kind):
    """Every change of weights that matters is a difference then."""
    pair = PAIRS[kind]()
    old = pair.twin_of(network_of(pair))
    reactions = list(to_each_weight(pair, observation(), lambda network: old))
    assert {reaction.what for reaction in reactions if reaction.apart < CLOSE} == pair.without_effect


@pytest.fixture(scope="module")
def to_constants():
    """How network and twin react to each constant: in plain Python, since compiled code holds constants fast."""
    command = [sys.executable, "-B", str(Path(__file__).with_name("parity.py"))]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REFUSED = {
    "kir": {"kir/network.WIDTH", "kir/network.ATTENTION_HEADS"},
    "edgerec": set(),
    "context_aware": {"context_aware/network.EXPERTS"},
}
"""Sizes that a twin has written out, and asserts."""
HEARD = {
    "kir": {"RATE_SCALE", "RATES", "ACTIONS", "NUMBERS", "LENGTHS", "EPSILON", "PER_BEHAVIOUR"},
    "edgerec": {"RATE_SCALE", "SAID", "ACTIONS", "CLOUD", "LENGTHS", "OLDER_PAGE", "PER_BEHAVIOUR"},
    "context_aware": {"RATE_SCALE", "RATES", "ACTIONS", "NUMBERS", "MOST_PLACES", "PAIR", "FIRST", "TIMES",
                      "COMPARED", "COMPARED_PAST", "PER_BEHAVIOUR"},
}  # fmt: skip
"""Constants that must change scores, or the kit's observations would not show that a twin misses them."""


@KINDS
def test_they_react_alike_to_every_constant(kind, to_constants):
    reactions = to_constants[kind]
    control = reactions.pop("compiled_behaviours.SCALE")
    assert control == "differs"  # a scale that only the twin has
    assert {name for name, reaction in reactions.items() if reaction == "twin refuses"} == REFUSED[kind]
    others = {name: reaction for name, reaction in reactions.items() if name not in REFUSED[kind]}
    assert {name: reaction for name, reaction in others.items() if reaction not in ("moved", "unmoved")} == {}
    assert HEARD[kind] <= {name.rpartition(".")[2] for name, reaction in others.items() if reaction == "moved"}
