"""What every page is made of: sentences, notes, controls, figures, and tables that sort and download."""

from collections.abc import Callable, Sequence
from typing import Any

from dash import ALL, Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from nextone.experiments.output.dashboard.figures import Figure
from nextone.experiments.output.dashboard.tables import Table

CONFIG = {
    "displaylogo": False, "responsive": True, "showLink": False, "showSendToCloud": False,
    "showEditInChartStudio": False, "plotlyServerURL": "", "topojsonURL": "", "scrollZoom": False,
    "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
}  # fmt: skip
"""No link to anybody's site, and nothing that is sent there."""
SEARCH, AS_OF = State("url", "search"), State("as-of", "data")
"""What a page is of: the address names the run, `as-of` what its files were when the page was made."""
PLACE = State({"type": "axis", "axis": ALL}, "value")
"""Where the sliders of a sweep stand; none elsewhere."""


def verdict(sentences: Sequence[str]) -> Any:
    """The answer, the first that is seen."""
    first, *others = sentences or ("Nothing can be said.",)
    return html.Div([html.P(first, className="first"), *map(html.P, others)], className="verdict", id="verdict")


def notes(*lines: str) -> list[Any]:
    """Small print, a paragraph for each line that is not empty."""
    return [html.P(line, className="note") for line in lines if line]


def problem(line: str) -> Any:
    """What is wrong, in one line."""
    return html.P(line, className="problem", role="alert")


def labelled(label: str, control: Any) -> Any:
    """A control under its name."""
    return html.Div([html.Span(label, className="label"), control], className="control")


def choice(name: str, options: Sequence[tuple[Any, str]], value: Any) -> Any:
    """A menu to choose one of the options (value, text)."""
    return dcc.Dropdown(
        id=name, options=[{"value": v, "label": label} for v, label in options], value=value, clearable=False,
        searchable=len(options) > 8,
    )  # fmt: skip


def switches(name: str, options: Sequence[str], on: Sequence[str]) -> Any:
    """A row of check boxes."""
    return dcc.Checklist(id=name, options=list(options), value=list(on), inline=True, className="switches")


def radios(name: str, options: Sequence[tuple[str, str]], value: str) -> Any:
    """A row of radio buttons (value, text)."""
    listed = [{"value": v, "label": label} for v, label in options]
    return dcc.RadioItems(id=name, options=listed, value=value, inline=True, className="switches")


def graph(name: str, figure: Figure | None = None) -> Any:
    """Room for a figure."""
    return dcc.Graph(id=name, figure=figure or {"data": [], "layout": {}}, config=CONFIG, className="graph")


# ---- tables


def table_block(name: str, title: str) -> Any:
    """Room for a table, with its button for CSV. A click on its head sorts it."""
    return html.Section([
        html.Div([html.H2(title), html.Button("Download CSV", id=f"{name}-csv", className="csv")], className="headed"),
        html.Div(id=f"{name}-table", className="wide"), dcc.Store(id=f"{name}-html"), dcc.Store(id=f"{name}-drawn"),
        dcc.Download(id=f"{name}-file"),
    ])  # fmt: skip


def register_table(
    app: Dash, name: str, made: Callable[..., Table], inputs: Sequence[Any], states: Sequence[Any] = ()
) -> None:
    """Draw a table that `made` returns for inputs and states, and let the user download it.

    The browser receives it as one piece: a component for each of its cells would take minutes."""

    def draw(*arguments: Any) -> str:
        return made(*arguments).html()

    def download(clicks: int | None, *arguments: Any) -> Any:
        if not clicks:
            raise PreventUpdate
        return {"content": made(*arguments).csv(), "filename": f"{name}.csv", "type": "text/csv"}

    app.callback(Output(f"{name}-html", "data"), *inputs, *states)(draw)
    app.clientside_callback(
        f"""function (html) {{
            const place = document.getElementById("{name}-table");
            if (place) place.innerHTML = html || "";
            return window.dash_clientside.no_update;
        }}""",
        Output(f"{name}-drawn", "data"), Input(f"{name}-html", "data"),
    )  # fmt: skip
    as_states = [State(each.component_id, each.component_property) for each in (*inputs, *states)]
    app.callback(
        Output(f"{name}-file", "data"), Input(f"{name}-csv", "n_clicks"), *as_states, prevent_initial_call=True
    )(download)
