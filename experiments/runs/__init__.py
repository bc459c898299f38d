"""Running arms against each other: tasks, replications, metrics, statistics, and the files that results are kept in."""
