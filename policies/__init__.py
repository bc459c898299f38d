"""Policies for NextOne: which candidate to show next, from what the phone observes."""
