"""How early should a phone ask for the next page?

With "replace" a page waits until the last one is used up, with "merge" it joins the pool on arrival. About three
minutes on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="impressions left when the next page is asked for",
    values=along("client.refill_at", 0, 1, 2, 4),
    series={
        "cloud_only": "cloud_only",
        "tag_momentum": "tag_momentum",
        "merge": "tag_momentum client.on_refill=merge",
    },
    usual="1",
    show=(("level", "waits"), ("level", "requests"), ("change", "watch_s"), ("level", "unseen")),
)

if __name__ == "__main__":
    main(__file__)
