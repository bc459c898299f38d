"""What the dashboard shows, as plain data: which runs there are and how far, tables, maps, cuts, what is damaged."""

import csv
import io
import sys
from contextlib import closing

import pytest
from made_up import BASE, TWO, made_up, saved, saved_ab, saved_ab_tests, saved_comparison, saved_training

from nextone.cli import main as cli
from nextone.experiments.output.dashboard import ab_tests, comparisons, figures, sweeps
from nextone.experiments.output.dashboard.entries import UNREADABLE, Entry, Pace, find, folder_to_look_at, progress_line
from nextone.experiments.output.dashboard.lives import Asked, live
from nextone.experiments.output.dashboard.shelf import Shelf, first_sentence
from nextone.experiments.output.dashboard.tables import Cell, Row, Table
from nextone.experiments.output.dashboard.trainings import looks_of, read_training
from nextone.experiments.runs.metrics import METRICS, PRIMARY, metric_named
from nextone.experiments.sweeps.ledger import Standing, begin
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.experiments.sweeps.sweep import made_of
from nextone.sim.scenario import SettingError
from nextone.version import __version__

PLAN = plan_of(TWO, BASE)
LIST = Question(cells=("server.page_size=2 client.ttl_s=30", "server.page_size=9 client.ttl_s=77",
                       "server.page_size=13 client.ttl_s=500"), minutes=10)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    saved(folder / "pages", TWO)
    saved(folder / "list", LIST)
    saved_comparison(folder / "a ü/<i>x</i>")
    saved_training(folder / "rl")
    saved_ab(folder / "ab")
    saved_ab_tests(folder / "shares")
    return folder


def test_a_sweep_is_running_then_interrupted_then_finished(tmp_path):
    """By the lock that a living sweep holds; time left is that of the pace since the first look."""
    results = made_up(PLAN, fresh=False)
    with closing(begin(tmp_path, PLAN, made_of(PLAN), list(results))) as ledger:
        ledger.promise([], 200)
        pace = Pace()
        (entry,) = find(tmp_path).entries
        assert (entry.kind, entry.state, entry.key) == ("sweep", "running", ".")
        assert pace.left_s(entry, 10.0) is None
        assert progress_line(entry.standing) == "0 of about 200 runs done"
        for key in list(results)[:50]:
            ledger.done(key, results[key])
        ledger.failed(list(results)[50], "it broke")
        (entry,) = find(tmp_path).entries
        assert entry.standing == Standing(True, 51, 1, len(results), 200, __version__)
        left = pace.left_s(entry, 10.0 + 51)  # a run a second
        assert left == pytest.approx(149)
        told = progress_line(entry.standing, left)
        assert told == "51 of about 200 runs done, 1 of them failed, about 2 minutes left"
    (entry,) = find(tmp_path).entries
    assert entry.state == "interrupted" and f"nextone sweep --resume {tmp_path}" in entry.told
    assert sweeps.sweep_view(tmp_path, "").verdict[0].startswith("Ahead in app_min")  # one cell has enough
    saved(tmp_path / "x", TWO)
    (tmp_path / "x" / "results.parquet").rename(tmp_path / "results.parquet")
    assert next(e for e in find(tmp_path).entries if e.key == ".").state == "interrupted"  # some are planned still


def test_everything_is_listed_with_its_answer(root):
    shelf = Shelf(root)
    said = shelf.first_sentences()
    assert {entry.name: (entry.kind, entry.state) for entry in shelf.listing().entries} == {
        "pages": ("sweep", "finished"), "list": ("sweep", "finished"), "rl": ("training", "finished"),
        "a ü/<i>x</i>": ("comparison", "finished"), "ab": ("A/B test", "finished"),
        "shares": ("A/B test", "finished"),
    }  # fmt: skip
    assert all(said.values())
    for entry in shelf.listing().entries:
        assert shelf.entry(f"?run={entry.key}") == entry
    assert shelf.entry("?run=../../etc") is None and shelf.entry("") is None
    with pytest.raises(SettingError, match="not there any more"):
        shelf.named("?run=gone")
    assert "random is better than cloud_only" in said["a%20%C3%BC/%3Ci%3Ex%3C/i%3E"]


@pytest.mark.parametrize(
    "name", ["comparison.parquet", "results.parquet", "ledger.sqlite", "timeline.json", "ab.json", "release.json"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"PAR1" * 50, b"SQLite format 3\0" + b"x" * 5000, b"[" * 100_000])
def test_what_is_damaged_costs_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (entry,) = find(tmp_path).entries
    told = entry.told if entry.state == "damaged" else first_sentence(entry)
    assert told and "\n" not in told and len(told) <= 400


def test_a_checkpoint_and_a_ledger_that_were_cut(tmp_path, root):
    (tmp_path / "it" / "step-000000000100").mkdir(parents=True)
    (tmp_path / "it" / "step-000000000100" / "checkpoint.json").write_text('{"format": 1}')
    begin(tmp_path, PLAN, made_of(PLAN), []).close()
    whole = (tmp_path / "ledger.sqlite").read_bytes()
    for size in (1, 100, 4096, len(whole) // 2):
        (tmp_path / "ledger.sqlite").write_bytes(whole[:size])
        found = {entry.key: entry for entry in find(tmp_path).entries}
        assert found["it"].state == "damaged" and "does not match" in found["it"].told
        assert found["."].state == "damaged" and found["."].told


def test_links_in_a_circle_and_deep_folders_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "x").joinpath(*"bcdefghijkl").mkdir(parents=True)
    assert find(tmp_path).entries == ()
    for wrong in (tmp_path / "none", tmp_path / "a\0b", __file__):
        with pytest.raises(SettingError, match="give one under which"):
            folder_to_look_at(type(tmp_path)(wrong))


def test_arms_are_switched_on_and_off(root):
    entry = next(e for e in find(root).entries if e.kind == "comparison")
    view = comparisons.comparison_view(entry.folder, entry.stamp)
    every = comparisons.metrics_shown(view, comparisons.ALL, PRIMARY)
    assert len(every) == len(METRICS)
    assert comparisons.metrics_shown(view, comparisons.ONE, "like") == [[m.name for m in METRICS].index("like")]
    table = comparisons.comparison_table_of(view, every, ["cloud_only", "random"])
    assert len(table.rows) == 2 * len(METRICS) and "tag_momentum" not in table.html()
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    shown = [(arm, metric.name) for metric in METRICS for arm in ("cloud_only", "random")]
    assert [(row["policy"], row["metric"]) for row in rows] == shown
    d = view.result.differences[2][0]
    assert float(rows[1]["diff_pct"]) == d.diff_pct and float(rows[1]["diff_high"]) == d.diff_pct_high
    points, unit = comparisons.forest_points(view, METRICS[0].name, ["random"])
    assert unit == "%" and [p[1:4] for p in points] == [(d.diff_pct, d.diff_pct_low, d.diff_pct_high)]
    assert comparisons.forest_points(view, PRIMARY, [])[0] == []
    drawn = figures.forest(points, "x", "%")
    assert drawn["data"][0]["x"] == [d.diff_pct]


def test_a_test_beside_its_truth(root, tmp_path):
    test, view = saved_ab(tmp_path / "it"), ab_tests.ab_view(root / "ab", "")
    every = ab_tests.test_table(view, comparisons.ALL, PRIMARY, ["two"])
    assert len(every.rows) == len(test.metrics) and not ab_tests.test_table(view, comparisons.ALL, PRIMARY, []).rows
    usual = ab_tests.test_table(view, comparisons.USUAL, PRIMARY, ["two"])
    one = ab_tests.test_table(view, comparisons.ONE, "like", ["two"])
    assert len(one.rows) == 1 < len(usual.rows) < len(every.rows)
    (first, *_) = csv.DictReader(io.StringIO(every.csv()))
    found, truth, moved = test.row(1, PRIMARY)
    assert float(first["diff_pct"]) == found.fixed.diff_pct and float(first["truth_diff_pct"]) == truth.diff_pct
    assert float(first["sharing_bias"]) == moved.bias
    says, true = ab_tests.points_of(view, PRIMARY, ["two"])
    assert says[1:4] == (found.fixed.diff_pct, found.fixed.diff_pct_low, found.fixed.diff_pct_high) and says.filled
    assert true[1:4] == (truth.diff_pct, truth.diff_pct_low, truth.diff_pct_high) and not true.filled
    assert ab_tests.looks_of(view, ["two"]) == []  # one look, at the end


def test_several_tests_beside_the_truth(root):
    view = ab_tests.ab_view(root / "shares", "")
    says, true = ab_tests.compared_series(view)
    assert [p.middle for p in says.points] == pytest.approx([-1.8, -1.0]) and list(says.x) == ["10 %", "50 %"]
    assert [p.middle for p in true.points] == pytest.approx([-2.0, -2.0])
    rows = list(csv.DictReader(io.StringIO(ab_tests.compared_table(view).csv())))
    assert [row["test"] for row in rows] == ["10 %", "50 %"] and float(rows[0]["bias"]) == pytest.approx(0.2)


def test_a_cell_of_the_sliders_and_the_map(root):
    view = sweeps.sweep_view(root / "pages", "")
    assert [axis.values for axis in view.axes] == [("2", "6", "12"), ("30", "600", "∞")]  # 600: the default's
    cell, exactly = view.nearest((0, 2))
    assert exactly and dict(cell.values) == {"server.page_size": 2, "client.ttl_s": float("inf")}
    cell, exactly = view.nearest((0, 1))
    assert not exactly and cell.values["server.page_size"] in (2, 6)
    metric = metric_named(PRIMARY)
    grid = sweeps.squares(view, "tag_momentum", metric, sweeps.LEVEL, 0, 1, (0, 0))
    front = {(arm.cell.number, arm.policy) for arm in view.result.pareto}
    for place, there in view.places.items():
        square = grid[place[0]][place[1]]
        own = view.result.interval(sweeps.SweepArm(there, "tag_momentum"), PRIMARY)
        assert square.number == there.number and square.value == own.mean
        assert f"{own.low:.5g}" in square.told and "requests" in square.told
        assert square.dim is ((there.number, "tag_momentum") not in front)
    assert grid[0][1].told == "not swept"
    drawn = figures.map_of(grid, *(axis.values for axis in view.axes), ("a", "b"), title="", unit="", diverging=True,
                           better_is_more=True, grey_dominated=True, here=(0, 0))  # fmt: skip
    assert drawn["data"][0]["z"][0][1] is None and drawn["layout"]["xaxis"]["type"] == "category"
    series, is_cut = sweeps.cut(view, ["cloud_only"], metric, sweeps.DEFAULT, 0, (0, 0))
    assert is_cut and [list(each.x) for each in series] == [["2", "6", "12"]]
    table = sweeps.cells_table(view, metric, ["cloud_only"])
    dominated = [(cell.number, "cloud_only") not in front for cell in view.result.cells]
    assert [row.mark == "dim" for row in table.rows] == dominated and len(dominated) == 7
    beside = sweeps.beside_the_best(view, view.nearest(view.start())[0], view.result.best.arm.policy, metric)
    assert beside.rows[0].cells[-1].text == "same arm"


def test_cells_that_are_no_grid_are_points(root):
    view = sweeps.sweep_view(root / "list", "")
    assert sweeps.squares(view, "cloud_only", metric_named(PRIMARY), sweeps.LEVEL, 0, 1, view.start()) is None
    points = sweeps.cloud(view, "cloud_only", metric_named(PRIMARY), sweeps.LEVEL, 0, 1)
    assert [(x, y) for x, y, _ in points] == [(30.0, 2.0), (600.0, 6.0), (77.0, 9.0), (500.0, 13.0)]
    assert sweeps.cut(view, ["cloud_only"], metric_named(PRIMARY), sweeps.LEVEL, 0, view.start())[1] is False


def test_a_training_says_its_start_beside_its_end(root, tmp_path):
    found = read_training(root / "rl")
    assert found.over and found.sentences == (
        "reward an episode: 50 at the first look, 54 at the last.",
        "over cloud_only: 0 [-0.5, 0.5] at the first look, 4 [3.5, 4.5] at the last.",
    )
    assert looks_of(found)[2] == {"decisions learned from": 200, "reward an episode": 52, "over cloud_only": 2,
                                  "over cloud_only, from": 1.5, "over cloud_only, to": 2.5}  # fmt: skip
    assert [len(drawn["data"]) for drawn in figures.learning(found)] == [1, 1]
    saved_training(tmp_path / "half", looks=3)
    (entry,) = find(tmp_path).entries
    assert entry.state == "running"
    assert entry.told.startswith("200 of 400 decisions; last checkpoint less than a minute ago")


def test_text_of_files_is_no_html():
    table = Table(("<b>",), (Row((Cell("<script>alert(1)</script>"),), {"a": 1}),))
    assert "<script" not in table.html() and "&lt;b&gt;" in table.html()


def test_no_file_of_a_result_runs_code(tmp_path):
    """A policy of a file is for who types its name; one that a result names is refused."""
    mine = tmp_path / "mine.py"
    mine.write_text("raise SystemExit('it ran')\ndef policy(observation): ...\n")
    with pytest.raises(UNREADABLE):
        live(Asked(f"{mine}:policy", BASE, 0, 1, None), 0)


@pytest.mark.parametrize(("arguments", "words"), [((), "results"), (("--port", "70000"), "--port")])
def test_the_command_refuses_in_one_line(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "dash", type(sys)("dash"))
    assert cli.main(["dashboard", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_without_dash_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dash", None)
    assert cli.main(["dashboard"]) == 2
    assert capsys.readouterr().err == "nextone: Dash is not installed; pip install 'nextone[dashboard]'\n"


def test_time_left_is_not_known_of_what_is_not_at_work():
    done = Entry("x", BASE, "sweep", "finished", "", "", Standing(False, 3, 0, 3, 3, __version__))
    assert Pace().left_s(done, 1.0) is None
