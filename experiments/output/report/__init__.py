"""The report of a sweep or a comparison: one HTML file that loads nothing."""
