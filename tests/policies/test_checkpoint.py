"""Checkpoints: whole or not at all, damage found, hostile files refused without running anything; and `rl:DIR`."""

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from worlds import replace, run, same_run, scenario

from nextone.envs.features import empty_observation
from nextone.experiments.runs.deciding import make_decider
from nextone.policies import checkpoint as module
from nextone.policies.by_name import make_policy
from nextone.policies.checkpoint import (
    MODEL,
    RECORD,
    TRAINING,
    Checkpoint,
    CheckpointError,
    best_checkpoint,
    load_into,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from nextone.policies.networks.pointer.network import WIDTH, Pointer
from nextone.policies.rl import KIND, RlPolicy, load_rl
from nextone.policies.trained import features_hash
from nextone.sim.config import Scenario
from nextone.sim.scenario import scenario_toml, with_settings

ABOUT = {"score": 1.0}


def tensors(seed=0):
    luck = np.random.default_rng(seed)
    model = {"a.weight": luck.normal(size=(3, 4)).astype(np.float32), "a.bias": luck.normal(size=3).astype(np.float32)}
    return {MODEL: model, TRAINING: {"rows": luck.integers(0, 255, (5, 7), dtype=np.uint8)}}


def pointer(seed=0, refresh=False):
    torch.manual_seed(seed)
    network = Pointer(refresh=refresh)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)  # preferences worth the name
    return network


def save_pointer(folder, world, seed=0, step=1, refresh=False, **about):
    weights = {name: tensor.numpy() for name, tensor in pointer(seed, refresh).state_dict().items()}
    told = {
        "kind": KIND, "width": WIDTH, "refresh": refresh, "features": features_hash(), "score": 0.0,
        "scenario": scenario_toml(world, comments=False),
    }  # fmt: skip
    return save_checkpoint(folder, step, told | about, {MODEL: weights})


# -- whole or not at all -----------------------------------------------------------------------------------------------


def test_what_is_saved_is_read(tmp_path):
    path = save_checkpoint(tmp_path, 7, ABOUT, tensors())
    found = read_checkpoint(path, (MODEL, TRAINING))
    assert (found.step, found.about) == (7, ABOUT)
    for name, arrays in tensors().items():
        assert set(found.tensors[name]) == set(arrays)
        assert all(found.tensors[name][key].tobytes() == array.tobytes() for key, array in arrays.items())


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, score in enumerate([3.0, 9.0, 1.0, 2.0, 0.5]):
        save_checkpoint(tmp_path, step, {"score": score}, tensors(step))
    assert sorted(os.listdir(tmp_path)) == [f"step-{step:012d}" for step in (1, 3, 4)]
    assert newest_checkpoint(tmp_path).step == 4
    assert best_checkpoint(tmp_path).step == 1
    assert best_checkpoint(tmp_path / "step-000000000003").step == 3


def test_a_damaged_newest_is_passed_over(tmp_path):
    for step in (1, 2):
        path = save_checkpoint(tmp_path, step, {"score": float(step)}, tensors(step))
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert newest_checkpoint(tmp_path).step == best_checkpoint(tmp_path).step == 1
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        read_checkpoint(path)
    (tmp_path / "step-000000000001" / RECORD).unlink()
    with pytest.raises(CheckpointError, match="cannot be used"):
        newest_checkpoint(tmp_path)


def test_every_bit_flip_and_truncation_is_found_or_harmless(tmp_path):
    path = save_checkpoint(tmp_path, 1, ABOUT, tensors())
    whole = read_checkpoint(path, (MODEL, TRAINING))
    luck, caught = np.random.default_rng(1), 0
    for file in sorted(path.iterdir()):
        data = file.read_bytes()
        for kind in ("flip", "cut") * 170:
            where = int(luck.integers(0, len(data)))
            flipped = bytes([data[where] ^ 1 << luck.integers(8)]) + data[where + 1 :]
            file.write_bytes(data[:where] + (b"" if kind == "cut" else flipped))
            try:
                found = read_checkpoint(path, (MODEL, TRAINING))
            except CheckpointError:
                caught += 1
            else:  # white space in the JSON
                assert found.step == whole.step and found.about == whole.about
                assert same(found.tensors[MODEL], whole.tensors[MODEL])
                assert same(found.tensors[TRAINING], whole.tensors[TRAINING])
        file.write_bytes(data)
    assert caught > 900


def same(left, right):
    return set(left) == set(right) and all(left[name].tobytes() == array.tobytes() for name, array in right.items())


@pytest.mark.parametrize("boundary", range(1, 13))
def test_a_kill_between_any_two_steps_of_writing_leaves_a_whole_one(tmp_path, monkeypatch, boundary):
    """By stopping at the n-th file operation of the writer; nothing after it happens, as if the process were gone."""
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"score": 0.0}, tensors(step))
    done = 0

    def stops(operation):
        def wrapped(*arguments):
            nonlocal done
            done += 1
            if done == boundary:
                raise KeyboardInterrupt
            return operation(*arguments)

        return wrapped

    for name in ("_write", "_sync", "_remove", "_forget", "_digest"):
        monkeypatch.setattr(module, name, stops(getattr(module, name)))
    for step in (3, 3, 4):
        try:
            save_checkpoint(tmp_path, step, {"score": 0.0}, tensors(step))
        except KeyboardInterrupt:
            break
    monkeypatch.undo()
    found = newest_checkpoint(tmp_path, (MODEL, TRAINING))
    assert found.step >= 2
    expected = tensors(found.step)[MODEL]
    assert all((found.tensors[MODEL][name] == array).all() for name, array in expected.items())
    save_checkpoint(tmp_path, 9, {"score": 0.0}, tensors(9))
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "what was half written is gone"


# -- hostile files -----------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it would tell."""

    def __reduce__(self):
        return os.mkdir, (Bomb.told,)


def header(table):
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text


def tensor_files():
    """Files that somebody might call model.safetensors."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:  # what torch.save writes
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    f4 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    good = safetensors.numpy.save({"a": np.zeros(2, np.float32)})
    yield from {
        "empty": b"",
        "short": b"\x01\x02",
        "pickle": pickle.dumps(Bomb()),
        "old pickle": pickle.dumps(Bomb(), 0),
        "zip with a pickle": zipped.getvalue(),
        "pickled array": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,), }\n" + pickle.dumps(Bomb()),
        "huge header": struct.pack("<Q", 2**63 - 1) + b"{}",
        "negative header": struct.pack("<q", -1) + b"{}",
        "no JSON": struct.pack("<Q", 4) + b"\xff\xfe\x00\x01",
        "python in the header": struct.pack("<Q", 30) + b"__import__('os').mkdir('told')",
        "deep JSON": struct.pack("<Q", 200_000) + b"[" * 200_000,
        "duplicate names": struct.pack("<Q", 2) + b'{"a":1,"a":2}',
        "offsets outside": header({"a": f4 | {"data_offsets": [0, 2**40]}}) + b"\0" * 8,
        "offsets reversed": header({"a": f4 | {"data_offsets": [8, 0]}}) + b"\0" * 8,
        "offsets overlap": header({"a": f4, "b": f4}) + b"\0" * 8,
        "negative offsets": header({"a": f4 | {"data_offsets": [-8, 0]}}) + b"\0" * 8,
        "huge shape": header({"a": f4 | {"shape": [2**62, 4]}}) + b"\0" * 8,
        "negative shape": header({"a": f4 | {"shape": [-2]}}) + b"\0" * 8,
        "unknown type": header({"a": f4 | {"dtype": "OBJECT"}}) + b"\0" * 8,
        "no numpy type": header({"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}) + b"\0" * 8,
        "metadata of another kind": header({"__metadata__": {"a": [1]}, "a": f4}) + b"\0" * 8,
        "bytes left over": good + b"\0" * 9,
        "other names": good,
        "not finite": made(lambda a: np.full(a.shape, np.nan, a.dtype)),
        "other shapes": made(lambda a: np.zeros((*a.shape, 1), a.dtype)),
        "other types": made(lambda a: np.zeros(a.shape, np.float64)),
    }.items()


def made(array_of):
    """The pointer's file with other arrays."""
    weights = {name: tensor.numpy() for name, tensor in Pointer().state_dict().items()}
    return safetensors.numpy.save({name: array_of(array) for name, array in weights.items()})


def records(good):
    """Texts that somebody might call checkpoint.json, most with a checksum that is right."""
    yield "empty", b""
    yield "binary", b"\x80\x04\x95" + bytes(range(256))
    yield "pickle", pickle.dumps(Bomb())
    yield "deep", b"[" * 100_000
    yield "a number of a million digits", b"1" * 1_000_000
    yield "a list", b"[1, 2]"
    yield "not a number", signed(good | {"about": {"score": float("nan")}})
    yield "another format", signed(good | {"format": 99})
    yield "no checksum", json.dumps(good).encode()
    yield "a step of text", signed(good | {"step": "x"})
    yield "files of text", signed(good | {"files": "model"})
    yield "no files", signed({k: v for k, v in good.items() if k != "files"})
    yield "a kind of its own", signed(good | {"about": good["about"] | {"kind": "os.system"}})
    yield "a width without end", signed(good | {"about": good["about"] | {"width": 10**9}})
    yield "a width that is none", signed(good | {"about": good["about"] | {"width": True}})
    yield "other features", signed(good | {"about": good["about"] | {"features": "x"}})
    yield "a scenario that is none", signed(good | {"about": good["about"] | {"scenario": "[server]\npage_size = 'x"}})
    yield "a scenario that is a list", signed(good | {"about": good["about"] | {"scenario": ["os"]}})


def signed(record):
    text = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps(record | {"sha256": hashlib.sha256(text).hexdigest()}).encode()


def test_hostile_files_are_refused_in_one_line_and_run_nothing(tmp_path, monkeypatch):
    """44 files, with checksums that are right where a hand could make them so: none is loaded, none runs anything."""
    Bomb.told = str(tmp_path / "told")
    monkeypatch.chdir(tmp_path)
    path = save_pointer(tmp_path, Scenario())
    good = json.loads((path / RECORD).read_text())
    good.pop("sha256")
    model, record = (path / "model.safetensors").read_bytes(), (path / RECORD).read_bytes()
    tried = 0
    for what, data in tensor_files():
        digest = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (path / "model.safetensors").write_bytes(data)
        (path / RECORD).write_bytes(signed(good | {"files": {MODEL: digest}}))
        refused(path, what)
        tried += 1
    (path / "model.safetensors").write_bytes(model)
    for what, data in records(good):
        (path / RECORD).write_bytes(data)
        refused(path, what)
        tried += 1
    assert tried >= 44
    (path / RECORD).write_bytes(record)
    assert load_rl(path, Scenario()), "the whole one loads again"


def refused(path, what):
    for scenario_of in (Scenario(), None) if "scenario" not in what else (Scenario(),):
        with pytest.raises(CheckpointError) as error:
            load_rl(path, scenario_of)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600, what
    assert not os.path.exists(Bomb.told), what


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("name", [RECORD, "model.safetensors"])
def test_links_pipes_and_folders_are_no_files(tmp_path, name):
    for k, make in enumerate((os.mkfifo, os.mkdir, lambda file: os.symlink("/dev/zero", file))):
        path = save_pointer(tmp_path, Scenario(), step=k)
        (path / name).unlink()
        make(path / name)
        with pytest.raises(CheckpointError):
            load_rl(path)


@pytest.mark.parametrize("path", ["", "nowhere", "\0", "a" * 5000, "/dev/null", "/etc/passwd"])
def test_folders_that_hold_none(path):
    with pytest.raises(CheckpointError):
        make_policy("rl:" + path)


def test_load_into_names_what_does_not_fit():
    with pytest.raises(CheckpointError, match=r"missing \['a'\], unknown \['b'\]"):
        load_into({"a": np.zeros(2)}, Checkpoint(Path("x"), 0, {}, {MODEL: {"b": np.zeros(2)}}), MODEL)


# -- the policy --------------------------------------------------------------------------------------------------------


def test_another_scenario_is_refused_and_people_and_servers_do_not_matter(tmp_path):
    save_pointer(tmp_path, Scenario())
    load_rl(tmp_path, with_settings(Scenario(), ["population.users=7", "server.workers=9"]))
    with pytest.raises(CheckpointError, match=r"trained with server.page_size=6, here it is 8; train one"):
        load_rl(tmp_path, with_settings(Scenario(), ["server.page_size=8"]))
    load_rl(tmp_path)  # in Python, wherever one likes


@pytest.mark.parametrize("refresh", [False, True])
def test_scores_do_not_depend_on_slots_order_or_number(refresh):
    luck = np.random.default_rng(3)
    n, p, h = 5, 8, 6
    seen = empty_observation(n, p, h)
    for array in seen[:3]:
        array[...] = luck.integers(0, 6, array.shape) / 6
    seen.mask[...] = luck.random((n, p)) < 0.8
    seen.mask[:, 0] = True
    network = pointer(refresh=refresh).eval()
    mask = np.concatenate([seen.mask, np.ones((n, int(refresh)), bool)], 1)
    scores, value = ask(network, seen, mask)
    order = luck.permutation(p)
    moved = seen._replace(candidates=seen.candidates[:, order], mask=seen.mask[:, order])
    other, value2 = ask(network, moved, np.concatenate([moved.mask, mask[:, p:]], 1))
    assert np.allclose(other[:, :p], scores[:, order], atol=1e-5) and np.allclose(value, value2, atol=1e-5)
    assert np.allclose(other[:, p:], scores[:, p:], atol=1e-5)
    more = empty_observation(n, p + 3, h)
    more.candidates[:, :p] = seen.candidates
    more.mask[:, :p] = seen.mask
    wide, value3 = ask(network, seen._replace(candidates=more.candidates), np.concatenate([more.mask, mask[:, p:]], 1))
    assert np.allclose(wide[:, :p], scores[:, :p], atol=1e-5) and np.allclose(value, value3, atol=1e-5)
    assert len(np.unique(scores[seen.mask.nonzero()])) > 5, "and it does prefer"


def ask(network, seen, mask):
    with torch.inference_mode():
        scores, value = network(*(torch.from_numpy(np.array(x)) for x in (*seen[:3], mask)))
    return scores.numpy(), value.numpy()


@pytest.mark.parametrize("on_refill", ["replace", "merge"])
def test_both_drivers_show_the_same_bit_for_bit(tmp_path, on_refill):
    """The twin test, for torch: padded batches, one-hot scores, whatever the number of threads."""
    world = scenario(client__on_refill=on_refill, phone__inference_ms=(0.0,) * 4)
    name = f"rl:{save_pointer(tmp_path, world)}"
    batch = run(world, name, minutes=6)
    event = run(world, name, minutes=6, engine="event", workers=10_000)
    assert len(batch.records.impressions) > 50
    assert same_run(batch, event) == ""
    assert same_run(batch, run(world, "server_score", minutes=6)) != "", "it chooses for itself"


def test_scores_are_one_hot_and_padded_to_64(tmp_path):
    world = run(scenario(population__users=70), "cloud_only", minutes=3).world
    asked = []

    class Counting(RlPolicy):
        def __call__(self, observation, memory):
            asked.append(len(observation.mask))
            return super().__call__(observation, memory)

    edge = run(scenario(population__users=70), "server_score", minutes=3).world
    scores = make_decider(Counting(pointer()), edge)(edge, np.arange(70))
    assert asked == [64, 64] and world is not edge
    assert ((scores == 1).sum(1) == 1).all() and ((scores == 0).sum(1) == scores.shape[1] - 1).all()


def test_a_pool_of_another_size_is_no_trouble(tmp_path):
    save_pointer(tmp_path, scenario())
    bigger = run(replace(scenario(), server__candidates=40), RlPolicy(load_rl(tmp_path).network), minutes=4)
    assert len(bigger.records.impressions) > 20
