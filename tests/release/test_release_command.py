"""`nextone release`: verdict, tables, JSON and files of small releases, and a small twin of what many of them show."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from nextone.cli.main import main
from nextone.experiments.output.dashboard.entries import find
from nextone.experiments.output.dashboard.releases import (
    events,
    gate_lines,
    gate_names,
    lines_of,
    monitor_table,
    release_view,
)
from nextone.experiments.output.dashboard.shelf import first_sentence
from nextone.experiments.release import shown, summary
from nextone.experiments.release.checks import page
from nextone.experiments.release.faults import fault_named
from nextone.experiments.release.figure import plans_figure
from nextone.experiments.release.plan import Wave, read_plan
from nextone.experiments.release.rollout import Event
from nextone.experiments.release.run import Released
from nextone.experiments.release.summary import Releases
from nextone.experiments.runs.parquet import read_record

PLAN = """
version1 = "old=server_score"
version2 = "new=server_score"
users = 70
start_min = 35
hours = 0.85
set = { "phone.inference_ms" = 60, "catalogue.kind" = "synthetic", "catalogue.videos" = 400, "server.workers" = 100 }
wave = [{ share = 0.3, minutes = 6 }, { share = 0.9, minutes = 8 }]

[[gate]]
metric = "failures"
limit = 0.01
least = 6

[[gate]]
metric = "latency_p95_ms"
worse_pct = 50
least = 6
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
    assert out.startswith("new, slow, was rolled back ") and "latency_p95_ms" in out and "wave 1: 30 %" in out
    table, record = read_record(tmp_path / "out" / "monitor.parquet")
    assert record["plan"]["fault"] == "slow" and table.num_rows == 2 * 51 and sum(table["decisions"].to_pylist()) > 300
    assert {"phones", "decisions", "latency_p50_ms", "latency_p95_ms", "app_min", "score"} <= set(table.column_names)
    gates = pq.read_table(tmp_path / "out" / "gates.parquet")
    assert set(gates["state"].to_pylist()) == {"bad", "unclear"} or "fine" in gates["state"].to_pylist()
    view, told = release_view(tmp_path / "out", ""), table.to_pydict()
    assert view.verdict[0].startswith("new, slow, was rolled back ") and view.versions == ("old", "new")
    assert [what for _, what, _ in events(view)] == ["30 %", "rolled back"] and "latency" in events(view)[1][2]
    old, new = lines_of(view, "valid_play")
    busy = max(range(table.num_rows // 2), key=lambda k: told["impressions"][2 * k + 1])
    assert new[2][busy] == told["valid_plays"][2 * busy + 1] / told["impressions"][2 * busy + 1] and len(old[1]) == 51
    assert gate_names(view) == [(1, "failures"), (2, "latency_p95_ms")]
    harm, _, limit = gate_lines(view, 2)
    assert max(x for x in harm[2] if x is not None) > max(x for x in limit[2] if x is not None)
    assert len(monitor_table(view).rows) == 102
    (entry,) = find(tmp_path / "out").entries
    assert entry.kind == "release" and first_sentence(entry) == view.verdict[0]
    saved = json.loads((tmp_path / "out" / "release.json").read_text())
    assert saved["releases"][0]["end"] == "rolled back" and (tmp_path / "out" / "release.png").stat().st_size > 10_000


def test_many_releases_stop_what_is_planted_and_nothing_harmless(plan, capsys):
    """In this small world: 10 of 10 versions that crash, and at most 1 of 10 harmless ones."""
    out = answered(capsys, "release", plan, "--runs", 10, "--fault", "crash=0.3", "--workers", 1, "--json")
    found = json.loads(out)
    crash, harmless = found["rows"]
    assert (crash["fault"], harmless["fault"], len(found["releases"])) == ("crash", "harmless", 20)
    assert crash["stopped"]["share"] == 1 and 2 < crash["stop_min_median"] <= crash["stop_min_p90"] < 14
    assert 0 < crash["hours"]["mean"] < harmless["hours"]["mean"]
    assert harmless["stopped"]["share"] <= 0.1 and harmless["release_min_median"] == 14
    assert found["verdict"][0].startswith("crash is stopped in 100 % [69, 100] of releases, ")
    assert found["verdict"][1].startswith("A harmless version is stopped in ")


def test_several_plans_are_shown_beside_each_other(plan, tmp_path):
    """From made-up releases: what each plan costs in delay, and what a fault reaches under it."""
    plans = [read_plan(plan), replace(read_plan(plan), name="at once", waves=(Wave(0.9, 12.0),))]
    crash, harmless = fault_named("crash"), fault_named("harmless")
    stopped = (Event(35.0, 1, "wave", ""), Event(41.0, 1, "rolled back", "failures beyond 0.01"))
    ended = (Event(35.0, 1, "wave", ""), Event(47.0, 1, "released", ""))
    found = {
        (k, fault): tuple(Released(end, events, 5 + k, 2.0 + k + r / 9, None, ()) for r in range(10))
        for k in (0, 1)
        for fault, end, events in ((crash, "rolled back", stopped), (harmless, "released", ended))
    }
    releases = Releases(tuple(plans), found, 0, 10, {})
    first, second = shown.verdict(releases)
    assert first == (
        "Hours in the app with version 2, mean: crash 2.50 ±0.24 under steps and 3.50 ±0.24 under at once."
    )
    assert second.startswith("A harmless version is stopped in 0 % [0, 31] under steps and 0 % [0, 31] under at once")
    table, *_ = shown.tables(releases)
    assert table.row_count == 4 and list(table.columns[0].cells) == ["steps"] * 2 + ["at once"] * 2
    plans_figure(releases, first, tmp_path / "plans.png")
    assert (tmp_path / "plans.png").stat().st_size > 10_000


def test_the_page_says_what_was_kept(plan):
    faults = [fault_named(kind) for kind in ("crash", "stale", "harmless")]
    stopped, ended = ((Event(0.0, 1, "wave", ""), Event(6.0, 1, what, "")) for what in ("rolled back", "released"))
    found = {
        (0, fault): tuple(Released("rolled back", events, 5, 2.0 + r, None, ()) for r in range(10))
        for fault, events in zip(faults, (stopped, ended, stopped), strict=True)
    }
    harm = {fault: [None, None] for fault in faults}
    words = page(Releases((read_plan(plan),), found, 0, 10, {}), harm, 12, "abc")
    assert "commit abc, version" in words
    assert "| crash | 100 [69, 100] | at least 95 | kept | 6, 6 | 5 | 6.5" in words
    assert "| stale | 0 [0, 31] |  |  | - |" in words and "| at most 5 | **not kept** |" in words
    assert words.count("an undefined difference") == 4


def test_the_record_names_what_every_plan_reads(plan, monkeypatch):
    monkeypatch.setattr(summary, "results", lambda *_: iter(()))
    text = plan.read_text()
    plan.write_text(text.replace("new=server_score", "new=kir"))
    other = plan.with_name("other.toml")
    other.write_text(text.replace("new=server_score", "new=edgerec"))
    found = summary.run_releases([read_plan(plan), read_plan(other)], [None])
    assert {"kir", "edgerec"} <= set(found.provenance["inputs"])


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
