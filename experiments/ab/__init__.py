"""A/B tests between people who share one world, the truth beside them, and how wrong each design of a test is."""

AB = "ab.json"  # in every folder that `nextone ab --out` fills
