"""`nextone rules` and `nextone rules check`: what rules may name, and what a file of them does to simulated people."""

import json

import pytest
from worlds import scenario

from nextone.cli import main as cli
from nextone.experiments.decisions.check import as_json, check, sentences
from nextone.experiments.runs.parquet import read_record
from nextone.policies.decisions.features import FEATURES
from nextone.policies.names import shipped_rules

FILE = """
about = "For the test."
interruptions_per_session = 1000

[[rule]]
name = "every third"
when = "session_impressions % 3 == 0"
then = "rerank"
by = "server_score"
priority = 2

[[rule]]
name = "in its shadow"
when = "session_impressions % 3 == 0 && !offline"
then = "swap"
priority = 1

[[rule]]
name = "once"
when = "true"
then = "ask"
most_per_session = 1

[[rule]]
name = "never"
when = "left > 1000 || mbps < 0.0"
then = "hold"

[[rule]]
name = "impatient"
sequence = ["2 skip"]
within = 2
then = "hold"
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    file = tmp_path_factory.mktemp("rules") / "mine.toml"
    file.write_text(FILE)
    return check(f"rules:{file}", scenario(), seed=1, minutes=4.0, days=None)


def test_what_is_counted_adds_up(found):
    third, shadow, once, never, impatient = found.firings
    assert found.people == 12 and found.decisions <= found.impressions
    assert third.fired == third.held == shadow.could == shadow.outranked_by["every third"] > 30
    assert once.held == found.decisions and 0 < once.fired <= found.sessions
    assert (never.held, never.fired) == (0, 0)
    assert impatient.fired == impatient.could - sum(impatient.outranked_by.values())
    for firing in found.firings:
        assert firing.per_session == firing.fired / found.sessions
        assert firing.per_100_impressions == pytest.approx(100 * firing.fired / found.impressions)


def test_it_says_each_rule_and_what_never_fires(found):
    told = list(sentences(found))
    assert told[0] == "For the test."
    assert "1. every third (priority 2): When (session impressions % 3) = 0, the phone reranks by server_score." in told
    assert told[4].endswith(": At every decision, the phone asks the cloud for a page, at most once a session.")
    assert "the last impressions had 2 skip, within 2 impressions" in told[6]
    assert "in its shadow never fires: every third decides before it." in told
    assert "never never fires: it never holds." in told


def test_the_same_as_json_and_parquet(found, tmp_path, capsys):
    rows = as_json(found)["rows"]
    assert [row["name"] for row in rows] == ["every third", "in its shadow", "once", "never", "impatient"]
    (tmp_path / "mine.toml").write_text(FILE)
    more = ["--users", "8", "--minutes", "3", "--set", "catalogue.kind=synthetic", "--set", "catalogue.videos=300"]
    out = tmp_path / "out"
    assert cli.main(["rules", "check", str(tmp_path / "mine.toml"), *more, "--json", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["people"] == 8 and told["engine"] == "batch" and len(told["rows"]) == 5
    table, record = read_record(out / "rules.parquet")
    assert table["fired"].to_pylist() == [row["fired"] for row in told["rows"]]
    assert record["inputs"] == told["inputs"] and record["rules"] == told["rules"]


def test_the_features_are_listed(capsys):
    assert cli.main(["rules", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {feature.name for feature in FEATURES} < {each["name"] for each in told["features"]}
    assert told["rules"] == list(shipped_rules())
    assert cli.main(["rules", "check", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.startswith("nextone: nowhere.toml: cannot be opened (No such file or directory); ")
