"""The bench at tiny sizes: it answers every question it is asked. Its numbers are for people, never a timed test."""

import json
import math

import pytest

from nextone.cli.common import print_all
from nextone.experiments.speed.bench import ASKED, Sizes, bench_tables, run_bench
from nextone.experiments.speed.plan import Cost, Job, jobs, lines

TINY = Sizes(
    event=(20, 5), event_many=(30, 2), batch=(20, 5), memory=(40, 1), event_growth=(10,), batch_growth=(10, 20),
    repeats=1, env=(4, 20), edge=(30, 30, 3.0, 1), samples=40, training=8, calls=1000, compile=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return run_bench(TINY)


def test_every_asked_number_is_measured(result):
    """But for the compilation and the comparison, which take too long here."""
    assert set(ASKED) <= set(result)
    of_extras = ("training_samples_per_s", "collected_samples_per_s", "kir_mnn_ms", "kir_tflite_ms")
    assert min(result[key] for key in of_extras) > 0
    of_cycle = result["simpy_cycle_us"] / 1e6
    assert result["kir_decisions_per_cycle"] == pytest.approx(result["kir_decisions_per_s"] * of_cycle)
    assert result["edgerec_reranks_per_cycle"] == pytest.approx(result["edgerec_reranks_per_s"] * of_cycle)
    missing = {key for key in ASKED if result[key] is None}
    assert missing == {"compile_s", "compare_default_s"}
    assert all(math.isfinite(result[key]) and result[key] > 0 for key in set(ASKED) - missing)


def test_the_rule_of_the_plan_by_hand():
    """96 tasks of 30 s on machines of 16 processes, after 6 s: in 6 rounds, in 2, in 1 on more machines than needed."""
    job, cost = Job("", 96, ()), Cost(start_s=6, task_s=30, peak_gb=2, result_bytes=1)
    assert [line.minutes for line in lines(job, cost)] == [3.1, 1.1, 0.6, 0.6]
    assert {line.processes for line in lines(job, cost._replace(peak_gb=20))} == {3}  # 64 GB
    assert [each.tasks for each in jobs()] == [20_000, 1_000]


def test_it_is_standard_json(result):
    assert json.loads(json.dumps(result, allow_nan=False))["machine"]["cores"] >= 1


def test_parts_and_growth(result):
    parts = result["parts_ns"]
    shares = [part["share"] for part in parts.values() if part["share"] is not None]
    assert sum(shares) == pytest.approx(1)
    assert {name for name, part in parts.items() if part["share"] is None} == {"observe, where a policy ranks"}
    assert 0 < result["event_life_share"] < 1
    assert list(result["growth"]["event_ns"]) == [10, 30]
    assert list(result["growth"]["batch_ns"]) == [10, 20, 40]


def test_a_person_has_the_asked_size(result):
    """By hand, from the dtypes: 20 candidates and 20 past impressions, a policy's own memory apart."""
    assert result["bytes_per_user"] == int(result["bytes_per_user"])
    assert 2000 < result["bytes_per_user"] <= 6000


def test_it_prints_asked_beside_measured(result, capsys):
    print_all(bench_tables(result))
    text = capsys.readouterr().out
    assert "event driver, 2,000 people, one core" in text and ">= 40,000" in text
    assert "rank a page" in text
