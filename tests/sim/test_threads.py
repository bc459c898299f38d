"""Property: threads and forks change no result. What would hang runs in a process of its own with a time limit."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from worlds import scenario

from nextone.sim import population
from nextone.sim.engine.threads import in_blocks
from nextone.sim.world import build_world

COMPARE = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numba
from nextone import Scenario, compare_policies
from nextone.sim import population
from nextone.sim.config import Population

population.FEWEST = 8  # so that few people are drawn in several threads, too
world = Scenario(population=Population(users=40))

def values(seed):
    arms = {name: name for name in ("cloud_only", "tag_momentum")}
    runs = [compare_policies(arms, world, seed=seed, minutes=1.0, engine=engine) for engine in ("event", "batch")]
    return [run.values.tobytes() for run in runs]

alone = [values(1), values(2)]
"""

FORK = """
with ProcessPoolExecutor(1, mp_context=get_context("fork")) as child:
    print(list(child.map(values, (1, 2))) == alone, values(1) == alone[0])
"""

TWO_THREADS = """
with ThreadPoolExecutor(2) as threads:
    print(list(threads.map(values, (1, 2))) == alone, numba.threading_layer())
"""

NESTED = """
from nextone.sim.engine.threads import in_blocks

rows = []
def outer(start, stop, part):
    in_blocks(lambda a, b, _: rows.extend(range(start + a, start + b)), stop - start, 2)

in_blocks(outer, 12, 2)
print(sorted(rows) == list(range(12)))
"""


def printed(code, **environ):
    """What a process with two threads of numba prints. Fails if it dies, or lives on after five minutes."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"NUMBA_NUM_THREADS": "2"} | environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_forked_process_compares_after_its_parent_did():
    assert printed(COMPARE + FORK) == ["True", "True"]


def test_two_threads_compare_at_once():
    """numba's workqueue threads would abort the process."""
    assert printed(COMPARE + TWO_THREADS, NUMBA_THREADING_LAYER="workqueue") == ["True", "workqueue"]


def test_blocks_within_blocks_end():
    assert printed(NESTED) == ["True"]


@pytest.mark.parametrize(("rows", "parts"), [(0, 3), (2, 3), (7, 1), (7, 0), (1000, 7)])
def test_every_row_is_in_one_block(rows, parts):
    seen = np.zeros(rows, np.int64)
    blocks = []

    def work(start, stop, part):
        seen[start:stop] += 1
        blocks.append((start, stop, part))

    in_blocks(work, rows, parts)
    assert (seen == 1).all() and sorted(part for *_, part in blocks) == list(range(max(parts, 1)))


def test_two_threads_share_out_rows_at_once():
    """With numbers of blocks of their own; each gets its own rows."""
    both = threading.Barrier(2, timeout=60)

    def squares(parts):
        out = np.zeros(1000, np.int64)

        def work(start, stop, part):
            out[start:stop] = np.arange(start, stop) ** 2 + parts

        both.wait()
        for _ in range(50):
            in_blocks(work, len(out), parts)
        return out

    with ThreadPoolExecutor(2) as threads:
        for parts, out in zip((2, 5), threads.map(squares, (2, 5)), strict=True):
            assert (out == np.arange(1000) ** 2 + parts).all()


def test_a_block_that_fails_is_told_after_all_have_ended():
    first_failed, ended = threading.Event(), []

    def work(start, stop, part):
        if part == 0:
            first_failed.set()
            raise ValueError("block 0")
        assert first_failed.wait(60)
        ended.append(part)

    with pytest.raises(ValueError, match="block 0"):
        in_blocks(work, 4, 2)
    assert ended == [1]


def test_people_are_the_same_however_many_threads_draw_them(monkeypatch):
    def people(threads):
        monkeypatch.setattr(population, "get_num_threads", lambda: threads)
        world = build_world(scenario(population__users=50), edge=True, seed=4, window_us=60_000_000)
        return [rows.tobytes() for rows in (world.users, world.screen, world.pool, world.mind, world.belief)]

    monkeypatch.setattr(population, "FEWEST", 8)
    one = people(1)
    assert all(people(threads) == one for threads in (2, 6))
