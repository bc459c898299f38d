"""Samples as episodes, for offline reinforcement learning: state, action, reward parts, next state, terminal.

A row of the samples is a transition: its state is what the phone saw, its action the slot shown next. An episode is a
session, or an unbroken piece of one: samples that never arrived, decisions that came to nothing and the cut in time
leave gaps. Written by `nextone collect --episodes`; states are not copied, but given as rows of the samples.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextone.envs.features import MOST_S, unscaled
from nextone.experiments.runs.files import write_whole

from .samples import RATED, Array, Samples, read_samples

FILE = "episodes.parquet"
REWARD_PARTS = (*RATED, "watch_s", "stall_s")
READ = ("session", "impression", "shown", "propensity", "has_next", *RATED, "watch", "stall_s")


class Episodes(NamedTuple):
    """T transitions in the order of people and their lives; transition t begins in row t of the samples."""

    start: Array  # (E + 1,) transitions that begin an episode, and T: episode e is start[e] to start[e + 1] - 1
    action: Array  # (T,) int16, slot of the candidates
    propensity: Array  # (T,) float32, chance that the logging policy took it; NaN where its ranking came too late
    reward: Array  # (T, R) float32, REWARD_PARTS: counts, and seconds played (an hour at most) and stalled
    next_row: Array  # (T,) int64, row of the next state; -1 where there is none, or it is not among the samples
    terminal: Array  # (T,) bool: the session ended after it; where there is neither this nor a next state, it is cut


def episodes(samples: Samples) -> Episodes:
    """The transitions of samples that have the columns READ."""
    person, session, impression, shown, propensity, has_next = samples.of("person", *READ[:5])
    slot = shown.astype(np.int64)[:, None]
    parts = {name: np.take_along_axis(samples.columns[name], slot, 1)[:, 0] for name in READ[5:]}
    played_s = unscaled(parts.pop("watch"), MOST_S)
    reward = np.stack([*(parts[name] for name in RATED), played_s, parts["stall_s"]], 1).astype(np.float32)
    terminal = np.take_along_axis(has_next, slot, 1)[:, 0] == 0
    follows = (person[1:] == person[:-1]) & (session[1:] == session[:-1]) & (impression[1:] == impression[:-1] + 1)
    follows = np.append(follows, False)
    next_row = np.where(follows, np.arange(samples.rows) + 1, -1)
    start = np.concatenate([[0], np.flatnonzero(~follows) + 1])
    return Episodes(start, shown, propensity, reward, next_row, terminal)


def write_episodes(folder: Path) -> Path:
    """Write folder/episodes.parquet from the samples there: a row for each of theirs, in the same order. Columns:
    episode, the action, propensity, a column per part of the reward, next_row and terminal. Raises SampleError."""
    found = episodes(read_samples(folder, None, READ))
    columns = {
        "episode": np.repeat(np.arange(len(found.start) - 1), np.diff(found.start)),
        "action": found.action, "propensity": found.propensity,
        **dict(zip(REWARD_PARTS, found.reward.T, strict=True)),
        "next_row": found.next_row, "terminal": found.terminal,
    }  # fmt: skip
    table = pa.table({name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()})
    write_whole(folder / FILE, lambda path: pq.write_table(table, path, compression="zstd"))
    return folder / FILE
