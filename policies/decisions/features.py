"""What conditions of decision rules may name: one table of features, each computed for N people at once.

They are what `envs/features.py` lets a policy see, in the units in which people write rules, and what the rules
themselves have done so far. Phone and `nextone rules check` use the same functions. Called by `policy.py`.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextone.envs.features import (
    COUNTS,
    LOGIT_SCALE,
    MOST_IMPRESSIONS,
    MOST_MBPS,
    MOST_MIN,
    MOST_PAGES,
    MOST_RATIO,
    MOST_S,
    C,
    H,
    Observation,
    X,
    unscaled,
)
from nextone.policies.rules import hash_columns, mixed, starts_at_once
from nextone.sim.config import FEEDBACK, TIERS

Array = NDArray[Any]
Kind = Literal["bool", "int", "double"]
"""CEL's types of which there are features."""

RECENT = 10  # past impressions that "recent" features look at
EVENTS = ("skip", "valid_play", "long_view", "completion", *FEEDBACK)
"""What a past impression may have been or brought, by the names of `features.HISTORY`."""
REACTION = "feedback"
"""Any of FEEDBACK."""


class Counted(NamedTuple):
    """What the rules remember of N people."""

    new: Array  # (N,) int: impressions that ended since the last decision
    since_rerank: Array  # (N,) int: impressions since the rules last ranked anew
    since_ask: Array  # (N,) int: impressions since they last asked
    reranks: Array  # (N,) int: in this session
    asks: Array  # (N,) int: in this session


class Seen(NamedTuple):
    """What N phones know at a decision. model: (N, P) scores of the file's model, None if it names none."""

    observation: Observation
    counted: Counted
    model: Array | None


class Feature(NamedTuple):
    """A name that conditions may use."""

    name: str
    kind: Kind
    unit: str
    low: float
    high: float
    meaning: str
    of: Callable[[Seen], Array]  # (N,) bool, int64 or float64


# -- from scaled columns back to units --------------------------------------------------------------------------------


def _count(column: int, most: float = COUNTS) -> Callable[[Seen], Array]:
    return lambda seen: np.rint(unscaled(seen.observation.context[:, column], most)).astype(np.int64)


def _amount(column: int, most: float) -> Callable[[Seen], Array]:
    return lambda seen: unscaled(seen.observation.context[:, column], most)


def _flag(column: int) -> Callable[[Seen], Array]:
    return lambda seen: seen.observation.context[:, column] > 0


def _chance(column: Array) -> Array:
    """The probability behind a column of logits."""
    chance: Array = 1.0 / (1.0 + np.exp(-LOGIT_SCALE * column.astype(np.float64)))
    return chance


def hour(observation: Observation) -> Array:
    """The hour of day, in [0, 24), to some milliseconds."""
    angle = np.arctan2(observation.context[:, X.hour_sin].astype(np.float64), observation.context[:, X.hour_cos])
    hours: Array = angle / (2.0 * np.pi) * 24.0 % 24.0 % 24.0  # what rounds up to 24 is 0
    return hours


def session_minutes(observation: Observation) -> Array:
    """Minutes since the app was opened, at most MOST_MIN."""
    return unscaled(observation.context[:, X.session_minutes], MOST_MIN)


def session_impressions(observation: Observation) -> Array:
    """Impressions in this session so far, at most MOST_IMPRESSIONS."""
    return np.rint(unscaled(observation.context[:, X.session_impressions], MOST_IMPRESSIONS)).astype(np.int64)


# -- past impressions -------------------------------------------------------------------------------------------------


def events(history: Array, event: str) -> Array:
    """Which past impressions, (N, H) bool, were or brought that event: one of EVENTS, or REACTION for any feedback."""
    if event == REACTION:
        return np.asarray((history[..., H.like : H.like + len(FEEDBACK)] > 0).any(-1))
    return np.asarray(history[..., getattr(H, event)] > 0)


def _since_decision(event: str) -> Callable[[Seen], Array]:
    def of(seen: Seen) -> Array:
        rows = np.arange(seen.observation.history.shape[1]) < seen.counted.new[:, None]
        return np.asarray((rows & events(seen.observation.history, event)).any(1))

    return of


def _recent(column: Callable[[Array], Array]) -> Callable[[Seen], Array]:
    """The mean of `column(history)` (N, H) over the last RECENT past impressions; 0 without any."""

    def of(seen: Seen) -> Array:
        history = seen.observation.history[:, :RECENT]
        there = history[..., H.present] > 0
        mean: Array = _sum(np.where(there, column(history), 0.0)) / np.maximum(there.sum(1), 1)
        return mean

    return of


def _sum(rows: Array) -> Array:
    """Sums of rows (N, K), column after column: the same bits whoever else is asked."""
    total = np.zeros(len(rows))
    for k in range(rows.shape[1]):
        total += rows[:, k]
    return total


def _skips_in_a_row(seen: Seen) -> Array:
    skipped = events(seen.observation.history, "skip")
    return np.asarray(np.logical_and.accumulate(skipped, axis=1).sum(1), np.int64)


# -- candidates -------------------------------------------------------------------------------------------------------


def server_places(observation: Observation) -> Array:
    """(N, P), the lowest what the server would show first: the oldest page, then its rank."""
    page, rank = observation.candidates[..., C.page_age], observation.candidates[..., C.rank]
    return np.asarray(rank - 2.0 * MOST_PAGES * page)  # one request more is 2, a rank 1 at most


def servers_first(observation: Observation) -> Array:
    """The slot (N,) of the candidate that the server would show next."""
    return np.asarray(np.where(observation.mask, server_places(observation), np.inf).argmin(1))


def _of_next(seen: Seen, values: Array) -> Array:
    """values (N, P) of the candidate that the server would show next."""
    next_of_server: Array = values[np.arange(len(values)), servers_first(seen.observation)]
    return next_of_server


def _next_cached(seen: Seen) -> Array:
    return _of_next(seen, starts_at_once(seen.observation.candidates) & seen.observation.mask)


def _cached(seen: Seen) -> Array:
    held = starts_at_once(seen.observation.candidates) & seen.observation.mask
    return np.asarray(held.sum(1), np.int64)


def _best_evtr(seen: Seen) -> Array:
    chances = np.where(seen.observation.mask, _chance(seen.observation.candidates[..., C.pevtr]), 0.0)
    best: Array = chances.max(1)
    return best


def _mean_evtr(seen: Seen) -> Array:
    mask = seen.observation.mask
    chances = np.where(mask, _chance(seen.observation.candidates[..., C.pevtr]), 0.0)
    return np.asarray(_sum(chances) / np.maximum(mask.sum(1), 1))


def _random(seen: Seen) -> Array:
    who_and_when = hash_columns(seen.observation.context[:, : X.session_impressions + 1])
    return np.asarray((mixed(who_and_when) >> np.uint64(11)).astype(np.float64) / 2.0**53)


# -- the file's model -------------------------------------------------------------------------------------------------


def _scores(seen: Seen) -> Array:
    assert seen.model is not None, "only a file with a model may name what is of the model"
    return np.where(seen.observation.mask, seen.model.astype(np.float64), -np.inf)


def _model_gain(seen: Seen) -> Array:
    scores = _scores(seen)
    best = scores.max(1)
    gain: Array = np.where(np.isfinite(best), best - _of_next(seen, scores), 0.0)
    return gain


def _model_disagreement(seen: Seen) -> Array:
    """Kendall's distance, ties of scores counting as agreement: pairs in opposite order / pairs."""
    observation = seen.observation
    there, place = observation.mask, server_places(observation)
    scores = np.where(there, _scores(seen), 0.0)
    first, second = np.triu_indices(there.shape[1], 1)
    later, better = place[:, first] - place[:, second], scores[:, first] - scores[:, second]
    opposite = (there[:, first] & there[:, second] & (later * better > 0)).sum(1)
    live = there.sum(1)
    return np.asarray(opposite / np.maximum(live * (live - 1) // 2, 1))


# -- the table --------------------------------------------------------------------------------------------------------

_PAST_WORDS = {
    "skip": "was left within 2 s", "valid_play": "played 7 s or to the end", "long_view": "played 18 s or to the end",
    "completion": "played .95 of its length", REACTION: "brought any feedback",
}  # fmt: skip

FEATURES = (
    Feature("session_impressions", "int", "impressions", 0, MOST_IMPRESSIONS, "in this session so far",
            lambda seen: session_impressions(seen.observation)),
    Feature("session_minutes", "double", "min", 0, MOST_MIN, "since the app was opened",
            lambda seen: session_minutes(seen.observation)),
    Feature("hour", "double", "h", 0, 24, "hour of day", lambda seen: hour(seen.observation)),
    Feature("left", "int", "impressions", 0, COUNTS, "of the page still to come", _count(X.left)),
    Feature("candidates", "int", "videos", 0, COUNTS, "on the phone to choose from", _count(X.live)),
    Feature("cached", "int", "videos", 0, COUNTS, "candidates that would start without waiting", _cached),
    Feature("next_cached", "bool", "", 0, 1, "the server's next candidate would start without waiting", _next_cached),
    Feature("best_evtr", "double", "share", 0, 1, "the highest chance of an effective view that the server predicts "
            "for a candidate", _best_evtr),
    Feature("mean_evtr", "double", "share", 0, 1, "the mean of these chances over the candidates", _mean_evtr),
    Feature("shown_evtr", "double", "share", 0, 1, f"the mean of these chances over the last {RECENT} past impressions",
            _recent(lambda history: _chance(history[..., H.pevtr]))),
    Feature("offline", "bool", "", 0, 1, "the phone is in a spell without network", _flag(X.offline)),
    Feature("cellular", "bool", "", 0, 1, "on a cellular link; otherwise WiFi", _flag(X.cellular)),
    Feature("mbps", "double", "Mbit/s", 0, MOST_MBPS, "measured, running mean; 0: unknown",
            _amount(X.throughput, MOST_MBPS)),
    Feature("requested", "bool", "", 0, 1, "a request for a page is under way", _flag(X.requested)),
    Feature("page_waits", "bool", "", 0, 1, "a page waits beside the pool", _flag(X.page_waits)),
    Feature("may_ask", "bool", "", 0, 1, "a page may be asked for", _flag(X.may_ask)),
    *(Feature(f"tier_{tier}", "bool", "", 0, 1, f"phone: {tier.replace('_', ' ')}", _flag(X.tier_android_low + k))
      for k, tier in enumerate(TIERS)),
    *(Feature(event, "bool", "", 0, 1, "an impression that ended since the last decision "
              + _PAST_WORDS.get(event, f"brought feedback: {event}"), _since_decision(event))
      for event in (*EVENTS, REACTION)),
    Feature("play_s", "double", "s", 0, MOST_S, "play time of the newest past impression",
            lambda seen: unscaled(seen.observation.history[:, 0, H.play_time], MOST_S)),
    Feature("watch_ratio", "double", "ratio", 0, MOST_RATIO, "its play time / its duration",
            lambda seen: seen.observation.history[:, 0, H.watch_ratio].astype(np.float64) * MOST_RATIO),
    Feature("skips_in_a_row", "int", "impressions", 0, COUNTS, "the newest past impressions that were all left within "
            "2 s", _skips_in_a_row),
    Feature("skip_share", "double", "share", 0, 1, f"of the last {RECENT} past impressions, left within 2 s",
            _recent(lambda history: history[..., H.skip])),
    Feature("valid_play_share", "double", "share", 0, 1, f"of the last {RECENT}, played 7 s or to the end",
            _recent(lambda history: history[..., H.valid_play])),
    Feature("mean_play_s", "double", "s", 0, MOST_S, f"mean play time of the last {RECENT}",
            _recent(lambda history: unscaled(history[..., H.play_time], MOST_S))),
    Feature("impressions_since_rerank", "int", "impressions", 0, 2**31, "since a rule last reranked or swapped; at "
            "first, since the first decision", lambda seen: seen.counted.since_rerank),
    Feature("impressions_since_ask", "int", "impressions", 0, 2**31, "since a rule last asked for a page; at first, "
            "since the first decision", lambda seen: seen.counted.since_ask),
    Feature("session_reranks", "int", "count", 0, 2**31, "times a rule reranked or swapped in this session",
            lambda seen: seen.counted.reranks),
    Feature("session_asks", "int", "count", 0, 2**31, "times a rule asked for a page in this session",
            lambda seen: seen.counted.asks),
    Feature("random", "double", "share", 0, 1, "a number drawn for this person and impression, all equally likely",
            _random),
)  # fmt: skip
"""What every file may name."""

MODEL_FEATURES = (
    Feature("model_disagreement", "double", "share", 0, 1, "pairs of candidates that the file's model and the server "
            "put in opposite orders", _model_disagreement),
    Feature("model_gain", "double", "of the model", 0, 1e12, "the model's score for its best candidate, above its "
            "score for the server's next one", _model_gain),
)  # fmt: skip
"""What a file with a `model` may name, too."""


def columns(seen: Seen, names: Iterable[str]) -> dict[str, Array]:
    """The named features of N people, each (N,)."""
    return {feature.name: feature.of(seen) for feature in (*FEATURES, *MODEL_FEATURES) if feature.name in names}


def features_markdown() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| name | type | unit | range | meaning |", "|---|---|---|---|---|"]
    for each in (*FEATURES, *MODEL_FEATURES):
        reach = "" if each.kind == "bool" else f"{each.low:g} to {each.high:g}" if each.high < 2**31 else "0 and more"
        lines.append(f"| `{each.name}` | {each.kind} | {each.unit} | {reach} | {each.meaning} |")
    return "\n".join(lines) + "\n"
