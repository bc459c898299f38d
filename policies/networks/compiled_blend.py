"""`blend.py`, compiled: what a candidate is worth by the server's predicted rates, corrected. Called by the twins."""

from typing import NamedTuple

import numpy as np

from nextone.envs.features import LOGIT_SCALE
from nextone.sim.state import Array

from .behaviours import RATE_SCALE
from .blend import Blend, Corrections
from .compiled_behaviours import N_RATES
from .compiled_layers import ONE, exponential, network_kernel, plain

PER_RATE = np.float32(LOGIT_SCALE / RATE_SCALE)


class BlendWeights(NamedTuple):
    """Of corrections and blend, output first, so that each sum runs along a row."""

    corrections: Array  # (N_RATES, width)
    bias: Array  # (N_RATES,)
    objective: Array  # (N_RATES,)


def blend_weights(corrections: Corrections, blend: Blend) -> BlendWeights:
    """Of a network's ends; what is predicted besides the server's rates does not count."""
    weight, bias = plain(corrections.by.weight), plain(corrections.by.bias)
    return BlendWeights(weight[:N_RATES].copy(), bias[:N_RATES].copy(), plain(blend.objective))


@network_kernel
def worth_of(w, said, rates):
    """What one candidate is worth: said (width or more,) by the network, rates (N_RATES or more,) as networks read
    them."""
    worth = np.float32(0.0)
    for k in range(N_RATES):
        logit = PER_RATE * rates[k] + w.bias[k]
        for d in range(w.corrections.shape[1]):
            logit += said[d] * w.corrections[k, d]
        worth += w.objective[k] * chance_of(logit)
    return worth


@network_kernel
def chance_of(logit):
    """The sigmoid."""
    return ONE / (ONE + exponential(-logit))
