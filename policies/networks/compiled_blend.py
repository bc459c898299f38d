"""`blend.py`, compiled: what a candidate is worth by the server's predicted rates, corrected. Called by the twins."""

from typing import NamedTuple

import numpy as np

from nextone.envs.features import LOGIT_SCALE, MOST_S
from nextone.sim.state import Array

from .behaviours import RATE_SCALE
from .blend import LEAST_S, Blend, Corrections
from .compiled_behaviours import N_RATES
from .compiled_layers import ONE, exponential, network_kernel, plain

LOG_MOST, LEAST = np.float32(np.log1p(MOST_S)), np.float32(LEAST_S)
PER_RATE = np.float32(LOGIT_SCALE / RATE_SCALE)


class BlendWeights(NamedTuple):
    """Weights of corrections and blend, output first, so that each sum runs along a row."""

    corrections: Array  # (N_RATES, width)
    bias: Array  # (N_RATES,)
    objective: Array  # (N_RATES,)
    watch: Array  # (1, width): of the time played, if candidates go by what they are worth per second; (0, width)
    watch_bias: Array  # (1,) or (0,)


def blend_weights(corrections: Corrections, blend: Blend) -> BlendWeights:
    """The weights of a network's corrections and blend. Other predictions are left out, except for the time played, if
    the worth is divided by it."""
    weight, bias = plain(corrections.by.weight), plain(corrections.by.bias)
    watch = [blend.watch] if blend.per_second and blend.watch is not None else []
    return BlendWeights(
        weight[:N_RATES].copy(), bias[:N_RATES].copy(), plain(blend.objective), weight[watch], bias[watch]
    )


@network_kernel
def worth_of(w, said, rates):
    """The worth of one candidate. said (width or more,): the network's output; rates (N_RATES or more,): in the form in
    which networks read them."""
    worth = np.float32(0.0)
    for k in range(N_RATES):
        logit = PER_RATE * rates[k] + w.bias[k]
        for d in range(w.corrections.shape[1]):
            logit += said[d] * w.corrections[k, d]
        worth += w.objective[k] * chance_of(logit)
    if len(w.watch) > 0:
        logit = w.watch_bias[0]
        for d in range(w.watch.shape[1]):
            logit += said[d] * w.watch[0, d]
        worth /= max(exponential(LOG_MOST * chance_of(logit)) - ONE, LEAST)
    return worth


@network_kernel
def chance_of(logit):
    """The sigmoid."""
    return ONE / (ONE + exponential(-logit))
