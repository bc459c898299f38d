"""Facts by lag of simulated people, on many rows of few people: a tenth of the sampling error for the same simulation.

A log keeps some nine rows of a person, so that few pairs of rows lie within the hour. Simulated people can give more:
pairs grow with the square of the rows. Everybody still gives the same share of what they saw, so the same people count
as much as in the log, and expectations do not change. Called by `calibrate.py` and `validate.py`.
"""

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.state import Array

from .lags import OTHER_LESS_LASTING, REACTION, SAME_LESS_OTHER, lag_facts, sum_lags
from .thinning import Fortnight, thin

DENSE_ROWS = 40  # of each simulated person, on average
SECOND_STAGE = {
    **dict.fromkeys(SAME_LESS_OTHER, 0.01), **dict.fromkeys(OTHER_LESS_LASTING, 0.01), **dict.fromkeys(REACTION, 0.01),
}  # fmt: skip
"""What is to be met by simulating anew under other settings, and how closely, about the scoreboard's tolerance: mood
and how long it lasts (other tags less beyond a day), intents and what the cloud makes of them (the other two)."""


def dense_rows(fortnight: Fortnight, seed: int) -> tuple[UserLog, Array]:
    """(the log, the rows of the fortnight in it)."""
    return thin(fortnight, DENSE_ROWS, seed)


def dense_facts(fortnight: Fortnight, seed: int) -> dict[str, float]:
    """The facts of `lags.py` of people already simulated."""
    return lag_facts(sum_lags(dense_rows(fortnight, seed)[0]))
