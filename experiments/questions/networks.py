"""On which networks does choosing on the phone gain, and what does a commute with outages change?

Everybody is on the link named. The commute drives with twelve outages of 30 s an hour instead of one in two; with
"serve" expired candidates may be shown while there is no network. A minute on 2 cores.

Found: where the link fails. On the commute tag_momentum has +16.7 % ±3.5 watch time over the cloud's order, on 4G
+1.2 % ±.7, while driving +.8 % ±.6, on 3G +.5 % ±.8, on WiFi +.4 % ±.2. On the commute the pool does it rather than
the choice: a phone that ranks holds 20 candidates, the cloud's page 6, and people wait for pages a tenth as long. The
commute itself costs 41 to 49 % against 4G. Serving expired candidates changes nothing at a TTL of 600 s: outages are
shorter.
"""

from nextone.sim.config import LINK_CLASSES

from .what_if import WhatIf

COMMUTE = "network.shares=[0,0,0,0,0,1,0,0] network.outages_per_hour=12 network.outage_s=30"

WHAT_IF = WhatIf(
    axis="network",
    values={
        name: f"network.shares={[int(k == LINK_CLASSES.index(name)) for k in range(len(LINK_CLASSES))]}"
        for name in ("wifi5", "4g", "oslo_3g", "driving")
    }
    | {"commute": COMMUTE, "commute, serve": f"{COMMUTE} client.expired_offline=serve"},
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="4g",
    show=(("change", "watch_s"), ("gain", "watch_s"), ("level", "wait_ratio"), ("level", "stall_ratio")),
)
