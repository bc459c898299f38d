"""Arms, tasks and presentations, over a made-up replication whose numbers are known; contract and by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from nextone.experiments.output import figures
from nextone.experiments.runs import comparison_files, files
from nextone.experiments.runs import executor as module
from nextone.experiments.runs.compare import Arm, RunFailed, compare, compare_policies, parse_arm
from nextone.experiments.runs.comparison import comparison_table
from nextone.experiments.runs.metrics import METRICS
from nextone.experiments.runs.replication import Replication
from nextone.experiments.runs.statistics import TooFewReplications
from nextone.sim.config import Scenario
from nextone.sim.scenario import SettingError, load_scenario

WORLD = Scenario()


def made_up(scenario, policy, *, seed, replication, minutes, days, engine):
    """Metric k is (k + 1) * (100 + luck), times 1.1 for random, and the second metric is undefined for cloud_only."""
    luck = np.random.default_rng([seed, replication]).normal()
    factor = 1.1 if policy == "random" else 1.0 if isinstance(policy, str) else policy()
    row = {metric.name: (k + 1) * (100 + luck) * factor for k, metric in enumerate(METRICS)}
    if policy == "cloud_only":
        row[METRICS[1].name] = math.nan
    return row


def instead(function):
    """A run_replication that takes its metrics from a function; its page is [8 shown, 4 valid], [4 shown, 1 valid]."""
    positions = np.array([[8, 4], [4, 1]])
    return lambda *a, **k: Replication(function(*a, **k), positions, "links", "catalogue")


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(module, "run_replication", instead(made_up))


@pytest.fixture
def result(fake):
    return compare_policies({"cloud_only": "cloud_only", "random": "random", "mine": lambda: 0.5}, seed=3)


def test_values_are_in_the_order_of_arms_replications_and_metrics(result):
    assert result.values.shape == (3, 10, len(METRICS))
    luck = [np.random.default_rng([3, r]).normal() for r in range(10)]
    np.testing.assert_allclose(result.values[0, :, 0], 100 + np.array(luck))
    np.testing.assert_allclose(result.values[1, :, 2], 3.3 * (100 + np.array(luck)))
    assert np.isnan(result.values[0, :, 1]).all()


def test_valid_play_by_position_in_the_page(result):
    # pages of 6 in every arm: half of what is shown first is played, a quarter of what is second, nothing known beyond
    assert result.positions.shape == (3, 10, 6, 2)
    first, second, *rest = result.valid_play_by_position[1]
    assert (first.mean, second.mean, first.n) == (0.5, 0.25, 10)
    assert rest == [None] * 4


def test_a_policy_of_ones_own_is_compared(result):
    assert result.differences[2][0].diff_pct == pytest.approx(-50)


def test_json_rows(result):
    out = comparison_files.comparison_json(result)
    assert list(out)[:6] == ["baseline", "replications", "primary", "overloaded", "nobody_opened", "rows"]
    assert (out["seed"], out["minutes"], out["engine"], out["looks"]) == (3, 60.0, "event", [])
    assert (out["baseline"], out["replications"], len(out["rows"])) == ("cloud_only", 10, 3 * len(METRICS))
    keys = ["policy", "metric", "unit", "mean", "low", "high", "diff_pct", "diff_low", "diff_high"]
    keys += ["diff", "diff_abs_low", "diff_abs_high", "p", "sure"]
    assert all(list(row) == keys for row in out["rows"])
    rows = {(row["policy"], row["metric"]): row for row in out["rows"]}
    first, undefined = METRICS[0].name, METRICS[1].name
    base = rows["cloud_only", first]
    assert base["low"] < base["mean"] < base["high"]
    assert (base["diff_pct"], base["diff_low"], base["diff_high"]) == (None, None, None)
    assert rows["random", first]["diff_pct"] == pytest.approx(10)
    assert rows["cloud_only", undefined]["mean"] is None
    assert rows["random", undefined]["mean"] is not None
    assert rows["random", undefined]["diff_pct"] is None
    json.dumps(out, allow_nan=False)


def test_tables_are_saved_whole_with_all_that_repeats_them(result, tmp_path):
    paths = comparison_files.save_tables(result, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "comparison.parquet", "replications.parquet", "scenario.toml"
    ]  # fmt: skip
    summary, each = (pq.read_table(path, page_checksum_verification=True) for path in paths[:2])
    assert summary.num_rows == 3 * len(METRICS)
    assert each.num_rows == 3 * 10 * len(METRICS)
    about = json.loads(summary.schema.metadata[b"nextone"])
    assert (about["seed"], about["engine"], about["minutes"]) == (3, "event", 60)
    assert [arm["label"] for arm in about["arms"]] == ["cloud_only", "random", "mine"]
    (tmp_path / "world.toml").write_text(about["arms"][1]["scenario"])
    assert load_scenario(tmp_path / "world.toml") == result.arms[1].scenario
    assert not any(isinstance(v, float) and math.isnan(v) for row in each.to_pylist() for v in row.values())


def test_a_flipped_byte_is_detected(result, tmp_path):
    path = comparison_files.save_tables(result, tmp_path)[1]
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc|corrupt|checksum|deserialize"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_text("old")

    def half(tmp: Path) -> None:
        tmp.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(path, half)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_figure_is_drawn_with_extreme_and_undefined_uplifts(fake, tmp_path):
    arms = {"cloud_only": "cloud_only", "random": "random", "huge": lambda: 1e4, "tiny": lambda: 1e-6}
    figures.uplift_figure(compare_policies(arms), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list(tmp_path.iterdir())) == 1


def test_figure_without_any_uplift(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "run_replication", instead(lambda *a, **k: {m.name: math.nan for m in METRICS}))
    figures.uplift_figure(compare_policies({"a": "cloud_only", "b": "random"}), tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 0


@pytest.mark.parametrize("width", [80, 100, 120])
def test_table_keeps_every_number_whole(result, width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(comparison_table(result))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "+10" in text
    assert "−50" in text
    assert "10 replications" in text
    assert "seed 3" in text
    assert "Primary metric: app_min" in " ".join(text.split())
    for metric in METRICS:
        assert metric.name in text


@pytest.mark.parametrize("n", [-1, 0, 1, 9])
def test_too_few_replications_are_refused_before_anything_runs(n, monkeypatch):
    monkeypatch.setattr(module, "run_replication", None)
    with pytest.raises(TooFewReplications, match="does not hold its 95 % coverage"):
        compare([Arm("a", "cloud_only", WORLD), Arm("b", "random", WORLD)], replications=n)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"minutes": 1.0, "days": 1.0}, "both given"),
        ({"minutes": 0.0}, "minutes=0 must be > 0"),
        ({"minutes": -5.0}, "minutes=-5 must be > 0"),
        ({"minutes": math.nan}, "minutes=nan must be > 0"),
        ({"minutes": math.inf}, "minutes=inf must be > 0 and <= 1440"),
        ({"days": 1e9}, "must be > 0 and <= 366"),
        ({"seed": -1}, "seed=-1 must be >= 0"),
        ({"seed": 2**70}, "must be >= 0 and < 2"),
        ({"workers": 0}, "workers=0 must be >= 1"),
        ({"workers": 10**9}, "must be >= 1 and <= 1024"),
        ({"replications": 10**9}, "must be <= 10000"),
    ],
)
def test_impossible_runs_are_refused(wrong, words, monkeypatch):
    monkeypatch.setattr(module, "run_replication", None)
    with pytest.raises(SettingError, match=words):
        compare([Arm("a", "cloud_only", WORLD), Arm("b", "random", WORLD)], **wrong)


def test_arms_need_labels_of_their_own_and_a_rival():
    with pytest.raises(SettingError, match="at least one other"):
        compare([Arm("a", "cloud_only", WORLD)])
    with pytest.raises(SettingError, match="two arms are called 'a'"):
        compare([Arm("a", "cloud_only", WORLD), Arm("a", "random", WORLD)])


def test_parse_arm_by_hand():
    arm = parse_arm("small=cloud_only server.page_size=2  server.workers=8 phone.shares=[1, 0, 0, 0]", WORLD)
    assert (arm.label, arm.policy) == ("small", "cloud_only")
    assert (arm.scenario.server.page_size, arm.scenario.server.workers) == (2, 8)
    assert arm.scenario.phone.shares == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must read 'label=policy"),
        ("cloud_only", "must read 'label=policy"),
        ("=cloud_only", "must read 'label=policy"),
        ("a/b=cloud_only", "must read 'label=policy"),
        ("../x=cloud_only", "must read 'label=policy"),
        ("x=", "unknown policy ''"),
        ("x=cloud_onyl", "did you mean cloud_only"),
        ("x=cloud_only server.page_siz=2", "arm 'x': unknown setting server.page_siz; did you mean server.page_size"),
        ("x=cloud_only server.page_size", "arm 'x': setting"),
        ("x=cloud_only server.page_size=50", "arm 'x': server.page_size=50 must be <= server.candidates=20"),
        ("x=cloud_only server.page_size=2 server.page_size=3", "set twice"),
        ("x=os.system", "unknown policy"),
        ("x=__import__('os') ", "unknown policy"),
    ],
)
def test_wrong_arms(text, words):
    with pytest.raises(SettingError) as caught:
        parse_arm(text, WORLD)
    assert words in str(caught.value)


def test_arms_get_the_servers_they_need_or_those_of_the_baseline_unless_they_set_their_own(fake):
    arms = [
        Arm("base", "cloud_only", WORLD),
        parse_arm("small=cloud_only server.page_size=2", WORLD),
        parse_arm("rich=cloud_only server.page_size=2 server.workers=77", WORLD),
    ]
    assert [arm.scenario.server.workers for arm in compare(arms).arms] == [0, 0, 77]  # run_arm sees to it
    counts = [arm.scenario.server.workers for arm in compare(arms, servers="same").arms]
    assert counts[0] == counts[1] == WORLD.with_workers(60, None).server.workers > 0
    assert counts[2] == 77


def test_a_failing_task_is_named(monkeypatch):
    def fails(scenario, policy, *, replication, **_):
        if policy == "random" and replication == 4:
            raise ZeroDivisionError("ratio of nothing")
        return dict.fromkeys((m.name for m in METRICS), 1.0)

    monkeypatch.setattr(module, "run_replication", instead(fails))
    with pytest.raises(RunFailed, match="arm 'chance', replication 4, seed 0: ZeroDivisionError: ratio of nothing"):
        compare_policies({"cloud_only": "cloud_only", "chance": "random"})


def test_an_infinite_metric_is_a_fault_not_a_number(monkeypatch):
    monkeypatch.setattr(module, "run_replication", instead(lambda *a, **k: {m.name: math.inf for m in METRICS}))
    with pytest.raises(RunFailed, match="is infinite"):
        compare_policies({"a": "cloud_only", "b": "random"})


def test_progress_counts_every_task(fake):
    seen = []
    compare_policies({"a": "cloud_only", "b": "random"}, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 20) for k in range(1, 21)]


def test_a_policy_that_cannot_travel_says_so(fake):
    with pytest.raises(SettingError, match="cannot be sent to another process"):
        compare_policies({"cloud_only": "cloud_only", "mine": lambda: 1.0}, workers=2)
