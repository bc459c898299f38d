"""A user's own files: tables of numbers, capacity traces, logs of round trips."""
