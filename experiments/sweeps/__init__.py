"""Sweeps: many cells of settings, replicated until intervals are narrow, resumable after a kill."""
