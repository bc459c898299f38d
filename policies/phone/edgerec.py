"""EdgeRec as it runs on the phone: encoders that advance with every behaviour, and reranks at triggers.

From decision to decision a phone keeps the state of each encoder and its output for the last behaviours. An encoder
reads a behaviour once the phone has perceived it (`H.encoded`), after the ones before it; a rerank reads what is there.
Between triggers nothing is computed and the last order stays. Triggers are the paper's: an engagement, a "not
interested", or `QUIET` impressions without either. The loop is in `edgerec_loop.py`; called by `loading.py`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nextone.envs.features import Observation, X
from nextone.policies.contract import Scores
from nextone.policies.networks.behaviours import ACTIONS, CLOUD, EMBEDDED, SAID
from nextone.policies.networks.compiled_layers import in_threads
from nextone.policies.networks.edgerec.compiled import Read, edgerec_weights
from nextone.policies.networks.edgerec.network import HIDDEN, EdgeRec, Encoded, Encoder, Rerank
from nextone.sim.state import Array

from .costs import cost_of
from .edgerec_loop import Memory, Settings, carry, decide_people, loop, memory_of
from .policies import Part

QUIET = 14
"""Impressions without feedback that trigger a rerank, unless the policy's name says `@every=5`, from 1 to 999. Assumed:
EdgeRec does not publish its k; with this one the mean is about five reranks per page of 50, as its Table 3 has it
(`tests/policies/test_edge_deployed.py`). A long view is no trigger: four of ten impressions here are long views, where
few exposures are clicked at Taobao."""
ASKED = 1024
"""People the phone's policy is asked about at once: one in ten triggers."""


class EdgeRecPhone:
    """EdgeRec's network as a Policy (`policies/contract.py`).

    kept: how many behaviours it attends to. quiet: k of the third trigger. ask: whether it asks for a page when the
    heads on the person say so at a rerank. It runs compiled until an engine takes the place of its `parts`. The heads
    are no part, and always run compiled."""

    kind = "edgerec"
    at_a_time = ASKED

    def __init__(
        self, network: EdgeRec, name: str = "edgerec", kept: int = 20, quiet: int = QUIET, ask: bool = False
    ) -> None:
        self.network, self.__name__ = network.eval(), name
        self.besides = 1 if ask else 0  # scores besides those of candidates: of asking for a page
        behaviour = network.dense.behaviour
        encoders = {"exposure": behaviour.exposure, "page_view": behaviour.page_view}
        self.encoders: dict[str, Encoder] = {kind: e for kind, e in encoders.items() if e is not None}
        self.calls = {**dict.fromkeys(self.encoders, 0.0), "rerank": 1.0}  # behaviours call the encoders
        self.cost = cost_of(self.kind, self.calls)
        numbers = (list(self.encoders).index(kind) if kind in self.encoders else -1 for kind in encoders)
        self.settings = Settings(kept, quiet, *numbers)
        self.weights = edgerec_weights(network)
        self.on_engine: dict[str, nn.Module] = {}

    def asked_after(self, past: int) -> int:
        """For how many impressions without feedback a phone need not ask EdgeRec, if it sees `past` of them: in between
        EdgeRec would decide nothing, and it reads later what happened. 0: ask at every swipe."""
        kept, quiet = self.settings.kept, self.settings.quiet
        return quiet if quiet < min(kept, past) else 0

    def start(self, n: int) -> Memory:
        """Memory of n people before their first decision."""
        encoders = list(self.encoders.values())
        width = HIDDEN if encoders[0].actions is None else 2 * HIDDEN
        return memory_of(n, sum(encoder.states for encoder in encoders), self.settings.kept, width)

    def carried(self, behaviours: Array, begin: Array, end: Array) -> Array:
        """The states of a phone's encoders after it has read behaviours begin[k] to end[k] - 1 of (B, Fh), one by one,
        oldest first, from nothing on: (N, S, HIDDEN), as `Memory.hidden`. Training begins where phones are."""
        order = np.lexsort([end, begin])
        hidden = np.zeros((len(order), *self.start(0).hidden.shape[1:]), np.float32)
        in_threads(
            carry, self.weights, begin[order], end[order], hidden, behaviours=behaviours, settings=self.settings
        )
        states = np.empty_like(hidden)
        states[order] = hidden
        return states

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        """The parts that the phone runs, with inputs of one person: two encoders and the reranker, which are deployed
        separately."""
        width, kept = self.start(0).values.shape[2], min(self.settings.kept, rows)
        read = Encoded(
            torch.zeros(1, kept, HIDDEN), torch.zeros(1, kept, width), torch.zeros(1, kept), torch.ones(1, kept),
            torch.zeros(1, kept, len(ACTIONS)), torch.zeros(1, kept, EMBEDDED + len(SAID)),
        )  # fmt: skip
        items, live = torch.zeros(1, slots, EMBEDDED + len(CLOUD)), torch.ones(1, slots)
        steps = {kind: (Step(encoder), Step(encoder).example()) for kind, encoder in self.encoders.items()}
        return {
            **steps,
            "rerank": (RerankOnPhone(self.network.dense.rerank), (items, live, *read * len(self.encoders))),
        }

    def install(self, parts: dict[str, nn.Module]) -> None:
        """Run these instead of the parts."""
        self.on_engine = parts

    def __call__(self, observation: Observation, memory: tuple[Array, ...]) -> tuple[Scores, Memory]:
        """The memory given changes."""
        now = Memory._make(memory)
        return self.in_place(observation, now, np.arange(len(now.number))), now

    def in_place(self, observation: Observation, memory: Memory, rows: Array) -> Scores:
        """The scores of the people in `rows` (n,) of the memory, which is changed: ten KB a person are not copied each
        time."""
        self._restart(memory, rows, observation.context[:, X.old_model] > 0)
        n, slots = observation.mask.shape
        scores = np.full((n, slots + self.besides), -np.inf, np.float32)  # the last order stands
        if self.on_engine:
            self._by_engine(observation, memory, rows, scores)
        else:
            in_threads(
                decide_people, self.weights, *observation, rows, scores, memory=memory, settings=self.settings
            )
        return scores

    def _restart(self, memory: Memory, rows: Array, old_model: Array) -> None:
        """Encodings of another version of the model are no use: all behaviours are taken in once more."""
        changed = rows[old_model != memory.old_model[rows]]
        for name, kept in memory._asdict().items():
            if name != "quiet":
                kept[changed] = 0
        memory.old_model[rows] = old_model

    @torch.inference_mode()
    def _by_engine(self, observation: Observation, memory: Memory, rows: Array, scores: Array) -> None:
        candidates, history, context, mask = observation
        engine = ByEngine(self.on_engine, tuple(self.encoders), mask.shape[1])
        decide = loop(engine.encode, engine.rerank)
        for k, i in enumerate(rows):
            decide(self.weights, candidates[k], history[k], context[k], mask[k], memory, i, scores[k], self.settings)


class ByEngine(NamedTuple):
    """The loop's two forward functions, which call the parts that an engine runs, for a pool of so many slots."""

    parts: dict[str, nn.Module]
    kinds: tuple[str, ...]  # of the encoders
    slots: int

    def encode(self, w: Any, e: int, actions: Array, items: Array, hidden: Array, key: Array, value: Array) -> None:
        """See `edgerec_loop.loop`; hidden, key and value are changed."""
        key[0], value[:], hidden[:] = self._run(self.kinds[e], actions[0], items[0], hidden)

    def rerank(self, w: Any, items: Array, read: Read) -> Array:
        """See `edgerec_loop.loop`; an engine's file is for pools of one size, the live candidates first."""
        filled, live = np.zeros((self.slots, items.shape[1]), np.float32), np.zeros(self.slots, np.float32)
        filled[: len(items)], live[: len(items)] = items, 1.0
        present = (np.arange(read.since.shape[1]) < read.counts[:, None]).astype(np.float32)
        encoded = (read.keys, read.values, read.since, present, read.actions, read.items)  # in `Encoded`'s order
        return self._run("rerank", filled, live, *(array[s] for s in range(len(present)) for array in encoded))[0]

    def _run(self, part: str, *inputs: Array) -> tuple[Array, ...]:
        """One person through a part."""
        answer: Any = self.parts[part](*(torch.from_numpy(np.array(array)[None]) for array in inputs))
        return tuple(tensor[0].numpy() for tensor in (answer if isinstance(answer, tuple) else (answer,)))


class Step(nn.Module):
    """What the phone runs after a behaviour: from its features and the state before to key, value and new state."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, actions: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Encoder.step`."""
        return self.encoder.step(actions, items, hidden)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of one person."""
        states = self.encoder.states
        return torch.zeros(1, len(ACTIONS)), torch.zeros(1, EMBEDDED + len(SAID)), torch.zeros(1, states, HIDDEN)


class RerankOnPhone(nn.Module):
    """What the phone runs at a rerank: the worth of candidates, in the order given."""

    def __init__(self, rerank: Rerank) -> None:
        super().__init__()
        self.rerank = rerank

    def forward(self, items: Tensor, live: Tensor, *encoded: Tensor) -> Tensor:
        """encoded: the tensors of each sequence's `Encoded` in turn."""
        each = len(Encoded._fields)
        sequences = [Encoded(*encoded[k : k + each]) for k in range(0, len(encoded), each)]
        worth: Tensor = self.rerank.blend(self.rerank.heads(items, live, sequences))
        return worth
