"""A policy in a Python file of the user, `FILE.py:NAME`. Loading it runs that file.

So it is loaded only for users who name it themselves, on the command line of `nextone compare` or in Python. A name in
a scenario, a sweep, a log or a checkpoint never comes here: `names.py: unknown_name` refuses it.
"""

import importlib.util
import os
import sys
import traceback
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from nextone.envs.features import Observation
from nextone.sim.scenario import SettingError

from .contract import Options, PolicyLike, Scores, as_policy, options_of
from .names import own_file

OPTIONS = frozenset(field.name for field in fields(Options))


class FilePolicy:
    """The policy that a file defines, with its options. Other processes get its name and load the file again."""

    def __init__(self, name: str) -> None:
        """name: `FILE.py:NAME`. Raises SettingError, one line, if there is no such policy or the file fails."""
        file, self._attribute = own_file(name)
        self._file = Path(file).absolute()
        self.source = f"{self._file}:{self._attribute}"  # what a result says of its policy
        self.__name__ = name
        self._policy = as_policy(_defined(name, self._file, self._attribute))

    def start(self, n: int) -> Any:
        """Memory of n people, as the file's policy returns it."""
        return self._policy.start(n)

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        """What the file's policy says."""
        return self._policy(observation, memory)

    def __getattr__(self, option: str) -> Any:
        if option not in OPTIONS:
            raise AttributeError(option)
        return getattr(getattr(self._policy, "function", self._policy), option)

    def __reduce__(self) -> tuple[type["FilePolicy"], tuple[str]]:
        return FilePolicy, (self.source,)


def _defined(name: str, file: Path, attribute: str) -> PolicyLike:
    module = _module(name, file)
    if not hasattr(module, attribute):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise SettingError(f"policy {name[:200]!r}: {file.name} defines no {attribute}; it has {', '.join(known[:8])}")
    policy: PolicyLike = getattr(module, attribute)
    if isinstance(policy, type):
        raise SettingError(f"policy {name[:200]!r}: is a class; write policy = {attribute}() in the file and name that")
    try:
        options_of(policy)
    except ValueError as error:
        raise SettingError(f"policy {name[:200]!r}: {error}") from None
    return policy


def _module(name: str, file: Path) -> ModuleType:
    """The file, run once in this process under a name of its own; what lies beside it can be imported by it."""
    known = f"nextone_policy_{file.stem}_{abs(hash(file)):x}"
    if known in sys.modules:
        return sys.modules[known]
    if not file.is_file():
        raise SettingError(f"policy {name[:200]!r}: there is no file {str(file)!r}")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    spec = importlib.util.spec_from_file_location(known, file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = sys.modules[known] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[known]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if os.path.abspath(frame.filename) == str(file)]  # fmt: skip
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        raise SettingError(f"{file}:{line}: {type(error).__name__}: {error}") from None
    return module
