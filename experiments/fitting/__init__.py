"""Comparing the world with measured people and links, and fitting it to them."""
