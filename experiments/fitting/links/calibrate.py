"""`nextone calibrate --traces DIR`: a user's throughput traces and logs of round trips become settings of the network.

Traces are resampled whole and round trips drawn from the logs' own levels and jitter, so there is little to fit: how
far the median round trip and the loss could be off, by a bootstrap over files. What the files cannot say is named.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextone.sim.config import Network, Scenario
from nextone.sim.inputs.errors import plural
from nextone.sim.inputs.round_trips import Pings, shipped_pings
from nextone.sim.inputs.trace_files import read_links
from nextone.sim.inputs.traces import Traces

from .facts import FACTS, Fact, Series, in_ms, interval, per_second, quantile

MIN_FILES = 5  # fewer say nothing of the spread between files
NO_FILE_TELLS = ("network.shares", "network.outages_per_hour", "network.outage_s", "network.radio_wake_ms",
                 "network.radio_idle_s")  # fmt: skip


class Measured(NamedTuple):
    """A fact of the user's files with its 95 % interval over files; the interval is None with fewer than MIN_FILES."""

    quantity: str
    value: float
    low: float | None
    high: float | None


class Fitted(NamedTuple):
    """A field of the scenario, and its 95 % interval where it has one."""

    field: str
    value: float | str
    low: float | None = None
    high: float | None = None


class TraceCalibration(NamedTuple):
    """What was found, the settings it gives, what it leaves open; how files were read, and which were not."""

    found: tuple[str, ...]
    facts: tuple[Measured, ...]
    fitted: tuple[Fitted, ...]
    unknown: tuple[str, ...]
    read: tuple[str, ...]
    passed_over: tuple[str, ...]

    def applied(self, base: Scenario) -> Scenario:
        """The scenario with these links."""
        chosen = {each.field.removeprefix("network."): each.value for each in self.fitted}
        return base.model_copy(update={"network": Network.model_validate(base.network.model_dump() | chosen)})

    def lines(self) -> list[str]:
        """The report, for a terminal."""
        numbers = [f"  {each.quantity}: {each.value:.4g}{_within(each.low, each.high)}" for each in self.facts]
        settings = [f"  {each.field} = {each.value}{_within(each.low, each.high)}" for each in self.fitted]
        unknown = [f"  {each}" for each in self.unknown]
        read = [f"  {each}" for each in self.read]
        passed = ["passed over", *(f"  {each}" for each in self.passed_over)] if self.passed_over else []
        head = ["read as", *read, *passed, *self.found]
        return [*head, *numbers, "settings", *settings, "not identified", *unknown]


def calibrate_traces(folder: Path, columns: str = "") -> TraceCalibration:
    """Settings from the files in a folder (or one file), see sim/inputs/trace_files.py. columns: the text of
    `--columns`.

    Raises TraceError: one line with file and row."""
    links = read_links(folder, columns)
    parts = [_of_traces(folder, links.traces), _of_pings(folder, links.pings)]
    found, facts, fitted, unknown = (sum(column, ()) for column in zip(*parts, strict=True))
    if columns:
        fitted = (*fitted, Fitted("network.link_columns", columns))
    unknown = (*unknown, f"{', '.join(NO_FILE_TELLS)}: neither kind of file tells")
    return TraceCalibration(found, facts, fitted, unknown, links.understood(), links.left())


Part = tuple[tuple[str, ...], tuple[Measured, ...], tuple[Fitted, ...], tuple[str, ...]]


def _of_traces(folder: Path, traces: Traces | None) -> Part:
    """What one kind of file gives: found, facts, fitted, unknown."""
    if traces is None:
        return (), (), (), ("network.traces: no throughput trace (t_s,mbps); the shipped links stay",)
    x = per_second(traces)
    last = traces.first[1:] - 1
    seconds, mbps = traces.t_us[last].sum() / 1e6, traces.mean_bps / 1e6
    found = f"{plural(len(mbps), 'trace')}, {seconds:,.0f} s, means {mbps.min():.3g} to {mbps.max():.3g} Mbit/s"
    facts, unknown = _facts("throughput", x)
    return (found,), facts, (Fitted("network.traces", str(folder.resolve())),), unknown


def _of_pings(folder: Path, pings: Pings | None) -> Part:
    if pings is None:
        missing = "network.rtt, network.rtt_scale, network.loss: no log of round trips (t_s,rtt_ms,seq)"
        return (), (), (), (missing,)
    x = in_ms(pings)
    facts, unknown = _facts("rtt", x)
    median = _measured("median round trip, ms", quantile(x, 0.5), len(pings.sent))
    ours = quantile(in_ms(shipped_pings()), 0.5)(np.ones(len(shipped_pings().sent)))
    facts = (*facts, _times(median, "median round trip, over the shipped runs'", 1 / ours))
    scale = _times(median, "", 1 / median.value)
    fitted = [
        Fitted("network.rtt", str(folder.resolve())),
        Fitted("network.rtt_scale", 1.0, scale.low, scale.high),
        Fitted("network.wifi_rtt_scale", 1.0),
    ]
    lost = ""
    numbered = np.flatnonzero(pings.sent)
    if len(numbered):
        sent, replies = pings.sent[numbered], np.diff(pings.first)[numbered]
        lost = f", {(sent - replies).sum():,} lost of {sent.sum():,}"
        loss = _measured("loss", lambda weight: float(1 - weight @ replies / (weight @ sent)), len(sent))
        high = loss.high if loss.high is None else max(loss.high, 3 / sent.sum())  # none lost: the rule of three
        fitted.append(Fitted("network.loss", loss.value, loss.low, high))
    else:
        unknown = (*unknown, "network.loss: no log numbers its pings (seq)")
    found = f"{plural(len(pings.sent), 'log')} of round trips, {len(pings.rtt_us):,} replies{lost}"
    unknown = (*unknown, "network.wifi_rtt_scale: the logs stand for every link, so it is 1",
               "how long the jitter is remembered: as in the shipped runs")  # fmt: skip
    return (found,), facts, tuple(fitted), unknown


def _facts(kind: str, x: Series) -> tuple[tuple[Measured, ...], tuple[str, ...]]:
    """Those the files determine, and the names of the others."""
    runs = len(x.first) - 1
    each = [_measured(f"{kind} {name}", fact_of(x), runs) for name, fact_of in FACTS[kind].items()]
    unknown = [f"{fact.quantity}: no values so far apart, or none that vary" for fact in each if np.isnan(fact.value)]
    if runs < MIN_FILES:
        unknown.append(f"intervals of {kind}: {plural(runs, 'file')}, a bootstrap over files needs {MIN_FILES}")
    return tuple(fact for fact in each if np.isfinite(fact.value)), tuple(unknown)


def _measured(quantity: str, fact: Fact, runs: int) -> Measured:
    if runs < MIN_FILES:
        return Measured(quantity, fact(np.ones(runs)), None, None)
    value, low, high, _ = interval(fact, runs)
    return Measured(quantity, value, low, high)


def _times(each: Measured, quantity: str, factor: float) -> Measured:
    low, high = (end if end is None else end * factor for end in (each.low, each.high))
    return Measured(quantity, each.value * factor, low, high)


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
