"""Code that runs policies against each other and reports the results."""
