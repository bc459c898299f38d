"""A record says what it takes to run it again, and a scenario can be handed on with its files; contract, by hand."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from test_compare import fake, instead, made_up  # noqa: F401

from nextone.cli import main as cli
from nextone.experiments.runs import comparison_files, names, provenance
from nextone.experiments.runs import executor as module
from nextone.experiments.runs.arms import parse_arm
from nextone.experiments.runs.compare import Arm, compare
from nextone.experiments.runs.comparison import comparison_table
from nextone.experiments.runs.names import listed, listing
from nextone.experiments.runs.replication import run_arm
from nextone.experiments.runs.run_logs import Recipe, read_log, replay, save_logs
from nextone.experiments.runs.run_shown import run_json, run_line
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, load_scenario, saved_scenario, with_settings
from nextone.sim.world import make_links
from nextone.version import SEMANTICS

TRACE = "t_s,mbps\n0,1\n1,2\n2,3\n"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """A scenario with a relative path, and its files, in the working folder."""
    (tmp_path / "traces").mkdir()
    for name in ("bus.csv", "walk.csv"):
        (tmp_path / "traces" / name).write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    return with_settings(Scenario(), ["network.traces=traces"])


def two(scenario, **kind):
    return compare([Arm(name, name, scenario) for name in ("cloud_only", "random")], **kind)


# -- scenarios --------------------------------------------------------------------------------------------------------


def test_a_scenario_is_handed_on_with_its_files(traced, tmp_path, monkeypatch, capsys):
    for name, command in {"shown.toml": ["--show"], "saved.toml": ["--out", "saved.toml"]}.items():
        assert cli.main(["scenario", "--set", "network.traces=traces", *command]) == 0
        shown = capsys.readouterr().out
        if "--show" in command:
            (tmp_path / name).write_text(shown)
    shutil.move(tmp_path, tmp_path.with_name("moved"))
    folder = tmp_path.with_name("moved")
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("shown.toml", "saved.toml"):
        assert load_scenario(folder / name).network.traces == str(folder / "traces")
    (folder / "traces" / "walk.csv").write_text(TRACE.replace("3", "9"))
    for name in ("shown.toml", "saved.toml"):
        with pytest.raises(SettingError, match=r"\.toml:\d+: network\.traces: walk\.csv has changed since"):
            load_scenario(folder / name)
    (folder / "traces" / "walk.csv").unlink()
    with pytest.raises(SettingError, match=r"walk\.csv is missing since"):
        load_scenario(folder / "saved.toml")


def test_how_links_were_read_is_told_where_anything_was_converted_or_left_out(traced, tmp_path, capsys):
    assert cli.main(["scenario", "--set", "network.traces=traces", "--show"]) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "traces" / "walk.csv").write_text(TRACE.replace("mbps", "MBps"))
    (tmp_path / "traces" / "later").mkdir()
    assert cli.main(["scenario", "--set", "network.traces=traces", "--show"]) == 0
    read, passed = capsys.readouterr().err.splitlines()
    assert read.startswith("nextone: links of traces: read walk.csv (3 rows): ") and "bytes a second: times 8" in read
    assert passed == "nextone: links of traces: passed over 1 file, later: is a folder; give it by itself"


@pytest.mark.parametrize("text", ["digests = 3", "[digests]\nx = 3", '[digests]\n"network.traces" = ["a"]'])
def test_digests_that_nobody_wrote(text, tmp_path):
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(SettingError, match=r"it\.toml:1: digests must be sections"):
        load_scenario(tmp_path / "it.toml")


def test_a_path_that_is_not_beside_its_file_is_left_to_the_working_folder(traced, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "it.toml").write_text('[network]\ntraces = "traces"')
    assert load_scenario("sub/it.toml").network.traces == "traces"
    shutil.copytree("traces", "sub/traces")
    assert load_scenario("sub/it.toml").network.traces == "sub/traces"
    assert 'traces = "../traces"' in saved_scenario(traced, tmp_path / "sub")


def test_links_are_read_again_when_their_files_change(traced, tmp_path):
    before = make_links(traced).trace_mean_bps
    (tmp_path / "traces" / "walk.csv").write_text(TRACE.replace("3", "90"))
    assert make_links(traced).trace_mean_bps.sum() > before.sum()


# -- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake")
def test_tables_and_json_say_what_they_were_made_of(traced, tmp_path):
    result = two(traced, seed=5, minutes=7)
    comparison_files.save_tables(result, tmp_path)
    stored = json.loads(pq.read_schema(tmp_path / "comparison.parquet").metadata[b"nextone"])
    for record in (stored, comparison_files.comparison_json(result)):
        made = record["provenance"]
        assert (made["seed"], made["minutes"], made["days"], made["replications"]) == (5, 7, None, 10)
        assert (made["engine"], made["semantics"], made["version"]) == ("event", SEMANTICS, record["version"])
        assert {"python", "numpy", "numba", "scipy"} <= set(made["libraries"])
        assert set(made["inputs"][str(tmp_path / "traces")]) == {"bus.csv", "walk.csv"}
        assert "sabre/traces.parquet" in made["inputs"]["shipped data"]
        (tmp_path / "again.toml").write_text(record["arms"][0]["scenario"])
        assert load_scenario(tmp_path / "again.toml").network.traces == str(tmp_path / "traces")
    assert load_scenario(tmp_path / "scenario.toml").network.traces == str(tmp_path / "traces")


def test_weights_are_part_of_it(tmp_path, fake):  # noqa: F811
    folder = tmp_path / "it, too"
    (folder / "step-000000000001").mkdir(parents=True)
    (folder / "step-000000000001" / "model.safetensors").write_bytes(b"one")
    arms = [Arm("a", "cloud_only", Scenario()), Arm("b", f"rl:{folder}", Scenario()), Arm("c", "kir", Scenario())]
    inputs = compare(arms).provenance["inputs"]
    assert list(inputs[f"rl:{folder}"]) == ["step-000000000001/model.safetensors"]
    assert any(name.endswith("model.safetensors") for name in inputs["kir"])
    assert "torch" in compare(arms).provenance["libraries"]


def test_an_engines_files_are_part_of_it_where_it_plays_them(tmp_path):
    folder = tmp_path / "step-000000000001" / "tflite_20x20"
    folder.mkdir(parents=True)
    for file in (folder / "tflite.json", folder / "kir_dense.tflite", folder.parent / "model.safetensors"):
        file.write_bytes(b"one")
    by_torch, by_engine = f"kir:{tmp_path}", f"kir:{tmp_path}@tflite"
    read = provenance.inputs([], [by_torch, by_engine])
    assert list(read[by_torch]) == ["step-000000000001/model.safetensors"]
    assert {name.rpartition("/")[2] for name in read[by_engine]} == {
        "model.safetensors", "kir_dense.tflite", "tflite.json"
    }  # fmt: skip
    assert "ai-edge-litert" in provenance.made_with([by_engine])["libraries"]
    assert "ai-edge-litert" not in provenance.made_with([by_torch])["libraries"]


def test_a_comparison_that_met_two_worlds_is_none(traced, tmp_path, monkeypatch):
    def changing(*arguments, **named):
        if named["replication"] == 5:
            (tmp_path / "traces" / "walk.csv").write_text(TRACE.replace("3", "9"))
        return made_up(*arguments, **named)

    monkeypatch.setattr(module, "run_replication", instead(changing))
    with pytest.raises(SettingError, match=r"two worlds: .*traces: walk\.csv has changed since; run it again"):
        two(traced)


def test_links_that_change_for_a_while_are_noticed(fake, monkeypatch):  # noqa: F811
    outcome = module.run_replication
    monkeypatch.setattr(
        module, "run_replication",
        lambda *a, **k: outcome(*a, **k)._replace(links_sha256=str(k["replication"] == 3)),
    )  # fmt: skip
    with pytest.raises(SettingError, match="arm 'cloud_only' has met two worlds"):
        two(Scenario())


def test_differences_in_units_where_the_baseline_is_0(monkeypatch):
    def from_zero(scenario, policy, **named):
        row = made_up(scenario, policy, **named)
        return {name: 0.0 if policy == "cloud_only" and name != "app_min" else x for name, x in row.items()}

    monkeypatch.setattr(module, "run_replication", instead(from_zero))
    rows = comparison_files.comparison_json(two(Scenario()))["rows"]
    row = next(row for row in rows if row["policy"] == "random" and row["metric"] == "watch_s")
    assert row["diff_pct"] is None and row["diff_abs_low"] < row["diff"] < row["diff_abs_high"]


@pytest.mark.usefixtures("fake")
def test_more_replications_after_a_look_say_so(tmp_path):
    first = comparison_files.looked_at_before(two(Scenario()), tmp_path)
    comparison_files.save_tables(first, tmp_path)
    assert not first.extended and comparison_files.looked_at_before(two(Scenario()), tmp_path).looks == ()
    assert comparison_files.looked_at_before(two(Scenario(), seed=1, replications=20), tmp_path).looks == ()
    plain = two(Scenario(), replications=20)
    more = comparison_files.looked_at_before(plain, tmp_path)
    assert more.looks == (10,)
    for a, m in ((0, 0), (1, 0)):
        wide, narrow = more.intervals[a][m], plain.intervals[a][m]
        assert wide.mean == narrow.mean and wide.high > narrow.high
    assert more.differences[1][0].high > plain.differences[1][0].high
    assert "Looked at before with 10 replications" in str(comparison_table(more).caption)
    comparison_files.save_tables(more, tmp_path)
    record = json.loads(pq.read_schema(tmp_path / "replications.parquet").metadata[b"nextone"])
    assert (record["extended"], record["looks"]) == (True, [10]) and "confidence sequence" in record["method"]
    assert comparison_files.looked_at_before(two(Scenario(), replications=30), tmp_path).looks == (10, 20)


def test_nobody_in_the_app_is_told(monkeypatch):
    def empty(scenario, policy, **named):
        return dict.fromkeys(made_up(scenario, policy, **named), 0.0)

    monkeypatch.setattr(module, "run_replication", instead(empty))
    result = two(Scenario(), days=0.001)
    assert "Nobody opened the app in the window of 0.001 days: give" in str(comparison_table(result).caption)
    assert result.intervals[0][0] is None and result.differences[1][0] is None
    assert comparison_files.comparison_json(result)["nobody_opened"] == 10


def test_a_log_is_run_again_from_another_folder_and_names_what_changed(traced, tmp_path, monkeypatch):
    small = ["population.users=4", "catalogue.kind=synthetic", "catalogue.videos=300", "sessions.leave_per_min=0.7"]
    world, recipe = with_settings(traced, small), Recipe("cloud_only", minutes=1)
    run = run_arm(world, "cloud_only", seed=0, replication=0, minutes=1)
    path = save_logs(run, tmp_path, recipe)[2]
    made = read_log(path)[1]["provenance"]
    shown = run_json(run, recipe)
    assert shown["provenance"] == made and shown["rows"]["sessions"] == 4 and shown["metrics"]["app_min"] > 0
    assert run_line(run, recipe).endswith(" 4 sessions.")
    nobody = run._replace(records=run.records._replace(sessions=run.records.sessions[:0]))
    assert "Nobody opened the app in the window of 1 min" in run_line(nobody, recipe)
    assert set(made["inputs"][str(tmp_path / "traces")]) == {"bus.csv", "walk.csv"} and made["minutes"] == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert replay(path).differences == ()
    (tmp_path / "traces" / "walk.csv").write_text(TRACE.replace("3", "9"))
    assert any("walk.csv has changed since" in line for line in replay(path).differences)


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a,b", "my dir", "it's", "my, kir"):
        (tmp_path / name).mkdir()


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cloud_only, random,,", ["cloud_only", "random"]),
        ("cloud_only,rl:a,b,random", ["cloud_only", "rl:a,b", "random"]),
        ("rl:a,random", ["rl:a", "random"]),
        ("rl:my dir,kir:a,b@onnx", ["rl:my dir", "kir:a,b@onnx"]),
        ('rl:"a,b","rl:my dir",random', ["rl:a,b", "rl:my dir", "random"]),
        ("rl:it's,random", ["rl:it's", "random"]),
        ("rl:nowhere,randon", ["rl:nowhere", "randon"]),
        ("cloud_only, kir:my, kir,random", ["cloud_only", "kir:my, kir", "random"]),
        ("rl:a,kir", ["rl:a", "kir"]),
    ],
)
def test_lists_of_policies(text, names):
    assert listed(text) == names
    assert listed(listing(names)) == names


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("x=rl:my dir server.page_size=2", "rl:my dir"), ('x=rl:"my dir" server.page_size=2', "rl:my dir"),
        ("x=rl:a,b server.page_size=2", "rl:a,b"), ("x=random server.page_size=2", "random"),
        ("x=rl:it's   server.page_size=2", "rl:it's"), ("x=kir:my, kir server.page_size=2", "kir:my, kir"),
    ],
)  # fmt: skip
def test_arms_of_folders_with_spaces(text, policy, monkeypatch):
    monkeypatch.setattr(names, "make_policy", lambda name, scenario: None)
    arm = parse_arm(text, Scenario())
    assert (arm.label, arm.policy, arm.scenario.server.page_size) == ("x", policy, 2)
