"""gunicorn with less work for each request: threads that stay with their connections, and no log of its own."""

import select
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]


class ErrorLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger without a line for each request, which the application writes itself.

    Where logging is configured by a dictionary, its own collects some hundred values for each, whether written or not.
    """

    access_log_enabled = False


class Worker(ThreadWorker):  # type: ignore[misc]  # as above
    """gunicorn's threaded worker, with fewer changes of threads.

    Its own hands every request to a thread of a pool, and the connection back to the main thread to wait for the next
    request, which wakes three threads for each. nginx uses a connection again soon: as long as there is a thread for
    every connection, the one that has answered a request waits a little for the next one itself.

    Attributes:
        stay_ms: How long it waits before it gives the connection back.
    """

    stay_ms = 100

    def handle(self, conn: TConn) -> Any:
        """Answer the requests of a connection; gunicorn's own says what is returned."""
        kept = super().handle(conn)
        while kept is True and self._follows(conn):
            kept = super().handle(conn)
        return kept

    def _follows(self, conn: TConn) -> bool:
        """Wait for the next request, unless another connection may want this thread."""
        if not self.alive or self.nr_conns > self.cfg.threads or conn.parser.unreader.buf.getvalue():
            return False
        readable = select.poll()
        readable.register(conn.sock, select.POLLIN)
        return bool(readable.poll(self.stay_ms))
