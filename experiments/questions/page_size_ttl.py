"""Which page size and TTL keep people watching, and is it another one when the phone chooses?

Every cell has servers sized for its own page, TTL and policy. Some two minutes on 2 cores.

Found: little. A TTL of 30 s costs 1 to 2 % of the time in the app; pages of 2, 6 and 12 cannot be told apart, and the
phone wants no other page than the cloud. 11 of 18 arms were still in the race when the budget ended. One cell (12,
600 s) is overloaded: one worker, for so few people.
"""

from .what_if import SweepIf

WHAT_IF = SweepIf(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,120,600"),
    policies=("cloud_only", "tag_momentum"),
)
