"""Within which range an assumed setting may lie: as sim/plausible.py says, or where a log bounds it, as the log says.

The log's intervals come from the fit beside a scenario file, or from the shipped one. Called by the questions that vary
what is assumed (`headroom.py`, `must_be_true.py`, `sensitivity.py`).
"""

from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from nextone.experiments.fitting.people.fit_file import FitFile, fit_path, load_fit
from nextone.experiments.fitting.people.interests_fit import NOT_EXCLUDED
from nextone.sim.plausible import AGREES, Plausible, plausible_of
from nextone.sim.scenario import SettingError

INTENTS = "interests.intent_sd"
DIGITS = ".3g"  # of an interval's end: it is no better known


class Agreeing(NamedTuple):
    """Strengths of passing interests, sd in logit, that agree with the log."""

    low: float  # 0 where the log does not exclude that there are none
    high: float  # the bound
    log: str


def fit_of(scenario: Path | None) -> FitFile:
    """The fit beside a scenario file, if there is one, or the shipped one. Raises SettingError."""
    return load_fit(scenario if scenario is not None and fit_path(scenario).is_file() else None)


def intents_that_agree(fit: FitFile) -> Agreeing:
    """The 95 % interval of `interests.intent_sd`. Raises SettingError for a fit without it."""
    found = _interval(fit, INTENTS)
    if found is None:
        raise SettingError(f"the fit to {fit.log} has no {INTENTS}, the bound of intents; fit it again")
    return Agreeing(found.low, found.high, fit.log)


def ends_of(name: str, field: FieldInfo, value: Any, fit: FitFile) -> Plausible | str:
    """The ends of the plausible range of an assumed setting about `value`; or in words, why it has none."""
    found = plausible_of(field, value)
    if found != AGREES:
        return found
    interval = _interval(fit, name)
    return interval if interval is not None and interval.low < interval.high else found


def _interval(fit: FitFile, name: str) -> Plausible | None:
    for e in fit.estimates:
        if e.name == name:
            low, high = (float(format(x, DIGITS)) for x in (e.low, e.high))
            reason = f"95 % interval of the fit to {fit.log}"
            if any(line.startswith(f"{name}: {NOT_EXCLUDED}") for line in fit.untold):
                return Plausible(0.0, high, f"{reason}, which does not exclude 0")
            return Plausible(low, high, reason)
    return None
