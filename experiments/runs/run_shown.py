"""One run shown: a line for people, or one JSON object that says what it takes to run it again."""

import math
from typing import Any

from .arms import window_words
from .metrics import Run, measure, nobody_words
from .run_logs import Recipe, made_of


def run_line(run: Run, recipe: Recipe) -> str:
    """How much there is in the logs of a run."""
    counts = ", ".join(f"{len(table):,} {name}" for name, table in run.records._asdict().items())
    nobody = nobody_words(not len(run.records.sessions), 1, window_words(recipe.minutes, recipe.days))
    return f"{counts}. {nobody}".strip()


def run_json(run: Run, recipe: Recipe) -> dict[str, Any]:
    """The metrics of a run, None where undefined, how much its logs hold, and what it takes to run it again."""
    metrics = {name: None if math.isnan(value) else value for name, value in measure(run).items()}
    counts = {name: len(table) for name, table in run.records._asdict().items()}
    return recipe._asdict() | {"metrics": metrics, "rows": counts} | made_of(run, recipe)
