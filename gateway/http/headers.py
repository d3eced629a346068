"""Names of the HTTP headers that the gateway reads and writes itself."""

import re

API_KEY = "X-API-Key"
CACHE_CONTROL = "Cache-Control"
CACHE_STATUS = "Cache-Status"
"""RFC 9211."""
ETAG = "ETag"
INFERENCE_JSON_BYTES = "Inference-Header-Content-Length"
"""Of the Open Inference Protocol: length of the JSON in a body that continues with binary tensors."""
RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
"""Both by draft-ietf-httpapi-ratelimit-headers-09."""
REQUEST_ID = "X-Request-ID"
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Request ids that are accepted from clients; they are safe to log."""
REQUEST_TIMEOUT = "X-Request-Timeout"
SERVER_TIMING = "Server-Timing"
"""W3C Server Timing."""
