"""Reinforcement learning: PPO, DQN, when to ask for a page, and how good the result is."""
