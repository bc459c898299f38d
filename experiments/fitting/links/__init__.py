"""Links: facts of traces and round trips, and settings made from a user's own."""
