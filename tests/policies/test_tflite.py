"""Networks run by TensorFlow Lite from files made beforehand, none of which needs the converter.

`tiny.tflite` is `Tiny`, written once by `export(Tiny(), EXAMPLE, Path("tests/policies/tiny.tflite"))` with the extra
`convert`.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, Observation
from nextone.experiments.training.edge import ship_tflite
from nextone.policies.checkpoint import CheckpointError
from nextone.policies.names import EngineMissing
from nextone.policies.phone.engines import opened, with_constants
from nextone.policies.phone.policies import OnEngine
from nextone.policies.phone.tflite_files import RECORD, files_made, tflite_folder, write_record
from nextone.sim.inputs.errors import UserError

FILE = Path(__file__).parent / "tiny.tflite"
SLOTS, ROWS = 4, 2
EXAMPLE = torch.zeros(1, SLOTS, 3), torch.ones(1, SLOTS), torch.zeros(1, 2)


class Tiny(nn.Module):
    """Two outputs, an input that nothing reads, weights that anybody can write down, `arange` and `eye`."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 1)
        self.score.weight.data[:] = torch.tensor([[1.0, -2.0, 0.5]])
        self.score.bias.data[:] = 0.25

    def forward(self, candidates, unread, context):
        slots = candidates.shape[1]
        scores = self.score(candidates)[..., 0] + 0.125 * torch.arange(slots)
        return scores @ (torch.ones(slots, slots) + torch.eye(slots)), torch.tanh(context)


class TinyPolicy:
    """A PhonePolicy of one part."""

    def __init__(self):
        self.network, self.__name__ = Tiny(), "tiny"
        self.part = self.network

    def start(self, n):
        return None

    def parts(self, slots, rows):
        return {"whole": (self.part, EXAMPLE)}

    def install(self, parts):
        self.part = parts["whole"]

    def __call__(self, observation, memory):
        candidates, context = observation.candidates[..., :3], observation.context[:, :2]
        given = map(torch.from_numpy, (candidates, observation.mask.astype(np.float32), context))
        with torch.inference_mode():
            return self.part(*given)[0].numpy(), None


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint's folder with the files of Tiny."""
    folder = tflite_folder(tmp_path, SLOTS, ROWS)
    folder.mkdir()
    file = Path(shutil.copy(FILE, folder / "tiny_whole.tflite"))
    write_record(folder, Tiny(), SLOTS, ROWS, {"whole": file})
    return tmp_path


@pytest.fixture
def no_converter(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "litert_torch" else find(name))


def observed(people, slots=SLOTS):
    rng = np.random.Generator(np.random.Philox(key=5))
    sizes = (people, slots, len(CANDIDATE)), (people, ROWS, len(HISTORY)), (people, len(CONTEXT))
    return Observation(*(rng.random(size, np.float32) for size in sizes), np.ones((people, slots), bool))


def test_the_interpreter_says_what_torch_says():
    """Three people, one at a time; outputs in their order."""
    rng = np.random.Generator(np.random.Philox(key=4))
    given = [torch.from_numpy(rng.random((3, *tensor.shape[1:]), np.float32)) for tensor in EXAMPLE]
    with torch.inference_mode():
        for ours, theirs in zip(opened(FILE)(*given), Tiny()(*given), strict=True):
            assert ours.shape == theirs.shape and (ours - theirs).abs().max() < 1e-6 and theirs.std() > 0.1


def test_what_depends_on_no_input_is_worked_out():
    counted = with_constants(Tiny(), EXAMPLE)
    called = {str(node.target) for node in counted.graph.nodes if node.op == "call_function"}
    assert not [name for name in called if "arange" in name or "eye" in name] and any("tanh" in name for name in called)
    given = torch.rand(1, SLOTS, 3), torch.ones(1, SLOTS), torch.rand(1, 2)
    assert all(torch.equal(*pair) for pair in zip(counted(*given), Tiny()(*given), strict=True))


def test_a_policy_runs_its_files_without_the_converter(checkpoint, no_converter):
    by_torch, by_engine = TinyPolicy(), OnEngine(TinyPolicy(), "tflite", checkpoint)
    observation = observed(5)
    ours, theirs = by_engine(observation, None)[0], by_torch(observation, None)[0]
    assert by_engine.__name__ == "tiny@tflite" and np.abs(ours - theirs).max() < 1e-6 and theirs.std() > 0.1


def test_files_of_other_weights_are_refused(checkpoint):
    changed = Tiny()
    changed.score.bias.data += 1e-6
    with pytest.raises(CheckpointError, match=r"other weights.*nextone export .* --to tflite --out .*tflite_4x2"):
        files_made(checkpoint, changed, SLOTS, ROWS)


def test_a_damaged_file_is_refused(checkpoint):
    file = tflite_folder(checkpoint, SLOTS, ROWS) / "tiny_whole.tflite"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tiny_whole\.tflite does not match its checksum"):
        files_made(checkpoint, Tiny(), SLOTS, ROWS)


@pytest.mark.parametrize("data", [b"", b"no model", FILE.read_bytes()[:700]])
def test_what_is_no_model_is_refused(data, tmp_path):
    file = tmp_path / "broken.tflite"
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"broken\.tflite.* cannot be run by TensorFlow Lite"):
        opened(file)


RECORDS = [
    ("not JSON", lambda record: "{"),
    ("a list", lambda record: json.dumps([record])),
    ("another format", lambda record: json.dumps(record | {"format": 2})),
    ("another size", lambda record: json.dumps(record | {"slots": 5})),
    ("no parts", lambda record: json.dumps({key: value for key, value in record.items() if key != "parts"})),
    ("no digest", lambda record: json.dumps(record | {"parts": {"whole": {"file": "tiny_whole.tflite"}}})),
    ("no file", lambda record: json.dumps(record | {"parts": {"whole": {"file": "../../tiny", "sha256": ""}}})),
]


@pytest.mark.parametrize("spoil", [spoil for _, spoil in RECORDS], ids=[name for name, _ in RECORDS])
def test_a_record_that_says_something_else_is_refused(spoil, checkpoint):
    path = tflite_folder(checkpoint, SLOTS, ROWS) / RECORD
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(CheckpointError, match=r"cannot be used: .+; make them again: nextone export") as caught:
        files_made(checkpoint, Tiny(), SLOTS, ROWS)
    assert "\n" not in str(caught.value)


def test_another_size_needs_the_converter(checkpoint, no_converter):
    with pytest.raises(EngineMissing, match=r"pool of 5 and 2 past.*'nextone\[convert\]'.*nextone export.*tflite_5x2"):
        OnEngine(TinyPolicy(), "tflite", checkpoint)(observed(1, slots=5), None)


def test_sizes_that_are_shipped():
    """The default scenario's, which is KIR's, and EdgeRec's."""
    assert ship_tflite.sizes() == [(20, 20), (100, 20)]


def test_without_the_converter_nothing_shipped_is_lost(checkpoint, no_converter, monkeypatch):
    monkeypatch.setattr(ship_tflite, "shipped", lambda kind: checkpoint)
    with pytest.raises(EngineMissing, match="litert-torch"):
        ship_tflite.make_tflite("kir")
    assert files_made(checkpoint, Tiny(), SLOTS, ROWS)
