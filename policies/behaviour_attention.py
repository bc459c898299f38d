"""EdgeRec's behaviour attention for many candidates, compiled; and a reranker that uses it.

The energy of candidate t and behaviour j is v tanh(q_t + k_j), 32 tangents for each pair. With a = exp(2 q) and
b = exp(2 k), tanh(q + k) = 1 - 2 / (1 + a b): the exponentials are per candidate and per behaviour, a pair costs a
division, and the constant sum of v drops out of the softmax. The same as `edgerec.BehaviourAttention` to 1e-6, and
several times as fast; nothing is computed for padding. Called by `edgerec_phone.py`; engines run the network's own.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from .edgerec import BehaviourAttention, Encoded, Rerank

MOST = 40.0  # of |q| and |k|: exp(80) is a float32, and the product of two may be infinite without harm


@njit(cache=True, nogil=True, error_model="numpy")
def attend(a, b, v, values, counts, out):
    """Attention's means into out (N, P, V), float32.

    a (N, D, P) of candidates; b (N, M, D) and values (N, M, V) of behaviours, of which each person has the first
    counts (N,); v (D,)."""
    n, width, slots = a.shape
    one, two = np.float32(1.0), np.float32(2.0)
    energy = np.empty((b.shape[1], slots), np.float32)
    best, total = np.empty(slots, np.float32), np.empty(slots, np.float32)
    for i in range(n):
        out[i, :, :] = 0.0
        best[:], total[:] = -np.inf, 0.0
        for j in range(counts[i]):
            row = energy[j]
            row[:] = 0.0
            for d in range(width):
                key, weight = b[i, j, d], two * v[d]
                for t in range(slots):
                    row[t] -= weight / (one + a[i, d, t] * key)
            for t in range(slots):
                best[t] = max(best[t], row[t])
        for j in range(counts[i]):
            for t in range(slots):
                energy[j, t] = np.exp(energy[j, t] - best[t])
                total[t] += energy[j, t]
        for j in range(counts[i]):
            for t in range(slots):
                share = energy[j, t] / total[t]
                for d in range(out.shape[2]):
                    out[i, t, d] += share * values[i, j, d]


class FastAttention:
    """`BehaviourAttention` by the kernel; if its weights are so large that exponentials might overflow, as it is.

    Queries and keys are a GRU's outputs, hence within [-1, 1], and `since` within [0, 1]: that bounds q and k."""

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, BehaviourAttention)
        self.module, self.v = module, module.energy.weight.detach()[0].numpy()
        query = module.query.weight.detach().abs().sum(1) + module.query.bias.detach().abs()
        key = module.key.weight.detach().abs().sum(1) + module.since.weight.detach().abs()[:, 0]
        self.safe = max(float(query.max()), float(key.max())) < MOST

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, since: Tensor, present: Tensor) -> Tensor:
        """As the module's; what is present comes first."""
        if not self.safe:
            said: Tensor = self.module(queries, Encoded(keys, values, since, present))
            return said
        a = exponential(self.module.query(queries)).transpose(1, 2).contiguous()
        b = exponential(self.module.key(keys) + self.module.since(since[..., None]))
        out = torch.empty(*queries.shape[:2], values.shape[2])
        attend(a.numpy(), b.numpy(), self.v, values.contiguous().numpy(), present.sum(1).long().numpy(), out.numpy())
        return out


class FastRerank:
    """`edgerec_phone.RerankOnPhone`, faster."""

    def __init__(self, rerank: Rerank) -> None:
        self.rerank = rerank
        self.attention = [FastAttention(module) for module in rerank.attention]

    def __call__(self, items: Tensor, live: Tensor, context: Tensor, *encoded: Tensor) -> Tensor:
        queries, _ = self.rerank.candidates(items)
        last = (live.sum(1).long() - 1).clamp(min=0)  # live ones come first
        local = queries[torch.arange(len(queries)), last][:, None].expand_as(queries)
        attended = [
            attention(queries, *encoded[4 * k : 4 * k + 4]) for k, attention in enumerate(self.attention)
        ]
        logits: Tensor = self.rerank.score(torch.cat([*attended[::-1], queries, local], -1))[..., 0]
        return logits


def exponential(x: Tensor) -> Tensor:
    """exp(2 x)."""
    return torch.exp(2.0 * x)
