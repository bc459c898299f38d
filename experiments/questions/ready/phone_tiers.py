"""Does a slow phone lose what choosing on it gains?

Every decision takes the time that a network's decision was measured to take on the phone named (`phone.reference_ms`),
though a rule makes it, which is quicker. "slow" is an invented phone that takes a second a decision. "asked early"
decides when the current video starts instead of at the swipe. A minute on 2 cores.

Found: only a phone that takes a second a decision loses. On a low Android phone 12 % of picks come before their ranking
is ready and use the one before, but watch time gains as much as on iOS, +.76 % ±.31 and +.73 % ±.28. At a second a
decision 97 % of picks are stale, and the gain that is left cannot be told from 0 (+.24 % ±.42). Asking early leaves 3 %
stale and does not bring the gain back, perhaps because less is known about a video that has just started.
"""

from nextone.experiments.questions.what_if import WhatIf
from nextone.sim.config import TIERS, Scenario

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
