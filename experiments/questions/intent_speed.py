"""How fast must interests pass before reacting on the phone pays?

The half-life of a passing interest is varied, from a minute to two hours, and the cloud knows how fast interests pass.
Half a minute on 2 cores.

Found: a rule by tags gains at any speed, +.6 % ±.2 of watch time over the server's order from a minute to twenty and
least at two hours (+.28 % ±.19), where the server has learnt as well; of valid plays most at a minute (+1.4 % ±.4 and
+.6 % ±.3). The server's own score on the phone is the server's order: between them hardly anything can be told.
"""

from .what_if import WhatIf

HALF_LIVES = {
    f"{minutes}": f"interests.intent_half_life_min={minutes} server.assumed_half_life_min={minutes}"
    for minutes in (1, 5, 20, 120)
}

WHAT_IF = WhatIf(
    axis="half-life of a passing interest, min",
    values=HALF_LIVES,
    series={"server_score": "server_score", "tag_momentum": "tag_momentum", "cloud_only": "cloud_only"},
    usual="20",
    show=(("gain", "watch_s"), ("gain", "valid_play"), ("gain", "like"), ("level", "watch_s")),
    log_axis=True,
)
