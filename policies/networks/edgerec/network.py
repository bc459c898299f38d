"""EdgeRec (CIKM 2020, arXiv 2005.08416): HUBSM encodes what the person did, CRBAN reranks the candidates with it.

As published: exposures and page views apart, actions and items apart, five 3-layer GRUs of width 32, behaviour
attention in Bahdanau's form with items as keys and items + actions as values, an MLP over [c_IPV; c_IE; p_CND; s_CND].
Chosen here, because the paper is silent: padding gets no attention; s is the top layer at the last live candidate; one
hidden layer with ReLU, no dropout; time since a behaviour (rows e7 and d12) enters in the attention, not in the GRUs,
because an encoding that advances one step per behaviour cannot hold what changes while nothing happens. Our addition:
two heads on the same user state, leaves soon and wants a new page.

`network.dense.behaviour` and `network.dense.rerank` run on the phone, one after a behaviour, the other at a rerank;
`network.embeddings` stays in the cloud.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nextone.envs.features import CONTEXT, C, H
from nextone.policies.networks.behaviours import (
    ACTIONS,
    CLOUD,
    EMBEDDED,
    RATES,
    SAID,
    Sequence,
    attention_weights,
    behaviour_sequence,
    cloud_items,
    engaged,
    exposed,
    last_present,
    put_back,
    server_order,
    taken,
)
from nextone.policies.networks.blend import Blend, BlendedDense, Corrections, EdgeNetwork
from nextone.policies.networks.recent_interest import CHANNELS, RecentInterest, content_of, what_is_told

HIDDEN, LAYERS = 32, 3
HEADS = ("leaves_soon", "wants_page")
ABLATIONS = ("", "ie", "ipv", "huism")
"""All of it; exposures only; page views only; items without actions (HUISM)."""


class Encoded(NamedTuple):
    """A behaviour sequence after its encoder."""

    keys: Tensor  # (N, M, HIDDEN): items
    values: Tensor  # (N, M, 2 * HIDDEN): actions and items; (N, M, HIDDEN) without actions
    since: Tensor  # (N, M)
    present: Tensor  # (N, M) 0 or 1
    actions: Tensor  # (N, M, len(ACTIONS)): as they went in
    items: Tensor  # (N, M, EMBEDDED + len(SAID)): as they went in


class Encoder(nn.Module):
    """One kind of behaviour: a GRU over what was done, another over the videos it was done to."""

    def __init__(self, with_actions: bool = True) -> None:
        super().__init__()
        self.items = nn.GRU(EMBEDDED + len(SAID), HIDDEN, LAYERS, batch_first=True)
        self.actions = nn.GRU(len(ACTIONS), HIDDEN, LAYERS, batch_first=True) if with_actions else None
        self.states = LAYERS * (2 if with_actions else 1)

    def start(self, n: int) -> Tensor:
        """Hidden state before the first behaviour, (N, states, HIDDEN)."""
        return torch.zeros(n, self.states, HIDDEN)

    def forward(self, actions: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode M behaviours: actions (N, M, len(ACTIONS)) and items (N, M, EMBEDDED + len(SAID)), from a hidden
        state.

        Returns keys (N, M, HIDDEN), values (N, M, 2 * HIDDEN) and the hidden state after the M behaviours."""
        states = hidden.transpose(0, 1)
        keys, after = self.items(items, states[:LAYERS].contiguous())
        if self.actions is None:
            return keys, keys, after.transpose(0, 1)
        done, after_actions = self.actions(actions, states[LAYERS:].contiguous())
        return keys, torch.cat([done, keys], -1), torch.cat([after, after_actions]).transpose(0, 1)

    def step(self, actions: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One behaviour of each of N people: actions (N, len(ACTIONS)), items (N, EMBEDDED + len(SAID)).

        Returns its key (N, HIDDEN), its value (N, 2 * HIDDEN) and the new hidden state."""
        keys, values, hidden = self(actions[:, None], items[:, None], hidden)
        return keys[:, 0], values[:, 0], hidden


class Behaviour(nn.Module):
    """HUBSM: the sub-model that advances with every behaviour."""

    def __init__(self, ablation: str = "") -> None:
        super().__init__()
        self.exposure = Encoder(ablation != "huism") if ablation != "ipv" else None
        self.page_view = Encoder(ablation != "huism") if ablation != "ie" else None

    def forward(self, exposures: Sequence, page_views: Sequence, carried: Tensor | None = None) -> list[Encoded]:
        """The user context: the encoded exposures, then the encoded page views, as far as this network looks at them.

        carried: the encoders' states from earlier behaviours, (N, S, HIDDEN) as phones keep them, one encoder's after
        the other's; None: these are the first behaviours."""
        encoded, at = [], 0
        for encoder, sequence in ((self.exposure, exposures), (self.page_view, page_views)):
            if encoder is not None:
                before = encoder.start(len(sequence.items)) if carried is None else carried[:, at : at + encoder.states]
                keys, values, _ = encoder(sequence.actions, sequence.items, before)
                at += encoder.states
                actions = sequence.actions if encoder.actions is not None else 0 * sequence.actions
                encoded.append(
                    Encoded(keys, values, sequence.since, sequence.present, actions, sequence.items)
                )
        return encoded


class BehaviourAttention(nn.Module):
    """softmax_j(v tanh(W1 query + W2 key_j + w3 since_j)) over behaviours, and the mean of the values under it."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.since = nn.Linear(1, HIDDEN, bias=False)
        self.energy = nn.Linear(HIDDEN, 1, bias=False)

    def forward(self, queries: Tensor, encoded: Encoded) -> Tensor:
        """(N, P, width of values) for queries (N, P, HIDDEN)."""
        key = self.key(encoded.keys) + self.since(encoded.since[..., None])
        energy = self.energy(torch.tanh(self.query(queries)[:, :, None] + key[:, None]))[..., 0]  # (N, P, M)
        return torch.bmm(attention_weights(energy, encoded.present[:, None]), encoded.values)


class Rerank(nn.Module):
    """CRBAN: the sub-model that runs at a rerank; and heads on the user state alone."""

    def __init__(self, sequences: int, value_width: int) -> None:
        super().__init__()
        self.candidates = nn.GRU(EMBEDDED + len(CLOUD), HIDDEN, LAYERS, batch_first=True)
        self.attention = nn.ModuleList(BehaviourAttention() for _ in range(sequences))
        self.recent = nn.ModuleList(RecentInterest() for _ in range(sequences))
        self.score = nn.Sequential(
            nn.Linear(sequences * (value_width + CHANNELS) + 2 * HIDDEN, HIDDEN), nn.ReLU()
        )
        self.corrections = Corrections(HIDDEN + sequences * CHANNELS)
        self.blend = Blend()
        self.user = nn.Sequential(
            nn.Linear(sequences * value_width + len(CONTEXT), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(HEADS))
        )

    def heads(self, items: Tensor, live: Tensor, encoded: list[Encoded]) -> Tensor:
        """Logits (N, P, len(RATES)) of the candidates: items (N, P, EMBEDDED + len(CLOUD)) in server order, live (N, P)
        0 or 1."""
        queries, _ = self.candidates(items)
        local = last_present(queries, live)[:, None].expand_as(queries)
        attended = [attend(queries, behaviour) for attend, behaviour in zip(self.attention, encoded, strict=True)]
        embedded, rates = items[..., :EMBEDDED], items[..., EMBEDDED : EMBEDDED + len(RATES)]
        recent = [
            leant(
                what_is_told(of.actions, of.items[..., EMBEDDED : EMBEDDED + len(RATES)], of.since),
                content_of(of.items[..., :EMBEDDED]), of.present, embedded,
            )
            for leant, of in zip(self.recent, encoded, strict=True)
        ]  # fmt: skip
        said = self.score(torch.cat([*attended[::-1], *recent, queries, local], -1))
        logits: Tensor = self.corrections(torch.cat([said, *recent], -1), rates)
        return logits

    def person_of(self, encoded: list[Encoded], context: Tensor) -> Tensor:
        """Logits of the person, (N, len(HEADS)); context (N, Fx)."""
        newest = [last_present(behaviour.values, behaviour.present) for behaviour in encoded]
        person: Tensor = self.user(torch.cat([*newest, context], -1))
        return person


class EdgeRecDense(BlendedDense):
    """The part of the network that is on the phone: both sub-models."""

    def __init__(self, ablation: str = "") -> None:
        super().__init__()
        self.behaviour = Behaviour(ablation)
        sequences = 1 if ablation in ("ie", "ipv") else 2
        self.rerank = Rerank(sequences, HIDDEN if ablation == "huism" else 2 * HIDDEN)
        self.blend = self.rerank.blend

    def heads(
        self, candidates: Tensor, of_candidates: Tensor, history: Tensor, of_history: Tensor, context: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Logits (N, P, len(RATES)) of the candidates."""
        return self.all_heads(candidates, of_candidates, history, of_history, context, mask)[0]

    def all_heads(
        self, candidates: Tensor, of_candidates: Tensor, history: Tensor, of_history: Tensor, context: Tensor,
        mask: Tensor, carried: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The candidates' logits, and the person's (N, len(HEADS)). carried: see `Behaviour`."""
        order = server_order(candidates, mask)
        live = torch.gather((mask > 0).to(candidates.dtype), 1, order)
        items = taken(cloud_items(candidates, of_candidates), order) * live[..., None]
        perceived = history[..., H.encoded] > 0
        encoded = self.behaviour(
            behaviour_sequence(history, of_history, exposed(history) & perceived),
            behaviour_sequence(history, of_history, engaged(history) & perceived),
            carried,
        )
        return put_back(self.rerank.heads(items, live, encoded), order), self.rerank.person_of(encoded, context)


class EdgeRec(EdgeNetwork):
    """The whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self, ablation: str = "") -> None:
        super().__init__(EdgeRecDense(ablation))

    def all_heads(
        self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor, carried: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the candidates (N, P, len(RATES)) and of the person (N, len(HEADS)). carried: the encoders' states
        before the oldest of history, see `Behaviour`."""
        of_candidates, of_history = self.embeddings(candidates, C), self.embeddings(history, H)
        logits, person = self.dense.all_heads(candidates, of_candidates, history, of_history, context, mask, carried)
        return logits, person
