"""What a user's log must satisfy before anything is fitted to it: units, values, columns that say something.

One rule throughout: a row that cannot be true is dropped and counted, and when more than a tenth of the rows would be,
or when a whole column means something else than its name says, the log is refused. Called by `user_log.py`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.sim.inputs.errors import fail, short

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Action = Literal["dropped", "kept", "warned"]

MAX_DROPPED = 0.1
MAX_MS = 86_400_000.0  # one video, or one viewing of it: a day
MAX_LOOPS = 100  # play over duration. The longest of KuaiRand-Pure's 119,296 is 59
YEAR_2000_MS, YEAR_2100_MS, TEN_YEARS_MS = 946_684_800_000.0, 4_102_444_800_000.0, 315_576_000_000.0
MEDIAN_DURATION_MS = (1_000.0, 3_600_000.0)  # what the median video of a feed must lie in
MAX_MEDIAN_RATIO, MIN_TOP_RATIO = 10.0, 0.02  # play over duration: KuaiRand-Pure has .13; 2.06 at the 99th percentile
FEW_USERS, FEW_ROWS = 30, 1_000


class Finding(NamedTuple):
    """One line of the report."""

    column: str  # as the file names it; empty: of whole rows
    problem: str
    rows: int
    action: Action
    row: int | None = None  # the first such row: line of a text file, position from 1 in Parquet


class Audit:
    """Which rows of a log remain, and what was found in it. Rows are those of the columns under inspection."""

    def __init__(self, path: Path, row: IntArray) -> None:
        self.path = path
        self.row = row
        self.keep: BoolArray = np.ones(len(row), np.bool_)
        self.findings: list[Finding] = []

    def drop(self, bad: BoolArray, column: str, problem: str, remedy: str, most: float = MAX_DROPPED) -> None:
        """Leave the bad rows out; refuse the log when they are more than this share of all rows."""
        bad = bad & self.keep
        rows = int(bad.sum())
        if rows == 0:
            return
        first = int(self.row[np.argmax(bad)])
        if rows > most * len(bad):
            share = f"{rows:,} of {len(bad):,} rows"
            fail(self.path, f"{column or 'row'} {problem} in {share}, too many to leave out; {remedy}", first)
        self.findings.append(Finding(column, problem, rows, "dropped", first))
        self.keep &= ~bad

    def warn(self, column: str, problem: str, rows: int | None = None) -> None:
        self.findings.append(Finding(column, problem, int(self.keep.sum()) if rows is None else rows, "warned"))

    def refuse(self, column: str, problem: str, remedy: str) -> None:
        fail(self.path, f"{column}: {problem}; {remedy}")


def check_present(values: Mapping[str, FloatArray], spelled: Mapping[str, str], audit: Audit) -> None:
    """Every number is there and finite."""
    for name, column in values.items():
        remedy = "write plain numbers like 12.5"
        if spelled[name] == "time":
            remedy = "write ISO 8601 like 2022-04-25T10:00:00+08:00, or numbers as time_ms or time_s"
        elif name not in ("time_ms", "duration_ms", "play_ms"):
            remedy += ", 0 where it did not happen"
        audit.drop(~np.isfinite(column), spelled[name], "is missing or no finite number", remedy)


def check_units(values: Mapping[str, FloatArray], spelled: Mapping[str, str], audit: Audit) -> None:
    """Time, duration and play time are in the units their names say, by their size and by their ratio."""
    time, duration, play = (values[name][audit.keep] for name in ("time_ms", "duration_ms", "play_ms"))
    _check_time_unit(time, spelled["time_ms"], audit)
    name, median = spelled["duration_ms"], float(np.median(duration[duration > 0])) if (duration > 0).any() else 0.0
    low, high = MEDIAN_DURATION_MS
    if median == 0.0:
        audit.refuse(name, "no duration is above 0", "give each video's length")
    if not low <= median <= high:
        audit.refuse(
            name, f"the median is {median / 1e3:.3g} s, no length of a short video; the unit is "
            + ("likely seconds" if median < low else "likely milliseconds, or finer"),
            "give milliseconds as duration_ms or seconds as duration_s",
        )  # fmt: skip
    both = (duration > 0) & (play > 0)
    name = spelled["play_ms"]
    if not both.any():
        audit.refuse(name, "no play time is above 0", "give how long each impression played")
    ratio = play[both] / duration[both]
    middle, top = float(np.median(ratio)), float(np.quantile(ratio, 0.99))
    remedy = f"give the time played in the unit of {spelled['duration_ms']}, or name the unit: play_ms, play_s"
    if middle > MAX_MEDIAN_RATIO:
        audit.refuse(name, f"the median is {middle:.3g} times the duration; the units differ", remedy)
    if top < MIN_TOP_RATIO:
        audit.refuse(name, f"99% are below {top:.2g} of the duration: nobody sees an end; the units differ", remedy)
    if len(ratio) > 1 and play.min() == play.max():
        audit.refuse(name, "is the same in every row", "give how long each impression played")
    if len(ratio) > 1 and np.mean(play == duration) > 0.95:
        audit.refuse(name, "is the duration nearly everywhere", "give how long each impression played")


def _check_time_unit(time: FloatArray, name: str, audit: Audit) -> None:
    if len(time) > 1 and time.min() == time.max():
        audit.refuse(name, "is the same in every row", "give when each impression was delivered or shown")
    first, middle = np.quantile(time, [MAX_DROPPED, 0.5])
    for factor, unit in ((1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds")):
        if YEAR_2000_MS * factor <= first and middle <= YEAR_2100_MS * factor:
            problem = f"as milliseconds it would be {middle:.4g}; {unit} given as milliseconds, or the like"
            audit.refuse(name, problem, "give unix milliseconds as time_ms, or unix seconds as time_s")


def check_values(values: Mapping[str, FloatArray], spelled: Mapping[str, str], audit: Audit) -> None:
    """Rows that no impression can be."""
    time, duration, play = (values[name] for name in ("time_ms", "duration_ms", "play_ms"))
    with np.errstate(invalid="ignore"):
        if np.median(time[audit.keep]) >= YEAR_2000_MS:
            out, problem = (time < YEAR_2000_MS) | (time > YEAR_2100_MS), "is not between the years 2000 and 2100"
        else:
            out, problem = (time < 0) | (time > TEN_YEARS_MS), "is below 0, or 10 years after it"
        audit.drop(out, spelled["time_ms"], problem, "give unix time, or time from the log's first impression")
        audit.drop(duration <= 0, spelled["duration_ms"], "is 0 or less (unknown)", "give each video's length")
        audit.drop(duration > MAX_MS, spelled["duration_ms"], "is over 24 h", "give each video's length")
        for name in ("play_ms", "stall_ms", "comment_open_ms"):
            if name in values:
                audit.drop(values[name] < 0, spelled[name], "is below 0", "give times that pass, 0 for none")
                audit.drop(values[name] > MAX_MS, spelled[name], "is over 24 h", "give the time of one impression")
        problem = f"is over {MAX_LOOPS} times the duration"
        audit.drop(play > MAX_LOOPS * duration, spelled["play_ms"], problem, "give both in the same unit")


def check_flags(
    flags: Mapping[str, FloatArray], spelled: Mapping[str, str], audit: Audit, labels: Collection[str]
) -> None:
    """Columns of 0 and 1 hold nothing else; feedback tells rows apart, the log's own labels of plays need not."""
    for name, flag in flags.items():
        wrong = (flag != 0) & (flag != 1)
        audit.drop(wrong, spelled[name], "is neither 0 nor 1", "write 1 where it happened once or more, else 0")
        kept = flag[audit.keep]
        if len(kept) == 0 or name == "randomised" or name in labels:
            continue
        if kept.all():
            audit.refuse(spelled[name], "is 1 in every row", "leave the column out unless it tells rows apart")
        if not kept.any():
            audit.warn(spelled[name], "is 0 in every row: its rate cannot be told")
        elif kept.mean() > 0.5:
            audit.warn(spelled[name], f"is 1 in {kept.mean():.0%} of rows: is it feedback?")


def check_whole(
    user: IntArray, video: IntArray, values: Mapping[str, IntArray], spelled: Mapping[str, str], audit: Audit
) -> None:
    """What the remaining rows, sorted by user and time, can tell; nothing is dropped here."""
    time, duration, play = (values[name] for name in ("time_ms", "duration_ms", "play_ms"))
    of_user = np.bincount(user)
    if len(of_user) == 1:
        audit.refuse(spelled["user"], "is one user in every row", "give many: intervals are a bootstrap over users")
    if len(of_user) < FEW_USERS:
        audit.warn(spelled["user"], f"only {len(of_user)} users: intervals over users will be poor")
    if len(user) < FEW_ROWS:
        audit.warn("", f"fewer than {FEW_ROWS:,} rows: intervals will be wide")
    if of_user.max() == 1:
        audit.warn(spelled["user"], "one row per user: differences between users and drift cannot be told")
    if video.max() == 0:
        audit.warn(spelled["video"], "one video only: differences between videos cannot be told")
    if duration.min() == duration.max():
        audit.warn(spelled["duration_ms"], "is the same in every row: nothing can be told by length")
    if not (play > duration).any() and np.mean(play == duration) > 0.01:
        audit.warn(spelled["play_ms"], "never exceeds the duration: capped, so completion and loops look alike")
    if not np.any(time % 60_000):
        audit.warn(spelled["time_ms"], "holds whole minutes: order within them is the file's")
    same = user[1:] == user[:-1]
    passed, played = np.diff(time)[same].sum(), play[:-1][same].sum()
    if played > passed and same.any():
        audit.warn(spelled["time_ms"], f"{short(f'{played / 1e3:.0f}')} s are played in {passed / 1e3:.0f} s between "
                   "first and last rows: times of delivery, or another unit", int(same.sum()))  # fmt: skip
