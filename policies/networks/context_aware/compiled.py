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
    stacked,
    weight_of,
)
from nextone.sim.state import Array

from .network import (
    ATTENTION_HEADS,
    COMPARED,
    COMPARED_PAST,
    CROSSED,
    DIFFERENCES,
    EXPERTS,
    FIRST,
    MOST_PLACES,
    PAIR,
    TASKS,
    TIMES,
    WIDTH,
    WORTH,
    ContextAware,
    Search,
    TargetAttention,
)

HEAD, N_TASKS = WIDTH // ATTENTION_HEADS, len(TASKS)
assert EXPERTS == 3  # `foresee` writes the largest gate out
TOKEN, WATCHED = EMBEDDED + len(CANDIDATE_NUMBERS), EMBEDDED + N_RATES + len(DONE) + len(TIMES)
PLACE = DIFFERENCES - 1  # column of the place among what is crossed
PER_PLACE, SOFTER = np.float32(1.0 / MOST_PLACES), np.float32(HEAD**-0.5)
OF_VIEW, OF_LIKE = np.float32(WORTH[0]), np.float32(WORTH[1])
CROSSED_OF_CANDIDATE, CROSSED_OF_PAST = numbers_of(COMPARED), numbers_of(COMPARED_PAST)
CROSSING = DIFFERENCES + 2  # and two tags
TOLD = WIDTH + TOKEN + len(CONTEXT)
DEAD = np.float32(-np.inf)
NOTHING, OF_PAIR, OF_FIRST = np.float32(0.0), np.float32(PAIR), np.float32(FIRST)


class ContextAwareWeights(NamedTuple):
    """Of the whole network, input first; (a) attends to what was watched, (b) to what is placed."""

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
    bottom: Array  # (watched, token, context; 2 WIDTH): what no step changes
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


class CompiledContextAware:
    """The network and its search, called with an observation."""

    def __init__(self, network: ContextAware, search: Search) -> None:
        self.weights, self.search = context_aware_weights(network), search

    def __call__(self, observation: Observation) -> Scores:
        """`network.scores_of` the search's result, (N, P); 0 for empty slots."""
        return self.searched(observation)[0]

    def searched(self, observation: Observation) -> tuple[Scores, Scores]:
        """The same, and the reward (N,) of each person's best list."""
        scores = np.zeros(observation.mask.shape, np.float32)
        rewards = np.zeros(len(scores), np.float32)
        in_threads(
            search_people, self.weights, *observation, scores, rewards, beams=self.search.beams,
            depth=self.search.depth, stability=np.float32(self.search.stability),
        )  # fmt: skip
        return scores, rewards


def context_aware_weights(network: ContextAware) -> ContextAwareWeights:
    """Of a network."""
    dense: Any = network.dense
    bottom = weight_of(dense.bottom[0])
    experts = [of_linear(expert[0]) for expert in dense.experts]
    gates = [of_linear(gate) for gate in dense.gates]
    side_by_side = [np.concatenate(arrays, -1) for pairs in (experts, gates) for arrays in zip(*pairs, strict=True)]
    last = [weight_of(tower[2])[:, 0] for tower in dense.towers]
    weights: tuple[Any, ...] = (
        plain(network.embeddings.tag.weight), plain(network.embeddings.length.weight),
        *_attention(dense.watched), *_attention(dense.placed),
        np.concatenate([bottom[:WIDTH], bottom[2 * WIDTH :]]), plain(dense.bottom[0].bias),
        bottom[WIDTH : 2 * WIDTH].copy(), np.zeros(2 * WIDTH, np.float32),
        *side_by_side, *stacked([tower[0] for tower in dense.towers]),
        np.array(last), np.concatenate([plain(tower[2].bias) for tower in dense.towers]),
    )  # fmt: skip
    return ContextAwareWeights(*weights)


def _attention(module: TargetAttention) -> tuple[Array, ...]:
    return (
        *of_linear(module.query), *of_linear(module.key), *of_linear(module.value),
        plain(module.key_cross.weight), weight_of(module.value_cross),
    )  # fmt: skip


@network_kernel
def search_people(w, candidates, history, context, mask, scores, rewards, beams, depth, stability):
    """Observations of N people to scores (N, P): what each candidate is worth alone, and FIRST more for the first of
    the best list; rewards (N,): of those lists."""
    live, past = np.empty(mask.shape[1], np.int64), np.empty(history.shape[1], np.int64)
    for i in range(len(scores)):
        slots, watched = rows_where(mask[i], live), rows_where(history[i, :, H.present], past)
        if slots == 0:
            continue
        tokens, ours = np.empty((slots, TOLD), np.float32), np.zeros((slots, CROSSING), np.float32)
        for m in range(slots):
            candidate_token(w, candidates[i, live[m]], context[i], tokens[m], ours[m])
        seen, theirs = np.empty((watched, WATCHED), np.float32), np.empty((watched, CROSSING), np.float32)
        for m in range(watched):
            watched_token(w, history[i, past[m]], seen[m], theirs[m])
        base, query, key, value = prepared(w, tokens, ours, seen, theirs)
        alone, first, rewards[i] = best_list(w, base, query, key, value, ours, beams, depth, stability)
        for m in range(slots):
            scores[i, live[m]] = alone[m]
        scores[i, live[first]] += OF_FIRST


@network_kernel
def candidate_token(w, row, context, token, ours):
    """A candidate (Fc,): its token and the context, (TOLD,); and what is crossed, (CROSSING,), tags last."""
    embed_candidate(row, w.tag, w.length, token[WIDTH:])
    scaled(row, CANDIDATE_NUMBERS, token[WIDTH + EMBEDDED :])
    for k in range(len(context)):
        token[WIDTH + TOKEN + k] = context[k]
    scaled(row, CROSSED_OF_CANDIDATE, ours)
    ours[DIFFERENCES], ours[DIFFERENCES + 1] = row[C.tag], row[C.tag2]


@network_kernel
def watched_token(w, row, seen, theirs):
    """A past impression (Fh,): key and value features (WATCHED,); and what is crossed, (CROSSING,), tags last."""
    embed_past(row, w.tag, w.length, seen)
    scaled(row, PAST_RATES, seen[EMBEDDED:])
    what_was_done(row, seen[EMBEDDED + N_RATES :])
    for k in range(len(TIMES)):
        seen[EMBEDDED + N_RATES + len(DONE) + k] = row[TIMES[k]]
    scaled(row, CROSSED_OF_PAST, theirs)
    theirs[DIFFERENCES], theirs[DIFFERENCES + 1] = row[H.tag], row[H.tag2]


@network_kernel
def prepared(w, tokens, ours, seen, theirs):
    """What no step of the search changes: the bottom layer (P, 2 WIDTH) but for what is placed, and query, key and
    value (P, WIDTH) of attention (b)."""
    slots = len(tokens)
    token = np.empty((slots, TOKEN), np.float32)
    for m in range(slots):
        for k in range(TOKEN):
            token[m, k] = tokens[m, WIDTH + k]
    query, key, value, said = (
        np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH), np.float32),
        np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH), np.float32),
    )  # fmt: skip
    watched_key, watched_value = np.empty((len(seen), WIDTH), np.float32), np.empty((len(seen), WIDTH), np.float32)
    linear(token, w.a_query, w.a_query_bias, query)
    linear(seen, w.a_key, w.a_key_bias, watched_key)
    linear(seen, w.a_value, w.a_value_bias, watched_value)
    attend(query, watched_key, watched_value, w.a_key_cross, w.a_value_cross, ours, theirs, said)
    for m in range(slots):
        for d in range(WIDTH):
            tokens[m, d] = said[m, d]
    base = np.empty((slots, 2 * WIDTH), np.float32)
    linear(tokens, w.bottom, w.bottom_bias, base)
    linear(token, w.b_query, w.b_query_bias, query)
    linear(token, w.b_key, w.b_key_bias, key)
    linear(token, w.b_value, w.b_value_bias, value)
    return base, query, key, value


@network_kernel
def attend(query, key, value, key_cross, value_cross, ours, theirs, out):
    """`TargetAttention`: targets' query (P, WIDTH) and ours (P, CROSSING), keys' key and value (K, WIDTH) and theirs
    (K, CROSSING), to out (P, WIDTH)."""
    keys = len(key)
    cross, energy = np.empty((keys, CROSSED), np.float32), np.empty(keys, np.float32)
    asked, mean = np.empty(CROSSED, np.float32), np.empty(CROSSED, np.float32)
    for t in range(len(query)):
        for j in range(keys):
            compare(ours[t], theirs[j], cross[j])
        for head in range(ATTENTION_HEADS):
            at = head * HEAD
            asked[:] = NOTHING
            mean[:] = NOTHING
            for d in range(at, at + HEAD):
                for c in range(CROSSED):
                    asked[c] += query[t, d] * key_cross[d, c]
                out[t, d] = NOTHING
            most, total = np.float32(-1e30), NOTHING
            for j in range(keys):
                told = NOTHING
                for d in range(at, at + HEAD):
                    told += query[t, d] * key[j, d]
                for c in range(CROSSED):
                    told += asked[c] * cross[j, c]
                energy[j] = told * SOFTER
                most = max(most, energy[j])
            for j in range(keys):
                energy[j] = exponential(energy[j] - most)
                total += energy[j]
            for j in range(keys):
                share = energy[j] / total
                for c in range(CROSSED):
                    mean[c] += share * cross[j, c]
                for d in range(at, at + HEAD):
                    out[t, d] += share * value[j, d]
            for c in range(CROSSED):
                for d in range(at, at + HEAD):
                    out[t, d] += mean[c] * value_cross[c, d]


@network_kernel
def compare(ours, theirs, cross):
    """`crossed`: differences, their absolute values, and the share of common tags."""
    for k in range(DIFFERENCES):
        cross[k] = ours[k] - theirs[k]
        cross[DIFFERENCES + k] = abs(cross[k])
    common = NOTHING
    for a in range(DIFFERENCES, DIFFERENCES + 2):
        for b in range(DIFFERENCES, DIFFERENCES + 2):
            common += OF_PAIR if ours[a] == theirs[b] else NOTHING
    cross[2 * DIFFERENCES] = common


@network_kernel
def foresee(w, base, placed, reward, has_next):
    """MMoE and towers: from the bottom layer (P, 2 WIDTH) and what is placed (P, WIDTH) to reward and has_next (P,)."""
    slots = len(base)
    shared, experts = np.empty((slots, 2 * WIDTH), np.float32), np.empty((slots, EXPERTS * WIDTH), np.float32)
    gates = np.empty((slots, N_TASKS * EXPERTS), np.float32)
    linear(placed, w.bottom_placed, w.no_bias, shared)
    for m in range(slots):
        for d in range(2 * WIDTH):
            shared[m, d] += base[m, d]
    rectify(shared)
    linear(shared, w.experts, w.experts_bias, experts)
    rectify(experts)
    linear(shared, w.gates, w.gates_bias, gates)
    mixed, inner = np.empty((slots, WIDTH), np.float32), np.empty((slots, WIDTH // 2), np.float32)
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
            chance = ONE / (ONE + exponential(-logit))
            if task == 0:
                has_next[m] = chance
            elif task == 1:
                reward[m] = OF_VIEW * chance
            else:
                reward[m] += OF_LIKE * chance


@network_kernel
def best_list(w, base, query, key, value, ours, beams, depth, stability):
    """`beam_search.adaptive_beam_search` of one person: rewards (P,) as the first entry, the first of the best list,
    and that list's reward."""
    slots = len(base)
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
                    look_back(w, query, key, value, ours, lists[beam], step, placed)
                foresee(w, base, placed, reward[beam], has_next[beam])
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
def look_back(w, query, key, value, ours, entries, step, placed):
    """Attention (b): every candidate, to be entry number `step`, sees the entries before."""
    of_key, of_value = np.empty((step, WIDTH), np.float32), np.empty((step, WIDTH), np.float32)
    theirs = np.empty((step, CROSSING), np.float32)
    for k in range(step):
        for d in range(WIDTH):
            of_key[k, d], of_value[k, d] = key[entries[k], d], value[entries[k], d]
        for d in range(CROSSING):
            theirs[k, d] = ours[entries[k], d]
        theirs[k, PLACE] = PER_PLACE * np.float32(k)
    for m in range(len(ours)):
        ours[m, PLACE] = PER_PLACE * np.float32(step)
    attend(query, of_key, of_value, w.b_key_cross, w.b_value_cross, ours, theirs, placed)
    for m in range(len(ours)):
        ours[m, PLACE] = NOTHING
