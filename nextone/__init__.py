"""Simulate short-video feeds whose next video is chosen on the phone or in the cloud.

The public names are loaded on first use, so that `import nextone` and `nextone --help` stay light.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from gymnasium.envs.registration import register

from .version import SEMANTICS as SEMANTICS
from .version import __version__ as __version__

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""Threads that have nothing to do sleep. torch's OpenMP reads it when torch is imported; without it they spin, and take
the cores from the environments' threads and from other processes: training was many times slower beside another job."""

if TYPE_CHECKING:
    from nextone.answers import Answer
    from nextone.api import compare, headroom, load, sweep, timeline, train
    from nextone.envs.playing import from_sb3, from_torchrl
    from nextone.experiments.runs.compare import Arm, compare_policies, parse_arm
    from nextone.experiments.runs.comparison import Comparison
    from nextone.policies.torch_module import from_torch
    from nextone.sim.config import Scenario
    from nextone.sim.scenario import SettingError, load_scenario, scenario_toml, with_settings

_HOME = {
    "Answer": "nextone.answers",
    "Arm": "nextone.experiments.runs.compare",
    "Comparison": "nextone.experiments.runs.comparison",
    "compare": "nextone.api",
    "compare_policies": "nextone.experiments.runs.compare",
    "from_sb3": "nextone.envs.playing",
    "from_torch": "nextone.policies.torch_module",
    "from_torchrl": "nextone.envs.playing",
    "headroom": "nextone.api",
    "load": "nextone.api",
    "parse_arm": "nextone.experiments.runs.compare",
    "Scenario": "nextone.sim.config",
    "SettingError": "nextone.sim.scenario",
    "load_scenario": "nextone.sim.scenario",
    "scenario_toml": "nextone.sim.scenario",
    "sweep": "nextone.api",
    "timeline": "nextone.api",
    "train": "nextone.api",
    "with_settings": "nextone.sim.scenario",
}

__all__ = [
    "Answer",
    "Arm",
    "Comparison",
    "Scenario",
    "SettingError",
    "compare",
    "compare_policies",
    "from_sb3",
    "from_torch",
    "from_torchrl",
    "headroom",
    "load",
    "load_scenario",
    "parse_arm",
    "scenario_toml",
    "sweep",
    "timeline",
    "train",
    "with_settings",
]

_FORMS: dict[str, dict[str, object]] = {
    "nextone/NextOne-v0": {},
    "nextone/NextOneRefresh-v0": {"refresh": True},
    "nextone/NextOneFlat-v0": {"form": "flat"},
    "nextone/NextOneMasked-v0": {"form": "masked"},
    "nextone/Rerank-v0": {"action": "scores", "trigger": 14},
}
for _id, _arguments in _FORMS.items():
    register(
        _id,
        entry_point="nextone.envs.single:NextOneEnv",
        vector_entry_point="nextone.envs.vector:NextOneVectorEnv",
        kwargs=_arguments,
    )
register(
    "nextone/When-v0",
    entry_point="nextone.experiments.training.when:when_to_act",
    vector_entry_point="nextone.experiments.training.when:when_to_act_of_many",
)
register("nextone/Cloud-v0", entry_point="nextone.experiments.training.when:cloud_side")
register("nextone/SharedServers-v0", entry_point="nextone.envs.shared:SharedServersEnv")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'nextone' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
