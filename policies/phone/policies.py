"""Networks as phones run them: a network as a policy, and a policy whose parts a real engine runs.

What the phone runs of a network are its `parts`. A compiled twin, if the network has one, answers in their place until
an engine's are installed. Called by `loading.py`.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY, C, H, Observation, X
from nextone.policies.contract import Scores, options_of
from nextone.sim.config import Cost
from nextone.sim.state import Array

from .costs import cost_of
from .engines import needs, on_engine, opened
from .tflite_files import files_made

PAD_TO = 32  # people in every forward pass of torch's: then nobody's scores depend on who else is asked

Part = tuple[nn.Module, tuple[Tensor, ...]]
"""What a phone runs, and inputs of one person as an example."""
InPlace = Callable[[Observation, Any, Array], Scores]
"""See `contract.Options.in_place`."""
Compiled = Callable[[Observation], Scores]
"""A network's compiled twin."""


class PhonePolicy(Protocol):
    """A policy whose network consists of parts that an engine can run."""

    __name__: str
    network: Any
    kind: str  # of the network, as `costs.MEASURED` calls it

    @property
    def calls(self) -> dict[str, float]:
        """How often a decision calls each of the parts, on average."""

    @property
    def cost(self) -> Cost:
        """See `contract.Options`."""

    def start(self, n: int) -> Any:
        """See `contract.Policy`."""

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        """See `contract.Policy`."""

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        """The parts that the phone runs, with inputs for a pool of so many slots and so many past impressions."""

    def install(self, parts: dict[str, nn.Module]) -> None:
        """Run these instead of the parts."""


class EdgePolicy:
    """A network that scores at every swipe, from the observation alone, as a PhonePolicy.

    network: has the parts `dense`, which gives the worth of each candidate, and `embeddings`. inputs: which of a
    decision's inputs `dense` takes."""

    def __init__(
        self,
        network: nn.Module,
        name: str,
        kind: str,
        twin: Compiled | None = None,
        inputs: tuple[int, ...] = tuple(range(6)),
    ) -> None:
        self.network: Any = network.eval()
        self.dense: Any = self.network.dense
        self.kind, self.calls = kind, {"dense": 1.0}
        self.cost = cost_of(kind, self.calls)
        self.__name__, self.twin, self.inputs = name, twin, inputs
        self.pad_to = PAD_TO if twin is None else None

    def start(self, n: int) -> None:
        return None

    def __call__(self, observation: Observation, memory: None) -> tuple[Scores, None]:
        if self.twin is not None:
            return self.twin(observation), None
        with torch.inference_mode():
            scores: Scores = self.dense(*self._inputs(*map(torch.from_numpy, observation))).numpy()
            return scores, None

    def parts(self, slots: int, rows: int) -> dict[str, Part]:
        """See `PhonePolicy`."""
        return {"dense": (self.dense, self._inputs(*blank(slots, rows)))}

    def install(self, parts: dict[str, nn.Module]) -> None:
        """See `PhonePolicy`."""
        self.dense, self.twin = parts["dense"], None

    def _inputs(self, candidates: Tensor, history: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        of_candidates, of_history = self.network.embeddings(candidates, C), self.network.embeddings(history, H)
        inputs = (candidates, of_candidates, history, of_history, context, mask)
        return tuple(inputs[k] for k in self.inputs)


class OnEngine:
    """A policy whose parts the real engine runs, one person at a time: opened or exported at the first decision, when
    the sizes are known. checkpoint: the folder it was read from, where its .tflite files are looked for."""

    downloaded = True

    def __init__(self, policy: PhonePolicy, engine: str, checkpoint: Path) -> None:
        needs(engine)
        self.policy, self.engine, self.checkpoint = policy, engine, checkpoint
        self.__name__ = f"{policy.__name__}@{engine}"
        self.sizes: tuple[int, int] | None = None

    def start(self, n: int) -> Any:
        """See `contract.Policy`."""
        return self.policy.start(n)

    def asked_after(self, past: int) -> int:
        """See `contract.Options`."""
        asked_after = options_of(self.policy).asked_after
        return 0 if asked_after is None else asked_after(past)

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        sizes = observation.mask.shape[1], observation.history.shape[1]
        if self.sizes is None:
            self.policy.install(self.running(*sizes))
            self.sizes = sizes
        assert sizes == self.sizes, "an engine's file is for one size of pool and history"
        return self.policy(observation, memory)

    @property
    def cost(self) -> Cost:
        """See `contract.Options`."""
        return cost_of(self.policy.kind, self.policy.calls, self.engine)

    def files(self, slots: int, rows: int) -> dict[str, Path]:
        """Files that were made before, by the name of their part; empty if they are to be made now. Raises
        EngineMissing, CheckpointError."""
        if self.engine != "tflite":
            return {}
        return files_made(self.checkpoint, self.policy.network, slots, rows)

    def running(self, slots: int, rows: int) -> dict[str, nn.Module]:
        """The policy's parts as the engine runs them. Raises as `files`."""
        return {name: self.part(name, slots, rows) for name in self.policy.parts(slots, rows)}

    def part(self, name: str, slots: int, rows: int) -> nn.Module:
        """One of them. Raises as `files`."""
        made = self.files(slots, rows)
        if made:
            return opened(made[name])
        part, example = self.policy.parts(slots, rows)[name]
        with tempfile.TemporaryDirectory() as folder:
            return on_engine(part, example, self.engine, Path(folder), name)


class Versions:
    """A network in two versions: phones that hold the previous version run its weights.

    Each version keeps a memory of everybody who asks it. The newer one is asked about everybody, so that it has seen
    what the older one saw when a phone changes to it."""

    def __init__(self, current: "PhonePolicy | OnEngine", previous: "PhonePolicy | OnEngine") -> None:
        self.versions, self.__name__, self.cost = (current, previous), current.__name__, current.cost
        of_current, of_previous = options_of(current), options_of(previous)
        self.pad_to, self.at_a_time = of_current.pad_to, of_current.at_a_time
        if of_current.in_place is not None and of_previous.in_place is not None:
            self.in_place = partial(self._in_place, (of_current.in_place, of_previous.in_place))

    def start(self, n: int) -> Any:
        """See `contract.Policy`."""
        return tuple(version.start(n) for version in self.versions)

    def asked_after(self, past: int) -> int:
        """See `contract.Options`: as often as the version that wants to be asked more often; at every swipe if either
        does."""
        asked = (options_of(version).asked_after for version in self.versions)
        return min(0 if after is None else after(past) for after in asked)

    def __call__(self, observation: Observation, memory: Any) -> tuple[Scores, Any]:
        old = observation.context[:, X.old_model] > 0
        scores, first = self.versions[0](observation, memory[0])
        if not old.any():
            return scores, (first, memory[1])
        older, second = self.versions[1](observation, memory[1])
        return np.where(old[:, None], older, scores), (first, second)

    def _in_place(self, asked: tuple[InPlace, InPlace], observation: Observation, memory: Any, rows: Array) -> Scores:
        """See `contract.Options`."""
        old = observation.context[:, X.old_model] > 0
        scores = asked[0](observation, memory[0], rows)
        if old.any():
            scores[old] = asked[1](observation, memory[1], rows)[old]
        return scores


def blank(slots: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An observation of one person, all zero but the mask."""
    return (
        torch.zeros(1, slots, len(CANDIDATE)), torch.zeros(1, rows, len(HISTORY)), torch.zeros(1, len(CONTEXT)),
        torch.ones(1, slots),
    )  # fmt: skip
