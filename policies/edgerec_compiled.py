"""EdgeRec's two sub-models as phones run them in the simulation: compiled, a person at a time.

The same networks as in `edgerec.py`, which they are made of and tested against (to 1e-5); those are trained and
exported. Called by `edgerec_phone.py`; an engine's files may take their place.

The energy of candidate t and behaviour j is v tanh(q_t + k_j), 32 tangents for each pair. With a = exp(2 q) and
b = exp(2 k), tanh(q + k) = 1 - 2 / (1 + a b): the exponentials are per candidate and per behaviour, a pair costs a
division, and the constant sum of v drops out of the softmax.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nextone.sim.state import Array

from .compiled import (
    LANES,
    ONE,
    TWO,
    exponential,
    gru_cell,
    in_threads,
    linear,
    network_kernel,
    of_linear,
    plain,
    rectify,
    weight_of,
)
from .edgerec import HIDDEN, LAYERS, Encoder, Rerank

SAFE = 40.0  # of |q| and |k|: exp(80) is a float32, and the product of two may be infinite without harm


class GruWeights(NamedTuple):
    """Of an `nn.GRU` with LAYERS layers, input first: 3 HIDDEN columns for reset, update and new."""

    first: Array  # (K, 3 HIDDEN)
    others: Array  # (LAYERS - 1, HIDDEN, 3 HIDDEN)
    bias: Array  # (LAYERS, 3 HIDDEN)
    recurrent: Array  # (LAYERS, HIDDEN, 3 HIDDEN)
    recurrent_bias: Array  # (LAYERS, 3 HIDDEN)


class RerankWeights(NamedTuple):
    """Of an `edgerec.Rerank`; S sequences."""

    candidates: GruWeights
    query: Array  # (S, HIDDEN, HIDDEN)
    query_bias: Array  # (S, HIDDEN)
    key: Array  # (S, HIDDEN, HIDDEN)
    nothing: Array  # (HIDDEN,) zeros: keys have no bias
    since: Array  # (S, HIDDEN)
    energy: Array  # (S, HIDDEN)
    safe: bool
    score: Array  # (attended, queries, local; HIDDEN)
    score_bias: Array
    last: Array  # (HIDDEN,)
    last_bias: Array  # (1,)


class CompiledStep:
    """`edgerec_phone.Step`: key, value and new state, from a behaviour's features and the state before."""

    def __init__(self, encoder: Encoder) -> None:
        self.items = gru_weights(encoder.items)
        self.actions = None if encoder.actions is None else gru_weights(encoder.actions)

    def __call__(self, actions: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        after = hidden.numpy().copy()
        keys = self._said(self.items, items, after, 0)
        if self.actions is None:
            return keys, keys, torch.from_numpy(after)
        return keys, torch.cat([self._said(self.actions, actions, after, LAYERS), keys], -1), torch.from_numpy(after)

    def _said(self, weights: GruWeights, inputs: Tensor, hidden: Array, first: int) -> Tensor:
        said = np.empty((len(inputs), HIDDEN), np.float32)
        in_threads(step_people, weights, inputs.contiguous().numpy(), hidden, said, first=first)
        return torch.from_numpy(said)


class CompiledRerank:
    """`edgerec_phone.RerankOnPhone`: logits of candidates in the order given. Who is live or present comes first."""

    def __init__(self, rerank: Rerank) -> None:
        self.weights = rerank_weights(rerank)

    def __call__(self, items: Tensor, live: Tensor, context: Tensor, *encoded: Tensor) -> Tensor:
        keys, values, since, present = (np.stack([x.numpy() for x in encoded[k::4]], 1) for k in range(4))
        logits = np.zeros(live.shape, np.float32)
        arrays = (items.contiguous().numpy(), live.contiguous().numpy(), keys, values, since, present)
        in_threads(rerank_people, self.weights, *arrays, logits)
        return torch.from_numpy(logits)


def gru_weights(gru: nn.GRU) -> GruWeights:
    """Of torch's."""
    of_input = [np.ascontiguousarray(plain(getattr(gru, f"weight_ih_l{k}")).T) for k in range(LAYERS)]
    of_hidden = np.array([plain(getattr(gru, f"weight_hh_l{k}")).T for k in range(LAYERS)], order="C")
    biases = [np.array([plain(getattr(gru, f"bias_{of}_l{k}")) for k in range(LAYERS)]) for of in ("ih", "hh")]
    return GruWeights(of_input[0], np.array(of_input[1:]), biases[0], of_hidden, biases[1])


def rerank_weights(rerank: Rerank) -> RerankWeights:
    """Of torch's. Queries and keys are a GRU's outputs, hence within [-1, 1], and `since` within [0, 1]: that bounds q
    and k."""
    modules = list(rerank.attention)
    query, key, since, energy = (
        np.array([weight_of(getattr(module, name)) for module in modules])
        for name in ("query", "key", "since", "energy")
    )
    query_bias = np.array([plain(module.query.bias) for module in modules])  # type: ignore[union-attr, arg-type]
    most = max(np.max(np.abs(query).sum(1) + np.abs(query_bias)), np.max(np.abs(key).sum(1) + np.abs(since[:, 0])))
    return RerankWeights(
        gru_weights(rerank.candidates), query, query_bias, key, np.zeros(HIDDEN, np.float32), since[:, 0].copy(),
        energy[:, :, 0].copy(), bool(most < SAFE), *of_linear(rerank.score[0]), weight_of(rerank.score[2])[:, 0].copy(),
        plain(rerank.score[2].bias),
    )  # fmt: skip


@network_kernel
def gru(w, inputs, hidden, said):
    """All layers over inputs (M, K), from states hidden (LAYERS, HIDDEN) on, which move; the top layer's in said
    (M, HIDDEN)."""
    given, scratch = np.empty((len(inputs), 3 * HIDDEN), np.float32), np.empty(3 * HIDDEN, np.float32)
    for layer in range(LAYERS):
        if layer == 0:
            linear(inputs, w.first, w.bias[layer], given)
        else:
            linear(said, w.others[layer - 1], w.bias[layer], given)
        state = hidden[layer]
        for m in range(len(inputs)):
            gru_cell(given[m], w.recurrent[layer], w.recurrent_bias[layer], state, scratch)
            for d in range(HIDDEN):
                said[m, d] = state[d]


@network_kernel
def step_people(w, inputs, hidden, said, first):
    """One behaviour of each of N people: inputs (N, K), hidden (N, S, HIDDEN) from row `first` on, said (N, HIDDEN)."""
    for i in range(len(inputs)):
        gru(w, inputs[i : i + 1], hidden[i, first : first + LAYERS], said[i : i + 1])


@network_kernel
def rerank_people(w, items, live, keys, values, since, present, logits):
    """Logits (N, P) of candidates (N, P, K), of which the live ones (N, P) come first; of sequences (N, S, M, ...) the
    present ones do."""
    sequences, width = values.shape[1], values.shape[3]
    before_queries = sequences * width
    for i in range(len(items)):
        slots = leading(live[i])
        queries, hidden = np.empty((slots, HIDDEN), np.float32), np.zeros((LAYERS, HIDDEN), np.float32)
        gru(w.candidates, items[i, :slots], hidden, queries)
        read = np.zeros((slots, before_queries + 2 * HIDDEN), np.float32)
        asked = np.empty_like(queries)
        for s in range(sequences):
            count = leading(present[i, s])
            linear(queries, w.query[s], w.query_bias[s], asked)
            energy = energies(w, s, asked, keys[i, s, :count], since[i, s, :count])
            attend(energy, values[i, s, :count], read, (sequences - 1 - s) * width)  # page views first
        for t in range(slots):
            for d in range(HIDDEN):
                read[t, before_queries + d] = queries[t, d]
                read[t, before_queries + HIDDEN + d] = queries[slots - 1, d]
        linear(read, w.score, w.score_bias, asked)
        rectify(asked)
        for t in range(slots):
            logits[i, t] = w.last_bias[0]
            for d in range(HIDDEN):
                logits[i, t] += asked[t, d] * w.last[d]


@network_kernel
def energies(w, s, asked, keys, since):
    """Of behaviours (M) and candidates (T, padded), to a constant that is the same for all behaviours."""
    padded = -(-len(asked) // LANES) * LANES
    k, query = np.empty((len(keys), HIDDEN), np.float32), np.zeros((HIDDEN, padded), np.float32)
    linear(keys, w.key[s], w.nothing, k)
    for t in range(len(asked)):
        for d in range(HIDDEN):
            query[d, t] = TWO * asked[t, d]
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
    """The values' (M, V) mean under softmax of energy (M, T padded), into V columns of out (T, ...)."""
    best, total = np.full(energy.shape[1], -np.float32(np.inf)), np.zeros(energy.shape[1], np.float32)
    for j in range(len(energy)):
        for t in range(len(best)):
            best[t] = max(best[t], energy[j, t])
    for j in range(len(energy)):
        for t in range(len(best)):
            energy[j, t] = exponential(energy[j, t] - best[t])
            total[t] += energy[j, t]
    for t in range(len(out)):
        for j in range(len(energy)):
            share = energy[j, t] / total[t]
            for d in range(values.shape[1]):
                out[t, column + d] += share * values[j, d]


@network_kernel
def leading(flags):
    """How many are set before the first that is not."""
    count = 0
    while count < len(flags) and flags[count] > 0:
        count += 1
    return count
