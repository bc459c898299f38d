"""How fast must interests pass before reacting on the phone pays?

The half-life of a passing interest is varied, from a minute to two hours, and the cloud knows how fast interests pass.
Half a minute on 2 cores.

Found: a rule by tags gains at every speed. Its gain in watch time over the server's score is +.6 % ±.2 from a minute to
twenty, and least at two hours (+.33 % ±.13), where the server has had time to learn as well. Its gain in valid plays is
largest at one minute and at five (+1.4 % ±.4, +1.5 % ±.7). The server's own score on the phone and the server's order
can hardly be told apart.
"""

from nextone.experiments.questions.what_if import WhatIf

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
