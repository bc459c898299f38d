"""Compiled functions kept on disk, in a folder that is named after the code they come from, so that they are never
stale.

numba's own cache looks at the file that a function is in, and overlooks what it calls and whose constants it has. Here
the name of the folder covers all of it: the parsed code of the world, the environments and the policies, and of every
other file of the package that holds a compiled function, with what that file imports; the versions of Python, numba,
llvmlite and numpy; and the processor. Each file in it is one function for one list of types, with a checksum, since it
is run as machine code. A damaged file is compiled again, with one line on standard error, and so is one that cannot be
written.

Only `kernel` calls it.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, serialize
from numba.core.compiler import CompileResult
from numba.core.errors import NumbaWarning
from numba.core.registry import cpu_target

from .sources import code_digest, imported, package_files, parsed

FOLDER = re.compile(r"kernels-[0-9a-f]{16}")
KEPT = 8  # folders of other code that stay: the last used
IN_USE_S = 3600  # a folder used so lately stays as well: another process may be filling it
SWITCHES = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML")  # numba's, that change machine code
CHECKSUM = 32  # bytes of SHA-256, before the data

# numba's own, of which a type checker knows half
settings: Any = config
pickled: Any = serialize.dumps
unpickled: Any = serialize.loads
rebuilt: Any = CompileResult._rebuild

_FILES = package_files()


def kept_on_disk(dispatcher: Any) -> Any:
    """The same compiled function, whose machine code is looked up on disk before it is compiled and kept there after.

    A function outside the package, or of a package without sources, stays as it is: its changes would go unnoticed."""
    if not settings.DISABLE_JIT and Path(dispatcher.py_func.__code__.co_filename) in _OURS:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


def is_kept(dispatcher: Any) -> bool:
    """Whether machine code of a compiled function is on disk, for any types of arguments."""
    folder = _folder()
    return settings.DISABLE_JIT or (folder is not None and any(folder.glob(f"{dispatcher.py_func.__name__}-*")))


def compiled_modules(files: Mapping[str, Path]) -> set[str]:
    """The modules whose code decides what compiled functions do."""
    reads = {name: parsed(name, file).imports for name, file in files.items()}
    makers = {name for name, imports in reads.items() if __name__ in imports}
    world = {name for name in files if name.startswith(("nextone.sim.", "nextone.envs.", "nextone.policies."))}
    return imported(files, world | {name for name, imports in reads.items() if imports & makers}, late=False)


class KernelCache:
    """What numba asks for the machine code of one function, in place of its own cache."""

    def __init__(self, function: Any) -> None:
        self._function = function

    @property
    def cache_path(self) -> str:
        """Where files are kept; empty if nowhere."""
        return str(_folder() or "")

    def load_overload(self, signature: Any, context: Any) -> Any:
        """What was compiled for these types of arguments; None if there is nothing, or nothing sound."""
        context.refresh()
        file = self._file(signature, context.codegen())
        data = None if file is None else _read(file)
        if file is None or data is None:
            return None
        try:
            result = rebuilt(context, *unpickled(data))
        except Exception as error:
            _say(f"files in {file.parent} are damaged ({type(error).__name__}); these functions are compiled again")
            return None
        return result if tuple(result.signature.args) == tuple(signature) else None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled for these types of arguments."""
        if result.lifted or result.library.has_dynamic_globals:
            warnings.warn(f"{self._function.__qualname__} cannot be kept on disk", NumbaWarning, stacklevel=2)
            return
        file = self._file(signature, result.codegen)
        if file is not None:
            _write(file, pickled(result._reduce()))

    def flush(self) -> None:
        """Forget all that was compiled of this function; numba asks for it before it compiles again."""
        folder = _folder()
        for file in folder.glob(f"{self._function.__name__}-*") if folder else ():
            file.unlink(missing_ok=True)

    def _file(self, signature: Any, codegen: Any) -> Path | None:
        """Where it is kept; None if nothing can be kept, or sources changed since this process read them."""
        folder = _folder()
        if folder is None or _stamps() != _AS_READ:
            return None
        function = self._function
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        identity = (
            function.__module__, function.__qualname__, _body(function.__code__, function.__doc__), str(signature),
            codegen.magic_tuple(), pickled(cells) if cells else b"",
        )  # fmt: skip
        return folder / f"{function.__name__}-{_hash(repr(identity))[:32]}"


def _body(code: CodeType, doc: str | None) -> tuple[Any, ...]:
    """What tells functions of one name apart, whatever line they stand in."""
    constants = [_body(c, None) if isinstance(c, CodeType) else c for c in code.co_consts if doc is None or c != doc]
    return code.co_code, code.co_names, code.co_varnames, constants


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# -- files ------------------------------------------------------------------------------------------------------------


def _read(file: Path) -> bytes | None:
    """The data of a file; None if it is not there, somebody else's, or not what was written."""
    try:
        with file.open("rb") as opened:
            data, mine = opened.read(), _mine(os.fstat(opened.fileno()))
    except FileNotFoundError:
        return None
    except OSError as error:
        _say(f"cannot read {file.parent} ({error.strerror}); functions are compiled again")
        return None
    if not mine or hashlib.sha256(data[CHECKSUM:]).digest() != data[:CHECKSUM]:
        _say(f"files in {file.parent} are damaged; these functions are compiled again")
        return None
    return data[CHECKSUM:]


def _write(file: Path, data: bytes) -> None:
    """Write a file as a whole or not at all: other processes may be reading and writing it."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex[:16]}")
    try:
        unfinished.write_bytes(hashlib.sha256(data).digest() + data)
        unfinished.replace(file)
    except OSError as error:
        _say(f"cannot write to {file.parent} ({error.strerror}); functions are compiled again at the next start")
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


_said: list[str] = []


def _say(what: str) -> None:
    """One line on standard error, once in a process: a disk that is full is full for every function."""
    if not _said:
        sys.stderr.write(f"nextone: cache of compiled functions: {what}\n")
    _said.append(what)


# -- the folder -------------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path | None:
    """The folder of this code on this processor, made if need be; None if there is no place for one."""
    reason = "there is no place for it"
    for parent in _parents():
        try:
            return _opened(parent)
        except OSError as error:
            reason = f"{error.filename or parent}: {error.strerror or error}"
    _say(f"{reason}; functions are compiled at every start")
    return None


def _parents() -> Iterator[Path]:
    """Where the folder may stand, best first: where the user wants numba's caches (NUMBA_CACHE_DIR), and nowhere else;
    beside this file; in the home folder; in the folder for temporary files."""
    if settings.CACHE_DIR:
        yield Path(settings.CACHE_DIR).absolute()
        return
    yield Path(__file__).parent / "__pycache__"
    home = Path(os.path.expanduser("~"))  # stays "~" where nobody knows the user
    if home.is_absolute() and home.is_dir():
        yield home / ".cache" / "nextone"
    with suppress(OSError):  # not even a folder for temporary files
        yield Path(tempfile.gettempdir()) / f"nextone-{os.geteuid() if hasattr(os, 'geteuid') else 0}"


def _opened(parent: Path) -> Path:
    """The folder in this parent, private and writable. Raises OSError.

    Parsing the sources takes a second, reading them a hundredth. So an empty file is left in the folder, named after
    the bytes of the sources that it was found to belong to."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = _text_digest()
    known = next(parent.glob(f"kernels-*/{mark}.sources"), None)
    folder = parent / (known.parent.name if known else f"kernels-{_key()}")
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    _must_be_private(parent, folder)
    (folder / f"{mark}.sources").touch()
    os.utime(folder)  # used now
    if is_new:
        _remove_old(parent, folder)
    return folder


def _must_be_private(parent: Path, folder: Path) -> None:
    """What lies in the folder is run: nobody else may have put it there. Raises PermissionError."""
    around, inside = parent.stat(), folder.lstat()
    shared = around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX
    written_by_others = inside.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.name != "nt"
    if not (_mine(around) or around.st_uid == 0) or shared:
        raise PermissionError(None, "others may write there", str(parent))
    if not stat.S_ISDIR(inside.st_mode) or not _mine(inside) or written_by_others:
        raise PermissionError(None, "others may write there", str(folder))


def _mine(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _remove_old(parent: Path, folder: Path) -> None:
    """Remove the folders of other code, but for those last used and those that may be in use."""
    with suppress(OSError):
        others = [path for path in parent.iterdir() if FOLDER.fullmatch(path.name) and path != folder]
        used = {path: path.lstat().st_mtime for path in others}
        for path in sorted(others, key=used.__getitem__, reverse=True)[KEPT:]:
            if time.time() - used[path] > IN_USE_S:
                shutil.rmtree(path, ignore_errors=True)


# -- the key ----------------------------------------------------------------------------------------------------------


@cache
def _key() -> str:
    """The folder's name: a digest of what decides the machine code."""
    return _hash(f"{_platform()} {code_digest(_FILES, compiled_modules(_FILES))}")[:16]


@cache
def _text_digest() -> str:
    """Of every byte of the sources, and of the platform. Raises OSError."""
    digest = hashlib.sha256(_platform().encode())
    for name, file in sorted(_FILES.items()):
        digest.update(f"\n{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def _platform() -> str:
    """What machine code depends on beside its source."""
    versions = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    switches = [str(getattr(settings, name)) for name in SWITCHES]
    return repr((versions, switches, cpu_target.target_context.codegen().magic_tuple()))


def _stamps() -> list[tuple[int, int]]:
    """Size and time of change of every source; empty where one is missing."""
    try:
        return [(found.st_size, found.st_mtime_ns) for found in map(os.stat, _FILES.values())]
    except OSError:
        return []


_AS_READ = _stamps()
_OURS = set(_FILES.values())
