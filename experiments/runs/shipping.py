"""What a task reads, sent to another machine: files by their digest, and the task's paths replaced by those there.

A task says with `moved` which paths it reads. The sender puts the bytes of each file once where all machines can fetch
them; the receiver writes them to a cache folder, under their digest, and checks it whenever a process first uses them.
Called by `cluster.py`; tasks call `moved_policy` and `moved_scenario`.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from nextone.policies.names import folder_of, is_rules, is_task
from nextone.sim.inputs.scenario_paths import with_paths

if TYPE_CHECKING:
    from nextone.policies.contract import PolicyLike
    from nextone.sim.config import Scenario


WEIGHTS = (".safetensors", ".json", ".onnx", ".mnn", ".tflite")
Reads = Callable[[Path], Iterable[Path]]
"""reads(path) -> the files that are read where a path is: itself, or some of those in the folder that it is."""
Place = Callable[[str, Reads], str]
"""place(path, which files there are read) -> the path to read instead."""


def links(path: Path) -> Iterable[Path]:
    """The files of traces and logs of round trips at a path. Raises TraceError."""
    from nextone.sim.inputs.trace_files import link_files  # late: a scenario without paths must not wait for pyarrow

    return link_files(path)


def weights(path: Path) -> Iterable[Path]:
    """The files of a checkpoint, or of a training with several."""
    return (file for file in path.rglob("*") if file.suffix in WEIGHTS and file.is_file())


def itself(path: Path) -> Iterable[Path]:
    """The one file that a path is: decision rules."""
    return (path,)


def everything(path: Path) -> Iterable[Path]:
    """All files of a task."""
    return (file for file in path.rglob("*") if file.is_file())


class Movable(Protocol):
    """A task that can run on another machine."""

    def moved(self, place: Place) -> Self:
        """The same task with `place(path)` instead of each path of a file or folder that it reads."""
        ...


def moved_policy(policy: "str | PolicyLike", place: Place) -> "str | PolicyLike":
    """The policy; if it is the name of one with a checkpoint or a file of rules, with another place for that."""
    folder = folder_of(policy) if isinstance(policy, str) else ""
    if not folder:
        return policy
    reads = itself if is_rules(str(policy)) else everything if is_task(str(policy)) else weights
    return str(policy).replace(f":{folder}", f":{place(folder, reads)}", 1)


def moved_scenario(scenario: "Scenario", place: Place) -> "Scenario":
    """The scenario, with traces and logs of round trips from another place."""
    return with_paths(scenario, lambda path: place(path, links))


class File(NamedTuple):
    """A file to be fetched."""

    name: str  # within its folder, "/" between parts
    sha256: str
    handle: Any  # what the receiver fetches its bytes with


class Parcel(NamedTuple):
    """A file, or a folder with files."""

    name: str
    is_folder: bool
    files: tuple[File, ...]

    @property
    def sha256(self) -> str:
        """A digest of the names and digests of all its files."""
        lines = [f"{self.name}\n{self.is_folder}\n", *(f"{file.sha256} {file.name}\n" for file in self.files)]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class Sender:
    """Packs each path when a task first names it, and sends the bytes of each digest once. put(bytes) -> a handle."""

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._handles: dict[str, Any] = {}
        self._parcels: dict[str, Parcel | None] = {}

    def parcels(self, task: Movable) -> dict[str, Parcel]:
        """By path, everything that a task reads; paths with nothing there are left out. Raises OSError."""
        found: dict[str, Parcel] = {}

        def note(path: str, reads: Reads) -> str:
            if path not in self._parcels:
                self._parcels[path] = self._packed(Path(path), reads)
            parcel = self._parcels[path]
            if parcel is not None:
                found[path] = parcel
            return path

        task.moved(note)
        return found

    def _packed(self, path: Path, reads: Reads) -> Parcel | None:
        if not path.exists():
            return None
        if not path.is_dir():
            return Parcel(path.name, False, tuple(self._file(file, path.parent) for file in reads(path)))
        files = sorted(self._file(file, path) for file in reads(path))
        return Parcel(path.resolve().name or "folder", True, tuple(files))

    def _file(self, path: Path, folder: Path) -> File:
        data, name = path.read_bytes(), path.relative_to(folder).as_posix()
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._handles:
            self._handles[digest] = self._put(data)
        return File(name, digest, self._handles[digest])


_placed: dict[str, str] = {}  # by digest: what this process has found whole, or fetched


def placed(parcel: Parcel, fetch: Callable[[Any], bytes]) -> str:
    """`unpacked` into this user's cache, once in each process."""
    if parcel.sha256 not in _placed:
        _placed[parcel.sha256] = str(unpacked(parcel, fetch, cache_folder()))
    return _placed[parcel.sha256]


def unpacked(parcel: Parcel, fetch: Callable[[Any], bytes], cache: Path) -> Path:
    """Where the file or folder is on this machine. What the cache lacks, or has damaged, is fetched. Raises OSError,
    and ValueError if fetched bytes have another digest."""
    target = cache / parcel.sha256
    if not _is_whole(target / parcel.name, parcel):
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=cache))
        try:
            _write(folder / parcel.name, parcel, fetch)
            if target.exists() and not _is_whole(target / parcel.name, parcel):
                target.rename(folder / ".damaged")
            with suppress(OSError):  # another process was faster
                folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return target / parcel.name


def _write(root: Path, parcel: Parcel, fetch: Callable[[Any], bytes]) -> None:
    if parcel.is_folder:
        root.mkdir()
    for file in parcel.files:
        data = fetch(file.handle)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise ValueError(f"{file.name} arrived with other bytes than were sent")
        path = root / file.name if parcel.is_folder else root
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _is_whole(root: Path, parcel: Parcel) -> bool:
    try:
        names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        if parcel.is_folder and (not root.is_dir() or sorted(names) != [file.name for file in parcel.files]):
            return False
        paths = ((root / file.name if parcel.is_folder else root, file.sha256) for file in parcel.files)
        return all(hashlib.sha256(path.read_bytes()).hexdigest() == sha256 for path, sha256 in paths)
    except OSError:
        return False


def cache_folder() -> Path:
    """The cache of this user alone, among the temporary files; it may be deleted whenever nothing runs. Raises
    OSError."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    folder = Path(tempfile.gettempdir()) / f"nextone-inputs-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or (os.name == "posix" and (status.st_uid != user or status.st_mode & 0o022)):
        raise OSError(f"{folder} belongs to somebody else, or others may write to it; delete it, or set TMPDIR")
    return folder


def in_its_own_words(text: str, places: Mapping[str, str]) -> str:
    """A message in which the paths that the user gave replace those to which they were moved. places: {given: moved
    to}."""
    for given, there in places.items():
        text = text.replace(there, given)
    return text
