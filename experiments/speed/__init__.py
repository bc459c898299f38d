"""How fast and how large everything is on this machine: `nextone bench`."""
