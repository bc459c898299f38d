"""The documentation site, built as `make docs` does and looked at: no warning, no dead link, nothing from the network.

Run in .venv-docs by `make test-long`.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("object", "data")}


class Page(HTMLParser):
    """Anchors of a page, and what its elements refer to: (element, attribute, address)."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.refers: list[tuple[str, str, str]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("src", "href", "data") and value:
                self.refers.append((tag, name, value))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "-b", "html", "docs", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return {file: Page(file) for file in out.rglob("*.html")}


def test_nothing_is_loaded_from_the_network(site: dict[Path, Page]) -> None:
    """Neither by elements of pages nor by style sheets; scripts name no address that they could fetch."""
    far = [
        (file.name, address)
        for file, page in site.items()
        for tag, name, address in page.refers
        if (tag, name) in LOADED and re.match(r"(?:https?:)?//", address)
    ]
    assert not far
    root = next(file.parent for file in site if file.name == "index.html" and file.parent.name != "evidence")
    assert list(root.rglob("*.css"))
    for sheet in root.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet
    for script in root.rglob("*.js"):
        assert not re.search(r"(?:fetch|import)\(\s*[\"']https?:", script.read_text(encoding="utf-8")), script


def test_every_internal_link_arrives(site: dict[Path, Page]) -> None:
    dead = []
    for file, page in site.items():
        for _, _, address in page.refers:
            link = urlsplit(address)
            if link.scheme or link.netloc:
                continue
            target = (file.parent / unquote(link.path)).resolve() if link.path else file
            known = site[target].anchors if target in site else set()
            if not target.exists() or (link.fragment and target in site and unquote(link.fragment) not in known):
                dead.append(f"{file.name}: {address}")
    assert not dead, "\n".join(dead)


def test_the_reference_is_made_from_the_code(site: dict[Path, Page]) -> None:
    words = {file.stem: file.read_text(encoding="utf-8") for file in site if file.parent.name == "reference"}
    assert {"python", "settings", "metrics", "policies", "commands"} <= set(words)
    for page, word in {"settings": "server.page_size", "metrics": "app_min", "policies": "tag_momentum",
                       "commands": "--max-replications", "python": "nextone.compare"}.items():  # fmt: skip
        assert word in words[page], page
