"""Two versions of a network on phones: who still holds the older one runs its weights."""

import numpy as np
import pytest
from test_edge_deployed import ROWS, life, network, observed
from worlds import run, same_run, scenario

from nextone.envs.features import C, H, X
from nextone.policies.checkpoint import MODEL, CheckpointError, save_checkpoint
from nextone.policies.contract import USUAL, cost_of, options_of
from nextone.policies.names import ENGINES, SHIPPED, shipped
from nextone.policies.networks.loading import make_network
from nextone.policies.phone.costs import MEASURED, search_calls
from nextone.policies.phone.costs import cost_of as cost_of_calls
from nextone.policies.phone.edgerec import EdgeRecPhone
from nextone.policies.phone.loading import PREVIOUS, fresh_policy, load_edge, policy_of
from nextone.policies.phone.policies import OnEngine, Versions
from nextone.policies.trained import features_hash
from nextone.sim.catalogue import make_catalogue
from nextone.sim.config import Cost, Scenario
from nextone.sim.scenario import scenario_toml

MAKE = {
    "kir": lambda seed: policy_of(network("kir", seed=seed), "kir"),
    "dlcm": lambda seed: policy_of(network("dlcm", seed=seed), "dlcm"),
    "edgerec": lambda seed: EdgeRecPhone(network("edgerec", seed=seed), kept=ROWS, quiet=1),
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", MAKE)
def test_each_phone_is_scored_by_the_version_it_holds(kind, in_place):
    """Three people: the older version throughout, the newer one throughout, and a change half way."""
    newer, older, both = MAKE[kind](0), MAKE[kind](1), Versions(MAKE[kind](0), MAKE[kind](1))
    if in_place and options_of(both).in_place is None:
        assert kind != "edgerec"
        return
    past, rows, memories = life(3, 8), np.arange(3), [policy.start(3) for policy in (newer, older, both)]
    for at in (1, 3, 5, 8):
        seen = observed(past, at)
        seen.context[:, X.old_model] = (1.0, 0.0, at < 4)
        new, memories[0] = newer(seen, memories[0])
        old, memories[1] = older(seen, memories[1])
        if in_place:
            scores = options_of(both).in_place(seen, memories[2], rows)
        else:
            scores, memories[2] = both(seen, memories[2])
        assert np.array_equal(scores, np.where(seen.context[:, X.old_model, None] > 0, old, new))
        assert not np.array_equal(old, new)


@pytest.mark.parametrize("kind", ["kir", "edgerec"])
def test_a_life_with_either_version_is_that_versions_life(kind):
    """Nobody ever gets the new one; or everybody has it. Bit for bit what that version alone makes of it."""
    both = Versions(MAKE[kind](0), MAKE[kind](1))
    for old, alone in ((1.0, MAKE[kind](1)), (0.0, MAKE[kind](0))):
        world = scenario(phone__no_model=0.0, phone__old_model=old, client__model_bytes=1_000_000_000,
                         network__constant_mbps=8.0)  # fmt: skip
        one, other = (run(world, policy, minutes=4.0) for policy in (both, alone))
        assert same_run(one, other) == "" and one.world.users["inferences"].sum() > 20
        assert (one.world.users["model_left"] > 0).all() == bool(old)


def saved(folder, kind, seed):
    about = {"kind": kind, "ablation": "", "features": features_hash(),
             "scenario": scenario_toml(Scenario(), comments=False)}  # fmt: skip
    folder.mkdir(exist_ok=True)
    weights = {name: tensor.numpy() for name, tensor in network(kind, seed=seed).state_dict().items()}
    return save_checkpoint(folder, 1, about, {MODEL: weights})


@pytest.mark.parametrize("inside", ["run", "checkpoint"])
def test_a_folder_named_previous_holds_the_version_before(inside, tmp_path):
    step = saved(tmp_path, "kir", 0)
    assert not isinstance(load_edge("kir", tmp_path), Versions)
    path = tmp_path if inside == "run" else step
    before = saved(path / PREVIOUS, "kir", 1)
    made = load_edge("kir", path)
    seen = observed(life(2, 5), 5)
    seen.context[:, X.old_model] = (0.0, 1.0)
    scores, _ = made(seen, made.start(2))
    expected = [MAKE["kir"](seed)(seen, None)[0] for seed in (0, 1)]
    assert np.array_equal(scores, [expected[0][0], expected[1][1]])
    engines = load_edge("kir", path, "onnx")
    assert isinstance(engines, Versions) and all(isinstance(version, OnEngine) for version in engines.versions)
    (before / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=PREVIOUS):
        load_edge("kir", path)
    saved(path / PREVIOUS, "dnn", 1)
    with pytest.raises(CheckpointError, match="holds a dnn network, not kir"):
        load_edge("kir", path)


def test_by_hand_what_decisions_cost():
    """With two beams the context-aware network is the reference; more beams and slower engines take longer; a network's
    files are what phones download, those of a network played from the app nothing."""
    reference = cost_of_calls("context_aware", search_calls(2))
    parts = MEASURED["mnn"]["context_aware"]
    assert reference == Cost(1.0, sum(part.bytes for part in parts.values()))
    k = [load_edge("context_aware", shipped("context_aware"), how).cost.time for how in ("k=1", "", "k=3", "k=8")]
    assert k[1] == 1.0 and (np.diff(k) > 0).all()
    greedy = parts["watched"].ms + parts["towers"].ms
    assert k[0] == pytest.approx(greedy / (greedy + 0.86 * (parts["placed"].ms + parts["towers"].ms)))
    for kind in SHIPPED:
        cost = cost_of(fresh_policy(kind))
        assert 0 < cost.time < 3 and 100_000 < cost.bytes < USUAL.bytes
        assert set(fresh_policy(kind).parts(7, 5)) == set(MEASURED["onnx"][kind]) == set(MEASURED["mnn"][kind])
        times = {engine: OnEngine(fresh_policy(kind), engine, shipped(kind)).cost.time for engine in ENGINES}
        assert min(times.values()) > 0 and times["mnn"] == pytest.approx(cost.time) and len(set(times.values())) == 3
    ablated = EdgeRecPhone(make_network("edgerec", "ie").eval())
    assert cost_of(ablated).bytes < cost_of(fresh_policy("edgerec")).bytes


def test_embeddings_sharpen_with_impressions_and_a_version_is_a_snapshot():
    """Likeness of embedding and content, squared, is n / (n + 50) of what it can be: more for what was shown more, less
    for the snapshot, which lacks half of the impressions; nothing of it by default."""
    usual, made = (make_catalogue(scenario(catalogue__videos=3000, **settings)) for settings in ({}, SHARPENS))
    assert usual.earlier.shape == (0, 8) and made.earlier.shape == (3000, 8)
    shown = made.videos["popularity"]
    for least, most in ((1, 20), (100, 1001)):
        some = (shown >= least) & (shown < most)
        for found, part in ((made.indexed["embedding"], 1.0), (made.earlier, 0.5)):
            n = part * shown[some].astype(float)
            expected = np.mean(0.81 * n / (n + 50.0))  # a posterior mean: its covariance with content is its variance
            assert np.mean(found[some] * made.content[some]) == pytest.approx(expected, abs=0.08 + expected / 10)
    assert not made.indexed["embedding"][shown == 0].any()


SHARPENS = {"server__embedding_impressions": 50.0, "server__version_gap": 0.5}


def test_who_holds_the_version_before_is_shown_its_embeddings():
    """Candidates and past impressions, of each phone by its version; videos are told apart by the current embedding."""
    world = scenario(phone__no_model=0.0, phone__old_model=0.5, client__model_bytes=1_000_000_000,
                     network__constant_mbps=8.0, **SHARPENS)  # fmt: skip
    videos = make_catalogue(world)
    seen = []

    def model(observation):
        seen.append([array.copy() for array in observation])
        return np.zeros(observation.mask.shape, np.float32)

    model.downloaded = True
    outcome = run(world, model, minutes=4.0)
    ids = {}  # of each version, the videos by their embedding's bytes, as a policy is shown it
    for version, table in enumerate((videos.indexed["embedding"], videos.earlier)):
        shown = np.clip(table * np.float32(0.25), -1, 1).astype(np.float32)
        ids[version] = {row.tobytes(): v for v, row in enumerate(shown) if row.any()}
    found = {0: 0, 1: 0}
    for candidates, history, context, mask in seen:
        for k in range(len(mask)):
            version = int(context[k, X.old_model])
            rows = [*candidates[k][mask[k]][:, C.embedding_0 : C.embedding_0 + 8],
                    *history[k][history[k][:, H.present] > 0][:, H.embedding_0 : H.embedding_0 + 8]]  # fmt: skip
            rows = [row for row in rows if row.any()]
            assert all(row.tobytes() in ids[version] for row in rows)
            found[version] += len(rows)
    assert min(found.values()) > 500 and outcome.world.users["inferences"].any()
