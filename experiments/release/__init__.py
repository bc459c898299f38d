"""Releases: version 2 goes to more and more phones in waves, watched by gates that may hold it or roll it back."""

RELEASE, MONITOR, GATES = "release.json", "monitor.parquet", "gates.parquet"
"""In every folder that `nextone release --out` fills."""
