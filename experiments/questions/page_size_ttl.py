"""Which page size and TTL keep people watching, and is it another one when the phone chooses?

Every cell has servers sized for its own page, TTL and policy. Some two minutes on 2 cores.

Found: little. A TTL of 30 s costs 1 to 2 % of the time in the app at pages of 6 and 12; at 600 s a page of 2 has
+.59 % ±.52 and one of 12 -.52 % ±.59, and the phone wants no other page than the cloud. 10 of 18 arms were still in the
race when the budget ended; the best on fresh seeds has +.27 % ±.26 over the default.
"""

from .what_if import SweepIf

WHAT_IF = SweepIf(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,120,600"),
    policies=("cloud_only", "tag_momentum"),
)
