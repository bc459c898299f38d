"""How deep should a phone preload when a reranker may change its mind?

Half a minute on 2 cores.

Found: one video ahead is nearly enough. Without preloading 6.4 % ±.4 of watch time is lost, with one .37 % ±.14 under
the cloud's order. Reranking pays for depth in bytes: 218, 227 and 243 MB a person are wasted at 1, 3 and 8 videos, by
the cloud's order 219, 221 and 226.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="videos preloaded (3 s of each)",
    values=along("player.preload_videos", 0, 1, 3, 8),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="3",
    show=(("level", "wasted_mb"), ("level", "startup_p95_ms"), ("level", "stall_ratio"), ("change", "watch_s")),
)
