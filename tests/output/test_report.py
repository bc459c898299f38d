"""Reports: whatever a folder holds becomes one valid page that loads nothing, and whose numbers are the files' own.

The sweeps are made up (keyed normal numbers, no simulation), so that every shape of a sweep costs milliseconds."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest
from made_up import BASE, TWO, made_up, saved, saved_ab, saved_ab_tests

from nextone.cli import main as cli
from nextone.experiments.output.report import landscape as report_landscape
from nextone.experiments.output.report.page import SCRIPT
from nextone.experiments.output.report.report import reproduce, write_report
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison_files import save_tables
from nextone.experiments.runs.statistics import mean_interval, paired
from nextone.experiments.sweeps.ledger import begin
from nextone.experiments.sweeps.plan import Question, plan_of
from nextone.experiments.sweeps.result import read_sweep
from nextone.experiments.sweeps.sweep import made_of
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, with_settings

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would see: every element closed in order, every address, every table."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tables, self.titles, self.ids = [], [], [], [], []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data", "action", "srcset")]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag in ("h1", "h2", "summary"):
            self.titles.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "summary"):
            self.titles[-1] += data


def page_of(folder):
    path, numbers = write_report(folder)
    assert numbers == folder / "report.csv"
    first = numbers.read_text().partition(",")[0]
    assert first in ('"policy"', '"cell"', '"arm"', '"label"', "")  # nothing where nothing is known
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and len(page.ids) == len(set(page.ids))
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not re.search(r"<(iframe|object|embed|link|base)\b|@import|url\(", text, re.I)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S | re.I)  # ours and no other, which the digest holds to
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert script == SCRIPT.read_text() and text.lower().count("<script") == 1
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert "nan" not in re.findall(r"[a-z]+", page.text.lower())
    return page


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "two"
    plan = saved(folder, TWO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_landscape, "SHOWN", ("app_min", "requests"))
        return folder, plan, page_of(folder)


def test_numbers_are_those_of_the_results_file(two):
    """Every row of the table of all cells, computed anew from the Parquet file."""
    folder, plan, page = two
    rows = pq.read_table(folder / "results.parquet").to_pandas()
    rows = rows[~rows["fresh"]]
    table = next(t for t in page.tables if t[0][:3] == ["cell", "policy", "n"])
    assert len(table) == 1 + len(plan.cells) * len(plan.policies)
    default = rows[rows["default"]]
    for row, cell in zip(table[1:], [c for c in plan.cells for _ in plan.policies], strict=True):
        policy = row[1].removesuffix(" ‡")
        of = rows[(rows["cell"] == cell.number) & (rows["policy"] == policy)]["app_min"].to_numpy()
        interval = mean_interval(of)
        assert row[2] == "10"
        assert shown(row[3]) == pytest.approx((interval.mean, interval.high - interval.mean), abs=0.051)
        if cell.default:
            assert row[4] == "default"
        else:
            same(row[4], paired(default[default["policy"] == policy]["app_min"], of))
        if policy == "cloud_only":
            assert row[5] == "baseline"
        else:
            base = rows[(rows["cell"] == cell.number) & (rows["policy"] == "cloud_only")]["app_min"]
            same(row[5], paired(base, of))


def shown(text):
    """(mean, half-width) of `1,234 ±5.6*`."""
    return tuple(float(part.replace(",", "").replace("−", "-").strip("* ")) for part in text.split("±"))


def rounding(x):
    """Half of the last decimal shown: two below 10, one below 100."""
    return 0.0051 if abs(x) < 10 else 0.051 if abs(x) < 100 else 0.51


def same(text, difference):
    mean, half = shown(text)
    assert mean == pytest.approx(difference.diff_pct, abs=rounding(mean))
    assert half == pytest.approx(difference.diff_pct_high - difference.diff_pct, abs=rounding(half))
    assert text.endswith("*") is difference.sure


def test_what_is_on_it(two):
    folder, _, page = two
    best = read_sweep(folder).best
    assert page.titles[0] == "Which <b>page</b> & TTL?"  # escaped: it is text
    for title in ("The answer", "page_size × ttl_s", "What is traded for what: the Pareto front", "How to reproduce it",
                  "Valid play by position in the page", "Server load against page size", "The scenario"):  # fmt: skip
        assert title in page.titles
    assert f"{best.arm.policy} at page_size {best.arm.cell.scenario.server.page_size}" in page.text
    assert f"{best.fresh.mean:.1f}" in page.text and "fresh replications" in page.text
    assert "population.users=30" in page.text and "ttl_s ∞" in page.text
    figures = [base64.b64decode(address.partition(",")[2]).decode() for address in page.addresses]
    assert len(figures) == 2 + 3 and all(svg.startswith("<svg") and "NaN" not in svg for svg in figures)


def test_the_command_asks_the_same_again(two, tmp_path):
    """Read back by the command line's own parser, it makes the same plan."""
    _, plan, _ = two
    words = shlex.split(reproduce(plan, "again"))
    options = list(zip(words[2::2], words[3::2], strict=True))
    many = {name: tuple(v for n, v in options if n == name) for name in ("--grid", "--cell", "--set")}
    one = dict(options)
    again = plan_of(
        Question(
            grid=many["--grid"], cells=many["--cell"], policies=tuple(one["--policies"].split(",")),
            metric=one["--metric"], half_width=one["--half-width"], max_replications=int(one["--max-replications"]),
            minutes=float(one["--minutes"]), seed=int(one["--seed"]), engine=one["--engine"], servers=one["--servers"],
            question=plan.question,
        ),
        with_settings(Scenario(), many["--set"]),
    )  # fmt: skip
    assert again == plan


SHAPES = {
    "one axis": Question(grid=("server.page_size=2,6,12",), policies=("cloud_only", "random"), minutes=10),
    "words": Question(grid=("client.on_refill=replace,merge",), policies=("tag_momentum",), days=1),
    "three axes": Question(
        grid=("server.page_size=2,6", "client.ttl_s=30,60", "client.refill_at=0,1"), policies=("cloud_only",)
    ),
    "list": Question(cells=("server.page_size=2 client.ttl_s=30", "server.page_size=4"), policies=("cloud_only",)),
    "sobol": Question(sobol=("server.page_size=2..12", "client.ttl_s=10..600"), samples=8, policies=("cloud_only",)),
    "one cell": Question(cells=("server.page_size=6",), policies=("cloud_only",)),
    "neither better": Question(grid=("server.page_size=2,6",), policies=("cloud_only",), metric="delivered_mb"),
    "four policies": Question(
        grid=("server.page_size=2,6", "client.ttl_s=30,60"),
        policies=("tag_momentum", "cloud_only", "random", "server_score"),
    ),
    "undefined": Question(grid=("server.page_size=2,6",), policies=("cloud_only",), metric="stale_picks"),
}


LONG = [pytest.mark.long]
QUICK = {"one axis", "words", "sobol", "undefined"}  # a report's figures take seconds


@pytest.fixture
def one_metric(monkeypatch):
    """Draw the landscape of the sweep's own metric only."""
    monkeypatch.setattr(report_landscape, "SHOWN", ())


@pytest.mark.parametrize("shape", [pytest.param(s, marks=[] if s in QUICK else LONG) for s in SHAPES])
def test_every_shape_of_a_sweep(shape, tmp_path, one_metric):
    plan = saved(tmp_path / "it", SHAPES[shape])
    page = page_of(tmp_path / "it")
    assert "How to reproduce it" in page.titles and page.addresses
    assert len([row for table in page.tables if table[0][:3] == ["cell", "policy", "n"] for row in table[1:]]) == len(
        plan.cells
    ) * len(plan.policies)


def test_failed_cells_are_named_and_left_out(tmp_path, one_metric):
    plan = plan_of(TWO, BASE)
    saved(tmp_path / "it", TWO, {plan.default.number: 'MemoryError: <img src="http://x"> & more', 2: "killed"})
    page = page_of(tmp_path / "it")
    assert "2 of 7 cells failed" in page.text
    table = page.tables[-2]
    assert [row[1] for row in table[1:]] == ['MemoryError: <img src="http://x"> & more', "killed"]


def test_nothing_but_failures(tmp_path):
    plan = plan_of(SHAPES["one axis"], BASE)
    saved(tmp_path / "it", SHAPES["one axis"], {cell.number: "no luck" for cell in plan.cells})
    assert "Nothing can be said yet" in page_of(tmp_path / "it").text


@pytest.mark.parametrize(("until", "cells"), [(0, 0), (2, 2), pytest.param(7, 7, marks=LONG)])
def test_an_unfinished_sweep_says_so(tmp_path, one_metric, until, cells):
    """Results of the first cells only; the ledger stays as it is, byte by byte."""
    plan = plan_of(TWO, BASE)
    folder = tmp_path / "it"
    folder.mkdir()
    results = made_up(plan, fresh=False)
    ledger = begin(folder, plan, made_of(plan), list(results))
    for key, result in results.items():
        if key.cell < until:
            ledger.done(key, result)
    ledger.close()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    page = page_of(folder)
    assert "This sweep is not finished" in page.text and "nextone sweep --resume it" in page.text
    rows = [row for table in page.tables if table[0][:3] == ["cell", "policy", "n"] for row in table[1:]]
    assert len(rows) == cells * len(plan.policies)
    assert ("not finished: 0 of 10 replications" in page.text) is (until < len(plan.cells))
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_comparison(tmp_path):
    small = ["catalogue.kind=synthetic", "catalogue.videos=300", "server.workers=3", "population.users=8"]
    base = with_settings(Scenario(), small)
    other = with_settings(base, ["server.page_size=2"])
    arms = [Arm("cloud_only", "cloud_only", base), Arm("small<i>", "random", other)]
    result = compare(arms, minutes=4)
    save_tables(result, tmp_path)
    page = page_of(tmp_path)
    assert page.titles[0] == "cloud_only against small<i>"
    table = page.tables[0]
    for row, metric, own, d in zip(table[1:], result.metrics, result.intervals[0], result.differences[1], strict=True):
        assert row[0].startswith(metric.name)
        if own is not None:
            assert shown(row[2])[0] == pytest.approx(own.mean, rel=0.02, abs=0.01 + 0.05 * (own.high - own.low))
        if d is not None and d.diff_pct is not None and d.diff:
            same(row[3], d)
    assert "--arm 'small<i>=random server.page_size=2'" in page.text


@pytest.mark.parametrize("content", [None, b"", b"PAR1" * 50])
def test_folders_that_hold_nothing_to_report(tmp_path, content, capsys):
    if content is not None:
        (tmp_path / "replications.parquet").write_bytes(content)
        (tmp_path / "comparison.parquet").write_bytes(content)
    assert cli.main(["report", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and ("holds no sweep, comparison or A/B test" in told or "cannot be read" in told)
    assert not (tmp_path / "report.html").exists()


def test_no_folder(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_damaged_sweep_is_refused(two, tmp_path, capsys):
    folder, _, _ = two
    data = bytearray((folder / "results.parquet").read_bytes())
    data[len(data) // 2] ^= 4
    for file in folder.glob("*.parquet"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "results.parquet").write_bytes(data)
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_an_ab_test_and_its_truth(tmp_path):
    test = saved_ab(tmp_path / "it", days=0.1)
    page = page_of(tmp_path / "it")
    assert page.titles[0] == "two against six: an A/B test" and "The A/B test says: two is" in page.text
    table = next(t for t in page.tables if t[0][:3] == ["metric", "meaning", "arm"])
    for row, metric in zip(table[1:], test.metrics, strict=True):
        found, truth, _ = test.row(1, metric.name)
        assert row[0].startswith(metric.name) and row[2] == "two"
        for text, d in ((row[4], found and found.fixed), (row[5], truth)):
            if d is not None and d.diff_pct is not None and d.diff:
                same(text, d)
    assert "While it ran" in page.titles and len(page.addresses) == 2  # three looks in a tenth of a day
    again = page.text[page.text.index("nextone ab ") :].partition("\n")[0]
    cli.main(shlex.split(again)[1:] + ["--out", str(tmp_path / "again"), "-q"])
    first, second = (json.loads((tmp_path / name / "ab.json").read_text()) for name in ("it", "again"))
    assert first["rows"] == second["rows"]


def test_ab_tests_compared(tmp_path):
    rows = saved_ab_tests(tmp_path / "it")
    page = page_of(tmp_path / "it")
    assert page.titles[0] == "two against six: A/B tests by how many are treated"
    (table,) = (t for t in page.tables if t[0][:2] == ["test", "bias, points"])
    assert [row[0] for row in table[1:]] == [each.label.replace(" ", "\N{NO-BREAK SPACE}") for each in rows]
    assert "--share 0.1,0.5" in page.text and len(page.addresses) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"provenance": {}}', "[" * 100_000, '{"provenance": {"semantics": 1}}'])
def test_a_damaged_ab_test_is_one_line(tmp_path, content):
    (tmp_path / "ab.json").write_text(content)
    with pytest.raises(SettingError, match=r"write it again|made by") as refused:
        write_report(tmp_path)
    assert "\n" not in str(refused.value)
