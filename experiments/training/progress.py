"""How far a training is, on standard error: a bar on a terminal; elsewhere, as in a job's log, a line now and then."""

import sys
import time

from tqdm import tqdm  # type: ignore[import-untyped]

EVERY_S = 60.0  # between lines, where nothing else is to be told


class Shown:
    """Counts up to `total`; shows nothing if not `wanted`."""

    def __init__(self, total: int, unit: str, *, wanted: bool) -> None:
        self._total, self._unit, self._done, self._last = total, unit, 0, time.monotonic()
        self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, disable=not (wanted and sys.stderr.isatty()))
        self._lines = wanted and self._bar.disable

    def at(self, done: int) -> None:
        """So many are done."""
        self._bar.update(done - self._done)
        self._done = done
        if self._lines and time.monotonic() - self._last >= EVERY_S:
            self._line("")

    def tell(self, news: str) -> None:
        """What was found at this point."""
        self._bar.set_postfix_str(news)
        if self._lines:
            self._line(f": {news}")

    def close(self) -> None:
        """No more of it."""
        self._bar.close()

    def _line(self, news: str) -> None:
        self._last = time.monotonic()
        sys.stderr.write(f"nextone: {self._done:,} of {self._total:,} {self._unit}{news}\n")
        sys.stderr.flush()
