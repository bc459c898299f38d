"""What a policy observes, and the world as Gymnasium environments, paused at each decision."""
