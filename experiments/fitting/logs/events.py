"""Rows that are events and no impressions, which are refused by name: heartbeats, starts and stops, a like as a
separate row.

Called by `user_log.py`.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from nextone.sim.inputs.errors import short

from .checks import Audit
from .table import BoolArray, FloatArray, IntArray, LogFile, fail

AGAIN_MS = 60_000.0  # within which a person is not shown the same video twice; twice its length, if that is more
BETWEEN = 1  # rows of other videos between them, at most: what comes back later is shown again
MAX_AGAIN, TOLD_AGAIN = 0.05, 0.01  # rows that are, of all: KuaiRand-Pure has .0004
FEW = 5
ONE_ROW = "give one row for each time a video was shown to a person, with how long it played"
KINDS = {"start", "stop", "end", "play", "pause", "resume", "heartbeat", "progress", "like", "unlike", "follow",
         "comment", "share", "forward", "click", "view", "impression", "expose", "exposure", "show", "skip", "swipe",
         "finish", "complete", "dislike", "hate", "enter", "leave", "seek", "watch"}  # fmt: skip


def check_event_column(file: LogFile) -> None:
    """A column that says what kind of event each row is must say the same kind in all rows. Raises UserLogError."""
    if "event" not in file.table.column_names:
        return
    words = [str(word) for word in pc.unique(file.table["event"].combine_chunks()).drop_null().to_pylist()]
    kinds = [word for word in words if any(part in KINDS for part in word.lower().replace("-", "_").split("_"))]
    if len(kinds) > 1:
        fail(file.path, f"{file.columns['event'].name} has {short(', '.join(sorted(kinds)), 100)}: rows are events, "
                        f"not impressions; {ONE_ROW}")  # fmt: skip


def check_events(
    user: IntArray, video: IntArray, values: Mapping[str, FloatArray], flags: Mapping[str, FloatArray], audit: Audit
) -> None:
    """Refuse rows that follow another one of the same user and video so soon that both belong to one impression. A log
    of a single video is not checked."""
    rows = np.flatnonzero(audit.keep)
    if len(np.unique(video[rows])) < 2:
        return
    time, duration, play = (values[name] for name in ("time_ms", "duration_ms", "play_ms"))
    rank = np.empty(len(user), np.int64)  # among the person's rows, by time
    rank[rows[np.lexsort((time[rows], user[rows]))]] = np.arange(len(rows))
    order = rows[np.lexsort((time[rows], video[rows], user[rows]))]
    same = (user[order][1:] == user[order][:-1]) & (video[order][1:] == video[order][:-1])
    gap = np.diff(time[order])
    again = same & (gap > 0) & (gap <= np.maximum(AGAIN_MS, 2 * duration[order][:-1]))
    again &= np.diff(rank[order]) <= 1 + BETWEEN
    share = float(again.sum()) / max(len(rows), 1)
    first, second = order[:-1][again], order[1:][again]
    happened = np.zeros(len(user), np.bool_)
    for flag in flags.values():
        happened |= flag == 1
    alone = happened[second] & ~happened[first]
    of_all = float(happened[second].sum()) / max(int(happened[rows].sum()), 1)
    is_feedback = alone.sum() >= FEW and (2 * alone.sum() >= len(second) or of_all > 0.5)
    if share <= MAX_AGAIN and not is_feedback:
        _check_unplayed(play[rows], {kind: flag[rows] for kind, flag in flags.items()}, audit)
        if share > TOLD_AGAIN:
            audit.warn("", "follows a row of the same user and video: are these impressions?", len(first))
        return
    seconds = np.median(gap[again]) / 1e3
    kind, remedy = _kind(play[first], play[second], gap[again], alone)
    fail(
        audit.path,
        f"{len(first):,} of {len(rows):,} rows follow a row of the same user and video, {seconds:.3g} s later (median)"
        f": {kind}; they would count as {len(first):,} more impressions; {remedy}",
    )  # fmt: skip


def _check_unplayed(play: FloatArray, flags: Mapping[str, FloatArray], audit: Audit) -> None:
    """Feedback comes from people who saw the video: KuaiRand-Pure has .004 of its likes where nothing played."""
    for kind, flag in flags.items():
        happened = int((flag == 1).sum())
        unplayed = int(((flag == 1) & (play == 0)).sum())
        if unplayed >= FEW and 2 * unplayed > happened:
            fail(audit.path, f"{kind} is 1 in {happened:,} rows, and in {unplayed:,} of them nothing was played: "
                             "feedback as a row of its own; write it into the row of the impression")  # fmt: skip


def _kind(first: FloatArray, second: FloatArray, gap: FloatArray, alone: BoolArray) -> tuple[str, str]:
    """(what the rows are, what to do)."""
    if 2 * alone.sum() >= len(alone):
        return "feedback as a row of its own", "write it into the row of the impression, 1 where it happened"
    if np.mean((second == 0) | (first == 0)) > 0.5:
        return "starts and stops", ONE_ROW
    if np.mean(second > first) > 0.8 and np.mean(second - first <= 1.5 * gap) > 0.8:
        return "heartbeats with the play so far", "keep the last row of each impression"
    if np.mean(first >= 0.8 * gap) > 0.5 and np.mean(second <= 1.5 * np.median(gap)) > 0.5:
        return "heartbeats with the play since the last", "add them up, one row for each impression"
    return "events, not impressions", ONE_ROW


def check_repeats(flags: Mapping[str, FloatArray], first: IntArray, second: IntArray, audit: Audit) -> None:
    """Refuse repeated rows, of the same user, video and time, that hold feedback which the row that is kept lacks."""
    for flag in flags.values():
        lost = int(((flag[second] == 1) & (flag[first] != 1)).sum())
        if lost >= FEW:
            fail(audit.path, f"{lost:,} rows have the user, video and time of another, and feedback that it has not: "
                             "feedback as a row of its own; write it into the row of the impression")  # fmt: skip
