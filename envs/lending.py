"""Memory lent to arrays and given back by the last array that looks at it. Called by `envs/batch.py`.

The observations of a thousand people take some megabytes. Fresh memory from the system for each step would cost about
as much as computing the features, because each page of it has to be mapped and zeroed. Yet nobody has to copy what they
want to keep: an array that somebody holds, or a slice or tensor of it, is never written again.
"""

import numpy as np
from numpy.typing import NDArray

Memory = NDArray[np.float32]

KEPT = 4  # pieces kept for reuse; more than a loop that holds the last two or three observations takes in turn


class Lender:
    """Arrays of one shape, float32, in memory that the lender owns."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._spare: list[Memory] = []

    def lend(self) -> Memory:
        """Return an array whose memory no other array shares. Its values are arbitrary."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(self.shape, np.float32)
        return np.asarray(_Loan(memory, self._spare))


class _Loan:
    """What a lent array and all views of it hold (numpy's `base`). It ends with the last of them."""

    def __init__(self, memory: Memory, spare: list[Memory]) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory, self._spare = memory, spare

    def __del__(self) -> None:
        if len(self._spare) < KEPT:
            self._spare.append(self._memory)
