"""Runs a recipe of docs/recipes.md as it stands there, and holds what it prints to the range that the page names.

    python tests/recipes/page.py "TorchRL"

Called by test_recipes.py, and by `make test-long` in an environment of each library's own."""

import contextlib
import io
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
SCORE = "The number to expect"  # whose code every recipe begins with


def sections():
    """Each section's text by its heading."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def code_of(text):
    """The Python of a section."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


def promised(text):
    """(least, most) of the last number that a section's code prints."""
    least, most = re.search(r"[Pp]rints\s+(-?[\d.]+) to (-?[\d.]+)\b", text).groups()
    return float(least), float(most)


def check(name):
    """Run a section. Raises AssertionError if its last number is not what the page says."""
    found, printed = sections(), io.StringIO()
    parts = [code_of(found[part]) for part in dict.fromkeys((SCORE, name))]
    code = compile("\n".join(parts), f"{PAGE.name}: {name}", "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, {"__name__": "__main__"})
    number = float(printed.getvalue().split()[-1])
    least, most = promised(found[name])
    assert least <= number <= most, f"{name}: {number} is not from {least} to {most}"
    return number


if __name__ == "__main__":
    print(check(sys.argv[1]))
