"""Capacity traces: cumulative curves by hand and by property, the shipped groups, and refusal of bad files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextone.sim.config import Scenario
from nextone.sim.inputs.round_trips import Pings, level_and_jitter, redrawn_pings, shipped_pings
from nextone.sim.inputs.traces import (
    TraceError,
    Traces,
    bandwidth_tests,
    constant_trace,
    day_of,
    flatten,
    rows_drawn,
    segment_bytes,
    shipped_traces,
    synthetic_traces,
)
from nextone.sim.scenario import with_settings
from nextone.sim.world import make_links


def delivered(traces: Traces, k: int, t_us: int) -> int:
    """Bytes trace k delivers in [0, t_us), from its definition, in Python's unbounded integers."""
    own = slice(traces.first[k], traces.first[k + 1])
    knots, cum_bytes = [int(t) for t in traces.t_us[own]], [int(c) for c in traces.cum_bytes[own]]
    loops, x = divmod(t_us, knots[-1])
    j = int(np.searchsorted(knots, x, side="right")) - 1
    part = (x - knots[j]) * (cum_bytes[j + 1] - cum_bytes[j]) // (knots[j + 1] - knots[j])
    return loops * cum_bytes[-1] + cum_bytes[j] + part


def assert_well_formed(traces: Traces) -> None:
    """What the world's integration relies on."""
    assert traces.first[0] == 0
    assert traces.first[-1] == len(traces.t_us) == len(traces.cum_bytes)
    assert len(traces.mean_bps) == len(traces.first) - 1
    assert [column.dtype for column in traces] == [np.int64, np.int64, np.int64, np.float64]
    start, last = traces.first[:-1], traces.first[1:] - 1
    assert (start < last).all()
    assert (traces.t_us[start] == 0).all()
    assert (traces.cum_bytes[start] == 0).all()
    assert (traces.cum_bytes[last] > 0).all()
    inside = np.setdiff1d(np.arange(len(traces.t_us) - 1), last)
    span, amount = np.diff(traces.t_us)[inside], np.diff(traces.cum_bytes)[inside]
    assert (span > 0).all()
    assert (span <= 10_000_000).all()
    assert (amount >= 0).all()
    assert max(int(a) * int(b) for a, b in zip(span, amount, strict=True)) < 2**62
    np.testing.assert_allclose(traces.mean_bps, 8e6 * traces.cum_bytes[last] / traces.t_us[last])


# ---- curves


def test_two_traces_by_hand() -> None:
    # 8 Mbit/s is 1 byte a microsecond: 1 s of it, then 2 s of nothing; and 3 bytes over 2 s.
    traces = flatten(
        [
            (np.array([0, 1_000_000, 3_000_000]), np.array([1_000_000, 0])),
            (np.array([0, 2_000_000]), np.array([3])),
        ]
    )
    assert traces.first.tolist() == [0, 3, 5]
    assert traces.t_us.tolist() == [0, 1_000_000, 3_000_000, 0, 2_000_000]
    assert traces.cum_bytes.tolist() == [0, 1_000_000, 1_000_000, 0, 3]
    assert traces.mean_bps.tolist() == [8e6 / 3, 12.0]
    assert [delivered(traces, 0, t) for t in (0, 250_000, 2_500_000, 3_000_001)] == [0, 250_000, 1_000_000, 1_000_001]


def test_remainders_are_carried_on() -> None:
    # 1 kbit/s is 125 bytes/s: each 4 ms half a byte, so every second segment has one byte.
    t_us = np.arange(6, dtype=np.int64) * 4_000
    assert segment_bytes(t_us, np.ones(5, np.int64)).tolist() == [0, 1, 0, 1, 0]


def test_long_segment_is_split_at_ten_seconds_exactly() -> None:
    traces = flatten([(np.array([0, 25_000_000]), np.array([10]))])
    assert traces.t_us.tolist() == [0, 8_333_333, 16_666_666, 25_000_000]
    assert traces.cum_bytes.tolist() == [0, 3, 6, 10]


segments = st.lists(
    st.tuples(st.integers(1, 10**9), st.integers(0, 10**12)),  # microseconds; bytes/s up to what "inf" means
    min_size=1,
    max_size=30,
)


@given(segments, st.lists(st.floats(0, 3), min_size=3, max_size=3))
def test_curve_is_exact_monotone_and_additive(rows: list[tuple[int, int]], at: list[float]) -> None:
    t_us = np.cumsum([0] + [span for span, _ in rows])
    amount = np.array([span * bytes_per_s // 10**6 for span, bytes_per_s in rows])
    amount[0] += 1  # a trace delivers something
    traces = flatten([(t_us, amount)])
    assert_well_formed(traces)

    knots = set(traces.t_us.tolist())
    cumulative = np.append(0, np.cumsum(amount))
    for t, total in zip(t_us.tolist()[:-1], cumulative.tolist(), strict=False):  # every given knot stays, exactly
        assert t in knots
        assert delivered(traces, 0, t) == total
    period, total = int(t_us[-1]), int(amount.sum())
    a, b, c = sorted(int(f * period) for f in at)
    assert delivered(traces, 0, a) <= delivered(traces, 0, b) <= delivered(traces, 0, c)
    for loops in (1, 7):  # additive over whole loops, from anywhere
        assert delivered(traces, 0, a + loops * period) == delivered(traces, 0, a) + loops * total


@given(segments, st.floats(0, 1))
def test_splitting_moves_no_byte(rows: list[tuple[int, int]], at: float) -> None:
    t_us = np.cumsum([0] + [span for span, _ in rows])
    amount = np.array([1 + span * bytes_per_s // 10**6 for span, bytes_per_s in rows])
    traces = flatten([(t_us, amount)])
    unsplit = Traces(np.array([0, len(t_us)]), t_us, np.append(0, np.cumsum(amount)), traces.mean_bps)
    t = int(at * int(t_us[-1]))
    assert abs(delivered(traces, 0, t) - delivered(unsplit, 0, t)) <= 1


@given(st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 3_000_000)), min_size=1, max_size=50))
def test_whole_rates_give_the_exact_total_rounded_down(rows: list[tuple[int, int]]) -> None:
    t_us = np.cumsum([0] + [1_000 * ms for ms, _ in rows])
    total_bits = sum(ms * kbps for ms, kbps in rows)
    assert segment_bytes(t_us, np.array([kbps for _, kbps in rows])).sum() == total_bits // 8


@pytest.mark.parametrize("mbps", [0.001, 0.3, 1, 52.3, 8e6, 1e9, float("inf")])
def test_constant_trace_delivers_its_rate(mbps: float) -> None:
    traces = constant_trace(mbps)
    assert_well_formed(traces)
    bytes_per_s = min(mbps * 125_000, 1e12)
    for t_us in (1_000_000, 3_700_000, 10_000_000, 25_000_000):
        assert delivered(traces, 0, t_us) == pytest.approx(bytes_per_s * t_us / 1e6, rel=1e-6, abs=1)


@pytest.mark.parametrize("mbps", [0, -1, float("nan"), float("-inf"), 1e-9])
def test_constant_trace_refuses(mbps: float) -> None:
    with pytest.raises(TraceError, match=r"^mbps=.* must be >= 0.001; "):
        constant_trace(mbps)


# ---- synthetic


def test_a_synthetic_trace_does_not_depend_on_how_many_there_are() -> None:
    few, many = synthetic_traces(2, 50, 20, 0.6, seed=3), synthetic_traces(9, 50, 20, 0.6, seed=3)
    assert_well_formed(many)
    assert (many.t_us[: len(few.t_us)] == few.t_us).all()
    assert (many.cum_bytes[: len(few.cum_bytes)] == few.cum_bytes).all()
    assert (synthetic_traces(2, 50, 20, 0.6, seed=4).cum_bytes != few.cum_bytes).any()


def test_synthetic_traces_have_the_asked_median_variation_and_memory() -> None:
    # 300 traces of 400 s at correlation .9 hold 300 * 400 * (1 - .9) / (1 + .9) = 6,316 independent samples, 79 for
    # each of the quantities below at their own scale: standard errors .016 (median of log, sd .47), .01 and .01.
    traces = synthetic_traces(300, 400, median_mbps=20, cv=0.5, seed=1)
    mbps = np.diff(traces.cum_bytes.reshape(300, 401)) * 8e-6
    log = np.log(mbps)
    sd = np.sqrt(np.log1p(0.5**2))
    assert np.median(log) == pytest.approx(np.log(20), abs=0.04)
    assert log.std() == pytest.approx(sd, rel=0.05)
    assert mbps.std() / mbps.mean() == pytest.approx(0.5, rel=0.1)
    lag = {s: np.mean((log[:, s:] - np.log(20)) * (log[:, :-s] - np.log(20))) / sd**2 for s in (1, 5)}
    # the driving traces of PAM 2025: autocorrelation .894 after 1 s, .598 after 5 s
    assert lag[1] == pytest.approx(0.894, abs=0.05)
    assert lag[5] == pytest.approx(0.598, abs=0.06)


def test_no_variation_is_a_constant_link() -> None:
    assert synthetic_traces(1, 30, 5, 0.0, seed=0).cum_bytes.tolist() == [625_000 * s for s in range(31)]


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"seconds": 0},
        {"n": 10**6, "seconds": 10**6},
        {"median_mbps": 0.0},
        {"median_mbps": float("nan")},
        {"cv": -0.1},
        {"cv": float("inf")},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_synthetic_traces_refuses(change: dict[str, float]) -> None:
    arguments = {"n": 1, "seconds": 10, "median_mbps": 5.0, "cv": 0.5, "seed": 0} | change
    with pytest.raises(TraceError, match=rf"{next(iter(change))}.* must be .*; "):
        synthetic_traces(**arguments)  # type: ignore[arg-type]


# ---- shipped


def test_shipped_groups() -> None:
    traces, groups = shipped_traces()
    assert_well_formed(traces)
    assert groups == {
        "driving": range(480),
        "ghent_4g": range(480, 509),
        "steady": range(480, 487),
        "oslo_3g": range(509, 569),
    }
    assert len(traces.mean_bps) == 569
    mbps = {name: traces.mean_bps[group.start : group.stop] / 1e6 for name, group in groups.items()}
    # means of PAM 2025's traces over samples; here they are over time
    np.testing.assert_allclose(np.quantile(mbps["driving"], [0.1, 0.5, 0.9]), [20.5, 72.6, 186.9], rtol=0.05)
    # sabre 4G/all trace_mean_q .5: 32.47; 4G/foot 30.83; 3G/mixed 1.06 over samples, lower over time (gaps)
    assert np.median(mbps["ghent_4g"]) == pytest.approx(32.47, rel=0.01)
    assert 25 < np.median(mbps["steady"]) < 40
    assert 0.8 < np.median(mbps["oslo_3g"]) < 1.06
    last = traces.first[1:] - 1
    period, total = traces.t_us[last], traces.cum_bytes[last]
    ghent = slice(groups["ghent_4g"].start, groups["ghent_4g"].stop)
    assert 8 * total[ghent].sum() / period[ghent].sum() == pytest.approx(31.42, abs=0.01)  # sabre 4G/all mean


def test_tests_and_round_trips() -> None:
    tests, pings = bandwidth_tests(), shipped_pings()
    assert {tech: len(results) for tech, results in tests.items()} == {
        "4G": 6771, "5G": 7105, "wifi4": 7039, "wifi5": 6957, "wifi6": 7038
    }  # fmt: skip
    assert np.median(tests["5G"]) == pytest.approx(313)  # of the source's tests of 2021
    level_us, jitter = level_and_jitter(pings)
    assert len(level_us) == len(pings.sent) == len(pings.first) - 1 == 858
    assert len(jitter) == len(pings.t_us) == pings.first[-1] == 127_979
    assert np.median(level_us) == pytest.approx(54_100, abs=100)  # median of the runs' medians in the source
    assert (pings.t_us[pings.first[:-1]] == 0).all()
    assert pings.t_us.max() == 149 * 200_000  # numbers 1 to 150
    assert pings.sent.sum() - len(jitter) == 403  # numbers missing between a run's first and last


def test_level_and_jitter_by_hand() -> None:
    pings = Pings(np.array([0, 3, 5]), np.arange(5), np.array([10.0, 40.0, 20.0, 6.0, 2.0]), np.array([3, 2]))
    level_us, jitter = level_and_jitter(pings)
    assert level_us.tolist() == [20, 4]
    assert jitter.tolist() == [0.5, 2, 1, 1.5, 0.5]


# ---- other days


def test_days_are_drawn_whole_and_with_replacement_by_hand():
    days = ["mon", "tue", "mon", "wed", "wed"]
    assert rows_drawn(days, 0, 1) == [0, 1, 2, 3, 4]
    seen = set()
    for seed in range(1, 40):
        drawn = rows_drawn(days, seed, 1)
        assert drawn == rows_drawn(days, seed, 1)
        for pair in ((0, 2), (3, 4)):  # a day comes whole
            assert drawn.count(pair[0]) == drawn.count(pair[1])
        assert sum(drawn.count(row) for row in (0, 1, 3)) == 3, "as many days as there are"
        seen.add(tuple(drawn))
    assert len(seen) > 5 and any(len(set(drawn)) < len(drawn) for drawn in seen)
    assert [rows_drawn(days, seed, 1) for seed in range(1, 9)] != [rows_drawn(days, seed, 2) for seed in range(1, 9)]


def test_the_day_of_a_trace_is_in_its_name():
    names = ("3G_2010-09-13_1003CEST", "a_1_run_10", "v_1_run_89_2", "4G_bus_0002")
    assert [day_of(name) for name in names] == ["2010-09-13", "1", "1", "4G_bus_0002"]


def test_shipped_links_of_other_days():
    usual, groups = shipped_traces()
    other, others = shipped_traces(3)
    assert_well_formed(other)
    assert groups.keys() == others.keys() and len(others["ghent_4g"]) == len(groups["ghent_4g"])
    assert set(other.mean_bps) < set(usual.mean_bps), "traces that exist, some of them not drawn"
    pings, again = shipped_pings(), redrawn_pings(shipped_pings(), 3)
    assert len(again.sent) == len(pings.sent) and len(again.rtt_us) == again.first[-1]
    assert set(again.rtt_us) <= set(pings.rtt_us) and not np.array_equal(again.sent, pings.sent)
    same = redrawn_pings(pings, 0)
    assert all(np.array_equal(a, b) for a, b in zip(pings, same, strict=True))


def test_the_world_draws_both_capacities_and_round_trips():
    usual, other = (make_links(with_settings(Scenario(), [f"network.trace_seed={k}"])) for k in (0, 1))
    assert not np.array_equal(usual.trace_mean_bps, other.trace_mean_bps)
    assert not np.array_equal(usual.rtt, other.rtt)
