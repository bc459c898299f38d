"""What the page looks up at every step: which runs there are, and what each of them says first."""

import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, quote

from nextone.experiments.output.timeline import TIMELINE, read_timeline, timeline_sentence
from nextone.sim.scenario import SettingError

from .ab_tests import ab_view
from .comparisons import comparison_view
from .entries import UNREADABLE, Entry, Listing, Pace, find, one_line, progress_line
from .releases import release_view
from .sweeps import sweep_view
from .trainings import read_training

LOOK_S = 1.0  # a listing younger than that is as good as a new one
BUDGET_S = 1.0  # for reading first sentences, at each look


class Shelf:
    """The runs under a folder, looked for again when a page asks. Used by several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock, self._looked_s = threading.Lock(), -LOOK_S
        self._listing = Listing((), "")
        self._pace, self._said = Pace(), dict[tuple[str, str], str]()

    def listing(self) -> Listing:
        """The runs under the folder, at most LOOK_S old."""
        with self._lock:
            if time.monotonic() - self._looked_s >= LOOK_S:
                self._listing, self._looked_s = find(self.root), time.monotonic()
            return self._listing

    def entry(self, search: str | None) -> Entry | None:
        """The run that an address names, `?run=KEY`; None if it names none of those that were found."""
        asked = parse_qs((search or "").removeprefix("?")).get("run", [""])[0]
        return next((each for each in self.listing().entries if each.key in (asked, quote(asked))), None)

    def named(self, search: str) -> Entry:
        """As `entry`. Raises SettingError for a run that was deleted while its page was open."""
        entry = self.entry(search)
        if entry is None:
            raise SettingError("this run is not there any more; go back to the list")
        return entry

    def far(self, entry: Entry) -> str:
        """How far a run is, with the time left where that is known."""
        with self._lock:
            left_s = self._pace.left_s(entry, time.monotonic())
        return progress_line(entry.standing, left_s) if entry.standing and entry.state == "running" else entry.told

    def first_sentences(self) -> dict[str, str]:
        """By key, the first sentence of the answer of each run that is finished; "" where it is not read yet."""
        until = time.monotonic() + BUDGET_S
        found = {}
        for entry in self.listing().entries:
            at = entry.key, entry.stamp
            if at not in self._said and time.monotonic() < until and entry.state in ("finished", "running"):
                self._said[at] = first_sentence(entry)
            found[entry.key] = self._said.get(at, "")
        return found


def first_sentence(entry: Entry) -> str:
    """The answer's first sentence, or what is wrong, in one line; "" of a sweep that is at work."""
    try:
        if entry.kind == "comparison":
            return comparison_view(entry.folder, entry.stamp).verdict[0]
        if entry.kind == "sweep":
            return "" if entry.state == "running" else sweep_view(entry.folder, entry.stamp).verdict[0]
        if entry.kind == "A/B test":
            return ab_view(entry.folder, entry.stamp).verdict[0]
        if entry.kind == "release":
            return release_view(entry.folder, entry.stamp).verdict[0]
        if entry.kind == "training":
            return " ".join(read_training(entry.folder).sentences[:2])
        return timeline_sentence(read_timeline(entry.folder / TIMELINE))
    except UNREADABLE as error:
        return one_line(error)
