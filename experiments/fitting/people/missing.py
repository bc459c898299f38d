"""Which rows of the scoreboard a log cannot have, and what would be needed: a column, or a file beside it.

Called by `validate.py`.
"""

from collections.abc import Iterable

from nextone.experiments.fitting.logs.user_log import UserLog
from nextone.sim.config import FEEDBACK

from .groups import LIKE_AUTHORS, NEXT_AUTHOR
from .lags import LASTING, OTHER_LESS_LASTING, REACTION, SAME_LESS_OTHER, SHOWN

TAGS = frozenset(
    (*SHOWN, LASTING, *SAME_LESS_OTHER, *OTHER_LESS_LASTING, *REACTION, "tag entropy per user", "next item same tag",
     "spread of long view by tag")
)  # fmt: skip
AUTHORS = frozenset((NEXT_AUTHOR, LIKE_AUTHORS))
NO_AUTHORS = "the simulated catalogue has no authors"
NO_SESSION = "needs a column session: every impression of a visit must be in the log"
NO_REQUEST = "needs columns session and request"
NO_RANDOM = "needs a column randomised (KuaiRand: is_rand): videos shown at random"
NO_HOURS = "needs unix times: an origin of the log's own does not tell the hour"
Missing = dict[str, list[str]]
"""What is needed -> the rows that could not be made."""


def add(missing: Missing, needed: str, names: Iterable[str]) -> None:
    """Note rows that could not be made."""
    missing.setdefault(needed, []).extend(names)


def what_is_needed(name: str, log: UserLog) -> str:
    """What a log would need for a row about which it says nothing."""
    kind = next((kind for kind in FEEDBACK if name == kind or name.startswith(f"{kind} given ")), None)
    kind = "like" if kind is None and name.endswith(": like") else kind
    if kind is not None and kind not in log.feedback:
        column = "is_profile_enter" if kind == "profile" else f"is_{kind}"
        return f"needs a column {kind} (KuaiRand: {column})"
    if "by length and hour" in name and not log.has_hours:
        return NO_HOURS
    if name in TAGS and log.tag is None:
        return "needs tags: a column tag, or --videos FILE with columns video_id and tag"
    if name in AUTHORS and log.author is None:
        return "needs authors: a column author, or --videos FILE with columns video_id and author_id"
    return "needs more rows or people"


def lines(missing: Missing) -> list[str]:
    """One line for each thing that is needed."""
    return [f"not made, {needed}: {', '.join(names)}" for needed, names in missing.items()]
