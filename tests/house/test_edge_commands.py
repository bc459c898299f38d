"""`nextone export`, names with an engine, and the table of the online comparison: as a user meets them."""

import json

import pytest
import torch
from parity import stirred
from worlds import scenario

from nextone.cli.main import main
from nextone.experiments.questions.edge_online import ROWS, arms_of, differences, positions_figure, table
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.speed.edge_decisions import rate
from nextone.policies.checkpoint import MODEL, save_checkpoint
from nextone.policies.networks.loading import make_network
from nextone.policies.phone import engines
from nextone.policies.trained import features_hash
from nextone.sim.config import Scenario
from nextone.sim.scenario import NAMED, scenario_toml, with_settings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A DNN-rank of random weights: the smallest network there is."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dnn")
    weights = {name: tensor.numpy() for name, tensor in stirred(make_network("dnn")).state_dict().items()}
    about = {"kind": "dnn", "ablation": "", "features": features_hash(),
             "scenario": scenario_toml(Scenario(), comments=False), "score": 0.0}  # fmt: skip
    save_checkpoint(folder, 1, about, {MODEL: weights})
    return folder


@pytest.mark.parametrize("engine", ["onnx", "mnn"])
def test_export_writes_a_file_and_says_what_it_costs(checkpoint, engine, tmp_path, capsys):
    arguments = ["export", str(checkpoint), "--to", engine, "--out", str(tmp_path / "out"), "--json",
                 "--set", "server.candidates=9"]  # fmt: skip
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    (file,) = told["files"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"dnn_dense.{engine}"]
    assert file["inputs"][0][:2] == [1, 9] and file["parity"] < 1e-5 and file["engine_ms"] > 0
    assert file["bytes"] == told["on_device_mb"] * 1e6 < 100_000 and told["embeddings_mb"] > 0


def test_without_the_extra_it_says_what_to_install(checkpoint, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    for arguments in (
        ["export", str(checkpoint), "--to", "mnn", "--out", str(tmp_path)],
        ["compare", "--policies", f"cloud_only,dnn:{checkpoint}@mnn"],
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert "MNN" in said and "pip install 'nextone[edge]'" in said and said.count("\n") == 1
    assert main(["compare", "--policies", f"cloud_only,dnn:{checkpoint}@tflite"]) == 2
    assert "ai-edge-litert, which is not installed; pip install 'nextone[edge]'" in capsys.readouterr().err


def test_without_the_converter_it_says_how_to_have_the_files(checkpoint, monkeypatch, tmp_path, capsys):
    """Before anything runs, and for the sizes of the scenario."""
    find = engines.importlib.util.find_spec
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name == "litert_torch" else find(name)
    )
    assert main(["export", str(checkpoint), "--to", "tflite", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "litert-torch, which is not installed; pip install 'nextone[convert]'" in said and said.count("\n") == 1
    name = f"dnn:{checkpoint}@tflite"
    assert main(["compare", "--policies", f"cloud_only,{name}", "--set", "server.candidates=9"]) == 2
    said = capsys.readouterr().err
    assert "no .tflite files for a pool of 9 and 20 past impressions" in said and "nextone[convert]" in said
    assert "--to tflite --out" in said and "tflite_9x20" in said and said.count("\n") == 1


@pytest.mark.parametrize(("name", "remedy"), [
    ("kir@coreml", "onnx, mnn, tflite"), ("kir:somewhere@k=2", "onnx, mnn, tflite"),
    ("edgerec@every=0", "every=1 to every=999"),
    ("tag_momentum@mnn", "unknown policy"),
])  # fmt: skip
def test_what_no_engine_is_called_is_refused(name, remedy, capsys):
    assert main(["compare", "--policies", f"cloud_only,{name}"]) == 2
    said = capsys.readouterr().err
    assert remedy in said and said.count("\n") == 1


def test_the_table_of_the_online_comparison(tmp_path):
    """By hand from the values: the percentage of products per person; a line per row of ROWS; a figure."""
    world = scenario()
    arms = [Arm("cloud_only", "cloud_only", world), Arm("random", "random", world)]
    result = compare(arms, minutes=2.0, engine="batch")
    names = [metric.name for metric in result.metrics]
    valid, shown = names.index("valid_play"), names.index("impressions")
    effective = (result.values[..., valid] * result.values[..., shown]).mean(1)
    told = differences(result)[1][0]
    assert told is not None and told.diff == pytest.approx(effective[1] - effective[0])
    lines = table(result).splitlines()
    assert len(lines) == 2 + len(ROWS) + 3 and all(row.published in table(result) for row in ROWS)
    positions_figure(result, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_arms_of_every_scenario_with_a_name():
    """A third of the page; candidates enough for the page."""
    for settings in NAMED.values():
        world = with_settings(Scenario(), settings)
        arms = {arm.label: arm for arm in arms_of(world, ("cloud_only", "tag_momentum"))}
        assert list(arms) == ["cloud_only", "tag_momentum", "fresh", "small"]
        assert arms["fresh"].scenario.server.feature_lag_s == 3
        assert arms["small"].scenario.server.page_size == world.server.page_size // 3


def test_the_rate_counts_what_phones_computed():
    found = rate("kir", "batch", 60, 6.0, ["catalogue.videos=7248"])
    assert 0 < found.decisions <= found.impressions + 6 and 0 < found.deciding_s < found.seconds
