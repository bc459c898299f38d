"""Edge networks as a phone runs them: encoders step by step, triggers, engines. Random weights, small lives."""

import numpy as np
import pytest
import torch
from parity import SIGNED, stirred
from worlds import run, same_run, scenario

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, TAG_SCALE, C, H, Observation, X
from nextone.experiments.runs.metrics import METRICS, Run
from nextone.experiments.runs.replication import run_arm
from nextone.policies.names import How, how_of, is_trained, shipped, split_name
from nextone.policies.networks.behaviours import ACTIONS, CLOUD, EMBEDDED, SAID
from nextone.policies.networks.context_aware.network import Search
from nextone.policies.networks.edgerec.compiled import Read, edgerec_weights, rerank
from nextone.policies.networks.loading import make_network
from nextone.policies.phone.context_aware import ListPolicy
from nextone.policies.phone.costs import DEPLOYED
from nextone.policies.phone.edgerec import EdgeRecPhone, RerankOnPhone
from nextone.policies.phone.edgerec_loop import triggers
from nextone.policies.phone.engines import export, opened
from nextone.policies.phone.loading import load_edge, policy_of
from nextone.policies.phone.policies import OnEngine
from nextone.sim.config import FEEDBACK, Scenario
from nextone.sim.scenario import with_settings

SLOTS, ROWS = 7, 12
VALUES = {metric.name: metric.of for metric in METRICS}


def network(kind, ablation="", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stirred(make_network(kind, ablation).eval())


def life(n, length, seed=1):
    """`length` past impressions of n people, oldest first, (n, length, Fh): all present and perceived."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    rows = rng.random((n, length, len(HISTORY)), np.float32)
    rows[..., [getattr(H, name) for name in SIGNED]] -= 0.5
    for flag in ("valid_play", "long_view", "completion", "skip", *FEEDBACK):
        rows[..., getattr(H, flag)] = rows[..., getattr(H, flag)] < (0.4 if flag == "long_view" else 0.1)
    for tag in (H.tag, H.tag2):
        rows[..., tag] = rng.integers(0, 100, rows.shape[:2]) / TAG_SCALE
    rows[..., H.present] = rows[..., H.encoded] = 1.0
    return rows


def observed(past, at, rows=ROWS, seed=2, perceived=0):
    """What is observed after `at` of these impressions; the newest `perceived` of them are not encoded yet."""
    n = len(past)
    rng = np.random.Generator(np.random.Philox(key=seed * 1000 + at))
    history = np.zeros((n, rows, len(HISTORY)), np.float32)
    newest = past[:, max(at - rows, 0) : at][:, ::-1]
    history[:, : newest.shape[1]] = newest
    history[:, : min(perceived, newest.shape[1]), H.encoded] = 0.0
    candidates = rng.random((n, SLOTS, len(CANDIDATE)), np.float32)
    candidates[..., [getattr(C, name) for name in SIGNED]] -= 0.5
    candidates[..., C.tag] = rng.integers(0, 100, (n, SLOTS)) / TAG_SCALE
    candidates[..., C.rank], candidates[..., C.page_age] = np.linspace(0, 0.5, SLOTS), 0.0
    mask = rng.random((n, SLOTS)) < 0.8
    mask[:, 0] = True
    context = rng.random((n, len(CONTEXT)), np.float32)
    context[:, X.old_model] = 0.0
    return Observation(candidates, history, context, mask)


def whole(net, observation):
    """The network on everything at once, float32 (n, P)."""
    with torch.inference_mode():
        return net(*map(torch.from_numpy, observation)).numpy()


def newest(memory, array):
    """What memory keeps of the last ROWS behaviours, the newest first."""
    places = (memory.number[:, None] - 1 - np.arange(ROWS)) % memory.encoded.shape[1]
    return np.stack([array[k, place] for k, place in enumerate(places)])


def agree(scores, expected, mask):
    assert np.abs(scores - expected)[mask].max() < 1e-5 and np.ptp(expected[mask]) > 1e-3


# -- encoders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ablation", ["", "ie", "ipv", "huism"])
def test_step_by_step_is_the_whole_sequence_at_once(ablation):
    """40 behaviours one after another, a rerank after each: what the network says that reads them all anew."""
    net, past = network("edgerec", ablation), life(3, 40)
    phone = EdgeRecPhone(net, kept=40, quiet=1)
    memory = phone.start(3)
    for at in range(1, 41):
        observation = observed(past, at, rows=40)
        scores, memory = phone(observation, memory)
        if at in (1, 2, 17, 40):
            agree(scores, whole(net, observation), observation.mask)


def test_the_state_outlives_the_list_of_watched_videos():
    """A list of 12, a life of 40: the encodings of the last 12 are those of a life read from its beginning."""
    net, past = network("edgerec"), life(2, 40)
    phone, long = EdgeRecPhone(net, kept=ROWS), EdgeRecPhone(net, kept=40)
    memory = phone.start(2)
    for at in range(1, 41):
        _, memory = phone(observed(past, at), memory)
    _, told = long(observed(past, 40, rows=40), long.start(2))
    for name in ("keys", "values"):
        ours, theirs = (newest(kept, getattr(kept, name)) for kept in (memory, told))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.ptp(theirs) > 0.1


@pytest.mark.parametrize("late", [1, 2, 3])
def test_a_rerank_reads_what_is_encoded(late):
    """The newest behaviours are not: as if they had not happened. Later they are taken in, in order."""
    net, past = network("edgerec"), life(2, 9)
    phone = EdgeRecPhone(net, kept=ROWS, quiet=1)
    memory = phone.start(2)
    for at in range(1, 9):
        observation = observed(past, at, perceived=late)
        scores, memory = phone(observation, memory)
    without = observation._replace(history=observation.history.copy())
    without.history[:, :-late] = without.history[:, late:]
    agree(scores, whole(net, without), observation.mask)
    observation = observed(past, 9)
    scores, _ = phone(observation, memory)
    agree(scores, whole(net, observation), observation.mask)


def test_an_older_behaviour_that_is_late_holds_up_the_newer_ones():
    net, past = network("edgerec"), life(1, 3)
    phone = EdgeRecPhone(net, kept=ROWS, quiet=1)
    observation = observed(past, 3)
    observation.history[:, 1, H.encoded] = 0.0
    _, memory = phone(observation, phone.start(1))
    assert newest(memory, memory.encoded)[0, :4].tolist() == [False, False, True, False]


def test_a_new_version_of_the_model_encodes_everything_anew():
    net, past = network("edgerec"), life(2, 6)
    phone = EdgeRecPhone(net, kept=ROWS, quiet=1)
    _, memory = phone(observed(past, 4), phone.start(2))
    spoilt = memory._replace(hidden=memory.hidden + 1, keys=memory.keys + 1)
    observation = observed(past, 5)
    observation.context[:, X.old_model] = 1.0
    scores, after = phone(observation, spoilt)
    agree(scores, whole(net, observation), observation.mask)
    assert after.old_model.all()


def test_nobodys_bits_depend_on_the_others():
    net, past = network("edgerec"), life(70, 5)
    phone = EdgeRecPhone(net, kept=ROWS)
    together, alone = phone.start(70), phone.start(1)
    for at in range(1, 6):
        observation = observed(past, at)
        scores, together = phone(observation, together)
        one, alone = phone(Observation(*(array[66:67] for array in observation)), alone)
        assert np.array_equal(one[0], scores[66])
        assert all(np.array_equal(a[0], b[66]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("scale", [1.0, 3.0, 300.0])
def test_the_compiled_reranker_is_the_networks(scale):
    """Also where tanh saturates, and where exponentials would overflow; none, one, and all behaviours present."""
    net = network("edgerec")
    for module in net.dense.rerank.attention:
        module.query.weight.data *= scale
        module.key.weight.data *= scale
    weights = edgerec_weights(net)
    assert weights.safe == (scale < 100)
    rng, outcomes = np.random.Generator(np.random.Philox(key=3)), []
    for counts in ([0, 0], [1, 0], [6, 1], [6, 6]):
        items = rng.random((9, EMBEDDED + len(CLOUD)), np.float32) - np.float32(0.5)
        keys, values, actions, was = (
            2 * rng.random((2, 6, width), np.float32) - 1 for width in (32, 64, len(ACTIONS), EMBEDDED + len(SAID))
        )
        since, present = rng.random((2, 6), np.float32), np.arange(6) < np.array(counts)[:, None]
        ours = rerank(weights, items, Read(keys, values, since, actions, was, np.array(counts)))
        read = (keys, values, since, present, actions, was)
        encoded = [torch.from_numpy(array[s, None].astype(np.float32)) for s in (0, 1) for array in read]
        one = torch.from_numpy(items)[None], torch.ones(1, 9)
        with torch.inference_mode():
            theirs = RerankOnPhone(net.dense.rerank)(*one, *encoded)[0].numpy()
        assert np.abs(ours - theirs).max() < 1e-5
        outcomes.append(theirs)
    assert np.ptp(outcomes[0]) > 1e-3 and np.abs(outcomes[3] - outcomes[0]).max() > 1e-3


# -- triggers ----------------------------------------------------------------------------------------------------------


def test_by_hand_what_triggers_a_rerank():
    """k = 3: nothing, feedback, hate, feedback long ago, third quiet impression, several at once."""
    history = np.zeros((6, 4, len(HISTORY)), np.float32)
    history[..., H.present] = 1.0
    history[1, 0, H.like] = history[2, 1, H.hate] = history[3, 2, H.comment] = 1.0
    new, quiet = [1, 1, 2, 2, 1, 3], np.array([1, 0, 0, 0, 2, 0], np.int32)
    fires = [bool(triggers(history[i], new[i], 3, quiet[i : i + 1])) for i in range(6)]
    assert fires == [False, True, True, False, True, True]
    assert quiet.tolist() == [2, 0, 0, 2, 0, 0]


def test_between_triggers_the_last_order_stands():
    phone, past = EdgeRecPhone(network("edgerec"), kept=ROWS, quiet=3), life(1, 9)
    past[..., [getattr(H, kind) for kind in FEEDBACK]] = 0.0
    memory, decided = phone.start(1), []
    for at in range(10):
        scores, memory = phone(observed(past, at), memory)
        decided.append(bool((scores > -np.inf).any()))
        assert decided[-1] == bool((scores > -np.inf).all())
    assert decided == [False, False, False, True, False, False, True, False, False, True]


class AskedAlways(EdgeRecPhone):
    """Asked at every swipe, though it has nothing to say between triggers."""

    def asked_after(self, past):
        return 0


@pytest.mark.parametrize(("engine", "decide_at"), [("event", "swipe"), ("batch", "start")])
def test_to_be_left_unasked_between_triggers_changes_nothing(engine, decide_at):
    """Bit for bit: encoders take in later what they would have taken in, and no trigger is missed. Models may arrive in
    mid-session; not new versions, after which a phone that is always asked takes all it sees for news."""
    world = scenario(population__users=150, client__decide_at=decide_at, client__history=20, phone__no_model=0.3,
                     phone__old_model=0.0)  # fmt: skip
    made = network("edgerec")
    one, other = (
        run(world, kind(made), minutes=25.0, engine=engine) for kind in (EdgeRecPhone, AskedAlways)
    )
    assert same_run(one, other, ("quiet", "ready_us")) == "" and one.world.users["inferences"].sum() > 300
    assert one.world.params["quiet"][0] == 14 and other.world.params["quiet"][0] == 0


def test_who_sees_too_little_is_asked_always():
    assert EdgeRecPhone(network("edgerec"), kept=20).asked_after(14) == 0
    assert EdgeRecPhone(network("edgerec"), kept=20).asked_after(15) == 14
    assert EdgeRecPhone(network("edgerec"), kept=10).asked_after(20) == 0


@pytest.fixture(scope="module")
def pages_of_fifty() -> Run:
    world = with_settings(
        Scenario(), ["population.users=60", "server.page_size=50", "server.candidates=100", "catalogue.videos=7248"]
    )
    return run_arm(world, EdgeRecPhone(network("edgerec")), seed=0, replication=0, minutes=15.0, engine="batch")


def test_about_five_reranks_per_page_of_fifty(pages_of_fifty):
    """EdgeRec Table 3: 15 for 3 pages. The cloud decides once."""
    assert 4.0 < VALUES["decisions_per_page"](pages_of_fifty) < 8.0  # people here give feedback a little more often
    cloud = run_arm(pages_of_fifty.scenario, "cloud_only", seed=0, replication=0, minutes=2.0, engine="batch")
    assert VALUES["decisions_per_page"](cloud) == 1.0


def test_a_rerank_is_applied_to_what_is_not_shown_yet(pages_of_fifty):
    """Before the first trigger pages run in server order, after it they do not."""
    log = pages_of_fifty.records.impressions
    assert (log["rank"][log["impression"] == 0] == 0).all()
    assert (log["rank"].astype(int) != log["position"]).any()


@pytest.mark.parametrize("ablation", ["", "ie", "huism"])
def test_part_by_part_is_the_compiled_phone(ablation):
    """What runs around an engine, with torch's own parts in the engine's place."""
    compiled, by_parts = (EdgeRecPhone(network("edgerec", ablation), kept=ROWS, quiet=1) for _ in range(2))
    by_parts.install({kind: part for kind, (part, _) in by_parts.parts(SLOTS, ROWS).items()})
    past, ours, theirs = life(4, 12), compiled.start(4), by_parts.start(4)
    for at in (1, 2, 3, 7, 12):
        observation = observed(past, at)
        scores, ours = compiled(observation, ours)
        expected, theirs = by_parts(observation, theirs)
        agree(scores, expected, observation.mask)


# -- engines -----------------------------------------------------------------------------------------------------------

MAKE = {
    "edgerec": lambda net: EdgeRecPhone(net, kept=ROWS, quiet=1),
    "kir": lambda net: policy_of(net, "kir"),
    "context_aware": lambda net: ListPolicy(net, "context_aware", Search(beams=2)),
}


def on_engines(kind, folder, slots, rows):
    """The kind's policy by torch, by ONNX Runtime and by MNN, the last two from one export."""
    torch_policy, onnx_policy, mnn_policy = (MAKE[kind](network(kind)) for _ in range(3))
    files = {
        name: export(part, example, folder / f"{name}.mnn")
        for name, (part, example) in torch_policy.parts(slots, rows).items()
    }
    onnx_policy.install({name: opened(file.with_suffix(".onnx")) for name, file in files.items()})
    mnn_policy.install({name: opened(file) for name, file in files.items()})
    size = sum(file.stat().st_size for file in files.values())
    assert size < 3e6  # EdgeRec: 3 MB; CIKM 2022: 6 MB
    assert size == pytest.approx(torch_policy.cost.bytes, rel=0.2), "time and weigh anew: see policies/phone/costs.py"
    return torch_policy, onnx_policy, mnn_policy


class Together:
    """Asks all three and notes how well they agree; torch decides."""

    pad_to = 64

    def __init__(self, policies):
        self.policies, self.worst, self.decisions, self.alike = policies, 0.0, 0, [0, 0]

    def start(self, n):
        return None

    def __call__(self, observation, memory):
        scores, *others = (policy(observation, None)[0] for policy in self.policies)
        live = np.where(observation.mask, 0, -np.inf)
        self.decisions += len(live)
        for k, other in enumerate(others):
            self.worst = max(self.worst, np.abs(other - scores)[observation.mask].max())
            self.alike[k] += ((other + live).argmax(1) == (scores + live).argmax(1)).sum()
        return scores, None


def test_engines_in_the_simulation_decide_as_torch_does(tmp_path):
    """KIR, every decision of a run: scores within 1e-5, at least 999 of 1,000 decisions."""
    asked = Together(on_engines("kir", tmp_path, 20, 20))
    run(scenario(phone__inference_ms=(0.0,) * 4, population__users=8, phone__no_model=0.0), asked, minutes=3.0)
    assert asked.decisions > 500 and asked.worst < 1e-5
    assert min(asked.alike) >= 0.999 * asked.decisions


@pytest.mark.parametrize("kind", ["edgerec", pytest.param("context_aware", marks=pytest.mark.long)])
def test_engines_say_what_torch_says(kind, tmp_path):
    """Over several decisions of one life each: scores within 1e-5; the same candidate first."""
    policies = on_engines(kind, tmp_path, SLOTS, ROWS)
    past, memories = life(4, 12), [policy.start(4) for policy in policies]
    for at in (1, 2, 3, 7, 12):
        observation = observed(past, at)
        answers = [policy(observation, memory) for policy, memory in zip(policies, memories, strict=True)]
        memories = [memory for _, memory in answers]
        expected = answers[0][0]
        live = np.where(observation.mask, 0, -np.inf)
        for scores, _ in answers[1:]:
            agree(scores, expected, observation.mask)
            assert ((scores + live).argmax(1) == (expected + live).argmax(1)).all()


@pytest.mark.long
def test_a_policy_on_an_engine_lives_the_same_life(tmp_path):
    """An engine, its file exported when it is first asked: the same impressions as by torch, which is charged what the
    engine on phones takes."""
    world_of = scenario(population__users=4)
    by_torch = run(world_of, MAKE["kir"](network("kir")), minutes=5.0)
    by_engine = run(world_of, OnEngine(MAKE["kir"](network("kir")), DEPLOYED, tmp_path), minutes=5.0)
    assert len(by_torch.records.impressions) > 20 and same_run(by_torch, by_engine) == ""


def test_names_of_policies_and_how_they_are_run():
    assert split_name("kir") == ("kir", "", "") and split_name("kir@mnn") == ("kir", "", "mnn")
    assert split_name("edgerec:a/b@c@onnx") == ("edgerec", "a/b@c", "onnx")
    assert split_name("kir@tflite") == ("kir", "", "tflite") and how_of("") == How()
    assert split_name("context_aware@k=3") == ("context_aware", "", "k=3")
    assert how_of("every=5@tflite") == how_of("tflite@every=5") == How(engine="tflite", every=5)
    assert split_name("edgerec:a@mnn@every=999") == ("edgerec", "a", "mnn@every=999")
    assert how_of(split_name("edgerec@ask@every=5")[2]) == How(every=5, ask=True)
    assert split_name("edgerec:a@mnn@onnx") == ("edgerec", "a@mnn", "onnx")  # one engine: the other is the folder's
    for wrong in (
        "kir@coreml", "kir@k=3", "kir:", "dnn", "@mnn", "rl:x@mnn", "context_aware@k=0", "tag_momentum@mnn", "mnn",
        "kir@every=5", "kir@ask", "edgerec@every=0", "edgerec@every=1000", "edgerec@every=5@every=6", "edgerec@mnn@k=2",
        "kir@", "edgerec@ask@ask",
    ):  # fmt: skip
        assert split_name(wrong) == ("", "", "")
    assert not is_trained("kir@coreml") and is_trained("rl:x@mnn")


@pytest.mark.parametrize(("how", "every"), [("", 14), ("every=5", 5), ("every=1", 1)])
def test_the_name_says_after_how_many_impressions_edgerec_reranks(how, every):
    """No feedback: it decides at every so-manieth impression, and is asked only then."""
    phone, past = load_edge("edgerec", shipped("edgerec"), how), life(1, 30)
    past[..., [getattr(H, kind) for kind in FEEDBACK]] = 0.0
    assert phone.asked_after(20) == every
    memory, decided = phone.start(1), []
    for at in range(1, 30):
        scores, memory = phone(observed(past, at), memory)
        decided.append(bool((scores > -np.inf).any()))
    assert [at for at, rerank in enumerate(decided, 1) if rerank] == list(range(every, 30, every))
