"""An application that answers with its thread's id, and workers that wait long, not at all, or briefly for a head."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from gateway.runtime.gunicorn_worker import Worker


class PatientWorker(Worker):
    """Waits for the next request longer than any test takes."""

    stay_ms = 60_000


class ImpatientWorker(Worker):
    """Returns every connection immediately, unless a request has already arrived."""

    stay_ms = 0


class HastyWorker(Worker):
    """Closes connections whose head takes longer than a moment."""

    head_timeout_s = 0.1


def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = str(threading.get_ident()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
