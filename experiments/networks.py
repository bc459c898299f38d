"""On which networks does choosing on the phone gain, and what does a commute with outages change?

Everybody is on the link named. The commute drives through 4G with twelve outages of 30 s an hour; with "serve" expired
candidates may be shown while there is no network. About two minutes on 2 cores.
"""

from nextone.sim.config import LINK_CLASSES

from .what_if import WhatIf, main

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
    show=(("change", "watch_s"), ("gain", "watch_s"), ("level", "wait_s"), ("level", "stall_ratio")),
)

if __name__ == "__main__":
    main(__file__)
