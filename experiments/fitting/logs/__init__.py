"""A user's own log of impressions: read, checked, sorted."""
