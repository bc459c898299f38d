"""What was found is on the screen, whatever becomes of the files; and any screen can show it."""

import errno
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from nextone.cli import common
from nextone.cli import main as cli
from nextone.cli.narrow import fitted
from nextone.experiments.output.drawing import drawn, save_figure, svg_text
from nextone.experiments.runs.files import write_text, write_whole
from nextone.policies.checkpoint import save_checkpoint
from nextone.sim.inputs.errors import UserError

SMALL = ["--users", "8", "--minutes", "3", "--policies", "cloud_only,random", "--workers", "1"]


@pytest.fixture
def full(monkeypatch):
    """No file can be made on this disk."""

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_disk_takes_no_answer_away(options, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(common, "prepare_folder", lambda path: None)
    assert cli.main(["compare", *SMALL, "--out", str(tmp_path), *options]) == 2
    out, err = capsys.readouterr()
    assert "app_min" in out
    assert err.count("\n") == 1
    assert all(words in err for words in ("comparison.parquet", "No space left on device", "make room"))
    assert "Saved" not in out


@pytest.mark.usefixtures("full")
def test_whatever_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.txt' could not be saved: No space"):
        write_text(tmp_path / "a.txt", "text")
    with pytest.raises(UserError, match="step-000000000007' could not be saved: No space"):
        save_checkpoint(tmp_path, 7, {}, {})


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def write(path):
        path.write_text("half")
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(UserError, match="quota"):
        write_whole(tmp_path / "x.txt", write)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x.txt", "old")]


def test_a_share_that_refuses_permissions_and_a_long_name(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    path = tmp_path / ("x" * 250 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"
    assert save_checkpoint(tmp_path, 7, {}, {}).is_dir()


def test_files_are_flushed_as_windows_wants_it(tmp_path, monkeypatch):
    """Windows flushes only a file that is open for writing; here any system is asked to be so strict."""
    import fcntl

    flushed = []

    def fsync(descriptor):
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        flushed.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "x.txt", "text")
    assert flushed


def test_saving_goes_on_when_nobody_reads():
    """`nextone ... | head`: the reader is gone, the files are wanted all the same."""
    saved = []

    def shown():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        common.deliver(shown, save=lambda: saved.append("x") or [])
    assert saved == ["x"]


@pytest.mark.parametrize("name", ["[x]", "[bold] $a$", ":smile:", "ü ∆"])
def test_paths_are_used_and_printed_as_they_are(name, tmp_path, capsys):
    def save():
        write_text(tmp_path / name, "text")
        return [tmp_path / name]

    common.deliver(lambda: ["done " + name], save=save)
    assert capsys.readouterr().out.splitlines() == [f"done {name}", f"Saved {tmp_path / name}"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("option", ["compare", "timeline"])
def test_a_name_that_is_not_utf8_is_refused_before_the_run(option, tmp_path, capsys):
    assert cli.main([option, "--out", f"{tmp_path}/\udcff"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is not UTF-8" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "koi8-r"])
def test_an_encoding_without_arrows(encoding):
    code = """
from nextone.cli import common, encodings
import sys
from rich.table import Table
encodings.write_anywhere(sys.stdout)
table = Table("app_min ↑", "−1.86 ±0.9 ×7 中")
table.add_row("a", "b")
common.deliver(lambda: [table])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": encoding}
    )
    text = done.stdout.decode(encoding)
    assert "app_min ^" in text and "-1.86" in text and "?" in text and not done.stderr


def test_a_full_standard_output_is_one_line():
    if not Path("/dev/full").exists():
        pytest.fail("this test needs /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nextone.cli", "scenario", "--show"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No space left on device" in done.stderr


# -- narrow screens ----------------------------------------------------------------------------------------------------


def arms_table():
    table = Table(title=Text("a against b"), caption=Text("Seed 0."))
    table.add_column("metric", no_wrap=True)
    for head in ("cloud_only", "tag_momentum %", "random %"):
        table.add_column(Text(head), justify="right")
    table.add_row(Text("watching", style="bold"))
    table.add_row("  app_min [min/person] ↑", "35.3 ±7.4", Text("+0.92 ±0.82* ×1659"), "0")
    return table


@pytest.mark.parametrize("width", [30, 50, 80, 100, 160])
def test_no_line_is_wider_than_the_screen_and_no_number_is_broken(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    common.print_all([arms_table()])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    for words in ("tag_momentum %", "35.3 ±7.4", "+0.92 ±0.82*", "×1659", "Seed 0."):
        assert words in text
    assert ("┃" in text) == (width >= 80)


def test_a_block_for_each_arm(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "42")
    common.print_all([arms_table()])
    block = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert [line.split() for line in block] == [
        ["tag_momentum", "%"], ["watching"],
        ["app_min", "[min/person]", "↑"], ["+0.92", "±0.82*", "×1659"],
    ]  # fmt: skip


def test_a_block_for_each_row_where_rows_have_no_names():
    table = Table()
    for head in ("page_size", "cloud_only app_min"):
        table.add_column(head, justify="right")
    table.add_row("6", "35.3 ±7.4")
    lines = [str(part).split() for part in fitted(table, 20)]
    assert lines == [[], ["page_size", "6"], ["cloud_only", "app_min"], ["35.3", "±7.4"]]


def test_names_that_stand_for_several_rows_are_repeated():
    table = Table()
    table.add_column("lag"), table.add_column(""), table.add_column("app_min of this", justify="right")
    table.add_row("10 s", "a", "1")
    table.add_row("", "b", "2")
    assert [str(part).split() for part in fitted(table, 20)][-2:] == [["10", "s", "a", "1"], ["10", "s", "b", "2"]]


# -- figures -----------------------------------------------------------------------------------------------------------


def test_figures_show_any_name_without_a_warning(tmp_path):
    """A character that the font lacks, and dollars that would be a broken formula."""
    with drawn(3, 2) as figure, warnings.catch_warnings():
        warnings.simplefilter("error")
        axis = figure.subplots()
        axis.plot([1, 10, 100], [1, 2, 3], label=r"中文 $\frac$ 🎈")
        axis.set_xscale("log")
        axis.legend()
        axis.set_yticks([1, 2, 3], ["$a", "$b$", "中"])
        save_figure(figure, tmp_path / "x.png")
        assert "10" in svg_text(figure)
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("given", "file"), [("a", "a.png"), ("v1.2", "v1.2.png"), ("a.png", "a.png"), ("a.SVG", "a.SVG"), ("a.", "a..png")]
)
def test_figures_get_an_ending_that_says_what_they_are(given, file, tmp_path):
    assert common.prepare_figure(tmp_path / given) == tmp_path / file
