"""Blocks of rows in Python's threads, for kernels that let go of the interpreter's lock.

Called by the drawing of people, the batch driver, the environments and the networks on phones. numba says how many
threads to use (`get_num_threads`), but none of its own ever works: with GNU's OpenMP they would kill a forked process
that computes, and with numba's own layer a process in which two threads compute at once.
"""

import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numba
from numba.core.errors import NumbaSystemWarning

# Without shared memory numba cannot lock the start of its own threads, which are never started here.
warnings.filterwarnings("ignore", message=".*multiprocessing lock", category=NumbaSystemWarning)
_here = threading.local()


def in_blocks(work: Callable[[int, int, int], object], rows: int, parts: int) -> None:
    """Call work(start, stop, part) for `parts` blocks of about as many rows each, and wait until all are done.

    One block runs in this thread, and so does everything that is called from within a block: waiting there for other
    threads, all of which may be waiting too, would never end. Raises what the first block that failed raised.
    """
    if parts < 2 or getattr(_here, "in_block", False):
        work(0, rows, 0)
        return
    pool = _pool(os.getpid())
    blocks = [(rows * part // parts, rows * (part + 1) // parts, part) for part in range(parts)]
    working = [pool.submit(work, *block) for block in blocks]
    wait(working)  # none of them may still write when this returns or raises
    for block in working:
        block.result()


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process, started as they are needed: a fork has none of its parent's."""
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, "rows", _begin)  # type: ignore[attr-defined]


def _begin() -> None:
    _here.in_block = True
