"""Which page size and TTL keep people watching, and is it another one when the phone chooses?

Every cell has the servers of the default, two workers for 300 people in 20 minutes, so a small page or a short TTL
meets the queue that it makes. Some two minutes on 2 cores.

Found: for both, a page of 12 and a TTL of 120 s lead, but the gain is small, and 16 of 18 arms were still in the race
when the budget ended: on fresh seeds tag_momentum there has +.80 % ±.27 watch time over itself at the default (6, 600
s) and +.63 % ±.26 over the cloud's order in the same cell. The loss elsewhere is large: pages of 2, and any page at a
TTL of 30 s, drown these servers and lose 43 to 67 % under the cloud's order; at 30 s tag_momentum, whose requests
take longer to serve, has 6 to 13 % less still.
"""

from .what_if import SweepIf

WHAT_IF = SweepIf(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,120,600"),
    policies=("cloud_only", "tag_momentum"),
)
