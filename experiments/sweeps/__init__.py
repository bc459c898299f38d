"""Sweeps: many cells of settings, replicated until the answer is sharp, resumable after a kill."""
