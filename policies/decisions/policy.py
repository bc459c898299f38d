"""Decision rules as a policy: of the rules that hold, the one with the highest priority decides.

A rule may rerank by another policy, ask the cloud for a page, bring forward what is on the phone, or hold still: then
the order goes on that there was. It does so only within its caps and the session's budget. If no rule decides, the
phone holds still. Called by `policies/by_name.py`; `nextone rules check` reads the tally.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import MOST_MIN, H, Observation, X
from nextone.policies.contract import Policy, Scores, cost_of, options_of
from nextone.policies.rules import hash_columns, starts_at_once
from nextone.sim.config import FEEDBACK, Cost
from nextone.sim.state import PXTR

from .features import Array, Counted, Seen, columns, hour, servers_first, session_impressions, session_minutes
from .rule_file import Rule, RuleFile

LASTING = [
    getattr(H, name)
    for name in ("watch_ratio", "play_time", "position", "duration", "tag", "tag2", *FEEDBACK, *PXTR)
]  # fmt: skip
"""Columns of a past impression by which it is recognised: they never change."""
SAME_OPEN_S = 1.0  # sessions that began within so much of each other are one; times are known to a quarter of a second
DAY_S = 86_400.0


class Memory(NamedTuple):
    """What phones of N people keep. R: rules, the highest priority first."""

    marks: Array  # (N, 2) uint64: by which the two newest past impressions are recognised; 0: none yet
    opened_s: Array  # (N,) time of day at which the session began; NaN: none yet
    impressions: Array  # (N,) int64: of the session at the last decision
    since_rerank: Array  # (N,) int64: impressions
    since_ask: Array  # (N,) int64: impressions
    fired: Array  # (N, R) int32: times in this session
    fired_at: Array  # (N, R) int32: impression of the session at which it last fired
    fired_s: Array  # (N, R) float64: and when, s since the session began
    rankers: tuple[Any, ...]  # what the policies remember that rank


class Tally(NamedTuple):
    """How often, over all decisions so far. R: rules, the highest priority first."""

    decisions: Array  # (1,) int64
    held: Array  # (R,) int64: its condition held, and its sequence had ended
    could: Array  # (R,) int64: and nothing else stood in its way: caps, budget, a request under way
    fired: Array  # (R,) int64: and no rule of higher priority decided
    outranked: Array  # (R, R) int64: rule r could, and rule s decided


class RulesPolicy:
    """A file of rules as a Policy (`policies/contract.py`). policies: those that the file names, by name."""

    def __init__(self, file: RuleFile, name: str, policies: Mapping[str, Policy]) -> None:
        self.file, self.__name__, self.policies = file, name, dict(policies)
        costs = [cost_of(policy) for policy in policies.values()]
        self.cost = Cost(max((cost.time for cost in costs), default=0.0), sum(cost.bytes for cost in costs))
        self.places = {each: k for k, each in enumerate(policies)}
        self.in_places = {each: options_of(policy).in_place for each, policy in policies.items()}
        self.asks = any(rule.action == "ask" for rule in file.rules)
        count = len(file.rules)
        held, could, fired = np.zeros((3, count), np.int64)
        self.tally = Tally(np.zeros(1, np.int64), held, could, fired, np.zeros((count, count), np.int64))

    def start(self, n: int) -> Memory:
        """Memory of n people before their first decision."""
        count = len(self.file.rules)
        return Memory(
            np.zeros((n, 2), np.uint64), np.full(n, np.nan), np.zeros(n, np.int64), np.zeros(n, np.int64),
            np.zeros(n, np.int64), np.zeros((n, count), np.int32), np.zeros((n, count), np.int32),
            np.zeros((n, count)), tuple(policy.start(n) for policy in self.policies.values()),
        )  # fmt: skip

    def __call__(self, observation: Observation, memory: tuple[Any, ...]) -> tuple[Scores, Memory]:
        """The memory given changes."""
        now = Memory._make(memory)
        return self.in_place(observation, now, np.arange(len(now.opened_s))), now

    def in_place(self, observation: Observation, memory: Memory, rows: Array) -> Scores:
        """See `contract.Options`."""
        new, second = notice(observation, memory, rows)
        model = self._asked(self.file.model, observation, memory, rows) if self.file.model else None
        decides = self._decide(observation, memory, rows, new, second, model)
        scores = np.full((len(rows), observation.mask.shape[1] + self.asks), -np.inf, np.float32)  # hold still
        impression = session_impressions(observation)
        for r, rule in enumerate(self.file.rules):
            who = np.flatnonzero(decides == r)
            if not len(who):
                continue
            memory.fired[rows[who], r] += 1
            memory.fired_at[rows[who], r], memory.fired_s[rows[who], r] = impression[who], second[who]
            if rule.action == "ask":
                scores[who, -1] = 1.0
                memory.since_ask[rows[who]] = 0
            elif rule.action != "hold":
                known = None if model is None or rule.by != self.file.model else model[who]
                ranked = self._ranked(rule, observation, memory, rows, who) if known is None else known
                scores[who, : observation.mask.shape[1]] = ranked
                memory.since_rerank[rows[who]] = 0
        return scores

    def _decide(
        self, observation: Observation, memory: Memory, rows: Array, new: Array, second: Array, model: Array | None
    ) -> Array:
        """Which rule decides for each person, (n,); -1: none does."""
        rules, n = self.file.rules, len(rows)
        fired = memory.fired[rows]
        values = columns(Seen(observation, self._counted(memory, rows, new, fired), model), self.file.names)
        impression, may_ask = session_impressions(observation), observation.context[:, X.may_ask] > 0
        budget = self.file.interruptions_per_session
        used = _times(fired, [r for r, rule in enumerate(rules) if rule.action != "hold"])
        spent = np.zeros(n, np.bool_) if budget is None else used >= budget
        decides = np.full(n, -1)
        self.tally.decisions[0] += n
        for r, rule in enumerate(rules):
            holds = rule.condition.holds(values, n)
            if rule.sequence is not None:
                holds &= rule.sequence.ends(observation.history, new)
            could = holds & _within_caps(
                rule, fired[:, r], impression - memory.fired_at[rows, r], second - memory.fired_s[rows, r]
            )
            if rule.action != "hold":
                could &= ~spent
            if rule.action == "ask":
                could &= may_ask
            self.tally.held[r] += holds.sum()
            self.tally.could[r] += could.sum()
            self.tally.fired[r] += (could & (decides < 0)).sum()
            for s in range(r):
                self.tally.outranked[r, s] += (could & (decides == s)).sum()
            decides[could & (decides < 0)] = r
        return decides

    def _counted(self, memory: Memory, rows: Array, new: Array, fired: Array) -> Counted:
        rules = self.file.rules
        reranks = [r for r, rule in enumerate(rules) if rule.action in ("rerank", "swap")]
        asks = [r for r, rule in enumerate(rules) if rule.action == "ask"]
        times = _times(fired, reranks), _times(fired, asks)
        return Counted(new, memory.since_rerank[rows], memory.since_ask[rows], *times)

    def _ranked(self, rule: Rule, observation: Observation, memory: Memory, rows: Array, who: Array) -> Array:
        """Scores (len(who), P) of the people at the places `who`."""
        some = observation if len(who) == len(rows) else Observation._make(array[who] for array in observation)
        if rule.action == "rerank":
            return self._asked(rule.by, some, memory, rows[who])
        held = starts_at_once(some.candidates) & some.mask  # swap: the rest stays in the server's order
        first = servers_first(some._replace(mask=held))
        scores = np.zeros(held.shape, np.float32)
        scores[np.arange(len(who)), first] = held.any(1)
        return scores

    def _asked(self, name: str, observation: Observation, memory: Memory, rows: Array) -> Array:
        policy, kept, in_place = self.policies[name], memory.rankers[self.places[name]], self.in_places[name]
        if in_place is not None:
            return in_place(observation, kept, rows)
        assert kept is None, "of the policies that a file may name, those with a memory change it in place"
        return policy(observation, None)[0]


def notice(observation: Observation, memory: Memory, rows: Array) -> tuple[Array, Array]:
    """Bring the memory up to now: how many past impressions are new (n,), and the seconds since the app was opened
    (n,). A session that has just begun has fired nothing yet."""
    history = observation.history
    present = history[..., H.present] > 0
    count, marks = present.sum(1), np.where(present, hash_columns(history[..., LASTING]) | np.uint64(1), np.uint64(0))
    before = memory.marks[rows]
    older = np.concatenate([marks[:, 1:], np.zeros((len(rows), 1), np.uint64)], 1)
    last = np.arange(marks.shape[1]) + 1 == count[:, None]  # nothing older is in sight: the first of the two decides
    known = present & (marks == before[:, :1]) & ((older == before[:, 1:]) | last)
    new = np.where(known.any(1), known.argmax(1), count)
    memory.marks[rows, 0], memory.marks[rows, 1] = marks[:, 0], older[:, 0]
    memory.since_rerank[rows] += new
    memory.since_ask[rows] += new

    second, impressions = session_minutes(observation) * 60.0, session_impressions(observation)
    opened_s = (hour(observation) * 3600.0 - second) % DAY_S
    apart = np.abs(opened_s - memory.opened_s[rows])
    same = (np.minimum(apart, DAY_S - apart) <= SAME_OPEN_S) | (second >= 60.0 * MOST_MIN * (1.0 - 1e-5))
    fresh = rows[~same | (impressions < memory.impressions[rows])]
    memory.fired[fresh] = 0
    memory.opened_s[rows] = np.where(same & ~np.isnan(memory.opened_s[rows]), memory.opened_s[rows], opened_s)
    memory.impressions[rows] = impressions
    return new, second


def _times(fired: Array, which: list[int]) -> Array:
    """How often these rules fired, (n,) int64."""
    return np.asarray(fired[:, which].sum(1), np.int64)


def _within_caps(rule: Rule, fired: Array, impressions: Array, seconds: Array) -> Array:
    """Whether a rule may fire once more: it fired so often, and last so long ago, in this session."""
    free = np.ones(len(fired), np.bool_)
    if rule.most_per_session is not None:
        free &= fired < rule.most_per_session
    if rule.not_within_impressions is not None:
        free &= (fired == 0) | (impressions >= rule.not_within_impressions)
    if rule.not_within_s is not None:
        free &= (fired == 0) | (seconds >= rule.not_within_s)
    return free
