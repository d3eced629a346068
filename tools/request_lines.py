"""A line in the terminal for each request, from the logs that gateway and nginx write anyway."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.log_files import LogReader, escape_controls, parse

MARKS = b'"event": "request"', b'"event":"request"'
FIELDS = frozenset({"level", "method", "path", "status", "duration_ms"})
MAX_LINES = 25
"""Of one call; further requests are counted by their status."""
MAX_LENGTH = 120
"""Of a path, and of a class."""
HEALTH_CHECKS = frozenset({"/livez", "/readyz", "/metrics", "/ping", "/v2/health/live", "/v2/health/ready"})


class RequestLines:
    """Describes the requests that are logged from now on; without those for health checks.

    A request that nginx refuses is in nginx's log only, with its problem. All others are in the gateway's log.

    Args:
        logs: The folder of the logs.
    """

    def __init__(self, logs: Path) -> None:
        self._gateway, self._nginx = LogReader(logs / "gateway.log"), LogReader(logs / "nginx.log")
        for log in (self._gateway, self._nginx):
            log.skip()

    def read(self) -> list[str]:
        """Return a line for each request since the last call, or for the first of them and the count of the others."""
        lines: list[str] = []
        statuses: Counter[int] = Counter()
        for request in self._requests():
            if len(lines) < MAX_LINES:
                lines.append(describe(request))
            else:
                statuses[request["status"]] += 1
        if statuses:
            counts = ", ".join(f"{count} with status {status}" for status, count in sorted(statuses.items()))
            lines.append(f"... and {statuses.total()} more: {counts}")
        return lines

    def _requests(self) -> Iterator[Mapping[str, Any]]:
        yield from _parse(self._gateway)
        yield from (request for request in _parse(self._nginx) if request.get("problem"))


def describe(request: Mapping[str, Any]) -> str:
    """Return the line of a request: method, path, status, class or problem or number of images, and milliseconds."""
    outcome = request.get("problem") or request.get("class") or _count_images(request)
    fields = (
        f"{_shorten(request['method'])} {_shorten(request['path'])}".strip(),
        str(request["status"]),
        _shorten(outcome),
        f"{round(request['duration_ms'])} ms",
    )
    return escape_controls("  ".join(filter(None, fields)))


def _count_images(request: Mapping[str, Any]) -> str:
    if "images" not in request:
        return ""
    images = f"{request['images']} {'image' if request['images'] == 1 else 'images'}"
    return f"{images}, {request['failed']} failed" if request.get("failed") else images


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."


def _parse(log: LogReader) -> Iterator[Mapping[str, Any]]:
    for line in log.read():
        request = parse(line) if any(mark in line for mark in MARKS) else None
        if not request or not request.keys() >= FIELDS or not isinstance(request["duration_ms"], int | float):
            continue
        if request["level"] == "info" and request["path"] not in HEALTH_CHECKS:
            yield request
