"""The cloud's rankers of EdgeRec's table: DNN-rank scores each candidate alone, DLCM sees the list it stands in.

Both know what the cloud knows of candidates and nothing of what the person does on the phone. DLCM (SIGIR 2018) is
EdgeRec's reranker without behaviours: a GRU over the server's list, its last state as local context, an MLP.
"""

import torch
from torch import Tensor, nn

from nextone.envs.features import C
from nextone.policies.networks.behaviours import (
    CLOUD,
    EMBEDDED,
    RATES,
    cloud_items,
    columns_of,
    last_present,
    put_back,
    scaled,
    server_order,
    taken,
)
from nextone.policies.networks.blend import Blend, BlendedDense, Corrections, EdgeNetwork
from nextone.policies.networks.edgerec.network import HIDDEN, LAYERS

INPUTS = (0, 1, 5)
"""Of a decision's inputs (candidates, their embeddings, history, its embeddings, context, mask) those that are used."""


class DnnRankDense(BlendedDense):
    """An MLP on each candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(EMBEDDED + len(CLOUD), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        self.corrections, self.blend = Corrections(HIDDEN), Blend()

    def heads(self, candidates: Tensor, of_candidates: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P, len(RATES)), from the candidates alone."""
        logits: Tensor = self.corrections(
            self.score(cloud_items(candidates, of_candidates)), scaled(candidates, columns_of(RATES, C))
        )
        return logits


class DlcmDense(BlendedDense):
    """A GRU over the list, then an MLP on each candidate and the list's context."""

    def __init__(self) -> None:
        super().__init__()
        self.candidates = nn.GRU(EMBEDDED + len(CLOUD), HIDDEN, LAYERS, batch_first=True)
        self.score = nn.Sequential(nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU())
        self.corrections, self.blend = Corrections(HIDDEN), Blend()

    def heads(self, candidates: Tensor, of_candidates: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P, len(RATES))."""
        order = server_order(candidates, mask)
        live = torch.gather((mask > 0).to(candidates.dtype), 1, order)
        outputs, _ = self.candidates(taken(cloud_items(candidates, of_candidates), order) * live[..., None])
        local = last_present(outputs, live)[:, None].expand_as(outputs)
        said = put_back(self.score(torch.cat([outputs, local], -1)), order)
        logits: Tensor = self.corrections(said, scaled(candidates, columns_of(RATES, C)))
        return logits


class CloudRank(EdgeNetwork):
    """DNN-rank or DLCM: `dense` and `embeddings`, both in the cloud."""

    def heads(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P, len(RATES)); history and context are not used."""
        logits: Tensor = self.dense.heads(candidates, self.embeddings(candidates, C), mask)
        return logits
