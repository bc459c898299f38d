"""Holding the world against measured people and links, and fitting it to them."""
