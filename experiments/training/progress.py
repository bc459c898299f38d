"""How far a training is, on standard error: a bar on a terminal; elsewhere, as in a job's log, a line now and then."""

import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

Look = Mapping[str, float]
EVERY_S = 60.0  # between lines, where nothing else is to be told


class Shown:
    """A counter up to `total`; it shows nothing if not `wanted`."""

    def __init__(self, total: int, unit: str, *, wanted: bool) -> None:
        self._total, self._unit, self._done, self._last = total, unit, 0, time.monotonic()
        self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, disable=not (wanted and sys.stderr.isatty()))
        self._lines = wanted and self._bar.disable

    def at(self, done: int) -> None:
        """So many steps are done."""
        self._bar.update(done - self._done)
        self._done = done
        if self._lines and time.monotonic() - self._last >= EVERY_S:
            self._line("")

    def tell(self, news: str) -> None:
        """Show a result at this point."""
        self._bar.set_postfix_str(news)
        if self._lines:
            self._line(f": {news}")

    def close(self) -> None:
        """End the display."""
        self._bar.close()

    def _line(self, news: str) -> None:
        self._last = time.monotonic()
        sys.stderr.write(f"nextone: {self._done:,} of {self._total:,} {self._unit}{news}\n")
        sys.stderr.flush()


def brought_nothing(looks: Sequence[Look]) -> int:
    """How many epochs did not lower the loss on held-out people, `valid`, below all before."""
    losses = np.array([look["valid"] for look in looks])
    return int((losses[1:] >= np.minimum.accumulate(losses)[:-1]).sum()) if len(losses) else 0


def epochs_are_over(looks: Sequence[Look], epochs: int, patience: int) -> bool:
    """Whether a training of an edge network ends: all epochs are over, or `patience` of them brought nothing."""
    return len(looks) >= epochs or brought_nothing(looks) >= patience
