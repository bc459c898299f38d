"""People: facts of a log, simulated logs, the fit, the scoreboard."""
