"""The edge networks: what they may depend on, sizes, steps against the full pass, how checkpoints are checked."""

import tomllib

import numpy as np
import pytest
import torch
from parity import PAST, PEOPLE, SLOTS, observation, score

from nextone.envs.features import HISTORY, C, H
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import MODEL, CheckpointError, best_checkpoint, save_checkpoint
from nextone.policies.contract import name_of
from nextone.policies.names import KINDS, SHIPPED, UnknownPolicy, shipped
from nextone.policies.networks.behaviours import (
    behaviour_sequence,
    engaged,
    exposed,
    megabytes,
    what_it_was,
    what_was_done,
)
from nextone.policies.networks.edgerec.network import ABLATIONS, HIDDEN, LAYERS
from nextone.policies.networks.loading import load_network, make_network
from nextone.policies.phone.loading import load_edge, policy_of
from nextone.policies.trained import features_hash
from nextone.sim.config import Scenario
from nextone.sim.scenario import scenario_toml

VARIANTS = [(kind, "") for kind in KINDS] + [("edgerec", ablation) for ablation in ABLATIONS if ablation]


def fresh(kind, ablation="", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_network(kind, ablation).eval()


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_logits_are_finite_whatever_is_empty_and_empty_slots_say_nothing(kind, ablation):
    network, seen = fresh(kind, ablation), observation()
    logits = score(network, seen)
    assert logits.shape == (PEOPLE, SLOTS) and logits.dtype == torch.float32 and torch.isfinite(logits).all()
    loud = seen._replace(candidates=np.where(seen.mask[..., None], seen.candidates, np.float32(0.5)))
    assert torch.equal(score(network, loud)[seen.mask], logits[seen.mask])
    empty = seen._replace(history=np.zeros_like(seen.history))
    assert torch.isfinite(score(network, empty)).all()
    nobody = seen._replace(mask=np.zeros_like(seen.mask))
    assert torch.isfinite(score(network, nobody)).all()


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_neither_the_order_of_slots_nor_padding_of_the_past_matters(kind, ablation):
    network, seen = fresh(kind, ablation), observation()
    logits = score(network, seen)
    order = np.random.Generator(np.random.Philox(1)).permutation(SLOTS)
    moved = seen._replace(candidates=seen.candidates[:, order], mask=seen.mask[:, order])
    assert torch.allclose(score(network, moved)[moved.mask], logits[:, order][moved.mask], atol=1e-5)
    if kind != "kir":  # KIR's index is relative to the list's length
        longer = np.concatenate([seen.history, np.zeros((PEOPLE, 5, len(HISTORY)), np.float32)], 1)
        assert torch.allclose(score(network, seen._replace(history=longer)), logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["edgerec", "kir", "context_aware"])
def test_every_group_of_inputs_matters(kind):
    """What a network ignores it cannot learn: each behaviour, and the phone's columns where the paper has them."""
    network, seen = fresh(kind), observation()
    logits = score(network, seen)
    for column in (H.play_time, H.hate, H.tag, H.pevtr, H.since):
        changed = seen.history.copy()
        changed[..., column] = 0.5 * changed[..., H.present]
        assert not torch.equal(score(network, seen._replace(history=changed))[-1], logits[-1]), column
    changed = seen.candidates.copy()
    changed[..., C.preloaded] = 1 - changed[..., C.preloaded]
    same = torch.equal(score(network, seen._replace(candidates=changed))[seen.mask], logits[seen.mask])
    assert same is (kind == "edgerec")


def test_edgerec_reads_only_what_was_perceived():
    network, seen = fresh("edgerec"), observation()
    newest = seen.history.copy()
    newest[:, 0] = 0
    late = seen.history.copy()
    late[:, 0, H.encoded] = 0
    assert torch.allclose(score(network, seen._replace(history=late)), score(network, seen._replace(history=newest)))
    assert not torch.allclose(score(network, seen._replace(history=late))[-1], score(network, seen)[-1])


@pytest.mark.parametrize(("ablation", "blind_to"), [("ie", engaged), ("ipv", exposed)])
def test_an_ablation_is_blind_to_the_other_sequence(ablation, blind_to):
    network, seen = fresh("edgerec", ablation), observation()
    logits = score(network, seen)
    changed = np.where((blind_to(seen.history))[..., None], 0, seen.history).astype(np.float32)
    assert not np.array_equal(changed, seen.history)
    assert torch.allclose(score(network, seen._replace(history=changed)), logits, atol=1e-6)
    assert not torch.allclose(score(fresh("edgerec"), seen._replace(history=changed)), score(fresh("edgerec"), seen))


def test_huism_does_not_see_actions():
    seen, network = observation(), fresh("edgerec", "huism")
    changed = seen.history.copy()
    changed[..., [H.play_time, H.watch_ratio, H.position]] *= 0.5
    assert torch.equal(score(network, seen._replace(history=changed)), score(network, seen))


def test_page_views_and_exposures_by_hand():
    rows = np.zeros((1, 6, len(HISTORY)), np.float32)
    rows[0, :5, H.present] = 1
    rows[0, 0, H.valid_play] = 1  # a valid play alone is an exposure
    rows[0, 1, H.long_view] = 1
    rows[0, 2, H.comment] = 1
    rows[0, 3, [H.long_view, H.hate]] = 1  # long-pressed away: no page view
    for array in (rows, torch.from_numpy(rows)):
        assert np.asarray(engaged(array)).tolist() == [[False, True, True, False, False, False]]
        assert np.asarray(exposed(array)).tolist() == [[True, False, False, True, True, False]]


def test_a_sequence_runs_from_the_oldest_and_pads_at_the_end():
    history = torch.zeros(1, 4, len(HISTORY))
    history[0, :3, H.present] = 1
    history[0, :3, H.play_time] = torch.tensor([0.1, 0.2, 0.3])  # newest first
    history[0, [0, 2], H.long_view] = 1
    sequence = behaviour_sequence(history, torch.zeros(1, 4, 24), engaged(history))
    assert sequence.actions[0, :, 1].tolist() == pytest.approx([0.3, 0.1, 0, 0])
    assert sequence.present.tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("ablation", ["", "huism"])
def test_steps_equal_the_full_pass(ablation):
    """One behaviour at a time, hidden state carried by hand, gives the keys and values of the full pass to 1e-6."""
    network, seen = fresh("edgerec", ablation), observation()
    history = torch.from_numpy(seen.history)
    embedded = network.embeddings(history, H)
    with torch.inference_mode():
        for encoder, members in (
            (network.dense.behaviour.exposure, exposed(history)), (network.dense.behaviour.page_view, engaged(history))
        ):  # fmt: skip
            sequence = behaviour_sequence(history, embedded, members)
            keys, values, _ = encoder(sequence.actions, sequence.items, encoder.start(PEOPLE))
            hidden, taken = encoder.start(PEOPLE), torch.zeros(PEOPLE, dtype=torch.long)
            for row in reversed(range(PAST)):
                key, value, after = encoder.step(
                    what_was_done(history[:, row]), what_it_was(history[:, row], embedded[:, row], H), hidden
                )
                for person in torch.nonzero(members[:, row])[:, 0].tolist():
                    hidden[person] = after[person]
                    at = taken[person]
                    assert torch.allclose(key[person], keys[person, at], atol=1e-6)
                    assert torch.allclose(value[person], values[person, at], atol=1e-6)
                    taken[person] += 1
            assert taken.tolist() == members.sum(1).tolist() and taken.sum() > 5


def test_published_sizes():
    """Three-layer GRUs of width 32 have 16,704 numbers at 8 inputs, 22,080 at 64; and what a phone holds."""
    for inputs, numbers in ((8, 16_704), (64, 22_080), (128, 28_224)):
        assert sum(p.numel() for p in torch.nn.GRU(inputs, HIDDEN, LAYERS).parameters()) == numbers
    network = fresh("edgerec")
    assert network.dense.rerank.score[0].in_features == 192
    assert sum(isinstance(module, torch.nn.GRU) for module in network.modules()) == 5
    assert megabytes(network.dense) <= 3 and megabytes(fresh("context_aware").dense) <= 6
    assert {name for name, _ in network.named_children()} == {"dense", "embeddings"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_plays_again_and_says_what_it_is(kind, tmp_path):
    network = fresh(kind, seed=3)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    about = {
        "kind": kind, "ablation": "", "features": features_hash(),
        "scenario": scenario_toml(Scenario(), comments=False),
    }  # fmt: skip
    save_checkpoint(tmp_path, 1, about, {MODEL: weights})
    seen = observation()
    made = make_policy(f"{kind}:{tmp_path}")
    assert torch.equal(score(load_network(kind, best_checkpoint(tmp_path)), seen), score(network, seen))
    scores, _ = made(seen, made.start(PEOPLE))
    if kind != "edgerec":  # which answers where it is triggered only: tests/policies/test_edge_deployed.py
        assert np.array_equal(scores, policy_of(network, kind)(seen, None)[0])
    other = "kir" if kind != "kir" else "edgerec"
    with pytest.raises(CheckpointError, match=f"holds a {kind} network, not {other}"):
        load_edge(other, tmp_path)
    for wrong, said in (({"features": "x"}, "table of features"), ({"ablation": "no"}, "ablation"),
                        ({"kind": "pointer"}, "no edge network")):  # fmt: skip
        save_checkpoint(tmp_path, 2, about | wrong | {"score": 1.0}, {MODEL: weights})
        with pytest.raises(CheckpointError, match=said):
            load_edge(kind, tmp_path)


def test_names():
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        make_policy("edgerec:nowhere")
    with pytest.raises(UnknownPolicy, match="did you mean edgerec"):
        make_policy("edgrec")
    with pytest.raises(UnknownPolicy):
        make_policy("dnn")  # the cloud's: not shipped


@pytest.mark.parametrize("kind", SHIPPED)
def test_what_is_shipped_fits_this_version_and_says_how_it_was_made(kind):
    checkpoint = best_checkpoint(shipped(kind))  # every byte is checked
    network = load_network(kind, checkpoint)
    assert torch.isfinite(score(network, observation())).all()
    about = checkpoint.about
    assert about["samples"]["run"]["policy"] == "cloud_only" and about["settings"]["seed"] == 0
    assert about["looks"][-1]["valid"] == min(look["valid"] for look in about["looks"])
    assert make_policy(kind).start(2) is not None or kind != "edgerec"
    assert name_of(make_policy(kind)) == kind  # no path of this machine


def test_what_is_shipped_is_small_and_goes_into_the_wheel():
    folder = shipped("edgerec").parent
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 10e6
    patterns = tomllib.loads((folder.parent.parent / "pyproject.toml").read_text())
    patterns = patterns["tool"]["setuptools"]["package-data"]["nextone.policies"]
    assert {file.relative_to(folder.parent) for file in files} == {
        found.relative_to(folder.parent) for pattern in patterns for found in folder.parent.glob(pattern)
    }
