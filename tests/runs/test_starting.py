"""Processes where starting them is odd: without shared memory, in a pool, from scripts that cannot be imported."""

import errno
import multiprocessing
import subprocess
import sys
from types import ModuleType

import pytest
from worlds import scenario

from nextone.experiments.runs import executor, starting
from nextone.experiments.runs.arms import Arm, Task
from nextone.sim.scenario import SettingError


def own_policy(observation):
    return observation.candidates[:, :, 0]


@pytest.fixture
def main(monkeypatch):
    """Another `__main__`, whose file is set by the test."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def without_shared_memory(monkeypatch):
    class Context:
        def Lock(self):
            raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: Context())


def in_a_pool(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)


@pytest.mark.parametrize(
    ("happens", "words"), [(without_shared_memory, "Read-only file system"), (in_a_pool, "belongs to a pool")]
)
def test_where_no_process_can_be_started_one_is_enough(happens, words, monkeypatch, capsys):
    happens(monkeypatch)
    tasks = iter(["a", "b"])
    assert list(executor.in_processes(lambda: next(tasks, None), 2, str.upper)) == [("a", "A"), ("b", "B")]
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and words in err


@pytest.mark.parametrize(
    ("text", "importable"), [("if __name__ == '__main__':\n    pass", True), ("print(1)", False), (None, False)]
)
def test_a_script_is_imported_again_only_if_that_does_no_harm(text, importable, main, tmp_path):
    if text is not None:
        (tmp_path / "script.py").write_text(text)
    main.__file__ = str(tmp_path / "script.py") if text is not None else "<stdin>"
    assert starting.main_can_be_imported() == importable
    with starting.main_left_alone():
        assert (sys.modules["__main__"] is main) == importable
    assert sys.modules["__main__"] is main


def test_a_policy_of_a_script_that_cannot_be_imported_is_refused(main, monkeypatch):
    monkeypatch.setattr(own_policy, "__module__", "__main__")
    main.own_policy = own_policy
    with pytest.raises(SettingError, match=r"'mine' cannot be sent .*if __name__ == .* use workers=1"):
        executor._must_travel(Task(Arm("mine", own_policy, scenario()), 0, 0, 1.0, None, "event"))


@pytest.mark.long
def test_a_script_from_standard_input_uses_processes():
    code = """
from nextone import Scenario, compare_policies, with_settings
world = with_settings(Scenario(), ["population.users=8"])
print(compare_policies({"a": "cloud_only", "b": "random"}, world, minutes=3, workers=2).replications)
"""
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True, timeout=300)
    assert (done.stdout, done.stderr) == ("10\n", "")
