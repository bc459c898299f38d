"""The context-aware reranker and its beam search as phones run them in the simulation: compiled, a person at a time.

The same network as `network.py` and the same search as `beam_search.py`, to which it is held (scores to 1e-5,
`tests/policies/parity.py`); those are trained, exported and read. Attention (b) looks only at the few candidates that a
beam has placed, and what does not change from step to step is worked out once. Called by `policies/phone/loading.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import CONTEXT, C, H, Observation
from nextone.policies.contract import Scores
from nextone.policies.networks.behaviours import EMBEDDED
from nextone.policies.networks.compiled_behaviours import (
    CANDIDATE_NUMBERS,
    DONE,
    N_RATES,
    PAST_RATES,
    embed_candidate,
    embed_past,
    numbers_of,
    scaled,
    what_was_done,
)
from nextone.policies.networks.compiled_blend import PER_RATE, chance_of
from nextone.policies.networks.compiled_layers import (
    ONE,
    exponential,
    in_threads,
    linear,
    network_kernel,
    of_linear,
    plain,
    rectify,
    rows_where,
    side_by_side,
    stacked,
    weight_of,
)
from nextone.policies.networks.compiled_recent_interest import (
    CONTENT,
    RecentWeights,
    alike,
    lean,
    recent_weights,
    what_is_told,
)
from nextone.policies.networks.recent_interest import TOLD
from nextone.sim.config import DIMS
from nextone.sim.state import Array

from .compiled_attention import CROSSING, NOTHING, PLACE, SHOWN, TAG, Asking, asking, attend
from .network import (
    COMPARED,
    COMPARED_PAST,
    CORRECTED,
    EXPERTS,
    FIRST,
    MOST_PLACES,
    SAID,
    TASKS,
    TIMES,
    WIDTH,
    ContextAware,
    Search,
    TargetAttention,
)

N_TASKS = len(TASKS)
assert EXPERTS == 3  # `foresee` writes the largest gate out
TOKEN, WATCHED = EMBEDDED + len(CANDIDATE_NUMBERS), EMBEDDED + N_RATES + len(DONE) + len(TIMES)
CROSSED_OF_CANDIDATE, CROSSED_OF_PAST = numbers_of(COMPARED), numbers_of(COMPARED_PAST)
ROW = SAID + TOKEN + len(CONTEXT)
"""What no step changes of a candidate's input to the bottom layer."""
DEAD, OF_FIRST, PER_PLACE = np.float32(-np.inf), np.float32(FIRST), np.float32(1.0 / MOST_PLACES)


class ContextAwareWeights(NamedTuple):
    """Weights of the whole network, input first; (a) attends to what was watched, (b) to what is placed."""

    tag: Array
    length: Array
    a_query: Array
    a_query_bias: Array
    a_key: Array
    a_key_bias: Array
    a_value: Array
    a_value_bias: Array
    a_key_cross: Array  # (WIDTH, CROSSED)
    a_value_cross: Array  # (CROSSED, WIDTH)
    b_query: Array
    b_query_bias: Array
    b_key: Array
    b_key_bias: Array
    b_value: Array
    b_value_bias: Array
    b_key_cross: Array
    b_value_cross: Array
    bottom: Array  # (ROW, 2 WIDTH): what no step changes
    bottom_bias: Array
    bottom_placed: Array  # (WIDTH, 2 WIDTH)
    no_bias: Array  # (2 WIDTH,) zeros
    experts: Array  # (2 WIDTH, EXPERTS WIDTH)
    experts_bias: Array
    gates: Array  # (2 WIDTH, N_TASKS EXPERTS)
    gates_bias: Array
    towers: Array  # (N_TASKS, WIDTH, WIDTH / 2)
    towers_bias: Array
    last: Array  # (N_TASKS, WIDTH / 2)
    last_bias: Array  # (N_TASKS,)
    objective: Array  # (N_RATES,)
    recent: RecentWeights  # of one sequence


class Choice(NamedTuple):
    """What stays the same in all steps of the search over P candidates; crossings change only with the place."""

    base: Array  # (P, 2 WIDTH): the bottom layer but for what is placed
    asked: Asking  # of attention (b), as key and value
    key: Array  # (P, WIDTH)
    value: Array
    ours: Array  # (CROSSING, P and padding)
    predicted: Array  # (P, CORRECTED): logits that towers correct
    settled: Array  # (P,): what the other rates are worth


class CompiledContextAware:
    """The network and its search, as a callable that takes an observation."""

    def __init__(self, network: ContextAware, search: Search) -> None:
        self.weights, self.search = context_aware_weights(network), search

    def __call__(self, observation: Observation) -> Scores:
        """`network.scores_of` the search's result, (N, P); 0 for empty slots."""
        return self.searched(observation)[0]

    def searched(self, observation: Observation) -> tuple[Scores, Scores]:
        """The scores, and the reward (N,) of each person's best list."""
        scores = np.zeros(observation.mask.shape, np.float32)
        rewards = np.zeros(len(scores), np.float32)
        in_threads(
            search_people, self.weights, *observation, scores, rewards, beams=self.search.beams,
            depth=self.search.depth, stability=np.float32(self.search.stability),
        )  # fmt: skip
        return scores, rewards


def context_aware_weights(network: ContextAware) -> ContextAwareWeights:
    """The weights of a network."""
    dense: Any = network.dense
    bottom = weight_of(dense.bottom[0])
    experts = [of_linear(expert[0]) for expert in dense.experts]
    gates = [of_linear(gate) for gate in dense.gates]
    side_by_side = [np.concatenate(arrays, -1) for pairs in (experts, gates) for arrays in zip(*pairs, strict=True)]
    last = [weight_of(tower[2])[:, 0] for tower in dense.towers]
    weights: tuple[Any, ...] = (
        plain(network.embeddings.tag.weight), plain(network.embeddings.length.weight),
        *_attention(dense.watched), *_attention(dense.placed),
        np.concatenate([bottom[:SAID], bottom[SAID + WIDTH :]]), plain(dense.bottom[0].bias),
        bottom[SAID : SAID + WIDTH].copy(), np.zeros(2 * WIDTH, np.float32),
        *side_by_side, *stacked([tower[0] for tower in dense.towers]),
        np.array(last), np.concatenate([plain(tower[2].bias) for tower in dense.towers]),
        plain(dense.blend.objective), recent_weights([dense.recent]),
    )  # fmt: skip
    return ContextAwareWeights(*weights)


def _attention(module: TargetAttention) -> tuple[Array, ...]:
    return (
        *of_linear(module.query), *of_linear(module.key), *of_linear(module.value),
        plain(module.key_cross.weight), weight_of(module.value_cross),
    )  # fmt: skip


@network_kernel
def search_people(w, candidates, history, context, mask, scores, rewards, beams, depth, stability):
    """Observations of N people to scores (N, P): what each candidate is worth alone, plus FIRST for the first of the
    best list; rewards (N,): of those lists."""
    live, past = np.empty(mask.shape[1], np.int64), np.empty(history.shape[1], np.int64)
    for i in range(len(scores)):
        slots, watched = rows_where(mask[i], live), rows_where(history[i, :, H.present], past)
        if slots == 0:
            continue
        rows, ours = np.empty((slots, ROW), np.float32), np.zeros((slots, CROSSING), np.float32)
        for m in range(slots):
            candidate_token(w, candidates[i, live[m]], context[i], rows[m], ours[m])
        seen, theirs = np.empty((watched, WATCHED), np.float32), np.empty((watched, CROSSING), np.float32)
        told = np.empty((watched, TOLD), np.float32)
        for m in range(watched):
            watched_token(w, history[i, past[m]], seen[m], theirs[m], told[m])
        choice = prepared(w, rows, ours, seen, theirs, told)
        alone, first, rewards[i] = best_list(w, choice, beams, depth, stability)
        for m in range(slots):
            scores[i, live[m]] = alone[m]
        scores[i, live[first]] += OF_FIRST


@network_kernel
def candidate_token(w, row, context, out, ours):
    """A candidate (Fc,): its token and the context, into out (ROW,); and what is crossed, (CROSSING,)."""
    embed_candidate(row, w.tag, w.length, out[SAID:])
    scaled(row, CANDIDATE_NUMBERS, out[SAID + EMBEDDED :])
    for k in range(len(context)):
        out[SAID + TOKEN + k] = context[k]
    scaled(row, CROSSED_OF_CANDIDATE, ours)
    ours[TAG], ours[TAG + 1] = row[C.tag], row[C.tag2]
    for d in range(DIMS):
        ours[SHOWN + d] = out[SAID + CONTENT + d]


@network_kernel
def watched_token(w, row, seen, theirs, told):
    """A past impression (Fh,): key and value features (WATCHED,); what is crossed, (CROSSING,); and what recent
    interest is told (TOLD,)."""
    embed_past(row, w.tag, w.length, seen)
    scaled(row, PAST_RATES, seen[EMBEDDED:])
    what_was_done(row, seen[EMBEDDED + N_RATES :])
    for k in range(len(TIMES)):
        seen[EMBEDDED + N_RATES + len(DONE) + k] = row[TIMES[k]]
    scaled(row, CROSSED_OF_PAST, theirs)
    theirs[TAG], theirs[TAG + 1] = row[H.tag], row[H.tag2]
    for d in range(DIMS):
        theirs[SHOWN + d] = seen[CONTENT + d]
    what_is_told(row, told)


@network_kernel
def prepared(w, rows, ours, seen, theirs, told):
    """`Choice`: what stays the same in all steps of the search. rows (P, ROW): their first columns are filled in."""
    slots = len(rows)
    token = np.empty((slots, TOKEN), np.float32)
    for m in range(slots):
        for k in range(TOKEN):
            token[m, k] = rows[m, SAID + k]
    query, key, value, said = (
        np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH), np.float32),
        np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH), np.float32),
    )  # fmt: skip
    watched_key, watched_value = np.empty((len(seen), WIDTH), np.float32), np.empty((len(seen), WIDTH), np.float32)
    linear(token, w.a_query, w.a_query_bias, query)
    linear(seen, w.a_key, w.a_key_bias, watched_key)
    linear(seen, w.a_value, w.a_value_bias, watched_value)
    columns = side_by_side(ours, ONE)
    attend(asking(query, w.a_key_cross), columns, watched_key, watched_value, w.a_value_cross, theirs, said)
    leaning = lean(w.recent, 0, told, seen)
    predicted, settled = np.empty((slots, CORRECTED), np.float32), np.zeros(slots, np.float32)
    for m in range(slots):
        for d in range(WIDTH):
            rows[m, d] = said[m, d]
        alike(leaning, token[m], rows[m, WIDTH:])
        for k in range(N_RATES):
            logit = PER_RATE * token[m, EMBEDDED + k]
            if k < CORRECTED:
                predicted[m, k] = logit
            else:
                settled[m] += w.objective[k] * chance_of(logit)
    base = np.empty((slots, 2 * WIDTH), np.float32)
    linear(rows, w.bottom, w.bottom_bias, base)
    linear(token, w.b_query, w.b_query_bias, query)
    linear(token, w.b_key, w.b_key_bias, key)
    linear(token, w.b_value, w.b_value_bias, value)
    return Choice(base, asking(query, w.b_key_cross), key, value, columns, predicted, settled)


@network_kernel
def foresee(w, choice, placed, reward, has_next):
    """MMoE and towers: reward and has_next (P,), from `Choice` and from what attention (b) says of the placed ones, (P,
    WIDTH)."""
    slots = len(placed)
    shared, experts = np.empty((slots, 2 * WIDTH), np.float32), np.empty((slots, EXPERTS * WIDTH), np.float32)
    gates = np.empty((slots, N_TASKS * EXPERTS), np.float32)
    linear(placed, w.bottom_placed, w.no_bias, shared)
    for m in range(slots):
        for d in range(2 * WIDTH):
            shared[m, d] += choice.base[m, d]
    rectify(shared)
    linear(shared, w.experts, w.experts_bias, experts)
    rectify(experts)
    linear(shared, w.gates, w.gates_bias, gates)
    mixed, inner = np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH // 2), np.float32)
    reward[:] = choice.settled
    for task in range(N_TASKS):
        for m in range(slots):
            gate = gates[m, task * EXPERTS : (task + 1) * EXPERTS]
            most, total = max(gate[0], gate[1], gate[2]), NOTHING
            for k in range(EXPERTS):
                gate[k] = exponential(gate[k] - most)
                total += gate[k]
            for d in range(WIDTH):
                mixed[m, d] = NOTHING
            for k in range(EXPERTS):
                share = gate[k] / total
                for d in range(WIDTH):
                    mixed[m, d] += share * experts[m, k * WIDTH + d]
        linear(mixed, w.towers[task], w.towers_bias[task], inner)
        rectify(inner)
        for m in range(slots):
            logit = w.last_bias[task]
            for d in range(WIDTH // 2):
                logit += inner[m, d] * w.last[task, d]
            if task == CORRECTED:
                has_next[m] = chance_of(logit)
            else:
                reward[m] += w.objective[task] * chance_of(choice.predicted[m, task] + logit)


@network_kernel
def best_list(w, choice, beams, depth, stability):
    """`beam_search.adaptive_beam_search` for one person: the reward (P,) of each candidate as the first entry, the
    first entry of the best list, and that list's reward."""
    slots = len(choice.base)
    depth = min(depth, slots)
    lists, taken = np.zeros((beams, depth), np.int64), np.zeros((beams, slots), np.bool_)
    lists_after, taken_after = np.zeros_like(lists), np.zeros_like(taken)
    total, survival = np.full(beams, DEAD), np.ones(beams, np.float32)
    total_after, survival_after = np.empty_like(total), np.empty_like(survival)
    reward, has_next = np.empty((beams, slots), np.float32), np.empty((beams, slots), np.float32)
    placed, alone = np.zeros((slots, WIDTH), np.float32), np.empty(slots, np.float32)
    total[0] = NOTHING
    for step in range(depth):
        for beam in range(beams):
            if total[beam] > DEAD:
                if step > 0:
                    look_back(w, choice, lists[beam], step, placed)
                foresee(w, choice, placed, reward[beam], has_next[beam])
        if step == 0:
            alone[:] = reward[0]
        for beam in range(beams):
            parent, slot, best = 0, 0, DEAD
            for b in range(beams):
                for m in range(slots):
                    if total[b] > DEAD and not taken[b, m]:
                        worth = total[b] + survival[b] * reward[b, m]
                        if worth > best:
                            parent, slot, best = b, m, worth
            total_after[beam] = best
            if best > DEAD:
                for k in range(step):
                    lists_after[beam, k] = lists[parent, k]
                lists_after[beam, step] = slot
                survival_after[beam] = survival[parent] * has_next[parent, slot]
                for m in range(slots):
                    taken_after[beam, m] = taken[parent, m]
                taken_after[beam, slot] = True
                reward[parent, slot] = DEAD  # no list twice
        lists, lists_after, taken, taken_after = lists_after, lists, taken_after, taken
        total, total_after, survival, survival_after = total_after, total, survival_after, survival
        lowest = total[0]
        for beam in range(1, beams):
            lowest = min(lowest, total[beam]) if total[beam] > DEAD else lowest
        if step + 1 == depth or total[0] <= NOTHING or lowest >= stability * total[0]:
            return alone, lists[0, 0], total[0]
    return alone, 0, NOTHING


@network_kernel
def look_back(w, choice, entries, step, placed):
    """Attention (b): every candidate, taken as entry number `step`, attends to the entries before it."""
    of_key, of_value = np.empty((step, WIDTH), np.float32), np.empty((step, WIDTH), np.float32)
    theirs = np.empty((step, CROSSING), np.float32)
    for k in range(step):
        for d in range(WIDTH):
            of_key[k, d], of_value[k, d] = choice.key[entries[k], d], choice.value[entries[k], d]
        for d in range(CROSSING):
            theirs[k, d] = choice.ours[d, entries[k]]
        theirs[k, PLACE] = PER_PLACE * np.float32(k)
    choice.ours[PLACE] = PER_PLACE * np.float32(step)
    attend(choice.asked, choice.ours, of_key, of_value, w.b_value_cross, theirs, placed)
