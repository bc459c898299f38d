"""Before any test imports Ray: clusters of these tests live on the loopback address, report nothing, and have a share
of a busy machine (by default Ray's processes are nicer than all others)."""

import os

os.environ |= {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"
}  # fmt: skip
