"""`network.TargetAttention` and its crossings, compiled, for one person. Called by `compiled.py`.

What is crossed of a candidate or a past impression is a row of CROSSING numbers: those of which differences are taken,
the last of them the place; two tags; and the server's embedding.
"""

import numpy as np

from nextone.policies.networks.compiled_layers import exponential, network_kernel
from nextone.sim.config import DIMS

from .network import ATTENTION_HEADS, CROSSED, DIFFERENCES, PAIR, WIDTH

HEAD, SOFTER = WIDTH // ATTENTION_HEADS, np.float32((WIDTH // ATTENTION_HEADS) ** -0.5)
PLACE, TAG, SHOWN = DIFFERENCES - 1, DIFFERENCES, DIFFERENCES + 2
"""Columns of what is crossed: the place, the first tag, where the embedding begins."""
CROSSING = SHOWN + DIMS
NOTHING, OF_PAIR, PER_DIM = np.float32(0.0), np.float32(PAIR), np.float32(1.0 / DIMS)


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
    """`crossed`: differences, their absolute values, the share of common tags, and how alike they look."""
    for k in range(DIFFERENCES):
        cross[k] = ours[k] - theirs[k]
        cross[DIFFERENCES + k] = abs(cross[k])
    common = NOTHING
    for a in range(TAG, SHOWN):
        for b in range(TAG, SHOWN):
            common += OF_PAIR if ours[a] == theirs[b] else NOTHING
    look = NOTHING
    for d in range(SHOWN, SHOWN + DIMS):
        look += ours[d] * theirs[d]
    cross[2 * DIFFERENCES], cross[2 * DIFFERENCES + 1] = common, PER_DIM * look
