"""What each column of a user's file means and its unit: by its name, or by `--columns`.

It knows our generic format, those of KuaiRand, KuaiRec and KuaiSAR, and the type suffixes of RecBole (`x:token`). The
values in the columns are not known here. Called by `table.py` and `user_log.py`.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from nextone.sim.config import FEEDBACK
from nextone.sim.inputs.columns import placed
from nextone.sim.inputs.errors import fail, short

Format = Literal["kuairand", "kuairec", "kuaisar", "generic"]

MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6}
"""Milliseconds in each unit of time."""
SHARES = {"percent": 0.01, "share": 1.0}
"""Units of a play time as a part of the duration."""
UNIX = "unix s or ms"  # a time whose unit its size says
SUFFIXES = {**{unit: unit for unit in MS}, "sec": "s", "percent": "percent", "pct": "percent", "share": "share"}
LABELS = ("valid play", "long view")
FLAGS = (*FEEDBACK, "randomised", *LABELS)
IDS = ("user", "video", "tag", "author", "session", "request", "network")
TIMES = ("time_ms", "duration_ms", "play_ms", "stall_ms", "comment_open_ms")
NEEDED = ("user", "video", "time_ms", "duration_ms", "play_ms")


class Meaning(NamedTuple):
    """What a column is, by its name."""

    thing: str
    unit: str = ""  # one of MS, of SHARES, UNIX; "" where there is none, or where only its values tell


class Column(NamedTuple):
    """One column of a file that is read."""

    thing: str
    name: str  # as the file calls it, in lower case; its position from 1 where there is no header
    unit: str
    place: int  # from 0
    words: bool = False  # a list of words with blanks between them


def _timed(base: str, thing: str) -> dict[str, Meaning]:
    units = SUFFIXES if thing == "play_ms" else {word: unit for word, unit in SUFFIXES.items() if unit in MS}
    return {f"{base}_{word}": Meaning(thing, unit) for word, unit in units.items()}


# Column name -> what it is.
GENERIC = {
    **{name: Meaning(name) for name in ("user", "video", *FEEDBACK, "randomised", "tag", "author", "session",
                                        "request", "network")},
    "page": Meaning("request"), "time": Meaning("time_ms"), **_timed("time", "time_ms"),
    **_timed("duration", "duration_ms"), **_timed("play", "play_ms"), **_timed("stall", "stall_ms"),
    **_timed("comment_open", "comment_open_ms"),
}  # fmt: skip
KUAIRAND = {
    "user_id": Meaning("user"), "video_id": Meaning("video"), "time_ms": Meaning("time_ms", "ms"),
    "duration_ms": Meaning("duration_ms", "ms"), "play_time_ms": Meaning("play_ms", "ms"),
    **{f"is_{kind}": Meaning(kind) for kind in FEEDBACK if kind != "profile"},
    "is_profile_enter": Meaning("profile"), "is_rand": Meaning("randomised"),
    "comment_stay_time": Meaning("comment_open_ms", "ms"), "tab": Meaning("tab"), "is_click": Meaning("valid play"),
    "long_view": Meaning("long view"),
}  # fmt: skip
KUAIREC = {
    "user_id": Meaning("user"), "video_id": Meaning("video"), "play_duration": Meaning("play_ms", "ms"),
    "video_duration": Meaning("duration_ms", "ms"), "timestamp": Meaning("time_ms", UNIX), "time": Meaning("time_ms"),
    "watch_ratio": Meaning("play_ms", "share"),
}  # fmt: skip
KUAISAR = {
    "user_id": Meaning("user"), "item_id": Meaning("video"), "playing_time": Meaning("play_ms", "ms"),
    "duration_ms": Meaning("duration_ms", "ms"), "timestamp": Meaning("time_ms", UNIX), "time": Meaning("time_ms"),
    **{kind: Meaning(kind) for kind in ("like", "follow", "forward")},
}  # fmt: skip
FORMATS: dict[str, dict[str, Meaning]] = {
    "kuairand": KUAIRAND, "kuairec": KUAIREC, "kuaisar": KUAISAR, "generic": GENERIC
}
SECOND_CHOICE = ("time", "watch_ratio")  # left aside where another column says the same better
OF_KUAIRAND = ("tab", *LABELS)  # what only its own columns are taken for
KNOWN = {
    name: meaning for names in (KUAISAR, KUAIREC, KUAIRAND, _timed("play_time", "play_ms"), GENERIC)
    for name, meaning in names.items()
}  # fmt: skip
EVENTS = ("event", "event_type", "event_name", "action", "action_type", "behavior", "behavior_type", "behaviour")
"""Columns that say what kind of event a row is."""
TOLD = {  # names for --columns: ours and the formats', and those of times without a unit; -> units it may be given in
    name: () if meaning.thing not in TIMES else (*MS, *(SHARES if meaning.thing == "play_ms" else ()))
    for name, meaning in (KNOWN | {thing.removesuffix("_ms"): Meaning(thing) for thing in TIMES}).items()
}  # fmt: skip

ALIKE = {  # what a column may be called that is no misspelling, -> names it may be meant as
    "user": ("uid", "userid", "user_name", "member", "member_id", "visitor_id", "customer_id", "person", "device_id"),
    "video": ("vid", "videoid", "item", "itemid", "iid", "movie_id", "movieid", "content_id", "photo_id", "clip_id"),
    "time_ms": ("ts", "timestamp", "datetime", "date_time", "request_time", "server_time", "event_time", "created_at"),
    "duration_ms": ("duration", "length", "video_length", "video_duration", "item_duration"),
    "play_ms": ("play", "play_time", "playtime", "play_duration", "watch_time", "watchtime", "watch_duration", "dwell",
                "dwell_time", "view_time", "watched", "viewing_time", "playing_time", "watch", "view_duration",
                "watch_pct", "watch_percent", "watched_pct", "percent_watched", "completion", "completion_rate"),
    "forward": ("share", "shares", "shared", "is_share", "repost", "retweet"),
    "hate": ("dislike", "dislikes", "disliked", "is_dislike", "not_interested"),
    "like": ("likes", "liked", "favorite", "favourite", "heart", "thumbs_up", "digg", "upvote"),
    "follow": ("follows", "followed", "subscribe"), "comment": ("comments", "commented"),
    "tag": ("tags", "category", "video_category", "topic", "genre"), "author": ("author_id", "creator", "uploader"),
}  # fmt: skip
NO_PLAYS = {  # a format that cannot tell what is needed -> columns by which it is known
    "Tenrec": {"item_id", "watching_times", "video_category"}, "MovieLens": {"movieid", "rating"},
}  # fmt: skip


def plain(name: str) -> str:
    """A name of a header, without what RecBole adds to it, in lower case."""
    return re.sub(r":(token|float)(_seq)?$", "", name.strip().lower())


def format_of(names: Collection[str]) -> Format:
    """The format of a log, by the names of its columns."""
    if {"play_duration", "video_duration"} <= set(names) or "watch_ratio" in names:
        return "kuairec"
    if {"playing_time", "item_id"} <= set(names):
        return "kuaisar"
    return "kuairand" if sum(n in KUAIRAND for n in names) > sum(n in GENERIC for n in names) else "generic"


def log_columns(
    path: Path, header: Sequence[str], headed: bool, format: Format | None, said: Mapping[str, str]
) -> tuple[dict[str, Column], str]:
    """(a Column for each thing, what is wrong with them, or ""). A name of the file's own format comes before one of
    another; if a format is given, no other counts. said: what `--columns` says, which comes before everything else."""
    names = [plain(name) for name in header]
    own = FORMATS[format or format_of(names)] if headed else {}
    found = _said(path, said, header, headed)
    wrong: list[str] = []
    others = {} if format or not headed else {k: v for k, v in KNOWN.items() if v.thing not in OF_KUAIRAND}
    for known in (own, others):
        there = dict(found)
        for place, name in enumerate(names):
            meaning = known.get(name)
            if meaning is None or meaning.thing in there or any(c.place == place for c in found.values()):
                continue
            other = found.get(meaning.thing)
            if other is None or other.name in SECOND_CHOICE:
                seq = header[place].lower().endswith("_seq")
                found[meaning.thing] = Column(meaning.thing, name, meaning.unit, place, seq)
                if other is not None and other.name == "time":
                    found["clock"] = other._replace(thing="clock")
            elif name == "time" and meaning.thing == "time_ms":
                found["clock"] = Column("clock", name, "", place)
            elif name == other.name:
                wrong.append(f"has {names.count(name)} columns named {name}; leave one")
            elif name not in SECOND_CHOICE:
                wrong.append(f"has columns {other.name} and {name}, the same thing; leave one")
    event = next((place for place, name in enumerate(names) if headed and name in EVENTS), None)
    if event is not None:
        found["event"] = Column("event", names[event], "", event)
    return found, wrong[0] if wrong else ""


def _said(path: Path, said: Mapping[str, str], header: Sequence[str], headed: bool) -> dict[str, Column]:
    """What `--columns` says, in this file. Raises UserError for one thing said twice, and for a time without a unit."""
    found: dict[str, Column] = {}
    for choice in placed(path, said, TOLD, header, headed):
        thing, unit = KNOWN.get(choice.name, Meaning(f"{choice.name}_ms"))
        name = plain(header[choice.place]) if headed else f"{choice.place + 1}"
        if thing in found:
            fail(path, f"--columns gives {found[thing].name} and {name} for {thing.removesuffix('_ms')}; leave one")
        unit = choice.unit or unit
        if thing in TIMES[1:] and not unit:
            units = ", ".join(TOLD[choice.name])
            fail(path, f"--columns {choice.name}={name} lacks a unit; write {choice.name}={name}:UNIT, one of {units}")
        found[thing] = Column(thing, name, unit, choice.place)
    return found


def missing_columns(
    found: Mapping[str, Column], header: Sequence[str], headed: bool, format: Format | None, has_videos: bool
) -> str:
    """What a file lacks that a log needs, in one phrase with the remedy; "" if nothing."""
    names = [plain(name) for name in header]
    missing = [thing for thing in NEEDED if thing not in found and not (thing == "duration_ms" and has_videos)]
    if not missing:
        return ""
    known = FORMATS[format or (format_of(names) if headed else "generic")]
    called = {thing: " or ".join(_names_of(thing, known)) for thing in missing}
    lacks = ", ".join(f"no column {called[thing]}" for thing in missing)
    if header[0].lstrip().startswith(("{", "[")):
        return f"has {lacks}: it reads as JSON; write it as CSV or Parquet, one row per impression"
    if not headed:
        return (
            f"has {lacks}: line 1 looks like data, not a header; write one, or say which column is what by position: "
            "--columns user=1,video=2,time_ms=3,duration_ms=4,play_ms=5"
        )
    for which, signs in NO_PLAYS.items():
        if signs <= set(names) and "play_ms" in missing:
            return f"has {lacks}: {which}'s columns do not tell how long a video played; give a log that does"
    used = {column.name for column in found.values()}
    hints = {thing: likely(thing, known, [name for name in names if name not in used]) for thing in missing}
    guessed = [f"{hints[thing]} for {called[thing].split(' or ')[0]}" if len(missing) > 1 else hints[thing]
               for thing in missing if hints[thing]]  # fmt: skip
    as_said = _as_columns(hints)
    units = f", for UNIT one of {', '.join(MS)}" if "UNIT" in as_said else ""
    hint = f"did you mean {', '.join(guessed)}? say so: --columns {as_said}{units}" if guessed else (
        f"the file has {short(', '.join(header), 200)}; say which is what: "
        f"--columns {missing[0].replace('_ms', '_s')}=COLUMN"
    )  # fmt: skip
    by_table = "; or name a table of videos that has durations: --videos FILE" if "duration_ms" in missing else ""
    return f"has {lacks}; {short(hint, 400)}{by_table}"


def _names_of(thing: str, known: Mapping[str, Meaning]) -> list[str]:
    """What to call it, without the rarer units."""
    usual = [name for name, meaning in known.items() if meaning.thing == thing]
    return [name for name in usual if not re.search(r"_(ns|us|min|h|sec|percent|pct|share)$", name)] or usual


def _as_columns(hints: Mapping[str, str]) -> str:
    """The guesses as they would be given."""
    parts = []
    for thing, name in hints.items():
        unit = next((SUFFIXES[end] for end in [name.rpartition("_")[2]] if end in SUFFIXES), "UNIT")
        parts.append(f"{thing.removesuffix('_ms')}={name}" + (f":{unit}" if thing in TIMES else ""))
    return ",".join(part for part in parts if "=:" not in part and not part.endswith("="))


def likely(thing: str, known: Mapping[str, Meaning], names: Sequence[str]) -> str:
    """The name, of these, that this thing may have in the file; or "", because a wrong hint is worse than none."""
    alike = next((name for name in names if name in ALIKE.get(thing, ())), "")
    close = (m for own in _names_of(thing, known) for m in difflib.get_close_matches(own, names, n=1, cutoff=0.8))
    return alike or next(close, "")


def unused_hint(name: str, absent: Collection[str]) -> str:
    """What a column that is not read may have been meant as; or ""."""
    for thing in absent:
        ours = [known for known, meaning in GENERIC.items() if meaning.thing == thing]
        if name in ALIKE.get(thing, ()) or difflib.get_close_matches(name, ours, n=1, cutoff=0.8):
            return thing
    return ""
