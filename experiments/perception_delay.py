"""How much is it worth to the cloud to see behaviour sooner, 60 s to none, and what is left to a phone that sees all?

About two minutes on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="perception delay of the cloud, s",
    values=along("server.feature_lag_s", 0, 10, 30, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="30",
    show=(("change", "watch_s"), ("gain", "watch_s"), ("change", "valid_play"), ("gain", "valid_play")),
)

if __name__ == "__main__":
    main(__file__)
