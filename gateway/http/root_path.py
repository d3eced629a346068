"""Serve the application below a path, for a proxy in front that does not remove it."""

from collections.abc import Callable, Iterable
from typing import Any

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

METRICS = "/metrics"
"""Not served below the path: nginx in front hides only the path itself."""


class RootPath:
    """Removes the path from requests that have it; others, such as those of probes, are served as they are.

    Relative links of a page need the slash at its end, so a request for the path itself is redirected to it.

    Args:
        app: The application.
        root: The path, such as `/gw`, without a slash at its end.
    """

    def __init__(self, app: WsgiApp, root: str) -> None:
        self._app = app
        self._root = root

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; see PEP 3333."""
        path = environ.get("PATH_INFO", "")
        if path == self._root:
            query = environ.get("QUERY_STRING", "")
            last_segment = self._root.rpartition("/")[2]
            location = f"{last_segment}/?{query}" if query else f"{last_segment}/"
            start_response("308 Permanent Redirect", [("Location", location), ("Content-Length", "0")])
            return []
        inner = path.removeprefix(self._root)
        if path.startswith(f"{self._root}/") and inner != METRICS:
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + self._root
            environ["PATH_INFO"] = inner
        return self._app(environ, start_response)
