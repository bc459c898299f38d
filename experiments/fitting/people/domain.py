"""The domain of the model: for which values of a parameter its answers have a basis, and which settings leave it.

The basis of a fitted parameter is the parameter sets that agree with the log (`fit_file.py`). For other numbers it is
the range about the default that is given here. Called by `nextone compare`, which warns, and by `claims.py`, which
writes the page.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from nextone.sim.config import FEEDBACK, LINK_CLASSES, TIERS, Scenario, Section, rules_of, said_of
from nextone.sim.plausible import is_assumed
from nextone.sim.scenario import SettingError
from nextone.sim.state import PREDICTED

PAGE = "docs/what-may-be-claimed.md"
DAYS = 14.0  # Source: KuaiRand-Pure's span
ENTRIES = {
    "network.shares": LINK_CLASSES,
    "phone.shares": TIERS,
    "phone.inference_ms": TIERS,
    "phone.reference_ms": TIERS,
    "phone.contention": TIERS,
    "server.objective": PREDICTED,
}
MEASURED, ASSUMED = 2.0, 4.0  # Assumed: factors about a default that was measured, and about any other
LOGIT = 0.7  # Assumed: the same on an additive scale, about log(2)
NAMED: dict[str, tuple[float, float]] = {
    "catalogue.videos": (7_248, 10_000_000),  # from the pool itself on
    "catalogue.catalogue_seed": (0, math.inf),
    "population.users": (1, math.inf),
    "interests.intent_sd": (0, 1.6),  # Source: KuaiRand-Pure, see docs/design.md
    "interests.intent_half_life_min": (10, 40),
    "sessions.start_hour": (0, 24),
    "sessions.leave_pace": (0, 1),  # from time alone to about as many random videos for everybody
    "sessions.activity_log_sd": (0.37, 1.2),  # Source: KuaiRand-27K, sessions a month; KuaiRand-Pure, rows
    # in a fortnight
    "sessions.warm_up_min": (0, 1440),  # only says when load is measured
    "network.trace_seed": (0, math.inf),
    "network.loss": (0, 0.047),  # Source: the Irish 5G dataset (MMSys 2020), pings lost while driving under HSPA+
    "client.ttl_s": (30, math.inf),
    "client.ttl_impressions": (6, math.inf),
    "client.refill_at": (0, 10),
    "client.uplink_loss": (0, 1),
    "client.uplink_s": (0, math.inf),
    "client.sample_bytes": (0, math.inf),
    "client.event_bytes": (0, math.inf),
    "client.cdn_ms": (0, 2_000),
    "client.cdn_hits": (0, 1),
    "client.model_bytes": (-1, 12_000_000),  # -1: what is shipped; twice what was published
    "client.history": (10, 50),  # Source: CIKM 2022
    "server.feature_lag_s": (0, 600),
    "server.page_size": (1, 20),
    "server.candidates": (1, 50),  # Source: KIR pool 10 to 50; cloud_only ships a page
    "server.workers": (0, math.inf),  # queues are exact
    "server.queue_limit": (1, math.inf),
    "server.pool_min": (0, math.inf),
    "server.embedding_impressions": (0, 1_000),
    "server.version_gap": (0, 1),
    "server.lookup_ms": (0, 1_000),
    "server.lookup_misses": (0, 1),
    "phone.inference_ms": (-1, 760),  # -1: by what decides; four times what was published
    "phone.contention": (0, 1),
    "server.objective": (-math.inf, math.inf),  # what to rank by is for who asks
    "server.filter_use": (0, 1),
    "server.quality_correlation": (0.35, 0.95),
    "server.person_correlation": (0.35, 0.95),
    "server.embedding_correlation": (0.35, 1),
    "server.taste_correlation": (0.35, 0.95),
    "server.match_correlation": (0.4, 0.95),
    "server.pxtr_bias": (-0.7, 0.7),
    "player.preload_videos": (0, 10),
    "player.preload_s": (0, 20),
}
"""Ranges that no factor about the default gives: levers that follow from exact bookkeeping, or of bounded meaning."""


class Range(NamedTuple):
    """The values of a number for which claims hold."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether the value is in the range."""
        slack = 1e-3 * max(abs(self.low), abs(self.high)) if math.isfinite(self.low + self.high) else 0.0
        return self.low - slack <= value <= self.high + slack

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        return f">= {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"


class Outside(NamedTuple):
    """A setting that leaves the domain."""

    setting: str
    value: str
    domain: str


def outside(scenario: Scenario, draws: tuple[dict[str, float], ...], days: float | None = None) -> list[Outside]:
    """The settings of a scenario for which nothing was validated. draws: parameter sets that agree with a log."""
    found = []
    for name, field in fields():
        value = getattr(getattr(scenario, name.split(".")[0]), name.split(".")[1])
        if isinstance(value, str):  # a choice, or the user's own traces
            continue
        for entry, x in entries(name, value):
            domain = domain_of(entry, name, field, draws)
            if not domain.holds(float(x)):
                found.append(Outside(entry, f"{float(x):g}", str(domain)))
    if days is not None and days > DAYS:
        found.append(Outside("--days", f"{days:g}", f"0 to {DAYS:g}"))
    return found


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every field of the scenario, `section.name`, in order."""
    for section, info in Scenario.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        for name, field in model.model_fields.items():
            yield f"{section}.{name}", field


def entries(name: str, value: Any) -> list[tuple[str, float]]:
    """(name, number) of a number, or of each entry of a list: `feedback.long_ratio.like`."""
    if not isinstance(value, tuple):
        return [(name, value)]
    words = ENTRIES.get(name, FEEDBACK if len(value) == len(FEEDBACK) else tuple(map(str, range(len(value)))))
    return [(f"{name}.{word}", x) for word, x in zip(words, value, strict=True)]


def domain_of(entry: str, name: str, field: FieldInfo, draws: tuple[dict[str, float], ...]) -> Range:
    """The values of one number for which claims hold; never more than what the scenario accepts."""
    found, accepted = _stretch(entry, name, field, draws), limits(field)
    return Range(max(found.low, accepted.low), min(found.high, accepted.high))


def _stretch(entry: str, name: str, field: FieldInfo, draws: tuple[dict[str, float], ...]) -> Range:
    fitted = [draw[entry] for draw in draws if entry in draw]
    if fitted and min(fitted) < max(fitted):
        return Range(min(fitted), max(fitted))
    if name in NAMED:
        return Range(*NAMED[name])
    if name in ("network.shares", "phone.shares"):
        return Range(0.0, 1.0)
    unit, assumed = str(said_of(field)["unit"]), is_assumed(field)
    middle = fitted[0] if fitted else float(dict(entries(name, field.default))[entry])
    if unit.startswith("log") and "mean" in name:
        return Range(middle - LOGIT, middle + LOGIT)
    factor = ASSUMED if assumed else MEASURED
    ends = sorted((0.0 if assumed else middle / factor, middle * factor))  # of a negative number the other way round
    return Range(*ends)


def limits(field: FieldInfo) -> Range:
    """What the scenario accepts."""
    rules = rules_of(field)
    return Range(rules.get("ge", rules.get("gt", -math.inf)), rules.get("le", rules.get("lt", math.inf)))


def warning(label: str, found: list[Outside]) -> str:
    """The warning for an arm, in one line."""
    said = ", ".join(f"{o.setting}={o.value} ({o.domain})" for o in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"Warning: {label} leaves what was validated: {said}{more}; see {PAGE}"


def draws_beside(scenario: Any) -> tuple[dict[str, float], ...]:
    """Parameter sets of the fit beside a scenario file, else those of the defaults."""
    from .fit_file import load_fit

    try:
        return load_fit(scenario).draws
    except SettingError:
        return load_fit(None).draws
