"""What replications say: means and paired differences with 95 % intervals that hold their coverage.

One number per metric and replication comes in. Replications are independent, so Student's t applies to them and to
nothing within a run (an interval over the correlated impressions of one run covered the truth 17 % of the time).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextone.sim.inputs.errors import UserError

MIN_REPLICATIONS = 10
CONFIDENCE = 0.95
STUDENT = "Student t over independent replications; differences paired under keyed common random numbers"
EXTENDED = (
    "normal-mixture confidence sequence over independent replications, which holds at every number of them, since "
    "replications were added after a look; differences paired under keyed common random numbers"
)


def method(extended: bool) -> str:
    """How intervals are made, in words."""
    return EXTENDED if extended else STUDENT


class TooFewReplications(UserError):
    """An interval was asked for with fewer than MIN_REPLICATIONS replications."""


class Interval(NamedTuple):
    """A mean over n replications and its 95 % interval, in the metric's unit."""

    mean: float
    low: float
    high: float
    n: int


class PairedDifference(NamedTuple):
    """Arm minus baseline over n shared replications, in the metric's unit and in percent of the baseline's mean.

    The percentages are None if the baseline's mean cannot be told from zero. correlation is None if one side is
    constant. variance_saved = (var A + var B) / var(A - B) is inf if the difference is constant, and None if nothing
    varies. p is the p-value of no difference. sure says whether there is one: p < .05 for a single difference; where
    many are looked at together, as `one_is_best` or `many_looked_at` decide."""

    diff: float
    low: float
    high: float
    diff_pct: float | None
    diff_pct_low: float | None
    diff_pct_high: float | None
    correlation: float | None
    variance_saved: float | None
    n: int
    p: float
    sure: bool


def require_replications(n: int) -> None:
    """Raises TooFewReplications below MIN_REPLICATIONS."""
    if n < MIN_REPLICATIONS:
        raise TooFewReplications(
            f"replications={n} must be >= {MIN_REPLICATIONS}: an interval from so few does not hold its 95 % coverage "
            f"when a metric is skewed, so no comparison is made; use --replications {MIN_REPLICATIONS} or more"
        )


def mean_interval(x: ArrayLike | Sequence[float | None], extended: bool = False) -> Interval | None:
    """Mean over replications, x (R,), with its Student t interval; None if some replication leaves it undefined.

    extended: replications were added after a look at the result, so that the interval is `always_valid`'s."""
    values = _values(x)
    require_replications(values.size)
    if not np.isfinite(values).all():
        return None
    mean = float(values.mean())
    half = _half_width(values, extended)
    return Interval(mean, mean - half, mean + half, values.size)


def paired(
    baseline: ArrayLike | Sequence[float | None], arm: ArrayLike | Sequence[float | None], extended: bool = False
) -> PairedDifference | None:
    """Arm minus baseline, both (R,) over the same replications; None if some replication leaves either undefined.

    In percent it is the ratio estimator r = mean(arm - baseline) / mean(baseline), which varies with its denominator
    too. Linearised (delta method): r - truth is the mean of e = (arm - baseline - r * baseline) / mean(baseline) to
    first order, so its interval is Student's t over the e. That is first order in the baseline's relative error and
    fails near zero, hence None unless the baseline's own interval excludes zero. extended: as in `mean_interval`.
    """
    a, b = _values(baseline), _values(arm)
    if a.shape != b.shape:
        raise ValueError(f"baseline has {a.size} replications, arm {b.size}; pairs need the same ones")
    whole = mean_interval(a, extended)
    if whole is None or not np.isfinite(b).all():
        return None
    d = b - a
    diff, half = float(d.mean()), _half_width(d, extended)
    pct = low = high = None
    told = d  # what p is about, as the interval that is shown
    if whole.low > 0 or whole.high < 0:
        ratio = diff / whole.mean
        told = ratio + (d - ratio * a) / whole.mean
        spread = _half_width(told, extended)
        pct, low, high = 100 * ratio, 100 * (ratio - spread), 100 * (ratio + spread)
    p = _p_value(told, extended)
    found = diff, diff - half, diff + half, pct, low, high, *_shared_luck(a, b), a.size
    return PairedDifference(*found, p, p < 1 - CONFIDENCE)


def one_is_best(found: Sequence[PairedDifference | None]) -> tuple[PairedDifference | None, ...]:
    """Differences of several arms in one metric, judged by Holm's procedure: with 95 % probability, none that is called
    sure is really zero.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6(2), 1979."""
    return _judged(found, lambda p, rank, m: p <= (1 - CONFIDENCE) / (m - rank), first=True)


def many_looked_at(found: Sequence[PairedDifference | None]) -> tuple[PairedDifference | None, ...]:
    """Many differences, judged by Benjamini and Hochberg's procedure: of those called sure, at most 5 % are expected to
    be luck. Where there is no difference anywhere, one is called sure in one of 20 tables.

    Source: Y. Benjamini, Y. Hochberg, Controlling the false discovery rate, J. Royal Stat. Society B 57(1), 1995."""
    return _judged(found, lambda p, rank, m: p <= (1 - CONFIDENCE) * (rank + 1) / m, first=False)


def _judged(
    found: Sequence[PairedDifference | None], passes: Callable[[float, int, int], bool], first: bool
) -> tuple[PairedDifference | None, ...]:
    """Those of the smallest p are sure: up to the first that does not pass, or to the last that does."""
    ordered = sorted(d.p for d in found if d is not None)
    passed = [passes(p, rank, len(ordered)) for rank, p in enumerate(ordered)]
    if first:
        many = passed.index(False) if False in passed else len(passed)
    else:
        many = len(passed) - passed[::-1].index(True) if True in passed else 0
    limit = ordered[many - 1] if many else -1.0
    return tuple(d and d._replace(sure=d.p <= limit) for d in found)


def gains(baseline: ArrayLike, arm: ArrayLike) -> NDArray[np.float64]:
    """What each replication says of the gain over the baseline in percent, both (R,).

    Their mean is `paired`'s diff_pct and their t interval its interval, so that gains of several pairs that share luck
    can be subtracted. NaN where undefined."""
    a, b = _values(baseline), _values(arm)
    d, whole = b - a, float(a.mean())
    if not whole:
        return np.full(a.size, np.nan)
    ratio = float(d.mean()) / whole
    return 100 * (ratio + (d - ratio * a) / whole)


def replications_needed(
    x: ArrayLike, half_width: float, most: int, extended: bool = False, growth: float = 2.0
) -> int:
    """How many replications to have before looking again, so that the interval's half-width becomes at most
    `half_width`.

    x (R,): the values so far, paired differences or those of one arm. Returns R if that suffices, if x is undefined
    somewhere, or if R is `most` already. The number is what the spread so far asks for, but at most `growth` times R (a
    spread from few is uncertain), and at least a tenth more than R, so that there are few looks and little overshoot.
    extended: as in `mean_interval`."""
    values = _values(x)
    n = values.size
    require_replications(n)
    if n >= most or not np.isfinite(values).all():
        return n
    half = _half_width(values, extended)
    if half <= half_width:
        return n
    asked = math.ceil(min(n * (half / half_width) ** 2, growth * n, most))
    return min(most, max(asked, n + math.ceil(n / 10)))


class Selection(NamedTuple):
    """Which of K systems are left, best first, and after how many replications of each."""

    left: tuple[int, ...]
    n: int

    @property
    def settled(self) -> bool:
        """Whether one system is left."""
        return len(self.left) == 1


def select_best(
    x: ArrayLike, indifference: float, confidence: float = CONFIDENCE, first: int = MIN_REPLICATIONS
) -> Selection:
    """The system with the largest mean, by Kim and Nelson's fully sequential procedure, which allows shared luck.

    x (K, R): replications of each system, NaN from where it has none. Systems are dropped, replication by replication,
    when another is ahead by more than luck explains. If the best is better than the others by `indifference` or more,
    it is the one that is left with probability `confidence`. Goes on as far as all that are still in the race have
    replications: call it again with more of them. Systems that are exactly alike count as one, the first.

    Source: S.-H. Kim, B. L. Nelson, A fully sequential procedure for indifference-zone selection in simulation, ACM
    TOMACS 11(3), 2001, with c = 1.
    """
    values = np.asarray(x, np.float64)
    k, n = values.shape
    require_replications(min(n, first))
    if k == 1:
        return Selection((0,), first)
    eta = 0.5 * ((2 * (1 - confidence) / (k - 1)) ** (-2 / (first - 1)) - 1)
    start = values[:, :first]
    centred = start - start.mean(axis=1, keepdims=True)
    product = centred @ centred.T / (first - 1)
    own = np.diag(product)
    budget = 2 * eta * (first - 1) * np.maximum(own[:, None] + own[None, :] - 2 * product, 0.0) / indifference**2
    left = np.arange(k)
    total, seen = start.sum(axis=1), first
    for r in range(first, n + 1):
        if r > first:
            if np.isnan(values[left, r - 1]).any():
                break
            total, seen = total + values[:, r - 1], r
        room = np.maximum(0.0, indifference / 2 * (budget[np.ix_(left, left)] - r) / r)
        mean = total[left] / r
        behind = mean[None, :] - mean[:, None]  # [i, l]: how far i is behind l
        alike = (behind == 0) & (room == 0) & np.tri(len(left), k=-1, dtype=bool)
        left = left[~((behind > room) | alike).any(axis=1)]
        if len(left) == 1:
            break
    order = left[np.argsort(-total[left], kind="stable")]
    return Selection(tuple(int(i) for i in order), seen)


def beaten(x: ArrayLike, confidence: float = CONFIDENCE) -> NDArray[np.bool_]:
    """Which systems another one surely beats. x (K, R): over the same replications. The system with the largest true
    mean is among the beaten ones with probability at most 1 - confidence.

    Source: B. L. Nelson, J. Swann, D. Goldsman, W. Song, Simple procedures for selecting the best simulated system when
    the number of alternatives is large, Operations Research 49(6), 2001: screening by paired differences."""
    from scipy.special import stdtrit

    values = np.asarray(x, np.float64)
    k, n = values.shape
    require_replications(n)
    if k == 1:
        return np.zeros(1, np.bool_)
    reach = float(stdtrit(n - 1, 1 - (1 - confidence) / (k - 1))) / math.sqrt(n)
    ahead = values[:, None] - values[None]  # [j, i]: by how much j is ahead of i
    out: NDArray[np.bool_] = (ahead.mean(axis=2) > reach * ahead.std(axis=2, ddof=1)).any(axis=0)
    return out


class SteadyState(NamedTuple):
    """The long-run mean of a series, without the beginning, which the start still influences."""

    interval: Interval
    cut: int  # points left out of each replication
    doubtful: bool  # more than half was: the run is too short to say


def steady_state(x: ArrayLike) -> SteadyState:
    """The steady state of R replications of a series of T points, x (R, T), by MSER-5.

    For questions about a system that never ends, such as a server's load by the minute; a session ends, and all of it
    counts. The cut is found once, on the mean over replications: cut for each replication by itself, the start's own
    luck chooses what is kept, which biased a mean by -6.7 %.

    Source: K. P. White, An effective truncation heuristic for bias reduction in simulation output, Simulation 69(6),
    1997, batches of 5: the cut with the least standard error of what remains. Cuts beyond half are told as doubtful.
    """
    values = np.asarray(x, np.float64)
    if values.ndim != 2 or values.shape[1] < 50 or not np.isfinite(values).all():
        raise ValueError(f"a series of at least 50 finite points per replication expected, not shape {values.shape}")
    require_replications(len(values))
    points = values.shape[1] // 5
    batch = values[:, : 5 * points].mean(axis=0).reshape(points, 5).mean(axis=1)
    left = np.arange(points, 0, -1)
    total, square = (np.cumsum(y[::-1])[::-1] for y in (batch, batch**2))
    error = (square - total**2 / left) / left**2
    best = int(np.argmin(error[: points - 5]))  # the last few agree by chance
    interval = mean_interval(values[:, 5 * best :].mean(axis=1))
    assert interval is not None
    return SteadyState(interval, 5 * best, best > points // 2)


def _shared_luck(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """(correlation, variance saved) of two arms under common random numbers."""
    var_a, var_b, var_d = (float(x.var(ddof=1)) for x in (a, b, b - a))
    rounding = 1e-24 * max(float(np.square(a).max()), float(np.square(b).max()))  # variance of rounding errors
    alone = var_a + var_b
    saved = None if alone <= rounding else math.inf if var_d <= rounding else alone / var_d
    if min(var_a, var_b) <= rounding:
        return None, saved
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1)), saved


def always_valid(n: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors to either side of a mean over n replications its interval must reach, so that with this
    probability the intervals at all numbers of replications hold the truth together, however often one looks.

    A normal mixture over the size of the effect with the variance unknown: the t statistic whose Bayes factor against
    the truth, for effects of a standard deviation of 1, is 1 / (1 - confidence). By Ville's inequality it is exceeded
    at some n with no more than that probability. For normal replications; a metric far from normal over people and
    luck of whole runs is covered less well. inf where n is too small.

    Source: T. L. Lai, On confidence sequences, Annals of Statistics 4(2), 1976; S. R. Howard and others, Time-uniform,
    nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49(2), 2021; H. Wang, A. Ramdas,
    Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance, Sequential Analysis 44(1),
    2025.
    """
    spread = n + 1.0  # of the mixture's means over that of the replications' own
    bound = (math.sqrt(spread) / (1 - confidence)) ** (2 / n)
    return math.inf if bound >= spread else math.sqrt((n - 1) * (bound - 1) / (1 - bound / spread))


def _p_value(x: NDArray[np.float64], extended: bool) -> float:
    """Of a mean of 0; with `extended` the smallest at which `always_valid`'s interval leaves 0 out."""
    from scipy.special import stdtr

    n, error = x.size, float(x.std(ddof=1)) / math.sqrt(x.size)
    if error == 0:
        return float(x[0] == 0)
    t = float(x.mean()) / error
    if not extended:
        return float(2 * stdtr(n - 1, -abs(t)))
    spread = n + 1.0
    log_bound = math.log((t**2 + n - 1) / (n - 1 + t**2 / spread))
    return min(1.0, math.exp(0.5 * math.log(spread) - 0.5 * n * log_bound))


def _half_width(x: NDArray[np.float64], extended: bool = False) -> float:
    from scipy.special import stdtrit  # late: a sweep's plan is written before anything heavy is loaded

    t = always_valid(x.size) if extended else float(stdtrit(x.size - 1, (1 + CONFIDENCE) / 2))
    return t * float(x.std(ddof=1)) / math.sqrt(x.size)


def _values(x: ArrayLike | Sequence[float | None]) -> NDArray[np.float64]:
    """(R,) float64, None as NaN."""
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"one number per replication expected, not an array of shape {values.shape}")
    return values


def upper_limit(happened: int, of: int, confidence: float = 0.99) -> float:
    """The highest rate that is compatible with what happened (Clopper and Pearson, one side)."""
    from scipy.special import betaincinv  # late, as above

    return 1.0 if happened == of else float(betaincinv(happened + 1, of - happened, confidence))
