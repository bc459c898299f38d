"""People to whom nothing was fitted: fit half the users of a log, and compare the result with the other half.

Called by `nextone held-out`.
"""

from collections.abc import Callable
from typing import NamedTuple

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.config import Scenario

from .calibrate import PEOPLE, Calibration, calibrate
from .response import Told, boosted_trees, response, split
from .validate import Validation, validate


class HeldOut(NamedTuple):
    """The result of fitting on one half of the users and comparing with the other."""

    fit: Calibration
    validation: Validation  # of the fitted scenario, against the other half
    response: list[Told]


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
    shown = validate(
        fit.scenario, held, people=people, seed=seed, kuairand=published is not None, progress=progress
    )  # fmt: skip
    told = response(fit.scenario, taught, held, (log.video[mine], log.video[~mine]))
    return HeldOut(fit, shown, told)
