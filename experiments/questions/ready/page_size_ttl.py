"""Which page size and TTL keep people watching, and is it another one when the phone chooses?

Every cell has servers sized for its own page, TTL and policy. Some two minutes on 2 cores.

Found: little. A TTL of 30 s costs 1.9 % ±1.2 of the time in the app at pages of 12. At pages of 6 it costs 1.0 % ±.9,
which may be luck. At 600 s, page sizes of 2 and 12 differ from 6 by no more than luck, and the same page size suits
phone and cloud. 5 of 18 arms were still in the race when the budget ended. The best of them, a rule on the phone at
pages of 2 and 600 s, has +.49 % ±.39 over the same rule at the default, on fresh seeds.
"""

from nextone.experiments.questions.what_if import SweepIf

WHAT_IF = SweepIf(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,120,600"),
    policies=("cloud_only", "tag_momentum"),
)
