"""How deep should a phone preload when a reranker may change its mind?

About three minutes on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="videos preloaded (3 s of each)",
    values=along("player.preload_videos", 0, 1, 3, 8),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="3",
    show=(("level", "wasted_mb"), ("level", "startup_p95_ms"), ("level", "stall_ratio"), ("change", "watch_s")),
)

if __name__ == "__main__":
    main(__file__)
