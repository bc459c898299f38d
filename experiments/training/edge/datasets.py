"""Samples as a dataset of another library for offline reinforcement learning: `nextone collect --as minari` or d3rlpy.

Its observation is that of `nextone/NextOneFlat-v0` with `features="compact"`, with slots in server order; its action is
the slot shown next. Written through the library's own code, which stays out of nextone's own environment.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from nextone.envs.forms import Form
from nextone.experiments.runs.files import write_whole
from nextone.sim.scenario import SettingError

from .episodes import READ, REWARD_PARTS, Episodes, episodes
from .samples import Array, Samples, read_samples

INSTALLS = {"minari": "'minari[hdf5,create]'", "d3rlpy": "d3rlpy, then pip install 'gymnasium>=1.1' again"}
DATASET = "nextone/logged-v0"
"""Its name in Minari."""


def check_library(kind: str, reward: str, folder: Path) -> None:
    """Raise SettingError, before anything is collected, if such a dataset cannot be written to the folder."""
    if kind not in INSTALLS:
        raise SettingError(f"--as {kind[:60]!r} must be one of {', '.join(INSTALLS)}")
    if reward not in REWARD_PARTS:
        raise SettingError(f"--reward {reward[:60]!r} must be one of {', '.join(REWARD_PARTS)}")
    if find_spec(kind) is None:
        raise SettingError(f"--as {kind}: {kind} is not installed; pip install {INSTALLS[kind]}")
    if kind == "minari" and (folder / kind / DATASET).exists():
        raise SettingError(f"--out {str(folder)!r} holds a Minari dataset already; give another folder")


def write_dataset(folder: Path, kind: str, reward: str) -> Path:
    """Write the samples in folder/samples.parquet as a dataset; returns its path. reward: one of REWARD_PARTS.

    Minari: folder/minari is its MINARI_DATASETS_PATH, and DATASET the name. d3rlpy: folder/d3rlpy.h5, for
    `ReplayBuffer.load`. Raises SampleError."""
    samples = read_samples(folder, None, ("candidates", "context", "history", "live", *READ))
    found = episodes(samples)
    slots, past = samples.about["slots"], samples.about["past"]
    form = Form(slots, past, slots, "flat", "compact", "float32")
    rows = [samples.columns[name].reshape(samples.rows, -1) for name in ("candidates", "context", "history")]
    observations = form.told(np.concatenate(rows, 1))
    rewards = found.reward[:, REWARD_PARTS.index(reward)]
    if kind == "minari":
        return _write_minari(folder / kind, samples, found, form.space, observations, rewards)
    return _write_d3rlpy(folder / "d3rlpy.h5", found, slots, observations, rewards)


def _write_minari(
    root: Path, samples: Samples, found: Episodes, space: spaces.Space[Any], observations: Array, rewards: Array
) -> Path:
    import minari

    def buffers() -> Iterator[Any]:
        for number, (start, stop) in enumerate(zip(found.start[:-1], found.start[1:], strict=True)):
            own = slice(start, stop)
            infos = dict(zip(REWARD_PARTS, found.reward[own].T, strict=True))
            cut = np.arange(start, stop) == stop - 1
            yield minari.data_collector.EpisodeBuffer(
                id=number, observations=np.concatenate([observations[own], observations[stop - 1 : stop]]),
                actions=found.action[own].astype(np.int64), rewards=rewards[own], terminations=found.terminal[own],
                truncations=cut & ~found.terminal[own],
                infos={"propensity": found.propensity[own], "action_mask": samples.columns["live"][own],
                       "person": samples.columns["person"][own], **infos},
            )  # fmt: skip

    root.mkdir(exist_ok=True)
    with _minari_writes_to(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it would like to know besides
        minari.create_dataset_from_buffers(
            DATASET, list(buffers()), observation_space=space,
            action_space=spaces.Discrete(samples.columns["live"].shape[1]), data_format="hdf5",
            algorithm_name=samples.about["run"]["policy"], author="nextone collect",
            description="People of a simulator under a logging policy; see docs/edge-models.md of nextone.",
        )  # fmt: skip
    return root / DATASET


def silent_d3rlpy() -> Any:
    """The module d3rlpy, set to write no progress to standard output."""
    import d3rlpy
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return d3rlpy


@contextmanager
def _minari_writes_to(root: Path) -> Iterator[None]:
    """It has no other way to be told."""
    name = "MINARI_DATASETS_PATH"
    before = os.environ.get(name)
    os.environ[name] = str(root)
    try:
        yield
    finally:
        del os.environ[name]
        os.environ |= {} if before is None else {name: before}


def _write_d3rlpy(path: Path, found: Episodes, slots: int, observations: Array, rewards: Array) -> Path:
    d3rlpy, ends = silent_d3rlpy(), np.zeros(len(rewards), np.bool_)
    ends[found.start[1:] - 1] = True
    data = d3rlpy.dataset.MDPDataset(
        observations=observations, actions=found.action.astype(np.int64), rewards=rewards,
        terminals=found.terminal.astype(np.float32), timeouts=(ends & ~found.terminal).astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE, action_size=slots,
    )  # fmt: skip

    def dump(tmp: Path) -> None:
        with tmp.open("w+b") as file:
            data.dump(file)

    write_whole(path, dump)
    return path
