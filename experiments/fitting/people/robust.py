"""Does the answer hold for other people that agree with the log as well? A comparison repeated over parameter sets.

Called by `nextone compare --robust K`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.table import Table

from nextone.experiments.runs.arms import Arm, Progress
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.executor import Execute
from nextone.sim.config import Scenario
from nextone.sim.scenario import with_settings

from .calibrate import settings_of
from .fit_file import FitFile, check_sets
from .play_fit import get

ROBUST = 0.9  # share of the sets that must agree in sign. Assumed: one set in ten may differ


class Verdict(NamedTuple):
    """For one arm and metric: how many of the parameter sets agree with the sign of its difference from the
    baseline."""

    arm: str
    metric: str
    sign: int  # of the difference under the scenario itself: -1, 0, 1
    agree: float  # share of the sets
    robust: bool


def robustness(
    result: Comparison, fit: FitFile, sets: int, *, workers: int = 1, execute: Execute | None = None,
    progress: Progress | None = None,
) -> tuple[Verdict, ...]:  # fmt: skip
    """Repeat a comparison over the fit's first `sets` parameter sets, each with the same seed and replications.

    What the user set by hand stays: a parameter is varied only where the scenario has what the fit's own has. The sets
    lie around the fit, also where the shipped defaults, which an earlier fit gave, are not in its middle.
    Raises SettingError."""
    check_sets(fit, sets)
    arms = [
        Arm(f"{arm.label} #{k}", arm.policy, varied(arm.scenario, fit, k)) for k in range(sets) for arm in result.arms
    ]
    again = compare(
        arms, seed=result.seed, replications=result.replications, minutes=result.minutes, days=result.days,
        engine=result.engine, workers=workers, execute=execute, progress=progress,
    )  # fmt: skip
    values = again.values.reshape(sets, len(result.arms), *again.values.shape[1:])
    return verdicts(result, values)


def varied(scenario: Scenario, fit: FitFile, k: int) -> Scenario:
    """The scenario under the k-th parameter set."""
    near = {name for name, x in fit.own.items() if abs(get(scenario, name) - x) <= 1e-5 * abs(x)}
    same = {name: x for name, x in fit.draws[k].items() if name in near}
    return with_settings(scenario, settings_of(scenario, same))


def verdicts(result: Comparison, values: np.ndarray) -> tuple[Verdict, ...]:
    """The agreement by arm and metric. values: (sets, arms, replications, metrics). A set without a defined difference
    does not agree."""
    own = np.sign(np.mean(result.values - result.values[0], axis=1))
    signs = np.sign(np.mean(values - values[:, :1], axis=2))
    found = []
    for a, arm in enumerate(result.arms[1:], start=1):
        for m, metric in enumerate(result.metrics):
            if np.isfinite(own[a, m]):
                agree = float(np.mean(signs[:, a, m] == own[a, m]))
                found.append(Verdict(arm.label, metric.name, int(own[a, m]), agree, agree >= ROBUST))
    return tuple(found)


def robust_table(found: Sequence[Verdict], sets: int) -> Table:
    """The agreement as a table: a row for each metric, a column for each arm."""
    arms = list(dict.fromkeys(v.arm for v in found))
    table = Table(
        title=f"Same sign under {sets} parameter sets that agree with the log",
        title_justify="left", caption_justify="left",
        caption="Sign of the difference from the baseline, and the share of the sets that agree; "
                f"robust from {ROBUST:.0%} on.",
    )  # fmt: skip
    table.add_column("metric", no_wrap=True)
    for arm in arms:
        table.add_column(arm, justify="right")
    for metric in dict.fromkeys(v.metric for v in found):
        cells = {v.arm: v for v in found if v.metric == metric}
        table.add_row(metric, *(_cell(cells.get(arm)) for arm in arms))
    return table


def _cell(v: Verdict | None) -> str:
    if v is None:
        return ""
    return f"{'-0+'[v.sign + 1]} {v.agree:4.0%}" + (" robust" if v.robust else "       ")
