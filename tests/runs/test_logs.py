"""Logs: columns by hand against the records, replay to the bit, and what happens to damaged or foreign files."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextone import __version__
from nextone.experiments.runs import run_logs as module
from nextone.experiments.runs.parquet import digest
from nextone.experiments.runs.replication import run_arm
from nextone.experiments.runs.run_logs import GIVEN, OUTCOMES, Recipe, log_tables, read_log, replay, save_logs
from nextone.sim.config import NEVER_US, Scenario
from nextone.sim.scenario import SettingError, with_settings

SMALL = with_settings(Scenario(), ["population.users=20", "catalogue.videos=300", "network.loss=0.1"])
RECIPES = {
    "event": (SMALL, Recipe("cloud_only", 3, 1, "event", 20.0, None, "base")),
    "batch": (SMALL, Recipe("tag_momentum", 4, 0, "batch", 10.0)),
    "days": (with_settings(SMALL, ["client.ttl_s=inf"]), Recipe("cloud_only", 5, 0, "event", None, 0.2)),
    "oracle": (SMALL, Recipe("oracle_greedy", 2**63 - 1, 7, "batch", 5.0)),
}


def run_of(scenario, recipe):
    return run_arm(
        scenario, recipe.policy, seed=recipe.seed, replication=recipe.replication, minutes=recipe.minutes,
        days=recipe.days, engine=recipe.engine,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run():
    return run_of(*RECIPES["event"])


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    save_logs(run, folder, RECIPES["event"][1])
    return folder


# -- columns ----------------------------------------------------------------------------------------------------------


def test_impressions_say_what_the_records_say(run):
    rows, table = run.records.impressions, log_tables(run.records, run.world)["impressions"]
    assert table.num_rows == len(rows) > 300
    for name, field in (("start_us", "start_us"), ("live_candidates", "live"), ("hidden_stay_logit", "stay_logit")):
        np.testing.assert_array_equal(table[name].to_numpy(), rows[field])
    outcome = sum(table[name].to_numpy().astype(int) * bit for name, bit in OUTCOMES.items())
    np.testing.assert_array_equal(outcome, rows["outcome"])
    feedback = sum(table[name].to_numpy().astype(int) << k for k, name in enumerate(GIVEN))
    np.testing.assert_array_equal(feedback, rows["feedback"])
    np.testing.assert_array_equal(table["duration_us"].to_numpy(), run.world.videos["duration_us"][rows["video"]])


def test_what_no_policy_may_see_is_called_hidden(run):
    hidden = {name for table in log_tables(run.records, run.world).values() for name in table.column_names
              if name.startswith("hidden_")}  # fmt: skip
    assert hidden == {"hidden_stay_logit", "hidden_target_us", "hidden_satisfaction", "hidden_mood", "hidden_intent"}


def test_requests_are_null_where_nothing_is_known(run):
    rows, table = run.records.requests, log_tables(run.records, run.world)["requests"]
    unknown = rows["queue_us"] == NEVER_US
    assert unknown.any() and not unknown.all()
    for name in ("queue_us", "service_us", "response_us"):
        assert table[name].is_null().to_pylist() == unknown.tolist()
    assert set(table["outcome"].to_pylist()) <= {"served", "timed_out", "refused", "left"}
    served = table.filter(pa.compute.equal(table["outcome"], "served"))
    assert served["response_us"].null_count == 0


def test_every_field_of_the_records_has_a_column(run):
    """But for those that are taken apart into several, or that say the same."""
    renamed = {"live": "live_candidates", "buffered": "buffered_bytes", "bytes": "fetched_bytes", "late": "overdue",
               "stay_logit": "hidden_stay_logit", "target_us": "hidden_target_us",
               "satisfaction": "hidden_satisfaction", "mood": "hidden_mood", "intent": "hidden_intent"}  # fmt: skip
    for rows, table in zip(run.records, log_tables(run.records, run.world).values(), strict=True):
        fields = {renamed.get(name, name) for name in rows.dtype.names} - {"outcome", "feedback"}
        assert fields <= set(table.column_names)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_says_everything_its_run_is_a_function_of(run, folder):
    table, record = read_log(folder / "impressions.parquet")
    assert table.equals(log_tables(run.records, run.world)["impressions"])
    assert record["nextone"] == __version__
    assert {name: record[name] for name in Recipe._fields} == RECIPES["event"][1]._asdict()
    assert 'kind = "kuairand"' in record["scenario"] and f"workers = {run.workers}" in record["scenario"]
    assert set(record["columns"]) == set(table.column_names) and all(record["columns"].values())
    assert len(record["links_sha256"]) == len(record["catalogue_sha256"]) == 64


def test_anything_that_reads_parquet_reads_it(folder):
    table = pq.read_table(folder / "sessions.parquet")
    assert json.loads(table.schema.metadata[b"nextone"])["table"] == "sessions"
    chunk = pq.ParquetFile(folder / "sessions.parquet").metadata.row_group(0).column(0)
    assert chunk.compression == "ZSTD"


def test_nothing_but_the_three_files_is_left(folder):
    assert sorted(os.listdir(folder)) == ["impressions.parquet", "requests.parquet", "sessions.parquet"]


@pytest.mark.parametrize("label", RECIPES)
def test_replay_is_the_same_to_the_bit(label, tmp_path):
    scenario, recipe = RECIPES[label]
    for path in save_logs(run_of(scenario, recipe), tmp_path, recipe):
        result = replay(path)
        assert result.differences == ()
        assert result.rows == pq.read_metadata(path).num_rows > 0


def test_replay_says_what_differs(run, folder, tmp_path, monkeypatch):
    """By hand: another seed, another version, one value changed in one row."""
    saved = save_logs(run, tmp_path, RECIPES["event"][1]._replace(seed=4))
    assert any("in the file" in line for line in replay(saved[0]).differences)
    monkeypatch.setattr(module, "__version__", "9.9")
    assert replay(folder / "sessions.parquet").differences == (f"nextone: {__version__!r} in the file, '9.9' here",)
    monkeypatch.undo()
    other = run.records.impressions.copy()
    other["play_us"][5] += 1
    saved = save_logs(run._replace(records=run.records._replace(impressions=other)), tmp_path, RECIPES["event"][1])
    (line,) = replay(saved[0]).differences
    row = other[5]
    assert line == (
        f"play_us: 1 of {len(other):,} rows, first that of user {row['user']}, impression {row['impression']}: "
        f"{row['play_us']} in the file, {row['play_us'] - 1} here"
    )


# -- damage -----------------------------------------------------------------------------------------------------------


def refused_or_the_same(path, table, record) -> bool:
    """Whether a damaged file was refused in one line; if not, it must say exactly what the whole one says."""
    try:
        read, told = read_log(path)
    except SettingError as error:
        message = str(error)
    else:
        assert read.equals(table) and told == record
        return False
    assert len(message) <= 500 and "\n" not in message and path.name in message
    return True


def test_truncated_files_are_refused(folder, tmp_path):
    whole = (folder / "sessions.parquet").read_bytes()
    path, intact = tmp_path / "cut.parquet", read_log(folder / "sessions.parquet")
    for size in np.linspace(0, len(whole) - 1, 250).astype(int).tolist():
        path.write_bytes(whole[:size])
        assert refused_or_the_same(path, *intact), size


@pytest.mark.parametrize("name", ["sessions", "impressions"])
def test_flipped_bits_are_found_or_harmless(name, folder, tmp_path):
    """Pages have checksums; names, counts and metadata have not, hence the digest over everything."""
    whole = (folder / f"{name}.parquet").read_bytes()
    path, intact = tmp_path / "flipped.parquet", read_log(folder / f"{name}.parquet")
    refused, count = 0, 400
    for k in range(count):
        at = k * 8 * len(whole) // count + k % 8
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        refused += refused_or_the_same(path, *intact)
    assert refused > 0.5 * count  # the rest hit statistics, the writer's name, or padding


def resaved(path, out, change):
    """The file with its record changed by hand, its digest left alone or made right."""
    table = pq.read_table(path)
    record = json.loads(table.schema.metadata[b"nextone"])
    change(record)
    pq.write_table(table.replace_schema_metadata({b"nextone": json.dumps(record).encode()}), out)
    return out


def honest(path, out, **changes):
    """Changed, and its digest made right: a file somebody meant to be so."""

    def change(record):
        record.update(changes)
        table = pq.read_table(path).replace_schema_metadata(None)
        record.pop("sha256")
        record["sha256"] = digest(record, table)

    return resaved(path, out, change)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "os.system"}, "policy 'os.system' is not one of nextone's"),
        ({"engine": "gpu"}, "engine 'gpu' is not event or batch"),
        ({"seed": -1}, "seed=-1 is not a whole number in range"),
        ({"seed": True}, "seed=True is not"),
        ({"replication": 1.5}, "replication=1.5 is not"),
        ({"minutes": "60"}, "minutes='60' is not"),
        ({"days": 1e9, "minutes": None}, "days=1000000000.0 is not"),
        ({"scenario": "import os"}, "its scenario does not suit"),
        ({"scenario": "[server]\nworkers = 'many'"}, "its scenario does not suit"),
        ({"scenario": 3}, "its scenario does not suit"),
        ({"scenario": "[[" * 2000}, "its scenario does not suit"),
        ({"scenario": "a." * 100_000 + "b = 1"}, "it is not TOML as this program writes it"),
        ({"table": "people"}, "is damaged or no log of nextone"),
        ({"format": 2}, "format 2 is not known to nextone"),
        ({"rows": 3}, "its number of rows is not what it says"),
        ({"table": "requests"}, "its columns are not this version's"),
    ],
)
def test_files_that_mean_ill(changes, message, folder, tmp_path):
    path = honest(folder / "sessions.parquet", tmp_path / "ill.parquet", **changes)
    with pytest.raises(SettingError, match=message):
        replay(path)


def test_a_changed_record_does_not_pass(folder, tmp_path):
    path = resaved(folder / "sessions.parquet", tmp_path / "x.parquet", lambda record: record.update(seed=9))
    with pytest.raises(SettingError, match="do not match their checksum"):
        read_log(path)


def test_foreign_files(folder, tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "folder.parquet").mkdir()
    os.mkfifo(tmp_path / "pipe.parquet")
    table = pq.read_table(folder / "sessions.parquet")
    for name, record in (("list", []), ("number", 1), ("deep", {"a": {}})):
        pq.write_table(table.replace_schema_metadata({b"nextone": json.dumps(record)}), tmp_path / f"{name}.parquet")
    pq.write_table(table.replace_schema_metadata({b"nextone": b"[" * 100_000}), tmp_path / "nested.parquet")
    for path in [*tmp_path.iterdir(), tmp_path / "absent.parquet", tmp_path / ("x" * 300)]:
        with pytest.raises(SettingError) as caught:
            read_log(path)
        assert "give a log written by nextone run" in str(caught.value)


def test_commands(tmp_path, capsys):
    from nextone.cli.main import main

    small = ["--users", "5", "--minutes", "3", "--set", "catalogue.videos=300"]
    assert main(["run", "--policy", "server_score", "--engine", "batch", *small, "--out", str(tmp_path / "a")]) == 0
    assert "impressions.parquet" in capsys.readouterr().out
    log = tmp_path / "a" / "requests.parquet"
    assert main(["replay", str(log)]) == 0
    assert capsys.readouterr().out.startswith("identical: ")
    shutil.copy(log, tmp_path / "b.parquet")
    with (tmp_path / "b.parquet").open("r+b") as file:
        file.seek(10)
        file.write(b"damage")
    assert main(["replay", str(tmp_path / "b.parquet")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["run", "--policy", "oracel", *small, "--out", str(tmp_path / "c")]) == 2
    assert main(["run", *small]) == 2
    assert not (tmp_path / "c").exists()


def test_a_difference_ends_in_exit_code_1(run, tmp_path, capsys):
    from nextone.cli.main import main

    path = save_logs(run, tmp_path, RECIPES["event"][1]._replace(seed=4))[2]
    assert main(["replay", str(path)]) == 1
    assert "in the file" in capsys.readouterr().out
