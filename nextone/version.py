"""The versions that result files record; below everything, so that any file can import them."""

__version__ = "0.2.0"
SEMANTICS = 4
"""Version of what happens in a scenario: results of different ones must not be compared. Golden scenarios pin it."""
