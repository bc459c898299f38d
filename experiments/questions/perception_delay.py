"""How much is it worth to the cloud to see behaviour sooner, 60 s to none, and what is left to a phone that sees all?

Half a minute on 2 cores.

Found: hardly anything that can be seen for the cloud: at once instead of after 30 s has +.34 % ±.42 watch time and
+.33 % ±.54 valid plays, after 60 s +.28 % ±.34 and -.35 % ±.36. A rule on the phone gains .4 to .7 % of watch time at
any delay.
"""

from .what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="perception delay of the cloud, s",
    values=along("server.feature_lag_s", 0, 10, 30, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="30",
    show=(("change", "watch_s"), ("gain", "watch_s"), ("change", "valid_play"), ("gain", "valid_play")),
)
