"""Kernels without machine code of their own, and what is said and done before the model is compiled."""

import gc
import sys
from concurrent.futures import Future

import numba
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from nextone.cli import common
from nextone.experiments.runs import executor
from nextone.sim import batch_run, records, state
from nextone.sim.config import PARAMS_DTYPE
from nextone.sim.engine import kernel_cache
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


def test_no_field_has_the_name_of_something_that_every_record_has():
    """Without compilation rows are record arrays: a field `mean` would be their method there."""
    rows = [value for value in (*vars(state).values(), records.MOMENT, PARAMS_DTYPE) if isinstance(value, np.dtype)]
    assert len(rows) > 12
    assert [name for row in rows for name in row.names if hasattr(np.record, name)] == []
    assert hasattr(np.record, "mean")


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


def test_a_machine_that_compiled_the_model_before_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache, "_folder", lambda: tmp_path)
    assert not batch_run.model_is_compiled()
    (tmp_path / "advance_rows-0123").touch()
    assert batch_run.model_is_compiled()


@pytest.mark.parametrize(
    ("compiled", "watched", "said"),
    [(True, True, ""), (False, True, f"{common.FIRST_USE}\n"), (False, False, "")],
)
def test_a_command_says_that_the_model_is_compiled_first(compiled, watched, said, monkeypatch, capsys):
    monkeypatch.setattr(batch_run, "model_is_compiled", lambda: compiled)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched)
    with common.progress_bar(quiet=True):
        pass
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(("compiled", "first"), [(True, 4), (False, 1)])
def test_the_first_task_on_a_machine_compiles_alone(compiled, first, monkeypatch):
    """Outcomes are there at once, so that tasks out at the first one are those handed out before it."""
    monkeypatch.setattr(executor, "model_is_compiled", lambda: compiled)
    monkeypatch.setattr(executor, "_must_travel", lambda arm: None)
    handed = []

    class Pool:
        def submit(self, run, task):
            handed.append(task)
            done = Future()
            done.set_result(task.number)
            return done

    class Numbered:
        arm = None

        def __init__(self, number):
            self.number = number

    tasks = iter([Numbered(k) for k in range(9)])
    outcomes = executor._results(Pool(), lambda: next(tasks, None), 4)
    next(outcomes)
    assert len(handed) == first
    assert len([*outcomes]) == 8 and len(handed) == 9
