"""Every number of the world, once: its unit, its bounds, and where it comes from.

A scenario is frozen and validated when it is made. Experiments vary it by replacing fields (`sim/scenario.py` reads and
writes it as TOML). `Scenario.params()` is what the compiled model reads: one flat record in which seconds and
milliseconds have become int64 microseconds and Mbit/s whole bits per second, here and nowhere else.
"""

import math
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

MAX_SLOTS = 250  # of a candidate pool: an order is one byte, whose highest values have other meanings
DIMS = 8  # of a content vector, at most
NEVER_US = 2**62  # later than anything; sums with it saturate (two of them still fit in int64)
ENDLESS = 1_000_000  # bytes per us: what a link of "inf" Mbit/s counts as; what it carries takes no time

TIERS = ("android_low", "android_mid", "android_high", "ios")
LINK_CLASSES = ("wifi4", "wifi5", "wifi6", "4g", "5g", "driving", "ghent_4g", "oslo_3g")
CELLULAR = LINK_CLASSES.index("4g")  # the first class that is not WiFi
FEEDBACK = ("like", "follow", "comment", "forward", "hate", "profile")
LIKE, FOLLOW, COMMENT, FORWARD, HATE, PROFILE = range(len(FEEDBACK))
MINUTES = 60.0  # of the window, if nobody says


def number(
    default: Any, unit: str, source: str, text: str, *, plausible: tuple[Any, Any, str] | str = "", **bounds: Any
) -> Any:
    """A field of the scenario: default, unit, source ('Source: ...' or 'Assumed: ...'), meaning, bounds (pydantic's).

    plausible: what else an assumed value might be, lowest and highest, and why; or why it need not be varied. Without
    it sim/plausible.py's rule holds."""
    assert source.startswith(("Source:", "Assumed:")), source
    assert not plausible or source.startswith("Assumed:"), source
    extra: dict[str, Any] = {"unit": unit, "source": source} | ({"plausible": plausible} if plausible else {})
    if isinstance(default, tuple):  # bounds of a list hold for its entries; `Section` checks them
        extra, bounds = extra | {"bounds": bounds}, {}
    return Field(default, description=text, json_schema_extra=extra, **bounds)


SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
"""Of the bounds of a field, as pydantic names them and as people read them."""


def said_of(field: FieldInfo) -> dict[str, Any]:
    """What `number` was given for a field besides its default: unit, source, plausible, and the bounds of a list's
    entries."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def rules_of(field: FieldInfo) -> dict[str, float]:
    """The bounds of a number, or of each entry of a list, by sign: ge, gt, le, lt."""
    rules: dict[str, float] = dict(said_of(field).get("bounds", {}))
    for rule in field.metadata:
        rules |= {sign: getattr(rule, sign) for sign in SIGNS if hasattr(rule, sign)}
    return rules


def _spread(size: int) -> BeforeValidator:
    """A single number given for a list stands for every entry."""
    return BeforeValidator(lambda v: (v,) * size if isinstance(v, (int, float)) and not isinstance(v, bool) else v)


class Section(BaseModel):
    """A part of the scenario: frozen, unknown keys and NaN refused, no silent conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        bounds = said_of(cls.model_fields[str(info.field_name)]).get("bounds", {})
        for x in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(x, float) and math.isnan(x):
                raise ValueError("must be a number, not NaN")
            for rule, limit in bounds.items() if isinstance(x, (int, float)) else ():
                if (rule == "ge" and x < limit) or (rule == "gt" and x <= limit) or (rule == "le" and x > limit):
                    raise ValueError(f"every entry must be {dict(ge='>=', gt='>', le='<=')[rule]} {limit}")
        return tuple(value) if isinstance(value, list) else value


class Catalogue(Section):
    """The videos."""

    kind: Literal["kuairand", "synthetic"] = number(
        "kuairand", "", "Source: KuaiRand-Pure (CIKM 2022), see sim/data/kuairand",
        "real durations and tags, or lognormal durations and Zipf tags")  # fmt: skip
    videos: int = number(
        200_000, "videos", "Assumed: two weeks at 277 impressions a day rank over 100,000 videos",
        "catalogue size; the first 7,248 are the real ones",
        plausible=(50_000, 400_000, "what a person meets in days, to what they meet in a month"), ge=1, le=10_000_000)  # fmt: skip
    catalogue_seed: int = number(
        1, "", "Assumed: any", "fixes the videos, apart from people and luck",
        plausible="drawn with what else may be another (nextone sensitivity)", ge=0, le=2**32 - 1)  # fmt: skip
    quality_sd: float = number(
        1.07, "logit", "Source: KuaiRand-Pure, ICC of long view between videos .068", "spread of quality between videos of one tag",
        ge=0, le=5)  # fmt: skip
    author_quality: float = number(
        0.75, "share", "Source: KuaiRand-Pure, likeness of an author's videos .052 of .068 between videos",
        "of the variance of quality: what videos of an author have in common; the rest is each video's own",
        ge=0, le=1)  # fmt: skip
    tag_quality: float = number(
        0.791, "logit", "Source: KuaiRand-Pure, tag entropy of a person 3.16 bits, spread of long view by tag .074",
        "spread, beside quality_sd, between videos of different tags; the cloud knows it", ge=0, le=5)  # fmt: skip
    appeal_sd: float = number(
        0.939, "log", "Source: KuaiRand-Pure, likes between videos are beta(.67, 35.3): CV 1.2",
        "spread between videos of the odds of feedback", ge=0, le=3)  # fmt: skip
    tags: int = number(43, "tags", "Source: KuaiRand-Pure", "number of tags of a synthetic catalogue", ge=1, le=100)
    authors: int = number(
        20_000, "authors", "Assumed: ten videos an author; no public data beyond the pool, whose authors are known",
        "who made the videos beyond the real ones",
        plausible=(2_000, 100_000, "a hundred videos an author, to two"), ge=1, le=10_000_000)  # fmt: skip
    author_zipf: float = number(
        0.5, "", "Assumed: some make many; in KuaiRand-Pure two rows in a row have the same author once in 800",
        "exponent of the law by which an author's share of these videos falls with the author's rank",
        plausible=(0.0, 0.9, "all make as many, to a few who make most"), ge=0, le=0.95)  # fmt: skip
    content_dims: int = number(
        8, "dimensions", "Assumed: few, or nobody could learn a passing interest before it has passed",
        "length of a video's content vector",
        plausible=(2, 8, "less is hardly a taste; with more nobody could learn a passing interest before it has passed"), ge=1, le=DIMS)  # fmt: skip
    tag_share: float = number(
        0.746, "share", "Assumed: within a measured bound, .55 to .8 by KuaiRand-Pure, reaction of the cloud within a tag",
        "of the variance of content between videos: what videos of a tag have in common", ge=0, le=1)  # fmt: skip
    author_share: float = number(
        0.2, "share", "Assumed: a few authors' next videos say little in KuaiRand-Pure",
        "the same, what videos of an author have in common; the rest is each video's own",
        plausible=(0.0, 0.2, "nothing, to what an author has in common beside the tags"), ge=0, le=1)  # fmt: skip
    duration_log_mean: float = number(
        3.3, "log s", "Source: KuaiRand-27K, median 27 s", "log-mean duration, synthetic catalogue",
        ge=0, le=8)  # fmt: skip
    duration_log_sd: float = number(
        1.43, "log", "Source: KuaiRand-27K, p90 169 s", "log-sd of durations, synthetic catalogue", ge=0, le=3)  # fmt: skip


class Population(Section):
    """The lasting traits of people."""

    users: int = number(700, "people", "Assumed: any", "people simulated",
        plausible="how many are simulated moves intervals, not answers", ge=1, le=10_000_000)
    person_sd: float = number(
        0.814, "logit", "Source: KuaiRand-Pure, ICC of valid play between users .146",
        "spread between people of the readiness to stay with any video", ge=0, le=5)  # fmt: skip
    taste_sd: float = number(
        0.551, "logit", "Source: KuaiRand-Pure, residual correlation of one tag beyond a day, .29 to 1",
        "spread of a person's lasting taste over videos of different content", ge=0, le=5)  # fmt: skip
    taste_spread: float = number(
        0.3, "log", "Assumed: some are narrower than others; no public data",
        "log-sd between people of their own taste_sd (its median stays)",
        plausible=(0.0, 0.6, "all as narrow, to a spread that is twice the default's"), ge=0, le=2)  # fmt: skip
    match_sd: float = number(
        1.06, "logit", "Source: KuaiRand, random against recommended valid play .205 / .498",
        "spread of the lasting match of a person and a video that content does not explain", ge=0, le=5)  # fmt: skip
    past_impressions: int = number(
        11_800, "impressions", "Source: KuaiRand-27K, 150 sessions a person and month of 78.7 impressions",
        "what the average person has seen before the simulation", ge=0, le=10_000_000)  # fmt: skip


class Interests(Section):
    """What changes in people while they watch."""

    mood_sd: float = number(
        0.439, "logit", "Source: KuaiRand-Pure, residual correlation of other tags by lag, .27 to .72",
        "spread of the mood of a session", ge=0, le=5)  # fmt: skip
    mood_hours: float = number(
        2.25, "h", "Source: KuaiRand-Pure, residual correlation of other tags by lag, .68 to 9.5",
        "time constant of the mood", gt=0, le=1000)  # fmt: skip
    intent_sd: float = number(
        1.04, "logit", "Assumed: within a measured bound, .64 to 1.5 by KuaiRand-Pure, see docs/validation.md",
        "spread of a passing interest over videos of different content", ge=0, le=5)  # fmt: skip
    intent_half_life_min: float = number(
        29.4, "min", "Assumed: within a measured bound, 9.7 to 93 by KuaiRand-Pure, reaction of the cloud by lag",
        "after which half of a passing interest has passed", gt=0, le=100_000)  # fmt: skip
    reinforcement: float = number(
        0.0, "logit", "Assumed: none; the log has no sign of it, and it makes policies cause interest",
        "step of the passing interest towards what was stayed with, away from what was not, in proportion to the surprise",
        plausible=(0.0, 0.1, "none, to some .4 logit by the end of a session"),
        ge=0, le=5)  # fmt: skip
    satiation: float = number(
        0.05, "logit", "Assumed: small; no public sequence of consecutive items",
        "fatigue with content just like one video seen a moment ago",
        plausible=(0.0, 0.2, "no fatigue, to a fifth of a logit by one video just like it"), ge=0, le=2)  # fmt: skip
    satiation_s: float = number(
        600.0, "s", "Assumed: minutes; no public data", "time constant of the recovery from fatigue",
        plausible=(120.0, 3600.0, "a few videos, to beyond the session"), gt=0, le=1e7)  # fmt: skip


class Watching(Section):
    """How long a person stays with a video."""

    stay: float = number(
        -1.53, "logit", "Source: KuaiRand-Pure main feed, valid play .498 under cloud_only",
        "log-odds of staying for a random video, all else zero", ge=-20, le=20)  # fmt: skip
    stay_shorter: float = number(
        0.25, "logit per log", "Assumed: between the lengths that are shown and how each is played, see docs/validation.md",
        "readiness to stay by the log of length, below 80 s",
        plausible=(0.0, 0.6, "length moves nothing, to about what plays of each length ask for"), ge=-5, le=5)  # fmt: skip
    stay_longer: float = number(
        -0.2, "logit per log", "Assumed: as stay_shorter", "the same above 80 s",
        plausible=(-1.0, 0.0, "about what plays of each length ask for, to length moves nothing"), ge=-5, le=5)  # fmt: skip
    dead_time_s: float = number(
        0.632, "s", "Source: KuaiRand-Pure, P(play < 1 s) = .054", "time before a decision, median", ge=0, le=10)  # fmt: skip
    dead_time_log_sd: float = number(
        0.0304, "log", "Source: KuaiRand-Pure, P(play < .5, 1, 1.5 s) = .015, .054, .156", "log-sd of it", ge=0, le=3)  # fmt: skip
    skip_log_mean: float = number(
        0.478, "log s", "Source: KuaiRand-Pure, two lognormals with a dead time", "log-mean time to an early leave",
        ge=-5, le=5)  # fmt: skip
    skip_log_sd: float = number(
        1.05, "log", "Source: KuaiRand-Pure, two lognormals with a dead time", "log-sd of it", ge=0.01, le=3)  # fmt: skip
    skip_log_slope: float = number(
        0.404, "log per logit", "Source: KuaiRand-Pure, ICC of skips < 2 s between users .123", "lengthening of it by a person's lasting readiness to stay",
        ge=0, le=2)  # fmt: skip
    watch_log_mean: float = number(
        1.79, "log s", "Source: KuaiRand-Pure, videos of 60 s and more", "log-mean time of those who stay",
        ge=-5, le=10)  # fmt: skip
    watch_log_sd: float = number(
        1.34, "log", "Source: KuaiRand-Pure, videos of 60 s and more", "log-sd of it", ge=0.01, le=3)  # fmt: skip
    watch_log_slope: float = number(
        0.801, "log per logit", "Source: KuaiRand-Pure, weakly identified; who likes it more stays longer", "lengthening of it by the logit of staying",
        ge=0, le=2)  # fmt: skip
    loop: float = number(
        0.473, "probability", "Source: KuaiRand-Pure, time beyond the end", "chance to let a finished video play again",
        ge=0, le=1)  # fmt: skip
    loop_log_mean: float = number(
        1.62, "log s", "Source: KuaiRand-Pure, time beyond the end", "log-mean time it then plays on", ge=-5, le=10)  # fmt: skip
    loop_log_sd: float = number(
        1.2, "log", "Source: KuaiRand-Pure, time beyond the end", "log-sd of it", ge=0, le=3)  # fmt: skip
    react_log_mean: float = number(
        -0.662, "log s", "Source: KuaiRand-Pure, time beyond the end", "log-mean time to swipe on otherwise", ge=-5, le=5)  # fmt: skip
    react_log_sd: float = number(
        0.65, "log", "Source: KuaiRand-Pure, time beyond the end", "log-sd of it", ge=0, le=3)  # fmt: skip
    most_rounds: int = number(
        20, "rounds", "Assumed: nobody lets a video play on for longer; no public data",
        "most rounds beyond the first", ge=0, le=1000)  # fmt: skip


class Feedback(Section):
    """Feedback that people give: rates over all impressions, and how much likelier it is after a long view."""

    like: float = number(0.0216, "per impression", "Source: KuaiRand-Pure tab 1", "likes", ge=0, le=1)
    follow: float = number(0.00184, "per impression", "Source: KuaiRand-Pure tab 1", "follows", ge=0, le=1)
    comment: float = number(0.00356, "per impression", "Source: KuaiRand-Pure tab 1", "comments written", ge=0, le=1)
    forward: float = number(0.00119, "per impression", "Source: KuaiRand-Pure tab 1", "forwards", ge=0, le=1)
    hate: float = number(0.000723, "per impression", "Source: KuaiRand-Pure tab 1", "'not interested'", ge=0, le=1)
    profile: float = number(0.0274, "per impression", "Source: KuaiRand-Pure tab 1", "author's profile opened", ge=0, le=1)
    skip_ratio: Annotated[tuple[float, float, float, float, float, float], _spread(6)] = number(
        (0.507, 0.408, 0.529, 0.79, 0.613, 0.6), "ratio", "Source: KuaiRand-Pure tab 1, rate on a play < 5 s / on a middling one",
        "like, follow, comment, forward, hate, profile", ge=0)  # fmt: skip
    long_ratio: Annotated[tuple[float, float, float, float, float, float], _spread(6)] = number(
        (1.43, 1.45, 7.34, 3.71, 0.647, 2.42), "ratio", "Source: KuaiRand-Pure tab 1, rate on a long view / on a middling play",
        "like, follow, comment, forward, hate, profile", ge=0)  # fmt: skip
    complete_ratio: Annotated[tuple[float, float, float, float, float, float], _spread(6)] = number(
        (1.78, 1.86, 1.36, 1.05, 0.959, 2.0), "ratio", "Source: KuaiRand-Pure tab 1, rate when completed / on other long views",
        "like, follow, comment, forward, hate, profile", ge=0)  # fmt: skip
    match_slope: float = number(
        0.15, "log per logit", "Assumed: people like what they like; no public data",
        "feedback odds by taste and match (hate: the other way)",
        plausible=(0.0, 0.6, "feedback that says nothing of tastes, to four times the default"), ge=0, le=3)  # fmt: skip
    usual_match: float = number(
        3.3, "logit", "Assumed: about what taste, intent and match add under cloud_only", "taste and match at which people give feedback "
        "at the stated rates", plausible="rates of feedback are fitted with it, so that another one changes them back",
        ge=-20, le=20)  # fmt: skip
    user_icc: float = number(
        0.195, "", "Source: KuaiRand-Pure, likes: beta(.078, 4.06); Assumed the same for the other kinds",
        "intra-class correlation of feedback between people", gt=0.001, lt=1)  # fmt: skip
    browse: float = number(
        0.049, "per impression", "Source: KuaiRand-Pure tab 1", "chance to open the comments", ge=0, le=1)  # fmt: skip
    browse_log_mean: float = number(
        1.83, "log s", "Source: KuaiRand-Pure tab 1, median 6.2 s", "log-mean time in comments or on a profile",
        ge=-5, le=10)  # fmt: skip
    browse_log_sd: float = number(0.98, "log", "Source: KuaiRand-Pure tab 1, p90 21.7 s", "log-sd of it", ge=0, le=3)


class Sessions(Section):
    """Opening the app, leaving it, coming back."""

    start_hour: float = number(
        20.0, "h", "Assumed: the evening", "hour of day (UTC+8 shape) at which the window starts",
        plausible=(8.0, 22.0, "from the morning to the night"), ge=0, lt=24)  # fmt: skip
    warm_up_min: float = number(
        30.0, "min", "Assumed: about a mean session; most of the load is there by then",
        "start of the window in which the servers' load is not measured; at most half of the window",
        plausible="says when load is measured, and moves nothing else",
        ge=0, le=1440)  # fmt: skip
    leave_per_min: float = number(
        0.0339, "per min", "Source: KuaiRand-27K, 78.7 impressions a session; about 30 min",
        "hazard of leaving the app at neutral satisfaction", ge=0, le=60)  # fmt: skip
    leave_pace: float = number(
        0.789, "", "Source: KuaiRand-Pure, correlation over people of log rows and valid play -.065",
        "how much sooner, by the clock, people leave who are quick with every video: the power of their expected pace",
        ge=0, le=3)  # fmt: skip
    leave_satisfaction: float = number(
        0.8, "log per unit", "Assumed: satisfied people stay; no public data",
        "fall of that hazard per unit of satisfaction",
        plausible=(0.0, 1.6, "sessions that end by the clock alone, to twice as much by how they please"), ge=0, le=5)  # fmt: skip
    satisfaction_memory: float = number(
        0.9, "", "Assumed: about ten impressions; no public data", "weight of the past in the running satisfaction",
        plausible=(0.7, 0.97, "about three impressions, to thirty"), ge=0, lt=1)  # fmt: skip
    stall_pain: float = number(
        0.5, "per s", "Assumed: a stall of 2 s undoes an enjoyed video; no public data", "satisfaction lost per second of stall or start-up",
        plausible=(0.1, 2.0, "a stall of ten seconds undoes an enjoyed video, to one of half a second"),
        ge=0, le=10)  # fmt: skip
    stall_felt_s: float = number(
        10.0, "s", "Assumed: who has waited so long is as annoyed as can be; no public data",
        "most seconds of stall and start-up of an impression that count", ge=0, le=1000)  # fmt: skip
    usual_valid_play: float = number(
        0.5, "share", "Source: KuaiRand-Pure, valid play .498",
        "valid plays among impressions that leave satisfaction at zero", ge=0, le=1)  # fmt: skip
    completion_joy: float = number(
        0.5, "valid plays", "Assumed: half as good again; no public data", "worth of a completion, beside the valid play",
        plausible=(0.0, 1.0, "no more than the valid play, to as much again"),
        ge=0, le=10)  # fmt: skip
    like_joy: float = number(
        1.0, "valid plays", "Assumed: a liked video counts twice; no public data", "worth of a like, beside the valid play",
        plausible=(0.0, 2.0, "a like is only said, to a liked video that counts three times"),
        ge=0, le=10)  # fmt: skip
    hate_pain: float = number(
        2.0, "valid plays", "Assumed: worse than any skip; no public data", "what a 'not interested' takes away",
        plausible=(0.0, 4.0, "no more than a skip, to twice the default"),
        ge=0, le=10)  # fmt: skip
    most_pain: float = number(
        5.0, "valid plays", "Assumed: no single impression spoils a session; no public data", "most that an impression takes away",
        ge=0, le=100)  # fmt: skip
    stall_patience_s: float = number(
        6.0, "s", "Assumed: no public data", "mean time before a stalled video is swiped away",
        plausible=(2.0, 20.0, "about a second look, to a third of a minute"), gt=0, le=1e6)  # fmt: skip
    wait_patience_s: float = number(
        60.0, "s", "Assumed: no public data", "mean time before a person without a page leaves", gt=0, le=1e6)  # fmt: skip
    away: float = number(
        0.008, "per impression", "Assumed: some messages are answered; no public data", "chance to put the app in the background",
        plausible=(0.0, 0.02, "hardly ever, to more than once in a session"),
        ge=0, le=1)  # fmt: skip
    away_s: float = number(45.0, "s", "Assumed: exponential; no public data", "mean time in the background", ge=0, le=1e6)
    gap_hours: float = number(
        2.6, "h", "Source: KuaiRand-27K, 4.8 sessions a day",
        "median time from open to open, at even activity, of a person of average activity", gt=0.5, le=1000)  # fmt: skip
    activity_log_sd: float = number(
        1.11, "log", "Source: KuaiRand-Pure, log-sd of people's rows in a fortnight .95, thinning taken into account",
        "lasting spread between people of how often they open the app", ge=0, le=2)  # fmt: skip
    gap_log_sd: float = number(0.9, "log", "Source: KuaiRand-27K, log-sd of daily impressions .96", "log-sd of it",
                               ge=0, le=3)  # fmt: skip
    gap_satisfaction: float = number(
        0.2, "log per unit", "Assumed: no public data", "shortening of it per unit of the last session's satisfaction",
        plausible="only where people come back: in a window of minutes each opens once",
        ge=0, le=5)  # fmt: skip


class Network(Section):
    """Access links."""

    shares: Annotated[tuple[float, float, float, float, float, float, float, float], _spread(8)] = number(
        (0.1, 0.3, 0.15, 0.2, 0.15, 0.06, 0.02, 0.02), "share",
        "Assumed: no public mix; mostly WiFi and static cellular, some on the move",
        "people on " + ", ".join(LINK_CLASSES),
        plausible=((0.2, 0.5, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.5, 0.3, 0.1, 0.05, 0.05), "all at home, to all on the way"), ge=0)  # fmt: skip
    traces: str = number("", "path", "Assumed: none", "a folder or file of traces that replaces the shipped links",
        plausible="files of your own; what days the shipped links are of is drawn by network.trace_seed")
    rtt: str = number("", "path", "Assumed: none", "a folder or file of round-trip logs that replaces the shipped ones",
        plausible="files of your own; what runs the shipped round trips are of is drawn by network.trace_seed")
    link_columns: str = number("", "NAME=COLUMN[:UNIT],...", "Assumed: none",
        "what those files call their columns, where their headers do not say (as `calibrate --columns`)",
        plausible="files of your own")
    trace_seed: int = number(
        0, "", "Assumed: any",
        "0: the shipped traces and round trips; else as many days of them, drawn by this number, some more than once",
        plausible="drawn with what else may be another (nextone sensitivity)", ge=0, le=2**32 - 1)  # fmt: skip
    constant_mbps: float = number(
        0.0, "Mbit/s", "Assumed: off", "if positive, every link has this capacity (inf allowed)",
        plausible="replaces the links; off", ge=0)  # fmt: skip
    synthetic_traces: int = number(
        0, "traces", "Assumed: off", "if positive, links are that many generated traces",
        plausible="replaces the links; off", ge=0, le=100_000)  # fmt: skip
    synthetic_mbps: float = number(
        20.0, "Mbit/s", "Assumed: near the median of LTE in pam2025", "their median capacity",
        plausible="nothing while synthetic_traces is 0", gt=0, le=10_000)  # fmt: skip
    synthetic_cv: float = number(
        0.7, "", "Source: pam2025, CV within a trace .71", "their coefficient of variation", ge=0, le=3)  # fmt: skip
    rtt_scale: float = number(
        1.0, "ratio", "Source: pam2025 for cellular", "multiplies every round trip (0: none)", ge=0, le=100)  # fmt: skip
    wifi_rtt_scale: float = number(
        0.6, "ratio", "Assumed: no licensed WiFi RTT trace", "multiplies round trips on WiFi", ge=0, le=100)  # fmt: skip
    spell_share: float = number(
        0.44, "share", "Source: pam2025, correlation of log RTT within 30 s: .25 after .2 s, .07 after 1 s, .02 after 5 s",
        "round trips whose jitter is the link's at that time, for spells of either length", ge=0, le=0.5)  # fmt: skip
    spells_s: tuple[float, float] = number(
        (12.0, 0.85), "s", "Source: pam2025, the same correlations", "lengths of the two kinds of spells", ge=0.001, le=3600)  # fmt: skip
    loss: float = number(0.005, "probability", "Source: pam2025, lost pings", "chance that a request is lost", ge=0, le=1)
    outages_per_hour: float = number(
        0.5, "per h", "Assumed: an elevator or a metro now and then; no public data", "spells without network on cellular links",
        plausible=(0.0, 2.0, "never, to several in an hour on the way"),
        ge=0, le=3600)  # fmt: skip
    outage_s: float = number(20.0, "s", "Assumed: exponential; no public data", "mean length of a spell", gt=0, le=1e6)
    radio_wake_ms: float = number(
        0.0, "ms", "Assumed: off; pings keep the radio awake, so no data", "delay of the first transfer after idling",
        plausible=(0.0, 300.0, "none, to an LTE radio that connects again"),
        ge=0, le=10_000)  # fmt: skip
    radio_idle_s: float = number(5.0, "s", "Assumed: LTE inactivity timers", "idle time after which a radio sleeps",
        plausible="nothing while radio_wake_ms is 0",
                                 ge=0, le=1e6)  # fmt: skip


class Player(Section):
    """Playing and preloading."""

    swipe_ms: float = number(300.0, "ms", "Assumed: a usual transition", "from lifting the finger to the next video",
                             ge=0, le=10_000)  # fmt: skip
    startup_s: float = number(0.5, "s", "Assumed: usual player setting", "content needed for the first frame",
                              ge=0, le=60)  # fmt: skip
    rebuffer_s: float = number(1.0, "s", "Assumed: usual player setting", "content needed to go on after a stall",
                               ge=0.05, le=60)  # fmt: skip
    buffer_s: float = number(20.0, "s", "Assumed: usual player setting", "most content held ahead of the playhead",
                             gt=0, le=120)  # fmt: skip
    preload_videos: int = number(
        3, "videos", "Assumed: a few, for what is swiped past is wasted; no public data",
        "how many of the next videos are preloaded",
        plausible=(1, 6, "the next one, to a page"), ge=0, le=100)  # fmt: skip
    preload_s: float = number(
        3.0, "s", "Assumed: a short start, for most videos are left early; no public data", "how much of each",
        ge=0, le=60)  # fmt: skip
    bitrates_mbps: tuple[float, float, float] = number(
        (0.8, 1.3, 2.1), "Mbit/s", "Source: ACM MM 2022 Short-Video-Streaming-Challenge, means of 7 videos .73-.90, 1.2-1.4, 1.8-2.3",
        "the three encodings, ascending", gt=0, le=100)  # fmt: skip
    rate_safety: float = number(
        0.7, "ratio", "Assumed: usual throughput rule", "share of the measured throughput a bitrate may take",
        plausible=(0.5, 1.0, "half of what was measured, to all of it"), gt=0, le=10)  # fmt: skip
    rate_memory_bytes: int = number(
        950_000, "bytes", "Assumed: the first 3 s of a video at 1.3 Mbit/s weigh .3; no public data",
        "video bytes after which the past weighs half in the measured throughput", ge=1, le=1_000_000_000)  # fmt: skip
    recalled_videos: int = number(
        8, "videos", "Assumed: then the estimate is of videos and hardly of the mean it started from; no public data",
        "videos by which a session before a person's first one has measured its link", ge=0, le=1000)  # fmt: skip
    recalled_every_s: float = number(
        20.0, "s", "Assumed: about what a video is watched for; chosen so that estimates are as at the end of sessions",
        "time from one of them to the next", ge=0, le=3600)  # fmt: skip
    refetch_share: float = number(
        0.25, "share", "Assumed: usual player setting", "of buffer_s: fetch on when less than this is ahead of the playhead",
        ge=0.01, le=0.9)  # fmt: skip


class Client(Section):
    """Pages, pool and requests on the phone."""

    ttl_s: float = number(600.0, "s", "Assumed: KIR publishes no value", "age at which a candidate leaves the pool",
        plausible=(120.0, 3600.0, "a few videos, to a session"), gt=0)
    ttl_impressions: float = number(
        math.inf, "impressions", "Assumed: off", "age in impressions at which a candidate leaves",
        plausible=(20.0, math.inf, "as many as are shipped, to never"), ge=1)  # fmt: skip
    refill_at: int = number(
        1, "impressions", "Assumed: one video ahead of the need; no public data", "ask for a page when so many are left",
        plausible=(0, 3, "when nothing is left, to half a page ahead"),
        ge=0, le=100)  # fmt: skip
    on_refill: Literal["replace", "merge"] = number(
        "replace", "", "Source: KIR, the pool is cleared wholesale", "what a response does to the pool")  # fmt: skip
    decide_at: Literal["swipe", "start"] = number(
        "swipe", "", "Source: KIR, every swipe triggers", "when NextOne is asked: finger lifts, or video starts")  # fmt: skip
    ask_at: Literal["start", "swipe"] = number(
        "start", "", "Assumed: asked early, the page is there when the finger lifts; no public data",
        "a page is asked for when the video that calls for it starts, or at the lift of the finger after it")  # fmt: skip
    expired_offline: Literal["drop", "serve"] = number(
        "drop", "", "Assumed: the TTL is a rule", "expired candidates during a spell without network")  # fmt: skip
    # Lowest: a phone that gave up or retried sooner would send, and log, thousands of requests while a person waits.
    timeout_s: float = number(5.0, "s", "Assumed: usual client setting", "wait for a response before giving up",
                              ge=0.05, le=1800)  # fmt: skip
    backoff_s: float = number(1.0, "s", "Assumed: usual client setting", "pause before the first retry; then it doubles",
                              ge=0.01, le=3600)  # fmt: skip
    backoff_doublings: int = number(5, "", "Assumed: usual client setting", "how often it doubles at most", ge=0, le=20)
    history: int = number(20, "impressions", "Source: CIKM 2022, list of watched videos, 10 to 50", "past impressions a policy sees",
                          ge=1, le=200)  # fmt: skip
    uplink_loss: float = number(
        0.0, "share", "Assumed: none; no public data", "impressions whose sample never reaches the cloud",
        plausible=(0.0, 0.2, "none, to one in five"), ge=0, le=1)  # fmt: skip
    uplink_s: float = number(
        0.0, "s", "Assumed: at once; Walle's tunnel takes half a second, a batch at the next open hours",
        "mean time from the end of an impression until its sample is in the cloud, exponential",
        plausible=(0.0, 3600.0, "at once, to the next open"), ge=0, le=1e7)  # fmt: skip
    sample_bytes: int = number(
        1_300, "bytes", "Assumed: Walle (OSDI 2022), features of a page view 1.3 KB, unconfirmed",
        "sent up of an impression whose features and outcome the phone joins, because it ranks", ge=0, le=10_000_000)  # fmt: skip
    event_bytes: int = number(
        21_000, "bytes", "Assumed: Walle (OSDI 2022), raw events of a page view 21 KB, unconfirmed",
        "sent up of an impression whose features the cloud computes", ge=0, le=10_000_000)  # fmt: skip
    cdn_ms: float = number(
        0.0, "ms", "Assumed: at once, so that a download takes what the link takes; no public data",
        "from opening the app until a CDN that has the files of a network sends them", plausible=(0.0, 200.0, "at once, to a few round trips"),
        ge=0, le=600_000)  # fmt: skip
    cdn_hits: float = number(
        1.0, "share", "Assumed: a CDN has what all phones want; no public data", "sessions in which the CDN has the files; else it asks their origin",
        plausible=(0.8, 1.0, "one in five is asked for too early or too far away, to none"), ge=0, le=1)  # fmt: skip
    origin_ms: float = number(
        300.0, "ms", "Assumed: a way across a continent and back, and a disk; no public data", "how much longer that takes",
        plausible="nothing while cdn_hits is 1", ge=0, le=600_000)  # fmt: skip
    model_bytes: int = number(
        -1, "bytes", "Assumed: -1, the files of what ranks; EdgeRec ships about 3 MB, CIKM 2022 below 6 MB",
        "files that a phone downloads once per version of a network; -1: what the policy ships; 0: it comes with the app",
        plausible=(-1, 6_000_000, "what the policy ships, to the largest that was published"), ge=-1, le=1_000_000_000)  # fmt: skip


class Server(Section):
    """The cloud: what it ranks, what it knows, how long it takes."""

    page_size: int = number(6, "impressions", "Source: Kuaishou talk 2021, a request returns 6", "impressions of a page",
                            ge=1, le=100)  # fmt: skip
    candidates: int = number(20, "videos", "Assumed: KIR pool 10 to 50", "videos shipped with a page (cloud_only: page_size)",
        plausible=(10, 50, "KIR, pool 10 to 50"),
                             ge=1, le=150)  # fmt: skip
    workers: int = number(0, "workers", "Assumed: 0 means as many as keep utilisation <= .6, two or more, for each arm",
                          "requests served at once",
        plausible="servers are ample where nothing is asked about them", ge=0, le=10_000_000)  # fmt: skip
    queue_limit: int = number(1000, "requests", "Assumed: usual server setting", "waiting requests beyond which one is refused",
        plausible="servers are ample where nothing is asked about them",
                              ge=0, le=10_000_000)  # fmt: skip
    service_ms: float = number(
        600.0, "ms", "Assumed: KIR, about 1 s for the whole chain; most of it holds a worker", "mean time a worker is held",
        ge=0, le=600_000)  # fmt: skip
    service_per_candidate_ms: float = number(
        5.0, "ms", "Assumed: 20 videos take a sixth longer than none; no public data", "more per shipped video",
        ge=0, le=10_000)  # fmt: skip
    service_cv: float = number(0.3, "", "Assumed: no public data", "coefficient of variation of it (lognormal)",
        plausible=(0.1, 1.0, "much the same each time, to exponential"), ge=0, le=5)
    chain_ms: float = number(400.0, "ms", "Assumed: KIR, about 1 s with service", "the rest of the chain, no worker held",
                             ge=0, le=600_000)  # fmt: skip
    feature_lag_s: float = number(30.0, "s", "Source: KIR, feedback returns in tens of seconds", "age of the newest behaviour the cloud sees",
                                  ge=0, le=3600)  # fmt: skip
    recall: int = number(
        400, "videos", "Assumed: with what arrives, a session's videos get worse as slowly as in KuaiRand-Pure; see docs/validation.md",
        "videos looked at when a session needs some", ge=1, le=100_000)  # fmt: skip
    kept: int = number(
        160, "videos", "Assumed: a first filter keeps two fifths; no public data",
        "best of them that are stored and ranked again for every page of the session", ge=1, le=5000)  # fmt: skip
    arrivals_per_min: float = number(
        40.0, "per min", "Assumed: about 16 an impression, as recall; KuaiRand-Pure, valid plays along a session; see docs/validation.md",
        "further videos looked at while the session lasts", ge=0, le=10_000)  # fmt: skip
    arrivals_every: int = number(
        1, "impressions", "Assumed: whenever a page is asked for; larger than a page, to tell fresh features from fresh videos",
        "the cloud looks for what has come up when so many were shown since it last did",
        plausible=(1, 6, "at every request, to once in a usual page, if pages are smaller"), ge=1, le=1000)  # fmt: skip
    repeat_after_days: float = number(
        14.0, "days", "Assumed: as long as KuaiRand-Pure's log, where few videos come twice",
        "what was shown does not come back before, unless nothing else is left",
        plausible="only where a run is so long that a video could come twice", ge=0, le=1000)  # fmt: skip
    objective: Annotated[tuple[float, float, float, float, float, float, float], _spread(7)] = number(
        (1.0, 0.5, 1.0, 2.0, 1.0, 1.0, -2.0), "effective views",
        "Assumed: Kuaishou adds effective views and likes with weights it does not publish (CIKM 2022, section 5)",
        "worth of a valid play, long view, like, follow, comment, forward, hate: what the cloud ranks by",
        plausible=((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 0.5, 10.0, 20.0, 10.0, 10.0, -20.0), "valid plays alone, to feedback that weighs ten times as much"),
        ge=-1000, le=1000)  # fmt: skip
    filter_use: float = number(
        0.565, "share", "Assumed: within a measured bound, .097 to .92 by KuaiRand-Pure, reaction of the cloud by lag",
        "how much of what it has learnt of passing interests the cloud ranks by", ge=0, le=1)  # fmt: skip
    assumed_intent_sd: float = number(
        1.04, "logit", "Assumed: the cloud knows people", "interests.intent_sd as the cloud takes it to be",
        plausible=(0.0, 2.4, "a cloud that sees no passing interests, to one that sees twice the default's; what is true stays"), ge=0, le=5)  # fmt: skip
    assumed_half_life_min: float = number(
        29.4, "min", "Assumed: the cloud knows people", "interests.intent_half_life_min as the cloud takes it to be",
        plausible=(5.0, 80.0, "a quarter, to four times the default; what is true stays"),
        gt=0, le=100_000)  # fmt: skip
    pool_min: float = number(
        0.0, "min", "Assumed: the log's cloud had learnt before it began; no public data",
        "minutes after which the cloud learns anew from everybody's plays how good each video is; 0: never",
        plausible="0 leaves people apart but for servers; it is for who asks what they teach the cloud together",
        ge=0, le=100_000)  # fmt: skip
    quality_correlation: float = number(0.7, "", "Assumed: see docs/design.md", "of estimate and truth, video",
        plausible=(0.5, 0.9, "a quarter of the variance known, to four fifths"),
                                        ge=0, le=1)  # fmt: skip
    person_correlation: float = number(
        0.7, "", "Assumed: people are known about as well as videos", "of prior and truth, a person's readiness to stay",
        plausible=(0.5, 0.9, "a quarter of the variance known, to four fifths"),
        ge=0, le=1)  # fmt: skip
    embedding_correlation: float = number(
        0.9, "", "Assumed: content is well known; no public data", "of a video's embedding and its content",
        plausible=(0.7, 1.0, "half of the variance known, to all"), ge=0, le=1)  # fmt: skip
    taste_correlation: float = number(0.9, "", "Assumed: see docs/design.md", "of estimate and truth, lasting taste",
        plausible=(0.7, 0.95, "half of the variance known, to nine tenths"),
                                      ge=0, le=1)  # fmt: skip
    match_correlation: float = number(0.81, "", "Assumed: see docs/design.md", "of estimate and truth, match",
        plausible=(0.5, 0.95, "a quarter of the variance known, to nine tenths"),
                                      ge=0, le=1)  # fmt: skip
    pxtr_noise: float = number(0.3, "logit", "Assumed: no public data", "lasting error of each predicted rate of feedback, per video (discrimination)",
                               ge=0, le=5)  # fmt: skip
    pxtr_bias: float = number(0.0, "logit", "Assumed: calibrated", "shift of every predicted rate (calibration)",
        plausible=(-0.5, 0.5, "rates predicted two fifths too low, to two thirds too high"), ge=-5, le=5)
    item_bytes: int = number(1500, "bytes", "Assumed: metadata and links", "payload per shipped video",
        plausible=(300, 5_000, "identifiers alone, to much metadata"), ge=0, le=10_000_000)
    embedding_impressions: float = number(
        0.0, "impressions", "Assumed: known from the content at once; no public data",
        "of a video in the log, after which half of what an embedding can say is known: embedding_correlation squared "
        "times n / (n + these)", plausible=(0.0, 100.0, "known at once, to as slowly as ids are learnt"), ge=0, le=1e9)  # fmt: skip
    version_gap: float = number(
        0.1, "share", "Assumed: a new version daily or weekly; no public data",
        "of a video's impressions: what came after the snapshot of the embeddings that a model's version before uses",
        plausible="nothing while embedding_impressions is 0", ge=0, le=1)  # fmt: skip
    lookup_ms: float = number(
        0.0, "ms", "Assumed: within the chain; no public data", "more time of a page for a phone that ranks: its embeddings are looked up",
        plausible=(0.0, 50.0, "within the chain, to a slow store"), ge=0, le=600_000)  # fmt: skip
    lookup_misses: float = number(
        0.0, "share", "Assumed: none; no public data",
        "pages whose embeddings the server does not find in time: they come without, and in server order",
        plausible=(0.0, 0.05, "none, to one in twenty"), ge=0, le=1)  # fmt: skip
    embedding_bytes: int = number(
        640, "bytes", "Source: EdgeRec, 160 B per embedded feature; four of them", "more payload per video when the phone ranks",
        ge=0, le=10_000_000)  # fmt: skip


class Phone(Section):
    """Phones: android_low, android_mid, android_high, ios."""

    shares: Annotated[tuple[float, float, float, float], _spread(4)] = number(
        (0.24, 0.32, 0.24, 0.2), "share", "Assumed: no public mix", "people on " + ", ".join(TIERS),
        plausible=((0.5, 0.4, 0.1, 0.0), (0.0, 0.2, 0.4, 0.4), "mostly slow phones, to mostly fast ones"), ge=0)  # fmt: skip
    inference_ms: Annotated[tuple[float, float, float, float], _spread(4)] = number(
        (-1.0, -1.0, -1.0, -1.0), "ms", "Assumed: -1, by what decides",
        "mean time of a decision by tier, whatever decides; -1: the policy's share of reference_ms",
        plausible="-1 leaves it to reference_ms, and a number is for who has timed a phone", ge=-1, le=60_000)  # fmt: skip
    reference_ms: Annotated[tuple[float, float, float, float], _spread(4)] = number(
        (190.0, 115.0, 59.3, 49.4), "ms", "Source: CIKM 2022 Table 7, means 120.8 Android, 49.4 iOS; tiers Assumed",
        "mean time of a decision of the context-aware network with two beams by tier; other networks take as much longer "
        "or shorter as on one machine (`policies/phone/costs.py`), rules none", ge=0, le=60_000)  # fmt: skip
    inference_min_ms: float = number(
        20.0, "ms", "Assumed: below half the fastest mean; no public percentiles",
        "floor of inference_ms, or of reference_ms and in proportion of other networks, unless the mean is lower",
        ge=0, le=60_000)  # fmt: skip
    inference_log_sd: float = number(
        0.5, "log", "Assumed: .4 to .6 is plausible; no public percentiles", "log-sd of the time of a decision",
        ge=0, le=3)  # fmt: skip
    cold_start: float = number(
        3.0, "ratio", "Assumed: an engine prepares and tunes a graph as it is loaded (MNN, MLSys 2020); no public ratio",
        "how many times as long a network's first decision takes after the app opens, or after a new version came",
        plausible=(1.0, 20.0, "prepared in time, to seconds of tuning"), ge=1, le=1000)  # fmt: skip
    contention: Annotated[tuple[float, float, float, float], _spread(4)] = number(
        (0.2, 0.1, 0.0, 0.0), "share", "Assumed: few cores decode and decide in turn; no public data",
        "by tier, how much longer a network's decision takes beside play; and by how much of what is left of a decision "
        "a video starts later", plausible=((0.0, 0.0, 0.0, 0.0), (0.5, 0.25, 0.1, 0.1), "cores for both, to every other moment lost"),
        ge=0, le=10)  # fmt: skip
    perception_ms: float = number(
        300.0, "ms", "Source: EdgeRec Table 3, at most 300 ms; evenly spread below it Assumed",
        "longest time from the end of play until the newest behaviour is encoded; by the next end it is", ge=0, le=1000)  # fmt: skip
    no_model: float = number(
        0.05, "share", "Assumed: newly installed; no public data", "phones without a model when first opened",
        plausible=(0.0, 0.2, "nobody, to one in five"), ge=0, le=1)  # fmt: skip
    old_model: float = number(
        0.2, "share", "Assumed: rollout to phones lags (EdgeRec section 2.2); no public data",
        "phones that still hold the model's version before the current one when first opened",
        plausible=(0.0, 0.5, "nobody, to half of the phones"), ge=0, le=1)  # fmt: skip
    software_decoder: float = number(0.15, "share", "Assumed: no public data", "phones without a hardware decoder",
        plausible=(0.0, 0.4, "nobody, to two in five"), ge=0, le=1)
    hardware_start_ms: float = number(60.0, "ms", "Assumed: no public data", "start-up delay, hardware decoder", ge=0, le=10_000)
    software_start_ms: float = number(150.0, "ms", "Assumed: no public data", "start-up delay, software decoder",
                                      ge=0, le=10_000)  # fmt: skip


class Cost(NamedTuple):
    """What a policy that runs on phones costs them."""

    time: float = 0.0  # of a decision, as a share of what takes phone.reference_ms, on one machine; 0: no time, a rule
    bytes: int = 0  # of the files that a phone downloads; 0: it comes with the app


FREE = Cost()
"""Of a rule."""


class Scenario(BaseModel):
    """The whole simulated world as numbers, in sections: `scenario.server.page_size`. It cannot be changed, only copied
    with other values (`with_settings`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Catalogue = Catalogue()
    population: Population = Population()
    interests: Interests = Interests()
    watching: Watching = Watching()
    feedback: Feedback = Feedback()
    sessions: Sessions = Sessions()
    network: Network = Network()
    player: Player = Player()
    client: Client = Client()
    server: Server = Server()
    phone: Phone = Phone()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        s, c, p = self.server, self.client, self.player
        if s.page_size > s.candidates:
            raise ValueError(
                f"server.page_size={s.page_size} must be <= server.candidates={s.candidates}; "
                f"ship at least a page: server.candidates={s.page_size}"
            )
        if self.pool_slots > MAX_SLOTS:
            raise ValueError(
                f"server.candidates={s.candidates} with client.on_refill=merge needs {self.pool_slots} pool slots, "
                f"must be <= {MAX_SLOTS}; ship fewer candidates or smaller pages"
            )
        if list(p.bitrates_mbps) != sorted(p.bitrates_mbps):
            raise ValueError(f"player.bitrates_mbps={list(p.bitrates_mbps)} must ascend; sort it")
        if p.startup_s > p.buffer_s or p.rebuffer_s > p.buffer_s:
            raise ValueError(
                f"player.buffer_s={p.buffer_s} must be >= player.startup_s={p.startup_s} and player.rebuffer_s="
                f"{p.rebuffer_s}; hold at least what play needs to start"
            )
        if self.catalogue.tag_share + self.catalogue.author_share > 1:
            raise ValueError(
                f"catalogue.tag_share={self.catalogue.tag_share} must be <= 1 - catalogue.author_share="
                f"{self.catalogue.author_share}; a video's content cannot have more in common than all of it"
            )
        if s.kept < s.candidates + c.refill_at:
            raise ValueError(
                f"server.kept={s.kept} must be >= server.candidates + client.refill_at={s.candidates + c.refill_at}; "
                "store at least a page"
            )
        if 0 < s.pool_min < 0.1:
            raise ValueError(f"server.pool_min={s.pool_min} must be 0 or >= 0.1; nobody learns more often")
        if not any(s.objective):
            raise ValueError(f"server.objective={list(s.objective)} must have a weight that is not 0; rank by something")
        for name, shares in (("network.shares", self.network.shares), ("phone.shares", self.phone.shares)):
            if not 0 < sum(shares) < math.inf:
                raise ValueError(f"{name}={list(shares)} must have a positive, finite sum; give some class a share")
        if self.phone.no_model + self.phone.old_model > 1:
            raise ValueError(
                f"phone.old_model={self.phone.old_model} must be <= 1 - phone.no_model={self.phone.no_model}; no phone is "
                "both without a model and on an old one"
            )
        if any(-1 < ms < 0 for ms in self.phone.inference_ms):
            raise ValueError(
                f"phone.inference_ms={list(self.phone.inference_ms)} must be >= 0, or -1; -1 leaves it to what decides"
            )
        if c.ttl_impressions != math.inf and c.ttl_impressions != int(c.ttl_impressions):
            raise ValueError(f"client.ttl_impressions={c.ttl_impressions} must be a whole number or inf; round it")
        return self

    @property
    def pool_slots(self) -> int:
        """Room of the candidate pool, slots."""
        s, c = self.server, self.client
        return s.candidates + c.refill_at + s.page_size if c.on_refill == "merge" else s.candidates

    @property
    def behaviour_slots(self) -> int:
        """Room for behaviours the cloud does not see yet: one every two seconds (a fast skipper's pace) for as long as
        the lag and a request take."""
        return int((self.server.feature_lag_s + min(self.client.timeout_s, 60.0)) / 2.0) + 2

    def params(self) -> NDArray[np.void]:
        """The record the compiled model reads, shape (1,): one entry per field, in `PARAMS_DTYPE`'s units. Where the
        time of a decision is left open, it is that of a network that takes all of phone.reference_ms."""
        record = np.zeros(1, PARAMS_DTYPE)
        for section, name, target, scale in _CONVERSIONS:
            record[target] = _convert(getattr(getattr(self, section), name), scale)
        record["inference_us"] = np.where(record["inference_us"] < 0, record["reference_us"], record["inference_us"])
        return record

    def with_workers(self, minutes: float | None, days: float | None, ranks: bool = False) -> Self:
        """This scenario with `server.workers` resolved, if it was 0: the smallest number, two or more, whose utilisation
        is <= .6 when the load is highest, in closed form from people, window, pages, TTL and what is shipped.

        ranks: whether phones rank, and are shipped candidates for it."""
        if self.server.workers:
            return self
        workers = _enough_workers(self, minutes, days, ranks)
        return self.model_copy(update={"server": self.server.model_copy(update={"workers": workers})})


SESSION_IMPRESSIONS = 78.7  # Source: KuaiRand-27K, impressions a session
PLAY_S = 24.8  # Source: KuaiRand-27K, mean play time
SESSION_MIN = SESSION_IMPRESSIONS * PLAY_S / 60
SESSIONS_PER_DAY = 4.8  # Source: KuaiRand-27K
MOST_USED = 0.6  # Assumed: usual headroom of a service that queues
FEWEST_WORKERS = 2  # Assumed: one worker alone drowns in a burst that many would share, at the same mean load
BUSY_HOUR = 0.063 * 24  # Source: KuaiRand-Pure, the busiest hour against the mean


def _enough_workers(scenario: Scenario, minutes: float | None, days: float | None, ranks: bool) -> int:
    users, s, client = scenario.population.users, scenario.server, scenario.client
    page_s = min(PLAY_S * min(s.page_size, client.ttl_impressions), client.ttl_s)  # a page lasts
    if days is not None:
        phones_open = users * SESSIONS_PER_DAY * SESSION_MIN / 1440 * BUSY_HOUR
    else:
        window = MINUTES if minutes is None else minutes
        phones_open = users / window * SESSION_MIN * (1 - math.exp(-window / SESSION_MIN))
    shipped = (s.candidates if ranks else s.page_size) + client.refill_at
    service_s = (s.service_ms + s.service_per_candidate_ms * shipped) / 1e3
    pages_per_s = 1.0 / max(page_s, 1.0) + 0.5 / (SESSION_MIN * 60)  # a session's last is hardly ever used up
    return max(FEWEST_WORKERS, math.ceil(phones_open * pages_per_s * service_s / MOST_USED))


def _convert(value: Any, scale: float | None) -> Any:
    if isinstance(value, tuple):
        return tuple(_convert(v, scale) for v in value)
    if scale is None:
        return value
    return NEVER_US if value * scale >= NEVER_US else round(value * scale)  # round half to even


def _conversions() -> tuple[list[tuple[str, str, str, float | None]], np.dtype[np.void]]:
    """(section, field, name in the record, factor to an integer or None) per field, and the record's dtype.

    Names of fields are unique but for `shares`, which take their section's name."""
    units = {"s": ("_s", "_us", 1e6), "ms": ("_ms", "_us", 1e3), "Mbit/s": ("_mbps", "_bps", 1e6)}
    choices = {"on_refill": "merge", "decide_at": "start", "ask_at": "swipe", "expired_offline": "serve"}
    rows: list[tuple[str, str, str, float | None]] = []
    fields: list[tuple[Any, ...]] = []
    for section, info in Scenario.model_fields.items():
        model = info.annotation
        assert isinstance(model, type) and issubclass(model, Section)
        for name, field in model.model_fields.items():
            if name in ("traces", "rtt", "link_columns", "trace_seed", "kind") or name in choices:
                continue
            unit = str(said_of(field)["unit"])
            target, scale = name, None
            if unit in units:
                old, new, scale = units[unit]
                assert name.endswith(old), name
                target = name.removesuffix(old) + new
            elif unit == "impressions" and isinstance(field.default, float):
                scale = 1.0
            if name == "shares":
                target = section + "_shares"
            size = len(field.default) if isinstance(field.default, tuple) else 0
            kind = "i8" if scale is not None or isinstance(field.default, int) else "f8"
            fields.append((target, kind, (size,)) if size else (target, kind))
            rows.append((section, name, target, scale))
    assert len({f[0] for f in fields}) == len(fields), "two fields share a name"
    # Set by `sim/world.py`: choices are flags, `edge` says whether a policy ranks on the phone, `refetch_us` is
    # refetch_share of buffer_s, `period_us` is how long people keep an arm of `World.arms`.
    fields += [(name, "i8") for name in ("merge", "decide_at_start", "ask_at_swipe", "serve_expired", "edge", "quiet")]
    fields += [(name, "i8") for name in ("refetch_us", "period_us")]
    return rows, np.dtype(fields, align=True)


_CONVERSIONS, PARAMS_DTYPE = _conversions()
