"""Does a slow phone lose what choosing on it gains?

Every decision takes what a network's was measured to take on the phone named (`phone.reference_ms`), though a rule
makes it, which is quicker; "slow" is a made-up phone at a second a decision. "asked early" decides when the current
video starts instead of at the swipe. A minute on 2 cores.

Found: only at a second a decision. On a low Android phone 12 % of picks come before their ranking is ready and take
the one before; watch time gains as much as on iOS, +.76 % ±.31 and +.73 % ±.28. At a second 97 % of picks are stale
and what is left of the gain cannot be told from nothing (+.24 % ±.42); asking early leaves 3 % stale and does not bring
it back, perhaps since it knows a video less.
"""

from nextone.sim.config import TIERS, Scenario

from .what_if import WhatIf

WHAT_IF = WhatIf(
    axis="phone",
    values={
        tier: f"phone.inference_ms={ms}"
        for tier, ms in zip(TIERS, Scenario().phone.reference_ms, strict=True)
        if tier in ("ios", "android_low")
    }
    | {"slow, 1 s": "phone.inference_ms=1000"},
    series={
        "cloud_only": "cloud_only",
        "tag_momentum": "tag_momentum",
        "asked early": "tag_momentum client.decide_at=start",
    },
    usual="ios",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "stale_picks"), ("level", "startup_p95_ms")),
)
