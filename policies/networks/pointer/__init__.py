"""The pointer network, which reinforcement learning trains."""
