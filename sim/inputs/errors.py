"""The base class of all errors about what a user wrote, so that one `except` can show each of them as one line.

This is the only inheritance among nextone's own classes, because an `except` clause needs a common base. The module
imports nothing heavy, so the command line can catch every such error without loading the code that raises it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

AGAIN = "make room or give another folder, then run it again"


class UserError(ValueError):
    """A setting, file, folder or log that cannot be used: one line that names it, the rule it breaks and the remedy."""


def fail(path: Path, problem: str, row: int | None = None) -> NoReturn:
    """Refuses a user's file. row: its line in a text file, its position from 1 in Parquet. Raises UserError."""
    where = short(path, 200) + (f":{row}" if row is not None else "")
    raise UserError(f"{where}: {problem}") from None


def short(value: object, most: int = 80) -> str:
    """One printable line of at most so many characters."""
    line = "".join(c if c.isprintable() else " " for c in str(value))
    return line if len(line) <= most else line[: most - 3] + "..."


def plural(n: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


@contextmanager
def raised_as(kind: type[UserError]) -> Iterator[None]:
    """A block, or as a decorator a function, whose errors about a user's file are of this kind."""
    try:
        yield
    except UserError as error:
        raise kind(str(error)) from None


def not_saved(path: Path, error: OSError, remedy: str = AGAIN) -> UserError:
    """The error to raise when the system refuses to write a file or folder."""
    return UserError(f"{str(path)!r} could not be saved: {error.strerror or error}; {remedy}")
