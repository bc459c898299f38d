"""The page of a sweep: the answer, maps and cuts, sliders with the best cell beside them, every cell, one person."""

from collections.abc import Sequence
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html
from dash.exceptions import PreventUpdate

from nextone.experiments.output.dashboard import sweeps as data
from nextone.experiments.output.dashboard.comparisons import meaning, metric_choices
from nextone.experiments.output.dashboard.entries import Entry
from nextone.experiments.output.dashboard.figures import Figure, cloud_map, curves, map_of
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table
from nextone.experiments.runs.metrics import metric_named
from nextone.experiments.sweeps.answer import cell_words, field_name

from . import lived, parts

METRIC, POLICIES, WHAT = Input("s-metric", "value"), Input("s-policies", "value"), Input("s-what", "value")
POLICY, GREY = Input("s-policy", "value"), Input("s-grey", "value")
SLIDERS = Input({"type": "axis", "axis": ALL}, "value")
MOST_MARKS = 8  # values written under a slider


def page(entry: Entry, far: str) -> list[Any]:
    """The elements of the page of a sweep. far: how far it is."""
    as_of = f"{entry.stamp} {entry.standing.done if entry.standing else ''}"
    view = data.sweep_view(entry.folder, as_of)
    unfinished = "" if entry.state == "finished" else (
        f"Not finished: {far}. What follows is what its ledger had when this page was loaded."
    )  # fmt: skip
    head = [
        dcc.Store(id="as-of", data=as_of), parts.verdict(view.verdict),
        *parts.notes(unfinished, *view.warnings, data.caption(view)),
    ]  # fmt: skip
    failed = [html.Details([html.Summary(f"{len(view.result.failed):,} cells without results"), html.Ul([
        html.Li(f"{cell_words(view.result.plan.cells[k])}: {why}") for k, why in list(view.result.failed.items())[:100]
    ])])] if view.result.failed else []  # fmt: skip
    return [*head, *(_body(view) if view.result.cells else []), *failed]


def _body(view: data.SweepView) -> list[Any]:
    plan = view.result.plan
    names = [(k, field_name(axis.name)) for k, axis in enumerate(view.axes)]
    whats = [(data.DEFAULT, "change from the default, %"), (data.BASELINE, f"over {plan.baseline}, %")]
    whats += [(data.LEVEL, "level")]
    if plan.default.number in view.result.failed:
        whats = whats[1:]
    best = view.result.best
    policy = best.arm.policy if best else plan.policies[0]
    start = view.start()
    sliders = [parts.labelled(field_name(axis.name), _slider(k, axis, start[k])) for k, axis in enumerate(view.axes)]
    return [
        html.Div([
            parts.labelled("Arms", parts.switches("s-policies", plan.policies, plan.policies)),
            parts.labelled("Metric", parts.choice("s-metric", metric_choices(view.result.metrics), plan.metric)),
            parts.labelled("Shown as", parts.radios("s-what", whats, whats[0][0])),
        ], className="controls"),
        html.H2("One cell beside the best"),
        html.Div(sliders, className="sliders"),
        html.Div([html.P(id="s-here"), html.Button("Go to the best", id="s-best")], className="headed"),
        parts.labelled("Policy, also of the map", parts.choice("s-policy", [(p, p) for p in plan.policies], policy)),
        parts.table_block("cell", "This cell"),
        html.Div([
            html.H2("Map"),
            html.Div([
                parts.labelled("Down", parts.choice("s-y", names, 0)),
                parts.labelled("Across", parts.choice("s-x", names, min(1, len(names) - 1) if names else 0)),
                parts.labelled("Dominated cells", parts.switches("s-grey", ["greyed"], ["greyed"])),
            ], className="controls"),
            parts.graph("s-map"),
            *parts.notes("★ best, ‡ servers overloaded, framed: where the sliders stand. A click moves them there. "
                         "Greyed: by the means, another arm has more time in the app, fewer requests and less waste."),
        ], hidden=len(view.axes) < 2),
        html.Div([
            html.H2("Cut"),
            parts.labelled("Along", parts.choice("s-along", names, 0)),
            parts.graph("s-cut"),
            html.P(id="s-cut-note", className="note"),
        ], hidden=not view.axes),
        parts.table_block("sweep", "Every cell"),
        lived.block(plan.policies, policy, " It lives in the cell where the sliders stand."),
    ]  # fmt: skip


def _slider(k: int, axis: data.Axis, start: int) -> Any:
    """Snaps to the values that were swept; of texts a list."""
    identity, last = {"type": "axis", "axis": k}, len(axis.values) - 1
    if not axis.numeric or last < 1:
        return dcc.Dropdown(
            id=identity, options=[{"value": i, "label": value} for i, value in enumerate(axis.values)], value=start,
            clearable=False, searchable=False,
        )  # fmt: skip
    step = max(1, -(-last // (MOST_MARKS - 1)))
    written = {*range(0, last + 1, step), last} - ({last - 1} if step > 1 else set())
    marks = {i: value if i in written else "" for i, value in enumerate(axis.values)}
    return dcc.Slider(
        id=identity, min=0, max=last, step=1, marks=marks, value=start, included=False, allow_direct_input=False,
        updatemode="mouseup",
    )  # fmt: skip


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def view_of(search: str, as_of: str) -> data.SweepView:
        return data.sweep_view(shelf.named(search).folder, as_of)

    def here(place: list[int], search: str, as_of: str) -> str:
        cell, exactly = view_of(search, as_of).nearest(place)
        return cell_words(cell) if exactly else f"Nothing was swept there; the nearest cell is {cell_words(cell)}."

    def beside(place: list[int], policy: str, metric: str, search: str, as_of: str) -> Table:
        view = view_of(search, as_of)
        return data.beside_the_best(view, view.nearest(place)[0], policy, metric_named(metric))

    def draw_map(
        metric: str, what: str, policy: str, grey: list[str], place: list[int], y: int, x: int, search: str, as_of: str
    ) -> Figure:
        view = view_of(search, as_of)
        if len(view.axes) < 2 or x == y:
            raise PreventUpdate
        of, names = metric_named(metric), (field_name(view.axes[y].name), field_name(view.axes[x].name))
        unit, there = of.unit if what == data.LEVEL else "%", view.place(view.nearest(place)[0])
        options: dict[str, Any] = dict(
            title=meaning(metric), unit=f"{metric}, {unit}", diverging=what != data.LEVEL,
            better_is_more=of.better != "fewer", grey_dominated=bool(grey),
        )  # fmt: skip
        grid = data.squares(view, policy, of, what, y, x, place)
        if grid is None:
            return cloud_map(data.cloud(view, policy, of, what, y, x), names, **options)
        return map_of(grid, view.axes[y].values, view.axes[x].values, names, here=(there[y], there[x]), **options)

    def draw_cut(
        metric: str, what: str, policies: Sequence[str], place: list[int], along: int, search: str, as_of: str
    ) -> tuple[Figure, str]:
        view = view_of(search, as_of)
        if not view.axes:
            raise PreventUpdate
        series, is_cut = data.cut(view, policies, metric_named(metric), what, along, place)
        fixed = [(k, axis) for k, axis in enumerate(view.axes) if k != along]
        at = "At " + ", ".join(f"{field_name(axis.name)} {axis.values[place[k]]}" for k, axis in fixed) + "."
        note = (at if fixed else "") if is_cut else "No cut goes through there: these are all cells."
        unit = metric_named(metric).unit if what == data.LEVEL else "%"
        axis = view.axes[along]
        return curves(series, meaning(metric), field_name(axis.name), f"{metric}, {unit}", joined=is_cut,
                      category=is_cut or not axis.numeric), note  # fmt: skip

    def table(metric: str, policies: Sequence[str], search: str, as_of: str) -> Table:
        return data.cells_table(view_of(search, as_of), metric_named(metric), policies)

    def move(clicked: Any, best: int | None, place: list[int], search: str, as_of: str) -> list[int]:
        view = view_of(search, as_of)
        if ctx.triggered_id == "s-best" and best:
            return list(view.start())
        number = clicked["points"][0].get("customdata") if clicked and ctx.triggered_id == "s-map" else None
        if not isinstance(number, int):
            raise PreventUpdate
        there = list(view.place(view.result.plan.cells[number]))
        if there == place:
            raise PreventUpdate
        return there

    of = (parts.SEARCH, parts.AS_OF)
    app.callback(Output("s-here", "children"), SLIDERS, *of)(here)
    parts.register_table(app, "cell", beside, [SLIDERS, POLICY, METRIC], of)
    app.callback(
        Output("s-map", "figure"), METRIC, WHAT, POLICY, GREY, SLIDERS, Input("s-y", "value"), Input("s-x", "value"),
        *of,
    )(draw_map)  # fmt: skip
    app.callback(
        Output("s-cut", "figure"), Output("s-cut-note", "children"), METRIC, WHAT, POLICIES, SLIDERS,
        Input("s-along", "value"), *of,
    )(draw_cut)  # fmt: skip
    parts.register_table(app, "sweep", table, [METRIC, POLICIES], of)
    app.callback(
        Output({"type": "axis", "axis": ALL}, "value"), Input("s-map", "clickData"), Input("s-best", "n_clicks"),
        State({"type": "axis", "axis": ALL}, "value"), *of, prevent_initial_call=True,
    )(move)  # fmt: skip
