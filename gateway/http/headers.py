"""Names of the HTTP headers that the gateway reads and writes itself."""

import re
from urllib.request import parse_http_list

from werkzeug.datastructures import Headers

API_KEY = "X-API-Key"
CACHE_CONTROL = "Cache-Control"
CACHE_STATUS = "Cache-Status"
"""RFC 9211."""
ETAG = "ETag"
INFERENCE_JSON_BYTES = "Inference-Header-Content-Length"
"""Of the Open Inference Protocol: length of the JSON in a body that continues with binary tensors."""
IDEMPOTENCY_KEY = "Idempotency-Key"
"""By draft-ietf-httpapi-idempotency-key-header."""
PREFER = "Prefer"
PREFERENCE_APPLIED = "Preference-Applied"
"""Both by RFC 7240."""
# An empty value is the same as none (RFC 7240 section 2).
RESPOND_ASYNC = re.compile(r'respond-async[ \t]*+(?:=[ \t]*+(?:"")?[ \t]*+)?(?:;|\Z)', re.IGNORECASE)
RATE_LIMIT = "RateLimit"
RATE_LIMIT_POLICY = "RateLimit-Policy"
"""Both by draft-ietf-httpapi-ratelimit-headers-09."""
REQUEST_ID = "X-Request-ID"
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Request ids that are accepted from clients; they are safe to log."""
REQUEST_TIMEOUT = "X-Request-Timeout"
SERVER_TIMING = "Server-Timing"
"""W3C Server Timing."""


def prefers_async(headers: Headers) -> bool:
    """Return whether a caller prefers a job to a wait for the response (RFC 7240 section 4.1)."""
    value = headers.get(PREFER)
    return value is not None and any(map(RESPOND_ASYNC.match, parse_http_list(value)))
