"""The page of a training: the start beside the end, and the curves between."""

from typing import Any

from dash import Dash, Input, dcc, html

from nextone.experiments.output.dashboard.entries import Entry
from nextone.experiments.output.dashboard.figures import learning
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table, records_table
from nextone.experiments.output.dashboard.trainings import looks_of, read_training

from . import parts


def page(entry: Entry, far: str) -> list[Any]:
    """The elements of the page of a training. far: how far it is."""
    found = read_training(entry.folder)
    graphs = [
        html.Div([html.H2(title), parts.graph(f"t-{k}", figure)])
        for k, ((title, _), figure) in enumerate(zip(found.panels, learning(found), strict=True))
    ]
    told = (f"Not finished: {far}." if far else "", f"{found.kind}, {found.far}, as its newest checkpoint tells it.")
    return [
        dcc.Store(id="as-of", data=entry.stamp), parts.verdict(found.sentences), *parts.notes(*told), *graphs,
        parts.table_block("looks", "Every look"),
    ]  # fmt: skip


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def table(_: str, search: str) -> Table:
        records = looks_of(read_training(shelf.named(search).folder))
        return records_table(records, list(records[0]) if records else [])

    parts.register_table(app, "looks", table, [Input("as-of", "data")], [parts.SEARCH])
