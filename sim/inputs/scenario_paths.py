"""The files that a scenario points to: where they are, and digests that show when one of them has changed.

A path in a scenario file is relative to that file, so a folder with both can be handed on. Everywhere else a path is
relative to the working folder. Called by `sim/scenario.py`, and by the code that records what a result was made of.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nextone.sim.config import Scenario, said_of

Digests = Mapping[str, Mapping[str, str]]
"""What points to files, such as `network.traces`: name of each file, and the first 32 hex digits of its SHA-256."""


class Changed(NamedTuple):
    """A file that is not what its digest says."""

    what: str  # what points to it
    file: str
    how: str  # "has changed", "is missing" or "is new"

    def __str__(self) -> str:
        return f"{self.what}: {self.file} {self.how}"


def pointed(scenario: Scenario) -> dict[str, str]:
    """{"network.traces": path} for every field that is a path and is set."""
    return {
        f"{section}.{name}": path
        for section, name in _path_fields()
        if (path := getattr(getattr(scenario, section), name))
    }


def is_path(name: str) -> bool:
    """Whether `section.field` is a path."""
    return tuple(name.split(".")) in _path_fields()


@cache
def _path_fields() -> tuple[tuple[str, str], ...]:
    return tuple(
        (section, name)
        for section in Scenario.model_fields
        for name, field in type(getattr(Scenario(), section)).model_fields.items()
        if said_of(field).get("unit") == "path"
    )


def with_paths(scenario: Scenario, change: Callable[[str], str]) -> Scenario:
    """The scenario with each of its paths changed."""
    for full, path in pointed(scenario).items():
        section, _, name = full.partition(".")
        part = getattr(scenario, section).model_copy(update={name: change(path)})
        scenario = scenario.model_copy(update={section: part})
    return scenario


def beside(path: str, folder: Path) -> str:
    """The path, as seen from the working folder, of a file that a scenario file in `folder` names.

    If the folder has nothing of that name, the path is taken as relative to the working folder."""
    near = folder / path
    return str(near) if near.exists() else path


def seen_from(path: str, folder: Path) -> str:
    """A path as written in a file of this folder: relative if it was given so, or if it lies within the folder."""
    place, home = Path(path).resolve(), folder.resolve()
    if not os.path.isabs(path) or place.is_relative_to(home):
        try:
            return Path(os.path.relpath(place, home)).as_posix()
        except ValueError:  # another drive of Windows
            pass
    return str(place)


def digests(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Digests of all files that a scenario points to. Raises TraceError for a path without files."""
    return {what: link_digests(path) for what, path in pointed(scenario).items()}


def stamps(scenario: Scenario) -> list[tuple[str, int, int]]:
    """(path, when it was last written, bytes) of every file that a scenario points to. They show, without reading a
    file again, whether it has changed since it was read. Raises TraceError for a path without files."""
    from .trace_files import link_files  # late: a scenario without paths must not wait for pyarrow

    files = [file for path in pointed(scenario).values() for file in link_files(Path(path))]
    return [(str(file), (about := file.stat()).st_mtime_ns, about.st_size) for file in files]


def link_digests(path: str) -> dict[str, str]:
    """The digest of a file, or of each file of a folder that can hold measurements, by its name. Raises TraceError."""
    from .trace_files import link_files  # late: a scenario without paths must not wait for pyarrow

    return {file.name: file_digest(file) for file in link_files(Path(path))}


def file_digest(file: Path) -> str:
    """Of a file's bytes. Raises OSError."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


def changes(then: Digests, now: Digests) -> Iterator[Changed]:
    """Every file of which two sets of digests say something different."""
    for what in sorted({*then, *now}):
        old, new = then.get(what, {}), now.get(what, {})
        for file in sorted({*old, *new}):
            if old.get(file) != new.get(file):
                how = "is new" if file not in old else "is missing" if file not in new else "has changed"
                yield Changed(what, file, how)
