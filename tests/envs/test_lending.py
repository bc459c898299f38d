"""Property: memory that anybody looks at is never written again, and what nobody looks at is lent again."""

import gc

import gymnasium
import numpy as np
import pytest
import torch
from worlds import scenario

from nextone.envs.lending import KEPT, Lender


@pytest.fixture
def taken(monkeypatch):
    """Shapes of the fresh memory that numpy was asked for."""
    shapes, empty = [], np.empty

    def counted(shape, *rest, **named):
        shapes.append(shape)
        return empty(shape, *rest, **named)

    monkeypatch.setattr(np, "empty", counted)
    return shapes


HOLDERS = {
    "array": lambda array: array,
    "slice": lambda array: array[1:, ::2],
    "reshaped": lambda array: array.reshape(-1)[3:].view(np.int32),
    "tensor": lambda array: torch.from_numpy(array)[1],
    "memoryview": lambda array: memoryview(array),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_whoever_looks_at_memory_has_it_alone(holder, taken):
    lender = Lender((3, 4))
    held = HOLDERS[holder](lender.lend())
    other = lender.lend()
    assert len(taken) == 2 and not np.shares_memory(np.asarray(held), other)
    del held
    lender.lend()
    assert len(taken) == 2  # what was held is lent again


def test_memory_in_a_cycle_waits_for_the_collector(taken):
    lender, cycle = Lender((3, 4)), []
    cycle += [cycle, lender.lend()]
    gc.disable()
    try:
        del cycle
        kept = lender.lend()
        assert len(taken) == 2
    finally:
        gc.enable()
    gc.collect()
    assert not np.shares_memory(kept, lender.lend()) and len(taken) == 2


def test_no_more_than_some_pieces_are_kept(taken):
    lender = Lender((3, 4))
    for fresh in (10, 10 - KEPT):
        taken.clear()
        many = [lender.lend() for _ in range(10)]
        assert len(taken) == fresh
        del many


def test_a_loop_over_many_people_takes_no_fresh_memory_for_observations(taken):
    env = gymnasium.make_vec("nextone/NextOne-v0", num_envs=128, scenario=scenario())
    observations, _ = env.reset(seed=0)
    shapes = {observations[name].shape for name in ("candidates", "history", "context")}
    for _ in range(3):
        observations, *_ = env.step(observations["mask"].argmax(1))
    taken.clear()
    for _ in range(10):
        observations, *_ = env.step(observations["mask"].argmax(1))
    assert taken and not shapes & set(taken)
