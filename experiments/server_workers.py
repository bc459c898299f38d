"""How few servers can small pages live on before latency spirals?

Three are what the scenario takes by itself for 400 people in half an hour (utilisation below .6 at page 6). About a
minute on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="page size, impressions",
    values=along("server.page_size", 2, 4, 6, 12),
    series={
        "6 workers": "cloud_only server.workers=6",
        "3 workers": "cloud_only server.workers=3",
        "2 workers": "cloud_only server.workers=2",
    },
    usual="6",
    show=(("level", "utilisation"), ("level", "queue_p95_ms"), ("level", "timeouts"), ("change", "watch_s")),
    log_axis=True,
    servers=True,
)

if __name__ == "__main__":
    main(__file__)
