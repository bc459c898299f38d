"""In which form an observation is handed out: the spaces, and views of the one array that holds what every phone sees.

`envs/episode.py` fills one row of float32 per person: candidates, context, history, each as it lies in C, which is what
`gymnasium.spaces.flatten` makes of them. No form observes anything itself. Called by `envs/batch.py`.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .features import CANDIDATE, CONTEXT, HISTORY, Feature, Observation

Observations = Any
"""By form: a dict of arrays, or one array; a row per person."""

FORMS = ("dict", "flat", "masked")
"""dict: `candidates`, `context`, `history` and `mask`. flat: the first three in one Box. masked: that Box as
`observations`, beside `action_mask`."""
FEATURES = ("all", "compact")
"""compact: candidates without the server's embeddings, context, and no history. What past impressions say of a
candidate is still there: its columns about its counterpart."""
DTYPES = ("float32", "float16")


class Part(NamedTuple):
    """One of the arrays that an observation consists of."""

    name: str
    features: tuple[Feature, ...]
    shape: tuple[int, ...]  # of one person's

    @property
    def size(self) -> int:
        """How many numbers one person's has."""
        return prod(self.shape)


class Form:
    """How the observed rows are handed out, and the space of one person's observation.

    slots, past, actions: how many there are. form, features, dtype: one of FORMS, FEATURES, DTYPES. Raises
    SettingError."""

    def __init__(self, slots: int, past: int, actions: int, form: str, features: str, dtype: str) -> None:
        pool, context = _part("candidates", CANDIDATE, slots), _part("context", CONTEXT)
        self._parts = [pool, context, _part("history", HISTORY, past)]
        self.size = sum(part.size for part in self._parts)  # of a row as it is observed
        self._form, self._dtype, self._columns = form, np.dtype(dtype), None
        if features == "compact":
            kept = [k for k, feature in enumerate(CANDIDATE) if not feature.name.startswith("embedding_")]
            columns = np.add.outer(np.arange(slots) * len(CANDIDATE), kept).ravel()
            self._columns = np.concatenate([columns, pool.size + np.arange(context.size)])
            self._parts = [_part("candidates", tuple(CANDIDATE[k] for k in kept), slots), context]
        ends = np.cumsum([part.size for part in self._parts]).tolist()
        self._places = [
            (part.name, slice(end - part.size, end), part.shape) for part, end in zip(self._parts, ends, strict=True)
        ]
        self.space = self._space(spaces.Box(0, 1, (actions,), np.int8))

    @property
    def as_observed(self) -> bool:
        """Whether rows are handed out as they were observed, without a copy."""
        return self._columns is None and self._dtype == np.float32

    def told(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """The numbers of this form, (N, D), from rows as they were observed."""
        kept = rows if self._columns is None else rows.take(self._columns, axis=1)
        return kept.astype(self._dtype, copy=False)

    def seen(self, told: NDArray[Any], masks: NDArray[np.int8]) -> Observations:
        """Observations as views of what `told` returned; masks (N, A) become theirs. Of one person alone, (D,) and
        (A,), it is what that person sees."""
        if self._form == "flat":
            return told
        if self._form == "masked":
            return {"action_mask": masks.copy(), "observations": told}
        lead = told.shape[:-1]
        seen = {name: told[..., place].reshape(*lead, *shape) for name, place, shape in self._places}
        seen["mask"] = masks.copy()
        return seen

    def _space(self, mask: spaces.Box) -> spaces.Space[Any]:
        boxes = [self._box(part) for part in self._parts]
        if self._form == "dict":
            named: list[tuple[str, spaces.Space[Any]]] = [
                (part.name, box) for part, box in zip(self._parts, boxes, strict=True)
            ]
            return spaces.Dict([*named, ("mask", mask)])
        low, high = (
            np.concatenate([bound.ravel() for bound in bounds])
            for bounds in ([box.low for box in boxes], [box.high for box in boxes])
        )
        flat = spaces.Box(low, high, dtype=self._dtype.type)
        return flat if self._form == "flat" else spaces.Dict({"action_mask": mask, "observations": flat})

    def _box(self, part: Part) -> spaces.Box:
        low = np.broadcast_to(np.array([f.low for f in part.features], self._dtype), part.shape)
        high = np.broadcast_to(np.array([f.high for f in part.features], self._dtype), part.shape)
        return spaces.Box(low.copy(), high.copy(), dtype=self._dtype.type)


def rows_of(observation: Observation) -> NDArray[np.float32]:
    """An observation as policies see it, as the rows (N, D) that the world observes into."""
    parts = observation.candidates, observation.context, observation.history
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def row_of(observations: Observations, i: int | np.integer[Any]) -> Observations:
    """The observation of person i."""
    if isinstance(observations, dict):
        return {name: array[i] for name, array in observations.items()}
    return observations[i]


def _part(name: str, features: tuple[Feature, ...], *rows: int) -> Part:
    return Part(name, features, (*rows, len(features)))
