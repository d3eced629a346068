"""Why models that have been loaded, or should have been, cannot be served, from what the running programs say."""

import contextlib
import http.client
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.models.folders import describe_load_fault
from tools.log_files import LogReader

TIMEOUT_S = 3
TRANSIENT = "ry again shortly."
"""The end of a reason that is over soon."""
REFUSED, ANSWERS = "model_unusable", "model_version_answers"
"""Events of the gateway's log: it cannot use a version, and a version answers."""


class FailedModels:
    """Finds the models that cannot be served.

    The gateway's log has its reasons once for each change; asking the gateway for them would count as requests, which
    may be limited and need a key.

    Args:
        rest_port: REST port of the model server, on this machine.
        log: The gateway's log.
    """

    def __init__(self, rest_port: int, log: Path) -> None:
        self._rest_port = rest_port
        self._log = LogReader(log)
        self._refused: dict[str, str] = {}
        self._answering: dict[str, int] = {}  # the version that a refused model answers with since then

    def find(self, names: Iterable[str]) -> Mapping[str, str]:
        """Return for each of these models that cannot be served, or whose newest version cannot, why."""
        self._read_log()
        return {name: reason for name in names if (reason := self._describe(name))}

    def _describe(self, name: str) -> str | None:
        try:
            newest = max(query_statuses(self._rest_port, name), key=lambda status: int(status["version"]), default=None)
            if newest is not None and newest["state"] == "END" and newest["status"]["error_message"]:
                fault = describe_load_fault(newest["status"]["error_message"])
                return f"Version {newest['version']} could not be loaded. {fault}"
            version = int(newest["version"]) if newest is not None else None
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            version = None
        is_mended = version is not None and self._answering.get(name) == version
        return None if is_mended else self._refused.get(name)

    def _read_log(self) -> None:
        """Read what has been added to the gateway's log; the reason that is logged last counts."""
        for line in self._log.read():
            if REFUSED.encode() in line or ANSWERS.encode() in line:
                self._read_event(line)

    def _read_event(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            event = json.loads(line)
            model = event["model"]
            if event["event"] == REFUSED and not event["reason"].endswith(TRANSIENT):
                self._refused[model] = event["reason"]
                self._answering.pop(model, None)
            elif event["event"] == ANSWERS:
                self._answering[model] = event["version"]


def query_statuses(rest_port: int, model: str) -> list[dict[str, Any]]:
    """Query a model server on this machine for the statuses of a model's versions; none if it does not have the model.

    Raises:
        OSError, HTTPException: It does not answer.
        ValueError, LookupError, TypeError: Its answer cannot be parsed.
    """
    connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/models/{quote(model, safe='')}")
        response = connection.getresponse()
        if response.status == http.HTTPStatus.NOT_FOUND:
            return []
        statuses: list[dict[str, Any]] = json.loads(response.read())["model_version_status"]
        return statuses
