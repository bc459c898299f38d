"""What the model runs on: compiled functions and their cache, threads, and keyed random draws."""
