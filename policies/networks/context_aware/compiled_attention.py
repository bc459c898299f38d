"""`network.TargetAttention` and its crossings, compiled, for one person. Called by `compiled.py`.

Candidates that ask lie side by side, LANES or a multiple of it, so that nothing is summed across. What is crossed of a
candidate or a past impression are CROSSING numbers: those of which differences are taken, the last of them the place;
two tags; and the server's embedding.
"""

from typing import NamedTuple

import numpy as np

from nextone.policies.networks.compiled_layers import network_kernel, side_by_side, soften
from nextone.sim.config import DIMS
from nextone.sim.state import Array

from .network import ATTENTION_HEADS, CROSSED, DIFFERENCES, PAIR, WIDTH

HEAD, SOFTER = WIDTH // ATTENTION_HEADS, np.float32((WIDTH // ATTENTION_HEADS) ** -0.5)
PLACE, TAG, SHOWN = DIFFERENCES - 1, DIFFERENCES, DIFFERENCES + 2
"""Of what is crossed: the place, the first tag, where the embedding begins."""
CROSSING = SHOWN + DIMS
NOTHING, OF_PAIR, PER_DIM = np.float32(0.0), np.float32(PAIR), np.float32(1.0 / DIMS)
assert HEAD % 4 == 0 and CROSSED % 2 == 0  # so many terms are summed at a time


class Asking(NamedTuple):
    """The queries of T candidates, with what they make of crossings."""

    query: Array  # (ATTENTION_HEADS, HEAD, T)
    of_cross: Array  # (ATTENTION_HEADS, CROSSED, T): what each crossing adds to the energy


@network_kernel
def asking(query, key_cross):
    """`Asking` from queries (P, WIDTH)."""
    columns = side_by_side(query, SOFTER).reshape(ATTENTION_HEADS, HEAD, -1)
    of_cross = np.zeros((ATTENTION_HEADS, CROSSED, columns.shape[2]), np.float32)
    for head in range(ATTENTION_HEADS):
        for c in range(CROSSED):
            told = of_cross[head, c]
            for d in range(HEAD):
                for t in range(len(told)):
                    told[t] += key_cross[head * HEAD + d, c] * columns[head, d, t]
    return Asking(columns, of_cross)


@network_kernel
def attend(asked, ours, key, value, value_cross, theirs, out):
    """`TargetAttention` of T candidates. Given are `Asking`; what is crossed of the candidates, `ours` (CROSSING, T);
    and of K keys the key and value (K, WIDTH), and `theirs` (K, CROSSING). The result goes to out (P, WIDTH), for the
    first P."""
    cross = np.empty((CROSSED, ours.shape[1]), np.float32)
    energy = np.zeros((ATTENTION_HEADS, len(key), ours.shape[1]), np.float32)
    for j in range(len(key)):
        compare(ours, theirs[j], cross)
        for head in range(ATTENTION_HEADS):
            at = head * HEAD
            weigh(asked.query[head], asked.of_cross[head], key[j, at : at + HEAD], cross, energy[head, j])
    for head in range(ATTENTION_HEADS):
        soften(energy[head])
    mean = np.zeros((ATTENTION_HEADS, CROSSED, ours.shape[1]), np.float32)
    said = np.zeros((ATTENTION_HEADS, HEAD, ours.shape[1]), np.float32)
    for j in range(len(key)):
        compare(ours, theirs[j], cross)
        for head in range(ATTENTION_HEADS):
            at = head * HEAD
            gather(energy[head, j], cross, value[j, at : at + HEAD], mean[head], said[head])
    for head in range(ATTENTION_HEADS):
        at = head * HEAD
        read_out(mean[head], value_cross[:, at : at + HEAD], said[head], out[:, at : at + HEAD])


@network_kernel
def weigh(query, of_cross, key, cross, energy):
    """Add to energies (T,) those of one head and one key (HEAD,), a few terms at a time, which is faster."""
    for d in range(0, HEAD, 4):
        for t in range(len(energy)):
            energy[t] += (
                key[d] * query[d, t] + key[d + 1] * query[d + 1, t]
                + key[d + 2] * query[d + 2, t] + key[d + 3] * query[d + 3, t]
            )  # fmt: skip
    for c in range(0, CROSSED, 2):
        for t in range(len(energy)):
            energy[t] += of_cross[c, t] * cross[c, t] + of_cross[c + 1, t] * cross[c + 1, t]


@network_kernel
def gather(share, cross, value, mean, said):
    """Add a key's share (T,) of what is crossed (CROSSED, T) to mean (CROSSED, T), and of its value (HEAD,) to said
    (HEAD, T)."""
    for c in range(CROSSED):
        of_mean, of_cross = mean[c], cross[c]
        for t in range(len(share)):
            of_mean[t] += share[t] * of_cross[t]
    for d in range(HEAD):
        of_said = said[d]
        for t in range(len(share)):
            of_said[t] += value[d] * share[t]


@network_kernel
def read_out(mean, value_cross, said, out):
    """Write a head's output (HEAD, T), with the value of its mean crossings (CROSSED, T), to out (P, HEAD)."""
    for d in range(HEAD):
        of_said = said[d]
        for c in range(0, CROSSED, 2):
            for t in range(len(of_said)):
                of_said[t] += value_cross[c, d] * mean[c, t] + value_cross[c + 1, d] * mean[c + 1, t]
        for t in range(len(out)):
            out[t, d] = of_said[t]


@network_kernel
def compare(ours, theirs, cross):
    """`crossed`, (CROSSED, T) of ours (CROSSING, T) and theirs (CROSSING,): differences, their absolute values, the
    share of common tags, and how alike they look."""
    for k in range(DIFFERENCES):
        for t in range(ours.shape[1]):
            difference = ours[k, t] - theirs[k]
            cross[k, t] = difference
            cross[DIFFERENCES + k, t] = abs(difference)
    common, look = cross[2 * DIFFERENCES], cross[2 * DIFFERENCES + 1]
    common[:] = NOTHING
    look[:] = NOTHING
    for a in range(TAG, SHOWN):
        for b in range(TAG, SHOWN):
            for t in range(len(common)):
                common[t] += OF_PAIR if ours[a, t] == theirs[b] else NOTHING
    for d in range(SHOWN, CROSSING):
        for t in range(len(look)):
            look[t] += PER_DIM * theirs[d] * ours[d, t]
