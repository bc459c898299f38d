"""The edge networks: what they may depend on, sizes, steps against the full pass, how checkpoints are checked."""

import tomllib

import numpy as np
import pytest
import torch
from parity import PAST, PEOPLE, SLOTS, observation, score, stirred
from worlds import run, scenario

from nextone.envs.features import HISTORY, PREDICTED, C, H, Observation
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import MODEL, CheckpointError, best_checkpoint, save_checkpoint
from nextone.policies.contract import name_of
from nextone.policies.names import KINDS, SHIPPED, UnknownPolicy, shipped
from nextone.policies.networks.behaviours import (
    ACTIONS,
    EMBEDDED,
    behaviour_sequence,
    engaged,
    exposed,
    megabytes,
    what_it_was,
    what_was_done,
)
from nextone.policies.networks.edgerec.network import ABLATIONS, HIDDEN, LAYERS
from nextone.policies.networks.loading import load_network, make_network
from nextone.policies.networks.recent_interest import CHANNELS, PER_BEHAVIOUR, RecentInterest, what_is_told
from nextone.policies.phone.edgerec import EdgeRecPhone
from nextone.policies.phone.loading import load_edge, policy_of
from nextone.policies.trained import features_hash
from nextone.sim.config import DIMS, Scenario
from nextone.sim.scenario import scenario_toml

VARIANTS = [(kind, "") for kind in KINDS] + [("edgerec", ablation) for ablation in ABLATIONS if ablation]


def fresh(kind, ablation="", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make_network(kind, ablation).eval()


def trained(kind, ablation="", seed=0):
    """As if: a fresh one says what the server says, whatever it reads."""
    return stirred(fresh(kind, ablation, seed))


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_scores_are_finite_whatever_is_empty_and_empty_slots_say_nothing(kind, ablation):
    network, seen = trained(kind, ablation), observation()
    scores = score(network, seen)
    assert scores.shape == (PEOPLE, SLOTS) and scores.dtype == torch.float32 and torch.isfinite(scores).all()
    assert scores[seen.mask].std() > 0.01
    loud = seen._replace(candidates=np.where(seen.mask[..., None], seen.candidates, np.float32(0.5)))
    assert torch.equal(score(network, loud)[seen.mask], scores[seen.mask])
    empty = seen._replace(history=np.zeros_like(seen.history))
    assert torch.isfinite(score(network, empty)).all()
    nobody = seen._replace(mask=np.zeros_like(seen.mask))
    assert torch.isfinite(score(network, nobody)).all()


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_neither_the_order_of_slots_nor_padding_of_the_past_matters(kind, ablation):
    network, seen = trained(kind, ablation), observation()
    scores = score(network, seen)
    order = np.random.Generator(np.random.Philox(1)).permutation(SLOTS)
    moved = seen._replace(candidates=seen.candidates[:, order], mask=seen.mask[:, order])
    assert torch.allclose(score(network, moved)[moved.mask], scores[:, order][moved.mask], atol=1e-6)
    if kind != "kir":  # KIR's index is relative to the list's length
        longer = np.concatenate([seen.history, np.zeros((PEOPLE, 5, len(HISTORY)), np.float32)], 1)
        assert torch.allclose(score(network, seen._replace(history=longer)), scores, atol=1e-6)


@pytest.mark.parametrize("kind", ["edgerec", "kir", "context_aware"])
def test_every_group_of_inputs_matters(kind):
    """What a network ignores it cannot learn: each behaviour, what videos show, and the phone's columns where the paper
    has them."""
    network, seen = trained(kind), observation()
    scores = score(network, seen)
    for column in (H.play_time, H.hate, H.tag, H.pevtr, H.embedding_3, H.since):
        changed = seen.history.copy()
        changed[..., column] = 0.5 * changed[..., H.present]
        assert not torch.allclose(score(network, seen._replace(history=changed))[-1], scores[-1], atol=1e-5), column
    for column in (C.score, C.embedding_3, C.preloaded):
        changed = seen.candidates.copy()
        changed[..., column] = 1 - changed[..., column]
        after = score(network, seen._replace(candidates=changed))
        same = torch.allclose(after[seen.mask], scores[seen.mask], atol=1e-5)
        assert same is (kind == "edgerec" and column == C.preloaded), column


@pytest.fixture(scope="module")
def decisions():
    """What phones observed in a small world, one decision a row."""
    kept = []

    def by_score(observation):
        kept.append([np.array(array) for array in observation])
        return observation.candidates[..., C.score]

    run(scenario(population__users=20, phone__no_model=0.0), by_score, minutes=5.0)
    return Observation(*map(np.concatenate, zip(*kept, strict=True)))


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_before_it_has_learnt_anything_a_network_ranks_as_the_server_did(kind, ablation, decisions):
    """By the server's score, which it does not copy: it works it out from the rates that were shipped, rounded to
    1/1000 of a logit. Feedback's part of the score was rounded to 1/32767."""
    worth, live = score(fresh(kind, ablation), decisions).numpy(), decisions.mask
    by_server = decisions.candidates[..., C.score]
    assert live.sum() > 2_000 and by_server[live].std() > 0.02
    assert np.abs(worth - by_server)[live].max() < 0.25 * 0.5e-3 + 0.5 / 32767
    assert (order(worth, live) == order(by_server, live)).all(1).mean() > 0.95
    assert (order(worth, live)[:, 0] == order(by_server, live)[:, 0]).mean() > 0.99


@pytest.mark.parametrize("kind", ["edgerec", "kir", "context_aware"])
def test_so_does_a_phone(kind, decisions):
    """Whatever it has seen; of lists, the best begins with the server's best."""
    phone = policy_of(fresh(kind), kind) if kind != "edgerec" else EdgeRecPhone(fresh(kind), quiet=0)
    scores, _ = phone(decisions, phone.start(len(decisions.mask)))
    shown, best = (order(x, decisions.mask)[:, 0] for x in (scores, decisions.candidates[..., C.score]))
    assert (shown == best).mean() > 0.99


def order(scores, live):
    """Slots from the best on, those that are empty last."""
    return np.argsort(np.where(live, -scores, np.inf), axis=1, kind="stable")


def test_recent_interest_by_hand():
    """Two behaviours and a padded row. Channel 0 weighs by how much more was watched than predicted: .75 and -.5; of a
    tenth of the sum (.75, -1), a candidate (2, 1) is .05. Channel 1 weighs all the same: (1, 2) makes it .4."""
    recent = RecentInterest()
    for parameter in recent.parameters():
        parameter.data.zero_()
    watched = len(PREDICTED)  # the first action: watch_ratio
    inner, outer = recent.weigh[0], recent.weigh[2]
    for unit, sign in ((0, 1.0), (1, -1.0)):
        inner.weight.data[unit, [0, watched]] = torch.tensor([-sign, sign])
        outer.weight.data[0, unit] = sign
    outer.bias.data[1] = 1.0
    actions, rates = torch.zeros(1, 3, len(ACTIONS)), torch.zeros(1, 3, len(PREDICTED))
    actions[0, :, 0], rates[0, :, 0] = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.25, 0.5, -1.0])
    content, candidate = torch.zeros(1, 3, DIMS), torch.zeros(1, 1, EMBEDDED)
    content[0, 0, 0], content[0, 1, 1], content[0, 2, 0] = 1.0, 2.0, 5.0
    candidate[0, 0, -DIMS], candidate[0, 0, -DIMS + 1] = 2.0, 1.0
    told = what_is_told(actions, rates, torch.zeros(1, 3))
    alike = recent(told, content, torch.tensor([[1.0, 1.0, 0.0]]), candidate)
    assert PER_BEHAVIOUR == 0.1 and alike.shape == (1, 1, CHANNELS)
    assert alike[0, 0].tolist() == pytest.approx([0.05, 0.4, *[0.0] * (CHANNELS - 2)])


def test_edgerec_reads_only_what_was_perceived():
    network, seen = trained("edgerec"), observation()
    newest = seen.history.copy()
    newest[:, 0] = 0
    late = seen.history.copy()
    late[:, 0, H.encoded] = 0
    assert torch.allclose(score(network, seen._replace(history=late)), score(network, seen._replace(history=newest)))
    assert not torch.allclose(score(network, seen._replace(history=late))[-1], score(network, seen)[-1])


@pytest.mark.parametrize(("ablation", "blind_to"), [("ie", engaged), ("ipv", exposed)])
def test_an_ablation_is_blind_to_the_other_sequence(ablation, blind_to):
    network, seen, whole = trained("edgerec", ablation), observation(), trained("edgerec")
    scores = score(network, seen)
    changed = np.where((blind_to(seen.history))[..., None], 0, seen.history).astype(np.float32)
    assert not np.array_equal(changed, seen.history)
    assert torch.allclose(score(network, seen._replace(history=changed)), scores, atol=1e-6)
    assert not torch.allclose(score(whole, seen._replace(history=changed)), score(whole, seen), atol=1e-4)


def test_huism_does_not_see_actions():
    seen, network, whole = observation(), trained("edgerec", "huism"), trained("edgerec")
    changed = seen.history.copy()
    changed[..., [H.play_time, H.watch_ratio, H.position]] *= 0.5
    assert torch.equal(score(network, seen._replace(history=changed)), score(network, seen))
    assert not torch.allclose(score(whole, seen._replace(history=changed)), score(whole, seen), atol=1e-4)


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
    network, seen = trained("edgerec", ablation), observation()
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
    assert network.dense.rerank.score[0].in_features == 192 + 2 * CHANNELS  # as published, and recent interest
    assert sum(isinstance(module, torch.nn.GRU) for module in network.modules()) == 5
    assert megabytes(network.dense) <= 3 and megabytes(fresh("context_aware").dense) <= 6
    assert {name for name, _ in network.named_children()} == {"dense", "embeddings"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_plays_again_and_says_what_it_is(kind, tmp_path):
    network = trained(kind, seed=3)
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
