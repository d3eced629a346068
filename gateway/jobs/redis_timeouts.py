"""Time limits on Redis, as far as jobs use it."""

SOCKET_TIMEOUT_S = 5.0
"""Time for Redis to answer, also to a write of the largest image."""
