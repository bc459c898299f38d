"""One person's life under an arm: asked for with a button, drawn as a timeline, with the impressions below it."""

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update

from nextone.experiments.output.dashboard import comparisons, sweeps
from nextone.experiments.output.dashboard.entries import UNREADABLE, one_line
from nextone.experiments.output.dashboard.figures import kinds_of, timeline
from nextone.experiments.output.dashboard.lives import SHOWN, Asked, live
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table, records_table
from nextone.experiments.output.timeline import TIMELINE, Timeline, read_timeline, timeline_sentence
from nextone.sim.scenario import SettingError

from . import parts


def block(arms: Sequence[str], first: str, where: str = "") -> Any:
    """The controls that choose a person. where: for a sweep, in which cell."""
    return html.Section([
        html.H2("One person's timeline"),
        *parts.notes(
            "Lived again on request, as nextone timeline does: some seconds, the first time up to a minute." + where
        ),
        html.Div([
            parts.labelled("Person", dcc.Input(id="l-user", type="number", min=0, step=1, value=0)),
            parts.labelled("Session", dcc.Input(id="l-session", type="number", min=0, step=1, value=0)),
            parts.labelled("Arm", parts.choice("l-arm", [(arm, arm) for arm in arms], first)),
            html.Button("Show", id="l-go", className="go"),
        ], className="controls"),
        dcc.Loading(html.Div(id="l-out"), type="dot"),
        dcc.Store(id="l-rows", data=[]),
        html.Div(parts.table_block("impressions", "Impressions of that session"), id="l-below", hidden=True),
    ])  # fmt: skip


def drawn(made: Timeline) -> list[Any]:
    """A timeline, with the meaning of its colours."""
    legend: dict[str, list[Any]] = {}
    for lane, kind, colour in kinds_of(made):
        chip = html.Span([html.I(className="chip", style={"background": colour}), kind])
        legend.setdefault(lane, [html.B(lane)]).append(chip)
    named = html.Div([html.Div(each) for each in legend.values()], className="legend")
    return [parts.graph("l-figure", timeline(made)), named]


def saved_page(folder: Any) -> list[Any]:
    """The page of a timeline that was saved."""
    made = read_timeline(folder / TIMELINE)
    return [parts.verdict([timeline_sentence(made)]), *drawn(made)]


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def asked_of(search: str, as_of: str, arm: str, place: Sequence[int]) -> Asked:
        entry = shelf.named(search)
        if entry.kind == "comparison":
            return comparisons.comparison_view(entry.folder, as_of).asked(arm)
        view = sweeps.sweep_view(entry.folder, as_of)
        return view.asked(view.nearest(place)[0], arm)

    def show(
        clicks: int | None, user: Any, session: Any, arm: str, place: list[int], search: str, as_of: str
    ) -> tuple[Any, Any, Any]:
        if not clicks:
            return no_update, no_update, no_update
        try:
            if type(user) is not int or type(session) is not int:
                raise SettingError("person and session must be whole numbers from 0")
            found = live(asked_of(search, as_of, arm, place), user, session)
        except UNREADABLE as error:
            return parts.problem(one_line(error)), [], True
        told = [html.P(found.sentence, className="first"), *parts.notes(found.how), *drawn(found.timeline)]
        return told, [dict(row.record) for row in found.impressions.rows], False

    def table(rows: list[dict[str, Any]]) -> Table:
        return records_table(rows or [], SHOWN)

    app.callback(
        Output("l-out", "children"), Output("l-rows", "data"), Output("l-below", "hidden"), Input("l-go", "n_clicks"),
        State("l-user", "value"), State("l-session", "value"), State("l-arm", "value"), parts.PLACE, parts.SEARCH,
        parts.AS_OF, prevent_initial_call=True,
    )(show)  # fmt: skip
    parts.register_table(app, "impressions", table, [Input("l-rows", "data")])
