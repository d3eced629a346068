"""Cross-origin requests from browsers (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from http import HTTPMethod

from flask import Flask, Response, request

from gateway.http.headers import (
    API_KEY,
    IDEMPOTENCY_KEY,
    INFERENCE_JSON_BYTES,
    PREFER,
    PREFERENCE_APPLIED,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REQUEST_ID,
    REQUEST_TIMEOUT,
    SERVER_TIMING,
)
from gateway.settings import Settings

ANY = "*"
APIS = ("/api/", "/v1/", "/v2")
REQUEST_HEADERS = (
    *("Content-Type", "Authorization", API_KEY, REQUEST_ID, REQUEST_TIMEOUT),
    *(IDEMPOTENCY_KEY, PREFER, INFERENCE_JSON_BYTES),
)
"""Headers that a page may send, in addition to those that browsers always allow."""
EXPOSED_HEADERS = (
    *(REQUEST_ID, "Retry-After", SERVER_TIMING, "WWW-Authenticate", RATE_LIMIT, RATE_LIMIT_POLICY),
    *("Location", "Link", PREFERENCE_APPLIED, INFERENCE_JSON_BYTES),
)
"""Headers that a page may read, in addition to those that browsers always expose."""
PREFLIGHT_AGE_S = 600


def register(app: Flask, settings: Settings) -> None:
    """Let pages of the allowed origins use the API. Without the setting, no origin is allowed."""
    allowed = frozenset(settings.cors_origins)

    def add_headers(response: Response) -> Response:
        if not request.path.startswith(APIS):
            return response
        if ANY not in allowed:
            response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not allowed.intersection({ANY, origin}):
            return response
        response.headers["Access-Control-Allow-Origin"] = ANY if ANY in allowed else origin
        if request.method == HTTPMethod.OPTIONS and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
            response.headers["Access-Control-Allow-Headers"] = ", ".join(REQUEST_HEADERS)
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE_S)
        else:
            response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED_HEADERS)
        return response

    if allowed:
        app.after_request(add_headers)
