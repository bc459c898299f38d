"""What an older or a newer version of nextone wrote is read, or refused in one line that says what it is, what is wrong
and what to do. Made-up folders of this version, changed into those of another."""

import json
import sqlite3

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from test_sweep import PAGES, here

import nextone as nx
from nextone.experiments.output.dashboard.entries import find
from nextone.experiments.output.report.report import write_report
from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison_files import save_tables
from nextone.experiments.runs.parquet import read_record, write_record
from nextone.experiments.sweeps.ledger import NAME, _digest
from nextone.experiments.sweeps.replay import replay_rows
from nextone.experiments.sweeps.result import POSITIONS, RESULTS
from nextone.experiments.sweeps.sweep import resume, sweep
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, scenario_toml, with_settings
from nextone.version import SEMANTICS, __version__

TINY = with_settings(Scenario(), ["population.users=3", "catalogue.kind=synthetic", "catalogue.videos=300"])
UNKNOWN = scenario_toml(TINY, comments=False).replace("page_size =", "paging =")
CHANGES = {
    "another world": ({"semantics": SEMANTICS - 1}, "its simulated world is another one"),
    "a later world": ({"semantics": SEMANTICS + 1}, "its simulated world is another one"),
    "a setting that is gone": ({"base": UNKNOWN}, "unknown setting server.paging"),
    "a setting that is to come": ({"base": UNKNOWN + "\n[weather]\nrain = 1\n"}, "unknown section [weather]"),
    "another form": ({"cells": None}, "object is not iterable"),
    "another metric": ("app_min", "it lacks the metric app_min"),
}


def refused(call, where, reason):
    with pytest.raises(SettingError) as told:
        call()
    line = str(told.value)
    assert line.startswith(repr(str(where))) and reason in line and "made by nextone 0.0.9" in line
    assert f"this is nextone {__version__} (semantics {SEMANTICS}):" in line and "\n" not in line
    assert line.endswith("; open it with the version that made it, or make it again with this one")


def of_version(change, record):
    """The record of a sweep as another version would have written it."""
    record |= {"version": "0.0.9", "semantics": change.get("semantics", SEMANTICS)}
    return record | {"plan": record["plan"] | {key: change[key] for key in ("base", "cells") if key in change}}


@pytest.mark.parametrize("case", CHANGES)
def test_a_sweep(case, tmp_path):
    sweep(PAGES, TINY, out=tmp_path, execute=here)
    change, reason = CHANGES[case]
    for name in (RESULTS, POSITIONS):
        table, record = read_record(tmp_path / name)
        if isinstance(change, str):
            table = table.drop_columns([change]) if name == RESULTS else table
        record.pop("rows", None)
        write_record(table, of_version({} if isinstance(change, str) else change, record), tmp_path / name)
    for call in (nx.load, write_report):
        refused(lambda call=call: call(tmp_path), tmp_path, reason)
    refused(lambda: replay_rows(tmp_path / RESULTS, 1), tmp_path / RESULTS, reason)


@pytest.mark.parametrize("case", [case for case in CHANGES if case != "another metric"])
def test_a_sweep_that_is_not_finished(case, tmp_path):
    sweep(PAGES, TINY, out=tmp_path, execute=here)
    change, reason = CHANGES[case]
    with sqlite3.connect(tmp_path / NAME) as db:
        about = dict(db.execute("SELECT name, value FROM sweep"))
        made = json.loads(about["made"]) | {"version": "0.0.9", "semantics": change.get("semantics", SEMANTICS)}
        told = {"made": json.dumps(made)}
        told["plan"] = json.dumps(of_version(change, {"plan": json.loads(about["plan"])})["plan"])
        told["digest"] = _digest(told["made"], told["plan"]).hex()
        db.executemany("UPDATE sweep SET value = ?2 WHERE name = ?1", told.items())
    db.close()
    for name in (RESULTS, POSITIONS):
        (tmp_path / name).unlink()
    refused(lambda: write_report(tmp_path), tmp_path, reason)
    assert find(tmp_path).entries[0].told.endswith("; nextone 0.0.9, which began it, can go on")
    with pytest.raises(SettingError, match=r"0\.0\.9.*; (open|put back)"):
        resume(tmp_path, execute=here)
    with sqlite3.connect(tmp_path / NAME) as db:
        db.execute("UPDATE sweep SET value = '99' WHERE name = 'format'")
    db.close()
    with pytest.raises(SettingError, match="begun by a later version of nextone; finish it with that"):
        resume(tmp_path, execute=here)


@pytest.fixture(scope="module")
def compared():
    arms = [Arm(name, name, TINY) for name in ("cloud_only", "random")]
    return compare(arms, replications=10, minutes=1, engine="batch")


@pytest.mark.parametrize("case", [case for case in CHANGES if case != "another form"])
def test_a_comparison(case, compared, tmp_path):
    save_tables(compared, tmp_path)
    change, reason = CHANGES[case]
    file = tmp_path / "replications.parquet"
    table = pq.read_table(file)
    told = json.loads(table.schema.metadata[b"nextone"]) | {"version": "0.0.9"}
    told["provenance"] |= {"version": "0.0.9"}
    if isinstance(change, str):
        table = table.filter(pc.not_equal(table["metric"], change))
    elif "base" in change:
        told["arms"][1]["scenario"] = change["base"]
    else:
        told["provenance"] |= change
    pq.write_table(table.replace_schema_metadata({b"nextone": json.dumps(told).encode()}), file)
    for call in (nx.load, write_report):
        refused(lambda call=call: call(tmp_path), tmp_path, reason)


def test_what_a_later_version_adds_is_left_out(compared, tmp_path):
    """A metric more, as a version of the same world may write it, hides no other."""
    save_tables(compared, tmp_path)
    file = tmp_path / "replications.parquet"
    table = pq.read_table(file)
    more = table.filter(pc.equal(table["metric"], "app_min"))
    more = more.set_column(2, "metric", pa.array(["joy"] * len(more)))
    pq.write_table(pa.concat_tables([table, more]).replace_schema_metadata(table.schema.metadata), file)
    assert (nx.load(tmp_path).found.values == compared.values)[~(compared.values != compared.values)].all()
