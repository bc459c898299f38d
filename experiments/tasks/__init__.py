"""Tasks for phones: packed from a network and rules, checked against limits, and replayed decision by decision."""
