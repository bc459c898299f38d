"""The sums that must add up: time, bytes and videos balance exactly, for every person, after every run.

The check is cheap enough to run always.
"""

import numpy as np

from .config import NEVER_US
from .records import Records
from .state import DEAD, READY, Array, World


class LedgerError(AssertionError):
    """The simulation lost or invented time, bytes or videos. This is a defect of nextone, and never of the input."""


def still_buffered(world: World) -> Array:
    """Bytes held for candidates at the run's end, (N,)."""
    held = np.where(world.pool["rank"] != DEAD, world.pool["buffered"], 0).sum(axis=1, dtype=np.int64)
    total: Array = held + world.waiting["buffered"].sum(axis=1, dtype=np.int64)
    return total


def check_ledgers(world: World, records: Records) -> None:
    """Raise LedgerError unless, for every person, to the microsecond, byte and video:

    play + stall + startup + swipe + wait + browse + away = wall clock in the app;
    delivered = watched + wasted + cancelled + still buffered;
    served = shown + expired + dropped + unseen;

    and the log of impressions adds up to the same play, bytes and videos."""
    users = world.users
    _require("time", users, users["ledger_us"].sum(axis=1), users["wall_us"])
    spent = users["watched"] + users["wasted"] + users["cancelled"] + still_buffered(world)
    _require("bytes", users, users["delivered"], spent)
    gone = users["shown"] + users["expired"] + users["dropped"] + users["unseen"]
    _require("videos", users, users["served"], gone)
    if world.impressions.shape[1] == 0:
        return
    log, n = records.impressions, len(users)
    for name, total in (("play_us", users["ledger_us"][:, 0]), ("stall_us", users["ledger_us"][:, 1]),
                        ("browse_us", users["ledger_us"][:, 5]), ("away_us", users["ledger_us"][:, 6])):  # fmt: skip
        _require("log " + name, users, _sums(log["user"], log[name], n), total)
    _require("log shown", users, np.bincount(log["user"], minlength=n), users["shown"])
    opened = records.sessions["close_us"] - records.sessions["open_us"]
    _require("log sessions", users, _sums(records.sessions["user"], opened, n), users["wall_us"])
    if len(log) and not (np.all(log["play_us"] >= 0) and np.all(log["bytes"] <= log["total_bytes"])):
        raise LedgerError("an impression played negative time or held more bytes than its video has")
    if np.any(users["now_us"] >= NEVER_US) or np.any(users["request_state"] == READY):
        raise LedgerError("somebody is not finished")


def _sums(index: Array, value: Array, n: int) -> Array:
    total = np.zeros(n, np.int64)
    np.add.at(total, index, value)
    return total


def _require(what: str, users: Array, left: Array, right: Array) -> None:
    wrong = np.flatnonzero(left != right)
    if len(wrong):
        k = wrong[0]
        raise LedgerError(f"{what} of person {users['user'][k]}: {left[k]} != {right[k]} ({len(wrong)} people)")
