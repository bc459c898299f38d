"""How many candidates should a page of six ship to a phone that ranks?

About two minutes on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="candidates shipped with a page of 6",
    values=along("server.candidates", 6, 20, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="20",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "queue_p95_ms"), ("level", "wasted_mb")),
    log_axis=True,
    servers=True,
)

if __name__ == "__main__":
    main(__file__)
