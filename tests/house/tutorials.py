"""Runs the tutorials of docs/tutorials/ as a reader would: every block of commands and of Python, from top to bottom.

    python tests/house/tutorials.py                    # writes outputs that have changed into the pages
    python tests/house/tutorials.py own-log            # of this page only

A block of text after it is its output; `...` in it stands for what differs from run to run, such as times.
"""

import doctest
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
MATCH = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Ran(NamedTuple):
    """A block of a page, what the page says that it prints (None: nothing is shown), and what it printed."""

    block: re.Match[str]
    expected: str | None
    printed: str

    def as_said(self) -> bool:
        return self.expected is None or doctest.OutputChecker().check_output(self.expected, self.printed, MATCH)


def run(page: Path, folder: Path) -> list[Ran]:
    """Every block of a page, run in this folder. Raises AssertionError where one fails."""
    return [Ran(block, block[3], _output(block[1], block[2], folder)) for block in BLOCK.finditer(page.read_text())]


def _output(language: str, code: str, folder: Path) -> str:
    """What a block prints to standard output; Python is a script of its own, as on the page."""
    if language == "python":
        (folder / "block.py").write_text(code, encoding="utf-8")
        code = "python block.py"
    places = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=os.environ | places, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{code}\nexit code {done.returncode}\n{done.stderr}"
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def write(page: Path) -> None:
    """Put what blocks print now in the place of outputs that differ."""
    words = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for ran in reversed(run(page, Path(folder))):
            if not ran.as_said():
                words = words[: ran.block.start(3)] + ran.printed + words[ran.block.end(3) :]
    page.write_text(words, encoding="utf-8")


if __name__ == "__main__":
    for each in sorted(PAGES.glob("*.md")):
        if not sys.argv[1:] or each.stem in sys.argv[1:]:
            write(each)
