"""What nextone says of published tests, written down before it was asked: forecasts, answers, and what was published.

    python -m nextone.experiments.questions.forecasts docs/forecasts.md

A forecast names the scenario nearest to the published test and says in a sentence what is expected; it is committed
before the run that answers it. The answer stands in three worlds, because the log does not tell which of them is true:
no passing interests, the default, and the most that the log allows. Misses stay.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from nextone.experiments.runs.arms import Arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.names import resolve_policy
from nextone.sim.config import Scenario
from nextone.sim.scenario import NAMED, with_settings

from .edge_online import Row, cell, differences
from .headroom import intent_bound, worlds

PEOPLE, REPLICATIONS, MINUTES, SEED = 400, 15, 30.0, 7_000


class Forecast(NamedTuple):
    """A published test, the scenario nearest to it, and the forecast made before it was run here."""

    system: str
    scenario: str  # of `NAMED`
    policy: str
    nearest: str  # what of the test is in the scenario, and what is not
    expected: str
    rows: tuple[Row, ...]


FORECASTS = (
    Forecast(
        "KIR (Kuaishou, 2020): first launch", "kir", "kir",
        "Pages of 6 of 20 candidates, and a network that picks at every swipe. Their baseline had server features tens "
        "of seconds old, as here; their people and videos are of 2020, ours of 2022.",
        "In the default world KIR gains .3 to 1.3 % of the time in the app; with the strongest intents 1 to 2.2 %; "
        "without any it loses up to 1 %. Likes move by less than 3 % in all of them: here a like depends on how long a "
        "video plays and on what it is, and so little on what was just watched that knowing it sooner hardly helps.",
        (Row("time in the app a person", "app_min", "", "+1"),
         Row("likes a person", "like", "impressions", "\"very significant\""),
         Row("effective views a person", "valid_play", "impressions", "")),
    ),
    Forecast(
        "The context-aware reranker (Kuaishou, CIKM 2022)", "kir", "context_aware",
        "Pages of 6 of 20 candidates, lists by beam search. Whether their baseline had an edge model is not told.",
        "Effective views gain .3 to 1.8 % in the default world, 2 to 4 % with the strongest intents; without any they "
        "lose up to 1.5 %. Likes and follows stay within 3 %: the published +8.22 and +13.6 % will be missed by far.",
        (Row("effective views a person", "valid_play", "impressions", "+1.28"),
         Row("likes a person", "like", "impressions", "+8.22"),
         Row("follows a person", "follow", "impressions", "+13.6")),
    ),
    Forecast(
        "EdgeRec (Taobao, 2019)", "edgerec", "edgerec",
        "Pages of 50 of 100, features after 60 s, reranks at triggers. A feed of goods in two columns is no feed of "
        "videos: page views of goods stand for effective views, and this world has no waterfall feed yet.",
        "Effective views gain 1 to 4 % in the default world, 4 to 8 % with the strongest intents, and lose up to 2 % "
        "without; impressions move by less than 2 %.",
        (Row("share of effective views", "valid_play", "", "CTR +7.18"),
         Row("effective views a person", "valid_play", "impressions", "clicks +8.87"),
         Row("impressions a person", "impressions", "", "page views +1.57")),
    ),
)  # fmt: skip


def answer(forecast: Forecast) -> list[str]:
    """Rows of the table as Markdown: each metric in each world, and the published number."""
    base = with_settings(Scenario(), (*NAMED[forecast.scenario], f"population.users={PEOPLE}"))
    told: list[list[str]] = [[] for _ in forecast.rows]
    for world in worlds(base, intent_bound(None)):
        scenario = with_settings(base, world.settings.split())
        arms = [Arm(name, resolve_policy(name, scenario), scenario) for name in ("cloud_only", forecast.policy)]
        result = compare(arms, seed=SEED, replications=REPLICATIONS, minutes=MINUTES, engine="batch")
        for (difference,), cells in zip(differences(result, forecast.rows), told, strict=True):
            cells.append(cell(difference))
    return [f"| {row.name} | {' | '.join(cells)} | {row.published} |"
            for row, cells in zip(forecast.rows, told, strict=True)]  # fmt: skip


def page() -> str:
    """All forecasts and their answers, as Markdown."""
    lines = [
        "# Forecasts", "",
        "What nextone was expected to say of published tests, what it says, and what was published. Written by",
        "`python -m nextone.experiments.questions.forecasts docs/forecasts.md`; the expectations stand in",
        "`experiments/questions/forecasts.py`, and were committed before the first run. Percent of the cloud's, ± half",
        f"a 95 % interval, * where it excludes 0; {PEOPLE:,} people, {MINUTES:g} minutes, {REPLICATIONS} replications,",
        f"seed {SEED}.", "",
    ]  # fmt: skip
    for forecast in FORECASTS:
        lines += [
            f"## {forecast.system}", "", f"Nearest: `{forecast.scenario}`. {forecast.nearest}", "",
            f"Expected: {forecast.expected}", "",
            "| metric | no intent | default | upper bound | published |", "|---|---:|---:|---:|---:|",
            *answer(forecast), "",
        ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    text = page()
    write_text(Path(sys.argv[1]), text)
