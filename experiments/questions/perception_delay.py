"""How much is it worth to the cloud to see behaviour sooner, 60 s to none, and what is left to a phone that sees all?

Half a minute on 2 cores.

Found: next to nothing. Against the usual 30 s, a cloud that sees at once has +.06 % ±.07 watch time and +.16 % ±.18
valid plays, one that sees after 60 s −.01 % ±.05 and +.05 % ±.08; and what the phone gains over it (+.11 % ±.27 at
none, +.16 % ±.27 at 60 s) cannot be told from zero at any delay. Interests move slowly in the public data, so they do
here: see intent_speed.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="perception delay of the cloud, s",
    values=along("server.feature_lag_s", 0, 10, 30, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="30",
    show=(("change", "watch_s"), ("gain", "watch_s"), ("change", "valid_play"), ("gain", "valid_play")),
)
