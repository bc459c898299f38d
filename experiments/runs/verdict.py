"""The verdict of a comparison, in sentences for who decides: what is better and by how much, at what price, what next.

Called by `nextone compare` and by its report, which show it before any table.
"""

import math
from collections.abc import Mapping, Sequence

from nextone.sim.scenario import SettingError

from .comparison import Comparison
from .metrics import GUARD_RAILS, IN_WORDS, LIMITS, METRICS, PRICES, PRIMARY, WORSE_IF_FEWER, column_of
from .number_text import percent_interval
from .statistics import PairedDifference

NAMED = 3  # arms that a sentence names of each kind
KEPT, BROKEN, OPEN = "kept", "broken", "open"
MOST_REPLICATIONS = 2_000  # more are not advised: what takes so many to be told is hardly worth telling


def verdict(
    result: Comparison, limits: Mapping[str, float] = LIMITS, depends: Sequence[str] = ()
) -> tuple[str, ...]:
    """One to six sentences. limits: by how many percent guard rails may become worse. depends: settings on which the
    gain depends most in the default scenario, by `nextone sensitivity`."""
    found = _found(result)
    others = [a for a in found if a != _best(found)] if _best(found) or len(found) > 1 else []
    told = [headline(result) + _beside(result, others, found)]
    if result.drowned:
        labels = listed(result.drowned)
        told.insert(0, f"Servers drown under {labels}: what follows is of the queue as much as of who ranks.")
    best = _best(found)
    if best is None:
        return *told, *([_more(result, found)] if found else []), *depends_on(depends)
    rails = {metric.name: rail(result, best, metric.name, limits) for metric in METRICS if metric.group == GUARD_RAILS}
    broken, unclear = ([name for name, state in rails.items() if state == which] for which in (BROKEN, OPEN))
    price = _price(result, best)
    told += [f"Its price: {price}." if price else "No price of it can be told from luck."]
    told += [_rails(result, best, len(rails), broken, unclear, limits)]
    if broken:
        told += [f"Next: decide whether that gain is worth {listed([IN_WORDS[name] for name in broken])}."]
    else:
        label = result.arms[best].label
        told += [f"Next: an A/B test of {label} on real people; nextone ab-size says how many it takes."]
    return *told, *depends_on(depends)


def headline(result: Comparison) -> str:
    """What is better than the baseline and by how much, in one sentence; or that nothing is."""
    base, found = result.baseline.label, _found(result)
    best = _best(found)
    if not found:
        return f"Nothing can be said: {IN_WORDS[PRIMARY]} is undefined in some replication."
    if best is not None:
        return f"{result.arms[best].label} is better than {base}: {IN_WORDS[PRIMARY]} {percent_interval(found[best])}."
    if len(found) > 1:
        return f"Nothing is better than {base} in {IN_WORDS[PRIMARY]}."
    arm, d = next(iter(found.items()))
    judged = "worse than" if _is(d, -1) else "no different, as far as can be told, from"
    return f"{result.label(arm)} is {judged} {base}: {IN_WORDS[PRIMARY]} {percent_interval(d)}."


def _found(result: Comparison) -> dict[int, PairedDifference]:
    """The difference in the primary metric by arm, largest first; without arms where it is undefined."""
    m = column_of(PRIMARY)
    found = {a: d for a, row in enumerate(result.differences) if (d := row[m]) is not None}
    return dict(sorted(found.items(), key=lambda each: -each[1].diff))


def _best(found: Mapping[int, PairedDifference]) -> int | None:
    """The arm that is better by most; None if none surely is."""
    return next((a for a, d in found.items() if _is(d, 1)), None)


def rail(result: Comparison, arm: int, name: str, limits: Mapping[str, float]) -> str:
    """`rail_of` for an arm of a comparison."""
    return rail_of(result.differences[arm][column_of(name)], name, limits)


def rail_of(d: PairedDifference | None, name: str, limits: Mapping[str, float]) -> str:
    """Whether an interval is within the limit of a guard rail (KEPT), beyond it (BROKEN), or on both sides of it."""
    if d is None:
        return OPEN
    sign = -1 if name in WORSE_IF_FEWER else 1
    if d.diff_pct is None or d.diff_pct_low is None or d.diff_pct_high is None:  # the baseline has none of it
        low, high = sorted((sign * d.low, sign * d.high))
        return KEPT if high <= 0 else BROKEN if low > 0 else OPEN
    low, high = sorted((sign * d.diff_pct_low, sign * d.diff_pct_high))
    return KEPT if high <= limits[name] else BROKEN if low > limits[name] else OPEN


def read_limits(texts: Sequence[str]) -> dict[str, float]:
    """The limits of guard rails, changed by what `--limit NAME=PERCENT` says. Raises SettingError."""
    limits = dict(LIMITS)
    for text in texts:
        name, _, number = text.partition("=")
        if name.strip() not in LIMITS:
            raise SettingError(f"--limit {text}: no guard rail {name.strip()!r}; there are {', '.join(LIMITS)}")
        try:
            limits[name.strip()] = float(number)
        except ValueError:
            limits[name.strip()] = math.nan
        if not 0 <= limits[name.strip()] < math.inf:
            raise SettingError(f"--limit {text}: {number!r} must be a number of percent >= 0; write {name.strip()}=5")
    return limits


def _beside(result: Comparison, arms: list[int], found: Mapping[int, PairedDifference]) -> str:
    """A clause on each group of the other arms, after a sentence."""
    better, worse = ([a for a in arms if _is(found[a], sign)] for sign in (1, -1))
    rest = [a for a in arms if a not in (*better, *worse)]
    groups = {"Better, too": better, f"No clear difference from {result.baseline.label}": rest, "Worse": worse}
    return "".join(f" {words}: {_named(result, members, found)}." for words, members in groups.items() if members)


def _named(result: Comparison, arms: list[int], found: Mapping[int, PairedDifference]) -> str:
    told = ", ".join(f"{result.label(a)} ({percent_interval(found[a])})" for a in arms[:NAMED])
    return told + (f" and {len(arms) - NAMED} more" if len(arms) > NAMED else "")


def _price(result: Comparison, arm: int) -> str:
    """What it costs more and less of, where that is no luck."""
    more, less = list[str](), list[str]()
    for name in PRICES:
        m = column_of(name)
        d = result.differences[arm][m]
        if d is not None and d.sure:
            (more if d.diff > 0 else less).append(f"{IN_WORDS[name]} {percent_interval(d, METRICS[m].unit)}")
    saved = f"it saves {listed(less)}" if less else ""
    return "; ".join(filter(None, (listed(more), saved)))


def _rails(
    result: Comparison, arm: int, many: int, broken: list[str], unclear: list[str], limits: Mapping[str, float]
) -> str:
    kept = many - len(broken) - len(unclear)
    told = f"Guard rails: {kept} of {many} within their limits"
    if broken:
        metrics = [METRICS[column_of(name)] for name in broken]
        own = result.differences[arm]
        changes = (percent_interval(own[column_of(metric.name)], metric.unit) for metric in metrics)
        each = (f"{IN_WORDS[metric.name]} ({change}, limit {limits[metric.name]:g} %)"
                for metric, change in zip(metrics, changes, strict=True))  # fmt: skip
        told += f"; beyond: {', '.join(each)}"
    if unclear:
        told += f"; too uncertain to say: {', '.join(IN_WORDS[name] for name in unclear)}"
    return f"{told}."


def _more(result: Comparison, found: Mapping[int, PairedDifference]) -> str:
    """What to do where nothing is better: more replications, where they could tell, or nothing."""
    open_ = [d for d in found.values() if d.diff > 0 and not d.sure]
    if not open_:
        return f"Next: stay with {result.baseline.label}, or ask about other pages, networks or people."
    best = max(open_, key=lambda d: d.diff)
    needed = math.ceil(2 * best.n * ((best.high - best.diff) / best.diff) ** 2)  # 2: eight in ten such runs tell
    if needed > MOST_REPLICATIONS:
        return f"Next: stay with {result.baseline.label}: what the others gain, if anything, is too small to tell."
    return f"Next: --replications {needed:,} would likely tell, if the difference is what it seems."


def depends_on(settings: Sequence[str]) -> tuple[str, ...]:
    """The sentence on assumptions; none without settings."""
    if not settings:
        return ()
    return (f"In the default scenario such gains depend most on {listed(list(settings))} (nextone sensitivity).",)


def _is(d: PairedDifference, sign: int) -> bool:
    return d.sure and d.diff * sign > 0


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
