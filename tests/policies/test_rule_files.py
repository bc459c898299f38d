"""Files of decision rules: what is refused, in one line and soon; and what a result records of them."""

import json
import sys
import time
from pathlib import Path

import pytest

from nextone.cli import main as cli
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.names import check_name, listed, resolve_policy
from nextone.experiments.runs.provenance import inputs, made_with, provenance
from nextone.experiments.runs.shipping import moved_policy
from nextone.policies.by_name import make_policy
from nextone.policies.decisions.rule_file import read_rules
from nextone.policies.names import in_folder
from nextone.sim.config import Scenario
from nextone.sim.inputs.errors import UserError

GOOD = '[[rule]]\nname = "ask"\nwhen = "left < 3"\nthen = "ask"\n'


def changed(*replacements, more=""):
    text = GOOD
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return text + more


def by(policy, name="ask"):
    """The rule reranks by this policy."""
    return changed(('name = "ask"', f'name = "{name}"'), ('then = "ask"', f'then = "rerank"\nby = "{policy}"'))


REFUSED = {
    "empty": ("", "must have 1 to 50 tables [[rule]]"),
    "no TOML": ("rule = [", "rules.toml:1: not TOML"),
    "a table": ('[rule]\nname = "a"', "rule={'name': 'a'} must be an array"),
    "numbers for rules": ("rule = [1]", "must have 1 to 50 tables [[rule]]"),
    "many rules": (GOOD * 51, "must have 1 to 50"),
    "nested": ("rule = " + "[" * 4_000, "nested too deeply"),
    "a huge number": (f"rule = 0x{'9' * 4_000}", "rule=a huge number must be an array"),
    "many dots": (".".join("a" * 2_000) + " = 1", "unknown word 'a'"),
    "large": ("#" + "x" * 70_000, "has 70,001 bytes, at most 64,000"),
    "very large": ("#" * 2_000_000, "holds more than 1 MB"),
    "binary": (b"\0\1\2", "is binary, not text"),
    "no UTF-8": (b"a = '\xff'", "is not UTF-8 text"),
    "unknown on top": (changed(more="[limits]\n"), "unknown word 'limits'"),
    "unknown word": (changed(("then", "than")), "toml:1: rule 'ask': unknown word 'than'; did you mean then?"),
    "the second rule": (GOOD + changed(('"ask"\nwhen', '"b"\nwhen'), ("left", "lefd")), "5: rule 'b': when: column 1"),
    "a huge priority": (changed(more=f"priority = 0x{'f' * 4_000}"), "priority=a huge number must be -1e+06 to 1e+06"),
    "no name": (changed(('name = "ask"', "")), "rule 1: name is missing"),
    "name of lines": (changed(('name = "ask"', 'name = "a\\nb"')), "rule 'a b': name must be one printable line"),
    "long name": (changed(('name = "ask"', f'name = "{"n" * 61}"')), "name has 61 characters, must have 1 to 60"),
    "the same name": (GOOD * 2, "has the name of another rule"),
    "no condition": (changed(('when = "left < 3"', "")), "when is missing"),
    "condition of a number": (changed(('"left < 3"', "3")), "when=3 must be text"),
    "unknown feature": (changed(("left", "taste")), "unknown feature 'taste'"),
    "huge condition": (changed(("left < 3", "!" * 3_000)), "has 3,000 characters, at most 500"),
    "deep condition": (changed(("left < 3", "(" * 240 + "skip" + ")" * 240)), "nested deeper than 16"),
    "feature of a model": (changed(("left < 3", "model_gain > 0.0")), "model_gain needs a model"),
    "unknown action": (changed(('then = "ask"', 'then = "delete"')), "then='delete'"),
    "rerank by nobody": (changed(('then = "ask"', 'then = "rerank"')), 'by="POLICY" goes with then="rerank"'),
    "ask by somebody": (changed(more='by = "random"'), 'by="POLICY" goes with then="rerank"'),
    "rerank by code": (by("mine.py:policy"), "must be a policy of the package"),
    "rerank by a path": (by("edgerec:/etc"), "must be a policy of the package"),
    "rerank by rules": (by("rules:other.toml"), "must be a policy of the package"),
    "rerank by rl": (by("rl"), "must be a policy of the package"),
    "rerank by the cloud": (by("cloud_only"), "must be a policy of the package"),
    "rerank on an engine": (by("kir@onnx"), "leave @onnx out"),
    "rerank that asks": (by("edgerec@ask"), "leave @ask out"),
    "two networks": (
        by("kir") + by("edgerec", "b"), "one network a file",
    ),
    "model with a memory": (GOOD.join(['model = "edgerec"\n', ""]), "scores only at its own triggers"),
    "model of a path": ('model = "kir:../x"\n' + GOOD, "model='kir:../x' must be a policy of the package"),
    "priority of text": (changed(more='priority = "high"'), "priority=high must be a whole number"),
    "priority true": (changed(more="priority = true"), "priority=True must be a whole number"),
    "no times": (changed(more="most_per_session = 0"), "most_per_session=0 must be 1 to 1e+06"),
    "negative seconds": (changed(more="not_within_s = -1.5"), "not_within_s=-1.5 must be 0"),
    "seconds that are none": (changed(more="not_within_s = nan"), "not_within_s=nan must be 0"),
    "negative budget": ("interruptions_per_session = -1\n" + GOOD, "interruptions_per_session=-1 must be 0"),
    "sequence of text": (changed(more='sequence = "like"\nwithin = 3'), "sequence=like must be an array"),
    "sequence of numbers": (changed(more="sequence = [3]\nwithin = 3"), "must be an array of steps"),
    "empty sequence": (changed(more="sequence = []\nwithin = 3"), "must be an array of steps"),
    "step of nothing": (changed(more='sequence = ["skup"]\nwithin = 3'), "did you mean skip?"),
    "no steps": (changed(more='sequence = ["0 skip"]\nwithin = 3'), "asks for 0 impressions, must be 1 to 50"),
    "many steps": (changed(more='sequence = ["99 skip"]\nwithin = 100'), "asks for 99 impressions"),
    "within too few": (changed(more='sequence = ["2 skip", "like"]\nwithin = 2'), "must be a whole number from 3"),
    "within alone": (changed(more="within = 3"), "within goes with a sequence"),
    "sequence alone": (changed(more='sequence = ["like"]'), "within goes with a sequence"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_one_line_within_a_second(case, tmp_path, capsys):
    text, said = REFUSED[case]
    file = tmp_path / "rules.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.process_time()  # other tests run beside this one
    with pytest.raises(UserError) as caught:
        read_rules(file)
    assert time.process_time() - began < 1.0
    line = str(caught.value)
    assert said in line and "\n" not in line and len(line) < 500 and line.startswith(str(file))
    assert cli.main(["compare", "--rules", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(("name", "said"), [
    ("rules:nowhere.toml", "cannot be opened (No such file or directory)"),
    ("rules:/dev/zero.toml", "cannot be opened"),
    ("rules:../../../etc/passwd", "policy 'rules:../../../etc/passwd': must be a file of rules that ends in .toml"),
    ("rules:avoid_stuter", "did you mean rules:avoid_stutter?"),
    ("rules:", "must be a file of rules that ends in .toml, or rules of nextone; known: rules:ask_at_random"),
])  # fmt: skip
def test_a_name_without_rules_is_refused(name, said):
    with pytest.raises(UserError) as caught:
        resolve_policy(name, Scenario())
    assert said in str(caught.value)


def test_a_folder_and_a_pipe_are_no_files(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UserError, match="is not a regular file"):
        make_policy(f"rules:{tmp_path / 'folder.toml'}")


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cel", None)
    with pytest.raises(UserError, match=r"avoid_stutter.toml:\d+: rule .* pip install 'nextone\[rules\]'$"):
        resolve_policy("rules:avoid_stutter", Scenario())


def test_a_result_records_the_file_and_the_network_in_it(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(by("kir"))
    name = f"rules:{file}"
    record = provenance([Arm(name, name, Scenario())], seed=0, replications=10, minutes=5, days=None, engine="batch")
    assert list(record["inputs"][name]) == ["mine.toml"] and "model.safetensors" in str(record["inputs"]["kir"])
    assert {"torch", "common-expression-language"} <= set(record["libraries"])
    before = record["inputs"][name]
    file.write_text(GOOD)
    after = inputs([], ["rules:mine.toml"], str(tmp_path))
    assert after["rules:mine.toml"] != before and "kir" not in after
    assert "torch" not in made_with([name])["libraries"]
    assert json.dumps(record)


def test_names_with_files_are_moved_listed_and_placed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my rules, new.toml").write_text(GOOD)
    assert listed("cloud_only,rules:my rules, new.toml,random") == ["cloud_only", "rules:my rules, new.toml", "random"]
    assert in_folder("rules:a.toml", "/home") == "rules:/home/a.toml"
    assert in_folder("rules:avoid_stutter", "/home") == "rules:avoid_stutter"
    moved = moved_policy("rules:my rules, new.toml", lambda path, reads: f"there/{next(iter(reads(Path(path))))}")
    assert moved == "rules:there/my rules, new.toml"
    assert moved_policy("rules:avoid_stutter", lambda path, reads: "there") == "rules:avoid_stutter"
    assert check_name("rules:anything.toml") == "rules:anything.toml"
