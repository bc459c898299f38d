"""Tasks for phones: what is packed is played; whatever is wrong with a stranger's folder is one line; replayed steps
are those of the run."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from worlds import same_bits, scenario

from nextone.cli.main import main
from nextone.experiments.runs.replication import run_arm
from nextone.experiments.tasks.check import check, its_embeddings
from nextone.experiments.tasks.pack import pack
from nextone.experiments.tasks.replay import replay
from nextone.policies.tasks import RECORD, read_task
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import with_settings
from nextone.sim.state import ASKED

RULES = """
[[rule]]
name = "often skipped"
when = "skips_in_a_row >= 2"
then = "ask"
priority = 1
not_within_impressions = 3

[[rule]]
name = "rank"
when = "true"
then = "rerank"
by = "kir"
"""
WORLD = scenario(population__users=30, catalogue__videos=2_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks")
    (root / "rules.toml").write_text(RULES)
    pack(root / "task", model="kir", rules=root / "rules.toml", version=2)
    return root / "task"


def lived(policy, world=WORLD):
    return run_arm(world, policy, seed=4, replication=0, minutes=6.0, engine="batch").records


def test_a_network_alone_plays_as_by_its_name(tmp_path):
    task = pack(tmp_path / "kir", model="kir")
    assert task.told == "kir, version 1" and task.limits.megabytes > 0
    for a, b in zip(lived(f"task:{tmp_path / 'kir'}"), lived("kir"), strict=True):
        assert same_bits(a, b) == ""


def test_rules_rank_by_the_tasks_own_network(folder, tmp_path):
    """The shipped one in both, so that the same rules without the task give the same lives."""
    alone = lived(f"rules:{folder / 'rules.toml'}")
    for a, b in zip(lived(f"task:{folder}"), alone, strict=True):
        assert same_bits(a, b) == ""
    assert (alone.impressions["outcome"] & ASKED).any()


def test_it_is_checked(folder, capsys):
    assert main(["task", "check", str(folder), "--json", "--set", "catalogue.videos=2000"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["may_be_released"] and found["verdict"].endswith("it may be released.")
    assert "version 2 (kir with 2 rules)" in found["verdict"] and len(found["rules"]) == 2


def test_a_task_that_costs_more_than_it_may_must_not_be_released(tmp_path, capsys):
    pack(tmp_path / "slow", model="kir", decision_ms=1.0)
    assert main(["task", "check", str(tmp_path / "slow")]) == 2
    told = capsys.readouterr()
    assert "must not be released: a decision on the slowest phones takes" in " ".join(told.out.split())
    assert told.err.count("\n") == 1


def test_embeddings_of_another_version_are_found(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    record = other / RECORD
    lines = record.read_text().splitlines()
    record.write_text("\n".join('embeddings = "0000"' if x.startswith("embeddings") else x for x in lines))
    wrong = its_embeddings(read_task(other))
    assert not wrong.holds and "0000" in wrong.asked and its_embeddings(read_task(folder)).holds


def test_an_engine_picks_what_the_network_picks(tmp_path):
    """With the files that come with the package, which are for the default's sizes."""
    pack(tmp_path / "kir", model="kir@tflite")
    found = check(tmp_path / "kir", with_settings(Scenario(), ["catalogue.videos=2000"])).findings
    (parity,) = (each for each in found if each.what.startswith("tflite picks"))
    assert parity.holds and "decisions" in parity.found


def test_replayed_decisions_are_those_of_the_run(folder):
    log = lived(f"task:{folder}").impressions
    person = int(np.bincount(log["user"]).argmax())
    steps = replay(folder, WORLD, person, seed=4, minutes=6.0)
    mine = log[log["user"] == person]
    assert 3 <= len(steps) <= len(mine) + 1
    assert {step.rule for step in steps} <= {"", "often skipped", "rank"}
    assert any(step.did == "ranked" for step in steps)
    assert [step.impression for step in steps] == sorted(step.impression for step in steps)
    does = {"often skipped": "asked for a page", "rank": "ranked"}
    assert all(step.did == does[step.rule] for step in steps if step.rule)


def test_the_command_shows_them(folder, capsys):
    assert main(["task", "run", str(folder), "--users", "30", "--minutes", "6", "--seed", "4", "--person", "1"]) == 0
    assert "made" in capsys.readouterr().out
    assert main(["task", "run", str(folder), "--users", "30", "--person", "30"]) == 2
    assert "--person 30: must be 0 to 29" in capsys.readouterr().err


def changed(folder, tmp_path, word, line):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    lines = (other / RECORD).read_text().splitlines()
    (other / RECORD).write_text("\n".join(line if x.startswith(f"{word} =") else x for x in lines))
    return other


@pytest.mark.parametrize(
    ("word", "line", "told"),
    [
        ("name", "", "name is missing"), ("name", 'name = ""', "name must be one printable line"),
        ("version", "version = 0", "must be 1 to"), ("version", 'version = "2"', "must be a whole number"),
        ("model", 'model = "kirr"', "did you mean kir?"), ("model", 'model = ""', "go together"),
        ("how", 'how = "every=5"', "is no option of kir"), ("how", 'how = "ask"', "is no option"),
        ("format", "format = 9", "pack the task again"), ("decision_ms", "decision_ms = -1", "are numbers >= 0"),
        ("megabytes", "", "limits must have"), ("name", "name = [[[[", "not TOML"),
        ("how", 'code = "import os"', "unknown word 'code'"),
    ],
)  # fmt: skip
def test_a_record_that_is_wrong_is_one_line(folder, tmp_path, word, line, told):
    other = changed(folder, tmp_path, word, line)
    with pytest.raises(UserError) as refused:
        read_task(other)
    assert told in str(refused.value) and "\n" not in str(refused.value) and RECORD in str(refused.value)


def hostile(folder, kind):
    if kind == "a file that is not listed":
        (folder / "run.py").write_text("raise SystemExit")
    elif kind == "a file that is gone":
        (folder / "rules.toml").unlink()
    elif kind == "other weights":
        with (folder / "model" / "model.safetensors").open("ab") as file:
            file.write(b"x")
    elif kind == "a link":
        (folder / "rules.toml").unlink()
        (folder / "rules.toml").symlink_to("/etc/passwd")
    elif kind == "a link to a folder":
        (folder / "more").symlink_to("/")
    elif kind == "a pipe":
        os.mkfifo(folder / "pipe")
    elif kind == "many files":
        for k in range(300):
            (folder / f"{k}").touch()


@pytest.mark.parametrize("kind", ["a file that is not listed", "a file that is gone", "other weights", "a link",
                                  "a link to a folder", "a pipe", "many files"])  # fmt: skip
def test_a_folder_that_is_wrong_is_one_line_within_a_second(folder, tmp_path, kind, capsys):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    hostile(other, kind)
    began = time.process_time()
    assert main(["compare", "--policies", f"cloud_only,task:{other}", "--users", "5"]) == 2
    told = capsys.readouterr().err
    assert time.process_time() - began < 1.0 and told.count("\n") == 1 and "Traceback" not in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "give --model, --rules or both"), ({"model": "tag_momentum"}, "must be one of edgerec"),
        ({"model": "edgerec@ask"}, "leave @ask out"),
    ],
)  # fmt: skip
def test_what_cannot_be_packed_is_one_line(tmp_path, given, told):
    with pytest.raises(UserError, match=told):
        pack(tmp_path / "x", **given)


def test_rules_that_need_another_network_are_refused(tmp_path):
    (tmp_path / "rules.toml").write_text(RULES.replace('"kir"', '"context_aware"'))
    with pytest.raises(UserError, match="ranks by context_aware, and the task holds kir"):
        pack(tmp_path / "x", model="kir", rules=tmp_path / "rules.toml")
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="is not empty"):
        pack(tmp_path, model="kir")
