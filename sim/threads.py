"""Blocks of rows in Python's threads, for kernels that let go of the interpreter's lock.

Called by the batch driver, the environments and the networks on phones."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


def in_blocks(work: Callable[[int, int, int], object], rows: int, parts: int) -> None:
    """work(start, stop, part) for so many blocks of as many rows each; in this thread if it is one block."""
    if parts < 2:
        work(0, rows, 0)
        return
    pool = _pool(os.getpid(), parts)
    blocks = [(rows * part // parts, rows * (part + 1) // parts, part) for part in range(parts)]
    for done in [pool.submit(work, *block) for block in blocks]:
        done.result()


@cache
def _pool(process: int, count: int) -> ThreadPoolExecutor:
    """Of this process: a fork has no threads."""
    return ThreadPoolExecutor(count, "rows")
