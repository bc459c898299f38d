"""The page of a release: the verdict, what happened when, the monitor and the gates minute by minute."""

from typing import Any

from dash import Dash, Input, Output, dcc

from nextone.experiments.output.dashboard import releases as data
from nextone.experiments.output.dashboard.entries import Entry
from nextone.experiments.output.dashboard.figures import Figure, lines
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table

from . import parts

METRIC, GATE = Input("r-metric", "value"), Input("r-gate", "value")


def page(entry: Entry) -> list[Any]:
    """The elements of the page."""
    view = data.release_view(entry.folder, entry.stamp)
    happened = [f"Minute {minute:g}: {what}{f', {why}' if why else ''}." for minute, what, why in data.events(view)]
    gates = data.gate_names(view)
    of_many = "Of several releases, the first is shown." if len(view.told["releases"]) > 1 else ""
    return [
        dcc.Store(id="as-of", data=entry.stamp), parts.verdict(view.verdict), *parts.notes(of_many, *happened),
        parts.labelled("Monitor", parts.choice("r-metric", [(k, words) for k, (words, _) in data.SHOWN.items()],
                                               "valid_play")),
        parts.graph("r-lines"),
        *([parts.labelled("Gate", parts.choice("r-gate", gates, gates[0][0])), parts.graph("r-gates")]
          if gates else []),
        parts.table_block("monitor", "Every minute"),
    ]  # fmt: skip


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def view_of(search: str, as_of: str) -> data.ReleaseView:
        return data.release_view(shelf.named(search).folder, as_of)

    def draw(metric: str, search: str, as_of: str) -> Figure:
        view = view_of(search, as_of)
        marks = [(minute, what) for minute, what, _ in data.events(view)]
        return lines(data.lines_of(view, metric), "minute", data.SHOWN[metric][0], marks)

    def draw_gate(gate: int, search: str, as_of: str) -> Figure:
        view = view_of(search, as_of)
        return lines(data.gate_lines(view, gate), "minute", dict(data.gate_names(view))[gate])

    def table(as_of: str, search: str) -> Table:
        return data.monitor_table(view_of(search, as_of))

    app.callback(Output("r-lines", "figure"), METRIC, parts.SEARCH, parts.AS_OF)(draw)
    app.callback(Output("r-gates", "figure"), GATE, parts.SEARCH, parts.AS_OF)(draw_gate)
    parts.register_table(app, "monitor", table, [Input("as-of", "data")], [parts.SEARCH])
