"""A user's links become settings: what is found, what is fitted and within which interval, what is left open."""

import numpy as np
import pytest

from nextone.experiments.fitting.links.calibrate import calibrate_traces
from nextone.experiments.fitting.links.facts import compare_network, network_rows, rows
from nextone.sim.config import Scenario
from nextone.sim.inputs.traces import TraceError

RUNS, PINGS = 12, 200


def write_pings(folder, scale=1.0, numbered=True, runs=RUNS):
    """Runs of pings half a second apart with levels about 40 ms; 1 in 20 is lost."""
    for k in range(runs):
        rng = np.random.default_rng(k)
        rtt = scale * 40 * np.exp(0.3 * rng.standard_normal() + 0.2 * rng.standard_normal(PINGS))
        rows = [(n / 2, n, ms) for n, ms in enumerate(rtt) if rng.random() > 0.05 or n in (0, PINGS - 1)]
        lines = [f"{t},{n},{ms:.3f}\n" if numbered else f"{t},{ms:.3f}\n" for t, n, ms in rows]
        header = "t_s,seq,rtt_ms\n" if numbered else "t_s,rtt_ms\n"
        (folder / f"ping{k}.csv").write_text(header + "".join(lines))


def write_traces(folder, runs=RUNS):
    for k in range(runs):
        mbps = 8 * np.exp(0.5 * np.random.default_rng(100 + k).standard_normal(90))
        (folder / f"down{k}.csv").write_text("t_s,mbps\n" + "".join(f"{t},{x:.3f}\n" for t, x in enumerate(mbps)))


@pytest.fixture
def folder(tmp_path):
    write_pings(tmp_path)
    write_traces(tmp_path)
    return tmp_path


def fitted(found):
    return {each.field: each for each in found.fitted}


def test_traces_and_logs_in_one_folder(folder):
    found = calibrate_traces(folder)
    settings = fitted(found)
    assert settings["network.traces"].value == settings["network.rtt"].value == str(folder)
    assert found.found[0].startswith("12 traces, 1,080 s, means ")
    assert found.found[1].startswith("12 logs of round trips, ")
    scale, loss = settings["network.rtt_scale"], settings["network.loss"]
    assert scale.low < scale.value == 1 < scale.high
    assert 0.03 < loss.low < loss.value < loss.high < 0.07
    assert settings["network.wifi_rtt_scale"].value == 1
    values = {each.quantity: each for each in found.facts}
    assert values["throughput median, Mbit/s"].low < 8 < values["throughput median, Mbit/s"].high
    assert values["rtt spread of jitter, sd of log"].value == pytest.approx(0.2, rel=0.05)
    assert any("0.2 s" in line for line in found.unknown)  # pings were half a second apart
    assert "network.loss" in "\n".join(found.lines())


def test_the_world_then_has_those_links(folder):
    """Green on the user's own scoreboard but for the memory of white jitter, which is not fitted and said so."""
    found = calibrate_traces(folder)
    wrong = [each.quantity for each in network_rows(found.applied(Scenario()), folder) if not each.ok]
    assert all("autocorrelation of log" in quantity for quantity in wrong)
    assert any("remembered" in line for line in found.unknown)
    defaults = [each.quantity for c in compare_network(Scenario(), folder) for each in rows(c) if not each.ok]
    assert "throughput: median, Mbit/s" in defaults
    assert "RTT: spread of jitter, sd of log" in defaults


def test_slower_round_trips_are_another_answer(folder, tmp_path_factory):
    slow = tmp_path_factory.mktemp("slow")
    write_pings(slow, scale=2.0)
    each = [calibrate_traces(path).facts for path in (folder, slow)]
    median = [{fact.quantity: fact.value for fact in facts}["rtt p50, ms"] for facts in each]
    assert median[1] == pytest.approx(2 * median[0], rel=1e-3)


def test_what_is_missing_is_named(tmp_path):
    write_traces(tmp_path, runs=2)
    found = calibrate_traces(tmp_path)
    assert list(fitted(found)) == ["network.traces"]
    assert any(line.startswith("network.rtt, network.rtt_scale, network.loss: no log") for line in found.unknown)
    assert any("2 files, a bootstrap over files needs 5" in line for line in found.unknown)
    assert all(each.low is None and each.high is None for each in found.facts)


def test_without_numbers_there_is_no_loss(tmp_path):
    write_pings(tmp_path, numbered=False)
    found = calibrate_traces(tmp_path)
    assert "network.loss" not in fitted(found)
    assert "network.loss: no log numbers its pings (seq)" in found.unknown
    assert any(line.startswith("network.traces: no throughput trace") for line in found.unknown)


def test_no_lost_ping_is_not_a_loss_of_zero_for_sure(tmp_path):
    for k in range(6):
        text = "".join(f"{n},{n},{50 + n % 7}\n" for n in range(100))
        (tmp_path / f"{k}.csv").write_text("t_s,seq,rtt_ms\n" + text)
    loss = fitted(calibrate_traces(tmp_path))["network.loss"]
    assert (loss.value, loss.low, loss.high) == (0, 0, 3 / 600)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t_s,rtt_ms\n0,50\n1,-3\n", "bad.csv:3: rtt_ms=-3 must be > 0"),
        ("t_s,mbps\n0,5\n1,-3\n", "bad.csv:3: mbps=-3 must be >= 0"),
        ("t_s,speed\n0,5\n1,3\n", "bad.csv:1: needs one throughput column"),
    ],
)
def test_bad_files_are_told_by_row(folder, text, expected):
    (folder / "bad.csv").write_text(text)
    with pytest.raises(TraceError, match=expected.replace(".", r"\.")):
        calibrate_traces(folder)
