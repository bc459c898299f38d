"""The documentation as files: each page is in a table of contents, versions agree, notebooks show their outputs."""

import json
import re
from pathlib import Path

import jupytext
import pytest

from nextone.version import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix() for path in (*DOCS.rglob("*.md"), *NOTEBOOKS)}


def entries(page):
    """Pages that the tables of contents of a page name, from docs/."""
    words = (DOCS / page).read_text(encoding="utf-8")
    for body in re.findall(r"^```\{toctree\}\n(.*?)^```", words, re.M | re.S):
        for line in body.splitlines():
            if line and not line.startswith(":"):
                yield (Path(page).parent / line).as_posix().removesuffix(".ipynb")


def test_every_page_is_in_one_table_of_contents():
    """Apart from those that conf.py leaves out of the site by name."""
    left_out = re.search(r"exclude_patterns = \[(.*?)\]", (DOCS / "conf.py").read_text(), re.S)[1]
    pages = PAGES - {"index"} - {each.removesuffix(".md") for each in re.findall(r'"(.+?)"', left_out)}
    assert sorted([*entries("index.md"), *entries("evidence/index.md")]) == sorted(pages)


def test_one_version_everywhere():
    citation, changes = (ROOT / "CITATION.cff").read_text(), (ROOT / "CHANGELOG.md").read_text()
    version, date = (re.search(rf"^{name}: (.+)$", citation, re.M)[1] for name in ("version", "date-released"))
    assert version == __version__
    newest = re.search(r"^## (\S+) \((\S+), semantics", changes, re.M)
    assert newest.groups() == (__version__, date)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_shown_as_they_ran(path):
    """Cells are those of notebooks/NAME.py (else: `make notebooks NAMES=NAME`); all ran in order, without error."""
    shown = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = jupytext.read(ROOT / "notebooks" / f"{path.stem}.py").cells
    assert [("".join(c["source"]), c["cell_type"]) for c in shown] == [(c.source, c.cell_type) for c in source]
    code = [cell for cell in shown if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [output["output_type"] for cell in code for output in cell["outputs"]]
    assert kinds and "error" not in kinds
    assert path.stat().st_size < 600_000
