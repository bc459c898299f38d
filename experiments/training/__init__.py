"""Training what chooses on the phone: edge networks from samples, policies by reinforcement learning."""
