"""On which networks does choosing on the phone gain, and what does a commute with outages change?

Everybody is on the link named. The commute is a drive with twelve outages of 30 s an hour instead of one in two. With
"serve", expired candidates may be shown while there is no network. A minute on 2 cores.

Found: choosing on the phone gains most where the link fails. tag_momentum has +16.7 % ±3.5 watch time over the cloud's
order on the commute, +1.2 % ±.7 on 4G, +.8 % ±.6 while driving, +.5 % ±.8 on 3G, and +.4 % ±.2 on WiFi. On the commute
the pool brings the gain, rather than the choice: a phone that ranks holds 20 candidates where the cloud's page has 6,
and people wait for pages a tenth as long. The commute itself costs 41 to 49 % against 4G. Serving expired candidates
changes nothing at a TTL of 600 s, because outages are shorter.
"""

from nextone.experiments.questions.what_if import WhatIf
from nextone.sim.config import LINK_CLASSES

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
