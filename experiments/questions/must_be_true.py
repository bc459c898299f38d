"""What must be true of people for a phone to gain? Passing interests are varied, on the same people and luck.

`nextone must-be-true` runs it. It varies how strong passing interests are, how long they last, and in how many ways
videos differ, at small and large pages. The strength goes from none to twice the most that the log allows. The far end
is a check of the simulator, called the canary. There passing interests decide what people watch, so a filter that knows
how people are must win, or something is broken.

The gain is that of `reference_filter` on the phone over `cloud_only` in the same world. In every world cloud and phone
first assume what is true, and then what the scenario assumes, right or wrong. Servers are ample. Half-life and
dimensions are varied one at a time, each at every strength.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nextone.experiments.fitting.people.fit_file import FitFile
from nextone.experiments.runs.arms import BASELINE_POLICY, Arm, Progress, parse_arm
from nextone.experiments.runs.compare import compare
from nextone.experiments.runs.comparison import Comparison
from nextone.experiments.runs.comparison_files import record
from nextone.experiments.runs.executor import Execute
from nextone.experiments.runs.metrics import PRIMARY, column_of
from nextone.experiments.runs.names import REFERENCE_FILTER
from nextone.experiments.runs.statistics import Interval, PairedDifference
from nextone.sim.config import Interests, Scenario, Section
from nextone.sim.plausible import Plausible

from .ranges import Agreeing, ends_of, intents_that_agree

MINUTES, REPLICATIONS = 30.0, 15
OF_THE_BOUND = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Strengths, as multiples of the most that the log allows; the last one is the canary's."""
PAGES = {
    "6 of 20": "server.page_size=6 server.candidates=20",
    "50 of 100": "server.page_size=50 server.candidates=100",
}
"""Pages: shown of shipped."""
POLICIES = (BASELINE_POLICY, REFERENCE_FILTER)
TRUE, DEFAULT = "what is true", "the default"
SHOWN = ("valid_play", "long_view", PRIMARY)
"""What gains are shown in. The first is what the filter predicts, and what the canary is about."""


class People(NamedTuple):
    """Possible passing interests."""

    strength: float  # sd of a passing interest, logit
    half_life_min: float
    dims: int  # of content vectors

    def settings(self, assumes: str) -> str:
        """The settings of a world with these people. assumes: whether cloud and phone assume what is true (TRUE), or
        what the scenario says."""
        true = (
            f"interests.intent_sd={self.strength:g} interests.intent_half_life_min={self.half_life_min:g} "
            f"catalogue.content_dims={self.dims}"
        )
        known = (
            f" server.assumed_intent_sd={self.strength:g} server.assumed_half_life_min={self.half_life_min:g}"
            if assumes == TRUE
            else ""
        )
        return true + known


class Asked(NamedTuple):
    """What is varied."""

    agreeing: Agreeing
    strengths: tuple[float, ...]
    half_lives: tuple[float, ...]  # the scenario's among them
    dims: tuple[int, ...]  # the same
    usual: People  # the scenario's own, at the far end of strengths
    own: float  # the scenario's strength

    @property
    def people(self) -> tuple[People, ...]:
        """Every strength with each half-life, and with each number of dimensions."""
        lines = [(h, self.usual.dims) for h in self.half_lives]
        lines += [(self.usual.half_life_min, d) for d in self.dims if d != self.usual.dims]
        return tuple(People(strength, h, d) for h, d in lines for strength in self.strengths)


def asked_of(base: Scenario, fit: FitFile) -> Asked:
    """What to vary: strengths around those that agree with the log, half-lives and dimensions over their plausible
    ranges. Raises SettingError for a fit without the strength of passing interests."""
    agreeing = intents_that_agree(fit)
    strengths = tuple(float(f"{share * agreeing.high:.4g}") for share in OF_THE_BOUND)
    own = base.interests.intent_half_life_min
    half_life = _ends(Interests, "interests.intent_half_life_min", own, fit)
    dims = _ends(type(base.catalogue), "catalogue.content_dims", base.catalogue.content_dims, fit)
    usual = People(strengths[-1], own, base.catalogue.content_dims)
    half_lives = tuple(sorted({own, *half_life}))
    all_dims = tuple(sorted({usual.dims, *dims, *([round(math.sqrt(dims[0] * dims[1]))] if dims else [])}))
    return Asked(agreeing, strengths, half_lives, all_dims, usual, base.interests.intent_sd)


class Found(NamedTuple):
    """The results of cloud and phone in every world."""

    asked: Asked
    result: Comparison

    def gain(self, people: People, page: str, assumes: str, metric: str) -> PairedDifference | None:
        """The gain of the phone's filter over the cloud."""
        cloud, phone = (self._place(people, page, assumes, policy) for policy in POLICIES)
        return self.result.difference(cloud, phone, column_of(metric))

    def canary(self, page: str) -> PairedDifference | None:
        """The gain at the far end, where it must be positive."""
        return self.gain(self.asked.usual, page, TRUE, SHOWN[0])

    def needed(self, page: str, assumes: str, metric: str) -> float | None:
        """The strength, logit, from which on every gain can be told from 0, with the scenario's half-life and
        dimensions; None if there is none."""
        from_here = None
        for strength in reversed(self.asked.strengths):
            d = self.gain(self.asked.usual._replace(strength=strength), page, assumes, metric)
            if d is None or d.diff_pct_low is None or d.diff_pct_low <= 0:
                break
            from_here = strength
        return from_here

    def _place(self, people: People, page: str, assumes: str, policy: str) -> int:
        return [arm.label for arm in self.result.arms].index(_label(people, page, assumes, policy))


def arms_of(asked: Asked, base: Scenario) -> list[Arm]:
    """The arms: cloud and phone, at each page, in each world, for each assumption."""
    return [
        replace(
            parse_arm(f"arm={policy} {people.settings(assumes)} {settings}", base),
            label=_label(people, page, assumes, policy),
        )
        for people in asked.people
        for assumes in (TRUE, DEFAULT)
        for page, settings in PAGES.items()
        for policy in POLICIES
    ]


def ask(
    asked: Asked, base: Scenario, *, seed: int = 0, replications: int = REPLICATIONS, minutes: float = MINUTES,
    workers: int = 1, execute: Execute | None = None, progress: Progress | None = None,
) -> Found:  # fmt: skip
    """Run every world over the same replications. Raises what `compare` raises."""
    result = compare(
        arms_of(asked, base), seed=seed, replications=replications, minutes=minutes, engine="batch", workers=workers,
        execute=execute, progress=progress,
    )  # fmt: skip
    return Found(asked, result)


def must_be_true_json(found: Found) -> dict[str, Any]:
    """The question, the canary, and a row for each world, page, assumption and metric: gains in %."""
    asked = found.asked
    rows = [
        {**people._asdict(), "page": page, "assumes": assumes, "metric": metric,
         "agrees_with_the_log": asked.agreeing.low <= people.strength <= asked.agreeing.high,
         **_percent(found.gain(people, page, assumes, metric))}
        for people in asked.people
        for page in PAGES
        for assumes in (TRUE, DEFAULT)
        for metric in SHOWN
    ]  # fmt: skip
    needed = [
        {"page": page, "assumes": assumes, "metric": metric, "strength": found.needed(page, assumes, metric)}
        for page in PAGES
        for assumes in (TRUE, DEFAULT)
        for metric in SHOWN
    ]
    return record(found.result) | {
        "agreeing": asked.agreeing._asdict(),
        "people": found.result.baseline.scenario.population.users,
        "minutes": found.result.minutes,
        "replications": found.result.replications,
        "seed": found.result.seed,
        "intervals_hold": "luck and people",
        "canary": {page: _percent(found.canary(page)) | {"wins": wins(found.canary(page))} for page in PAGES},
        "needed": needed,
        "rows": rows,
    }


def wins(d: PairedDifference | Interval | None) -> bool:
    """Whether a gain is surely above 0."""
    return isinstance(d, PairedDifference) and d.low > 0


def _percent(d: PairedDifference | None) -> dict[str, float | None]:
    return {"gain_pct": d and d.diff_pct, "gain_low": d and d.diff_pct_low, "gain_high": d and d.diff_pct_high}


def _ends(section: type[Section], name: str, value: float, fit: FitFile) -> Sequence[Any]:
    """Low and high, or nothing where nothing is said."""
    found = ends_of(name, section.model_fields[name.split(".")[1]], value, fit)
    return (found.low, found.high) if isinstance(found, Plausible) else ()


def _label(people: People, page: str, assumes: str, policy: str) -> str:
    return f"{policy}, {page}, sd {people.strength:g}, {people.half_life_min:g} min, {people.dims} dims, {assumes}"
