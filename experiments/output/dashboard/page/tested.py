"""The page of an A/B test: the verdict, the test beside the truth, its looks; or several tests compared."""

from collections.abc import Sequence
from typing import Any

from dash import Dash, Input, Output, dcc, html

from nextone.experiments.ab.saved import Saved
from nextone.experiments.output.dashboard import ab_tests as data
from nextone.experiments.output.dashboard.comparisons import USUAL, WHICH, meaning
from nextone.experiments.output.dashboard.entries import Entry
from nextone.experiments.output.dashboard.figures import Figure, curves, forest
from nextone.experiments.output.dashboard.shelf import Shelf
from nextone.experiments.output.dashboard.tables import Table
from nextone.experiments.runs.arms import window_words
from nextone.experiments.runs.metrics import PRIMARY

from . import parts

METRIC, ARMS, WHICH_ROWS = Input("a-metric", "value"), Input("a-arms", "value"), Input("a-which", "value")


def page(entry: Entry) -> list[Any]:
    """The elements of the page."""
    saved = data.ab_view(entry.folder, entry.stamp)
    told, people = saved.told, saved.arms[0].scenario.population.users
    run = f"{saved.title}; {people:,} people, {window_words(told['minutes'], told.get('days'))}, seed {told['seed']}."
    head = [dcc.Store(id="as-of", data=entry.stamp), parts.verdict(saved.verdict), *parts.notes(run)]
    if saved.judged:
        drawn = curves(data.compared_series(saved), "", "", f"difference in {PRIMARY}, %", joined=False, category=True)
        return [
            *head, html.H2("What each test says, and what is true"), parts.graph("a-tests", drawn),
            *parts.notes(f"Chance is not in it; 95 % intervals over {told['replications']} replications."),
            parts.table_block("ab-tests", "Every number"),
        ]  # fmt: skip
    looks = any(len(each) > 1 for each in saved.looks.values())
    return [
        *head,
        html.Div([
            parts.labelled("Arms", parts.switches("a-arms", saved.treated, saved.treated)),
            parts.labelled("Metric", parts.choice("a-metric", data.choices(saved), PRIMARY)),
        ], className="controls"),
        html.H2(f"Differences from {saved.arms[0].label}, 95 % intervals"), parts.graph("a-forest"),
        *parts.notes("Filled: what the test says. Hollow: what is true, everybody against nobody."),
        *([html.H2("While the test ran"), parts.graph("a-looks"),
           *parts.notes("The usual interval at each look: who stops at the first that misses 0 is often wrong.")]
          if looks else []),
        parts.labelled("Rows of", parts.radios("a-which", list(WHICH.items()), USUAL)),
        parts.table_block("ab-test", "Every number"),
    ]  # fmt: skip


def register(app: Dash, shelf: Shelf) -> None:
    """Connect the page's controls with what they show."""
    def saved_of(search: str, as_of: str) -> Saved:
        return data.ab_view(shelf.named(search).folder, as_of)

    def draw(metric: str, arms: Sequence[str], search: str, as_of: str) -> Figure:
        return forest(data.points_of(saved_of(search, as_of), metric, arms), meaning(metric), f"{metric}, %")

    def look(arms: Sequence[str], search: str, as_of: str) -> Figure:
        series = data.looks_of(saved_of(search, as_of), arms)
        return curves(series, "", "look", f"difference in {PRIMARY}, %", joined=True, category=False)

    def table(metric: str, arms: Sequence[str], which: str, search: str, as_of: str) -> Table:
        return data.test_table(saved_of(search, as_of), which, metric, arms)

    def tests(as_of: str, search: str) -> Table:
        return data.compared_table(saved_of(search, as_of))

    app.callback(Output("a-forest", "figure"), METRIC, ARMS, parts.SEARCH, parts.AS_OF)(draw)
    app.callback(Output("a-looks", "figure"), ARMS, parts.SEARCH, parts.AS_OF)(look)
    parts.register_table(app, "ab-test", table, [METRIC, ARMS, WHICH_ROWS], [parts.SEARCH, parts.AS_OF])
    parts.register_table(app, "ab-tests", tests, [Input("as-of", "data")], [parts.SEARCH])
