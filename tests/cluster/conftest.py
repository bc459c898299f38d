"""Before any test imports Ray: clusters of these tests live on the loopback address, and report nothing."""

import os

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
