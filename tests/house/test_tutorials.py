"""The commands of the tutorials run, and print what the pages say; and by hand: that a wrong output is noticed."""

from pathlib import Path

import pytest
import tutorials


@pytest.mark.long
@pytest.mark.parametrize("page", sorted(tutorials.PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    """Else `python tests/house/tutorials.py` writes what is printed now."""
    blocks = tutorials.run(page, tmp_path)
    assert len(blocks) >= 3
    for ran in blocks:
        assert ran.as_said(), f"{ran.block[2]}\nprints\n{ran.printed}"


def test_outputs_are_compared_and_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\necho one; echo took 3 s\n```\n\n```text\none\ntook ... s\n```\n\n"
        "```python\nprint(2)\n```\n\n```text\nthree\n```\n\n```bash\necho > file\n```\n"
    )
    first, second, third = tutorials.run(page, tmp_path)
    assert (first.as_said(), second.as_said(), third.as_said()) == (True, False, True)
    assert (second.printed, third.expected, (tmp_path / "file").exists()) == ("2\n", None, True)
    tutorials.write(page)
    assert "took ... s" in page.read_text() and "```text\n2\n```" in page.read_text()
    page.write_text("```bash\nfalse\n```\n")
    with pytest.raises(AssertionError, match="exit code 1"):
        tutorials.run(page, tmp_path)
