"""Training of edge networks: the loss is what it says, a resume gives the same bits, what is trained can be played."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_edge_deployed import life, network, observed
from test_edge_networks import fresh, observation

from nextone.cli.main import main
from nextone.envs.features import CONTEXT, HISTORY, LOGIT_SCALE, C
from nextone.experiments.training.edge import train as module
from nextone.experiments.training.edge.lives import carried_into, lives_of
from nextone.experiments.training.edge.samples import (
    COLUMNS,
    LABELS,
    RATED,
    SPLITS,
    WOULD,
    Samples,
    read_samples,
    write_samples,
)
from nextone.experiments.training.edge.train import (
    OTHERS_OF,
    READ,
    SLOWER,
    EdgeSettings,
    heads_of,
    loss_of,
    one_of_each_page,
    placed_before,
    resume_from,
    train_edge,
)
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import MODEL, TRAINING, CheckpointError, newest_checkpoint, read_checkpoint
from nextone.policies.names import KINDS
from nextone.policies.networks.context_aware.network import CORRECTED
from nextone.policies.networks.edgerec.network import HEADS
from nextone.policies.phone.edgerec import EdgeRecPhone
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, scenario_toml

SLOTS, PAST, ROWS = 9, 12, 60


def made_up(rows=ROWS, seed=0):
    """Rows in which what comes of a candidate is the opposite of what the server predicts, alike for all its rates."""
    seen = observation(seed, rows, SLOTS, PAST)
    draw = np.random.Generator(np.random.Philox(seed + 100))
    order = np.argsort(~seen.mask, 1, kind="stable")
    candidates = np.take_along_axis(seen.candidates, order[..., None], 1)
    live = np.take_along_axis(seen.mask, order, 1)
    after = np.full((rows, SLOTS), -1, np.int16)
    for row in range(rows):
        count = min(int(live[row].sum()), 3)
        after[row, draw.permutation(int(live[row].sum()))[:count]] = np.arange(count)
    predicted = candidates[..., C.pevtr].copy()
    candidates[..., C.pevtr : C.pevtr + len(RATED)] = predicted[..., None]
    label = np.where(after >= 0, predicted < 0, -1).astype(np.int8)
    columns = {
        "candidates": candidates, "live": live.astype(np.int8), "history": seen.history, "context": seen.context,
        "shown_after": after, "shown": (after == 0).argmax(1),
        "person": np.arange(rows) // 6, "page": np.arange(rows) // 3, "impression": 20 * (1 + np.arange(rows) % 6),
        "leaves_soon": draw.integers(-1, 2, rows), "wants_page": draw.integers(-1, 2, rows),
        **dict.fromkeys(LABELS, label),
        **dict.fromkeys(WOULD, np.where(live, draw.random((rows, SLOTS)) < 0.5 - predicted, -1)),
    }  # fmt: skip
    columns["split"] = np.searchsorted([0.6, 0.8], columns["person"] / max(columns["person"].max(), 1), "right")
    nothing = {c.name: np.zeros((rows,) + {"": (), "P": (SLOTS,), "H": (PAST,)}[c.length]) for c in COLUMNS
               if c.name not in columns}  # fmt: skip
    return {c.name: (columns | nothing)[c.name].astype(c.type.to_pandas_dtype()) for c in COLUMNS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, iter([made_up()]), SLOTS, PAST, {"scenario": scenario_toml(Scenario(), comments=False)})
    return folder


def settings(kind="edgerec", **changes):
    return EdgeSettings(**{"kind": kind, "threads": 1, "epochs": 3, "batch": 40, **changes})


def known(name):
    return {name: column for name, column in made_up().items() if name not in ("split", *WOULD)}


def by_hand(logits, labels):
    """Mean cross-entropy by its definition, in float64, where the label is known."""
    chance = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    there = labels >= 0
    return -np.mean(np.log(np.where(labels[there] == 1, chance[there], 1 - chance[there])))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_by_hand_over_all_candidates(kind):
    """Those that are left out of a forward pass, for speed, change nothing."""
    columns = made_up()
    samples, network = Samples(columns, {}), fresh(kind)
    seen = [torch.from_numpy(columns[name].astype(np.float32)) for name in ("candidates", "history", "context", "live")]
    labels = [*RATED, *OTHERS_OF.get(type(network), ())]
    wanted = 0.0
    if kind == "context_aware":
        logits = network.in_lists(*seen, *placed_before(torch.from_numpy(columns["shown_after"].astype(np.float32))))
    elif kind == "edgerec":
        logits, person = network.all_heads(*seen)
        wanted = 0.1 * sum(by_hand(person[:, k], columns[head]) for k, head in enumerate(HEADS))
    else:
        logits = network.heads(*seen)
    assert logits.shape[-1] == len(labels)
    wanted += sum(by_hand(logits[..., k], columns[label]) for k, label in enumerate(labels))
    assert loss_of(network, samples, np.arange(ROWS)).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("ablation", ["", "ie", "huism"])
def test_training_computes_the_state_that_the_phone_carries(ablation):
    """A person's 90 swipes, of which samples hold the last 12 impressions each: at every decision the rates that
    training computes are worth what the phone scores, whose encoders have run since the first impression; and the
    state before the list is the phone's of then. Over people, rows in any order; each sequence has its own length."""
    people, swipes, past = 3, 90, 12
    net, lived = network("edgerec", ablation), life(people, swipes)
    seen = [observed(lived, at, rows=past) for at in range(swipes)]
    columns = {name: np.stack([getattr(one, field) for one in seen], 1).reshape(people * swipes, *shape)
               for name, field, shape in (("candidates", "candidates", seen[0].candidates.shape[1:]),
                                          ("history", "history", (past, len(HISTORY))),
                                          ("context", "context", (len(CONTEXT),)),
                                          ("live", "mask", (seen[0].mask.shape[1],)))}  # fmt: skip
    columns |= {"person": np.repeat(np.arange(people), swipes), "impression": np.tile(np.arange(swipes), people)}
    samples, rows = Samples(columns, {}), np.array([89, 13, 100, 230, 11, 91, 269])
    lives = lives_of(samples)
    assert len(lives.when) == people * (swipes - 1)
    with torch.no_grad():
        ours = net.dense.blend(heads_of(net, samples, rows, lives)).numpy()
        anew = net.dense.blend(heads_of(net, samples, rows)).numpy()
    phone = EdgeRecPhone(net, kept=past, quiet=1)
    memory, hidden = phone.start(people), np.empty((people, swipes, *phone.start(0).hidden.shape[1:]), np.float32)
    for at, one in enumerate(seen):
        scores, memory = phone(one, memory)
        hidden[:, at] = memory.hidden
        for k, row in enumerate(rows):
            if at and row % swipes == at:
                mask = one.mask[row // swipes]
                theirs = scores[row // swipes]
                assert np.abs(ours[k] - theirs)[mask].max() < 1e-5
                assert at <= past or np.abs(anew[k] - theirs)[mask].max() > 1e-4
    carried = carried_into(net, lives, samples, rows)
    for k, row in enumerate(rows):
        before = row % swipes - past
        wanted = hidden[row // swipes, before] if before > 0 else 0 * hidden[0, 0]
        assert np.abs(carried[k] - wanted).max() < 1e-6


def test_what_stands_before_by_hand():
    before, places = placed_before(torch.tensor([[2.0, -1.0, 0.0, 1.0]]))
    assert before[0].tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert places.tolist() == [[2, 0, 0, 1]]


def test_an_epoch_takes_each_page_once_and_other_requests_the_next_time():
    samples = Samples(made_up(), {})
    first, again, next_ = (one_of_each_page(samples, 7, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(np.sort(first), np.sort(next_))
    for rows in (first, next_):
        assert sorted(samples.columns["page"][rows].tolist()) == list(range(ROWS // 3))


def test_pages_of_few_requests_come_as_early_as_others():
    """Theory: where in an epoch a page of one request comes has the mean of a shuffle, within four standard errors."""
    requests = np.tile([1, 1, 9, 9], 200)
    page = np.repeat(np.arange(len(requests)), requests)
    samples = Samples({"person": np.zeros(len(page), np.int64), "page": page.astype(np.int32)}, {})
    places = np.argsort(page[one_of_each_page(samples, 3, 0)])  # of each page
    small = places[requests == 1]
    assert abs(small.mean() - 399.5) < 4 * 800 / np.sqrt(12 * len(small))


def test_training_never_reads_what_no_log_holds(data):
    assert not set(READ) & set(WOULD)
    asked = []

    def read(folder, split, names):
        asked.append((split, names))
        return read_samples(folder, split, names)

    train_edge(settings("dnn", epochs=1), data, data / "read", read=read)
    assert [split for split, _ in asked] == ["train", "valid"]
    assert not any(set(names) & set(WOULD) for _, names in asked)


VARIANTS = [(kind, "") for kind in KINDS] + [("edgerec", "huism")]


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_it_learns_what_can_be_known(kind, ablation, data, tmp_path):
    """Labels are the opposite of what the server predicts, so the loss can come near 0, but for EdgeRec's heads on the
    person, whose labels have no sense, and for rates that the context-aware network leaves to the server. In 30 epochs
    of three steps the best is under half of the first weights' loss; the best counts, since a step too far can undo
    much."""
    chosen = settings(kind, ablation=ablation, learning_rate=0.01, epochs=30, batch=12, patience=99)
    looks = train_edge(chosen, data, tmp_path / "run").looks
    train = read_samples(data, "train", READ)
    with torch.inference_mode():
        first = loss_of(module.begin(chosen).network, train, np.arange(train.rows)).item()
    left = left_to_the_server(train) if kind == "context_aware" else 0.0
    assert len(looks) == 30 and min(look["train"] for look in looks) - left < 0.5 * (first - left)


def left_to_the_server(samples):
    """The loss of predicted rates that the context-aware network does not correct."""
    predicted = torch.from_numpy(LOGIT_SCALE * samples.columns["candidates"][..., C.pevtr : C.pevtr + len(RATED)])
    kept = enumerate(RATED[CORRECTED:], CORRECTED)
    return sum(by_hand(predicted[..., k], samples.columns[label]) for k, label in kept)


@pytest.mark.parametrize(("kind", "ablation"), VARIANTS)
def test_it_resumes_to_the_same_bits_and_plays(kind, ablation, data, tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    chosen = settings(kind, ablation=ablation, learning_rate=0.01, epochs=4, patience=9)
    looks = train_edge(chosen, data, whole).looks
    assert len(looks) == 4 and [look["epoch"] for look in looks] == [1, 2, 3, 4]
    train_edge(replace(chosen, epochs=2), data, broken)
    found, checkpoint = resume_from(broken)
    assert found == replace(chosen, epochs=2)
    train_edge(chosen, data, broken, resume=checkpoint)
    a, b = (newest_checkpoint(run, (MODEL, TRAINING)) for run in (whole, broken))
    assert a.step == b.step and a.about["looks"] == b.about["looks"]
    for part in (MODEL, TRAINING):
        assert all(np.array_equal(a.tensors[part][name], b.tensors[part][name]) for name in a.tensors[part])
    policy = make_policy(f"{kind}:{whole}", Scenario())
    seen = observation(5)
    scores, _ = policy(seen, policy.start(5))
    assert scores.shape == (5, SLOTS) and np.isfinite(scores[-1][seen.mask[-1]]).all()  # EdgeRec waits for a trigger
    assert (whole / "tensorboard").is_dir()
    assert main(["train", kind, "--data", str(data), "--resume", str(whole), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == kind and told["ablation"] == ablation and 0 < told["dense_mb"] < 3


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ["--threads", "1", "--epochs", "15", "--batch", "20"]
    command = [sys.executable, "-m", "nextone.cli", "train", "dlcm", "--data", str(data)]
    assert main([*command[3:], "--out", str(whole), *options, "--json"]) == 0
    process = subprocess.Popen([*command, "--out", str(killed), *options], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(killed.glob("step-*")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = newest_checkpoint(killed).step
    assert main([*command[3:], "--resume", str(killed), "--json"]) == 0
    a, b = (newest_checkpoint(run) for run in (whole, killed))
    assert before <= a.step == b.step
    assert all(np.array_equal(a.tensors[MODEL][name], b.tensors[MODEL][name]) for name in a.tensors[MODEL])


def test_it_stops_when_held_out_people_gain_nothing(data, tmp_path, monkeypatch):
    losses = iter([0.9, 0.8, 0.85, 0.81, 0.82, 0.7])

    def epoch(training, *_):
        step = len(training.looks) + 1
        training.looks.append({"epoch": step, "step": step, "train": 1.0, "valid": next(losses)})

    monkeypatch.setattr(module, "run_epoch", epoch)
    monkeypatch.setattr(module, "moments_of", lambda optimiser: {})
    training = train_edge(settings("dnn", epochs=30, patience=3), data, tmp_path)
    assert len(training.looks) == 5  # three of them no better than the second
    best = module.best_checkpoint(tmp_path)
    assert best.step == 2 and best.about["score"] == -0.8


def test_the_learning_rate_falls_with_each_epoch_that_brings_nothing(data):
    training, chosen = module.begin(settings("dnn")), settings("dnn")
    train, valid = (read_samples(data, split, READ) for split in ("train", "valid"))
    for past, nothing in (([0.9, 0.8], 0), ([0.9, 0.8, 0.85], 1), ([0.9, 0.8, 0.8, 0.7, 0.71], 2)):
        training.looks[:] = [{"epoch": k, "step": k, "train": 1.0, "valid": loss} for k, loss in enumerate(past)]
        module.run_epoch(training, chosen, train, valid)
        assert training.optimiser.param_groups[0]["lr"] == pytest.approx(0.005 * SLOWER**nothing)


def test_before_it_has_learnt_anything_a_network_ranks_as_the_cloud_does():
    """Its worth is the cloud's objective over the rates as they were sent, whatever was watched."""
    seen = observation()
    chances = 1 / (1 + np.exp(-LOGIT_SCALE * seen.candidates[..., C.pevtr : C.pevtr + 7].astype(np.float64)))
    weights = np.array(Scenario().server.objective)
    worth = chances @ weights / np.abs(weights).sum()
    for kind in KINDS:
        told = fresh(kind)(*map(torch.from_numpy, seen)).detach().numpy()
        assert np.allclose(told[seen.mask], worth[seen.mask], atol=1e-6), kind


def test_first_weights_are_the_seeds_and_nobody_elses_luck_is_touched():
    state = torch.get_rng_state()
    one, same, other = (module.begin(settings("kir", seed=seed)).network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_published_hyperparameters_are_the_defaults():
    network, chosen = fresh("edgerec"), EdgeSettings(kind="edgerec")
    assert chosen.batch == 512
    optimiser = module.begin(chosen).optimiser
    assert isinstance(optimiser, torch.optim.Adam) and optimiser.param_groups[0]["lr"] == 0.005
    for gru in (part for part in network.modules() if isinstance(part, torch.nn.GRU)):
        assert gru.num_layers == 3 and gru.hidden_size == 32


def test_what_does_not_fit_is_refused_in_a_line(data, tmp_path, capsys):
    run = tmp_path / "run"
    train_edge(settings("dnn", epochs=1), data, run)
    other = tmp_path / "other"
    other.mkdir()
    write_samples(other, iter([made_up(seed=1)]), SLOTS, PAST, {"scenario": "", "more": 1})
    for arguments, said in (
        (["dnn", "--data", str(tmp_path), "--out", str(tmp_path / "x")], "nextone collect writes them"),
        (["dnn", "--data", str(data), "--out", str(run)], "already holds a training"),
        (["dnn", "--data", str(data)], "--out is missing"),
        (["dnn", "--data", str(data), "--resume", str(run), "--seed", "2"], "--seed cannot be changed"),
        (["kir", "--data", str(data), "--resume", str(run)], "holds a training of dnn, not kir"),
        (["dnn", "--data", str(other), "--resume", str(run), "--epochs", "9"], "other samples"),
        (["dnn", "--data", str(data), "--resume", str(tmp_path)], "holds no checkpoint"),
        (["kir", "--data", str(data), "--out", str(tmp_path / "x"), "--ablation", "ie"], "is for edgerec"),
        (["edgerec", "--data", str(data), "--out", str(tmp_path / "x"), "--ablation", "x"], "ie, ipv or huism"),
        (["dnn", "--data", str(data), "--out", str(tmp_path / "x"), "--learning-rate", "0"], "learning_rate=0.0"),
    ):
        assert main(["train", *arguments]) == 2, arguments
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1, line
    with pytest.raises(SettingError):
        EdgeSettings(kind="din")
    checkpoint = read_checkpoint(next(run.glob("step-*")), (MODEL, TRAINING))
    with pytest.raises(CheckpointError):
        module.restore(module.begin(settings("dlcm")), checkpoint)


def test_splits_are_where_they_should_be(data):
    assert all(read_samples(data, split, ("page",)).rows > 0 for split in SPLITS)
