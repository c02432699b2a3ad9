"""The daemon: what wakes it, what it does then, and what it tells."""
