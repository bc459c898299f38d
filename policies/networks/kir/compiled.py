"""The KIR-like network as phones run it in the simulation: compiled, a person at a time, several people in parallel.

The same network as `network.py`, which it is made of and held to (scores to 1e-5, `tests/policies/parity.py`); that one
is trained and exported. Nothing is computed for empty slots and rows. Called by `policies/phone/loading.py`.
"""

from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import CONTEXT, H, Observation
from nextone.policies.contract import Scores
from nextone.policies.networks.behaviours import DEAD, EMBEDDED
from nextone.policies.networks.compiled_behaviours import (
    CANDIDATE_NUMBERS,
    CANDIDATE_RATES,
    DONE,
    N_RATES,
    embed_candidate,
    embed_past,
    scaled,
    what_was_done,
)
from nextone.policies.networks.compiled_blend import BlendWeights, blend_weights, worth_of
from nextone.policies.networks.compiled_layers import (
    HALF,
    LANES,
    exponential,
    in_threads,
    linear,
    network_kernel,
    normalise,
    of_linear,
    plain,
    rectify,
    rows_where,
    stacked,
)
from nextone.policies.networks.compiled_recent_interest import (
    RecentWeights,
    alike,
    lean,
    recent_weights,
    what_is_told,
)
from nextone.policies.networks.recent_interest import CHANNELS
from nextone.sim.state import Array

from .network import ATTENTION_HEADS, EPSILON, FACTORS, LAYERS, TIMES, WIDTH, Kir

HEAD = WIDTH // ATTENTION_HEADS
FIELDS = EMBEDDED + len(CANDIDATE_NUMBERS) + len(CONTEXT)
TOLD = len(DONE) + len(TIMES)
CROSSED = FIELDS + FACTORS
"""Where of what is scored the crossing with recent interest begins."""
TOWERS = CROSSED + CHANNELS
"""Where the two towers' outputs begin, and what the MLP says of them takes their place."""
SCORED = TOWERS + 2 * WIDTH
SOFTER, UNSEEN, EPS = np.float32(HEAD**-0.5), np.float32(DEAD), np.float32(EPSILON)
assert HEAD == 8  # `attend` writes a head's product out


class KirWeights(NamedTuple):
    """Weights of the whole network, input first. The blocks of `by_id`, then of `by_rate`, LAYERS each, are stacked: B
    of them."""

    tag: Array
    length: Array
    id_token: Array  # (features + actions + times, WIDTH)
    id_token_bias: Array
    rate_token: Array
    rate_token_bias: Array
    norm: Array  # (B, 2, 2, WIDTH): before attention and MLP; gain and bias
    query_key_value: Array  # (B, WIDTH, 3 WIDTH)
    query_key_value_bias: Array
    mixed: Array
    mixed_bias: Array
    wide: Array  # (B, WIDTH, 2 WIDTH)
    wide_bias: Array
    narrow: Array
    narrow_bias: Array
    factors: Array  # (FACTORS, FIELDS): output first, so that each sum runs along a row
    deep: Array  # (SCORED, 2 WIDTH)
    deep_bias: Array
    deep_2: Array
    deep_2_bias: Array
    recent: RecentWeights  # of one sequence
    blend: BlendWeights


class CompiledKir:
    """The network, as a callable that takes an observation."""

    def __init__(self, network: Kir) -> None:
        self.weights = kir_weights(network)

    def __call__(self, observation: Observation) -> Scores:
        """(N, P); 0 for empty slots."""
        scores = np.zeros(observation.mask.shape, np.float32)
        in_threads(score_people, self.weights, *observation, scores)
        return scores


def kir_weights(network: Kir) -> KirWeights:
    """The weights of a network."""
    dense: Any = network.dense
    blocks = [*dense.by_id.blocks, *dense.by_rate.blocks]
    layers: Any = zip(*((b.query_key_value, b.mixed, b.mlp[0], b.mlp[2]) for b in blocks), strict=True)
    norms = [[[plain(n.weight), plain(n.bias)] for n in (b.attention_norm, b.mlp_norm)] for b in blocks]
    weights: tuple[Any, ...] = (
        plain(network.embeddings.tag.weight), plain(network.embeddings.length.weight),
        *of_linear(dense.by_id.token), *of_linear(dense.by_rate.token),
        np.array(norms), *(array for same in layers for array in stacked(list(same))),
        plain(dense.factors.weight),
        *of_linear(dense.deep[0]), *of_linear(dense.deep[2]),
        recent_weights([dense.recent]), blend_weights(dense.corrections, dense.blend),
    )  # fmt: skip
    return KirWeights(*weights)


@network_kernel
def score_people(w, candidates, history, context, mask, scores):
    """Observations of N people to their scores (N, P); empty slots keep what was there."""
    live, past = np.empty(mask.shape[1], np.int64), np.empty(history.shape[1], np.int64)
    for i in range(len(scores)):
        slots, watched = rows_where(mask[i], live), rows_where(history[i, :, H.present], past)
        ids = np.zeros((watched + slots, EMBEDDED + TOLD), np.float32)
        rates = np.zeros((watched + slots, N_RATES + TOLD), np.float32)
        scored = np.empty((slots, SCORED), np.float32)
        for m in range(watched):
            watched_tokens(w, history[i, past[m]], np.float32(past[m]) / np.float32(len(past)), ids[m], rates[m])
        for m in range(slots):
            candidate_tokens(w, candidates[i, live[m]], context[i], ids[watched + m], rates[watched + m], scored[m])
        leaning = lean(w.recent, 0, rates[:watched], ids[:watched])
        for m in range(slots):
            factorise(w, scored[m])
            alike(leaning, ids[watched + m], scored[m, CROSSED:])
        tokens = np.empty((watched + slots, WIDTH), np.float32)
        for tower in range(2):
            if tower == 0:
                linear(ids, w.id_token, w.id_token_bias, tokens)
            else:
                linear(rates, w.rate_token, w.rate_token_bias, tokens)
            transform(w, tower * LAYERS, tokens, watched)
            copy(tokens, watched, scored, TOWERS + tower * WIDTH)
        hidden, narrow = np.empty((slots, 2 * WIDTH), np.float32), np.empty((slots, WIDTH), np.float32)
        linear(scored, w.deep, w.deep_bias, hidden)
        rectify(hidden)
        linear(hidden, w.deep_2, w.deep_2_bias, narrow)
        rectify(narrow)
        copy(narrow, 0, scored, TOWERS)
        for m in range(slots):
            scores[i, live[m]] = worth_of(w.blend, scored[m], rates[watched + m])


@network_kernel
def copy(rows, first, to, column):
    """Copy rows, from number `first` on, into `to`, from that column on."""
    for m in range(len(to)):
        for d in range(rows.shape[1]):
            to[m, column + d] = rows[first + m, d]


@network_kernel
def watched_tokens(w, row, index, ids, rates):
    """A past impression (Fh,) as a token of each tower: ids or rates, actions, time since, and index. The second token
    begins with what `RecentInterest` reads."""
    embed_past(row, w.tag, w.length, ids)
    what_was_done(row, ids[EMBEDDED:])
    what_is_told(row, rates)
    ids[EMBEDDED + len(DONE)] = row[H.since]
    ids[EMBEDDED + len(DONE) + 1] = rates[N_RATES + len(DONE) + 1] = index


@network_kernel
def candidate_tokens(w, row, context, ids, rates, fields):
    """A candidate (Fc,) as a token of each tower, and DeepFM's fields (FIELDS or more,)."""
    embed_candidate(row, w.tag, w.length, ids)
    scaled(row, CANDIDATE_RATES, rates)
    for d in range(EMBEDDED):
        fields[d] = ids[d]
    scaled(row, CANDIDATE_NUMBERS, fields[EMBEDDED:])
    at = EMBEDDED + len(CANDIDATE_NUMBERS)
    for k in range(len(context)):
        fields[at + k] = context[k]


@network_kernel
def factorise(w, scored):
    """Write the FM's pairs of the fields, which are the first columns of scored (SCORED,), into the next FACTORS
    columns."""
    for f in range(FACTORS):
        total = squares = np.float32(0.0)
        for k in range(FIELDS):
            term = scored[k] * w.factors[f, k]
            total += term
            squares += term * term
        scored[FIELDS + f] = HALF * (total * total - squares)


@network_kernel
def transform(w, block, tokens, watched):
    """Apply LAYERS blocks, from number `block` on, in place. tokens (T, WIDTH): of `watched` videos, then of
    candidates. After the last block only the candidates' are of use."""
    split, wide = np.empty((len(tokens), 3 * WIDTH), np.float32), np.empty((len(tokens), 2 * WIDTH), np.float32)
    normed, said = np.empty_like(tokens), np.empty_like(tokens)
    for b in range(block, block + LAYERS):
        first = watched if b + 1 == block + LAYERS else 0
        normalise(tokens, w.norm[b, 0, 0], w.norm[b, 0, 1], EPS, normed)
        linear(normed, w.query_key_value[b], w.query_key_value_bias[b], split)
        attend(split, watched, first, normed)
        linear(normed[first:], w.mixed[b], w.mixed_bias[b], said[first:])
        add(said, tokens, first)
        normalise(tokens[first:], w.norm[b, 1, 0], w.norm[b, 1, 1], EPS, normed[first:])
        linear(normed[first:], w.wide[b], w.wide_bias[b], wide[first:])
        rectify(wide[first:])
        linear(wide[first:], w.narrow[b], w.narrow_bias[b], said[first:])
        add(said, tokens, first)


@network_kernel
def add(x, to, first):
    """Add the rows of x, from number `first` on, to those of `to`."""
    for m in range(first, len(x)):
        for j in range(WIDTH):
            to[m, j] += x[m, j]


@network_kernel
def attend(split, watched, first, out):
    """Attention: every token from the first on sees the `watched` first ones, and itself. split (T, 3 WIDTH): query,
    key and value of each head side by side.

    Tokens that ask lie side by side, so that nothing is summed across."""
    asking = len(split) - first
    padded = -(-asking // LANES) * LANES
    query, said = np.zeros((HEAD, padded), np.float32), np.empty((HEAD, padded), np.float32)
    energy = np.zeros((watched + 1, padded), np.float32)  # the last is a candidate's with itself
    most, total = np.zeros(padded, np.float32), np.empty(padded, np.float32)
    for head in range(ATTENTION_HEADS):
        at = head * HEAD
        own = energy[watched]
        total[:] = np.float32(0.0)
        for t in range(asking):
            row = split[first + t]
            own[t] = UNSEEN if first + t < watched else np.float32(0.0)  # what was watched is among the others already
            for d in range(HEAD):
                query[d, t] = row[at + d] * SOFTER
                own[t] += query[d, t] * row[WIDTH + at + d]
            most[t] = own[t]
        for j in range(watched):
            key, told = split[j, WIDTH + at : WIDTH + at + HEAD], energy[j]
            for t in range(padded):
                told[t] = (
                    key[0] * query[0, t] + key[1] * query[1, t] + key[2] * query[2, t] + key[3] * query[3, t]
                    + key[4] * query[4, t] + key[5] * query[5, t] + key[6] * query[6, t] + key[7] * query[7, t]
                )  # fmt: skip
                most[t] = max(most[t], told[t])
        said[:] = np.float32(0.0)
        for j in range(watched + 1):
            share = energy[j]
            for t in range(padded):
                share[t] = exponential(share[t] - most[t])
                total[t] += share[t]
        for d in range(HEAD):
            of_head, value = said[d], 2 * WIDTH + at + d
            for j in range(watched):
                weight, share = split[j, value], energy[j]
                for t in range(padded):
                    of_head[t] += weight * share[t]
            for t in range(asking):
                out[first + t, at + d] = (of_head[t] + own[t] * split[first + t, value]) / total[t]
