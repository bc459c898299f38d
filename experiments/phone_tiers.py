"""Does a slow phone lose what choosing on it gains?

Everybody has the phone named; "slow" is a made-up one at a second a decision. "asked early" decides when the current
video starts instead of at the swipe. About two minutes on 2 cores.
"""

from nextone.sim.config import TIERS

from .what_if import WhatIf, main

WHAT_IF = WhatIf(
    axis="phone",
    values={
        name: f"phone.shares={[int(tier == name) for tier in TIERS]}" for name in ("ios", "android_low")
    }
    | {"slow, 1 s": "phone.inference_ms=1000"},
    series={
        "cloud_only": "cloud_only",
        "tag_momentum": "tag_momentum",
        "asked early": "tag_momentum client.decide_at=start",
    },
    usual="ios",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "stale_picks"), ("gain", "startup_p95_ms")),
)

if __name__ == "__main__":
    main(__file__)
