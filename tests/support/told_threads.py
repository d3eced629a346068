"""For gunicorn to run: an application that tells which thread answers, and workers that stay long and not at all."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from gateway.runtime.gunicorn_worker import Worker


class Patient(Worker):
    """Stays longer than any test takes."""

    stay_ms = 60_000


class Hasty(Worker):
    """Gives every connection back at once, unless a request is there already."""

    stay_ms = 0


def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = str(threading.get_ident()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
