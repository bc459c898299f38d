"""How few servers can small pages live on before latency spirals?

By itself the scenario takes three workers for 400 people in half an hour (utilisation below .6 at page 6). Half a
minute on 2 cores.

Found: with six workers, a page of 2 has .5 % ±.4 more watch time than one of 6. With three it loses 26 % ±10, and with
two half of it. Requests then wait for about as long as the phone's timeout of 5 s. They are given up and sent again, so
workers serve requests for which nobody waits any more. A page of 4 can live on three workers but not on two (-8 % ±12,
marked as overloaded). At pages of 6 and 12 two workers are enough. A page of 12 costs .3 % ±.3 with any number of
workers.
"""

from nextone.experiments.questions.what_if import WhatIf, along

WHAT_IF = WhatIf(
    axis="page size, impressions",
    values=along("server.page_size", 2, 4, 6, 12),
    series={
        "6 workers": "cloud_only server.workers=6",
        "3 workers": "cloud_only server.workers=3",
        "2 workers": "cloud_only server.workers=2",
    },
    usual="6",
    show=(("level", "utilisation"), ("level", "queue_p95_ms"), ("level", "timeout_rate"), ("change", "watch_s")),
    log_axis=True,
    servers=True,
)
