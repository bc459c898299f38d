"""Starting other processes where that is odd: from standard input, from a script without `if __name__ == "__main__":`,
from a process of a pool, without shared memory. Called by `executor.py`."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

GUARD = 'if __name__ == "__main__":'


def alone_because() -> str | None:
    """Why no other process can be started from here; None if they can."""
    if multiprocessing.current_process().daemon:
        return "this process belongs to a pool, whose processes may start none"
    try:
        multiprocessing.get_context("spawn").Lock()  # what a pool of processes is made of
    except (OSError, ImportError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return f"no shared memory ({reason or error}); make /dev/shm writable to use more"
    return None


def main_can_be_imported() -> bool:
    """Whether another process can import the user's script without running all of it again."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:  # python -m
        return True
    try:
        return "__name__" in Path(str(getattr(main, "__file__", ""))).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # standard input, a notebook
        return False


@contextmanager
def main_left_alone() -> Iterator[None]:
    """A block in which processes that are started import the user's script only if that does no harm."""
    if main_can_be_imported():
        yield
        return
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
