"""How deep should a phone preload when a reranker may change its mind?

Half a minute on 2 cores.

Found: one video ahead is nearly enough. Without preloading 2.1 % ±.2 of watch time is lost, with one .12 % ±.06 under
the cloud's order and nothing that can be seen under tag_momentum. Reranking pays for depth in bytes: 98, 106 and 127
MB a person are wasted at 1, 3 and 8 videos, while the cloud's order, which nobody changes, stays at 95 to 97.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="videos preloaded (3 s of each)",
    values=along("player.preload_videos", 0, 1, 3, 8),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="3",
    show=(("level", "wasted_mb"), ("level", "startup_p95_ms"), ("level", "stall_ratio"), ("change", "watch_s")),
)
