"""The world: people, phones, links and servers. Knows no observation, reward or policy."""
