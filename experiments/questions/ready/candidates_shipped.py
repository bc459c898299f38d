"""How many candidates should a page of six ship to a phone that ranks?

A minute on 2 cores.

Found: more candidates bring little. A rule by tags gains +.15 % ±.35 of watch time with the page alone (6), +.63 % ±.35
with 20, and +.40 % ±.57 with 60. No difference in likes can be seen. From 20 candidates on, 5 to 7 MB more a person are
wasted.
"""

from nextone.experiments.questions.what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="candidates shipped with a page of 6",
    values=along("server.candidates", 6, 20, 60),
    series={"cloud_only": "cloud_only", "tag_momentum": "tag_momentum"},
    usual="20",
    show=(("gain", "watch_s"), ("gain", "like"), ("level", "queue_p95_ms"), ("level", "wasted_mb")),
    log_axis=True,
    servers=True,
)
