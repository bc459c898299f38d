"""How much is it worth to the cloud to see behaviour sooner, 60 s to none, and what is left to a phone that sees all?

Half a minute on 2 cores.

Found: for the cloud hardly anything can be seen. With no delay instead of 30 s it has +.34 % ±.42 watch time and +.33 %
±.54 valid plays; with 60 s it has +.28 % ±.34 and -.35 % ±.36. A rule on the phone gains .4 to .7 % of watch time at
every delay.
"""

from nextone.experiments.questions.what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="perception delay of the cloud, s",
    values=along("server.feature_lag_s", 0, 10, 30, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="30",
    show=(("change", "watch_s"), ("gain", "watch_s"), ("change", "valid_play"), ("gain", "valid_play")),
)
