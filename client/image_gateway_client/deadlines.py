"""End a request at its deadline, even if bytes keep arriving one at a time."""

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any


class DeadlineBackend:
    """The network backend of a connection pool, whose reads and writes end at the deadline of the calling thread.

    The timeouts of httpx hold for each read or write separately, so that a server that sends a header byte by byte
    could hold a call for hours.

    Args:
        backend: The backend of httpcore that it wraps.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._thread = threading.local()

    @contextlib.contextmanager
    def limit(self, timeout_s: float) -> Iterator[None]:
        """Set the deadline of this thread for the block."""
        self._thread.deadline_s = time.monotonic() + timeout_s
        try:
            yield
        finally:
            del self._thread.deadline_s

    def shorten(self, timeout_s: float | None) -> float | None:
        """Return a timeout that does not end after the deadline of this thread."""
        deadline_s: float | None = getattr(self._thread, "deadline_s", None)
        if deadline_s is None:
            return timeout_s
        remaining_s = max(deadline_s - time.monotonic(), 0.001)
        return remaining_s if timeout_s is None else min(timeout_s, remaining_s)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *arguments: Any, **options: Any) -> Any:
        """Open a connection; the arguments are those of httpcore."""
        return _DeadlineStream(
            self._backend.connect_tcp(host, port, self.shorten(timeout), *arguments, **options), self
        )

    def __getattr__(self, name: str) -> Any:
        """Return what else the backend has."""
        return getattr(self._backend, name)


class _DeadlineStream:
    def __init__(self, stream: Any, backend: DeadlineBackend) -> None:
        self._stream = stream
        self._backend = backend
        # httpcore forgets to close it if a proxy fails, and a caller may forget to close the client.
        self._closing = weakref.finalize(self, stream.close)

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._stream.read(max_bytes, self._backend.shorten(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.shorten(timeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._backend.shorten(timeout))
        self._closing.detach()  # the new stream may use the same socket
        return _DeadlineStream(stream, self._backend)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
