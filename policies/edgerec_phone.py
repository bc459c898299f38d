"""EdgeRec as it runs on the phone: encoders that advance with every behaviour, reranks at triggers, orders that stand.

A phone keeps, from decision to decision, the state of each encoder and what it said of the last behaviours. A behaviour
is taken in once the phone has perceived it (`H.encoded`), after the ones before it; a rerank reads what is there.
Between triggers nothing is computed and the last order stands. Triggers are the paper's: an engagement, a "not
interested", or `QUIET` impressions without either. Called by `policies/edge.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nextone.envs.features import CONTEXT, C, H, Observation, X
from nextone.sim.config import FEEDBACK

from .base import Scores
from .behaviours import (
    ACTIONS,
    CLOUD,
    EMBEDDED,
    SAID,
    cloud_items,
    columns_of,
    engaged,
    oldest_first,
    put_back,
    server_order,
    taken,
    what_it_was,
    what_was_done,
)
from .edgerec import HIDDEN, EdgeRec, Encoded, Encoder, Rerank
from .edgerec_compiled import CompiledRerank, CompiledStep
from .rules import hash_columns

Array = NDArray[Any]

QUIET = 14
"""Impressions without feedback that trigger a rerank. EdgeRec does not publish its k; with this one the mean is about
five reranks per page of 50 (`tests/test_edge_deployed.py`). A long view is no trigger: four of ten impressions here are
long views, where few exposures are clicked at Taobao."""
ASKED = 1024
"""People the phone's policy is asked about at once: one in ten triggers."""
TELLING = [*columns_of((*ACTIONS, *SAID), H), H.tag, H.tag2]
"""Columns by which a behaviour is recognised: all that do not change while time passes."""


class Memory(NamedTuple):
    """What phones keep; S states of the encoders, the last K behaviours: number b in row b % K."""

    marks: Array  # (N, 2) uint64: by which the two newest behaviours are recognised; 0: none yet
    number: Array  # (N,) behaviours so far
    hidden: Array  # (N, S, HIDDEN)
    keys: Array  # (N, K, HIDDEN)
    values: Array  # (N, K, width of values)
    encoded: Array  # (N, K) bool
    quiet: Array  # (N,) impressions since the last trigger
    old_model: Array  # (N,) bool: of the model's version before


class EdgeRecPhone:
    """EdgeRec's network as a Policy (`policies/base.py`). kept: behaviours attended to; quiet: k of the third trigger.

    `rerank_on_phone` and `steps` are what the phone runs, compiled (`edgerec_compiled.py`); an engine may take their
    place (`engines.py`)."""

    downloaded = True
    at_a_time = ASKED

    def __init__(self, network: EdgeRec, name: str = "edgerec", kept: int = 20, quiet: int = QUIET) -> None:
        self.network, self.__name__, self.kept, self.quiet = network.eval(), name, kept, quiet
        behaviour = network.dense.behaviour
        self.encoders: list[Encoder] = [e for e in (behaviour.exposure, behaviour.page_view) if e is not None]
        self.of_page_views = [encoder is behaviour.page_view for encoder in self.encoders]
        self.steps: list[Callable[..., tuple[Tensor, ...]]] = [CompiledStep(encoder) for encoder in self.encoders]
        self.rerank_on_phone: Callable[..., Tensor] = CompiledRerank(network.dense.rerank)

    def start(self, n: int) -> Memory:
        states = sum(encoder.states for encoder in self.encoders)
        width = HIDDEN if self.encoders[0].actions is None else 2 * HIDDEN
        return Memory(
            np.zeros((n, 2), np.uint64), np.zeros(n, np.int64), np.zeros((n, states, HIDDEN), np.float32),
            np.zeros((n, self.kept, HIDDEN), np.float32), np.zeros((n, self.kept, width), np.float32),
            np.zeros((n, self.kept), np.bool_), np.zeros(n, np.int32), np.zeros(n, np.bool_),
        )  # fmt: skip

    def parts(self, slots: int, rows: int) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """What the phone runs, with inputs of one person: two encoders and the reranker, deployed apart."""
        width, kept = self.start(0).values.shape[2], min(self.kept, rows)
        read = [torch.zeros(1, kept, HIDDEN), torch.zeros(1, kept, width), torch.zeros(1, kept), torch.ones(1, kept)]
        items, live = torch.zeros(1, slots, EMBEDDED + len(CLOUD)), torch.ones(1, slots)
        steps = {
            "page_view" if of_page_views else "exposure": (Step(encoder), Step(encoder).example())
            for encoder, of_page_views in zip(self.encoders, self.of_page_views, strict=True)
        }
        inputs = (items, live, torch.zeros(1, len(CONTEXT)), *read * len(self.encoders))
        return {**steps, "rerank": (RerankOnPhone(self.network.dense.rerank), inputs)}

    def install(self, parts: dict[str, nn.Module]) -> None:
        """Let these run in the parts' place."""
        self.steps = [parts["page_view" if of_page_views else "exposure"] for of_page_views in self.of_page_views]
        self.rerank_on_phone = parts["rerank"]

    @torch.inference_mode()
    def __call__(self, observation: Observation, memory: tuple[Array, ...]) -> tuple[Scores, Memory]:
        now, history = Memory._make(memory), observation.history[:, : self.kept]
        old = observation.context[:, X.old_model] > 0
        now = self._restarted(now, old != now.old_model)._replace(old_model=old)
        now, new = seen(now, history)
        now = self._advanced(now, history)
        fires, quiet = triggers(history, new, now.quiet, self.quiet)
        scores = np.full(observation.mask.shape, -np.inf, np.float32)  # the last order stands
        rows = np.flatnonzero(fires & observation.mask.any(1))
        if len(rows):
            scores[rows] = self._reranked(observation, history, now, rows)
        return scores, now._replace(quiet=quiet)

    def _restarted(self, memory: Memory, changed: Array) -> Memory:
        """Encodings of another version of the model are no use: all behaviours are taken in anew."""
        if not changed.any():
            return memory
        fresh = self.start(len(changed))
        return Memory(*(
            np.where(changed.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for old, new in zip(memory, fresh, strict=True)
        ))._replace(quiet=memory.quiet)  # fmt: skip

    def _advanced(self, memory: Memory, history: Array) -> Memory:
        """Every encoder, one step per behaviour perceived since, oldest first."""
        present, perceived = history[..., H.present] > 0, history[..., H.encoded] > 0
        place = places(memory, history.shape[1])
        waiting = present & ~np.take_along_axis(memory.encoded, place, 1)
        blocked = np.zeros(len(history), np.bool_)  # by an older behaviour that is not perceived yet
        for k in reversed(range(int(waiting.any(0).nonzero()[0].max(initial=-1)) + 1)):
            due = waiting[:, k] & perceived[:, k] & ~blocked
            blocked |= waiting[:, k] & ~due
            page_view, first = engaged(history[:, k]), 0
            for encoder, step, of_page_views in zip(self.encoders, self.steps, self.of_page_views, strict=True):
                rows = np.flatnonzero(due & (page_view == of_page_views))
                states = slice(first, first + encoder.states)
                first = states.stop
                if len(rows):
                    behaviour = torch.from_numpy(history[rows, k])
                    items = what_it_was(behaviour[:, None], self.network.embeddings(behaviour[:, None], H), H)[:, 0]
                    hidden = torch.from_numpy(memory.hidden[rows, states])
                    key, value, after = step(what_was_done(behaviour), items, hidden)
                    memory.keys[rows, place[rows, k]] = key.numpy()
                    memory.values[rows, place[rows, k]] = value.numpy()
                    memory.hidden[rows, states] = after.numpy()
            memory.encoded[due, place[due, k]] = True
        return memory

    def _reranked(self, observation: Observation, history: Array, memory: Memory, rows: Array) -> Array:
        """Scores (len(rows), P)."""
        candidates, context, mask = (
            torch.from_numpy(array[rows])
            for array in (observation.candidates, observation.context, observation.mask)
        )
        order = server_order(candidates, mask)
        live = torch.gather(mask.to(candidates.dtype), 1, order)
        items = taken(cloud_items(candidates, self.network.embeddings(candidates, C)), order) * live[..., None]
        logits = self.rerank_on_phone(items, live, context, *self._read(memory, history, rows))
        scores: Array = put_back(logits, order).numpy()
        return scores

    def _read(self, memory: Memory, history: Array, rows: Array) -> list[Tensor]:
        """The newest finished encodings: keys, values, since, present of exposures, then page views, oldest first."""
        past, place = torch.from_numpy(history[rows]), places(memory, history.shape[1])[rows]
        keys, values, encoded = (
            torch.from_numpy(array[rows[:, None], place]) for array in (memory.keys, memory.values, memory.encoded)
        )
        page_view = engaged(past)
        read: list[Tensor] = []
        for of_page_views in self.of_page_views:
            member = encoded & (page_view == of_page_views) & (past[..., H.present] > 0)
            order = oldest_first(member)
            present = torch.gather(member, 1, order).to(keys.dtype)
            read += [
                taken(keys, order) * present[..., None], taken(values, order) * present[..., None],
                torch.gather(past[..., H.since], 1, order) * present, present,
            ]  # fmt: skip
        return read


class Step(nn.Module):
    """What the phone runs after a behaviour: key, value and new state, from its features and the state before."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, actions: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.encoder.step(actions, items, hidden)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of one person."""
        states = self.encoder.states
        return torch.zeros(1, len(ACTIONS)), torch.zeros(1, EMBEDDED + len(SAID)), torch.zeros(1, states, HIDDEN)


class RerankOnPhone(nn.Module):
    """What the phone runs at a rerank: logits of candidates, in the order given."""

    def __init__(self, rerank: Rerank) -> None:
        super().__init__()
        self.rerank = rerank

    def forward(self, items: Tensor, live: Tensor, context: Tensor, *encoded: Tensor) -> Tensor:
        """encoded: keys, values, since, present of each sequence in turn."""
        sequences = [Encoded(*encoded[k : k + 4]) for k in range(0, len(encoded), 4)]
        logits: Tensor = self.rerank(items, live, sequences, context)[0]
        return logits


def places(memory: Memory, rows: int) -> Array:
    """Where the newest `rows` behaviours stand in memory, (N, rows), the newest first."""
    place: Array = (memory.number[:, None] - 1 - np.arange(rows)) % memory.encoded.shape[1]
    return place


def seen(memory: Memory, history: Array) -> tuple[Memory, Array]:
    """Memory with room for the behaviours that are new; and how many are, (N,)."""
    n, rows = history.shape[:2]
    present = history[..., H.present] > 0
    marks = np.where(present, hash_columns(history[..., TELLING]), np.uint64(0))
    marks = np.concatenate([marks, np.zeros((n, 1), np.uint64)], 1)
    last = np.arange(rows) == present.sum(1, keepdims=True) - 1  # nothing older is seen: the first mark decides
    known = (marks[:, :-1] == memory.marks[:, :1]) & ((marks[:, 1:] == memory.marks[:, 1:]) | last) & present
    new = np.where(known.any(1), known.argmax(1), present.sum(1))
    memory = memory._replace(marks=marks[:, :2], number=memory.number + new)
    for k in range(int(new.max(initial=0))):
        some = np.flatnonzero(new > k)
        memory.encoded[some, (memory.number[some] - 1 - k) % memory.encoded.shape[1]] = False
    return memory, new


def triggers(history: Array, new: Array, quiet: Array, most: int) -> tuple[Array, Array]:
    """Whose behaviours since they were last asked, the `new` newest, trigger a rerank, (N,); how long it has been
    quiet for each now."""
    feedback = (history[..., [getattr(H, kind) for kind in FEEDBACK]] > 0).any(-1)
    reacted = (feedback & (np.arange(history.shape[1]) < new[:, None])).any(1)
    quiet = quiet + new
    fires = reacted | (quiet >= most)
    return fires, np.where(fires, 0, quiet).astype(np.int32)
