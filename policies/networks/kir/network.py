"""KIR-like: DeepFM, and two independent Transformers over what was watched, one on ids, one on server predictions.

From the public part of Kuaishou's article (KIR, November 2020): both read the watched list with feedback, time and
index, the second as a correction of the predicted rates; every swipe triggers; the best one is shown. The text breaks
off before it says how they are fused. Chosen here, hence "-like": tokens of watched videos see each other, a
candidate's token sees them and itself; two layers of width 32 with four heads; the candidate's outputs, the FM's terms,
among them that with what was just liked (`recent_interest.py`), and its features go through an MLP, and beside it, to
corrections of the server's rates (`blend.py`) and to has_next.
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
    columns_of,
    scaled,
    what_was_done,
)
from nextone.policies.networks.blend import Blend, BlendedDense, Corrections, EdgeNetwork
from nextone.policies.networks.recent_interest import CHANNELS, RecentInterest, content_of, what_is_told

WIDTH, LAYERS, ATTENTION_HEADS = 32, 2, 4
FACTORS = 8
TIMES = ("since", "index")
OTHERS = ("has_next", "watch")
"""What is predicted besides the server's rates: that the person swipes on, and the time played, as `play_time`."""
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
        """tokens (N, T, WIDTH); sees (N, 1, T, T): added to the attention's energy, 0 or DEAD.

        first: the first token whose output is wanted, (N, T - first, WIDTH); the last layer's other outputs would go
        unused."""
        split = self.query_key_value(self.attention_norm(tokens)).unflatten(-1, (3 * ATTENTION_HEADS, -1))
        query, key, value = split.transpose(1, 2).chunk(3, 1)  # (N, heads, T, WIDTH / heads)
        attended = scaled_dot_product_attention(query[:, :, first:], key, value, attn_mask=sees[:, :, first:])
        tokens = tokens[:, first:] + self.mixed(attended.transpose(1, 2).flatten(2))
        after: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return after


class Transformer(nn.Module):
    """From tokens of watched videos and of candidates to what the former say about each of the latter."""

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


class KirDense(BlendedDense):
    """The part of the network that is on the phone."""

    def __init__(self) -> None:
        super().__init__()
        fields = EMBEDDED + len(NUMBERS) + len(CONTEXT)
        self.by_id = Transformer(EMBEDDED)
        self.by_rate = Transformer(len(RATES))
        self.factors = nn.Linear(fields, FACTORS, bias=False)
        self.recent = RecentInterest()
        self.deep = nn.Sequential(
            nn.Linear(fields + FACTORS + CHANNELS + 2 * WIDTH, 2 * WIDTH), nn.ReLU(),
            nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(),
        )  # fmt: skip
        self.corrections = Corrections(fields + FACTORS + CHANNELS + WIDTH, len(OTHERS))
        self.blend = Blend(watch=len(RATES) + OTHERS.index("watch"))

    def heads(
        self, candidates: Tensor, of_candidates: Tensor, history: Tensor, of_history: Tensor, context: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Logits (N, P, len(RATES) + len(OTHERS)), ids already embedded."""
        slots, rows = candidates.shape[1], history.shape[1]
        index = (torch.arange(rows, device=history.device, dtype=history.dtype) / rows).expand(len(history), -1)
        times = torch.stack([history[..., H.since], index], -1)
        done, sees = what_was_done(history), visible(history[..., H.present], slots)
        ids = self.by_id(of_candidates, of_history, done, times, sees)
        predicted = scaled(history, columns_of(RATES, H))
        of_server = scaled(candidates, columns_of(RATES, C))
        rates = self.by_rate(of_server, predicted, done, times, sees)
        fields = torch.cat([of_candidates, scaled(candidates, NUMBERS), context[:, None].expand(-1, slots, -1)], -1)
        pairs = 0.5 * (self.factors(fields) ** 2 - (fields**2) @ (self.factors.weight.T**2))  # (N, P, FACTORS)
        told = what_is_told(done, predicted, history[..., H.since])
        recent = self.recent(told, content_of(of_history), history[..., H.present], of_candidates)
        deep = self.deep(torch.cat([fields, pairs, recent, ids, rates], -1))
        logits: Tensor = self.corrections(torch.cat([fields, pairs, recent, deep], -1), of_server)
        return logits


def visible(present: Tensor, slots: int) -> Tensor:
    """What each token may attend to, (N, 1, H + P, H + P), 0 or DEAD: to all that was watched, and to itself."""
    n, rows = present.shape
    watched = torch.cat([present, present.new_zeros(n, slots)], 1)[:, None]  # (N, 1, T)
    itself = torch.eye(rows + slots, device=present.device, dtype=present.dtype)
    return ((1.0 - torch.maximum(watched, itself)) * DEAD)[:, None]


class Kir(EdgeNetwork):
    """The whole model: `dense` for the phone, `embeddings` for the cloud."""

    def __init__(self) -> None:
        super().__init__(KirDense())
