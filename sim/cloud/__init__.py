"""The cloud: what it knows of people and videos, which videos it stores for a session, how it ranks them."""
