"""The world: people, phones, links and servers."""
