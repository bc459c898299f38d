"""How fast must interests pass before reacting on the phone pays?

The half-life of a passing interest is varied, from a minute to two hours, and the cloud knows how fast interests pass.
Half a minute on 2 cores.

Found: a rule by tags gains at any speed, most at a half-life of five minutes (+.62 % ±.18 of watch time over the
server's order, +1.2 % ±.3 of valid plays) and least at two hours (+.26 % ±.14), where the server has learnt as well.
The server's own score on the phone is the server's order: between them hardly anything can be told.
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
)
