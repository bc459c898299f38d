"""One person's life under one arm, lived again on request, as `nextone timeline` does: what was on the screen, and the
impressions that a run's numbers are made of."""

import threading
from typing import Any, NamedTuple

from nextone.experiments.output.timeline import Timeline, timeline_sentence, traced_timeline
from nextone.experiments.runs.names import resolve_policy
from nextone.experiments.runs.run_logs import log_tables
from nextone.sim.config import Scenario

from .tables import Table, records_table

SHOWN = ("impression", "video", "tag", "rank", "position", "start_us", "wait_us", "startup_us", "stall_us", "play_us",
         "duration_us", "valid_play", "skip_2s", "liked", "last")  # fmt: skip
_ONE_AT_A_TIME = threading.Lock()  # numba's threads must not be asked for by two threads at once


class Asked(NamedTuple):
    """Everything that a simulated life depends on, except for the person."""

    policy: str
    scenario: Scenario
    seed: int
    minutes: float | None
    days: float | None


class Life(NamedTuple):
    """A session of a person, replication 0."""

    timeline: Timeline
    sentence: str
    how: str
    impressions: Table


def live(asked: Asked, user: int, session: int = 0) -> Life:
    """Simulate one person's life again; it takes a second once the model is compiled. The policy must be one that has a
    name: no file runs code. Raises SettingError, CheckpointError."""
    policy = resolve_policy(asked.policy, asked.scenario)
    with _ONE_AT_A_TIME:
        made, run = traced_timeline(
            asked.scenario, user, asked.seed, policy, minutes=asked.minutes, days=asked.days, session=session
        )
    alone = made.about["engine"] == "batch"
    how = (
        "Replication 0; this person lived alone, so requests found a free server."
        if alone
        else "Replication 0; everybody lived, and queued for the servers."
    )
    return Life(made, timeline_sentence(made), how, _impressions(log_tables(run.records, run.world), user, session))


def _impressions(tables: dict[str, Any], user: int, session: int) -> Table:
    """What this person saw in this session, a row for each impression, all columns of the log in the CSV."""
    rows = tables["impressions"].to_pylist()
    mine = [row for row in rows if row["user"] == user and row["session"] == session]
    return records_table(mine, SHOWN)
