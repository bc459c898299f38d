"""The logs of a run as Arrow tables and Parquet files that explain themselves and can replay themselves.

`impressions.parquet`, `requests.parquet` and `sessions.parquet`: times in microseconds of the window (`_us`), data in
bytes, bits as booleans, what no policy may see named `hidden_...`. Each file's schema holds, as JSON under `nextone`,
everything its run is a function of, what each column means, and a digest of all this and the data, so that a damaged
file is told from a whole one wherever the damage is. Reading one runs no code. Called by `nextone run` and `replay`.
"""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nextone.sim.config import FEEDBACK, LINK_CLASSES, NEVER_US, TIERS, Scenario
from nextone.sim.records import ORDER, Records
from nextone.sim.scenario import MAX_LINE, SettingError, scenario_from
from nextone.sim.state import (
    ASKED,
    COMPLETE,
    CUT,
    IMPRESSION,
    LAST,
    LONG,
    MODEL_VERSIONS,
    REQUEST,
    REQUEST_OUTCOMES,
    SESSION,
    SKIP,
    STALE,
    USER,
    VALID,
    VIDEO,
    Array,
    World,
)
from nextone.version import __version__

from .arms import Arm
from .deciding import is_decider
from .metrics import Run
from .parquet import DAMAGE, digest, write_record
from .provenance import arms_record, differing, placed, provenance
from .replication import catalogue_sha256, links_sha256, run_arm

TABLES = Records._fields
FORMAT = 1
OUTCOMES = {
    "valid_play": VALID,
    "long_view": LONG,
    "complete": COMPLETE,
    "skip_2s": SKIP,
    "stale": STALE,
    "asked": ASKED,
    "last": LAST,
    "cut": CUT,
}
"""Names of the bits of `outcome`."""
_DONE = {
    "like": "liked", "follow": "followed", "comment": "commented", "forward": "forwarded", "hate": "hated",
    "profile": "profile_visited",
}  # fmt: skip
GIVEN = tuple(_DONE[kind] for kind in FEEDBACK)
"""Names of the bits of `feedback`."""


class Recipe(NamedTuple):
    """What a run depends on, apart from its scenario."""

    policy: str
    seed: int = 0
    replication: int = 0
    engine: str = "event"
    minutes: float | None = None  # of the window; 60 if neither is given
    days: float | None = None
    arm: str = ""  # a label, for people


class Replay(NamedTuple):
    """The outcome of running a file's run again."""

    table: str
    rows: int
    differences: tuple[str, ...]  # empty: every bit is the same


class _Source(NamedTuple):
    """Where columns come from."""

    rows: Array
    users: Array
    videos: Array


class _Column(NamedTuple):
    name: str
    meaning: str
    of: Callable[[_Source], Any]


def outcome_names(bits: int) -> list[str]:
    """`["valid_play", "long_view"]` of an impression's outcome."""
    return [name for name, bit in OUTCOMES.items() if bits & bit]


def feedback_names(bits: int) -> list[str]:
    """`["liked"]` of an impression's feedback."""
    return [name for k, name in enumerate(GIVEN) if bits >> k & 1]


def log_tables(records: Records, world: World) -> dict[str, pa.Table]:
    """The three logs with readable columns, by name."""
    return {
        name: _table(name, _Source(rows, world.users, world.videos))
        for name, rows in zip(TABLES, records, strict=True)
    }


def save_logs(run: Run, out_dir: Path, recipe: Recipe) -> list[Path]:
    """Write the three logs of a run into a folder, each whole or not at all; returns their paths.

    recipe: what `run` was made from; `replay` would find a wrong one."""
    paths = []
    for name, table in log_tables(run.records, run.world).items():
        paths.append(out_dir / f"{name}.parquet")
        write_record(table, _record(name, table.num_rows, run, recipe), paths[-1])
    return paths


def read_log(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """(table, record) of a file written by `save_logs`, every byte of both checked. Raises SettingError, one line."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingError(f"{str(path)!r} is not a file; give a log written by nextone run")
        with pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
            record = _checked_record(file)
            table = file.read(use_threads=False)
        expected = _table(record["table"], _Source(np.zeros(0, _DTYPES[record["table"]]), _NOBODY, _NO_VIDEO))
        if not table.schema.equals(expected.schema, check_metadata=False):
            writer = str(record.get("nextone"))[:40]
            raise ValueError(f"its columns are not this version's: nextone {writer} wrote it, this is {__version__}")
        table = table.replace_schema_metadata(None)
        if record.pop("sha256") != digest(record, table):
            raise ValueError("its contents do not match their checksum")
        return table, record
    except SettingError:
        raise
    except OSError as error:
        raise SettingError(f"{str(path)[:200]!r} cannot be read: {error.strerror or error}; {_REMEDY}") from None
    except DAMAGE as error:
        reason = str(error).rstrip(". ")[:200]
        raise SettingError(f"{str(path)[:200]!r} is damaged or no log of nextone: {reason}; {_REMEDY}") from None


def replay(path: Path) -> Replay:
    """Run a file's run again, from nothing but the file, and compare every bit. Raises SettingError."""
    table, record = read_log(path)
    recipe = _recipe(path, record)
    made = record.get("provenance", {})
    folder = made.get("folder", "")
    arm = placed(Arm(recipe.arm, recipe.policy, _scenario(path, record)), folder if isinstance(folder, str) else "")
    recipe = recipe._replace(policy=str(arm.policy))
    run = run_arm(
        arm.scenario, recipe.policy, seed=recipe.seed, replication=recipe.replication, minutes=recipe.minutes,
        days=recipe.days, engine=recipe.engine,
    )  # fmt: skip
    now = _record(record["table"], table.num_rows, run, recipe)
    differences = [
        f"{name}: {record[name]!r} in the file, {now[name]!r} here"
        for name in ("nextone", "links_sha256", "catalogue_sha256")
        if record[name] != now[name]
    ]
    again = log_tables(run.records, run.world)[record["table"]]
    differences += _differences(record["table"], table, again)
    if differences and made:  # what may be the reason
        differences += [line for line in differing(made, now["provenance"]) if not line.startswith("nextone")]
    return Replay(record["table"], table.num_rows, tuple(differences))


_REMEDY = "give a log written by nextone run"


def _same(name: str, meaning: str, source: str = "") -> _Column:
    return _Column(name, meaning, lambda s: s.rows[source or name])


def _flag(name: str, meaning: str, source: str, bit: int = 1) -> _Column:
    return _Column(name, meaning, lambda s: (s.rows[source] & bit) != 0)


def _where(name: str, meaning: str, known: Callable[[Array], Array]) -> _Column:
    """A column that is null where nothing is known."""
    return _Column(name, meaning, lambda s: pa.array(s.rows[name], mask=~known(s.rows)))


def _of_video(name: str, meaning: str) -> _Column:
    return _Column(name, meaning, lambda s: s.videos[name][s.rows["video"]])


def _word_of(name: str, meaning: str, words: tuple[str, ...], index: Callable[[_Source], Array]) -> _Column:
    return _Column(name, meaning, lambda s: pa.array(np.array(words, dtype=object)[index(s)], pa.string()))


def _turned(rows: Array) -> Array:
    return (rows["queue_us"] >= 0) & (rows["queue_us"] < NEVER_US)


_WHO = (_same("user", "person, from 0"), _same("session", "number in this person's life, from 0"))
_COLUMNS: dict[str, tuple[_Column, ...]] = {
    "impressions": (
        *_WHO,
        _same("impression", "number in this person's life, from 0"),
        _same("video", "index into the catalogue"),
        _of_video("duration_us", "of the video"),
        _of_video("tag", "the video's first tag"),
        _of_video("tag2", "its second tag, or the first again"),
        _same("request", "number of the request that brought it"),
        _same("position", "in the page, from 0"),
        _same("rank", "place the server gave it, from 0"),
        _same("meeting", "number of the set of videos that it was served from, from 1"),
        _same("live_candidates", "how many there were to choose from", "live"),
        _same("start_us", "takes the screen"),
        _same("wait_us", "before it: no page to show"),
        _same("swipe_us", "before it: the transition"),
        _same("startup_us", "wait for the first frame, inference after a wait included"),
        _same("pick_us", "that inference"),
        _same("play_us", "watch time"),
        _same("stall_us", "interruptions of play"),
        _same("browse_us", "in comments or on a profile"),
        _same("away_us", "app in the background"),
        _same("stalls", "number of interruptions"),
        _same("bitrate_bps", "of the encoding shown"),
        _same("buffered_bytes", "held when it took the screen", "buffered"),
        _same("fetched_bytes", "fetched of it, in all", "bytes"),
        _same("total_bytes", "of the whole video"),
        _flag("valid_play", "played 7 s or to the end", "outcome", VALID),
        _flag("long_view", "played 18 s or to the end", "outcome", LONG),
        _flag("complete", "played .95 of it or more", "outcome", COMPLETE),
        _flag("skip_2s", "left within 2 s", "outcome", SKIP),
        _flag("stale", "a ranking was still being computed when it took the screen", "outcome", STALE),
        _flag("asked", "a decision was asked for", "outcome", ASKED),
        _flag("last", "the person left the app after it", "outcome", LAST),
        _flag("cut", "cut off by the run's end", "outcome", CUT),
        _flag("overdue", "shown after expiry", "late"),
        *(_flag(name, "feedback", "feedback", 1 << k) for k, name in enumerate(GIVEN)),
        _same("hidden_stay_logit", "log-odds of staying; no policy may see it", "stay_logit"),
        _same("hidden_mood", "logit, part of it; no policy may see it", "mood"),
        _same("hidden_intent", "logit, part of it: what passing interests draw to it; no policy may see it", "intent"),
        _same("hidden_target_us", "content the person would watch without stalls", "target_us"),
    ),
    "requests": (
        *_WHO,
        _same("request", "number in this person's life, from 1"),
        _same("attempt", "0, or the nth retry"),
        _word_of("outcome", "how it ended: " + ", ".join(REQUEST_OUTCOMES), REQUEST_OUTCOMES,
                 lambda s: s.rows["outcome"]),
        _flag("refresh", "asked for by the policy", "refresh"),
        _word_of("model", "version on the phone: " + ", ".join(MODEL_VERSIONS), MODEL_VERSIONS,
                 lambda s: s.rows["model"]),
        _same("sent_us", "leaves the phone"),
        _same("arrived_us", "reaches the server, unless lost"),
        _where("queue_us", "wait for a worker; null: got none", _turned),
        _where("service_us", "a worker held; null: got none", _turned),
        _where("response_us", "first byte back on the phone; null: never", lambda r: r["queue_us"] < NEVER_US),
        _same("ended_us", "landed, given up, or person gone"),
    ),
    "sessions": (
        *_WHO,
        _word_of("phone", "tier", TIERS, lambda s: s.users["tier"][s.rows["user"]]),
        _word_of("link", "access network", LINK_CLASSES, lambda s: s.users["link"][s.rows["user"]]),
        _same("open_us", "the app comes to the foreground"),
        _same("close_us", "and leaves it"),
        _same("impressions", "in this session"),
        _flag("cut", "ended by the run, not by the person", "cut"),
        _flag("dry", "ended while waiting for a page", "dry"),
        _same("hidden_satisfaction", "at the end", "satisfaction"),
        _same("hidden_mood", "of the session; no policy may see it", "mood"),
    ),
}  # fmt: skip
_DTYPES = {"impressions": IMPRESSION, "requests": REQUEST, "sessions": SESSION}
_NOBODY, _NO_VIDEO = np.zeros(0, USER), np.zeros(0, VIDEO)


def _table(name: str, source: _Source) -> pa.Table:
    columns = {column.name: pa.array(column.of(source)) for column in _COLUMNS[name]}
    return pa.table(columns)


def _record(name: str, rows: int, run: Run, recipe: Recipe) -> dict[str, Any]:
    world = run.world
    return {
        "format": FORMAT,
        "table": name,
        "rows": rows,
        "nextone": __version__,
        **recipe._asdict(),
        **made_of(run, recipe),
        "links_sha256": links_sha256(world),
        "catalogue_sha256": catalogue_sha256(world),
        "columns": {column.name: column.meaning for column in _COLUMNS[name]},
    }


def made_of(run: Run, recipe: Recipe) -> dict[str, Any]:
    """The scenario, and what else it takes to run it again."""
    arm, n = Arm(recipe.arm, recipe.policy, run.scenario), recipe.replication + 1
    made = provenance(
        [arm], seed=recipe.seed, replications=n, minutes=recipe.minutes, days=recipe.days, engine=recipe.engine
    )
    return {"scenario": arms_record([arm])[0]["scenario"], "provenance": made}


def _checked_record(file: pq.ParquetFile) -> dict[str, Any]:
    held = (file.metadata.metadata or {}).get(b"nextone")
    if held is None:
        raise ValueError("it says nothing about a run")
    record = json.loads(held)
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), str):
        raise ValueError("it says nothing about a run")
    if record.get("format") != FORMAT or record.get("table") not in TABLES:
        raise ValueError(f"format {str(record.get('format'))[:20]} is not known to nextone {__version__}")
    if record.get("rows") != file.metadata.num_rows:
        raise ValueError("its number of rows is not what it says")
    return record


def _scenario(path: Path, record: dict[str, Any]) -> Scenario:
    text = record.get("scenario")
    try:
        if not isinstance(text, str) or max(map(len, text.splitlines()), default=0) > MAX_LINE:
            raise ValueError("it is not TOML as this program writes it")
        return scenario_from(text)
    except (SettingError, ValueError) as error:
        raise SettingError(
            f"{str(path)[:200]!r}: its scenario does not suit nextone {__version__}: {error}; replay it with nextone "
            f"{str(record.get('nextone'))[:40]}, which wrote it"
        ) from None


def _recipe(path: Path, record: dict[str, Any]) -> Recipe:
    try:
        recipe = Recipe(*(record[name] for name in Recipe._fields))
        if not is_decider(recipe.policy):
            raise ValueError(f"policy {recipe.policy!r:.60} is not one of nextone's")
        if recipe.engine not in ("event", "batch"):
            raise ValueError(f"engine {recipe.engine!r:.60} is not event or batch")
        for name, most in (("seed", 2**63), ("replication", 2**32)):
            value = record[name]
            if type(value) is not int or not 0 <= value < most:
                raise ValueError(f"{name}={value!r:.40} is not a whole number in range")
        for name, most in (("minutes", 1440), ("days", 366)):
            value = record[name]
            if value is not None and not (type(value) in (int, float) and 0 < value <= most):
                raise ValueError(f"{name}={value!r:.40} is not a number in range")
    except (KeyError, ValueError) as error:
        raise SettingError(f"{str(path)[:200]!r} cannot be replayed: {error}") from None
    return recipe


def _differences(name: str, old: pa.Table, new: pa.Table) -> list[str]:
    """One line per column that differs: in how many rows, and the first of them."""
    if old.num_rows != new.num_rows:
        return [f"{old.num_rows:,} {name} in the file, {new.num_rows:,} here"]
    lines = []
    for column in old.column_names:
        wrong = _differing_rows(old[column], new[column])
        if len(wrong):
            k = int(wrong[0])
            where = ", ".join(f"{key} {old[key][k].as_py()}" for key in ORDER[TABLES.index(name)])
            lines.append(
                f"{column}: {len(wrong):,} of {old.num_rows:,} rows, first that of {where}: "
                f"{old[column][k].as_py()} in the file, {new[column][k].as_py()} here"
            )
    return lines


def _differing_rows(old: pa.ChunkedArray, new: pa.ChunkedArray) -> Array:
    """Rows whose bits differ; two NaNs of the same bits are the same."""
    if pa.types.is_floating(old.type):
        bits = np.dtype(f"u{old.type.bit_width // 8}")
        return np.flatnonzero(old.to_numpy().view(bits) != new.to_numpy().view(bits))
    same = pc.or_kleene(pc.equal(old, new), pc.and_(pc.is_null(old), pc.is_null(new)))
    return np.flatnonzero(~pc.fill_null(same, False).to_numpy())
