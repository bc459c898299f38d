"""`recent_interest.py`, compiled: where a person leans, once a decision, and how much of it each candidate has.

Called by the networks' twins. The columns that describe a behaviour are the predicted rates, what was done, and the
time since.
"""

from typing import Any, NamedTuple

import numpy as np

from nextone.envs.features import H
from nextone.sim.config import DIMS
from nextone.sim.state import Array

from .behaviours import EMBEDDED
from .compiled_behaviours import DONE, N_RATES, PAST_RATES, scaled, what_was_done
from .compiled_layers import linear, network_kernel, plain, rectify, stacked
from .recent_interest import CHANNELS, PER_BEHAVIOUR, WEIGHED

CONTENT = EMBEDDED - DIMS
"""Where the server's embedding begins in what is embedded of a video."""


class RecentWeights(NamedTuple):
    """Weights of S sequences of behaviours, each with a network of its own."""

    told: Array  # (S, TOLD, WEIGHED)
    told_bias: Array  # (S, WEIGHED)
    channels: Array  # (S, CHANNELS, WEIGHED): output first, and a behaviour's share of the sum
    channels_bias: Array  # (S, CHANNELS)


def recent_weights(modules: list[Any]) -> RecentWeights:
    """The weights of `RecentInterest` modules, one for each sequence."""
    told = stacked([module.weigh[0] for module in modules])
    weight, bias = (
        np.array([PER_BEHAVIOUR * plain(getattr(module.weigh[2], name)) for module in modules])
        for name in ("weight", "bias")
    )
    return RecentWeights(*told, weight, bias)


@network_kernel
def what_is_told(row, out):
    """What `RecentInterest` reads of a past impression (Fh,), into out (TOLD or more,)."""
    scaled(row, PAST_RATES, out)
    what_was_done(row, out[N_RATES:])
    out[N_RATES + len(DONE)] = row[H.since]


@network_kernel
def lean(w, s, told, embedded):
    """Where the behaviours of sequence s lean, (CHANNELS, DIMS). told (M, TOLD or more): what the network reads of
    them; embedded (M, EMBEDDED or more): of their videos."""
    leaning, inner = np.zeros((CHANNELS, DIMS), np.float32), np.empty((len(told), WEIGHED), np.float32)
    linear(told, w.told[s], w.told_bias[s], inner)
    rectify(inner)
    for m in range(len(told)):
        for channel in range(CHANNELS):
            weight = w.channels_bias[s, channel]
            for k in range(WEIGHED):
                weight += inner[m, k] * w.channels[s, channel, k]
            for d in range(DIMS):
                leaning[channel, d] += weight * embedded[m, CONTENT + d]
    return leaning


@network_kernel
def alike(leaning, embedded, out):
    """How much of the direction in which a person leans a video has, embedded (EMBEDDED or more,), into out (CHANNELS
    or more,)."""
    for channel in range(CHANNELS):
        out[channel] = np.float32(0.0)
        for d in range(DIMS):
            out[channel] += embedded[CONTENT + d] * leaning[channel, d]
