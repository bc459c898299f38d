"""What there is to look at under a folder: sweeps, comparisons, A/B tests, releases, trainings, timelines, and how far
each of them is.

Looked for again every few seconds, while others write there, so only what is small is read. What is damaged is listed
with one line that says what is wrong. Loads nothing of the compiled model.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from nextone.experiments.ab import AB
from nextone.experiments.output.timeline import TIMELINE
from nextone.experiments.release import RELEASE
from nextone.experiments.runs.comparison_files import COMPARISON
from nextone.experiments.runs.number_text import span
from nextone.experiments.runs.parquet import DAMAGE
from nextone.experiments.sweeps.ledger import NAME as LEDGER
from nextone.experiments.sweeps.ledger import Standing, standing
from nextone.experiments.sweeps.result import RESULTS
from nextone.policies.checkpoint import NAME as CHECKPOINT
from nextone.sim.inputs.errors import UserError, plural, short
from nextone.sim.scenario import SettingError
from nextone.version import __version__

from .trainings import read_training

Kind = Literal["sweep", "comparison", "A/B test", "release", "training", "timeline"]
State = Literal["running", "finished", "interrupted", "damaged"]
UNREADABLE = (*DAMAGE, UserError, OSError, AttributeError, AssertionError)
"""What reading files that somebody else wrote, or is writing, can raise."""
DEEPEST, MOST_FOLDERS, MOST_RUNS = 8, 5_000, 300
STILL_S = 600.0  # Assumed: a training that has not written for so long is not running any more


class Entry(NamedTuple):
    """A run that has a page."""

    key: str  # its place under the folder that is looked at, percent-encoded; "." for that folder itself
    folder: Path
    kind: Kind
    state: State
    told: str  # how far it is, or what is wrong with it
    stamp: str  # another one where there is something else to show
    standing: Standing | None = None  # of a sweep with a ledger

    @property
    def name(self) -> str:
        """Its place under the folder that is looked at, for people."""
        return short(self.folder.name if self.key == "." else os.fsdecode(unquoted(self.key)), 120)


def unquoted(key: str) -> bytes:
    """The bytes of a place that `Entry.key` names."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(key)


class Listing(NamedTuple):
    """What was found, newest first, and what was left out, in one line; empty if nothing was."""

    entries: tuple[Entry, ...]
    left_out: str


def find(root: Path) -> Listing:
    """Every run under a folder that has a page."""
    found, left_out = list[Entry](), ""
    for number, (folder, files, folders) in enumerate(_walk(root)):
        if number >= MOST_FOLDERS or len(found) >= MOST_RUNS:
            left_out = (
                f"Only the first {plural(MOST_FOLDERS, 'folder')} and {plural(MOST_RUNS, 'run')} are looked at; "
                "give a folder further down."
            )
            break
        entry = _entry(root, folder, files, folders)
        if entry is not None:
            found.append(entry)
    found.sort(key=lambda entry: (-_changed(entry.folder), entry.key))
    return Listing(tuple(found), left_out)


def _walk(root: Path) -> Iterator[tuple[Path, set[str], set[str]]]:
    """(folder, names of files, names of folders), those above first. A link is followed, but no folder met twice."""
    waiting, met = [(root, 0)], set[tuple[int, int]]()
    while waiting:
        folder, depth = waiting.pop(0)
        files, folders = set[str](), set[str]()
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in met:
                continue
            met.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as listed:
                for each in listed:
                    (folders if each.is_dir() else files).add(each.name)
        except OSError:  # gone, or not for us
            continue
        yield folder, files, folders
        if depth < DEEPEST:
            inner = sorted(name for name in folders if not name.startswith(".") and not CHECKPOINT.fullmatch(name))
            waiting += [(folder / name, depth + 1) for name in inner]


def _entry(root: Path, folder: Path, files: set[str], folders: set[str]) -> Entry | None:
    """What the folder holds; None if there is no page for it."""
    key = quote(os.fsencode(folder.relative_to(root).as_posix()))
    if COMPARISON in files:
        return Entry(key, folder, "comparison", "finished", "", _stamp(folder / COMPARISON))
    if RESULTS in files or LEDGER in files:
        return _sweep(key, folder, files)
    if any(CHECKPOINT.fullmatch(name) for name in folders):
        return _training(key, folder)
    if AB in files:
        return Entry(key, folder, "A/B test", "finished", "", _stamp(folder / AB))
    if RELEASE in files:
        return Entry(key, folder, "release", "finished", "", _stamp(folder / RELEASE))
    if TIMELINE in files:
        return Entry(key, folder, "timeline", "finished", "", _stamp(folder / TIMELINE))
    return None


def _sweep(key: str, folder: Path, files: set[str]) -> Entry:
    finished, stamp = RESULTS in files, _stamp(folder / RESULTS)
    if LEDGER not in files:
        return Entry(key, folder, "sweep", "finished", "", f"finished {stamp}")
    try:
        now = standing(folder)
    except UNREADABLE as error:
        state: State = "finished" if finished else "damaged"
        return Entry(key, folder, "sweep", state, "" if finished else one_line(error), f"{state} {stamp}")
    state = "running" if now.at_work else "finished" if finished and now.done >= now.known else "interrupted"
    told = progress_line(now)
    if state == "interrupted":
        mine = f"nextone sweep --resume {short(folder, 200)} goes on with it"
        other = short(now.version or "of an earlier version", 40)
        told += f"; {mine}" if now.version == __version__ else f"; nextone {other}, which began it, can go on"
    return Entry(key, folder, "sweep", state, "" if state == "finished" else told, f"{state} {stamp}", now)


def _training(key: str, folder: Path) -> Entry:
    try:
        found = read_training(folder)
    except UNREADABLE as error:
        return Entry(key, folder, "training", "damaged", one_line(error), "damaged")
    still = time.time() - _changed(folder)
    state: State = "finished" if found.over else "running" if still < STILL_S else "interrupted"
    told = "" if found.over else f"{found.far}; last checkpoint {span(still).removeprefix('about ')} ago"
    return Entry(key, folder, "training", state, told, f"{state} {found.step}")


def progress_line(now: Standing, left_s: float | None = None) -> str:
    """How far a sweep is: runs done, planned, time left in seconds (None: not known yet)."""
    failed = f", {now.failed:,} of them failed" if now.failed else ""
    left = "" if left_s is None else f", {span(left_s)} left"
    return f"{now.done:,} of {'about ' * now.at_work}{now.expected:,} runs done{failed}{left}"


class Pace:
    """How long sweeps that are at work will take at the pace they have had since they were seen first."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def left_s(self, entry: Entry, now_s: float) -> float | None:
        """Seconds left, as the sweep's own bar tells them; None where nothing has been done since the first look.

        now_s: of a clock that never goes back."""
        at = entry.standing
        if at is None or not at.at_work:
            self._first.pop(entry.key, None)
            return None
        began, done = self._first.setdefault(entry.key, (now_s, at.done))
        if at.done <= done:
            return None
        return (now_s - began) * max(at.expected - at.done, 0) / (at.done - done)


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return short(" ".join(str(said).split()), 400)


def folder_to_look_at(folder: Path) -> Path:
    """The folder, whole. Raises SettingError if it is none, or cannot be read."""
    try:
        whole = folder.resolve()
        if whole.is_dir():
            os.listdir(whole)
            return whole
        reason = "is not a folder" if whole.exists() else "there is no such folder"
    except (OSError, ValueError) as error:
        reason = one_line(error)
    raise SettingError(
        f"{short(repr(str(folder)), 200)}: {reason}; give one under which nextone compare, sweep, ab, release or train "
        "saved, such as results"
    )


def _stamp(file: Path) -> str:
    try:
        about = file.stat()
    except OSError:
        return ""
    return f"{about.st_mtime_ns} {about.st_size}"


def _changed(folder: Path) -> float:
    """When something was last added to a folder or taken away, seconds since 1970; 0 if it is gone."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
