"""EdgeRec's heads on the person: `edgerec@ask` asks for a page when they say so. Random weights, small lives."""

import numpy as np
import pytest
import torch
from test_edge_deployed import ROWS, SLOTS, life, network, observed
from worlds import run, same_run, scenario

from nextone.envs.features import H
from nextone.policies.networks.edgerec.compiled import person_of
from nextone.policies.phone.edgerec import EdgeRecPhone
from nextone.policies.phone.edgerec_loop import read_out
from nextone.sim.config import FEEDBACK


def asking(leaves_soon, wants_page, quiet=3):
    """Heads that say these logits of everybody."""
    net = network("edgerec")
    net.dense.rerank.user[2].weight.data.zero_()
    net.dense.rerank.user[2].bias.data = torch.tensor([leaves_soon, wants_page])
    return EdgeRecPhone(net, kept=ROWS, quiet=quiet, ask=True)


@pytest.mark.parametrize(("leaves_soon", "wants_page", "asks"), [
    (-2.0, 0.1, True), (-2.0, -0.1, False), (0.1, 2.0, False), (0.1, -2.0, False),
])  # fmt: skip
def test_it_asks_for_a_page_at_a_rerank_when_its_heads_say_so(leaves_soon, wants_page, asks):
    """Compiled, and around an engine's parts; candidates are ranked as without."""
    without, past = EdgeRecPhone(network("edgerec"), kept=ROWS, quiet=3), life(2, 9)
    past[..., [getattr(H, kind) for kind in FEEDBACK]] = 0.0
    phones = [asking(leaves_soon, wants_page) for _ in range(2)]
    phones[1].install({kind: part for kind, (part, _) in phones[1].parts(SLOTS, ROWS).items()})
    memory, memories = without.start(2), [phone.start(2) for phone in phones]
    for at in range(10):
        seen = observed(past, at)
        expected, memory = without(seen, memory)
        for k, phone in enumerate(phones):
            scores, memories[k] = phone(seen, memories[k])
            assert scores.shape == (2, SLOTS + 1) and np.allclose(scores[:, :-1], expected, atol=1e-5)
            assert (scores[:, -1] == (np.inf if asks and at in (3, 6, 9) else -np.inf)).all()


@pytest.mark.parametrize("ablation", ["", "ie", "huism"])
def test_the_compiled_heads_are_the_networks(ablation):
    net, past = network("edgerec", ablation), life(3, 9)
    phone, seen = EdgeRecPhone(net, kept=ROWS), observed(past, 9)
    _, memory = phone(seen, phone.start(3))
    with torch.inference_mode():
        expected = net.all_heads(*map(torch.from_numpy, seen))[1].numpy()
    for i in range(3):
        state = (memory.keys[i], memory.values[i], memory.encoded[i])
        read = read_out(phone.weights, seen.history[i], 9, memory.number[i], *state, phone.settings)
        assert np.abs(person_of(phone.weights, read, seen.context[i]) - expected[i]).max() < 1e-5
    assert np.ptp(expected) > 1e-3


def test_in_the_world_it_asks_when_told_to_and_otherwise_lives_as_without():
    world = scenario(population__users=12)
    never, always = asking(-2.0, -2.0, quiet=5), asking(-2.0, 2.0, quiet=5)
    plain = EdgeRecPhone(never.network, kept=ROWS, quiet=5)
    lives = [run(world, phone, minutes=5.0, engine="batch") for phone in (plain, never, always)]
    assert same_run(lives[0], lives[1]) == ""
    requests = [len(life.records.requests) for life in lives]
    assert requests[2] > requests[1]
