"""The checkpoint that `rl` plays: `python -m nextone.experiments.training.rl.ship DIR` puts a training's best in place.

`make models` trains it first, as docs/training.md has it. Only weights and what they say of themselves are shipped."""

import sys
from pathlib import Path

from nextone.experiments.training.edge.ship import ship
from nextone.policies.names import RL, shipped
from nextone.policies.rl import KIND

if __name__ == "__main__":
    ship(KIND, Path(sys.argv[1]), shipped(RL))
