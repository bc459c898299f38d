"""EdgeRec as it runs on the phone: encoders that advance with every behaviour, reranks at triggers, orders that stand.

A phone keeps, from decision to decision, the state of each encoder and what it said of the last behaviours. A behaviour
is taken in once the phone has perceived it (`H.encoded`), after the ones before it; a rerank reads what is there.
Between triggers nothing is computed and the last order stands. Triggers are the paper's: an engagement, a "not
interested", or `QUIET` impressions without either. Called by `policies/phone/policies.py`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nextone.envs.features import CONTEXT, Observation, X
from nextone.policies.contract import Scores
from nextone.policies.networks.behaviours import ACTIONS, CLOUD, EMBEDDED, SAID
from nextone.policies.networks.compiled_layers import in_threads
from nextone.policies.networks.edgerec.compiled import edgerec_weights
from nextone.policies.networks.edgerec.network import HIDDEN, EdgeRec, Encoded, Encoder, Rerank
from nextone.sim.state import Array

from .edgerec_loop import (
    decide_people,
    describe,
    is_page_view,
    items_of,
    next_due,
    notice,
    read_out,
    server_order,
)

QUIET = 14
"""Impressions without feedback that trigger a rerank. EdgeRec does not publish its k; with this one the mean is about
five reranks per page of 50 (`tests/policies/test_edge_deployed.py`). A long view is no trigger: four of ten impressions
here are long views, where few exposures are clicked at Taobao."""
ASKED = 1024
"""People the phone's policy is asked about at once: one in ten triggers."""


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
    """EdgeRec's network as a Policy (`policies/contract.py`). kept: behaviours attended to; quiet: k of the third
    trigger.

    Compiled (`edgerec_loop.py`) until an engine takes the place of its `parts`."""

    downloaded = True
    at_a_time = ASKED

    def __init__(self, network: EdgeRec, name: str = "edgerec", kept: int = 20, quiet: int = QUIET) -> None:
        self.network, self.__name__, self.kept, self.quiet = network.eval(), name, kept, quiet
        behaviour = network.dense.behaviour
        encoders = {"exposure": behaviour.exposure, "page_view": behaviour.page_view}
        self.encoders: dict[str, Encoder] = {kind: e for kind, e in encoders.items() if e is not None}
        self.numbers = tuple(list(self.encoders).index(kind) if kind in self.encoders else -1 for kind in encoders)
        self.weights = edgerec_weights(network)
        self.on_engine: dict[str, nn.Module] = {}

    def asked_after(self, past: int) -> int:
        """How many impressions without feedback phones may leave it unasked, if it sees `past` of them: it would decide
        nothing in between, and takes in later what happened. 0: it is to be asked at every swipe."""
        return self.quiet if self.quiet < min(self.kept, past) else 0

    def start(self, n: int) -> Memory:
        encoders = list(self.encoders.values())
        states = sum(encoder.states for encoder in encoders)
        width = HIDDEN if encoders[0].actions is None else 2 * HIDDEN
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
        steps = {kind: (Step(encoder), Step(encoder).example()) for kind, encoder in self.encoders.items()}
        inputs = (items, live, torch.zeros(1, len(CONTEXT)), *read * len(self.encoders))
        return {**steps, "rerank": (RerankOnPhone(self.network.dense.rerank), inputs)}

    def install(self, parts: dict[str, nn.Module]) -> None:
        """Let these run in the parts' place."""
        self.on_engine = parts

    def __call__(self, observation: Observation, memory: tuple[Array, ...]) -> tuple[Scores, Memory]:
        """memory moves."""
        now = Memory._make(memory)
        return self.in_place(observation, now, np.arange(len(now.number))), now

    def in_place(self, observation: Observation, memory: Memory, rows: Array) -> Scores:
        """Of the people in `rows` (n,) of the memory, which moves: ten KB a person are not copied each time."""
        self._restart(memory, rows, observation.context[:, X.old_model] > 0)
        scores = np.full(observation.mask.shape, -np.inf, np.float32)  # the last order stands
        if self.on_engine:
            for k, i in enumerate(rows):
                self._by_engine(Observation(*(array[k] for array in observation)), memory, i, scores[k])
        else:
            in_threads(
                decide_people, self.weights, *observation, rows, scores, **memory._asdict(),
                kept=self.kept, most=self.quiet, exposures=self.numbers[0], page_views=self.numbers[1],
            )  # fmt: skip
        return scores

    def _restart(self, memory: Memory, rows: Array, old_model: Array) -> None:
        """Encodings of another version of the model are no use: all behaviours are taken in anew."""
        changed = rows[old_model != memory.old_model[rows]]
        for name, kept in memory._asdict().items():
            if name != "quiet":
                kept[changed] = 0
        memory.old_model[rows] = old_model

    @torch.inference_mode()
    def _by_engine(self, seen: Observation, memory: Memory, i: int, scores: Array) -> None:
        """`edgerec_notes.decide_people` of person i, the networks' parts run by an engine."""
        marks, _, hidden, keys, values, encoded, _, _ = (array[i] for array in memory)
        history, w, ring = seen.history, self.weights, len(encoded)
        count, fires = notice(
            history, self.kept, self.quiet, marks, memory.number[i : i + 1], encoded, memory.quiet[i : i + 1]
        )
        number = int(memory.number[i])
        while (k := next_due(history, count, number, encoded)) >= 0:
            kind, at = "page_view" if is_page_view(history[k]) else "exposure", (number - 1 - k) % ring
            if kind in self.encoders:
                states = self.encoders[kind].states
                own = slice(list(self.encoders).index(kind) * states, (list(self.encoders).index(kind) + 1) * states)
                actions, items = np.empty(len(ACTIONS), np.float32), np.empty(EMBEDDED + len(SAID), np.float32)
                describe(w, history[k], actions, items)
                keys[at], values[at], hidden[own] = self._run(kind, actions, items, hidden[own])
            encoded[at] = True
        order = np.empty(len(scores), np.int64)
        slots = server_order(seen.candidates, seen.mask, order)
        if fires and slots:
            items, live = np.zeros((len(order), EMBEDDED + len(CLOUD)), np.float32), np.zeros(len(order), np.float32)
            items[:slots], live[:slots] = items_of(w, seen.candidates, order[:slots]), 1.0
            key, value, since, counts = read_out(history, count, number, keys, values, encoded, *self.numbers)
            present = (np.arange(since.shape[1]) < counts[:, None]).astype(np.float32)
            read = (array[s] for s in range(len(counts)) for array in (key, value, since, present))
            (logits,) = self._run("rerank", items, live, seen.context, *read)
            scores[:] = 0.0
            scores[order[:slots]] = logits[:slots]

    def _run(self, part: str, *inputs: Array) -> tuple[Array, ...]:
        """One person through a part."""
        said: Any = self.on_engine[part](*(torch.from_numpy(np.array(array)[None]) for array in inputs))
        return tuple(tensor[0].numpy() for tensor in (said if isinstance(said, tuple) else (said,)))


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
