"""The KIR-like network."""
