"""The cloud: what it knows about people and videos, which videos it stores for a session, and how it ranks them."""
