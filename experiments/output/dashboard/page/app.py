"""The app: the list of runs beside the page of one, looked at again every few seconds. Answers to this machine only."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import flask
from dash import Dash, Input, Output, State, dcc, html, no_update, set_props

from nextone.experiments.output.dashboard.entries import UNREADABLE, Entry, one_line
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.report.page import SCRIPT
from nextone.sim.inputs.errors import short

from . import compared, lived, parts, released, swept, tested, trained

LOOK_MS = 3000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
)
"""What a browser may load for the page: nothing from anywhere else. Dash and plotly.js need scripts in the page."""


def make_app(root: Path) -> Dash:
    """The app for what is under a folder."""
    app = Dash(
        __name__, assets_folder=str(Path(__file__).with_name("assets")), serve_locally=True, title="nextone",
        update_title="", suppress_callback_exceptions=True, add_log_handler=False,
        include_pages_meta=False, enable_mcp=False, on_error=_said,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )  # fmt: skip
    sorting = SCRIPT.read_text(encoding="utf-8")
    app.index_string = app.index_string.replace("</footer>", f"</footer><script>{sorting}</script>")
    app.server.before_request(_refuse_others)
    app.server.after_request(_nothing_from_elsewhere)
    shelf = Shelf(root)
    app.layout = _layout(root)
    _register(app, shelf)
    for page in (compared, swept, tested, released, trained, lived):
        page.register(app, shelf)
    return app


def _layout(root: Path) -> Any:
    return html.Div([
        dcc.Location(id="url", refresh="callback-nav"), dcc.Interval(id="tick", interval=LOOK_MS),
        dcc.Store(id="stamp"),
        dcc.Store(id="shown"),
        html.Header([
            dcc.Link("nextone", href="/", className="home"), html.Span(short(root, 120), className="root"),
        ]),
        html.Div(id="problem"),
        html.Main([html.Nav(id="runs"), html.Div([html.Div(id="live"), html.Div(id="page")], className="page")]),
    ])  # fmt: skip


def _register(app: Dash, shelf: Shelf) -> None:
    def look(_: int | None, search: str, before: dict[str, Any] | None) -> tuple[Any, Any, Any, Any]:
        """What there is now: the page is made again only where there is something else to show."""
        listing, entry = shelf.listing(), shelf.entry(search)
        said = shelf.first_sentences() if entry is None else {}
        overview = [[e.key, e.state, shelf.far(e), said.get(e.key)] for e in listing.entries]
        now = {"search": search, "of": entry.stamp if entry else overview, "runs": [e[:3] for e in overview]}
        before = before or {}
        runs = _runs(shelf, entry) if entry else []
        changed = now["of"] != before.get("of") or search != before.get("search")
        moved = changed or now["runs"] != before.get("runs")
        shown = {"search": search, "of": now["of"]}
        return (
            now if moved else no_update, runs if moved else no_update, _live(shelf, entry),
            shown if changed else no_update,
        )  # fmt: skip

    def show(of: Any) -> Any:
        return no_update if of is None else _page(shelf, of["search"])

    app.callback(
        Output("stamp", "data"), Output("runs", "children"), Output("live", "children"),
        Output("shown", "data"), Input("tick", "n_intervals"), Input("url", "search"),
        State("stamp", "data"),
    )(look)  # fmt: skip
    app.callback(Output("page", "children"), Input("shown", "data"))(show)


def _page(shelf: Shelf, search: str) -> list[Any]:
    entry = shelf.entry(search)
    if entry is None:
        return _overview(shelf, search)
    try:
        return _page_of(shelf, entry)
    except UNREADABLE as error:
        return [html.H1(entry.name), parts.problem(one_line(error))]


def _page_of(shelf: Shelf, entry: Entry) -> list[Any]:
    head = html.H1([entry.name, " ", _tag(entry)])
    if entry.state == "damaged":
        return [head, parts.problem(entry.told)]
    if entry.kind == "comparison":
        return [head, *compared.page(entry)]
    if entry.kind == "sweep":
        return [head, *swept.page(entry, shelf.far(entry))]
    if entry.kind == "A/B test":
        return [head, *tested.page(entry)]
    if entry.kind == "release":
        return [head, *released.page(entry)]
    if entry.kind == "training":
        return [head, *trained.page(entry, entry.told)]
    return [head, *lived.saved_page(entry.folder)]


def _overview(shelf: Shelf, search: str) -> list[Any]:
    """Every run with the first sentence of its answer."""
    listing, said = shelf.listing(), shelf.first_sentences()
    cards = [
        dcc.Link(
            [html.H2([entry.name, " ", _tag(entry)]), *parts.notes(shelf.far(entry)), html.P(said.get(entry.key, ""))],
            href=_address(entry), className=f"card {entry.state}",
        )
        for entry in listing.entries
    ]  # fmt: skip
    gone = "There is no such run here." if (search or "").strip("?") else ""
    nothing = "" if cards else (
        "Nothing is here yet. It fills by itself as nextone compare, sweep, ab, release or train save here with --out."
    )  # fmt: skip
    return [*parts.notes(gone, nothing, listing.left_out), *cards]


def _runs(shelf: Shelf, entry: Entry) -> list[Any]:
    """The list beside a page."""
    links = [
        dcc.Link([each.name, " ", _tag(each)], href=_address(each), className="here" if each.key == entry.key else "")
        for each in shelf.listing().entries
    ]
    return [dcc.Link("← All runs", href="/"), html.Details([html.Summary("Other runs"), *links], open=False)]


def _live(shelf: Shelf, entry: Entry | None) -> Any:
    """How far a sweep is that is at work."""
    if entry is None or entry.state != "running" or entry.standing is None:
        return []
    at = entry.standing
    return [
        html.Progress(value=str(at.done), max=str(max(at.expected, 1)), **{"aria-label": "runs done"}),
        html.P(f"Running: {shelf.far(entry)}", id="ledger"),
    ]


def _tag(entry: Entry) -> Any:
    return html.Span(f"{entry.kind}, {entry.state}", className=f"tag {entry.state}")


def _address(entry: Entry) -> str:
    return f"/?run={quote(entry.key, safe='')}"


# ---- who is answered


def _said(error: Exception) -> Any:
    """What a file brought about is told on the page, in one line; anything else is a bug, and not hidden."""
    if not isinstance(error, UNREADABLE):
        raise error
    set_props("problem", {"children": parts.problem(one_line(error))})


def _refuse_others() -> Any:
    """None where this machine asks for its own page. Another site whose name leads here is refused by its name."""
    names = [flask.request.headers.get("Host", ""), urlsplit(flask.request.headers.get("Origin", "")).netloc]
    if all(_is_loopback(name) for name in names if name) and names[0]:
        return None
    return flask.Response("nextone dashboard answers to 127.0.0.1 only\n", 403, mimetype="text/plain")


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def _nothing_from_elsewhere(answer: Any) -> Any:
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
