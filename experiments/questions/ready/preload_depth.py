"""How deep should a phone preload when a reranker may change its mind?

Half a minute on 2 cores.

Found: one video ahead is nearly enough. Under the cloud's order 6.2 % ±.6 of watch time is lost without preloading, and
.15 % ±.31 with one video. A phone that reranks pays for depth in bytes: 205, 214 and 230 MB a person are wasted with 1,
3 and 8 videos preloaded, and under the cloud's order 206, 208 and 213.
"""

from nextone.experiments.questions.what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="videos preloaded (3 s of each)",
    values=along("player.preload_videos", 0, 1, 3, 8),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="3",
    show=(("level", "wasted_mb"), ("level", "startup_p95_ms"), ("level", "stall_ratio"), ("change", "watch_s")),
)
