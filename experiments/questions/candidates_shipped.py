"""How many candidates should a page of six ship to a phone that ranks?

A minute on 2 cores.

Found: for likes the more the better, +1.9 % ±1.0 with the page alone (6), +28.7 % ±4.9 with 20, +44 % ±8 with 60; for
watch time nothing that can be seen, and 60 are rather worse (−.47 % ±.48). The price is the servers': the 95th
percentile of waits for a worker goes from 170 to 247 to 577 ms, and 10 MB more a person are wasted from 20 on.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="candidates shipped with a page of 6",
    values=along("server.candidates", 6, 20, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="20",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "queue_p95_ms"), ("level", "wasted_mb")),
    log_axis=True,
    servers=True,
)
