"""How fast must interests move before reacting on the phone pays?

The step of an interest per video is varied, from none to fourteen times what the public data show (.022). Half a
minute on 2 cores.

Found: nowhere in this span. Correcting by what was just enjoyed (tag_momentum) loses .14 % ±.13 of watch time against
the server's predictions alone at the measured drift; the loss fades as drift grows, to +.02 % ±.19 at .3, without
becoming a gain. The cloud's order differs in watch time by nothing that can be seen; the 22 % fewer likes under
it do not depend on drift.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="drift, logit per video enjoyed or skipped",
    values=along("interests.drift", 0, 0.022, 0.1, 0.3),
    series={"server_score": "server_score", "tag_momentum": "tag_momentum", "cloud_only": "cloud_only"},
    usual="0.022",
    show=(("gain", "watch_s"), ("gain", "valid_play"), ("gain", "like"), ("level", "watch_s")),
)
