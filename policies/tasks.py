"""A task: a network, rules that say when it decides, and limits, in one folder that is sent to phones as a whole.

    my-task/task.toml     name, version, model, limits, version of the embeddings, digest of every other file
    my-task/model/        a checkpoint, as a training or a shipped network has it
    my-task/rules.toml    decision rules, if it has any (docs/decision-rules.md)

A stranger may have written the folder: it is data and runs no code. What task.toml does not list, or is a link, is
refused. Called by `by_name.py` for `task:DIR`, and by `nextone task`. The idea is Walle's (OSDI 2022, arXiv
2205.14833), whose tasks are scripts; here they are rules.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nextone.sim.inputs.errors import UserError, fail, short
from nextone.sim.scenario import SettingError, nearest, read_toml

from .names import KINDS, how_of, split_name

RECORD, MODEL, RULES = "task.toml", "model", "rules.toml"
FORMAT = 1
MOST_FILES, MOST_MB, MOST_NAME = 200, 200, 60
WORDS: dict[str, type] = {
    "format": int, "name": str, "version": int, "model": str, "how": str, "embeddings": str, "limits": dict,
    "files": dict,
}  # fmt: skip
LIMITS = ("decision_ms", "megabytes")


class Limits(NamedTuple):
    """What a task may cost a phone."""

    decision_ms: float  # mean time of a decision on the slowest phones
    megabytes: float  # of the files that a phone downloads


class Task(NamedTuple):
    """A task, read and checked: every file is the one that task.toml lists."""

    folder: Path
    name: str
    version: int
    model: str  # kind of network, one of `names.KINDS`; empty: rules alone
    how: str  # options of the network, such as "mnn" or "every=5@mnn"; see `names.how_of`
    embeddings: str  # digest of the embeddings that the cloud must ship to it
    limits: Limits
    has_rules: bool

    @property
    def told(self) -> str:
        """Its name and version."""
        return f"{self.name}, version {self.version}"


def read_task(folder: Path) -> Task:
    """Read a task. Raises UserError, one line."""
    record = folder / RECORD
    files = set(_files(folder))
    if RECORD not in files:
        fail(folder, f"holds no {RECORD}; nextone task pack makes a task")
    try:
        table = read_toml(record)
    except SettingError as error:
        raise UserError(str(error).replace("scenario file", "file")) from None
    try:
        task = _task(folder, table)
    except UserError as error:
        fail(record, str(error))
    listed: dict[str, Any] = table["files"]
    for name in sorted(listed.keys() ^ (files - {RECORD})):
        wrong = "not there" if name in listed else f"not listed in {RECORD}"
        fail(folder, f"{short(name)!r} is {wrong}; pack it again")
    for name, digest in listed.items():
        if digest_of(folder / name) != digest:
            fail(folder / name, f"is not the file that {RECORD} lists: its digest is another; pack the task again")
    return task


def digest_of(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _task(folder: Path, table: dict[str, Any]) -> Task:
    for word, value in table.items():
        if word not in WORDS:
            raise UserError(f"unknown word {short(word, 60)!r}{nearest(word, tuple(WORDS))}")
        if not isinstance(value, WORDS[word]) or isinstance(value, bool):
            raise UserError(f"{word}={short(value, 40)} must be {SAID[WORDS[word]]}")
    if missing := [word for word in WORDS if word not in table]:
        raise UserError(f"{missing[0]} is missing; nextone task pack writes it")
    if table["format"] != FORMAT:
        raise UserError(f"format={table['format']} is not known to this version; pack the task again")
    name, version, model, how = (table[word] for word in ("name", "version", "model", "how"))
    if not (0 < len(name) <= MOST_NAME and name.isprintable()):
        raise UserError(f"name must be one printable line of 1 to {MOST_NAME} characters")
    if not 1 <= version <= 10**6:
        raise UserError(f"version={version} must be 1 to 1,000,000")
    if model and model not in KINDS:
        raise UserError(f"model={short(model, 40)!r}{nearest(model, KINDS)}")
    if how and (not model or split_name(f"{model}:x@{how}")[2] != how or how_of(how).ask):
        raise UserError(f"how={short(how, 40)!r} is no option of {model or 'rules'}; rules ask by then=\"ask\"")
    limits = table["limits"]
    for word, value in limits.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if word not in LIMITS or not number or not 0 <= value <= 1e6:
            raise UserError(f"limits: {short(word, 40)}={short(value, 40)}; {' and '.join(LIMITS)} are numbers >= 0")
    if len(limits) < len(LIMITS):
        raise UserError(f"limits must have {' and '.join(LIMITS)}")
    if not all(isinstance(digest, str) for digest in table["files"].values()):
        raise UserError("files must give a digest for each name")
    if bool(model) != any(file.startswith(f"{MODEL}/") for file in table["files"]):
        raise UserError(f"model={model!r} and the folder {MODEL}/ go together")
    has_rules = RULES in table["files"]
    if not model and not has_rules:
        raise UserError("has neither a model nor rules; it would decide nothing")
    made = Limits(*(float(limits[word]) for word in LIMITS))
    return Task(folder, name, version, model, how, table["embeddings"], made, has_rules)


SAID: dict[type, str] = {int: "a whole number", str: "text", dict: "a section"}


def _files(folder: Path) -> Iterator[str]:
    """Names of all files within a task's folder, "/" between parts. Raises UserError for links, what is no file, and
    for too much of anything."""
    waiting, count, size = [folder], 0, 0
    while waiting:
        inner = waiting.pop()
        try:
            with os.scandir(inner) as listed:
                entries = list(listed)
        except (OSError, ValueError) as error:
            fail(inner, f"cannot be opened ({getattr(error, 'strerror', None) or short(error)}); give a task's folder")
        for each in entries:
            about = each.stat(follow_symlinks=False)
            count, size = count + 1, size + about.st_size
            if count > MOST_FILES or size > MOST_MB * 10**6:
                fail(folder, f"has more than {MOST_FILES} files or {MOST_MB} MB; a phone's task is far smaller")
            if stat.S_ISDIR(about.st_mode):
                waiting.append(Path(each.path))
            elif stat.S_ISREG(about.st_mode):
                yield Path(each.path).relative_to(folder).as_posix()
            else:
                fail(Path(each.path), "is a link or no plain file; a task holds plain files only")
