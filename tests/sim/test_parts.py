"""Kernels without machine code of their own."""

import gc

import numba
import pytest
from numba import njit
from numba.core.errors import TypingError

from nextone.sim.engine.kernel import part


@part(_nrt=False, cache=False)  # compiled here, to look at what comes of it
def doubled(x):
    return 2 * x


@njit
def doubled_twice(x):
    return doubled(doubled(x))


def test_a_part_becomes_its_callers_machine_code_and_python_may_call_it_too():
    assert doubled_twice(3) == 12
    assert doubled(3) == 6
    entry = doubled.overloads[(numba.int64,)].library.get_asm_str()
    assert "call_alone" in entry and len(entry) < 4096
    with pytest.raises(TypingError):
        doubled(None)


def test_garbage_is_collected_again_after_compiling():
    inside = []

    class Look(numba.core.event.Listener):
        def on_start(self, event):
            inside.append(gc.isenabled())

        def on_end(self, event):
            pass

    with numba.core.event.install_listener("numba:compile", Look()):
        assert njit(lambda x: doubled(x) + 1)(1) == 3
    assert inside and not any(inside)
    assert gc.isenabled()
