"""EdgeRec's networks as phones run them in the simulation: compiled, a person at a time.

The same as in `network.py`, which they are made of and held to (to 1e-5, `tests/policies/parity.py`); those are trained
and exported. Called by `policies/phone/edgerec_loop.py`, where an engine's files may take their place.

The energy of candidate t and behaviour j is v tanh(q_t + k_j), 32 tangents for each pair. With a = exp(2 q) and
b = exp(2 k), tanh(q + k) = 1 - 2 / (1 + a b): the exponentials are per candidate and per behaviour, a pair costs a
division, and the constant sum of v drops out of the softmax.
"""

from typing import NamedTuple

import numpy as np
from torch import nn

from nextone.policies.networks.behaviours import EMBEDDED
from nextone.policies.networks.compiled_behaviours import N_RATES
from nextone.policies.networks.compiled_blend import BlendWeights, blend_weights, worth_of
from nextone.policies.networks.compiled_layers import (
    ONE,
    TWO,
    exponential,
    gru_cell,
    linear,
    network_kernel,
    of_linear,
    plain,
    rectify,
    side_by_side,
    soften,
    weight_of,
)
from nextone.policies.networks.compiled_recent_interest import RecentWeights, alike, lean, recent_weights
from nextone.policies.networks.recent_interest import CHANNELS, TOLD
from nextone.sim.state import Array

from .network import HIDDEN, LAYERS, EdgeRec

SAFE = 40.0  # of |q| and |k|: exp(80) is a float32, and the product of two may be infinite without harm


class GruWeights(NamedTuple):
    """Weights of E `nn.GRU`s of one shape with LAYERS layers, input first: 3 HIDDEN columns for reset, update and
    new."""

    first: Array  # (E, K, 3 HIDDEN)
    others: Array  # (E, LAYERS - 1, HIDDEN, 3 HIDDEN)
    bias: Array  # (E, LAYERS, 3 HIDDEN)
    recurrent: Array  # (E, LAYERS, HIDDEN, 3 HIDDEN)
    recurrent_bias: Array  # (E, LAYERS, 3 HIDDEN)


class EdgeRecWeights(NamedTuple):
    """Weights of the whole network, for S sequences, exposures first."""

    tag: Array
    length: Array
    items: GruWeights  # of S encoders
    actions: GruWeights  # of S encoders, or of none
    candidates: GruWeights  # of one
    query: Array  # (S, HIDDEN, HIDDEN)
    query_bias: Array  # (S, HIDDEN)
    key: Array  # (S, HIDDEN, HIDDEN)
    nothing: Array  # (HIDDEN,) zeros: keys have no bias
    since: Array  # (S, HIDDEN)
    energy: Array  # (S, HIDDEN)
    safe: bool  # no exponential overflows
    score: Array  # (attended, recent, queries, local; HIDDEN)
    score_bias: Array
    recent: RecentWeights  # of S sequences
    blend: BlendWeights
    user: Array  # (S * width of values + Fx, HIDDEN)
    user_bias: Array
    person: Array  # (HIDDEN, len(HEADS))
    person_bias: Array


class Read(NamedTuple):
    """What a rerank reads of each of S sequences: the M newest behaviours, oldest first, of which the first `counts`
    are there."""

    keys: Array  # (S, M, HIDDEN)
    values: Array  # (S, M, width of values)
    since: Array  # (S, M)
    actions: Array  # (S, M, len(ACTIONS)): zero if no encoder reads actions
    items: Array  # (S, M, EMBEDDED + len(SAID))
    counts: Array  # (S,)


def edgerec_weights(network: EdgeRec) -> EdgeRecWeights:
    """The weights of a network. Queries and keys are outputs of GRUs, hence in [-1, 1], and `since` is in [0, 1]: this
    bounds q and k."""
    behaviour, rerank = network.dense.behaviour, network.dense.rerank
    encoders = [encoder for encoder in (behaviour.exposure, behaviour.page_view) if encoder is not None]
    query, key, since, energy = (
        np.array([weight_of(getattr(module, name)) for module in rerank.attention])
        for name in ("query", "key", "since", "energy")
    )
    query_bias = np.array([plain(module.query.bias) for module in rerank.attention])
    most = max(np.max(np.abs(query).sum(1) + np.abs(query_bias)), np.max(np.abs(key).sum(1) + np.abs(since[:, 0])))
    return EdgeRecWeights(
        plain(network.embeddings.tag.weight), plain(network.embeddings.length.weight),
        gru_weights([encoder.items for encoder in encoders]),
        gru_weights([encoder.actions or encoder.items for encoder in encoders], encoders[0].actions is not None),
        gru_weights([rerank.candidates]),
        query, query_bias, key, np.zeros(HIDDEN, np.float32), since[:, 0].copy(), energy[:, :, 0].copy(),
        bool(most < SAFE),
        *of_linear(rerank.score[0]), recent_weights(list(rerank.recent)),
        blend_weights(rerank.corrections, rerank.blend),
        *of_linear(rerank.user[0]), *of_linear(rerank.user[2]),
    )  # fmt: skip


def gru_weights(grus: list[nn.GRU], used: bool = True) -> GruWeights:
    """The weights of torch's GRUs; of none if they are not used."""
    of_input, of_hidden, bias, bias_hidden = (
        [[plain(getattr(gru, f"{name}_l{layer}")).T for layer in range(LAYERS)] for gru in grus]
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    first, others = [layers[0] for layers in of_input], [layers[1:] for layers in of_input]
    stacks = (np.array(stack, order="C") for stack in (first, others, bias, of_hidden, bias_hidden))
    return GruWeights(*(stack if used else stack[:0] for stack in stacks))


@network_kernel
def gru(w, e, inputs, hidden, said):
    """Run all layers of GRU e over inputs (M, K), from the states hidden (LAYERS, HIDDEN), which change; the top
    layer's outputs go to said (M, HIDDEN)."""
    given, scratch = np.empty((len(inputs), 3 * HIDDEN), np.float32), np.empty(3 * HIDDEN, np.float32)
    for layer in range(LAYERS):
        if layer == 0:
            linear(inputs, w.first[e], w.bias[e, layer], given)
        else:
            linear(said, w.others[e, layer - 1], w.bias[e, layer], given)
        state = hidden[layer]
        for m in range(len(inputs)):
            gru_cell(given[m], w.recurrent[e, layer], w.recurrent_bias[e, layer], state, scratch)
            for d in range(HIDDEN):
                said[m, d] = state[d]


@network_kernel
def encode(w, e, actions, items, hidden, key, value):
    """`Encoder.step` of encoder e for one person: actions (1, A), items (1, I), hidden (states, HIDDEN), which changes;
    results go to key (1, HIDDEN) and value (width of values,)."""
    gru(w.items, e, items, hidden[:LAYERS], key)
    at = len(value) - HIDDEN
    for d in range(HIDDEN):
        value[at + d] = key[0, d]
    if len(w.actions.first) > 0:
        done = np.empty((1, HIDDEN), np.float32)
        gru(w.actions, e, actions, hidden[LAYERS:], done)
        for d in range(HIDDEN):
            value[d] = done[0, d]


@network_kernel
def rerank(w, items, read):
    """The worth of each live candidate of one person, (P,). items (P, EMBEDDED + len(CLOUD)) in server order; read:
    `Read`."""
    slots, sequences, width = len(items), read.values.shape[0], read.values.shape[2]
    queries, hidden = np.empty((slots, HIDDEN), np.float32), np.zeros((LAYERS, HIDDEN), np.float32)
    gru(w.candidates, 0, items, hidden, queries)
    crossed = sequences * width  # the column where the crossings with recent interest begin
    last = crossed + sequences * CHANNELS
    scored, asked = np.zeros((slots, last + 2 * HIDDEN), np.float32), np.empty_like(queries)
    for s in range(sequences):
        count = read.counts[s]
        linear(queries, w.query[s], w.query_bias[s], asked)
        energy = energies(w, s, asked, read.keys[s, :count], read.since[s])
        attend(energy, read.values[s], scored, (sequences - 1 - s) * width)  # page views first
        leaning = lean(w.recent, s, what_is_told(read, s), read.items[s, :count])
        for t in range(slots):
            alike(leaning, items[t], scored[t, crossed + s * CHANNELS :])
    for t in range(slots):
        for d in range(HIDDEN):
            scored[t, last + d] = queries[t, d]
            scored[t, last + HIDDEN + d] = queries[slots - 1, d]
    said, worth = np.empty((slots, HIDDEN + sequences * CHANNELS), np.float32), np.empty(slots, np.float32)
    linear(scored, w.score, w.score_bias, asked)
    rectify(asked)
    for t in range(slots):
        for d in range(HIDDEN):
            said[t, d] = asked[t, d]
        for d in range(sequences * CHANNELS):
            said[t, HIDDEN + d] = scored[t, crossed + d]
        worth[t] = worth_of(w.blend, said[t], items[t, EMBEDDED:])
    return worth


@network_kernel
def person_of(w, read, context):
    """`Rerank.person_of` for one person: logits (len(HEADS),), from the newest value of each sequence and the context
    (Fx,)."""
    sequences, width = read.values.shape[0], read.values.shape[2]
    given = np.zeros((1, sequences * width + len(context)), np.float32)
    for s in range(sequences):
        if read.counts[s] > 0:
            for d in range(width):
                given[0, s * width + d] = read.values[s, read.counts[s] - 1, d]
    for k in range(len(context)):
        given[0, sequences * width + k] = context[k]
    hidden, said = np.empty((1, HIDDEN), np.float32), np.empty((1, len(w.person_bias)), np.float32)
    linear(given, w.user, w.user_bias, hidden)
    rectify(hidden)
    linear(hidden, w.person, w.person_bias, said)
    return said[0]


@network_kernel
def what_is_told(read, s):
    """What `RecentInterest` reads of the behaviours of sequence s, (count, TOLD): predicted rates, what was done, time
    since."""
    told, done = np.empty((read.counts[s], TOLD), np.float32), read.actions.shape[2]
    for m in range(len(told)):
        for k in range(N_RATES):
            told[m, k] = read.items[s, m, EMBEDDED + k]
        for k in range(done):
            told[m, N_RATES + k] = read.actions[s, m, k]
        told[m, N_RATES + done] = read.since[s, m]
    return told


@network_kernel
def energies(w, s, asked, keys, since):
    """Energies of behaviours (M) and candidates (T, padded), up to a constant that is the same for all behaviours."""
    k, query = np.empty((len(keys), HIDDEN), np.float32), side_by_side(asked, TWO)
    padded = query.shape[1]
    linear(keys, w.key[s], w.nothing, k)
    energy = np.zeros((len(keys), padded), np.float32)
    if w.safe:
        for d in range(HIDDEN):
            of_query = query[d]
            for t in range(padded):
                of_query[t] = exponential(of_query[t])
    for j in range(len(keys)):
        told = energy[j]
        for d in range(HIDDEN):
            of_query, weight = query[d], TWO * w.energy[s, d]
            of_key = TWO * (k[j, d] + since[j] * w.since[s, d])
            if w.safe:
                of_key = exponential(of_key)
                for t in range(padded):
                    told[t] -= weight / (ONE + of_query[t] * of_key)
            else:
                for t in range(padded):
                    told[t] -= weight / (ONE + exponential(of_query[t] + of_key))
    return energy


@network_kernel
def attend(energy, values, out, column):
    """The mean of the values (M, V) under the softmax of energy (M, T padded), into V columns of out (T, ...)."""
    soften(energy)
    for t in range(len(out)):
        for j in range(len(energy)):
            for d in range(values.shape[1]):
                out[t, column + d] += energy[j, t] * values[j, d]
