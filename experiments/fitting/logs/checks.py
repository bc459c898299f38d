"""What a user's log must satisfy before anything is fitted to it: units, values, and columns that carry information.

One rule holds throughout: an impossible row is dropped and counted. When more than a tenth of the rows would be
dropped, or when a whole column means something else than its name says, the log is refused. Called by `user_log.py`.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nextone.sim.inputs.errors import short

from .columns import MS, SHARES
from .table import BoolArray, FloatArray, IntArray, Rows, fail

Action = Literal["dropped", "kept", "warned"]

MAX_DROPPED = 0.1
MAX_MS = 86_400_000.0  # one video, or one viewing of it: a day
MAX_LOOPS = 100  # play over duration. The longest of KuaiRand-Pure's 119,296 is 59
YEAR_2000_MS, YEAR_2100_MS, TEN_YEARS_MS = 946_684_800_000.0, 4_102_444_800_000.0, 315_576_000_000.0
MEDIAN_DURATION_MS = (1_000.0, 3_600_000.0)  # what the median video of a feed must lie in
MAX_MEDIAN_RATIO, MIN_TOP_RATIO = 10.0, 0.05  # play over duration: KuaiRand-Pure has .13; 2.06 at the 99th percentile
MIN_FOR_GROWTH, NO_GROWTH = 30, 0.05  # plays; rank correlation of play and duration
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
MAX_PACE = 5.0  # time played over time passed to the person's next row
UNITS_APART = 300  # times as long: no mistake of a length, but another unit
DURATIONS_ALIKE, ROUNDING_MS = 0.02, 1_000  # how much two rows may differ on the length of a video
SHEET_ROWS = (65_535, 65_536, 1_048_575, 1_048_576)  # what spreadsheets hold, with and without a header
MINUS_SHARE = 0.2  # rows of -1 over rows of 1
FEW_USERS, FEW_ROWS = 30, 1_000


class Finding(NamedTuple):
    """One line of the report."""

    column: str  # as the file names it; empty: of whole rows
    problem: str
    rows: int
    action: Action
    row: int | None = None  # the first such row: line of a text file, position from 1 in Parquet
    file: str = ""  # where that row is, if the log is of several files


class Audit:
    """Which rows of a log remain, and what was found in it. Rows are those of the columns that are being checked."""

    def __init__(self, path: Path, rows: Rows) -> None:
        self.path = path
        self.rows = rows
        self.keep: BoolArray = np.ones(len(rows.line), np.bool_)
        self.findings: list[Finding] = []

    def drop(self, bad: BoolArray, column: str, problem: str, remedy: str, most: float = MAX_DROPPED) -> None:
        """Leave the bad rows out; refuse the log when they are more than this share of all rows."""
        bad = bad & self.keep
        rows = int(bad.sum())
        if rows == 0:
            return
        at = int(np.argmax(bad))
        first, file = int(self.rows.line[at]), self.rows.paths[self.rows.part[at]]
        if rows > most * len(bad):
            share = f"{rows:,} of {len(bad):,} rows"
            fail(file, f"{column or 'row'} {problem} in {share}, too many to leave out; {remedy}", first)
        named = file.name if len(self.rows.paths) > 1 else ""
        self.findings.append(Finding(column, problem, rows, "dropped", first, named))
        self.keep &= ~bad

    def warn(self, column: str, problem: str, rows: int | None = None) -> None:
        """Note a problem for the report, with the number of rows that have it."""
        self.findings.append(Finding(column, problem, int(self.keep.sum()) if rows is None else rows, "warned"))

    def refuse(self, column: str, problem: str, remedy: str) -> None:
        """Refuse the log. Raises UserLogError with column, problem and remedy."""
        fail(self.path, f"{column}: {problem}; {remedy}")


def check_present(
    values: Mapping[str, FloatArray], spelled: Mapping[str, str], examples: Mapping[str, str], audit: Audit
) -> None:
    """Every number is there and finite. examples: for columns that have one, a word that is no number."""
    for name, column in values.items():
        remedy = "write plain numbers like 12.5"
        if spelled[name] == "time":
            remedy = "write ISO 8601 like 2022-04-25T10:00:00+08:00, or numbers as time_ms or time_s"
        elif name not in ("time_ms", "duration_ms", "play_ms"):
            remedy += ", 0 where it did not happen"
        such = f", such as {short(examples[name], 30)!r}," if name in examples else ""
        audit.drop(~np.isfinite(column), spelled[name], f"is missing or no finite number{such}", remedy)


def check_units(values: Mapping[str, FloatArray], spelled: Mapping[str, str], play_unit: str, audit: Audit) -> None:
    """Times, durations and play times have the units that their names say, by their size and by their ratio. play_unit:
    in which of columns.MS or SHARES the file gives the play time."""
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
            "give milliseconds as duration_ms or seconds as duration_s, or say the unit: "
            f"--columns duration={name}:{'s' if median < low else 'ms'}",
        )  # fmt: skip
    both = (duration > 0) & (play > 0)
    name = spelled["play_ms"]
    if not both.any():
        audit.refuse(name, "no play time is above 0", "give how long each impression played")
    _check_play_unit(play[both], duration[both], name, play_unit, audit)
    if both.sum() > 1 and play.min() == play.max():
        audit.refuse(name, "is the same in every row", "give how long each impression played")
    if both.sum() > 1 and np.mean(play == duration) > 0.95:
        audit.refuse(name, "is the duration nearly everywhere", "give how long each impression played")


def _check_play_unit(play: FloatArray, duration: FloatArray, name: str, unit: str, audit: Audit) -> None:
    """(n,) plays that began, ms."""
    ratio = play / duration
    middle, top = float(np.median(ratio)), float(np.quantile(ratio, 0.99))
    if unit in SHARES:
        if unit == "percent" and top < 0.03:
            audit.refuse(name, f"99% are below {top:.2g} of the duration",
                         f"say that they are shares: --columns play={name}:share")  # fmt: skip
        if unit == "share" and middle > 3:
            audit.refuse(name, f"the median is {middle:.3g} times the duration",
                         f"say that they are percent: --columns play={name}:percent")  # fmt: skip
        return
    given = play / MS[unit]
    fits = next((u for u, ms in MS.items() if u != unit and 0.02 < np.median(given * ms / duration) < 3
                 and np.quantile(given * ms / duration, 0.99) > 0.5), "")  # fmt: skip
    part = _part_of_duration(given, duration, ratio, unit)
    said = f"--columns play={name}:{' or :'.join(filter(None, (part, fits))) or 's'}"
    remedy = f"give the time played in the unit of the duration, or say the unit: {said}"
    if middle > MAX_MEDIAN_RATIO:
        audit.refuse(name, f"the median is {middle:.3g} times the duration; the units differ", remedy)
    if top < MIN_TOP_RATIO:
        audit.refuse(name, f"99% are below {top:.2g} of the duration: nobody sees an end; the units differ", remedy)
    if part:
        audit.refuse(name, f"does not grow with the duration, and reads as {part} of it, up to {given.max():.4g}",
                     f"if so, say --columns play={name}:{part}; else give the time played")  # fmt: skip
    grows = _rank_correlation(play, duration)
    if len(play) >= MIN_FOR_GROWTH and grows < -max(0.1, 3 / np.sqrt(len(play))):
        audit.warn(name, f"falls with the duration (rank correlation {grows:.2f}): is it the time played?")


def _part_of_duration(given: FloatArray, duration: FloatArray, ratio: FloatArray, unit: str) -> str:
    """`percent` or `share` where play times, as the file gives them, are a part of the duration by every sign; or "".

    A time played grows with the duration (KuaiRand-Pure: rank correlation .11, and -.50 in percent), and has as many
    that end with the video at every length; a part of it lies at 100, or at 1, there."""
    low, high = np.quantile(duration, [0.1, 0.9])
    by_luck = 2 / np.sqrt(len(given))  # two standard errors of a correlation of nothing
    if len(given) < MIN_FOR_GROWTH or high < 1.5 * low or _rank_correlation(given, duration) >= NO_GROWTH + by_luck:
        return ""
    short = duration <= np.quantile(duration, 1 / 3)
    looped = float(np.mean(ratio[short] > 2))
    ends, percents, shares = (float(np.mean(abs(x - 1) < 0.02)) for x in (ratio, given / 100, given))
    most = float(np.quantile(given, 0.99))
    top = float(np.quantile(ratio, 0.99))
    enough = max(3 * ends, 0.03, 5 / len(given))
    if np.median(given) >= 1 and most <= 1_000 and (looped > 0.25 or top < MIN_TOP_RATIO or percents > enough):
        return "percent"
    too_short = top < 0.5 and MS[unit] <= MS["s"]  # in minutes a few are no sign
    return "share" if most <= 20 and (too_short or shares > enough) else ""


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's, in [-1, 1]; 0 where one does not vary."""
    ranks = []
    for values in (x, y):
        _, code, rows = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(rows) - rows / 2)[code])
    if min(np.ptp(rank) for rank in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _check_time_unit(time: FloatArray, name: str, audit: Audit) -> None:
    if len(time) > 1 and time.min() == time.max():
        audit.refuse(name, "is the same in every row", "give when each impression was delivered or shown")
    first, middle = np.quantile(time, [MAX_DROPPED, 0.5])
    for factor, unit in ((1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds")):
        if YEAR_2000_MS * factor <= first and middle <= YEAR_2100_MS * factor:
            problem = f"as milliseconds it would be {middle:.4g}; {unit} given as milliseconds, or the like"
            audit.refuse(name, problem, "give unix milliseconds as time_ms, or unix seconds as time_s")
    if not np.any(time % DAY_MS):
        audit.refuse(name, "holds whole days: dates without a time of day", "give when each impression was shown")


def check_lengths(video: IntArray, duration: FloatArray, name: str, audit: Audit) -> None:
    """A video has one length: rows that say another one are reported, and refused if most videos have several."""
    there = audit.keep & (duration > 0) & (duration <= MAX_MS) & (video >= 0)
    if not there.any():
        return
    video, duration = video[there], duration[there]
    longest, shortest = np.zeros(video.max() + 1), np.full(video.max() + 1, np.inf)
    np.maximum.at(longest, video, duration)
    np.minimum.at(shortest, video, duration)
    several = np.bincount(video) > 1
    differ = several & (longest - shortest > np.maximum(DURATIONS_ALIKE * longest, ROUNDING_MS))
    if not differ.any():
        return
    rows, at = int(differ[video].sum()), int(np.argmax(differ))
    problem = (
        f"differs between rows of {differ.sum():,} of {several.sum():,} videos, such as {shortest[at] / 1e3:.4g} and "
        f"{longest[at] / 1e3:.4g} s, though a video has one length"
    )
    factor = float(np.median(longest[differ] / shortest[differ]))
    if factor > UNITS_APART:
        problem += f"; {factor:.4g} times: two units in one column"
    if differ.sum() > 2 and (factor > UNITS_APART or differ.sum() > several.sum() / 2):
        audit.refuse(name, f"{problem}, in {rows:,} rows", "give each video's length, in one unit")
    audit.warn(name, problem, rows)


def check_values(
    values: Mapping[str, FloatArray], spelled: Mapping[str, str], audit: Audit, has_videos: bool
) -> None:
    """Drop rows that no impression can be. has_videos: whether durations were also looked up in a table of videos."""
    time, duration, play = (values[name] for name in ("time_ms", "duration_ms", "play_ms"))
    with np.errstate(invalid="ignore"):
        if np.median(time[audit.keep]) >= YEAR_2000_MS:
            out, problem = (time < YEAR_2000_MS) | (time > YEAR_2100_MS), "is not between the years 2000 and 2100"
        else:
            out, problem = (time < 0) | (time > TEN_YEARS_MS), "is below 0, or 10 years after it"
        audit.drop(out, spelled["time_ms"], problem, "give unix time, or time from the log's first impression")
        unknown = "is 0 or less (unknown)" + ("" if has_videos else "; a table of videos may have it: --videos FILE")
        audit.drop(duration <= 0, spelled["duration_ms"], unknown, "give each video's length")
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
    """Columns of 0 and 1 hold nothing else. Feedback must differ between rows; the log's own labels of plays need
    not."""
    for name, flag in flags.items():
        minus, happened = int((flag[audit.keep] == -1).sum()), int((flag[audit.keep] == 1).sum())
        if minus > MINUS_SHARE * happened:
            audit.refuse(spelled[name], f"is -1 in {minus:,} rows: unknown, or the opposite of {name}?",
                         "write 0 where it did not happen, and the opposite as a column of its own")  # fmt: skip
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
    """Check what shows only in the remaining rows together, sorted by user and time; nothing is dropped here."""
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
    never = int((play == 0).sum())
    if len(play) >= FEW_USERS and not np.any(play % 1_000):
        audit.warn(spelled["play_ms"], f"holds whole seconds: {never:,} rows are 0, which reads as never started")
    for step, unit in ((HOUR_MS, "hours"), (60_000, "minutes")):
        if not np.any(time % step):
            audit.warn(spelled["time_ms"], f"holds whole {unit}: order within them is the file's")
            break
    _check_pace(user, time, play, spelled["time_ms"], audit)
    _check_cut(of_user, spelled["user"], audit)


def _check_pace(user: IntArray, time: IntArray, play: IntArray, name: str, audit: Audit) -> None:
    """People play no longer than passes until their next row; a little more where times are those of delivery."""
    same = user[1:] == user[:-1]
    gap, before = np.diff(time), play[:-1]
    passed, played = gap[same].sum(), before[same].sum()
    if not same.any() or played <= passed:
        return
    later = same & (gap > 0)
    if np.median(time) < YEAR_2000_MS and before[later].sum() > MAX_PACE * gap[later].sum() > 0:
        pace = before[later].sum() / gap[later].sum()
        fits = "seconds" if pace < 2e4 else "days, as spreadsheets count them"
        audit.refuse(
            name, f"people play {pace:,.0f} times as long as passes to their next row: reads as {fits}",
            "give unix time, or seconds from the log's first impression as time_s",
        )  # fmt: skip
    audit.warn(name, f"{short(f'{played / 1e3:.0f}')} s are played in {passed / 1e3:.0f} s between "
                     "first and last rows: times of delivery, or another unit", int(same.sum()))  # fmt: skip


def _check_cut(of_user: IntArray, name: str, audit: Audit) -> None:
    """Logs that end where a limit was reached, of all rows or of a person's."""
    rows, most = len(audit.keep), int(of_user.max())
    if rows in SHEET_ROWS or (rows >= 10_000 and rows % 10 ** (len(str(rows)) - 1) == 0):
        audit.warn("", f"exactly {rows:,} rows: was the log cut there, and with it a person's rows?", rows)
    at_most = int((of_user == most).sum())
    if len(of_user) >= FEW_USERS and most >= 10 and of_user.min() < most and at_most > 0.2 * len(of_user):
        audit.warn(name, f"{at_most:,} users have exactly {most:,} rows, and none more: were the others left out?",
                   at_most * most)  # fmt: skip
