"""People nobody was fitted to: fit on half the users of a log, hold the other half against the result.

Called by `nextone held-out`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.table import Table

from nextone.sim.config import Scenario
from nextone.sim.state import Array

from .calibrate import PEOPLE, Calibration, calibrate
from .response import Told, boosted_trees, response
from .user_log import UserLog
from .validate import Validation, validate

AUC_GAP, MOST_ERROR = 0.01, 0.02  # Assumed: so near a boosted tree's AUC, and so small a calibration error, will do


class HeldOut(NamedTuple):
    """What one half of the users says of the other."""

    fit: Calibration
    validation: Validation  # of the fitted scenario, against the other half
    response: list[Told]


def split(log: UserLog, seed: int) -> Array:
    """(n,) rows of the half of the users that is fitted to."""
    chosen = np.random.Generator(np.random.Philox(key=[seed, 0x68616C66])).permutation(log.users) < log.users // 2
    return np.asarray(chosen[log.user])


def held_out(
    log: UserLog, scenario: Scenario, *, published: dict[str, float] | None, people: int, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> HeldOut:  # fmt: skip
    """Fit on one half and validate on the other, with `people` simulated (for a fit at most its usual number).

    Raises UserLogError, SettingError."""
    boosted_trees()  # told missing before minutes of work, not after
    mine = split(log, seed)
    taught, held = log.select(mine), log.select(~mine)
    effort = min(people, PEOPLE)
    fit = calibrate(taught, scenario, published=published, people=effort, seed=seed, progress=progress)
    shown = validate(fit.scenario, held, people=people, seed=seed, progress=progress)
    told = response(fit.scenario, taught, held, (log.video[mine], log.video[~mine]))
    return HeldOut(fit, shown, told)


def response_table(told: list[Told]) -> Table:
    """For people."""
    table = Table(
        title="Plays of held-out users, told one by one from their own earlier plays and the other half's videos",
        title_justify="left", caption_justify="left",
        caption=f"Wanted: AUC within {AUC_GAP} of the boosted tree's, calibration error <= {MOST_ERROR}.",
    )  # fmt: skip
    for name in ("outcome", "impressions", "AUC", "AUC of a boosted tree", "calibration error", "of the tree"):
        table.add_column(name, justify="left" if name == "outcome" else "right")
    for t in told:
        numbers = (t.auc, t.baseline_auc, t.calibration_error, t.baseline_calibration_error)
        table.add_row(t.outcome, f"{t.impressions:,}", *(f"{x:.4f}" for x in numbers))
    return table
