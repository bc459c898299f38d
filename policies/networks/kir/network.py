"""KIR-like: DeepFM, and two independent Transformers over what was watched, one on ids, one on server predictions.

From the public part of Kuaishou's article (KIR, November 2020): both read the watched list with feedback, time and
index, the second as a correction of the predicted rates; every swipe triggers; the best one is shown. The text breaks
off before it says how they are fused. Chosen here, hence "-like": tokens of watched videos see each other, a
candidate's token sees them and itself; two layers of width 32 with four heads; the candidate's outputs, the FM's terms
and its features go through an MLP to one logit, of being engaged with.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from nextone.envs.features import CONTEXT, C, H
from nextone.policies.networks.behaviours import (
    ACTIONS,
    DEAD,
    EMBEDDED,
    NUMBERS,
    RATES,
    Embeddings,
    columns_of,
    scaled,
    what_was_done,
)

WIDTH, LAYERS, ATTENTION_HEADS = 32, 2, 4
FACTORS = 8
TIMES = ("since", "index")
EPSILON = 1e-5  # of the variance in a LayerNorm, as torch's own


class Block(nn.Module):
    """One layer of a Transformer, normalised first."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, tokens: Tensor, sees: Tensor, first: int = 0) -> Tensor:
        """tokens (N, T, WIDTH); sees (N, 1, T, T): what is added to the attention's energy, 0 or DEAD.

        first: of the tokens that are wanted, (N, T - first, WIDTH); the last layer's others would go unused."""
        split = self.query_key_value(self.attention_norm(tokens)).unflatten(-1, (3 * ATTENTION_HEADS, -1))
        query, key, value = split.transpose(1, 2).chunk(3, 1)  # (N, heads, T, WIDTH / heads)
        attended = scaled_dot_product_attention(query[:, :, first:], key, value, attn_mask=sees[:, :, first:])
        tokens = tokens[:, first:] + self.mixed(attended.transpose(1, 2).flatten(2))
        after: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return after


class Transformer(nn.Module):
    """Tokens of what was watched and of candidates, to what the former say to each of the latter."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.token = nn.Linear(features + len(ACTIONS) + len(TIMES), WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, candidates: Tensor, watched: Tensor, done: Tensor, times: Tensor, sees: Tensor) -> Tensor:
        """candidates (N, P, F), watched (N, H, F) of the same features, done (N, H, len(ACTIONS)), times (N, H, 2)."""
        nothing = candidates.new_zeros(*candidates.shape[:2], len(ACTIONS) + len(TIMES))
        tokens = torch.cat([torch.cat([watched, done, times], -1), torch.cat([candidates, nothing], -1)], 1)
        tokens = self.token(tokens)
        for k, block in enumerate(self.blocks):
            tokens = block(tokens, sees, watched.shape[1] if k + 1 == LAYERS else 0)
        out: Tensor = tokens
        return out


class KirDense(nn.Module):
    """What is on the phone."""

    def __init__(self) -> None:
        super().__init__()
        fields = EMBEDDED + len(NUMBERS) + len(CONTEXT)
        self.by_id = Transformer(EMBEDDED)
        self.by_rate = Transformer(len(RATES))
        self.first_order = nn.Linear(fields, 1)
        self.factors = nn.Linear(fields, FACTORS, bias=False)
        self.score = nn.Sequential(
            nn.Linear(fields + FACTORS + 2 * WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(),
            nn.Linear(WIDTH, 1),
        )  # fmt: skip

    def forward(
        self, candidates: Tensor, of_candidates: Tensor, history: Tensor, of_history: Tensor, context: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """As `Kir.forward`, ids already embedded."""
        slots, rows = candidates.shape[1], history.shape[1]
        index = (torch.arange(rows, device=history.device, dtype=history.dtype) / rows).expand(len(history), -1)
        times = torch.stack([history[..., H.since], index], -1)
        done, sees = what_was_done(history), visible(history[..., H.present], slots)
        ids = self.by_id(of_candidates, of_history, done, times, sees)
        rates = self.by_rate(
            scaled(candidates, columns_of(RATES, C)), scaled(history, columns_of(RATES, H)), done, times, sees
        )
        fields = torch.cat([of_candidates, scaled(candidates, NUMBERS), context[:, None].expand(-1, slots, -1)], -1)
        pairs = 0.5 * (self.factors(fields) ** 2 - (fields**2) @ (self.factors.weight.T**2))  # (N, P, FACTORS)
        logits: Tensor = self.score(torch.cat([fields, pairs, ids, rates], -1)) + self.first_order(fields)
        out: Tensor = (logits + pairs.sum(-1, keepdim=True))[..., 0]
        return out


def visible(present: Tensor, slots: int) -> Tensor:
    """What each token sees, (N, 1, H + P, H + P), 0 or DEAD: every token what was watched, and itself."""
    n, rows = present.shape
    watched = torch.cat([present, present.new_zeros(n, slots)], 1)[:, None]  # (N, 1, T)
    itself = torch.eye(rows + slots, device=present.device, dtype=present.dtype)
    return ((1.0 - torch.maximum(watched, itself)) * DEAD)[:, None]


class Kir(nn.Module):
    """The whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.dense = KirDense()

    def forward(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, P) that a candidate would be engaged with: candidates (N, P, Fc), history (N, H, Fh) newest first,
        context (N, Fx), mask (N, P); of empty slots anything finite."""
        of_candidates, of_history = self.embeddings(candidates, C), self.embeddings(history, H)
        logits: Tensor = self.dense(candidates, of_candidates, history, of_history, context, mask)
        return logits
