"""The papers' features and what this world has for each: EdgeRec's Table 1 and Table 1 of CIKM 2022, written down once.

docs/edge-models.md shows the table made from here; a test holds every name to `envs/features.py`.
"""

from typing import NamedTuple

from nextone.envs.features import EMBEDDING
from nextone.sim.state import PXTR

EXPOSURE, PAGE_VIEW, ITEM = "EdgeRec, exposure", "EdgeRec, page view", "EdgeRec, item"
CIKM = "CIKM 2022"
CANDIDATES, HISTORY, CONTEXT = "candidates", "history", "context"


class Mapped(NamedTuple):
    """A feature of a paper. columns: names in one array of the observation; none: it has no counterpart, and why."""

    table: str
    id: str
    name: str
    meaning: str
    array: str
    columns: tuple[str, ...]
    remark: str


def _none(table: str, row: str, name: str, meaning: str, why: str) -> Mapped:
    return Mapped(table, row, name, meaning, "", (), why)


_H = HISTORY

MAPPED = (
    Mapped(EXPOSURE, "e1", "exposure_duration", "time on screen", _H, ("play_time", "watch_ratio"), "time played"),
    Mapped(EXPOSURE, "e2", "exposure_count", "times exposed", _H, ("watch_ratio",), "rounds: above .5 it looped"),
    Mapped(EXPOSURE, "e3", "scroll_speed", "fastest scroll over it", _H, ("skip",),
           "a feed of one video a screen has no scroll speed; a swipe within 2 s is the nearest"),
    _none(EXPOSURE, "e4", "scroll_duration", "longest scroll", "a swipe always takes the same time"),
    _none(EXPOSURE, "e5", "scroll_count", "scrolls over it", "one swipe a video"),
    Mapped(EXPOSURE, "e6", "delete_reason", "long-press delete", _H, ("hate",), "without a reason"),
    Mapped(EXPOSURE, "e7", "expose_decay", "time since", _H, ("since",), "enters in the attention, not in the GRU"),
    Mapped(PAGE_VIEW, "d1", "ipv_duration", "time in the detail page", _H, ("play_time", "watch_ratio"), "time played"),
    _none(PAGE_VIEW, "d2", "cart", "added to cart", "nothing is sold"),
    _none(PAGE_VIEW, "d3", "buy", "bought", "nothing is sold"),
    Mapped(PAGE_VIEW, "d4", "favorite", "favourite", _H, ("like",), ""),
    Mapped(PAGE_VIEW, "d5", "comment", "opened comments", _H, ("comment",), "commented; opening alone is not observed"),
    _none(PAGE_VIEW, "d6", "select_SKU", "chose a variant", "nothing is sold"),
    _none(PAGE_VIEW, "d7", "WDJ", "questions and answers", "nothing is sold"),
    _none(PAGE_VIEW, "d8", "wangwang", "chat with the seller", "nothing is sold"),
    _none(PAGE_VIEW, "d9", "detail", "opened the details", "a video has none"),
    Mapped(PAGE_VIEW, "d10", "shop", "entered the shop", _H, ("profile", "follow"), "the author's profile"),
    _none(PAGE_VIEW, "d11", "recommendation", "opened related items", "there are none"),
    Mapped(PAGE_VIEW, "d12", "ipv_decay", "time since", _H, ("since",), "enters in the attention, not in the GRU"),
    Mapped(ITEM, "p1", "category", "", CANDIDATES, ("tag", "tag2"), "embedded"),
    _none(ITEM, "p2", "brand", "", "an author is not part of the world"),
    _none(ITEM, "p3", "gender", "the item's", "a video is for anybody"),
    Mapped(ITEM, "p4", "price_level", "", CANDIDATES, ("duration",), "what a video costs is time; embedded by bucket"),
    _none(ITEM, "p5", "age_level", "the item's", "a video is for anybody"),
    _none(ITEM, "p6", "bc_type", "kind of shop", "there are no kinds of author"),
    Mapped(ITEM, "p7", "scores", "raw scores of the cloud", CANDIDATES, (*PXTR, "popularity", "rank", "score"), ""),
    Mapped(CIKM, "pXTR", "pXTR", "rates predicted by the server", CANDIDATES, PXTR, "the same in the history"),
    Mapped(CIKM, "v_d", "v_d", "duration", CANDIDATES, ("duration",), ""),
    Mapped(CIKM, "v_c", "v_c", "category", CANDIDATES, ("tag", "tag2"), ""),
    Mapped(CIKM, "v_w", "v_w", "watch time of watched videos", _H, ("play_time", "watch_ratio"), ""),
    Mapped(CIKM, "v_feedback", "v_feedback", "like, share, ... on watched videos", _H,
           ("like", "follow", "comment", "forward", "hate", "profile"), ""),
    Mapped(CIKM, "v_t", "v_t", "impression timestamp", _H, ("since",), "as time since"),
    Mapped(CIKM, "v_pos", "v_pos", "impression position", _H, ("position",), ""),
    Mapped(CIKM, "u_net", "u_net", "network condition", CONTEXT, ("cellular", "throughput", "offline"), ""),
    Mapped(CIKM, "v_buffer", "v_buffer", "buffered length of a candidate", CANDIDATES, ("preloaded", "buffered_s"), ""),
)  # fmt: skip
OURS = (
    (HISTORY, ("valid_play", "long_view", "completion", "forward"), "thresholds of KuaiRand, and forwarding"),
    (CANDIDATES, tuple(feature.name for feature in EMBEDDING),
     "what a video shows, as the server embeds it; the same in the history"),
    (CANDIDATES, ("page_age", "age", "impressions_since"), "how old the page is"),
    (CANDIDATES, (*(f"diff_{name}" for name in PXTR), "diff_time", "diff_position", "same_tag"),
     "crossing features of CIKM 2022, with the newest watched video of the candidate's tag"),
    (CONTEXT, ("session_impressions", "session_minutes", "left", "live"), "where in session and page a decision falls"),
)
"""What this world has besides, and the papers' tables do not list."""


def mapping_markdown() -> str:
    """Both tables as Markdown, for the documentation."""
    lines = ["| table | row | feature | meaning | here | remark |", "|---|---|---|---|---|---|"]
    for m in MAPPED:
        here = f"{m.array}: {', '.join(f'`{name}`' for name in m.columns)}" if m.columns else "no counterpart"
        lines.append(f"| {m.table} | {m.id} | {m.name} | {m.meaning} | {here} | {m.remark} |")
    for array, columns, remark in OURS:
        lines.append(f"| ours | | | | {array}: {', '.join(f'`{name}`' for name in columns)} | {remark} |")
    return "\n".join(lines) + "\n"
