"""The page of a comparison: the verdict, the table with its arms, one metric's intervals, one person's life."""

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, dcc, html

from nextone.experiments.output.dashboard import comparisons as data
from nextone.experiments.output.dashboard.entries import Entry
from nextone.experiments.output.dashboard.figures import Figure, forest
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table
from nextone.experiments.runs.metrics import PRIMARY

from . import lived, parts

METRIC, ARMS, WHICH = Input("c-metric", "value"), Input("c-arms", "value"), Input("c-which", "value")


def page(entry: Entry) -> list[Any]:
    """The elements of the page of a comparison."""
    view = data.comparison_view(entry.folder, entry.stamp)
    base, *others = view.labels
    return [
        dcc.Store(id="as-of", data=entry.stamp),
        parts.verdict(view.verdict),
        *parts.notes(data.caption(view)),
        html.Div([
            parts.labelled("Arms", parts.switches("c-arms", view.labels, view.labels)),
            parts.labelled("Metric", parts.choice("c-metric", data.metric_choices(view.result.metrics), PRIMARY)),
        ], className="controls"),
        html.H2(f"Paired differences from {base}, 95 % intervals"),
        parts.graph("c-forest"),
        *parts.notes("Hollow where it may be luck."),
        parts.labelled("Rows of", parts.radios("c-which", list(data.WHICH.items()), data.USUAL)),
        parts.table_block("comparison", "Every number"),
        lived.block(view.labels, (others or [base])[0]),
    ]  # fmt: skip


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def view_of(search: str, as_of: str) -> data.ComparisonView:
        return data.comparison_view(shelf.named(search).folder, as_of)

    def draw(metric: str, arms: Sequence[str], search: str, as_of: str) -> Figure:
        points, unit = data.forest_points(view_of(search, as_of), metric, arms)
        return forest(points, data.meaning(metric), f"{metric}, {unit}")

    def table(metric: str, arms: Sequence[str], which: str, search: str, as_of: str) -> Table:
        view = view_of(search, as_of)
        return data.comparison_table_of(view, data.metrics_shown(view, which, metric), arms)

    app.callback(Output("c-forest", "figure"), METRIC, ARMS, parts.SEARCH, parts.AS_OF)(draw)
    parts.register_table(app, "comparison", table, [METRIC, ARMS, WHICH], [parts.SEARCH, parts.AS_OF])
