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
    Embeddings,
    cloud_items,
    last_present,
    put_back,
    server_order,
    taken,
)
from nextone.policies.networks.edgerec.network import HIDDEN, LAYERS

INPUTS = (0, 1, 5)
"""Of a decision's inputs (candidates, their embeddings, history, its embeddings, context, mask) those that are used."""


class DnnRankDense(nn.Module):
    """An MLP on each candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(EMBEDDED + len(CLOUD), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, 1),
        )  # fmt: skip

    def forward(self, candidates: Tensor, of_candidates: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.score(cloud_items(candidates, of_candidates))[..., 0]
        return logits


class DlcmDense(nn.Module):
    """A GRU over the list, then an MLP on each candidate and the list's context."""

    def __init__(self) -> None:
        super().__init__()
        self.candidates = nn.GRU(EMBEDDED + len(CLOUD), HIDDEN, LAYERS, batch_first=True)
        self.score = nn.Sequential(nn.Linear(2 * HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, candidates: Tensor, of_candidates: Tensor, mask: Tensor) -> Tensor:
        order = server_order(candidates, mask)
        live = torch.gather((mask > 0).to(candidates.dtype), 1, order)
        outputs, _ = self.candidates(taken(cloud_items(candidates, of_candidates), order) * live[..., None])
        local = last_present(outputs, live)[:, None].expand_as(outputs)
        return put_back(self.score(torch.cat([outputs, local], -1))[..., 0], order)


class CloudRank(nn.Module):
    """DNN-rank or DLCM: `dense` and `embeddings`, both in the cloud."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.dense = dense

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P) of engagement from candidates (N, P, Fc) and mask (N, P); history and context are not used."""
        logits: Tensor = self.dense(candidates, self.embeddings(candidates, C), mask)
        return logits
