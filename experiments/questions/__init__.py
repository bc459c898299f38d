"""Ready-made questions, a short table each, and how one is answered."""
