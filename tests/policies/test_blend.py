"""What candidates go by: the objective of the scenario that is played, or of the checkpoint; or that per second."""

import json

import numpy as np
import pytest
import torch
from parity import observation
from test_edge_deployed import network
from worlds import scenario

from nextone.envs.features import MOST_S
from nextone.experiments.runs import deciding
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import MODEL, CheckpointError, save_checkpoint
from nextone.policies.names import How, how_of, shipped, split_name
from nextone.policies.networks.blend import Blend
from nextone.policies.phone.loading import load_edge, policy_of
from nextone.policies.trained import features_hash
from nextone.sim.config import Scenario
from nextone.sim.scenario import scenario_toml
from nextone.sim.world import build_world

LIKES = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
EVEN = Scenario().server.objective


def logits_of(chances):
    return torch.logit(torch.tensor(chances, dtype=torch.float64)).float()


def test_by_hand_what_a_candidate_is_worth():
    """Weights 1, 0, 2, 0, 0, 0, -1: shares 1/4, 1/2, -1/4. Chances .4, .9, .2, .9, .9, .9, .4: .1 + .1 - .1 = .1.
    Seconds: a time played of 1/3 is 3601^(1/3) - 1 = 14.3279 s; one of 0 is less than LEAST_S, so a second."""
    blend = Blend(watch=8)
    blend.declare((1, 0, 2, 0, 0, 0, -1))
    chances = [0.4, 0.9, 0.2, 0.9, 0.9, 0.9, 0.4, 0.5]
    logits = logits_of([[*chances, 1 / 3], [*chances, 1e-9]])
    assert blend(logits).tolist() == pytest.approx([0.1, 0.1], abs=1e-6)
    blend.declare((1, 0, 2, 0, 0, 0, -1), per_second=True)
    assert MOST_S == 3600 and blend(logits).tolist() == pytest.approx([0.1 / 14.3279, 0.1], rel=1e-4)


@pytest.mark.parametrize("kind", ["kir", "edgerec", "context_aware"])
def test_shipped_networks_go_by_the_objective_of_the_scenario(kind):
    """By likes alone other scores than by the default's, and the same as a network whose blend says so."""
    seen = observation(3, 6, 9, 12)
    likes = scenario(server__objective=LIKES)
    usual, of_likes, given = (
        load_edge(kind, shipped(kind), "every=1" if kind == "edgerec" else "", world, objective)
        for world, objective in ((Scenario(), None), (likes, None), (Scenario(), LIKES))
    )
    assert usual.network.dense.blend.objective.tolist() == pytest.approx(np.array(EVEN) / np.abs(EVEN).sum())
    assert of_likes.network.dense.blend.objective.tolist() == list(LIKES)
    scores = [policy(seen, policy.start(6))[0][1:][seen.mask[1:]] for policy in (usual, of_likes, given)]
    assert np.array_equal(scores[1], scores[2]) and not np.allclose(scores[0], scores[1])


def test_a_run_hands_its_objective_on(monkeypatch):
    asked = []

    def noted(name, world=None, objective=None):
        asked.append(objective)
        return make_policy("server_score")

    monkeypatch.setattr(deciding, "make_policy", noted)
    world = build_world(scenario(server__objective=LIKES), edge=True, seed=0, window_us=1_000_000)
    deciding.make_decider("kir", world)
    assert asked == [LIKES]


def test_a_checkpoint_goes_by_its_own_objective(tmp_path):
    own = [0.0, 0.0, 0.0, 3.0, 0.0, 0.0, -1.0]
    about = {"kind": "kir", "ablation": "", "features": features_hash(), "score": 0.0,
             "scenario": scenario_toml(Scenario(), comments=False)}  # fmt: skip
    weights = {name: tensor.numpy() for name, tensor in network("kir").state_dict().items()}
    (tmp_path / "own").mkdir()
    save_checkpoint(tmp_path / "own", 1, about | {"objective": own}, {MODEL: weights})
    policy = load_edge("kir", tmp_path / "own", objective=LIKES)
    assert policy.network.dense.blend.objective.tolist() == [0, 0, 0, 0.75, 0, 0, -0.25]
    for k, wrong in enumerate(([1.0], [0.0] * 7, "likes", ["1", *own[1:]], {"like": 1})):
        (tmp_path / str(k)).mkdir()
        save_checkpoint(tmp_path / str(k), 1, json.loads(json.dumps(about)) | {"objective": wrong}, {MODEL: weights})
        with pytest.raises(CheckpointError, match="objective"):
            load_edge("kir", tmp_path / str(k))


def test_per_second_kir_and_its_twin_agree():
    assert how_of(split_name("kir@per_second")[2]) == How(per_second=True)
    assert split_name("edgerec@per_second") == ("", "", "")
    net, seen = network("kir"), observation(3, 6, 9, 12)
    worth = net(*map(torch.from_numpy, seen)).detach().numpy()
    net.dense.blend.declare(EVEN, per_second=True)
    expected = net(*map(torch.from_numpy, seen)).detach().numpy()
    scores = policy_of(net, "kir")(seen, None)[0]
    assert np.abs(scores - expected)[seen.mask].max() < 5e-6
    assert np.abs(expected - worth)[seen.mask].max() > 1e-3
