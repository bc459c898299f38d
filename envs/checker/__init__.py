"""A deep checker for anybody's Gymnasium environment."""
