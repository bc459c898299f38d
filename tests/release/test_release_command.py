"""`nextone release`: verdict, tables, JSON and files of small releases, and a small twin of what many of them show."""

import json

import pyarrow.parquet as pq
import pytest

from nextone.cli.main import main
from nextone.experiments.runs.parquet import read_record

PLAN = """
version1 = "old=server_score"
version2 = "new=server_score"
users = 90
start_min = 35
hours = 0.95
set = { "phone.inference_ms" = 60, "catalogue.kind" = "synthetic", "catalogue.videos" = 400, "server.workers" = 100 }
wave = [{ share = 0.3, minutes = 8 }, { share = 0.9, minutes = 12 }]

[[gate]]
metric = "failures"
limit = 0.01
least = 8

[[gate]]
metric = "latency_p95_ms"
worse_pct = 50
least = 8
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "steps.toml"
    path.write_text(PLAN)
    return path


def answered(capsys, *arguments):
    assert main(list(map(str, arguments))) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_one_release_tells_its_course_and_keeps_its_monitor(plan, capsys, tmp_path):
    out = answered(
        capsys, "release", plan, "--fault", "slow=9", "--set", "phone.shares=[1,0,0,0]", "--workers", 1,
        "--out", tmp_path / "out", "-q",
    )  # fmt: skip
    assert out.startswith("new was rolled back ") and "latency_p95_ms" in out and "wave 1: 30 %" in out
    table, record = read_record(tmp_path / "out" / "monitor.parquet")
    assert record["plan"]["fault"] == "slow" and table.num_rows == 2 * 57 and sum(table["decisions"].to_pylist()) > 500
    assert {"phones", "decisions", "latency_p50_ms", "latency_p95_ms", "app_min", "score"} <= set(table.column_names)
    gates = pq.read_table(tmp_path / "out" / "gates.parquet")
    assert set(gates["state"].to_pylist()) == {"bad", "unclear"} or "fine" in gates["state"].to_pylist()
    saved = json.loads((tmp_path / "out" / "release.json").read_text())
    assert saved["releases"][0]["end"] == "rolled back" and (tmp_path / "out" / "release.png").stat().st_size > 10_000


def test_many_releases_stop_what_is_planted_and_nothing_harmless(plan, capsys):
    """In this small world: 10 of 10 versions that crash, and at most 1 of 10 harmless ones."""
    out = answered(capsys, "release", plan, "--runs", 10, "--fault", "crash=0.3", "--workers", 1, "--json")
    found = json.loads(out)
    crash, harmless = found["rows"]
    assert (crash["fault"], harmless["fault"], len(found["releases"])) == ("crash", "harmless", 20)
    assert crash["stopped"]["share"] == 1 and 2 < crash["stop_min_median"] <= crash["stop_min_p90"] < 20
    assert 0 < crash["hours"]["mean"] < harmless["hours"]["mean"]
    assert harmless["stopped"]["share"] <= 0.1 and harmless["release_min_median"] == 20
    assert found["verdict"][0].startswith("crash is stopped in 100 % [69.2, 100] of releases, ")
    assert found["verdict"][1].startswith("A harmless version is stopped in ")


WRONG = {
    "few runs": (["--runs", "5"], "replications=5 must be >= 10"),
    "two ways of faults": (["--all", "--fault", "crash"], "--all and --fault are both given"),
    "unknown fault": (["--fault", "crsh"], "did you mean crash?"),
    "fault of words": (["--fault", "crash=much"], "must read KIND or KIND=SIZE"),
    "users twice": (["--set", "population.users=9"], "give --users"),
    "no users": (["--users", "0"], "population.users=0 must be >= 1"),
    "another world": (["--set", "phone.inference_ms=-1", "--fault", "slow"], "take no time"),
}


@pytest.mark.parametrize(("arguments", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_ends_in_one_line(plan, arguments, told, capsys):
    assert main(["release", str(plan), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and told in err


def test_versions_share_what_people_of_one_world_share(plan, capsys):
    plan.write_text(PLAN.replace("new=server_score", "new=server_score server.workers=3"))
    assert main(["release", str(plan)]) == 2
    assert "server.workers is shared by all people of one world" in capsys.readouterr().err
    assert main(["release", str(plan), str(plan)]) == 2
    assert "two plans are called 'steps'" in capsys.readouterr().err
