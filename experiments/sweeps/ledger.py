"""The ledger of a sweep: an SQLite file that holds its plan, every cell's state, and every result as it comes in.

It is written in WAL mode. After a kill, everything that was committed is there; the rest is run again, and keyed draws
give it the same bits. Every result carries a digest, because SQLite checks none. One sweep at a time works in a folder:
it locks an empty file beside the ledger, `ledger.lock`. So reading is never blocked, and any SQLite tool can query the
ledger at any time: `sqlite3 DIR/ledger.sqlite "select state, count(*) from cell group by state"`.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nextone.experiments.runs.provenance import understood
from nextone.sim.inputs.errors import UserError
from nextone.sim.scenario import SettingError

from .plan import Plan

NAME = "ledger.sqlite"
LOCK = "ledger.lock"
FORMAT = 2
EXPECTED = "expected"  # of the table `sweep`: how many tasks there will be in all, as far as can be told
WAIT_S = 60.0  # for another program that is writing to the ledger, such as an SQLite browser
TABLES = """
CREATE TABLE sweep (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cell (cell INTEGER PRIMARY KEY, settings TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE task (
    cell INTEGER NOT NULL, policy TEXT NOT NULL, replication INTEGER NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', metrics BLOB, positions BLOB, links TEXT, catalogue TEXT, digest BLOB,
    PRIMARY KEY (cell, replication, policy)
) WITHOUT ROWID;
"""
CLEAR = ("DROP TABLE IF EXISTS sweep", "DROP TABLE IF EXISTS cell", "DROP TABLE IF EXISTS task")


class Key(NamedTuple):
    """A task's cell number, replication and policy. Keys sort in the order of the results."""

    cell: int
    replication: int
    policy: str


class Result(NamedTuple):
    """The result of a task, as it is kept."""

    metrics: np.ndarray  # (M,) float64
    positions: np.ndarray  # (P, 2) int64
    links_sha256: str
    catalogue_sha256: str


class Ledger:
    """An open ledger. Made by `begin` or `resume`; close it."""

    def __init__(
        self, folder: Path, plan: Plan, made: Mapping[str, Any], connection: sqlite3.Connection,
        lock: sqlite3.Connection,
    ) -> None:  # fmt: skip
        self.folder, self.plan = folder, plan
        self.made = made  # code, versions and inputs that all its results are made of, as `sweep.made_of` tells them
        self._db, self._lock = connection, lock

    def close(self) -> None:
        """Close the ledger, and let go of the folder's lock."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All that is written in it, or nothing."""
        with told(self.folder), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    def promise(self, keys: Iterable[Key], expected: int) -> None:
        """Note tasks that are to be done; those known already stay as they are. expected: how many there will be in
        all."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO sweep VALUES (?, ?)", (EXPECTED, str(expected)))
            self._db.executemany(
                "INSERT OR IGNORE INTO task (cell, replication, policy, state) VALUES (?, ?, ?, 'planned')", keys
            )

    def done(self, key: Key, result: Result) -> None:
        """Keep a task's result. It is safe when this returns."""
        with self._writing():
            self._db.execute(
                "UPDATE task SET state = 'done', metrics = ?, positions = ?, links = ?, catalogue = ?, digest = ? "
                "WHERE cell = ? AND replication = ? AND policy = ?",
                (*_stored(result), _digest(key, *_stored(result)), *key),
            )

    def failed(self, key: Key, reason: str) -> None:
        """Keep why a task failed."""
        with self._writing():
            self._db.execute(
                "UPDATE task SET state = 'failed', reason = ?, digest = ? "
                "WHERE cell = ? AND replication = ? AND policy = ?", (reason, _digest(key, reason), *key)
            )  # fmt: skip

    def try_again(self) -> None:
        """Plan everything that failed once more: a failure is no result."""
        with self._writing():
            self._db.execute("UPDATE task SET state = 'planned', reason = '', digest = NULL WHERE state = 'failed'")
            self._db.execute("UPDATE cell SET state = 'planned', reason = '' WHERE state = 'failed'")

    def extend(self, plan: Plan) -> None:
        """Replace the plan by this one, which asks for more."""
        with self._writing():
            self._db.executemany("UPDATE sweep SET value = ?2 WHERE name = ?1", _about(plan, self.made).items())
        self.plan = plan

    def mark(self, states: Iterable[tuple[int, str, str]]) -> None:
        """Set cells' (number, state, reason); state is planned, running, done or failed."""
        with self._writing():
            self._db.executemany("UPDATE cell SET state = ?2, reason = ?3 WHERE cell = ?1", states)

    def outcomes(self) -> tuple[dict[Key, Result], dict[Key, str]]:
        """(results, reasons of failures) of all that is finished, in order. Raises SettingError if it is damaged."""
        results: dict[Key, Result] = {}
        failures: dict[Key, str] = {}
        with told(self.folder):
            for cell, replication, policy, state, reason, *stored, digest in self._db.execute(
                "SELECT cell, replication, policy, state, reason, metrics, positions, links, catalogue, digest "
                "FROM task ORDER BY cell, replication, policy"
            ):
                key = Key(cell, replication, policy)
                if state == "done" and digest == _digest(key, *stored):
                    results[key] = _loaded(*stored)
                elif state == "failed" and digest == _digest(key, reason):
                    failures[key] = reason
                elif state != "planned" or digest is not None:
                    raise sqlite3.DatabaseError(f"what it says of cell {cell}, replication {replication} is damaged")
        return results, failures


def begin(
    folder: Path, plan: Plan, made: Mapping[str, Any], keys: Iterable[Key], *, replace: bool = False
) -> Ledger:  # fmt: skip
    """A new ledger with the whole plan and its first tasks, written at once or not at all. Raises SettingError.

    made: what results are made of; see `Ledger.made`. replace: throw away a sweep that is in the folder."""
    with told(folder), _locked(folder) as lock, _open(folder / NAME) as db:
        if not replace and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sweep'").fetchone():
            raise SettingError(f"--out {str(folder)!r} holds a sweep already; give --resume {folder}, or another one")
        with db:
            db.execute("BEGIN IMMEDIATE")
            for statement in (*CLEAR, *TABLES.split(";")):
                db.execute(statement)
            db.executemany("INSERT INTO sweep VALUES (?, ?)", _about(plan, made).items())
            db.executemany(
                "INSERT INTO cell VALUES (?, ?, 'planned', '')", [(c.number, c.label) for c in plan.cells]
            )
            db.executemany(
                "INSERT INTO task (cell, replication, policy, state) VALUES (?, ?, ?, 'planned')", keys
            )
    return Ledger(folder, plan, made, db, lock)


def resume(folder: Path) -> Ledger:
    """The ledger in a folder.

    Raises SettingError if there is none, if it is damaged, if another version wrote what this one cannot read, or if
    another sweep is at work in the folder."""
    path = folder / NAME
    if not path.is_file():
        raise SettingError(f"--resume {str(folder)!r}: holds no sweep ({NAME} is missing); give the --out of one")
    with told(folder), _locked(folder) as lock, _open(path) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sweep'").fetchone():
            raise SettingError(f"--resume {str(folder)!r}: its sweep was killed before it had begun; start it again")
        about = dict(db.execute("SELECT name, value FROM sweep"))
        if about.get("format", "").isdecimal() and about["format"] != str(FORMAT):
            which = "an earlier" if int(about["format"]) < FORMAT else "a later"
            raise SettingError(
                f"--resume {str(folder)!r}: begun by {which} version of nextone; finish it with that, or begin a new "
                "one"
            )
        made, text = about.get("made", ""), about.get("plan", "")
        if about.get("format") != str(FORMAT) or about.get("digest") != _digest(made, text).hex():
            raise sqlite3.DatabaseError("its plan is damaged")
        of = json.loads(made)
        with understood("a sweep", folder, of):
            plan = Plan.from_record(json.loads(text))
        return Ledger(folder, plan, of, db, lock)


class Standing(NamedTuple):
    """How far a sweep is."""

    at_work: bool  # a process is at work on it
    done: int  # tasks, failed ones among them
    failed: int
    known: int  # tasks that are done or planned so far
    expected: int  # tasks there will be in all, as the sweep itself expects
    version: str  # of nextone, that began it; empty if the ledger does not say


def standing(folder: Path) -> Standing:
    """What the ledger in a folder says now, whoever is at work in it. Nothing is created or changed there.

    Raises SettingError if it is damaged, or if the sweep was killed before it had begun."""
    path = folder / NAME
    with told(folder), closing(_to_read(path, wal=path.with_name(f"{NAME}-wal").exists())) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sweep'").fetchone():
            raise SettingError(f"{folder}: its sweep was killed before it had begun; start it again")
        states = dict(db.execute("SELECT state, count(*) FROM task GROUP BY state"))
        about = dict(db.execute("SELECT name, value FROM sweep WHERE name IN (?, 'made')", (EXPECTED,)))
    every, expected = sum(states.values()), str(about.get(EXPECTED, ""))
    failed = states.get("failed", 0)
    return Standing(
        _is_held(folder), states.get("done", 0) + failed, failed, every,
        max(every, int(expected)) if expected.isdecimal() else every,
        str(json.loads(about.get("made", "{}")).get("version", "")),
    )  # fmt: skip


def _to_read(path: Path, *, wal: bool) -> sqlite3.Connection:
    """A connection that cannot write. wal: somebody may be writing; else the file is read as it lies there."""
    mode = "mode=ro" if wal else "immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=1.0, isolation_level=None)


def _is_held(folder: Path) -> bool:
    """Whether a living process holds the lock of the folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with closing(_to_read(folder / LOCK, wal=True)) as lock:
            lock.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    return False


def _about(plan: Plan, made: Mapping[str, Any]) -> dict[str, str]:
    """What the table `sweep` holds."""
    of, text = json.dumps(made), json.dumps(plan.record())
    return {"format": str(FORMAT), "made": of, "plan": text, "digest": _digest(of, text).hex()}


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """A block whose complaints of SQLite or the disk become SettingError, one line with the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        reason = str(error)
        remedy = f"then go on with nextone sweep --resume {folder}"
        if "locked" in reason:
            raise SettingError(
                f"{folder / NAME}: another program has been writing to it for {WAIT_S:g} s; close that, {remedy}"
            ) from None
        if "full" in reason:
            raise SettingError(f"{folder}: the disk is full; free some space, {remedy}") from None
        if "readonly" in reason or "unable to open" in reason or "I/O" in reason:
            raise SettingError(f"{folder}: {reason}; make the folder writable, {remedy}") from None
        raise _damaged(folder, reason) from None
    except UnicodeDecodeError:  # SQLite's own message quotes what it stumbled over
        raise _damaged(folder, "malformed names of tables or columns") from None
    except (OSError, UserError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise SettingError(
            f"{folder}: {cause.strerror or cause}; mend that, then go on with nextone sweep --resume {folder}"
        ) from None


def _damaged(folder: Path, reason: str) -> SettingError:
    return SettingError(f"{folder / NAME} is damaged ({reason}); begin the sweep again in another folder")


@contextmanager
def _locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """Holds the lock of the folder as long as the connection is open, and no longer than this process lives.

    It is SQLite's lock of an empty database, which works on every system. Raises SettingError if another has it."""
    lock = sqlite3.connect(folder / LOCK, timeout=1.0, isolation_level=None)
    with _closed_on_errors(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise SettingError(f"{folder}: another sweep is at work in it; wait, or give another folder") from None
        yield lock


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that stays open, unless something fails: then no lock must outlive the message."""
    db = _connect(path)
    with _closed_on_errors(db):
        yield db


@contextmanager
def _closed_on_errors(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    with _closed_on_errors(db):
        db.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        db.execute("PRAGMA synchronous = NORMAL")  # what a power cut may undo is run again, to the same bits
    return db


def _stored(result: Result) -> tuple[bytes, bytes, str, str]:
    return (
        np.ascontiguousarray(result.metrics, "<f8").tobytes(), np.ascontiguousarray(result.positions, "<i8").tobytes(),
        result.links_sha256, result.catalogue_sha256,
    )  # fmt: skip


def _loaded(metrics: bytes, positions: bytes, links: str, catalogue: str) -> Result:
    values = np.frombuffer(metrics, "<f8").astype(np.float64)
    return Result(values, np.frombuffer(positions, "<i8").astype(np.int64).reshape(-1, 2), links, catalogue)


def _digest(*parts: object) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
