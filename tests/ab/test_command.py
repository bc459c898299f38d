"""`nextone ab`: a verdict in words, a table that fits a terminal, JSON and files; and what is refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from nextone.cli.main import main
from nextone.experiments.ab.assignment import Split
from nextone.experiments.ab.designs import (
    Told,
    Tried,
    all_designs,
    all_shares,
    compare_tests,
    expected_error,
    judged,
    save,
    sentences,
    table,
)
from nextone.experiments.ab.run import run_test
from nextone.experiments.ab.shown import verdict
from nextone.experiments.runs.arms import parse_arm
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

SMALL = ("population.users=80", "catalogue.kind=synthetic", "catalogue.videos=400")
SET = [part for setting in SMALL for part in ("--set", setting)]


HALF = Split("person", (0.5, 0.5))


def ran(*settings, other="two=cloud_only server.page_size=2"):
    base = with_settings(Scenario(), [*SMALL, *settings])
    return run_test([parse_arm(text, base) for text in ("six=cloud_only", other)], HALF, minutes=10.0)


def test_where_servers_drown_the_verdict_says_that_sharing_is_why_the_test_is_wrong():
    told = verdict(ran("server.workers=1", "server.service_ms=900"))
    assert told[0].startswith("The A/B test says: two is ") and "time in the app" in told[0]
    assert told[1].startswith("True, were everybody to have two: −")
    assert "arms share servers, which alone moves the test by +" in told[1] and len(told) == 2


def test_with_ample_servers_it_says_that_only_chance_is_between_the_test_and_the_truth():
    test = ran("server.workers=5000")
    told = verdict(test)
    assert told[1].endswith("nobody was moved by the other arm, so what parts the two is chance.")
    assert all(moved is None or moved.bias == 0 for moved in test.spill.values())


def test_equal_arms_are_truly_equal():
    test = ran("server.workers=1", other="same=cloud_only")
    assert all(d is None or d.diff == 0 for d in test.truth.values())
    assert all(moved is None or moved.bias == 0 for moved in test.spill.values())
    assert test.found[1, "app_min"].fixed.diff != 0  # chance: other people


def test_the_command_prints_one_object_and_saves_what_each_person_did(tmp_path, capsys):
    arguments = ["ab", "--arm", "two=cloud_only server.page_size=2", "--policies", "cloud_only,server_score", *SET]
    arguments += ["--minutes", "5", "--workers", "1", "--json", "--out", str(tmp_path)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert not err
    told = json.loads(out)
    assert sum(told["people"].values()) == 80 and told["split"]["shares"] == pytest.approx([1 / 3] * 3)
    assert len(told["verdict"]) == 4 and {row["arm"] for row in told["rows"]} == {"server_score", "two"}
    first = told["rows"][0]
    assert first["metric"] == "app_min" and first["always_low"] < first["diff_low"] < first["diff_pct"]
    assert json.loads((tmp_path / "ab.json").read_text()) == told
    people = pq.read_table(tmp_path / "people.parquet").to_pandas()
    means = people.groupby("arm").app_min_top.mean()
    assert means["cloud_only"] == pytest.approx(first["control_mean"])
    assert people.all_two_app_min.mean() / people.all_cloud_only_app_min.mean() - 1 == pytest.approx(
        next(row for row in told["rows"] if row["arm"] == "two")["truth_diff_pct"] / 100
    )


def test_for_people_there_is_a_table_of_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["ab", "--policies", "cloud_only,random", *SET, "--minutes", "4", "--workers", "1", "-q", "--all"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("The A/B test says: ") and "by group of people" in out and "Guard rails by the test" in out


def test_days_before_the_test_make_it_sharper():
    base = with_settings(Scenario(), [*SMALL, "population.users=40", "server.workers=5000"][1:])
    of = [parse_arm(text, base) for text in ("six=cloud_only", "two=cloud_only server.page_size=2")]
    test = run_test(of, HALF, days=0.5, before=0.5)
    found = test.found[1, "app_min"]
    assert found.saved > 0.15
    assert [len(each) for each in (test.looks(1), test.segments(1))] == [12, 9]
    last = test.looks(1)[-1]
    assert last.control.mean == pytest.approx(found.control.mean, rel=0.2) and last.fixed.n == sum(test.counts)
    sums = test.people.before["app_min"].top
    assert np.corrcoef(sums, test.people.sums["app_min"].top)[0, 1] > 0.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--share", "1.5"], "--share 1.5"),
        (["--users", "10"], "10 people are too few"),
        (["--before", "2"], "--before 2"),
        (["--design", "switchback", "--days", "1"], "--design switchback"),
        (["--policies", "cloud_only"], "at least one other arm"),
        (["--arm", "x=cloud_only server.workers=3"], "server.workers is shared"),
        (["--limit", "nothing=3"], "no guard rail"),
        (["--layer", "more=random"], "the policy is changed by arm 'tag_momentum' as well"),
        (["--layer", "more=cloud_only server.workers=9"], "server.workers is shared"),
        (["--layer", "more=cloud_only client.ttl_s=9", "--share", ".1,.5"], "without --layer"),
    ],
)
def test_what_cannot_be_tested_is_refused_in_one_line(arguments, words, capsys):
    code = main(["ab", *arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_all_designs_are_tried_and_judged_against_the_truth(tmp_path):
    base = with_settings(Scenario(), [*SMALL[1:], "population.users=40", "server.workers=8", "server.service_ms=3000"])
    of = [parse_arm(text, base) for text in ("six=cloud_only", "two=cloud_only server.page_size=2")]
    made = compare_tests(of, all_designs(HALF._replace(regions=4, period_min=0.25)), replications=10, minutes=1.5)
    person, _, _, cluster = made.judged
    assert cluster.bias.mean == cluster.bias.high == 0 and cluster.half > person.half
    assert person.truth == cluster.truth and person.truth.high < 0 and person.people == 1
    assert len(made.told["person"]) == 10 and table(made).row_count == 4
    shown, told = save(made, tmp_path / "ab.png")
    assert shown.stat().st_size > 10_000 and [each["label"] for each in json.loads(told.read_text())["tests"]] == [
        "person", "budget", "switchback", "cluster"
    ]  # fmt: skip


def test_a_design_is_advised_against_where_it_is_surely_moved():
    """True is -10 %: by person tests say 0 ± 4 since they are moved by 10 points, by budget -9 ± 6."""
    wiggle = np.linspace(-1, 1, 10)
    rows = {
        "person": [Told(x, x - 4, x + 4, -10, 10 + x / 10) for x in wiggle],
        "budget": [Told(-9 + x, -15 + x, -3 + x, -10, 1 + x / 10) for x in wiggle],
    }
    person, budget = (judged(name, told, 4.0) for name, told in rows.items())
    assert (person.covered, person.wrong_sign, person.sure) == (0, 0, 0)
    assert (budget.covered, budget.sure, budget.people) == (1, 1, 2.25)
    assert budget.error == pytest.approx(np.sqrt(1 + (wiggle**2).mean()))
    splits, base = {name: HALF._replace(design=name) for name in rows}, Scenario()
    of = tuple(parse_arm(text, base) for text in ("six=cloud_only", "two=cloud_only server.page_size=2"))
    told = sentences(Tried(of, splits, (person, budget), rows, 0, 10, 60.0, {}))
    assert told[0] == (
        "The usual test, by person, is moved by +10 points because arms share servers: true is −10 %, and 0% of its "
        "intervals hold that."
    )
    assert told[1].startswith("Run budget instead")
    assert told[2] == "To see that difference in four of five tests takes some 515 people by budget."
    # 700 people leave a standard error of 6 / 1.96; 2.8 of them may be 10: 700 (2.8016 x 3.0613 / 10)^2 = 514.9
    lucky = judged("cluster", [Told(-10 + x / 9, -70, 50, -10, 0) for x in wiggle], 4.0)  # right, but it cannot be sure
    assert lucky.error < budget.error and expected_error(lucky) > expected_error(budget)
    three = splits | {"cluster": HALF._replace(design="cluster")}
    told = sentences(Tried(of, three, (person, budget, lucky), rows, 0, 10, 60.0, {}))
    assert told[1].startswith("Run budget instead")
    same = judged("person", [Told(x, x - 4, x + 4, 0, x) for x in wiggle], 4.0)
    assert sentences(Tried(of, splits, (same, budget), rows, 0, 10, 60.0, {}))[1].startswith("Run it")


def test_what_a_test_says_by_how_many_are_treated(tmp_path):
    rows = {
        "10 %": [Told(0, -4, 4, -10, 12 + x) for x in range(10)],
        "50 %": [Told(0, -4, 4, -10, 6) for _ in range(10)],
    }
    few, half = (judged(label, told, 4.0) for label, told in rows.items())
    of = tuple(parse_arm(text, Scenario()) for text in ("six=cloud_only", "two=cloud_only server.page_size=2"))
    found = Tried(of, all_shares(HALF, (0.1, 0.5)), (few, half), rows, 0, 10, 60.0, {})
    assert sentences(found) == [
        "An A/B test of two says, apart from chance, +6.50 % ±2.2 with 10 % treated and −4 % ±0 with 50 % treated; "
        "true is −10 %: sharing servers moves it."
    ]
    assert [split.shares for split in found.splits.values()] == [(0.9, 0.1), (0.5, 0.5)]
    assert all(path.stat().st_size > 1_000 for path in save(found, tmp_path / "ab.png"))


def test_all_designs_refuse_what_they_cannot_do(capsys):
    assert main(["ab", "--design", "all", "--days", "1"]) == 2
    assert "--design all" in capsys.readouterr().err
    assert main(["ab", "--share", ".1,x"]) == 2
    assert "--share .1,x: must be a number" in capsys.readouterr().err
    assert main(["ab", "--design", "all", "--policies", "cloud_only,random,server_score"]) == 2
    assert "compared of two arms" in capsys.readouterr().err
