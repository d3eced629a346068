"""Names of the HTTP headers that the gateway reads and writes itself."""

API_KEY = "X-API-Key"
CACHE_STATUS = "Cache-Status"
"""RFC 9211."""
RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
"""Both by draft-ietf-httpapi-ratelimit-headers-09."""
REQUEST_ID = "X-Request-ID"
REQUEST_TIMEOUT = "X-Request-Timeout"
SERVER_TIMING = "Server-Timing"
"""W3C Server Timing."""

LIMITED_BLUEPRINT = "api"
