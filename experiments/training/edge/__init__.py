"""Edge networks: collecting samples, training on them, the offline table, the shipped checkpoints."""
