"""What runs policies against each other and says what came of it."""
