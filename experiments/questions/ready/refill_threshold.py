"""How early should a phone ask for the next page?

With "replace" a page waits until the last one is used up, with "merge" it joins the pool on arrival. A minute on 2
cores.

Found: it is best to ask when one impression is left, and no earlier. Under the cloud's order, waits then fall from .035
to .028 a minute. Asking with four left adds a request and 49 unseen videos a person, for no gain that can be seen. A
phone that ranks still has unseen candidates to show, so the threshold does not change its waits. No effect of merging
instead of replacing can be seen.
"""

from nextone.experiments.questions.what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="impressions left when the next page is asked for",
    values=along("client.refill_at", 0, 1, 2, 4),
    series={
        "cloud_only": "cloud_only",
        "tag_momentum": "tag_momentum",
        "merge": "tag_momentum client.on_refill=merge",
    },
    usual="1",
    show=(("level", "waits_per_min"), ("level", "requests"), ("change", "watch_s"), ("level", "unseen")),
)
