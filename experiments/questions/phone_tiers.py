"""Does a slow phone lose what choosing on it gains?

Everybody has the phone named; "slow" is a made-up one at a second a decision. "asked early" decides when the current
video starts instead of at the swipe. A minute on 2 cores.

Found: no. On a low Android phone 11.7 % of picks come before their ranking is ready and take the one before; likes
gain as much as on iOS, +29.9 % ±6.1 and +29.4 % ±5.7. At a second 95 % of picks are stale, and likes still gain +26.8
% ±6.8; asking early leaves 4.3 % stale and changes no gain that can be seen. In watch time there is no gain to lose
on any of them. What a slow phone costs is the start after a wait: the 95th percentile of start-up grows by 275 % ±83
at a second, by 81 % ±31 on low Android, by 28 % ±19 on iOS.
"""

from nextone.sim.config import TIERS

from .what_if import WhatIf

WHAT_IF = WhatIf(
    axis="phone",
    values={name: f"phone.shares={[int(tier == name) for tier in TIERS]}" for name in ("ios", "android_low")}
    | {"slow, 1 s": "phone.inference_ms=1000"},
    series={
        "cloud_only": "cloud_only",
        "tag_momentum": "tag_momentum",
        "asked early": "tag_momentum client.decide_at=start",
    },
    usual="ios",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "stale_picks"), ("gain", "startup_p95_ms")),
)
