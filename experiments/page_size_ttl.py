"""Which page size and TTL keep people watching, and is it another one when the phone chooses?

Every cell has the servers of the default, so a small page meets the queue that it makes. About two minutes on 2 cores.
"""

from .what_if import SweepIf, main

WHAT_IF = SweepIf(
    grid=("server.page_size=2,6,12", "client.ttl_s=30,120,600"),
    policies=("cloud_only", "tag_momentum"),
)

if __name__ == "__main__":
    main(__file__)
