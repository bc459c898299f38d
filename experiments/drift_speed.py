"""How fast must interests move before reacting on the phone pays?

The step of an interest per video is varied, from none to fourteen times what the public data show. About two minutes on
2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="drift, logit per video enjoyed or skipped",
    values=along("interests.drift", 0, 0.022, 0.1, 0.3),
    series={"server_score": "server_score", "tag_momentum": "tag_momentum", "cloud_only": "cloud_only"},
    usual="0.022",
    show=(("gain", "watch_s"), ("gain", "valid_play"), ("gain", "like"), ("level", "watch_s")),
)

if __name__ == "__main__":
    main(__file__)
