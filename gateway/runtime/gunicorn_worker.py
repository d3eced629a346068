"""A gunicorn worker and logger with less work for each request."""

import select
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from gateway.runtime.timed_socket import TimedSocket


class ErrorLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger without access log, because the application logs its requests itself.

    With a logging dictionary, gunicorn collects about a hundred values for each request, even if nothing is written.
    """

    access_log_enabled = False


class Worker(ThreadWorker):  # type: ignore[misc]  # as above
    """gunicorn's threaded worker with fewer thread switches.

    gunicorn passes every request to a thread of a pool, and the connection back to the main thread, which waits for the
    next request: three threads wake up for each. nginx soon uses the same connection again. So, as long as there is a
    thread for every connection, the thread that answered a request waits a moment for the next one itself.

    Attributes:
        stay_ms: How long the thread waits before it returns the connection, in milliseconds.
    """

    stay_ms = 100

    def enqueue_req(self, conn: TConn) -> None:
        """Queue a connection that has a request; see `ThreadWorker.enqueue_req`."""
        if not isinstance(conn.sock, TimedSocket):
            conn.sock = TimedSocket.wrap(conn.sock)
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        """Answer the requests of a connection; see `ThreadWorker.handle`."""
        result = super().handle(conn)
        while result is True and self._has_next_request(conn):  # True: the connection stays open
            result = super().handle(conn)
        return result

    def _has_next_request(self, conn: TConn) -> bool:
        """Wait for the next request, unless another connection could need this thread."""
        if not self.alive or self.nr_conns > self.cfg.threads or conn.parser.unreader.buf.getvalue():
            return False
        readable = select.poll()
        readable.register(conn.sock, select.POLLIN)
        return bool(readable.poll(self.stay_ms))
