"""Cross-origin requests: which pages of other hosts may ask from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from http import HTTPMethod

from flask import Flask, Response, request

from gateway.http.headers import (
    API_KEY,
    RATE_LIMIT,
    RATE_LIMIT_POLICY,
    REQUEST_ID,
    REQUEST_TIMEOUT,
    SERVER_TIMING,
)
from gateway.settings import Settings

ANY = "*"
API = "/api/"
REQUEST_HEADERS = ("Content-Type", "Authorization", API_KEY, REQUEST_ID, REQUEST_TIMEOUT)
"""What a page may send besides what browsers always allow."""
EXPOSED_HEADERS = (REQUEST_ID, "Retry-After", SERVER_TIMING, "WWW-Authenticate", RATE_LIMIT, RATE_LIMIT_POLICY)
"""What a page may read besides what browsers always show."""
PREFLIGHT_AGE_S = 600


def register(app: Flask, settings: Settings) -> None:
    """Let pages of the origins that were allowed use the API; of none, unless some are set."""
    allowed = frozenset(settings.cors_origins)

    def permit(response: Response) -> Response:
        if not request.path.startswith(API):
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
        app.after_request(permit)
