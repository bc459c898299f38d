"""How few servers can small pages live on before latency spirals?

Every arm has the number of workers it says; a smaller page asks more often. About two minutes on 2 cores.
"""

from .what_if import WhatIf, along, main

WHAT_IF = WhatIf(
    axis="page size, impressions",
    values=along("server.page_size", 2, 3, 4, 6, 12),
    series={
        "36 workers": "cloud_only server.workers=36",
        "24 workers": "cloud_only server.workers=24",
        "16 workers": "cloud_only server.workers=16",
    },
    usual="6",
    show=(("level", "utilisation"), ("level", "queue_p95_ms"), ("level", "timeouts"), ("change", "watch_s")),
    log_axis=True,
)

if __name__ == "__main__":
    main(__file__)
