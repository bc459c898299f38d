"""List reward and adaptive beam search: the paper's figure by hand, greedy at k = 1, brute force, the network's."""

import itertools

import numpy as np
import pytest
import torch
from parity import observation
from test_edge_networks import trained

from nextone.policies.networks.behaviours import EMBEDDED
from nextone.policies.networks.context_aware.beam_search import adaptive_beam_search
from nextone.policies.networks.context_aware.network import (
    NEXT,
    Search,
    crossed_with_candidates,
    search_lists,
    tokens_of,
)
from nextone.policies.phone.context_aware import ListPolicy

A, B, C, D = range(4)
FIGURE_4 = {  # CIKM 2022, Fig. 4: discounted rewards of what follows a list; what it leaves out is 0
    (): {A: 0.7, B: 0.4, C: 0.8, D: 0.5},
    (A,): {B: 0.3, C: 0.5, D: 0.6},
    (C,): {A: 0.4, B: 0.6, D: 0.3},
    (A, D): {B: 0.45, C: 0.3},
    (C, B): {A: 0.4, D: 0.2},
}


def from_figure(lists, step):
    told = torch.zeros(*lists.shape[:2], 4)
    for beam, entries in enumerate(lists[0, :, :step].tolist()):
        for slot, value in FIGURE_4[tuple(entries)].items():
            told[0, beam, slot] = value
    return told, torch.ones_like(told)  # already discounted


def in_figure(depth, stability=0.95, beams=2):
    return adaptive_beam_search(from_figure, torch.ones(1, 4) > 0, beams=beams, stability=stability, depth=depth)


@pytest.mark.parametrize(
    ("depth", "agreed", "lists", "scores"),
    [
        (1, 0.875, [[C], [A]], [0.8, 0.7]),
        (2, 0.929, [[C, B], [A, D]], [1.4, 1.3]),
        (3, 0.972, [[C, B, A], [A, D, B]], [1.8, 1.75]),
    ],
)
def test_the_papers_example(depth, agreed, lists, scores):
    found = in_figure(depth)
    assert found.stability.item() == pytest.approx(agreed, abs=5e-4)
    assert found.lists[0, :, :depth].tolist() == lists and found.first.item() == C
    assert found.scores[0].tolist() == pytest.approx(scores)


def test_it_stops_where_the_beams_agree():
    assert in_figure(4).depth.item() == 3  # .972 >= .95; it would fail beyond: the figure ends there
    assert in_figure(4, stability=0.9).depth.item() == 2
    assert in_figure(4, stability=0.5).depth.item() == 1


def test_one_beam_is_greedy():
    found = in_figure(4, beams=1)
    assert found.depth.item() == 1 and found.first.item() == C and found.stability.item() == 1


def worth_and_stay(seed, slots):
    draw = np.random.Generator(np.random.Philox(seed))
    alone, after = draw.random(slots), draw.random((slots, slots))
    return alone, after, 0.2 + 0.8 * draw.random(slots)


def list_reward(entries, alone, after, stay):
    """LR by its definition: a video is worth less after certain others; has_next discounts what follows."""
    total, survival = 0.0, 1.0
    for place, slot in enumerate(entries):
        worth = alone[slot] * np.prod([after[before, slot] for before in entries[:place]])
        total, survival = total + survival * worth, survival * stay[slot]
    return total


@pytest.mark.parametrize("seed", range(6))
def test_with_enough_beams_and_depth_it_finds_the_best_of_all_lists(seed):
    slots = 4
    alone, after, stay = worth_and_stay(seed, slots)

    def extend(lists, step):
        told = torch.zeros(1, lists.shape[1], slots)
        for beam, entries in enumerate(lists[0, :, :step].tolist()):
            for slot in range(slots):
                told[0, beam, slot] = alone[slot] * np.prod([after[before, slot] for before in entries])
        return told, torch.from_numpy(stay).float().expand_as(told)

    found = adaptive_beam_search(extend, torch.ones(1, slots) > 0, beams=24, stability=2.0, depth=slots)
    best = max(itertools.permutations(range(slots)), key=lambda entries: list_reward(entries, alone, after, stay))
    assert tuple(found.lists[0, 0].tolist()) == best and found.first.item() == best[0]
    assert found.scores[0, 0].item() == pytest.approx(list_reward(best, alone, after, stay), rel=1e-5)


def test_empty_slots_are_never_placed_and_people_do_not_meet():
    live = torch.tensor([[True, False, True, False], [False, False, False, False], [True, True, True, True]])
    alone = torch.tensor([[0.1, 0.9, 0.2, 0.9], [0.5] * 4, [0.4, 0.3, 0.2, 0.1]])

    def extend(lists, step):
        told = alone[:, None].expand(3, lists.shape[1], 4)
        return told, torch.full_like(told, 0.5)

    found = adaptive_beam_search(extend, live, beams=3, stability=0.99, depth=4)
    assert found.first.tolist() == [2, 0, 0] and found.depth[:2].tolist() == [2, 1]
    alone_again = adaptive_beam_search(
        lambda lists, step: (alone[2:, None].expand(1, 3, 4), torch.full((1, 3, 4), 0.5)),
        live[2:], beams=3, stability=0.99, depth=4,
    )  # fmt: skip
    assert alone_again.first.item() == found.first[2].item() and alone_again.depth.item() == found.depth[2].item()


def test_the_networks_lists_are_what_its_towers_say():
    """The network's lists are those of a search that asks the whole network again for every list. Rewards of lists that
    compete differ by 1e-4 or more."""
    network, seen = trained("context_aware"), tuple(map(torch.from_numpy, observation()))
    mask = seen[-1]
    n, slots = mask.shape
    with torch.inference_mode():
        found, alone = search_lists(network, *seen, Search(3, 2.0, 3))
        assert torch.allclose(alone, network(*seen), atol=1e-6) and alone.std() > 0.01

        def extend(lists, step):
            told = []
            for beam in range(3):
                before, places = torch.zeros(n, 1, slots), torch.full((n, slots), float(step))
                for person in range(n):
                    for place, slot in enumerate(lists[person, beam, :step].tolist()):
                        before[person, 0, slot], places[person, slot] = 1, place
                told.append(network.in_lists(*seen, before, places))
            told = torch.stack(told, 1)
            return network.dense.blend(told), torch.sigmoid(told[..., NEXT])

        again = adaptive_beam_search(extend, mask, beams=3, stability=2.0, depth=3)
    enough = mask.sum(1) >= 3
    assert torch.equal(found.lists[enough], again.lists[enough])
    assert torch.allclose(found.scores[enough], again.scores[enough], atol=1e-5)


def test_the_policy_with_one_beam_is_greedy_next_one():
    network, seen = trained("context_aware"), observation()
    greedy, _ = ListPolicy(network, "greedy", Search(beams=1))(seen, None)
    with torch.inference_mode():
        worth = network(*map(torch.from_numpy, seen)).numpy()
    assert np.array_equal(*(np.where(seen.mask, x, -np.inf).argmax(1) for x in (greedy, worth)))


def test_crossings_are_differences_by_hand():
    """Place, its absolute value, tags in common, and the mean product of two embeddings: 2 * 3 and 4 * 5 of eight."""
    candidates = torch.from_numpy(observation().candidates[:1])
    shown = torch.zeros(1, 9, EMBEDDED)
    shown[0, 0, [-8, -7]], shown[0, 1, [-8, -7]] = torch.tensor([2.0, 4.0]), torch.tensor([3.0, 5.0])
    crossed = crossed_with_candidates(candidates, tokens_of(candidates, shown), torch.tensor([[2.0, 1.0, *[3.0] * 7]]))
    assert crossed[0, 0, 1, 9].item() == pytest.approx(0.1) and crossed[0, 1, 0, 9].item() == pytest.approx(-0.1)
    assert crossed[0, 1, 0, 19].item() == pytest.approx(0.1)
    assert (crossed.diagonal(dim1=1, dim2=2)[0, -2] >= 0.5).all()  # a video has its tags in common with itself
    assert crossed[0, 0, 1, -1].item() == crossed[0, 1, 0, -1].item() == pytest.approx(26 / 8)


@pytest.mark.parametrize("search", [Search(), Search(3, 1.1, 6), Search(1)])
def test_the_compiled_search_is_the_networks(search):
    """Histories of every length, empty slots; stopped early, at full depth, and greedy: the same video first. Of lists
    that compete the rewards differ by 1e-5 or more, and no stability is within 7e-4 of where the search stops; network
    and twin differ by 5e-7."""
    network, seen = trained("context_aware"), observation(4, 40, 9, 12)
    scores, _ = ListPolicy(network, "compiled", search)(seen, None)
    with torch.inference_mode():
        found, alone = search_lists(network, *map(torch.from_numpy, seen), search)
    expected = alone.scatter_add(1, found.first[:, None], torch.full((40, 1), 10.0)).numpy()
    assert np.abs(scores - expected)[seen.mask].max() < 1e-5 and np.ptp(alone.numpy()[seen.mask]) > 1e-3
    assert found.depth.max() > 1 or search.beams == 1
