"""Logs made by hand: 80 plausible impressions, the same with something changed, any rows at all. Not a test module."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nextone.experiments.fitting.logs.user_log import UserLog, read_user_log

N = 80
T0 = 1_650_000_000_000
Columns = dict[str, list[Any]]


def columns() -> Columns:
    """80 plausible impressions: 8 users, 16 videos of 4 to 64 s, one minute after another; all play times differ."""
    k = np.arange(N)
    duration = 4_000 * (1 + k % 16)
    return {
        "user": (k // 10).tolist(),
        "video": (k % 16).tolist(),
        "time_ms": (T0 + 61_000 * k).tolist(),
        "duration_ms": duration.tolist(),
        "play_ms": (duration * (k % 7) // 5 + 7 * k + 500).tolist(),
        "like": (k % 9 == 0).astype(int).tolist(),
    }


def changed(**change: Any) -> Columns:
    """The columns with some replaced: by a list, or by a function of the old one."""
    base = columns()
    return base | {name: new(base[name]) if callable(new) else new for name, new in change.items()}


def times(factor: float) -> Callable[[list[Any]], list[Any]]:
    return lambda old: [value * factor for value in old]


def with_value(value: Any, *rows: int) -> Callable[[list[Any]], list[Any]]:
    return lambda old: [value if k in rows else v for k, v in enumerate(old)]


def csv_text(data: Columns, delimiter: str = ",") -> str:
    lines = [delimiter.join(data), *(delimiter.join(map(str, row)) for row in zip(*data.values(), strict=True))]
    return "\n".join(lines) + "\n"


def read(path: Path, data: Columns) -> UserLog:
    path.write_text(csv_text(data))
    return read_user_log(path)


def as_kuairand(c: Columns, **more: list[Any]) -> Columns:
    names = ("user_id", "video_id", "time_ms", "duration_ms", "play_time_ms", "is_like")
    return dict(zip(names, c.values(), strict=True)) | more


def kuairand(tab: list[int]) -> Columns:
    return as_kuairand(columns(), tab=tab, is_profile_enter=[k % 3 // 2 for k in range(N)])


def parquet(data: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(data), sink)
    return bytes(sink.getvalue().to_pybytes())


def assert_same(a: UserLog, b: UserLog, but: tuple[str, ...] = ()) -> None:
    for name in UserLog.__dataclass_fields__:
        if name in ("source", "rows_read", "findings", "read_as", *but):
            continue
        x, y = getattr(a, name), getattr(b, name)
        if name in ("feedback", "labels"):
            assert list(x) == list(y)
            x, y = np.array([*x.values()]), np.array([*y.values()])
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, err_msg=name)


def found(log: UserLog) -> list[tuple[str, int, str]]:
    """(column, rows, action) but for the warnings that so small a log always has."""
    return [
        (f.column, f.rows, f.action)
        for f in log.findings
        if "fewer than" not in f.problem and "only 8" not in f.problem
    ]


def log_of(user, play_s, length_s, *, time_s=None, video=None, tag=None, author=None, **feedback):
    """A log by hand; rows sorted by user. Play times, lengths and times in seconds."""
    n = len(user)
    video = np.arange(n) if video is None else np.array(video)
    return UserLog(
        source="by hand", rows_read=n, findings=(), users=max(user) + 1, videos=int(video.max()) + 1,
        user=np.array(user, np.int32), video=video.astype(np.int32),
        time_ms=np.array(range(n) if time_s is None else time_s, np.int64) * 1000,
        duration_ms=np.array(length_s, np.int64) * 1000, play_ms=np.round(np.array(play_s) * 1000).astype(np.int64),
        feedback={kind: np.array(flag, bool) for kind, flag in feedback.items()},
        tag=None if tag is None else np.array(tag, np.int16),
        author=None if author is None else np.array(author, np.int32),
    )  # fmt: skip
