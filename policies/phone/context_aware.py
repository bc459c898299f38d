"""The context-aware network as phones run it: the beam search decides, around three parts of the network.

Called by `loading.py`.
"""

import torch
from torch import Tensor, nn

from nextone.envs.features import C, H, Observation
from nextone.policies.contract import Scores
from nextone.policies.networks.blend import Blend
from nextone.policies.networks.context_aware.compiled import CompiledContextAware
from nextone.policies.networks.context_aware.network import (
    SAID,
    WIDTH,
    ContextAware,
    ContextAwareDense,
    Search,
    crossed_with_candidates,
    scores_of,
    search_lists,
    tokens_of,
)

from .costs import cost_of, search_calls
from .policies import Part, blank


class ListPolicy:
    """A PhonePolicy that ranks the first video of the best list first, and the others by what they would bring next."""

    kind = "context_aware"

    def __init__(self, network: ContextAware, name: str, search: Search | None = None) -> None:
        self.network, self.__name__, self.search = network.eval(), name, search or Search()
        self.calls = search_calls(self.search.beams)
        self.cost = cost_of(self.kind, self.calls)
        self.twin: CompiledContextAware | None = CompiledContextAware(network, self.search)

    def start(self, n: int) -> None:
        return None

    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        if self.twin is not None:
            return self.twin(observation), None
        with torch.inference_mode():
            candidates, history, context, mask = map(torch.from_numpy, observation)
            return scores_of(*search_lists(self.network, candidates, history, context, mask, self.search)).numpy(), None

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        """Attention to what was watched, once a decision; attention to what is placed, and the towers, once a beam and
        step."""
        candidates, history, context, _ = blank(slots, rows)
        dense, network = self.network.dense, self.network
        tokens = tokens_of(candidates, network.embeddings(candidates, C))
        crossed = crossed_with_candidates(candidates, tokens, torch.zeros(1, slots))
        return {
            "watched": (Watched(dense), (candidates, tokens, history, network.embeddings(history, H))),
            "placed": (dense.placed, (tokens, tokens, crossed, torch.zeros(1, 1, slots))),
            "towers": (Towers(dense), (tokens, torch.zeros(1, slots, SAID), torch.zeros(1, slots, WIDTH), context)),
        }

    def install(self, parts: dict[str, nn.Module]) -> None:
        """See `PhonePolicy`."""
        self.network.dense, self.twin = ContextAwareParts(parts, self.network.dense.blend), None


class Watched(nn.Module):
    """Attention (a) and recent interest, once a decision."""

    def __init__(self, dense: ContextAwareDense) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, candidates: Tensor, tokens: Tensor, history: Tensor, of_history: Tensor) -> Tensor:
        """See `ContextAwareDense.from_watched`."""
        return self.dense.from_watched(candidates, tokens, history, of_history)


class Towers(nn.Module):
    """MMoE and towers, once a beam and step."""

    def __init__(self, dense: ContextAwareDense) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, tokens: Tensor, watched: Tensor, placed: Tensor, context: Tensor) -> Tensor:
        """See `ContextAwareDense.towers_of`."""
        return self.dense.towers_of(tokens, watched, placed, context)


class ContextAwareParts(nn.Module):
    """`ContextAwareDense`, as far as the search calls it, made of parts that run elsewhere; the search does the
    blending."""

    def __init__(self, parts: dict[str, nn.Module], blend: Blend) -> None:
        super().__init__()
        self.blend = blend
        self.from_watched, self.placed, self.towers_of = parts["watched"], parts["placed"], parts["towers"]
