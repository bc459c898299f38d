"""Facts of links by hand, and that simulated links agree with the data they were made from: theory, scoreboard."""

import numpy as np
import pytest

from nextone.experiments.fitting.links import facts as facts
from nextone.experiments.fitting.links.facts import Series, compare_network, network_rows
from nextone.experiments.fitting.scoreboard import row
from nextone.experiments.output.figures import network_figure
from nextone.sim.config import Scenario
from nextone.sim.inputs.traces import flatten, shipped_traces
from nextone.sim.scenario import with_settings


def series(*runs, step_s=1.0):
    first = np.cumsum([0] + [len(run) for run in runs])
    return Series(first, step_s * facts._clock(first), np.concatenate(runs).astype(float))


TWO = series([1, 3, 1, 3], [10, 10])
BOTH, FIRST = np.ones(2), np.array([1.0, 0.0])


def test_pooled_facts_by_hand():
    """Values 1 1 3 3 10 10; with the second run left out 1 1 3 3."""
    assert [facts.quantile(TWO, 0.5)(weight) for weight in (BOTH, FIRST)] == [3, 1]
    assert [facts.share_below(TWO, 3.0)(weight) for weight in (BOTH, FIRST)] == [1 / 3, 1 / 2]
    assert facts.quantile(TWO, 0.5)(np.array([0.0, 3.0])) == 10
    assert facts.below(TWO, np.array([0.5, 1, 9])).tolist() == [[0, 2, 4, 4], [0, 0, 0, 2]]


def test_facts_of_runs_by_hand():
    """First run: mean 2, sd 1, so CV .5; a second later it is always on the other side, two seconds later back."""
    assert facts.variation(TWO)(FIRST) == 0.5
    assert facts.variation(TWO)(BOTH) == 0.0  # the lower of two
    assert facts.autocorrelation(TWO, 1.0)[0] == -1
    assert facts.autocorrelation(TWO, 2.0)[0] == 1
    assert np.isnan(facts.autocorrelation(TWO, 2.0)[1])  # it never varies
    assert np.isnan(facts.autocorrelation(TWO, 9.0)).all()  # no values so far apart


def test_spreads_by_hand():
    """Logs 0 2 and 5 5: means 1 and 5 about 3, departures 1 1 0 0."""
    x = series(np.exp([0.0, 2.0]), np.exp([5.0, 5.0]))
    assert facts.level_spread(x)(BOTH) == pytest.approx(2)
    assert facts.jitter_spread(x)(BOTH) == pytest.approx(np.sqrt(0.5))


def test_neighbours_are_matched_by_time():
    """Values are those of one run every .2 s with the third left out: after .4 s come the 4th and the 5th, not more."""
    x = Series(np.array([0, 4]), np.array([0.0, 0.2, 0.6, 0.8]), np.array([1.0, 2.0, 4.0, 5.0]))
    departures = np.array([-2.0, -1.0, 1.0, 2.0])  # .2 -> .6: -1 * 1; no value .4 s after 0, none before .8
    assert facts.autocorrelation(x, 0.4)[0] == pytest.approx(-1 / np.mean(departures**2))


def test_memory_is_that_of_an_autoregression():
    """AR(1) of .8: .8 after a second, .33 after five, less 2 standard errors of 60 runs of 1,000."""
    rng = np.random.default_rng(1)
    runs = []
    for _ in range(60):
        level = [rng.standard_normal()]
        for shock in rng.standard_normal(999):
            level.append(0.8 * level[-1] + 0.6 * shock)
        runs.append(np.exp(0.1 * np.array(level)))
    x = series(*runs)
    assert facts.mean_log_memory(x, 1.0)(np.ones(60)) == pytest.approx(0.8, abs=0.01)
    assert facts.median_memory(x, 5.0)(np.ones(60)) == pytest.approx(0.8**5, abs=0.03)


def test_interval_covers_as_a_bootstrap_does():
    """100 normal runs of one value: the mean log's interval is about 1.96 standard errors wide on each side."""
    x = facts.singly(np.exp(np.random.default_rng(2).standard_normal(100)))
    value, low, high, error = facts.interval(facts.level_spread(x), 100)
    assert low < value < high
    assert error == pytest.approx(1 / np.sqrt(200), rel=0.25)  # of a standard deviation
    again = facts.interval(facts.level_spread(x), 100)
    assert again == (value, low, high, error)


def test_seconds_of_a_trace_by_hand():
    """1 byte a microsecond is 8 Mbit/s for half a second, then nothing until 2.5 s: whole seconds hold 4 and 0."""
    traces = flatten([(np.array([0, 500_000, 2_500_000]), np.array([500_000, 0]))])
    assert facts.per_second(traces).value.tolist() == [4, 0]


def test_a_row_is_ok_within_its_tolerance_only():
    assert row("x", 10.0, 9.0, 11.0, 11.0, 1.0).ok
    assert not row("x", 10.0, 9.0, 11.0, 11.1, 1.0).ok
    assert not row("x", 10.0, 9.0, 11.0, np.nan, 1.0).ok


def test_default_links_agree_with_the_data(tmp_path):
    """Every row of the scoreboard, and the figure of the same."""
    compared = compare_network(Scenario())
    found = [each for c in compared for each in facts.rows(c)]
    assert len(found) == 48
    assert len({each.quantity for each in found}) == 48
    assert not [each for each in found if not each.ok]
    assert all(each.low <= each.target <= each.high for each in found if "autocorrelation" not in each.quantity)
    network_figure(compared, tmp_path / "links.png")
    assert (tmp_path / "links.png").read_bytes()[:4] == b"\x89PNG"


def test_other_links_are_told(monkeypatch):
    """The scoreboard can fail: generated traces and longer round trips are not the data's."""
    monkeypatch.setattr(facts, "PEOPLE", 300)
    other = with_settings(Scenario(), ["network.rtt_scale=1.3", "network.synthetic_traces=50"])
    wrong = {each.quantity for each in network_rows(other) if not each.ok}
    assert {"RTT driving: p50, ms", "throughput oslo_3g: median, Mbit/s", "10 s test wifi5: p25, Mbit/s"} <= wrong
    assert "RTT driving: spread of jitter, sd of log" not in wrong


def test_access_links_are_the_steadiest_measured_ones():
    traces, groups = shipped_traces()
    cv = [facts.variation(facts.per_second(traces, range(k, k + 1)))(np.ones(1)) for k in groups["ghent_4g"]]
    steady = len(groups["steady"])
    assert max(cv[:steady]) < 0.35
    assert np.mean(cv[:steady]) < np.mean(cv[steady:]) - 0.1
