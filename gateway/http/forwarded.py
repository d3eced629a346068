"""The address of the client, as trusted proxies in front report it."""

from collections.abc import Callable, Iterable
from typing import Any

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ForwardedFor:
    """Takes a client's address from `X-Forwarded-For`, to which each proxy adds the address of its own client.

    werkzeug's `ProxyFix` also keeps what it replaces, and parses quoted strings, which addresses are not: it takes 3.4
    instead of 0.4 microseconds.

    Args:
        app: The application.
        proxies: Number of trusted proxies in front, at least 1.
    """

    def __init__(self, app: WsgiApp, proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; see PEP 3333."""
        addresses = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(addresses) >= self._proxies:
            environ["REMOTE_ADDR"] = addresses[-self._proxies].strip() or environ.get("REMOTE_ADDR")
        return self._app(environ, start_response)
